//! Whether scores tell how often answers are right, and the temperature at which they do so best.
//!
//! The temperature minimizes the negative log-likelihood of the labels of a file that the model has not
//! learnt from ([Guo, Pleiss, Sun and Weinberger 2017][guo]). It is sought by golden-section search: over
//! the inverse of the temperature the likelihood has one minimum, since it is convex there.
//!
//! The score of a span is the product of two probabilities, of a start and of an end that go together, and so it
//! is too low where labels are likely. For questions another likelihood is taken: that the span which is answered
//! is right or wrong, as its score foretells. It need not be convex, and what the search finds may be one minimum
//! of several; whether it does good is measured on other rows.
//!
//! How far scores are from the share of right answers is told by [`Reliability`].
//!
//! [guo]: https://proceedings.mlr.press/v70/guo17a.html

use berth_task::{Task, Temperature};
use rayon::prelude::*;

use super::answer::Answer;
use super::evaluator::Evaluator;
use super::outcome::{Graded, Outcome, Output};
use super::reliability::Reliability;
use super::texts::rows;
use super::{EvaluationError, questions, tags};
use crate::dataset::Label;
use crate::encode::Target;

/// Between which temperatures one is sought.
const RANGE: [f64; 2] = [0.1, 10.0];

/// How near the search comes to the minimum, in parts of the temperature.
const NEAR: f64 = 1e-4;

/// Softmaxes whose losses are added up by one thread.
const BLOCK: usize = 256;

/// An answer, how sure the model is of it, and whether it is right.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Judged {
    /// The index of the example.
    pub example: usize,
    /// How probable the model finds it.
    pub score: f32,
    /// It is the label; of a question, one of the answers word for word, as SQuAD's scripts compare them.
    pub right: bool,
}

/// The expected calibration error of the scores; 0 where there are none.
pub fn expected_calibration_error(judged: &[Judged]) -> f64 {
    Reliability::of(judged.iter().map(|one| (one.score, one.right))).error()
}

impl Evaluator<'_> {
    /// Every answer with its score at a temperature, and whether it is right; none for numbers, which have
    /// no scores.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn judged<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
        temperature: Temperature,
    ) -> Result<Vec<Judged>, EvaluationError> {
        if self.task == Task::TextPairRegression {
            return Ok(Vec::new());
        }
        let decisions = self.decisions_at(logits, temperature)?;
        let judge = |decision: &super::Decision| {
            let (score, right) = match (&decision.answer, &decision.gold) {
                (Answer::Class { label, probability }, Label::Class(gold)) => {
                    (*probability, *label == *gold as usize)
                }
                (
                    Answer::Span {
                        text, probability, ..
                    },
                    Label::Answers(gold),
                ) => (*probability, questions::is_right(self, text, gold)),
                _ => return None,
            };
            let example = decision.example;
            Some(Judged {
                example,
                score,
                right,
            })
        };
        Ok(decisions.iter().filter_map(judge).collect())
    }

    /// The temperature at which the labels of the examples that are `chosen` are most likely, for questions that
    /// answers are right or wrong, to a thousandth. `None` where none of them tells anything, and where the likelihood grows all the way to
    /// an end of the range: then every answer is right, or all are no better than thrown.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn fit_temperature<L: AsRef<[f32]>>(
        &self,
        logits: &[L],
        chosen: impl Fn(usize) -> bool,
    ) -> Result<Option<Temperature>, EvaluationError> {
        let mut graded = self.graded(logits)?;
        graded.retain(|one| chosen(one.example));
        if graded.is_empty() {
            return Ok(None);
        }
        let loss = |inverse: f64| {
            let sum = |block: &[Graded]| {
                let surprises = block.iter().map(|one| one.outcome.surprise(inverse));
                surprises.sum::<f64>()
            };
            // Blocks are added in their order, so that the sum is the same on any number of threads.
            let sums: Vec<f64> = graded.par_chunks(BLOCK).map(sum).collect();
            sums.iter().sum::<f64>()
        };
        let [coldest, hottest] = RANGE;
        let inverse = least(1.0 / hottest, 1.0 / coldest, loss);
        // Rounded, so that the last bits of a machine's exponential don't show.
        let fitted = ((1e3 / inverse).round() / 1e3) as f32;
        let inside = f64::from(fitted) > 1.01 * coldest && f64::from(fitted) < 0.99 * hottest;
        Ok(Temperature::new(fitted).filter(|_| inside))
    }

    fn graded<L: AsRef<[f32]>>(&self, logits: &[L]) -> Result<Vec<Graded>, EvaluationError> {
        self.evaluate(logits)?;
        match self.task {
            Task::TextPairRegression => Ok(Vec::new()),
            Task::TokenClassification => tags::graded(self, logits),
            Task::QuestionAnswering => questions::graded(self, logits),
            Task::TextClassification | Task::TextPairClassification => {
                let rows = rows(logits, self.inputs)?.into_iter();
                Ok(rows
                    .filter_map(|row| match row.input.target {
                        Target::Class(gold) => Some(Graded {
                            example: row.input.example,
                            outcome: Outcome::Label(Output::of(
                                row.logits.into_owned(),
                                gold as usize,
                            )),
                        }),
                        _ => None,
                    })
                    .collect())
            }
        }
    }
}

/// Where a function with one minimum between `low` and `high` has it: the interval is narrowed by the
/// golden ratio, so that each step needs one new value ([Kiefer 1953]).
fn least(low: f64, high: f64, value: impl Fn(f64) -> f64) -> f64 {
    let shrink = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (low, high);
    let (mut left, mut right) = (high - shrink * (high - low), low + shrink * (high - low));
    let (mut at_left, mut at_right) = (value(left), value(right));
    while high - low > NEAR * low {
        if at_left < at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - shrink * (high - low);
            at_left = value(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + shrink * (high - low);
            at_right = value(right);
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoded;
    use crate::metrics::{SpanScoring, sequence};

    fn judged(score: f32, right: bool) -> Judged {
        Judged {
            example: 0,
            score,
            right,
        }
    }

    /// Worked out by hand: bins (0.6, 0.667], (0.8, 0.867] and (0.933, 1].
    #[test]
    fn the_error_is_the_mean_gap_of_fifteen_bins() {
        let all = [
            judged(0.65, true),
            judged(0.61, false),
            judged(0.85, true),
            judged(1.0, true),
            judged(0.95, false),
        ];
        let gaps = (0.65 + 0.61 - 1.0f64).abs() + (0.85 - 1.0f64).abs() + (1.95 - 1.0f64).abs();
        let found = expected_calibration_error(&all);
        assert!((found - gaps / 5.0).abs() < 1e-7, "{found}");
        assert_eq!(expected_calibration_error(&[]), 0.0);
        assert_eq!(expected_calibration_error(&[judged(0.0, false)]), 0.0);
        assert_eq!(expected_calibration_error(&[judged(1.0, true)]), 0.0);
    }

    #[test]
    fn the_search_finds_the_minimum_wherever_it_is() {
        for at in [0.11, 0.3, 1.0, 4.2, 9.9] {
            let found = least(0.1, 10.0, |x| (x.ln() - f64::ln(at)).powi(2));
            assert!((found / at - 1.0).abs() < 1e-3, "{at}: {found}");
        }
        assert!(least(0.1, 10.0, |x| x) < 0.101);
        assert!(least(0.1, 10.0, |x| -x) > 9.99);
    }

    /// Labels drawn from the probabilities that logits stand for at a known temperature.
    fn drawn(temperature: f64, count: usize) -> (Vec<[f32; 3]>, Vec<Encoded>) {
        let numbers = sequence(7, 1 << 15, 4 * count);
        let (mut logits, mut inputs) = (Vec::new(), Vec::new());
        for (example, four) in numbers.chunks_exact(4).enumerate() {
            let row = [four[0], four[1], four[2]].map(|n| n as f32 / 4096.0 - 4.0);
            let powers = row.map(|logit| (f64::from(logit) / temperature).exp());
            let mut left = four[3] as f64 / f64::from(1 << 15) * powers.iter().sum::<f64>();
            let mut gold = 0;
            while gold < 2 && left >= powers[gold] {
                left -= powers[gold];
                gold += 1;
            }
            logits.push(row);
            inputs.push(Encoded {
                target: Target::Class(gold as u32),
                example,
                ..Encoded::default()
            });
        }
        (logits, inputs)
    }

    /// An evaluator of classes, without examples.
    fn of_classes(inputs: &[Encoded]) -> Evaluator<'_> {
        Evaluator {
            task: Task::TextClassification,
            task_name: None,
            multi_label: false,
            labels: &[],
            examples: &[],
            inputs,
            spans: SpanScoring::default(),
        }
    }

    #[test]
    fn the_temperature_that_labels_were_drawn_at_is_found_and_takes_the_error_away() {
        for known in [0.5, 1.0, 2.5] {
            let (logits, inputs) = drawn(known, 4000);
            let evaluator = of_classes(&inputs);
            let fitted = evaluator
                .fit_temperature(&logits, |_| true)
                .unwrap()
                .unwrap();
            let near = f64::from(fitted.get()) / known;
            assert!((0.93..1.07).contains(&near), "{known}: {fitted:?}");
            let error = |temperature| {
                expected_calibration_error(&evaluator.judged(&logits, temperature).unwrap())
            };
            assert!(error(fitted) < 0.03, "{known}: {}", error(fitted));
            if known != 1.0 {
                assert!(error(Temperature::ONE) > 0.08, "{known}");
            }
            // The answers are the same ones.
            let right = |temperature| {
                let judged = evaluator.judged(&logits, temperature).unwrap();
                judged.iter().map(|one| one.right).collect::<Vec<_>>()
            };
            assert_eq!(right(fitted), right(Temperature::ONE));
        }
    }

    #[test]
    fn only_the_chosen_examples_are_fitted_on() {
        let (logits, inputs) = drawn(1.0, 400);
        let evaluator = Evaluator {
            task: Task::TextPairClassification,
            ..of_classes(&inputs)
        };
        let fit = |logits: &[[f32; 3]]| {
            let fitted = evaluator.fit_temperature(logits, |example| example % 2 == 0);
            fitted.unwrap()
        };
        let mut others = logits.clone();
        for row in others.iter_mut().skip(1).step_by(2) {
            *row = row.map(|logit| -9.0 * logit);
        }
        assert_eq!(fit(&logits), fit(&others));
        let none = evaluator.fit_temperature(&logits, |_| false);
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn labels_that_grow_likelier_to_an_end_of_the_range_have_no_temperature() {
        for (apart, gold) in [(1.0f32, 0), (100.0, 0), (1.0, 1), (100.0, 1)] {
            let input = |example| Encoded {
                target: Target::Class(gold),
                example,
                ..Encoded::default()
            };
            let inputs: Vec<Encoded> = (0..20).map(input).collect();
            let evaluator = of_classes(&inputs);
            let logits = [[apart, 0.0]; 20];
            let fitted = evaluator.fit_temperature(&logits, |_| true);
            assert_eq!(fitted, Ok(None), "{apart}, {gold}");
        }
    }

    #[test]
    fn numbers_have_no_scores() {
        let inputs = [1.0, 2.0].map(|value| Encoded {
            target: Target::Value(value),
            ..Encoded::default()
        });
        let inputs = [
            inputs[0].clone(),
            Encoded {
                example: 1,
                ..inputs[1].clone()
            },
        ];
        let evaluator = Evaluator {
            task: Task::TextPairRegression,
            task_name: None,
            multi_label: false,
            labels: &[],
            examples: &[],
            inputs: &inputs,
            spans: SpanScoring::default(),
        };
        let logits = [[0.5], [1.5]];
        assert_eq!(evaluator.judged(&logits, Temperature::ONE), Ok(Vec::new()));
        assert_eq!(evaluator.fit_temperature(&logits, |_| true), Ok(None));
    }
}
