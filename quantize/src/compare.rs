//! What int8 cost: the answers of the checkpoint and of the bundle, on the same labelled rows.

use berth_bundle::{MAX_METRICS, Metric};
use berth_data::{Evaluation, EvaluationError, Example, Label, TaskName, main_metric};
use berth_task::{Task, argmax, softmax};

/// How far apart two numbers may be to count as the same answer: this part of the range of the
/// labels.
const SAME_NUMBER: f64 = 0.02;

/// How many characters of a text are shown with an answer that changed.
const EXCERPT: usize = 100;

/// f32 and int8 side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The name of the metric that stands for all, without `eval_`.
    pub main_metric: &'static str,
    /// What the checkpoint reached.
    pub f32: Evaluation,
    /// What the bundle reached.
    pub int8: Evaluation,
    /// How many rows have the same answer: the same best label, or a number that differs by at
    /// most 2 % of the range of the gold labels.
    pub same: usize,
    /// The cosine between all logits of the one and all logits of the other.
    pub cosine: f64,
    /// The other rows, in their order.
    pub changed: Vec<Changed>,
}

/// A row whose answer is another one in int8.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// The line of the file.
    pub line: u64,
    /// The beginning of the text or texts, on one line.
    pub text: String,
    /// What is right.
    pub gold: Label,
    /// What the checkpoint says.
    pub f32: Answer,
    /// What the bundle says.
    pub int8: Answer,
}

/// What a model says to a row.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Answer {
    /// One of the labels.
    Class {
        /// Its index.
        label: usize,
        /// How probable the model finds it.
        probability: f32,
    },
    /// A number.
    Value(f32),
}

impl Comparison {
    /// Compares the logits of `examples`, in their order.
    ///
    /// # Errors
    /// Where logits and examples don't fit together, or an example has no label.
    pub fn new<L: AsRef<[f32]>>(
        task: Task,
        task_name: Option<TaskName>,
        examples: &[Example],
        f32_logits: &[L],
        int8_logits: &[L],
    ) -> Result<Self, EvaluationError> {
        let gold: Vec<Label> = examples.iter().map(|example| example.label).collect();
        let f32 = Evaluation::of(task, task_name, f32_logits, &gold)?;
        let int8 = Evaluation::of(task, task_name, int8_logits, &gold)?;
        let tolerance = SAME_NUMBER * range(&gold);
        let mut changed = Vec::new();
        let mut products = Products::default();
        let pairs = f32_logits
            .iter()
            .zip(int8_logits)
            .map(|(a, b)| (a.as_ref(), b.as_ref()));
        for (row, (example, (f32, int8))) in examples.iter().zip(pairs).enumerate() {
            if f32.len() != int8.len() {
                let outputs = int8.len();
                return Err(EvaluationError::Outputs { row, outputs });
            }
            products.add(f32, int8);
            let answers = [Answer::of(task, f32), Answer::of(task, int8)];
            if !answers[0].is_same(&answers[1], tolerance) {
                changed.push(Changed::of(example, answers));
            }
        }
        Ok(Comparison {
            main_metric: main_metric(task, task_name),
            f32,
            int8,
            same: examples.len() - changed.len(),
            cosine: products.cosine(),
            changed,
        })
    }

    /// The share of rows with the same answer, from 0 to 1.
    pub fn agreement(&self) -> f64 {
        self.same as f64 / self.f32.samples as f64
    }

    /// Between which shares the agreement on texts of this kind lies, with 95 % confidence, as far
    /// as these rows can tell. [Wilson 1927]
    pub fn agreement_interval(&self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        let (share, n) = (self.agreement(), self.f32.samples as f64);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (middle, scale) = (share + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
        let bound = |at: f64| (at / scale).clamp(0.0, 1.0);
        (bound(middle - spread), bound(middle + spread))
    }

    /// How much of the main metric int8 cost, in points of 100; below 0 where it is better.
    pub fn drop(&self) -> f64 {
        let of = |evaluation: &Evaluation| evaluation.get(self.main_metric).unwrap_or(f64::NAN);
        100.0 * (of(&self.f32) - of(&self.int8))
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
    fn of(example: &Example, [f32, int8]: [Answer; 2]) -> Self {
        let text = match &example.pair {
            Some(pair) => format!("{} | {}", excerpt(&example.text), excerpt(pair)),
            None => excerpt(&example.text),
        };
        Changed {
            line: example.line,
            text,
            gold: example.label,
            f32,
            int8,
        }
    }
}

impl Answer {
    /// The answer that a row of logits stands for.
    fn of(task: Task, logits: &[f32]) -> Self {
        if task == Task::TextPairRegression {
            return Answer::Value(logits[0]);
        }
        let label = argmax(logits);
        let mut probabilities = vec![0.0; logits.len()];
        softmax(logits, &mut probabilities);
        Answer::Class {
            label,
            probability: probabilities[label],
        }
    }

    fn is_same(&self, other: &Answer, tolerance: f64) -> bool {
        match (self, other) {
            (Answer::Class { label: a, .. }, Answer::Class { label: b, .. }) => a == b,
            (Answer::Value(a), Answer::Value(b)) => {
                (f64::from(*a) - f64::from(*b)).abs() <= tolerance
            }
            _ => false,
        }
    }
}

/// From the smallest gold number to the largest; 0 where the labels are classes.
fn range(gold: &[Label]) -> f64 {
    let values = gold.iter().filter_map(|label| match label {
        Label::Value(value) => Some(f64::from(*value)),
        Label::None | Label::Class(_) => None,
    });
    let ends = values.map(|value| (value, value));
    let ends = ends.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)));
    ends.map_or(0.0, |(low, high)| high - low)
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

/// The three sums that a cosine is made of.
#[derive(Default)]
struct Products {
    ab: f64,
    aa: f64,
    bb: f64,
}

impl Products {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.ab += a * b;
            self.aa += a * a;
            self.bb += b * b;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(text: &str, label: Label, line: u64) -> Example {
        Example {
            text: text.to_owned(),
            pair: None,
            label,
            line,
        }
    }

    fn classes(gold: &[u32]) -> Vec<Example> {
        let lines = (2..).zip(gold);
        lines
            .map(|(line, &class)| example("some text", Label::Class(class), line))
            .collect()
    }

    const F32: [[f32; 2]; 4] = [[2.0, 0.0], [0.0, 1.0], [0.1, 0.0], [-1.0, 3.0]];
    const INT8: [[f32; 2]; 4] = [[1.9, 0.1], [0.0, 1.1], [0.0, 0.1], [-1.0, 2.9]];

    #[test]
    fn an_answer_that_changed_is_told_with_both_probabilities() {
        let task = Task::TextClassification;
        let examples = classes(&[0, 1, 0, 0]);
        let comparison = Comparison::new(task, None, &examples, &F32, &INT8).unwrap();
        assert_eq!(comparison.main_metric, "accuracy");
        assert_eq!(comparison.f32.get("accuracy"), Some(0.75));
        assert_eq!(comparison.int8.get("accuracy"), Some(0.5));
        assert_eq!(comparison.drop(), 25.0);
        assert_eq!(comparison.same, 3);
        assert_eq!(comparison.agreement(), 0.75);
        let probability = 1.0 / (1.0 + f32::exp(-0.1));
        let [changed] = &comparison.changed[..] else {
            panic!("{:?}", comparison.changed);
        };
        assert_eq!((changed.line, changed.gold), (4, Label::Class(0)));
        for (answer, expected) in [(changed.f32, 0), (changed.int8, 1)] {
            let Answer::Class {
                label,
                probability: found,
            } = answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(label, expected);
            assert!((found - probability).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn the_metrics_of_both_go_into_the_bundle() {
        let task = Task::TextClassification;
        let comparison = Comparison::new(task, None, &classes(&[0, 1, 0, 0]), &F32, &INT8);
        let metrics = comparison.unwrap().metrics();
        assert_eq!(metrics.len(), 6);
        assert_eq!(metrics[0].name, "eval_loss");
        let accuracy = &metrics[1];
        assert_eq!(accuracy.name, "eval_accuracy");
        assert_eq!((accuracy.f32, accuracy.int8), (0.75, 0.5));
    }

    #[test]
    fn numbers_may_differ_by_two_hundredths_of_the_range() {
        let gold = [0.0, 5.0, 2.0].map(Label::Value);
        let examples = gold.map(|label| example("a", label, 1));
        let task = Task::TextPairRegression;
        let f32 = [[0.5], [4.0], [2.0]];
        let int8 = [[0.59], [4.11], [1.91]];
        let comparison = Comparison::new(task, None, &examples, &f32, &int8).unwrap();
        assert_eq!(comparison.main_metric, "spearmanr");
        assert_eq!(comparison.same, 2);
        let [changed] = &comparison.changed[..] else {
            panic!("{:?}", comparison.changed);
        };
        assert_eq!(changed.f32, Answer::Value(4.0));
        assert_eq!(changed.int8, Answer::Value(4.11));
    }

    #[test]
    fn the_cosine_is_over_all_logits() {
        let compare = |a: &[[f32; 2]], b: &[[f32; 2]]| {
            let examples = classes(&vec![0; a.len()]);
            let comparison = Comparison::new(Task::TextClassification, None, &examples, a, b);
            comparison.unwrap().cosine
        };
        assert_eq!(compare(&F32, &F32), 1.0);
        assert_eq!(compare(&[[1.0, 0.0]], &[[0.0, 2.0]]), 0.0);
        assert_eq!(compare(&[[0.0; 2]], &[[0.0; 2]]), 1.0);
        let exact = (3.0 * 3.0 + 4.0 * 5.0) / (5.0 * f64::sqrt(34.0));
        assert!((compare(&[[3.0, 4.0]], &[[3.0, 5.0]]) - exact).abs() < 1e-12);
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
            let comparison = Comparison::new(task, None, &examples, &logits(0), &int8);
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
        let answer = Answer::Value(0.0);
        assert_eq!(Changed::of(&pair, [answer; 2]).text, "one | two");
    }

    #[test]
    fn logits_that_do_not_fit_together_are_refused() {
        let task = Task::TextClassification;
        let examples = classes(&[0, 1]);
        let compare = |f32: &[&[f32]], int8: &[&[f32]]| {
            Comparison::new(task, None, &examples, f32, int8)
                .map(drop)
                .unwrap_err()
        };
        let (two, three) = ([0.0, 1.0], [0.0, 1.0, 2.0]);
        let error = EvaluationError::RowCount {
            logits: 1,
            labels: 2,
        };
        assert_eq!(compare(&[&two, &two], &[&two]), error);
        let error = EvaluationError::Outputs { row: 0, outputs: 3 };
        assert_eq!(compare(&[&two, &two], &[&three, &three]), error);
    }
}
