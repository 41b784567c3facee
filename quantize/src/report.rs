//! The comparison as a verdict and as JSON.

use serde_json::{Map, Value, json};
use thiserror::Error;

use berth_bundle::{Calibration, Threshold};
use berth_data::{Answer, Evaluation, Label};

use crate::compare::{Changed, Comparison};

/// What a bundle has to reach to be written. Where a bound is not given, it isn't checked.
#[derive(Copy, Clone, Default, Debug)]
pub struct Gate {
    /// The most of the main metric that int8 may cost, in points of 100.
    pub max_drop: Option<f64>,
    /// The smallest agreement, from 0 to 1.
    pub min_agreement: Option<f64>,
}

impl Gate {
    /// Whether anything is asked at all.
    pub fn is_open(&self) -> bool {
        self.max_drop.is_none() && self.min_agreement.is_none()
    }

    /// Holds a comparison against both bounds.
    ///
    /// # Errors
    /// Says which one was missed, and by how much.
    pub fn check(&self, comparison: &Comparison) -> Result<(), Missed> {
        let (drop, agreement) = (comparison.drop(), comparison.agreement());
        let metric = comparison.main_metric;
        // A metric that is not a number is within no bound.
        if let Some(allowed) = self
            .max_drop
            .filter(|allowed| drop.is_nan() || drop > *allowed)
        {
            return Err(Missed::Drop {
                metric,
                drop,
                allowed,
            });
        }
        match self.min_agreement.filter(|wanted| agreement < *wanted) {
            Some(wanted) => Err(Missed::Agreement { agreement, wanted }),
            None => Ok(()),
        }
    }
}

/// The bound of a [`Gate`] that was missed.
#[derive(Copy, Clone, PartialEq, Debug, Error)]
pub enum Missed {
    /// int8 cost too much of the main metric.
    #[error(
        "int8 costs {drop:.2} points of {metric}, and {allowed} are allowed; nothing was written"
    )]
    Drop {
        /// The main metric.
        metric: &'static str,
        /// What it cost, in points of 100.
        drop: f64,
        /// What was allowed.
        allowed: f64,
    },
    /// Too many answers changed.
    #[error(
        "{:.2} % of the answers are the same in int8, and {:.2} % are asked for; nothing was \
         written",
        100.0 * agreement, 100.0 * wanted
    )]
    Agreement {
        /// The share of answers that are the same.
        agreement: f64,
        /// The share that was asked for.
        wanted: f64,
    },
}

/// What `quantize --json` prints. Labels are told by their ids. Without a comparison both sets of
/// metrics are empty, the agreement and the calibration are null and no answer changed. The errors of the
/// calibration are expected calibration errors: before, with the temperature on the rows that it was
/// fitted on, and on rows that it was not.
pub fn report(comparison: Option<&Comparison>, bytes: u64, f32_layers: &[usize]) -> Value {
    let metrics = |of: fn(&Comparison) -> &Evaluation| match comparison {
        Some(comparison) => metrics_object(of(comparison)),
        None => Map::new(),
    };
    let changed = comparison.map_or(&[][..], |comparison| &comparison.changed);
    json!({
        "f32": metrics(|comparison| &comparison.f32),
        "int8": metrics(|comparison| &comparison.int8),
        "agreement": comparison.map(Comparison::agreement),
        "bytes": bytes,
        "f32_layers": f32_layers,
        "calibration": comparison
            .and_then(|comparison| comparison.calibration.as_ref())
            .map(calibration_object),
        "changed": changed.iter().map(changed_object).collect::<Vec<_>>(),
    })
}

/// How scores are taken and how far they can be trusted, as JSON.
pub fn calibration_object(calibration: &Calibration) -> Value {
    let answers = calibration.answers;
    let threshold = |threshold: &Threshold| {
        json!({
            "min_score": threshold.min_score,
            "answered": threshold.answered,
            "right": threshold.right,
            "coverage": threshold.coverage(answers),
            "precision": threshold.precision(),
        })
    };
    json!({
        "temperature": calibration.temperature,
        "answers": answers,
        "error_before": calibration.error_before,
        "error_after": calibration.error_after,
        "error_held_out": calibration.error_held_out,
        "thresholds": calibration.thresholds.iter().map(threshold).collect::<Vec<_>>(),
    })
}

fn changed_object(changed: &Changed) -> Value {
    let answer = |answer: &Answer| match answer {
        Answer::Class { label, probability } => json!({"label": label, "score": probability}),
        Answer::Set {
            labels,
            probabilities,
        } => json!({"labels": labels, "scores": probabilities}),
        Answer::Value(value) => json!({"score": value}),
        Answer::Span { text, probability } => json!({"answer": text, "score": probability}),
        Answer::Abstained => Value::Null,
    };
    let gold = match &changed.gold {
        Label::Class(label) => json!(label),
        Label::Value(value) => json!(value),
        Label::Set(classes) | Label::Tags(classes) => json!(classes),
        Label::Answers(answers) => {
            let texts = answers.iter().map(|answer| answer.text.as_str());
            json!(texts.collect::<Vec<_>>())
        }
        Label::None => Value::Null,
    };
    json!({
        "line": changed.line,
        "text": changed.text,
        "gold": gold,
        "f32": answer(&changed.f32),
        "int8": answer(&changed.int8),
    })
}

fn metrics_object(evaluation: &Evaluation) -> Map<String, Value> {
    let entries = evaluation.entries().into_iter();
    let mut object: Map<_, _> = entries.map(|(name, value)| (name, json!(value))).collect();
    object.insert("eval_samples".to_owned(), json!(evaluation.samples));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_data::{Encoded, Evaluator, Example, Target};
    use berth_task::Task;

    /// Four rows, of which one changes from right to wrong.
    fn comparison() -> Comparison {
        let input = |(example, class)| Encoded {
            target: Target::Class(class),
            example,
            ..Encoded::default()
        };
        let evaluator = Evaluator {
            task: Task::TextClassification,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples: &vec![
                Example {
                    line: 1,
                    ..Example::default()
                };
                4
            ],
            inputs: &[(0, 0), (1, 0), (2, 1), (3, 1)].map(input),
            spans: Default::default(),
        };
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
        assert!(missed.contains("75.00 % of the answers"), "{missed}");
        assert!(missed.contains("98.50 % are asked for"), "{missed}");
    }

    #[test]
    fn a_metric_that_is_no_number_is_within_no_bound() {
        let mut comparison = comparison();
        comparison.int8.metrics[0].1 = f64::NAN;
        let gate = Gate {
            max_drop: Some(100.0),
            min_agreement: None,
        };
        assert!(matches!(gate.check(&comparison), Err(Missed::Drop { .. })));
    }

    #[test]
    fn the_report_has_metrics_of_both_and_what_changed() {
        let with = report(Some(&comparison()), 1234, &[0, 5]);
        assert_eq!(with["f32"]["eval_accuracy"], 0.75);
        assert_eq!(with["int8"]["eval_accuracy"], 0.5);
        assert_eq!(with["int8"]["eval_samples"], 4);
        assert_eq!(with["agreement"], 0.75);
        assert_eq!(with["f32_layers"], json!([0, 5]));
        let [changed] = &with["changed"].as_array().unwrap()[..] else {
            panic!("{with}");
        };
        assert_eq!((&changed["line"], &changed["gold"]), (&json!(1), &json!(0)));
        assert_eq!(
            (&changed["f32"]["label"], &changed["int8"]["label"]),
            (&json!(0), &json!(1))
        );
        let without = report(None, 1234, &[]);
        let expected = concat!(
            r#"{"f32":{},"int8":{},"agreement":null,"bytes":1234,"#,
            r#""f32_layers":[],"calibration":null,"changed":[]}"#
        );
        assert_eq!(without.to_string(), expected);
    }
}
