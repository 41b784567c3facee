//! The comparison as a verdict and as JSON.

use serde_json::{Map, Value, json};
use thiserror::Error;

use berth_bundle::{Calibration, Threshold};
use berth_data::{Answer, Evaluation, Label};

use crate::bootstrap;
use crate::compare::{Changed, Comparison, Z};
use crate::latency::Latency;
use crate::probe::{Cost, LayerCost};
use crate::search::{Change, Step};

/// What a difference of two metrics may be off, in points: 83.7 is less than 0.3 below 84 in reals and more in f64.
const ROUNDING: f64 = 1e-9;

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
            .filter(|allowed| drop.is_nan() || drop > *allowed + ROUNDING)
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

    /// For each bound that the file is too small to tell, a sentence that says by how much. Passing it is
    /// then no proof, and missing it may be chance.
    pub fn doubts(&self, comparison: &Comparison) -> Vec<String> {
        let drop = self.max_drop.and_then(|bar| drop_doubt(bar, comparison));
        let agreement = self.min_agreement;
        let agreement = agreement.and_then(|bar| agreement_doubt(bar, comparison));
        drop.into_iter().chain(agreement).collect()
    }
}

/// Whether the loss can be told as finely as the bound asks.
fn drop_doubt(bar: f64, comparison: &Comparison) -> Option<String> {
    let Comparison {
        asked, main_metric, ..
    } = comparison;
    // No file is too small to tell that int8 has to gain something.
    if bar < 0.0 {
        return None;
    }
    let one = 100.0 / *asked as f64;
    if *main_metric == "accuracy" && one > bar {
        let needed = (100.0 / bar).ceil();
        return Some(format!(
            "the file is too small for --max_drop {bar}: one answer of its {asked} is {one:.2} points \
             of accuracy; {}",
            rows(needed)
        ));
    }
    let [low, high] = comparison.drop_interval;
    let half = (high - low) / 2.0;
    // The width of the interval falls with the root of the number of rows.
    let needed = (*asked as f64 * (half / bar).powi(2)).ceil();
    (half > bar).then(|| {
        format!(
            "the file is too small for --max_drop {bar}: what int8 costs is known to {half:.2} points \
             of {main_metric} either way (95 % interval {low:.2} to {high:.2}); {}",
            rows(needed)
        )
    })
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

/// All that was found out about a bundle.
#[derive(Copy, Clone, Default)]
pub struct Findings<'m> {
    /// f32 beside int8, where there was a file to compare on.
    pub comparison: Option<&'m Comparison>,
    /// What each layer costs.
    pub cost: Option<&'m Cost>,
    /// What a query takes on this machine.
    pub latency: Option<Latency>,
    /// What was tried to pass the gate.
    pub search: &'m [Step],
    /// What the file is too small for.
    pub doubts: &'m [String],
    /// Size of the bundle.
    pub bytes: u64,
    /// The layers that stayed in f32.
    pub f32_layers: &'m [usize],
}

/// What `quantize --json` prints. Labels are told by their ids. Without a comparison both sets of
/// metrics are empty, the agreement and the calibration are null and no answer changed.
///
/// | key | |
/// |---|---|
/// | `f32`, `int8` | the metrics of both |
/// | `agreement`, `agreement_interval` | the share of same answers, and where it lies with 95 % confidence (Wilson) |
/// | `drop` | `metric`; `points` of 100 that int8 costs; `interval`, where that lies with the `confidence` given, by a paired bootstrap of so many `resamples` |
/// | `logit_error` | squared distance of the logits, as a share of the squares of the checkpoint's |
/// | `bytes`, `f32_layers` | of the bundle |
/// | `latency` | `p50_ms` and `min_ms` of a query of so many `tokens`, on this machine |
/// | `calibration` | the temperature of the scores, expected calibration errors before, with it on the rows that it was fitted on, and on rows that it was not, and what thresholds buy |
/// | `layers` | for each `layer` `snr_db` and `own_snr_db`, the signal to noise of its output with the noise of the layers before and without, null where there is no noise; `explains`, by which share the squared error of the logits falls when it alone is in f32 |
/// | `layers_on` | how many `inputs` and `tokens` that was measured on; `rest`, the share of the error that is left with all layers in f32 |
/// | `search` | what was tried where the gate was missed: `change` (`none`, `smoothing`, `clipping`, `f32_layer` with its `layer`), whether it was `kept`, and what the bundle was worth with it |
/// | `warnings` | bounds that the file is too small for |
/// | `changed` | every answer that changed, with both scores |
pub fn report(findings: &Findings<'_>) -> Value {
    let comparison = findings.comparison;
    let metrics = |of: fn(&Comparison) -> &Evaluation| match comparison {
        Some(comparison) => metrics_object(of(comparison)),
        None => Map::new(),
    };
    let changed = comparison.map_or(&[][..], |comparison| &comparison.changed);
    let mut report = json!({
        "f32": metrics(|comparison| &comparison.f32),
        "int8": metrics(|comparison| &comparison.int8),
        "agreement": comparison.map(Comparison::agreement),
        "bytes": findings.bytes,
        "f32_layers": findings.f32_layers,
        "calibration": comparison
            .and_then(|comparison| comparison.calibration.as_ref())
            .map(calibration_object),
    });
    let more = report.as_object_mut().expect("made as one");
    if let Some(comparison) = comparison {
        more.extend(intervals(comparison));
    }
    more.extend(
        findings
            .latency
            .map(|of| ("latency".to_owned(), latency(of))),
    );
    more.extend(findings.cost.into_iter().flat_map(layers));
    if !findings.search.is_empty() {
        let steps = findings.search.iter().map(step);
        more.insert("search".to_owned(), steps.collect());
    }
    if !findings.doubts.is_empty() {
        more.insert("warnings".to_owned(), json!(findings.doubts));
    }
    let changed = changed.iter().map(changed_object).collect();
    more.insert("changed".to_owned(), changed);
    report
}

fn intervals(comparison: &Comparison) -> [(String, Value); 3] {
    let (low, high) = comparison.agreement_interval();
    let drop = json!({
        "metric": comparison.main_metric,
        "points": comparison.drop(),
        "interval": comparison.drop_interval,
        "confidence": bootstrap::CONFIDENCE,
        "resamples": bootstrap::RESAMPLES,
    });
    [
        ("agreement_interval".to_owned(), json!([low, high])),
        ("drop".to_owned(), drop),
        ("logit_error".to_owned(), json!(comparison.error)),
    ]
}

fn latency(of: Latency) -> Value {
    json!({"tokens": of.tokens, "p50_ms": of.p50_ms, "min_ms": of.min_ms})
}

fn layers(cost: &Cost) -> [(String, Value); 2] {
    let layer = |layer: &LayerCost| {
        json!({
            "layer": layer.layer,
            "snr_db": layer.snr_db,
            "own_snr_db": layer.own_snr_db,
            "explains": layer.explains,
        })
    };
    let on = json!({"inputs": cost.inputs, "tokens": cost.tokens, "rest": cost.rest});
    [
        ("layers".to_owned(), cost.layers.iter().map(layer).collect()),
        ("layers_on".to_owned(), on),
    ]
}

fn step(step: &Step) -> Value {
    let (change, layer) = match step.change {
        Change::None => ("none", None),
        Change::Smoothing => ("smoothing", None),
        Change::Clipping => ("clipping", None),
        Change::F32Layer(layer) => ("f32_layer", Some(layer)),
    };
    let mut object = json!({
        "change": change,
        "kept": step.kept,
        "logit_error": step.error,
        "drop": step.drop,
        "agreement": step.agreement,
        "latency": latency(step.latency),
        "bytes": step.bytes,
    });
    if let Some(layer) = layer {
        object["layer"] = json!(layer);
    }
    object
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
        Answer::Span {
            text, probability, ..
        } => json!({"answer": text, "score": probability}),
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
    fn comparison() -> Comparison {
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
        assert!(missed.contains("75.00 % of the answers"), "{missed}");
        assert!(missed.contains("98.50 % are asked for"), "{missed}");
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
        let one = doubts(Some(0.3), None);
        assert!(
            one.contains("25.00 points of accuracy; about 334 would do"),
            "{one}"
        );
        // The interval of one answer in four is 75 points wide: half of it either way.
        let wide = doubts(Some(30.0), None);
        assert!(
            wide.contains("37.50 points of accuracy either way"),
            "{wide}"
        );
        assert!(wide.contains("about 7 would do"), "{wide}");
        assert_eq!(doubts(Some(40.0), None), "");
        // 381 of 381 have Wilson's lower bound at 0.99 for the first time.
        let few = doubts(None, Some(0.99));
        assert!(few.contains("0.5101 (95 %); about 381 would do"), "{few}");
        assert!(doubts(None, Some(1.0)).contains("no number of answers would do"));
        assert_eq!(doubts(None, Some(0.5)), "");
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
        let comparison = comparison();
        let layer = LayerCost {
            layer: 0,
            snr_db: 20.0,
            own_snr_db: f64::INFINITY,
            explains: 0.5,
        };
        let cost = Cost {
            layers: vec![layer],
            rest: 0.25,
            inputs: 4,
            tokens: 40,
        };
        let latency = Latency {
            tokens: 10,
            p50_ms: 2.0,
            min_ms: 1.0,
        };
        let step = Step {
            change: Change::F32Layer(5),
            kept: true,
            error: 0.125,
            drop: 25.0,
            agreement: 0.75,
            latency,
            bytes: 1000,
        };
        let with = report(&Findings {
            comparison: Some(&comparison),
            cost: Some(&cost),
            latency: Some(latency),
            search: &[step],
            doubts: &["small".to_owned()],
            bytes: 1234,
            f32_layers: &[0, 5],
        });
        assert_eq!(with["drop"]["points"], 25.0);
        assert_eq!(with["drop"]["interval"], json!([0.0, 75.0]));
        assert_eq!(with["layers"][0]["own_snr_db"], Value::Null, "no noise");
        assert_eq!(with["layers"][0]["explains"], 0.5);
        assert_eq!(with["layers_on"]["rest"], 0.25);
        assert_eq!(with["latency"]["p50_ms"], 2.0);
        let logged = &with["search"][0];
        assert_eq!(
            (&logged["change"], &logged["layer"]),
            (&json!("f32_layer"), &json!(5))
        );
        assert_eq!(with["warnings"], json!(["small"]));
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
        let without = report(&Findings {
            bytes: 1234,
            ..Findings::default()
        });
        let expected = concat!(
            r#"{"f32":{},"int8":{},"agreement":null,"bytes":1234,"#,
            r#""f32_layers":[],"calibration":null,"changed":[]}"#
        );
        assert_eq!(without.to_string(), expected);
    }
}
