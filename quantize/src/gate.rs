//! What is asked of a bundle before it is written.

use std::error::Error;
use std::fmt;

use crate::compare::{Comparison, FEW, Z};

/// What a difference of two metrics may be off, in points: 83.7 is less than 0.3 below 84 in reals and more in f64.
const ROUNDING: f64 = 1e-9;

/// The most decimals that a missed bound is told with.
const DECIMALS: usize = 12;

/// What a bundle has to reach to be written. Where a bound is not given, it isn't checked.
#[derive(Copy, Clone, Default, Debug)]
pub struct Gate {
    /// The most of the main metric that int8 may cost, in points of 100.
    pub max_drop: Option<f64>,
    /// The smallest agreement, from 0 to 1.
    pub min_agreement: Option<f64>,
}

impl Gate {
    /// Whether nothing is asked.
    pub fn is_open(&self) -> bool {
        self.max_drop.is_none() && self.min_agreement.is_none()
    }

    /// Holds a comparison against both bounds.
    ///
    /// # Errors
    /// Says which were missed, and by how much.
    pub fn check(&self, comparison: &Comparison) -> Result<(), Missed> {
        let points = comparison.drop();
        // A metric that is not a number is within no bound.
        let is_more = |allowed: &f64| points.is_nan() || points > *allowed + ROUNDING;
        let drop = self.max_drop.filter(is_more).map(|allowed| TooMuch {
            metric: comparison.main_metric,
            points,
            allowed,
        });
        let is_less = |wanted: &f64| comparison.agreement() < *wanted;
        let agreement = self.min_agreement.filter(is_less).map(|wanted| TooFew {
            same: comparison.same,
            asked: comparison.asked,
            wanted,
        });
        match (drop, agreement) {
            (None, None) => Ok(()),
            (drop, agreement) => Err(Missed { drop, agreement }),
        }
    }

    /// For each bound that the file is too small to tell, a sentence that says by how much. Passing it is
    /// then no proof, and missing it may be chance.
    pub fn doubts(&self, comparison: &Comparison) -> Vec<String> {
        let drop = self.max_drop.and_then(|bar| drop_doubt(bar, comparison));
        let agreement = self.min_agreement;
        let agreement = agreement.and_then(|bar| agreement_doubt(bar, comparison));
        drop.into_iter().chain(agreement).collect()
    }
}

/// Why the loss can't be told as finely as the bound asks, and how many rows would do for all of it.
fn drop_doubt(bar: f64, comparison: &Comparison) -> Option<String> {
    // No file is too small to tell that int8 has to gain something.
    if bar < 0.0 {
        return None;
    }
    let (asked, metric) = (comparison.asked as f64, comparison.main_metric);
    let [low, high] = comparison.drop_interval;
    let half = (high - low) / 2.0;
    if half == 0.0 && comparison.asked - comparison.same >= FEW && !comparison.is_mean() {
        return Some(format!(
            "the file can't tell what --max_drop {bar} asks; {}, and {metric} is the same in every sample of its rows, \
             as where all labels are alike: --min_agreement tells more",
            comparison.count_changed()
        ));
    }
    let mut reasons = Vec::new();
    if comparison.is_mean() {
        let one = 100.0 / asked;
        reasons.push((
            100.0 / bar,
            format!("one answer of its {asked} is {one:.2} points"),
        ));
    }
    // The width of the interval falls with the root of the number of rows.
    reasons.push((
        asked * (half / bar).powi(2),
        format!(
            "what int8 costs is known to {half:.2} points of {metric} either way (95 % interval \
             {low:.2} to {high:.2})"
        ),
    ));
    reasons.extend(few_doubt(bar, comparison));
    reasons.retain(|(needed, _)| needed.ceil() > asked);
    let needed = reasons.iter().map(|(needed, _)| needed.ceil());
    let needed = needed.reduce(f64::max)?;
    let reasons: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
    let enough = match needed.is_infinite() && bar > 0.0 && !comparison.is_mean() {
        // Nothing changed, so nothing says of how many answers some will.
        true => format!("a file in which {FEW} change would do"),
        false => rows(needed),
    };
    Some(format!(
        "the file is too small for --max_drop {bar}; {}; {enough}",
        reasons.join("; ")
    ))
}

/// Why the few answers that changed don't vouch for the bound, and how many rows would do where as large a share
/// changes in more.
fn few_doubt(bar: f64, comparison: &Comparison) -> Option<(f64, String)> {
    let caution = comparison.caution()?;
    if comparison.is_mean() {
        return Some((rows_to_bound(bar, comparison), caution));
    }
    let changed = (comparison.asked - comparison.same) as f64;
    let reason = format!(
        "{}, and fewer than {FEW} can't bound the loss of {}, in which one may weigh more than its \
         share: --min_agreement tells more",
        comparison.count_changed(),
        comparison.main_metric
    );
    Some(((FEW * comparison.asked) as f64 / changed, reason))
}

/// How many rows it takes where few answers changed, and as large a share changes in more: until Wilson's bound of
/// that share is within `bar` points, or enough have changed for the bootstrap.
fn rows_to_bound(bar: f64, comparison: &Comparison) -> f64 {
    let (share, bound) = (1.0 - comparison.agreement(), bar / 100.0);
    // Where Wilson's bound is `bound`, n times the squared distance from the share is z² times the bound's variance.
    let wilson = match bound > share {
        true => Z * Z * bound * (1.0 - bound) / (bound - share).powi(2),
        false => f64::INFINITY,
    };
    wilson.min(FEW as f64 / share)
}

/// Whether full agreement on this file would vouch for the bound.
fn agreement_doubt(bar: f64, comparison: &Comparison) -> Option<String> {
    // Wilson's lower bound for n of n is n / (n + z²).
    let needed = (Z * Z * bar / (1.0 - bar)).ceil();
    let asked = comparison.asked as f64;
    (asked < needed).then(|| {
        let least = asked / (asked + Z * Z);
        format!(
            "the file is too small for --min_agreement {bar}: even if all of its {asked} answers were \
             the same, the share of all texts could be as low as {least:.4} (95 %); {}",
            rows(needed)
        )
    })
}

fn rows(needed: f64) -> String {
    match needed.is_finite() {
        true => format!("about {needed} would do"),
        false => "no number of answers would do".to_owned(),
    }
}

/// The bounds of a [`Gate`] that were missed: one, or both.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Missed {
    /// What int8 cost of the main metric, where that is too much.
    drop: Option<TooMuch>,
    /// How many answers are the same, where those are too few.
    agreement: Option<TooFew>,
}

/// Points of 100 that were lost, and those that were allowed.
#[derive(Copy, Clone, PartialEq, Debug)]
struct TooMuch {
    metric: &'static str,
    points: f64,
    allowed: f64,
}

/// Answers that are the same, and the share that was asked for.
#[derive(Copy, Clone, PartialEq, Debug)]
struct TooFew {
    same: usize,
    asked: usize,
    wanted: f64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(TooMuch {
            metric,
            points,
            allowed,
        }) = self.drop
        {
            let points = apart(points, allowed);
            write!(
                f,
                "int8 costs {points} points of {metric}, and {allowed} are allowed; "
            )?;
        }
        if let Some(TooFew {
            same,
            asked,
            wanted,
        }) = self.agreement
        {
            let (share, wanted) = (100.0 * same as f64 / asked as f64, 100.0 * wanted);
            let (share, wanted) = (apart(share, wanted), apart(wanted, share));
            write!(
                f,
                "{same} of {asked} answers ({share} %) are the same in int8, and {wanted} % are \
                 asked for; "
            )?;
        }
        f.write_str("nothing was written")
    }
}

impl Error for Missed {}

/// `value` with as many decimals as tell it from `other`, and two at least.
fn apart(value: f64, other: f64) -> String {
    let mut decimals = 2;
    while decimals < DECIMALS && format!("{value:.decimals$}") == format!("{other:.decimals$}") {
        decimals += 1;
    }
    format!("{value:.decimals$}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use berth_data::{Encoded, Evaluator, Example, Target};
    use berth_task::Task;

    /// Measures the classes of as many rows.
    fn evaluator<'a>(examples: &'a [Example], inputs: &'a [Encoded]) -> Evaluator<'a> {
        Evaluator {
            task: Task::TextClassification,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples,
            inputs,
            spans: Default::default(),
        }
    }

    fn input((example, class): (usize, u32)) -> Encoded {
        Encoded {
            target: Target::Class(class),
            example,
            ..Encoded::default()
        }
    }

    /// Four rows, of which one changes from right to wrong.
    pub(crate) fn comparison() -> Comparison {
        let first = Example {
            line: 1,
            ..Example::default()
        };
        let (examples, inputs) = (vec![first; 4], [(0, 0), (1, 0), (2, 1), (3, 1)].map(input));
        let evaluator = evaluator(&examples, &inputs);
        let f32 = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]];
        let int8 = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]];
        Comparison::new(&evaluator, &f32, &int8).unwrap()
    }

    #[test]
    fn a_bound_is_met_up_to_itself_and_missed_beyond() {
        let check = |max_drop, min_agreement| {
            let gate = Gate {
                max_drop,
                min_agreement,
            };
            gate.check(&comparison())
        };
        assert!(Gate::default().is_open());
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some(25.0), Some(0.75)), Ok(()));
        let missed = check(Some(24.9), None).unwrap_err().to_string();
        assert!(
            missed.contains("25.00 points of accuracy, and 24.9 are allowed"),
            "{missed}"
        );
        let missed = check(Some(30.0), Some(0.985)).unwrap_err().to_string();
        assert_eq!(
            missed,
            "3 of 4 answers (75.00 %) are the same in int8, and 98.50 % are asked for; nothing was \
             written"
        );
    }

    #[test]
    fn every_missed_bound_is_told_in_figures_that_differ() {
        let missed = Missed {
            drop: Some(TooMuch {
                metric: "f1",
                points: 0.3004,
                allowed: 0.3,
            }),
            agreement: Some(TooFew {
                same: 262,
                asked: 300,
                wanted: 0.87334,
            }),
        };
        assert_eq!(
            missed.to_string(),
            "int8 costs 0.3004 points of f1, and 0.3 are allowed; 262 of 300 answers (87.333 %) are \
             the same in int8, and 87.334 % are asked for; nothing was written"
        );
        // What differs in no decimal that is told ends all the same.
        assert_eq!(apart(1.0, 1.0 + f64::EPSILON), "1.000000000000");
    }

    /// 84 less 83.7 is more than 0.3 in f64.
    #[test]
    fn a_drop_of_just_the_bound_is_within_it() {
        let rows = 1000;
        let examples = vec![Example::default(); rows];
        let inputs: Vec<_> = (0..rows).map(|row| input((row, 0))).collect();
        let evaluator = evaluator(&examples, &inputs);
        let right = |count| -> Vec<[f32; 2]> {
            let logits = |row| [f32::from(u8::from(row < count)), 0.5];
            (0..rows).map(logits).collect()
        };
        let comparison = Comparison::new(&evaluator, &right(840), &right(837)).unwrap();
        assert!(comparison.drop() > 0.3);
        let bound = |max_drop| Gate {
            max_drop: Some(max_drop),
            min_agreement: Some(0.997),
        };
        assert_eq!(bound(0.3).check(&comparison), Ok(()));
        assert!(bound(0.29).check(&comparison).is_err());
    }

    #[test]
    fn a_file_that_is_too_small_is_said_to_be() {
        let doubts = |max_drop, min_agreement| {
            let gate = Gate {
                max_drop,
                min_agreement,
            };
            gate.doubts(&comparison()).join("; ")
        };
        assert_eq!(doubts(None, None), "");
        // One answer alone asks for 334 rows; the interval asks for more, and that is named.
        let one = doubts(Some(0.3), None);
        assert!(one.contains("one answer of its 4 is 25.00 points"), "{one}");
        assert!(one.contains("37.50 points of accuracy"), "{one}");
        assert!(one.ends_with("; about 62500 would do"), "{one}");
        // The interval of one answer in four is 75 points wide: half of it either way.
        let wide = doubts(Some(30.0), None);
        assert!(
            wide.contains("37.50 points of accuracy either way"),
            "{wide}"
        );
        // One of four changed: with forty rows it would be ten.
        let caution =
            "1 answer changed, too few for this interval: up to 69.94 points are possible";
        assert!(wide.contains(caution), "{wide}");
        assert!(wide.ends_with("about 40 would do"), "{wide}");
        assert_eq!(doubts(Some(70.0), None), "");
        // 381 of 381 have Wilson's lower bound at 0.99 for the first time.
        let few = doubts(None, Some(0.99));
        assert!(few.contains("0.5101 (95 %); about 381 would do"), "{few}");
        assert!(doubts(None, Some(1.0)).contains("no number of answers would do"));
        assert_eq!(doubts(None, Some(0.5)), "");
    }

    /// As many rows, none of which changes.
    fn unchanged(rows: usize) -> Comparison {
        let examples = vec![Example::default(); rows];
        let inputs: Vec<_> = (0..rows).map(|row| input((row, 0))).collect();
        let logits = vec![[1.0, 0.0]; rows];
        Comparison::new(&evaluator(&examples, &inputs), &logits, &logits).unwrap()
    }

    #[test]
    fn where_nothing_changed_the_file_may_be_too_small_for_any_metric() {
        let gate = Gate {
            max_drop: Some(0.3),
            min_agreement: None,
        };
        let doubts = |comparison: &Comparison| gate.doubts(comparison).join("; ");
        let told = doubts(&unchanged(2));
        for part in [
            "one answer of its 2 is 50.00 points",
            "nothing changed, too little for this interval: up to 65.76 points are possible (95 %)",
        ] {
            assert!(told.contains(part), "{told}");
        }
        // However many rows: one of the rarest class may cost more than all others.
        for (main_metric, rows) in [
            ("f1", 2),
            ("f1", 2186),
            ("matthews_correlation", 1277),
            ("spearmanr", 1277),
        ] {
            let told = doubts(&Comparison {
                main_metric,
                ..unchanged(rows)
            });
            assert_eq!(
                told,
                format!(
                    "the file is too small for --max_drop 0.3; nothing changed, and fewer than 10 \
                     can't bound the loss of {main_metric}, in which one may weigh more than its \
                     share: --min_agreement tells more; a file in which 10 change would do"
                )
            );
        }
        // An answer of 400 is fine enough, and yet n of n vouch for 0.3 points from 1,277 on.
        let told = doubts(&unchanged(400));
        assert!(!told.contains("one answer of"), "{told}");
        assert!(told.ends_with("; about 1277 would do"), "{told}");
        assert_ne!(doubts(&unchanged(1276)), "");
        assert_eq!(doubts(&unchanged(1277)), "");
    }

    /// Of four answers one changed: of as many in ten times as many rows it would be enough.
    #[test]
    fn what_an_answer_costs_is_told_of_means_alone() {
        let told = |bar, main_metric, drop_interval| {
            let gate = Gate {
                max_drop: Some(bar),
                min_agreement: None,
            };
            let of_labels = Comparison {
                main_metric,
                drop_interval,
                ..comparison()
            };
            gate.doubts(&of_labels).join("; ")
        };
        let few = told(20.0, "f1", [0.0, 30.0]);
        assert!(
            few.contains("-max_drop 20; 1 answer changed, and fewer than 10 "),
            "{few}"
        );
        assert!(few.ends_with("--min_agreement tells more; about 40 would do"));
        // All numbers move, and the interval knows of it.
        assert_eq!(told(20.0, "spearmanr", [0.0, 30.0]), "");
        assert_eq!(
            told(10.0, "spearmanr", [0.0, 30.0]),
            "the file is too small for --max_drop 10; what int8 costs is known to 15.00 points of \
             spearmanr either way (95 % interval 0.00 to 30.00); about 9 would do"
        );
    }

    #[test]
    fn a_metric_that_no_row_moves_vouches_for_nothing() {
        let gate = Gate {
            max_drop: Some(0.3),
            min_agreement: None,
        };
        let told = |main_metric, changed: usize| {
            let of_labels = Comparison {
                main_metric,
                same: 400 - changed,
                ..unchanged(400)
            };
            gate.doubts(&of_labels).join("; ")
        };
        assert_eq!(
            told("spearmanr", 208),
            "the file can't tell what --max_drop 0.3 asks; 208 answers changed, and spearmanr is the same in every \
             sample of its rows, as where all labels are alike: --min_agreement tells more"
        );
        assert!(told("f1", 9).contains("fewer than 10 can't bound the loss"));
        assert_eq!(told("accuracy", 10), "");
    }

    #[test]
    fn a_metric_that_is_no_number_is_within_no_bound() {
        let mut comparison = comparison();
        comparison.int8.metrics[0].1 = f64::NAN;
        let gate = Gate {
            max_drop: Some(100.0),
            min_agreement: None,
        };
        let missed = gate.check(&comparison).unwrap_err();
        assert!(missed.drop.is_some() && missed.agreement.is_none());
    }
}
