//! A file's right answers, and a model's outputs held against them.

use berth_task::{Task, Temperature};
use serde_json::Value;

use super::answer::Decision;
use super::{Evaluation, EvaluationError, SpanScoring, files, questions, sets, tags, texts};
use crate::dataset::Example;
use crate::encode::Encoded;
use crate::task_name::TaskName;

/// All that is known of a labelled file once it is encoded; it measures whatever model has answered.
///
/// Logits are handed in as a list for each input, in the inputs' order: `outputs` numbers for tasks
/// on whole texts, where those of the windows of one text are put together as
/// [`Merge`](berth_task::Merge) does; for the others `outputs` numbers for each of the input's pieces, piece by piece.
#[derive(Copy, Clone, Debug)]
pub struct Evaluator<'a> {
    /// What the model is asked.
    pub task: Task,
    /// The published data set, which may have a metric of its own.
    pub task_name: Option<TaskName>,
    /// The names of the labels in the order of the outputs; none for numbers and spans.
    pub labels: &'a [String],
    /// Whether each label is decided by itself, for classification alone.
    pub multi_label: bool,
    /// What the inputs are parts of.
    pub examples: &'a [Example],
    /// What the model reads.
    pub inputs: &'a [Encoded],
    /// How spans are chosen, for questions alone.
    pub spans: SpanScoring,
}

impl Evaluator<'_> {
    /// Measures `logits`.
    ///
    /// # Errors
    /// Where logits and inputs don't fit together, or an input has no label.
    pub fn evaluate<L: AsRef<[f32]>>(&self, logits: &[L]) -> Result<Evaluation, EvaluationError> {
        self.check(logits)?;
        let mut fitted = Vec::new();
        let (loss, mut metrics) = match self.task {
            Task::TextClassification | Task::TextPairClassification if self.multi_label => {
                sets::measure(&texts::rows(logits, self.inputs)?)?
            }
            Task::TextClassification | Task::TextPairClassification => {
                texts::classify(&texts::rows(logits, self.inputs)?)?
            }
            Task::TextPairRegression => texts::regress(&texts::rows(logits, self.inputs)?)?,
            Task::TokenClassification => tags::measure(logits, self.inputs, self.labels)?,
            Task::QuestionAnswering => {
                let (measured, settings) = questions::measure(self, logits)?;
                fitted = settings;
                measured
            }
        };
        if let Some(score) = texts::combined_score(self.task_name, &metrics) {
            metrics.push(("combined_score", score));
        }
        Ok(Evaluation {
            samples: self.samples(),
            loss,
            metrics,
            fitted,
        })
    }

    /// What `logits` say, one decision for each thing that is asked.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn decisions<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
    ) -> Result<Vec<Decision>, EvaluationError> {
        self.decisions_at(logits, Temperature::ONE)
    }

    /// The same with probabilities at another temperature, as a bundle gives them.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn decisions_at<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
        temperature: Temperature,
    ) -> Result<Vec<Decision>, EvaluationError> {
        // It looks at everything that the decisions rest on.
        self.evaluate(logits)?;
        Ok(match self.task {
            Task::TokenClassification => tags::decisions(self, logits, temperature),
            Task::QuestionAnswering => questions::decisions(self, logits, temperature)?,
            _ => texts::rows(logits, self.inputs)?
                .iter()
                .map(|row| texts::decision(row, temperature))
                .collect(),
        })
    }

    /// What `logits` say, for inputs that need no label: [`decisions`](Self::decisions) with nothing to
    /// hold them against, and probabilities at this temperature. Words that were cut off or have no piece
    /// are not answered for.
    ///
    /// # Errors
    /// Where logits don't fit the inputs or the labels.
    pub fn answers<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
        temperature: Temperature,
    ) -> Result<Vec<Decision>, EvaluationError> {
        self.check(logits)?;
        let labels = match self.task {
            Task::TokenClassification => return tags::answers(self, logits, temperature),
            Task::QuestionAnswering => return questions::decisions(self, logits, temperature),
            Task::TextPairRegression => None,
            _ => Some(self.labels.len()),
        };
        let rows = texts::rows(logits, self.inputs)?;
        match labels {
            Some(labels) if self.multi_label => sets::answers(&rows, labels),
            labels => texts::answers(&rows, labels, temperature),
        }
    }

    /// What `logits` say, as the files that Hugging Face's example scripts write with `--do_predict`:
    /// names, and their content. Labels are not looked at.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn files<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
    ) -> Result<Vec<(&'static str, String)>, EvaluationError> {
        let answers = self.answers(logits, Temperature::ONE)?;
        self.files_of(logits, &answers)
    }

    /// The same files of answers that were decided before. One that abstains has an empty text; a word's
    /// tag is `_` then.
    ///
    /// # Errors
    /// Where logits don't fit the inputs.
    pub fn files_of<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
        answers: &[Decision],
    ) -> Result<Vec<(&'static str, String)>, EvaluationError> {
        files::of(self, logits, answers)
    }

    /// The metric that stands for the task where a single figure is wanted, such as the accuracy gate
    /// of `quantize`. Of all of them, more is better.
    pub fn main_metric(&self) -> &'static str {
        match (self.task_name, self.task) {
            _ if self.multi_label => "f1",
            (Some(TaskName::Cola), _) => "matthews_correlation",
            (Some(TaskName::Mrpc), _) | (_, Task::QuestionAnswering) => "f1",
            (_, Task::TextPairRegression) => "spearmanr",
            (_, Task::TokenClassification) if tags::are_entities(self.labels) => "f1",
            _ => "accuracy",
        }
    }

    /// The metrics' 100 points: 1 where they are fractions, 100 where they count to a hundred.
    pub fn full_marks(&self) -> f64 {
        match self.task {
            Task::QuestionAnswering => 100.0,
            _ => 1.0,
        }
    }

    /// What a model says, as files of JSON that tools for the task read: names, and their content.
    /// For questions those that `run_qa` of Hugging Face's examples writes, for other tasks none.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn predictions<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
    ) -> Result<Vec<(&'static str, Value)>, EvaluationError> {
        match self.task {
            Task::QuestionAnswering => questions::predictions(self, logits, files::MEASURED),
            _ => Ok(Vec::new()),
        }
    }

    /// How many examples the inputs are from.
    pub fn samples(&self) -> usize {
        self.inputs.last().map_or(0, |input| input.example + 1)
    }

    fn check<L>(&self, logits: &[L]) -> Result<(), EvaluationError> {
        if logits.len() != self.inputs.len() {
            let (logits, labels) = (logits.len(), self.inputs.len());
            return Err(EvaluationError::RowCount { logits, labels });
        }
        if logits.is_empty() {
            return Err(EvaluationError::NoRows);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::*;
    use crate::dataset::Label;
    use crate::encode::Target;

    fn inputs(targets: impl IntoIterator<Item = Target>) -> Vec<Encoded> {
        let input = |(example, target)| Encoded {
            target,
            example,
            ..Encoded::default()
        };
        targets.into_iter().enumerate().map(input).collect()
    }

    fn evaluator(task: Task, inputs: &[Encoded]) -> Evaluator<'_> {
        Evaluator {
            task,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples: &[],
            inputs,
            spans: SpanScoring::default(),
        }
    }

    const ROWS: [[f32; 3]; 4] = [
        [2.0, -1.0, 0.5],
        [0.1, 0.2, 0.3],
        [-3.0, 1.5, 1.5],
        [80.0, -80.0, 0.0],
    ];

    fn classes(of: &[u32]) -> Vec<Encoded> {
        inputs(of.iter().map(|&class| Target::Class(class)))
    }

    /// The first figure is `torch.nn.functional.cross_entropy(rows.double(), [0, 0, 2, 1])`.
    #[test]
    fn the_loss_is_the_mean_cross_entropy_or_squared_difference() {
        let task = Task::TextClassification;
        let four = classes(&[0, 0, 2, 1]);
        let of = evaluator(task, &four).evaluate(&ROWS).unwrap();
        let loss = of.loss.unwrap();
        assert!((loss - 40.5354851146753).abs() < 1e-9, "{loss}");
        assert_eq!((of.samples, of.get("accuracy")), (4, Some(0.25)));

        let three = inputs([1.0, 2.5, 4.0].map(Target::Value));
        let logits = [[1.5], [2.0], [4.25]];
        let evaluator = evaluator(Task::TextPairRegression, &three);
        let of = evaluator.evaluate(&logits).unwrap();
        assert_eq!(of.loss, Some(0.1875));
    }

    #[test]
    fn reports_have_hugging_faces_names_in_one_order() {
        let task = Task::TextPairClassification;
        let two: Vec<_> = ROWS.iter().map(|row| &row[..2]).collect();
        let four = classes(&[0, 1, 1, 1]);
        let evaluator = Evaluator {
            task_name: Some(TaskName::Mrpc),
            ..evaluator(task, &four)
        };
        let of = evaluator.evaluate(&two).unwrap();
        let names: Vec<_> = of.entries().into_iter().map(|(name, _)| name).collect();
        let expected = [
            "loss",
            "accuracy",
            "f1",
            "precision",
            "recall",
            "matthews_correlation",
        ];
        let expected = expected
            .iter()
            .chain(&["combined_score"])
            .map(|name| format!("eval_{name}"));
        assert_eq!(names, expected.collect::<Vec<_>>());
        // One of three positives is missed, none is wrong: f1 = 2 * 2 / (2 * 2 + 1).
        assert_eq!(
            (of.get("eval_accuracy"), of.get("f1")),
            (Some(0.75), Some(0.8))
        );
        assert_eq!(of.get("combined_score"), Some((0.75 + 0.8) / 2.0));
        assert_eq!(of.get("pearson"), None);
    }

    #[test]
    fn the_relatedness_of_texts_has_a_score_of_both_correlations() {
        let four = inputs([1.0, 2.0, 3.0, 4.0].map(Target::Value));
        let logits = [[1.0], [2.0], [2.5], [0.0]];
        for (task_name, is_scored) in [
            (Some(TaskName::Stsb), true),
            (Some(TaskName::SickR), true),
            (None, false),
        ] {
            let evaluator = Evaluator {
                task_name,
                ..evaluator(Task::TextPairRegression, &four)
            };
            let of = evaluator.evaluate(&logits).unwrap();
            let (pearson, spearmanr) = (of.get("pearson").unwrap(), of.get("spearmanr").unwrap());
            assert_ne!(pearson, spearmanr);
            let expected = is_scored.then_some((pearson + spearmanr) / 2.0);
            assert_eq!(of.get("combined_score"), expected, "{task_name:?}");
        }
    }

    #[test]
    fn windows_of_one_text_are_one_sample() {
        let mut three = classes(&[0, 0, 1]);
        for (input, example) in three.iter_mut().zip([0, 0, 1]) {
            (input.example, input.own) = (example, 5);
        }
        let evaluator = evaluator(Task::TextClassification, &three);
        assert_eq!(evaluator.evaluate(&ROWS[..3]).unwrap().samples, 2);
    }

    #[test]
    fn the_main_metric_is_the_one_that_the_data_set_or_the_task_goes_by() {
        let (pairs, text) = (Task::TextPairClassification, Task::TextClassification);
        let (words, numbers) = (Task::TokenClassification, Task::TextPairRegression);
        let tags = ["DET", "NOUN"];
        for (task, task_name, labels, multi_label, expected) in [
            (text, None, ["a", "b"], false, "accuracy"),
            (text, None, ["a", "b"], true, "f1"),
            (text, Some(TaskName::Sst2), tags, false, "accuracy"),
            (
                text,
                Some(TaskName::Cola),
                tags,
                false,
                "matthews_correlation",
            ),
            (pairs, Some(TaskName::Rte), tags, false, "accuracy"),
            (pairs, Some(TaskName::Mrpc), tags, false, "f1"),
            (numbers, Some(TaskName::SickR), tags, false, "spearmanr"),
            (numbers, None, tags, false, "spearmanr"),
            (words, None, tags, false, "accuracy"),
            (words, None, ["O", "B-PER"], false, "f1"),
            (Task::QuestionAnswering, None, tags, false, "f1"),
        ] {
            let labels = labels.map(str::to_owned);
            let evaluator = Evaluator {
                task_name,
                labels: &labels,
                multi_label,
                ..evaluator(task, &[])
            };
            assert_eq!(evaluator.main_metric(), expected, "{task}, {task_name:?}");
        }
    }

    #[test]
    fn every_main_metric_is_among_the_metrics() {
        for name in TaskName::ALL {
            let (target, logits) = match name.task() {
                Task::TextPairRegression => (Target::Value(0.5), vec![0.5]),
                _ => (Target::Class(0), vec![0.5; name.labels().len()]),
            };
            let inputs = inputs([target]);
            let evaluator = Evaluator {
                task_name: Some(name),
                ..evaluator(name.task(), &inputs)
            };
            let of = evaluator.evaluate(&[logits]).unwrap();
            assert!(of.get(evaluator.main_metric()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let of = |logits: &[&[f32]], inputs: &[Encoded]| {
            let evaluator = evaluator(Task::TextClassification, inputs);
            evaluator.evaluate(logits).unwrap_err()
        };
        let two = [0.0, 1.0];
        assert_eq!(of(&[], &[]), EvaluationError::NoRows);
        let error = EvaluationError::RowCount {
            logits: 1,
            labels: 0,
        };
        assert_eq!(of(&[&two], &[]), error);
        for target in [Target::None, Target::Value(1.0)] {
            let error = EvaluationError::NoLabel { row: 0 };
            assert_eq!(of(&[&two], &inputs([target])), error);
        }
        let error = EvaluationError::Outputs { row: 1, outputs: 2 };
        assert_eq!(of(&[&two, &two], &classes(&[1, 2])), error);
        let error = EvaluationError::Outputs { row: 1, outputs: 1 };
        assert_eq!(of(&[&two, &two[..1]], &classes(&[0, 0])), error);
        let error = EvaluationError::Outputs { row: 0, outputs: 0 };
        assert_eq!(of(&[&[]], &classes(&[0])), error);
    }

    #[test]
    fn decisions_are_told_with_their_probability() {
        let inputs = classes(&[0, 1]);
        let evaluator = evaluator(Task::TextClassification, &inputs);
        let decisions = evaluator.decisions(&[[0.0, 0.0, f32::NAN], [1.0, 3.0, 1.0]]);
        let told: Vec<_> = decisions
            .unwrap()
            .into_iter()
            .map(|decision| (decision.example, decision.gold, decision.answer))
            .collect();
        let answer = |label, probability| Answer::Class { label, probability };
        let probability = 1.0 / (1.0 + 2.0 * f32::exp(-2.0));
        assert_eq!(told[0], (0, Label::Class(0), answer(0, 0.5)));
        let (
            _,
            gold,
            Answer::Class {
                label,
                probability: found,
            },
        ) = &told[1]
        else {
            panic!("{told:?}");
        };
        assert_eq!((gold, *label), (&Label::Class(1), 1));
        assert!((found - probability).abs() < 1e-6, "{found}");
    }
}
