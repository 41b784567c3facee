//! All that was found out about a bundle, as JSON.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use berth_bundle::{Calibration, Threshold};
use berth_data::{Answer, Evaluation, Label};

use crate::bootstrap;
use crate::compare::{Changed, Comparison};
use crate::gate::Gate;
use crate::latency::Latency;
use crate::probe::{Cost, LayerCost};
use crate::search::{Change, Step};

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
/// | `drop` | `metric`; `points` of 100 that int8 costs; `interval`, where that lies with the `confidence` given, by a paired bootstrap of so many `resamples`; `bound`, where fewer answers changed than the interval needs and the metric is a mean over answers, what may be lost by Wilson's interval of their share ([`Comparison::few_changed`]) |
/// | `gate` | where one is asked for: its `max_drop` and `min_agreement`, and whether it was `passed` |
/// | `logit_error` | squared distance of the logits, as a share of the squares of the checkpoint's |
/// | `bytes`, `f32_layers` | of the bundle |
/// | `latency` | `p50_ms` and `min_ms` of a query of so many `tokens`, on this machine |
/// | `calibration` | the temperature of the scores, expected calibration errors before, with it on the rows that it was fitted on, and on rows that it was not, and what thresholds buy |
/// | `layers` | for each `layer` `snr_db` and `own_snr_db`, the signal to noise of its output with the noise of the layers before and without, null where there is no noise; `explains`, by which share the squared error of the logits falls when it alone is in f32 |
/// | `layers_on` | how many `inputs` and `tokens` that was measured on; `rest`, the share of the error that is left with all layers in f32 |
/// | `search` | what was tried where the gate was missed: `change` (`none`, `smoothing`, `clipping`, `f32_layer` with its `layer`), whether it was `kept`, and what the bundle was worth with it; its `bytes` are without self-test and card |
/// | `warnings` | bounds that the file is too small for, and what else is to be known of the figures |
/// | `changed` | every answer that changed, with both scores; where rows have several labels, the scores of those that changed, by their ids |
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

impl Changed {
    /// Where rows have several labels: those that one of the two gives and the other does not, in their order.
    pub fn labels(&self) -> Vec<usize> {
        let both: [BTreeSet<usize>; 2] = [&self.f32, &self.int8].map(|answer| match answer {
            Answer::Set { labels, .. } => labels.iter().copied().collect(),
            _ => BTreeSet::new(),
        });
        let [f32, int8] = &both;
        f32.symmetric_difference(int8).copied().collect()
    }
}

fn changed_object(changed: &Changed) -> Value {
    let others = changed.labels();
    let answer = |answer: &Answer| match answer {
        Answer::Class { label, probability } => json!({"label": label, "score": probability}),
        Answer::Set {
            labels,
            probabilities,
        } => {
            let score = |&label: &usize| (label.to_string(), json!(probabilities.get(label)));
            let scores: Map<_, _> = others.iter().map(score).collect();
            json!({"labels": labels, "scores": scores})
        }
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
    use crate::gate::tests::comparison;

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
        let of_labels = Comparison {
            main_metric: "f1",
            ..comparison.clone()
        };
        let of_labels = report(&Findings {
            comparison: Some(&of_labels),
            ..Findings::default()
        });
        let drop = &of_labels["drop"];
        assert_eq!((&drop["metric"], drop.get("bound")), (&json!("f1"), None));
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
    /// Rows with hundreds of labels would else be hundreds of times as long.
    #[test]
    fn of_several_labels_those_that_changed_have_scores() {
        let answer = |labels: [usize; 2], probabilities: [f32; 4]| Answer::Set {
            labels: labels.to_vec(),
            probabilities: probabilities.to_vec(),
        };
        let changed = Changed {
            line: 3,
            text: "a".to_owned(),
            gold: Label::Set(vec![0, 2]),
            f32: answer([0, 2], [0.75, 0.25, 0.5625, 0.125]),
            int8: answer([0, 1], [0.625, 0.75, 0.375, 0.125]),
        };
        assert_eq!(changed.labels(), [1, 2]);
        let expected = concat!(
            r#"{"line":3,"text":"a","gold":[0,2],"#,
            r#""f32":{"labels":[0,2],"scores":{"1":0.25,"2":0.5625}},"#,
            r#""int8":{"labels":[0,1],"scores":{"1":0.75,"2":0.375}}}"#
        );
        assert_eq!(changed_object(&changed).to_string(), expected);
    }
}
