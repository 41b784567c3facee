//! `berth inspect`: what a bundle holds, read from its header.

use super::print;
use crate::args::InspectArgs;
use crate::error::Error;
use crate::names::bundle_path;
use berth_bundle::Header;
use berth_checkpoint::hex;
use berth_quantize::calibration_object;
use serde_json::{Map, Value, json};

/// Prints the header as the device program prints it, or as JSON.
pub fn run(args: &InspectArgs) -> Result<(), Error> {
    let path = bundle_path(&args.bundle)?;
    let model = berth_runtime::Model::open(&path)?;
    if !args.json {
        return print(berth_runtime::inspect(&model).to_string().trim_end());
    }
    let bytes = std::fs::metadata(&path)
        .map_err(|source| Error::file(&path, source))?
        .len();
    let card = String::from_utf8_lossy(model.bundle().card());
    print(describe(model.header(), &card, bytes))
}

fn describe(header: &Header, card: &str, bytes: u64) -> Value {
    let metrics = header.metrics.iter();
    let metrics: Map<String, Value> = metrics
        .map(|metric| {
            (
                metric.name.to_string(),
                json!({"f32": metric.f32, "int8": metric.int8}),
            )
        })
        .collect();
    let sections = header.sections.iter();
    let sections: Map<String, Value> = sections
        .map(|section| (section.kind.to_string(), section.len.into()))
        .collect();
    let (shape, provenance) = (&header.shape, &header.provenance);
    json!({
        "task": header.task.name(),
        "labels": header.labels.iter().collect::<Vec<_>>(),
        "max_tokens": header.max_tokens,
        "spans": header.spans,
        "model": provenance.model.as_str(),
        "base": provenance.base.as_str(),
        "weights_sha256": hex(&provenance.weights_sha256),
        "berth": provenance.berth.as_str(),
        "numerics": header.numerics,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.positions,
        "metrics": metrics,
        "calibration": header.calibration.as_ref().map(calibration_object),
        "card": Some(card).filter(|card| !card.is_empty()),
        "sections": sections,
        "bytes": bytes,
    })
}
