//! The comparison as a verdict and as JSON.

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value, json};

use berth_bundle::{Calibration, Threshold};
use berth_data::{Answer, Evaluation, Label};

use crate::bootstrap;
use crate::compare::{Changed, Comparison, FEW, Z};
use crate::latency::Latency;
use crate::probe::{Cost, LayerCost};
use crate::search::{Change, Step};

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
    let asked = comparison.asked as f64;
    let one = 100.0 / asked;
    let [low, high] = comparison.drop_interval;
    let half = (high - low) / 2.0;
    let mut reasons = vec![
        (
            100.0 / bar,
            format!("one answer of its {asked} is {one:.2} points"),
        ),
        // The width of the interval falls with the root of the number of rows.
        (
            asked * (half / bar).powi(2),
            format!(
                "what int8 costs is known to {half:.2} points of {} either way (95 % interval \
                 {low:.2} to {high:.2})",
                comparison.main_metric
            ),
        ),
    ];
    let caution = comparison.caution();
    reasons.extend(caution.map(|caution| (rows_to_bound(bar, comparison), caution)));
    reasons.retain(|(needed, _)| needed.ceil() > asked);
    let needed = reasons.iter().map(|(needed, _)| needed.ceil());
    let needed = needed.reduce(f64::max)?;
    let reasons: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
    Some(format!(
        "the file is too small for --max_drop {bar}; {}; {}",
        reasons.join("; "),
        rows(needed)
    ))
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
    /// What was asked of the bundle.
    pub gate: Gate,
    /// What the file is too small for, and what else is to be known of the figures.
    pub warnings: &'m [String],
    /// How many texts of the file were cut to fit.
    pub truncated: usize,
    /// How many of its words are in no figure, since they were cut off or have no piece.
    pub left_out: usize,
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
/// | `f32`, `int8` | the metrics of both; `eval_truncated` texts were cut to fit, and `eval_words_left_out` were cut off or have no piece, where there are any |
/// | `agreement`, `agreement_interval` | the share of same answers, and where it lies with 95 % confidence (Wilson) |
/// | `drop` | `metric`; `points` of 100 that int8 costs; `interval`, where that lies with the `confidence` given, by a paired bootstrap of so many `resamples`; `bound`, where fewer answers changed than the interval needs, what may be lost by Wilson's interval of their share ([`Comparison::few_changed`]) |
/// | `gate` | where one is asked for: its `max_drop` and `min_agreement`, and whether it was `passed` |
/// | `logit_error` | squared distance of the logits, as a share of the squares of the checkpoint's |
/// | `bytes`, `f32_layers` | of the bundle |
/// | `latency` | `p50_ms` and `min_ms` of a query of so many `tokens`, on this machine |
/// | `calibration` | the temperature of the scores, expected calibration errors before, with it on the rows that it was fitted on, and on rows that it was not, and what thresholds buy |
/// | `layers` | for each `layer` `snr_db` and `own_snr_db`, the signal to noise of its output with the noise of the layers before and without, null where there is no noise; `explains`, by which share the squared error of the logits falls when it alone is in f32 |
/// | `layers_on` | how many `inputs` and `tokens` that was measured on; `rest`, the share of the error that is left with all layers in f32 |
/// | `search` | what was tried where the gate was missed: `change` (`none`, `smoothing`, `clipping`, `f32_layer` with its `layer`), whether it was `kept`, and what the bundle was worth with it; its `bytes` are without self-test and card |
/// | `warnings` | bounds that the file is too small for, and what else is to be known of the figures |
/// | `changed` | every answer that changed, with both scores |
pub fn report(findings: &Findings<'_>) -> Value {
    let comparison = findings.comparison;
    let metrics = |of: fn(&Comparison) -> &Evaluation| match comparison {
        Some(comparison) => {
            let mut metrics = metrics_object(of(comparison));
            metrics.extend(unread(findings));
            metrics
        }
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
        more.extend(gate(findings.gate, comparison));
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
    if !findings.warnings.is_empty() {
        more.insert("warnings".to_owned(), json!(findings.warnings));
    }
    let changed = changed.iter().map(changed_object).collect();
    more.insert("changed".to_owned(), changed);
    report
}

fn intervals(comparison: &Comparison) -> [(String, Value); 3] {
    let (low, high) = comparison.agreement_interval();
    let mut drop = json!({
        "metric": comparison.main_metric,
        "points": comparison.drop(),
        "interval": comparison.drop_interval,
        "confidence": bootstrap::CONFIDENCE,
        "resamples": bootstrap::RESAMPLES,
    });
    if let Some(bound) = comparison.few_changed() {
        drop["bound"] = json!(bound);
    }
    [
        ("agreement_interval".to_owned(), json!([low, high])),
        ("drop".to_owned(), drop),
        ("logit_error".to_owned(), json!(comparison.error)),
    ]
}

fn gate(gate: Gate, comparison: &Comparison) -> Option<(String, Value)> {
    let told = json!({
        "max_drop": gate.max_drop,
        "min_agreement": gate.min_agreement,
        "passed": gate.check(comparison).is_ok(),
    });
    (!gate.is_open()).then(|| ("gate".to_owned(), told))
}

/// What of the file no figure is about, where there is something.
fn unread(findings: &Findings<'_>) -> impl Iterator<Item = (String, Value)> {
    let counts = [
        ("eval_truncated", findings.truncated),
        ("eval_words_left_out", findings.left_out),
    ];
    let some = counts.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| (name.to_owned(), json!(count)))
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
        for main_metric in ["accuracy", "f1", "matthews_correlation", "spearmanr"] {
            let told = doubts(&Comparison {
                main_metric,
                ..unchanged(2)
            });
            assert!(
                told.contains("one answer of its 2 is 50.00 points"),
                "{told}"
            );
            let possible = "nothing changed: up to 65.76 points are possible (95 %)";
            assert!(told.contains(possible), "{told}");
        }
        // An answer of 400 is fine enough, and yet n of n vouch for 0.3 points from 1,277 on.
        let told = doubts(&unchanged(400));
        assert!(!told.contains("one answer of"), "{told}");
        assert!(told.ends_with("; about 1277 would do"), "{told}");
        assert_ne!(doubts(&unchanged(1276)), "");
        assert_eq!(doubts(&unchanged(1277)), "");
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
            gate: Gate {
                max_drop: Some(30.0),
                min_agreement: Some(0.8),
            },
            warnings: &["small".to_owned()],
            truncated: 2,
            left_out: 3,
            bytes: 1234,
            f32_layers: &[0, 5],
        });
        assert_eq!(with["drop"]["points"], 25.0);
        assert_eq!(with["drop"]["interval"], json!([0.0, 75.0]));
        let bound = with["drop"]["bound"].as_f64().unwrap();
        assert!((bound - 69.9358).abs() < 1e-3, "{bound}");
        let gate = json!({"max_drop": 30.0, "min_agreement": 0.8, "passed": false});
        assert_eq!(with["gate"], gate);
        for side in ["f32", "int8"] {
            assert_eq!(with[side]["eval_truncated"], 2);
            assert_eq!(with[side]["eval_words_left_out"], 3);
        }
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
