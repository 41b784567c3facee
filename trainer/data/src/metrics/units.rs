//! An evaluation taken apart: what each example adds to the main metric, so that the metric can be had
//! for any draw of the examples. A bootstrap asks for it thousands of times.

use berth_task::Task;

use super::answer::{Answer, Decision};
use super::evaluator::Evaluator;
use super::squad::Score;
use super::{Counts, EntityCounts, EvaluationError, questions, spearmanr};
use crate::dataset::Label;

/// What a model says to each example of a file, and what is right, as far as the main metric asks.
#[derive(Clone, Debug)]
pub struct Units {
    metric: &'static str,
    kind: Kind,
}

/// One entry for each example.
#[derive(Clone, Debug)]
enum Kind {
    /// Gold label and answer.
    Classes {
        labels: usize,
        pairs: Vec<[usize; 2]>,
    },
    /// Labels that are right, and gold ones and answered ones together.
    Sets(Vec<[usize; 2]>),
    /// Gold number and answer.
    Values { gold: Vec<f64>, said: Vec<f64> },
    /// Words with the right tag, and all words.
    Words(Vec<[usize; 2]>),
    /// Entities.
    Entities(Vec<EntityCounts>),
    /// The F1 of an answer, 0 to 1.
    Spans(Vec<f64>),
}

impl Units {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Classes { pairs, .. } => pairs.len(),
            Kind::Values { gold, .. } => gold.len(),
            Kind::Words(pairs) | Kind::Sets(pairs) => pairs.len(),
            Kind::Entities(entities) => entities.len(),
            Kind::Spans(scores) => scores.len(),
        }
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The main metric over the examples with these indices, each as often as it is named.
    ///
    /// # Panics
    /// When there is no such example.
    pub fn metric(&self, draw: &[usize]) -> f64 {
        match &self.kind {
            Kind::Classes { labels, pairs } => {
                let mut counts = Counts::new(*labels);
                let drawn = draw.iter().map(|&index| pairs[index]);
                drawn.for_each(|[gold, said]| counts.add(gold, said));
                match self.metric {
                    "matthews_correlation" => counts.matthews_correlation(),
                    "f1" => counts.f1(),
                    _ => counts.accuracy(),
                }
            }
            Kind::Values { gold, said } => {
                let drawn = |of: &[f64]| draw.iter().map(|&index| of[index]).collect::<Vec<_>>();
                spearmanr(&drawn(said), &drawn(gold))
            }
            Kind::Words(words) => {
                let [right, all] = sums(words, draw);
                right as f64 / all as f64
            }
            Kind::Sets(sets) => match sums(sets, draw) {
                [_, 0] => 0.0,
                [right, all] => 2.0 * right as f64 / all as f64,
            },
            Kind::Entities(entities) => {
                let mut counts = EntityCounts::default();
                draw.iter()
                    .for_each(|&index| counts.merge(&entities[index]));
                counts.f1()
            }
            Kind::Spans(scores) => {
                let sum: f64 = draw.iter().map(|&index| scores[index]).sum();
                100.0 * sum / draw.len() as f64
            }
        }
    }
}

impl Evaluator<'_> {
    /// What `logits` say, taken apart by example. A threshold that is fitted to the file is fitted once,
    /// to the whole of it.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn units<L: AsRef<[f32]>>(&self, logits: &[L]) -> Result<Units, EvaluationError> {
        let decisions = self.decisions(logits)?;
        let metric = self.main_metric();
        let kind = match self.task {
            _ if self.multi_label => Kind::Sets(decisions.iter().map(set).collect()),
            Task::TokenClassification if metric == "f1" => Kind::Entities(
                examples(&decisions)
                    .map(|words| entities(words, self.labels))
                    .collect(),
            ),
            Task::TokenClassification => Kind::Words(examples(&decisions).map(words).collect()),
            Task::QuestionAnswering => {
                let rules = self.spans.scoring_rules();
                let score = |decision: &Decision| span_score(rules, decision);
                Kind::Spans(decisions.iter().map(score).collect())
            }
            Task::TextPairRegression => {
                let (gold, said) = decisions.iter().filter_map(value_pair).unzip();
                Kind::Values { gold, said }
            }
            _ => Kind::Classes {
                labels: logits[0].as_ref().len(),
                pairs: decisions.iter().filter_map(class_pair).collect(),
            },
        };
        Ok(Units { metric, kind })
    }
}

/// The sums of both numbers over the examples that are drawn.
fn sums(pairs: &[[usize; 2]], draw: &[usize]) -> [usize; 2] {
    let drawn = draw.iter().map(|&index| pairs[index]);
    drawn.fold([0; 2], |[a, b], [first, second]| [a + first, b + second])
}

fn set(decision: &Decision) -> [usize; 2] {
    match (&decision.gold, &decision.answer) {
        (Label::Set(gold), Answer::Set { labels, .. }) => {
            let is_gold = |label: &&usize| gold.contains(&(**label as u32));
            let right = labels.iter().filter(is_gold).count();
            [right, gold.len() + labels.len()]
        }
        _ => [0, 0],
    }
}

/// The decisions of each example.
fn examples(decisions: &[Decision]) -> impl Iterator<Item = &[Decision]> {
    decisions.chunk_by(|a, b| a.example == b.example)
}

fn class_pair(decision: &Decision) -> Option<[usize; 2]> {
    match (&decision.gold, &decision.answer) {
        (Label::Class(gold), Answer::Class { label, .. }) => Some([*gold as usize, *label]),
        _ => None,
    }
}

fn value_pair(decision: &Decision) -> Option<(f64, f64)> {
    match (&decision.gold, &decision.answer) {
        (Label::Value(gold), Answer::Value(said)) => Some((f64::from(*gold), f64::from(*said))),
        _ => None,
    }
}

fn words(decisions: &[Decision]) -> [usize; 2] {
    let pairs = decisions.iter().filter_map(class_pair);
    let right = pairs.filter(|[gold, said]| gold == said).count();
    [right, decisions.len()]
}

fn entities(decisions: &[Decision], labels: &[String]) -> EntityCounts {
    let pairs = || decisions.iter().filter_map(class_pair);
    let gold: Vec<&str> = pairs().map(|[gold, _]| labels[gold].as_str()).collect();
    let said: Vec<&str> = pairs().map(|[_, said]| labels[said].as_str()).collect();
    let mut counts = EntityCounts::default();
    counts.add(&gold, &said);
    counts
}

fn span_score(rules: super::squad::Rules, decision: &Decision) -> f64 {
    match (&decision.gold, &decision.answer) {
        (Label::Answers(gold), Answer::Span { text, .. }) => {
            Score::of(rules, text, &questions::texts(gold)).f1
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Example, GoldAnswer};
    use crate::encode::{Encoded, Target};
    use crate::metrics::{SpanScoring, sequence};
    use crate::task_name::TaskName;

    /// What it adds up to over all examples is what the evaluation says, and a draw of one example
    /// again and again is that example's own figure.
    fn holds(evaluator: &Evaluator<'_>, logits: &[Vec<f32>]) -> Units {
        let units = evaluator.units(logits).unwrap();
        let all: Vec<usize> = (0..units.len()).collect();
        let whole = evaluator.evaluate(logits).unwrap();
        let expected = whole.get(evaluator.main_metric()).unwrap();
        let found = units.metric(&all);
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        units
    }

    fn logits(rows: usize, outputs: usize) -> Vec<Vec<f32>> {
        let numbers = sequence(5, 100, rows * outputs);
        let number = |&n: &usize| n as f32 / 10.0;
        numbers
            .chunks(outputs)
            .map(|row| row.iter().map(number).collect())
            .collect()
    }

    fn evaluator<'a>(task: Task, inputs: &'a [Encoded], labels: &'a [String]) -> Evaluator<'a> {
        Evaluator {
            task,
            task_name: None,
            labels,
            multi_label: false,
            examples: &[],
            inputs,
            spans: SpanScoring::default(),
        }
    }

    #[test]
    fn labels_and_numbers_add_up_to_their_metric() {
        let gold = sequence(3, 3, 40);
        let input = |(example, target)| Encoded {
            example,
            target,
            ..Encoded::default()
        };
        let classes = gold.iter().map(|&class| Target::Class(class as u32 % 2));
        let inputs: Vec<_> = classes.enumerate().map(input).collect();
        let task = Task::TextClassification;
        for task_name in [None, Some(TaskName::Cola), Some(TaskName::Mrpc)] {
            let evaluator = Evaluator {
                task_name,
                ..evaluator(task, &inputs, &[])
            };
            holds(&evaluator, &logits(40, 2));
        }
        let values = gold.iter().map(|&value| Target::Value(value as f32));
        let inputs: Vec<_> = values.enumerate().map(input).collect();
        let task = Task::TextPairRegression;
        let units = holds(&evaluator(task, &inputs, &[]), &logits(40, 1));
        assert_eq!(units.metric(&[7; 40]), 0.0, "no variation");
    }

    #[test]
    fn labels_of_which_there_are_several_add_up_over_all_rows() {
        let gold = sequence(3, 8, 40);
        let input = |(example, bits): (usize, &usize)| Encoded {
            example,
            target: Target::Set((0..3u32).filter(|bit| bits >> bit & 1 == 1).collect()),
            ..Encoded::default()
        };
        let inputs: Vec<_> = gold.iter().enumerate().map(input).collect();
        let evaluator = Evaluator {
            multi_label: true,
            ..evaluator(Task::TextClassification, &inputs, &[])
        };
        let mut logits = logits(40, 3);
        logits.iter_mut().flatten().for_each(|logit| *logit -= 5.0);
        let units = holds(&evaluator, &logits);
        let empty = gold.iter().position(|bits| *bits == 0).unwrap();
        assert_eq!(units.metric(&[empty]), 0.0, "nothing was there to find");
        logits[empty].fill(-1.0);
        let units = holds(&evaluator, &logits);
        assert_eq!(units.metric(&[empty, empty]), 0.0, "nor was a label given");
    }

    #[test]
    fn words_add_up_by_sentence() {
        for labels in [["DET", "NOUN", "VERB"], ["O", "B-PER", "I-PER"]] {
            let labels = labels.map(str::to_owned);
            let tags = sequence(9, 3, 60);
            let inputs: Vec<_> = tags
                .chunks(6)
                .enumerate()
                .map(|(example, tags)| Encoded {
                    ids: vec![5; 6],
                    target: Target::Classes(tags.iter().map(|&tag| Some(tag as u32)).collect()),
                    offsets: (0..6).map(|at| at..at + 1).collect(),
                    example,
                    ..Encoded::default()
                })
                .collect();
            let evaluator = evaluator(Task::TokenClassification, &inputs, &labels);
            let units = holds(&evaluator, &logits(10, 18));
            assert_eq!(units.len(), 10);
        }
    }

    #[test]
    fn answers_add_up_by_question() {
        let passage = "one two three four";
        let example = |gold: &str| Example {
            pair: Some(passage.to_owned()),
            label: Label::Answers(vec![GoldAnswer {
                text: gold.to_owned(),
                start: passage.find(gold),
            }]),
            ..Example::default()
        };
        let examples = [example("two three"), example("four")];
        let input = |example| Encoded {
            ids: vec![5; 7],
            second: 2,
            example,
            offsets: vec![0..0, 0..0, 0..3, 4..7, 8..13, 14..18, 0..0],
            target: Target::Span(3, 4),
            ..Encoded::default()
        };
        let inputs = [input(0), input(1)];
        let evaluator = Evaluator {
            examples: &examples,
            ..evaluator(Task::QuestionAnswering, &inputs, &[])
        };
        // The first answer is "two", which is half of what is right; the second is right.
        let at = |start: usize, end: usize| {
            let mut logits = vec![0.0; 14];
            (logits[2 * start], logits[2 * end + 1]) = (5.0, 5.0);
            logits
        };
        let units = holds(&evaluator, &[at(3, 3), at(5, 5)]);
        assert!((units.metric(&[0]) - 200.0 / 3.0).abs() < 1e-12);
        assert_eq!(units.metric(&[1, 1]), 100.0);
    }
}
