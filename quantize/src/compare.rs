//! What int8 cost: the answers of the checkpoint and of the bundle, on the same labelled rows.

use crate::bootstrap;
use berth_bundle::{Calibration, MAX_METRICS, Metric};
use berth_data::{
    Answer, Decision, Evaluation, EvaluationError, Evaluator, Example, Label, TaskName,
};

use crate::calibrate::calibrate;

/// How far apart two numbers may be to count as the same answer: this part of the range of the
/// labels.
const SAME_NUMBER: f64 = 0.02;

/// With fewer changed answers the interval of the bootstrap holds the true loss in some 75 of 100 files, not in 95: too
/// many draws have none of them.
pub(crate) const FEW: usize = 10;

/// How many characters of a text are shown with an answer that changed.
const EXCERPT: usize = 100;

/// Where 95 % of a normal distribution lie: so many deviations either way.
pub(crate) const Z: f64 = 1.959_964;

/// f32 and int8 side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The name of the metric that stands for all, without `eval_`.
    pub main_metric: &'static str,
    /// What that metric is where everything is right: 1 or 100.
    pub full_marks: f64,
    /// What the checkpoint reached.
    pub f32: Evaluation,
    /// What the bundle reached.
    pub int8: Evaluation,
    /// How many answers were asked for: one for each text or pair or question, or for each word.
    pub asked: usize,
    /// How many of them are the same: the same best label or the same labels, the same text of an answer, or a number
    /// that differs by at most 2 % of the range of the labels: that which is published with the data set, else that of
    /// the file; where all its labels are equal, by at most 0.02.
    pub same: usize,
    /// The cosine between all logits of the one and all logits of the other.
    pub cosine: f64,
    /// The squared distance of all logits, as a share of the squares of the checkpoint's.
    pub error: f64,
    /// Between which bounds the loss of the main metric lies on texts of this kind, with 95 % confidence,
    /// in points of 100: a paired bootstrap over the rows of the file. Where few answers changed, see
    /// [`caution`](Self::caution).
    pub drop_interval: [f64; 2],
    /// The other answers, in their order.
    pub changed: Vec<Changed>,
    /// How the bundle's scores are to be taken, and how far they can be trusted then. None for numbers,
    /// and where there are too few answers.
    pub calibration: Option<Calibration>,
}

/// An answer that is another one in int8.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// The line of the file that its row begins on.
    pub line: u64,
    /// The beginning of the text or texts, on one line; where words are asked about, the word.
    pub text: String,
    /// What is right.
    pub gold: Label,
    /// What the checkpoint says.
    pub f32: Answer,
    /// What the bundle says.
    pub int8: Answer,
}

impl Comparison {
    /// Compares the logits of the evaluator's inputs, in their order.
    ///
    /// # Errors
    /// Where logits and inputs don't fit together, or an example has no label.
    pub fn new<L: AsRef<[f32]>>(
        evaluator: &Evaluator<'_>,
        f32_logits: &[L],
        int8_logits: &[L],
    ) -> Result<Self, EvaluationError> {
        let f32 = evaluator.evaluate(f32_logits)?;
        let int8 = evaluator.evaluate(int8_logits)?;
        let products = Products::of(f32_logits, int8_logits)?;
        let units = [evaluator.units(f32_logits)?, evaluator.units(int8_logits)?];
        let points = |difference: f64| 100.0 / evaluator.full_marks() * difference;
        let drop_interval = bootstrap::difference(&units[0], &units[1]).map(points);
        let calibration = calibrate(evaluator, int8_logits)?;
        let decisions = evaluator.decisions(f32_logits)?;
        let asked = decisions.len();
        let tolerance = SAME_NUMBER * range(evaluator.task_name, &decisions);
        // As the device answers: at the temperature that the bundle is going to have.
        let fitted = calibration.as_ref().map(Calibration::temperature);
        let fitted = fitted.unwrap_or_default();
        let pairs = decisions
            .into_iter()
            .zip(evaluator.decisions_at(int8_logits, fitted)?);
        let changed: Vec<Changed> = pairs
            .filter(|(f32, int8)| !is_same(&f32.answer, &int8.answer, tolerance))
            .map(|(f32, int8)| Changed::of(evaluator.examples, f32, int8.answer))
            .collect();
        Ok(Comparison {
            main_metric: evaluator.main_metric(),
            full_marks: evaluator.full_marks(),
            f32,
            int8,
            asked,
            same: asked - changed.len(),
            cosine: products.cosine(),
            error: products.error(),
            drop_interval,
            changed,
            calibration,
        })
    }

    /// The share of the same answers, from 0 to 1.
    pub fn agreement(&self) -> f64 {
        self.same as f64 / self.asked as f64
    }

    /// Between which shares the agreement on texts of this kind lies, with 95 % confidence, as far
    /// as these answers can tell. [Wilson 1927]
    pub fn agreement_interval(&self) -> (f64, f64) {
        let (share, n) = (self.agreement(), self.asked as f64);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (middle, scale) = (share + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
        let bound = |at: f64| (at / scale).clamp(0.0, 1.0);
        // Rounding must not leave the share itself outside.
        let (low, high) = (bound(middle - spread), bound(middle + spread));
        (low.min(share), high.max(share))
    }

    /// Whether the main metric is a mean over answers, of which each can cost its share and no more: accuracy, and the
    /// F1 of questions. In a correlation, or an F1 over labels, an answer can weigh more.
    pub(crate) fn is_mean(&self) -> bool {
        self.main_metric == "accuracy" || self.full_marks == 100.0
    }

    /// Whether too few answers changed for [`drop_interval`](Self::drop_interval). Not so for numbers: all of them move
    /// a little, which the bootstrap sees.
    pub(crate) fn is_little_changed(&self) -> bool {
        let [least, most] = self.drop_interval;
        let moves = self.main_metric == "spearmanr" && least < most;
        self.asked - self.same < FEW && !moves
    }

    /// Where too few answers changed for [`drop_interval`](Self::drop_interval), and the main metric is a mean over
    /// answers: how many points may be lost, with 95 % confidence, if each answer that changes costs its share. That
    /// is the upper end of Wilson's interval of the share that changes.
    ///
    /// None where enough changed, and where an answer can weigh more than its share: nothing bounds the loss then.
    pub fn few_changed(&self) -> Option<f64> {
        let is_bounded = self.is_mean() && self.is_little_changed();
        is_bounded.then(|| 100.0 * (1.0 - self.agreement_interval().0))
    }

    /// What is to be said beside the interval where too few answers changed for it.
    pub fn caution(&self) -> Option<String> {
        let changed = self.count_changed();
        let few = match self.asked - self.same {
            0 => "too little",
            _ => "too few",
        };
        let bound = self.few_changed().map_or_else(String::new, |points| {
            format!(": up to {points:.2} points are possible (95 %)")
        });
        self.is_little_changed()
            .then(|| format!("{changed}, {few} for this interval{bound}"))
    }

    /// How many answers changed, in words.
    pub(crate) fn count_changed(&self) -> String {
        match self.asked - self.same {
            0 => "nothing changed".to_owned(),
            1 => "1 answer changed".to_owned(),
            some => format!("{some} answers changed"),
        }
    }

    /// How much of the main metric int8 cost, in points of 100; below 0 where it is better.
    pub fn drop(&self) -> f64 {
        let of = |evaluation: &Evaluation| evaluation.get(self.main_metric).unwrap_or(f64::NAN);
        100.0 / self.full_marks * (of(&self.f32) - of(&self.int8))
    }

    /// Every metric of both, the loss first, as a bundle carries them.
    pub fn metrics(&self) -> heapless::Vec<Metric, MAX_METRICS> {
        let both = self.f32.entries().into_iter().zip(self.int8.entries());
        let metric = |((name, f32), (_, int8)): ((String, f64), (String, f64))| {
            let name = heapless::String::try_from(name.as_str()).ok()?;
            Some(Metric { name, f32, int8 })
        };
        both.filter_map(metric).take(MAX_METRICS).collect()
    }
}

impl Changed {
    fn of(examples: &[Example], f32: Decision, int8: Answer) -> Self {
        let example = examples.get(f32.example);
        Changed {
            line: example.map_or(0, |example| example.line),
            text: example.map_or_else(String::new, |example| asked(example, f32.word)),
            gold: f32.gold,
            f32: f32.answer,
            int8,
        }
    }
}

/// What was asked about: a word, or a text, or two.
fn asked(example: &Example, word: Option<usize>) -> String {
    let word = word.and_then(|word| example.words.get(word)).cloned();
    match (word, &example.pair) {
        (Some(word), _) => excerpt(example.text.get(word).unwrap_or_default()),
        (None, Some(pair)) => format!("{} | {}", excerpt(&example.text), excerpt(pair)),
        (None, None) => excerpt(&example.text),
    }
}

fn is_same(f32: &Answer, int8: &Answer, tolerance: f64) -> bool {
    match (f32, int8) {
        (Answer::Class { label: a, .. }, Answer::Class { label: b, .. }) => a == b,
        (Answer::Set { labels: a, .. }, Answer::Set { labels: b, .. }) => a == b,
        (Answer::Span { text: a, .. }, Answer::Span { text: b, .. }) => a == b,
        (Answer::Value(a), Answer::Value(b)) => (f64::from(*a) - f64::from(*b)).abs() <= tolerance,
        _ => false,
    }
}

/// How far apart labels lie: as far as the data set has them, else from the smallest gold number of the file to the
/// largest. Where that is nothing it says nothing of the scale, and numbers are taken to lie 1 apart.
fn range(name: Option<TaskName>, decisions: &[Decision]) -> f64 {
    if let Some(range) = name.and_then(TaskName::label_range) {
        return range;
    }
    let ends = Label::range(decisions.iter().map(|decision| &decision.gold));
    let range = ends.map(|(low, high)| f64::from(high) - f64::from(low));
    range.filter(|range| *range > 0.0).unwrap_or(1.0)
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut excerpt: String = text.chars().take(EXCERPT).map(plain).collect();
    if text.chars().nth(EXCERPT).is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// The sums that the distance of two lists of logits is made of.
#[derive(Default)]
struct Products {
    ab: f64,
    aa: f64,
    bb: f64,
    /// The squares of the differences; from the three others it would be lost in rounding.
    dd: f64,
}

impl Products {
    fn of<L: AsRef<[f32]>>(f32: &[L], int8: &[L]) -> Result<Self, EvaluationError> {
        let mut products = Products::default();
        for (row, (f32, int8)) in f32.iter().zip(int8).enumerate() {
            let (f32, int8) = (f32.as_ref(), int8.as_ref());
            if f32.len() != int8.len() {
                let outputs = int8.len();
                return Err(EvaluationError::Outputs { row, outputs });
            }
            products.add(f32, int8);
        }
        Ok(products)
    }

    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.ab += a * b;
            self.aa += a * a;
            self.bb += b * b;
            self.dd += (a - b) * (a - b);
        }
    }

    /// 1 for equal directions; two that are zero throughout are equal.
    fn cosine(&self) -> f64 {
        if self.aa == 0.0 && self.bb == 0.0 {
            1.0
        } else {
            self.ab / (self.aa * self.bb).sqrt()
        }
    }

    /// 0 for equal logits.
    fn error(&self) -> f64 {
        if self.dd == 0.0 {
            0.0
        } else {
            self.dd / self.aa
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_data::{Encoded, GoldAnswer, Target};
    use berth_task::Task;

    fn example(text: &str, label: Label, line: u64) -> Example {
        Example {
            text: text.to_owned(),
            label,
            line,
            ..Example::default()
        }
    }

    fn compare<L: AsRef<[f32]>>(
        task: Task,
        examples: &[Example],
        f32: &[L],
        int8: &[L],
    ) -> Result<Comparison, EvaluationError> {
        compare_named(None, task, examples, f32, int8)
    }

    fn compare_named<L: AsRef<[f32]>>(
        task_name: Option<TaskName>,
        task: Task,
        examples: &[Example],
        f32: &[L],
        int8: &[L],
    ) -> Result<Comparison, EvaluationError> {
        let input = |(index, example): (usize, &Example)| Encoded {
            target: match example.label {
                Label::Class(class) => Target::Class(class),
                Label::Value(value) => Target::Value(value),
                _ => Target::None,
            },
            example: index,
            ..Encoded::default()
        };
        let inputs: Vec<_> = examples.iter().enumerate().map(input).collect();
        let evaluator = Evaluator {
            task,
            task_name,
            labels: &[],
            multi_label: false,
            examples,
            inputs: &inputs,
            spans: Default::default(),
        };
        Comparison::new(&evaluator, f32, int8)
    }

    fn classes(gold: &[u32]) -> Vec<Example> {
        let lines = (2..).zip(gold);
        lines
            .map(|(line, &class)| example("some text", Label::Class(class), line))
            .collect()
    }

    /// Of ten answers seven are right where the model says 95 %: the device divides by a temperature, and so does this.
    #[test]
    fn answers_that_changed_have_the_scores_of_the_device() {
        let gold: Vec<u32> = (0..400).map(|row| u32::from(row / 2 % 10 >= 7)).collect();
        let f32 = vec![[3.0, 0.0]; gold.len()];
        let mut int8 = f32.clone();
        int8[5] = [0.0, 3.0];
        let found = compare(Task::TextClassification, &classes(&gold), &f32, &int8).unwrap();
        let calibration = found.calibration.unwrap();
        assert!(calibration.temperature > 2.0, "{calibration:?}");
        let [Changed { f32, int8, .. }] = &found.changed[..] else {
            panic!("{:?}", found.changed);
        };
        let sure = |answer: &Answer| match answer {
            Answer::Class { probability, .. } => *probability,
            other => panic!("{other:?}"),
        };
        let at = |temperature: f32| 1.0 / (1.0 + (-3.0 / temperature).exp());
        assert!((sure(f32) - at(1.0)).abs() < 1e-6);
        assert!((sure(int8) - at(calibration.temperature)).abs() < 1e-6);
    }

    const F32: [[f32; 2]; 4] = [[2.0, 0.0], [0.0, 1.0], [0.1, 0.0], [-1.0, 3.0]];
    const INT8: [[f32; 2]; 4] = [[1.9, 0.1], [0.0, 1.1], [0.0, 0.1], [-1.0, 2.9]];

    #[test]
    fn an_answer_that_changed_is_told_with_both_probabilities() {
        let task = Task::TextClassification;
        let examples = classes(&[0, 1, 0, 0]);
        let comparison = compare(task, &examples, &F32, &INT8).unwrap();
        assert_eq!(comparison.main_metric, "accuracy");
        assert_eq!(comparison.f32.get("accuracy"), Some(0.75));
        assert_eq!(comparison.int8.get("accuracy"), Some(0.5));
        assert_eq!(comparison.drop(), 25.0);
        // One answer of four: a draw may miss it, or have it up to three times out of four.
        assert_eq!(comparison.drop_interval, [0.0, 75.0]);
        assert_eq!(comparison.same, 3);
        assert_eq!(comparison.agreement(), 0.75);
        let probability = 1.0 / (1.0 + f32::exp(-0.1));
        let [changed] = &comparison.changed[..] else {
            panic!("{:?}", comparison.changed);
        };
        assert_eq!((changed.line, &changed.gold), (4, &Label::Class(0)));
        for (answer, expected) in [(&changed.f32, 0), (&changed.int8, 1)] {
            let Answer::Class {
                label,
                probability: found,
            } = answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(*label, expected);
            assert!((found - probability).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn the_metrics_of_both_go_into_the_bundle() {
        let task = Task::TextClassification;
        let comparison = compare(task, &classes(&[0, 1, 0, 0]), &F32, &INT8);
        let metrics = comparison.unwrap().metrics();
        assert_eq!(metrics.len(), 6);
        assert_eq!(metrics[0].name, "eval_loss");
        let accuracy = &metrics[1];
        assert_eq!(accuracy.name, "eval_accuracy");
        assert_eq!((accuracy.f32, accuracy.int8), (0.75, 0.5));
    }

    #[test]
    fn of_several_labels_every_decision_has_to_be_the_same() {
        let inputs: Vec<Encoded> = [vec![0, 1], vec![], vec![1]]
            .into_iter()
            .enumerate()
            .map(|(example, set)| Encoded {
                target: Target::Set(set),
                example,
                ..Encoded::default()
            })
            .collect();
        let evaluator = Evaluator {
            task: Task::TextClassification,
            task_name: None,
            labels: &[],
            multi_label: true,
            examples: &[],
            inputs: &inputs,
            spans: Default::default(),
        };
        let f32 = [[1.0, 2.0], [-1.0, -0.1], [-3.0, 0.5]];
        let int8 = [[2.0, 0.1], [-1.0, 0.1], [-2.0, 0.25]];
        let comparison = Comparison::new(&evaluator, &f32, &int8).unwrap();
        assert_eq!((comparison.same, comparison.asked), (2, 3));
        assert_eq!(comparison.main_metric, "f1");
        assert_eq!(comparison.drop(), 100.0 * (1.0 - 6.0 / 7.0));
        let changed = &comparison.changed[0];
        assert_eq!(changed.gold, Label::Set(vec![]));
        let Answer::Set {
            labels,
            probabilities,
        } = &changed.int8
        else {
            panic!("{changed:?}")
        };
        assert_eq!(labels, &[1]);
        assert!((probabilities[1] - 1.0 / (1.0 + f32::exp(-0.1))).abs() < 1e-6);
    }

    #[test]
    fn numbers_may_differ_by_two_hundredths_of_the_range() {
        let gold = [0.0, 5.0, 2.0].map(Label::Value);
        let examples = gold.map(|label| example("a", label, 1));
        let task = Task::TextPairRegression;
        let f32 = [[0.5], [4.0], [2.0]];
        let int8 = [[0.59], [4.11], [1.91]];
        let comparison = compare(task, &examples, &f32, &int8).unwrap();
        assert_eq!(comparison.main_metric, "spearmanr");
        assert_eq!(comparison.same, 2);
        let [changed] = &comparison.changed[..] else {
            panic!("{:?}", comparison.changed);
        };
        assert_eq!(changed.f32, Answer::Value(4.0));
        assert_eq!(changed.int8, Answer::Value(4.11));
    }

    #[test]
    fn equal_labels_have_no_range_and_a_data_set_has_its_own() {
        let examples = [3.0; 3].map(|value| example("a", Label::Value(value), 1));
        let same = |name: Option<TaskName>| {
            let f32 = [[2.0], [3.0], [4.0]];
            let int8 = [[2.015], [3.07], [4.09]];
            let task = Task::TextPairRegression;
            let comparison = compare_named(name, task, &examples, &f32, &int8);
            comparison.unwrap().same
        };
        assert_eq!(same(None), 1);
        assert_eq!(same(Some(TaskName::SickR)), 2);
        assert_eq!(same(Some(TaskName::Stsb)), 3);
    }

    /// The F1 of questions counts to a hundred by itself.
    #[test]
    fn what_questions_lose_is_told_in_points_too() {
        let examples = [Example {
            pair: Some("one two".to_owned()),
            ..example(
                "which",
                Label::Answers(vec![GoldAnswer {
                    text: "two".to_owned(),
                    start: Some(4),
                }]),
                1,
            )
        }];
        let inputs = [Encoded {
            ids: vec![2, 5, 3, 5, 5, 3],
            second: 3,
            target: Target::Span(4, 4),
            offsets: vec![0..0, 0..0, 0..0, 0..3, 4..7, 0..0],
            ..Encoded::default()
        }];
        let evaluator = Evaluator {
            task: Task::QuestionAnswering,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples: &examples,
            inputs: &inputs,
            spans: Default::default(),
        };
        let at = |piece: usize| {
            let mut logits = [0.0f32; 12];
            logits[2 * piece..][..2].fill(5.0);
            logits
        };
        let comparison = Comparison::new(&evaluator, &[at(4)], &[at(3)]).unwrap();
        assert_eq!((comparison.main_metric, comparison.same), ("f1", 0));
        assert_eq!(comparison.drop(), 100.0);
        assert_eq!(comparison.drop_interval, [100.0, 100.0]);
    }

    #[test]
    fn few_changed_answers_bound_the_loss_by_their_share() {
        let changed = |count: usize| {
            let (f32, mut int8) = (vec![[1.0f32, 0.0]; 400], vec![[1.0, 0.0]; 400]);
            int8[..count].fill([0.0, 1.0]);
            compare(Task::TextClassification, &classes(&[0; 400]), &f32, &int8).unwrap()
        };
        let nothing = changed(0);
        assert_eq!(nothing.drop_interval, [0.0, 0.0]);
        assert_eq!(
            nothing.caution().unwrap(),
            "nothing changed, too little for this interval: up to 0.95 points are possible (95 %)"
        );
        let few = changed(FEW - 1).caution().unwrap();
        assert!(few.starts_with("9 answers changed, too few"), "{few}");
        assert_eq!(changed(FEW).few_changed(), None);
        // Numbers that keep their answers move all the same.
        let moved = Comparison {
            main_metric: "spearmanr",
            drop_interval: [-0.125, 0.25],
            ..changed(0)
        };
        assert_eq!((moved.few_changed(), moved.caution()), (None, None));
        // In the F1 of questions each has its share, as in accuracy.
        let questions = Comparison {
            main_metric: "f1",
            full_marks: 100.0,
            ..changed(3)
        };
        assert!(questions.few_changed().is_some());
    }

    /// One entity of two is lost, and with it a third of F1; of the words it is one in forty.
    #[test]
    fn where_an_answer_weighs_more_than_its_share_few_bound_nothing() {
        const WORDS: usize = 40;
        let labels = ["O", "B-PER"].map(str::to_owned);
        let classes =
            |entities: [usize; 2]| (0..WORDS).map(move |word| u32::from(entities.contains(&word)));
        let inputs = [Encoded {
            ids: vec![5; WORDS],
            target: Target::Classes(classes([0, 9]).map(Some).collect()),
            offsets: (0..).map(|at| at..at + 1).take(WORDS).collect(),
            ..Encoded::default()
        }];
        let evaluator = Evaluator {
            task: Task::TokenClassification,
            task_name: None,
            labels: &labels,
            multi_label: false,
            examples: &[],
            inputs: &inputs,
            spans: Default::default(),
        };
        let logits = |entities| -> [Vec<f32>; 1] {
            let of = |class: u32| [1.0 - class as f32, class as f32];
            [classes(entities).flat_map(of).collect()]
        };
        let lost = Comparison::new(&evaluator, &logits([0, 9]), &logits([0, 0])).unwrap();
        assert_eq!((lost.main_metric, lost.asked - lost.same), ("f1", 1));
        // More than Wilson's interval has the share of the answers that change.
        assert!(lost.drop() > 100.0 * (1.0 - lost.agreement_interval().0));
        assert_eq!(lost.few_changed(), None);
        let caution = "1 answer changed, too few for this interval";
        assert_eq!(lost.caution().unwrap(), caution);
        let same = Comparison::new(&evaluator, &logits([0, 9]), &logits([0, 9])).unwrap();
        let caution = "nothing changed, too little for this interval";
        assert_eq!(same.caution().unwrap(), caution);
    }

    #[test]
    fn the_cosine_is_over_all_logits() {
        let cosine = |a: &[[f32; 2]], b: &[[f32; 2]]| {
            let examples = classes(&vec![0; a.len()]);
            let comparison = compare(Task::TextClassification, &examples, a, b);
            comparison.unwrap().cosine
        };
        assert_eq!(cosine(&F32, &F32), 1.0);
        assert_eq!(cosine(&[[1.0, 0.0]], &[[0.0, 2.0]]), 0.0);
        assert_eq!(cosine(&[[0.0; 2]], &[[0.0; 2]]), 1.0);
        let products = Products::of(&[[3.0, 4.0]], &[[3.0, 5.0]]).unwrap();
        assert_eq!(products.error(), 1.0 / 25.0);
        assert_eq!(Products::of(&[[0.0; 2]], &[[0.0; 2]]).unwrap().error(), 0.0);
        let exact = (3.0 * 3.0 + 4.0 * 5.0) / (5.0 * f64::sqrt(34.0));
        assert!((cosine(&[[3.0, 4.0]], &[[3.0, 5.0]]) - exact).abs() < 1e-12);
    }

    /// The bounds were computed by the published formula in Python.
    #[test]
    fn the_interval_is_wilsons() {
        let interval = |same: usize, rows: usize| {
            let examples = classes(&vec![0; rows]);
            let logits = |changed| {
                let logits = |row: usize| {
                    if row < changed {
                        [0.0f32, 1.0]
                    } else {
                        [1.0, 0.0]
                    }
                };
                (0..rows).map(logits).collect::<Vec<_>>()
            };
            let task = Task::TextClassification;
            let int8 = logits(rows - same);
            let comparison = compare(task, &examples, &logits(0), &int8);
            comparison.unwrap().agreement_interval()
        };
        for (same, rows, low, high) in [
            (9, 10, 0.595_850, 0.982_124),
            (10, 10, 0.722_467, 1.0),
            (990, 1000, 0.981_691, 0.994_559),
        ] {
            let (found_low, found_high) = interval(same, rows);
            assert!((found_low - low).abs() < 2e-6, "{found_low}");
            assert!((found_high - high).abs() < 2e-6, "{found_high}");
        }
    }

    #[test]
    fn texts_are_shortened_and_kept_on_one_line() {
        assert_eq!(excerpt("a\nb\tc"), "a b c");
        let long = "ä".repeat(EXCERPT + 1);
        assert_eq!(excerpt(&long), format!("{}…", "ä".repeat(EXCERPT)));
        assert_eq!(excerpt(&long[2..]), long[2..]);
        let pair = Example {
            pair: Some("two".to_owned()),
            ..example("one", Label::None, 1)
        };
        assert_eq!(asked(&pair, None), "one | two");
        let words = Example {
            words: vec![0..3, 4..8],
            ..example("one more", Label::None, 1)
        };
        assert_eq!(asked(&words, None), "one more");
        assert_eq!(asked(&words, Some(1)), "more");
    }

    #[test]
    fn logits_that_do_not_fit_together_are_refused() {
        let task = Task::TextClassification;
        let examples = classes(&[0, 1]);
        let refused = |f32: &[&[f32]], int8: &[&[f32]]| {
            compare(task, &examples, f32, int8).map(drop).unwrap_err()
        };
        let (two, three) = ([0.0, 1.0], [0.0, 1.0, 2.0]);
        let error = EvaluationError::RowCount {
            logits: 1,
            labels: 2,
        };
        assert_eq!(refused(&[&two, &two], &[&two]), error);
        let error = EvaluationError::Outputs { row: 0, outputs: 3 };
        assert_eq!(refused(&[&two, &two], &[&three, &three]), error);
    }
}
