//! `berth inspect`: what a bundle holds, in readable form.

use super::print;
use crate::args::InspectArgs;
use crate::error::Error;
use crate::names::bundle_path;
use berth_bundle::Header;
use berth_checkpoint::hex;
use berth_quantize::calibration_object;
use berth_runtime::Model;
use serde_json::{Map, Value, json};

/// Prints the bundle as the device program prints it, or as JSON.
pub fn run(args: &InspectArgs) -> Result<(), Error> {
    let model = Model::open_verified(bundle_path(&args.bundle)?)?;
    if !args.stdout.json {
        return print(berth_runtime::inspect(&model).to_string().trim_end());
    }
    print(describe(&model))
}

/// Everything that a bundle says about itself, in the same order for every bundle. Nothing in it depends on
/// the machine.
pub fn describe(model: &Model) -> Value {
    let header = model.header();
    let (shape, provenance) = (&header.shape, &header.provenance);
    let bundle = model.bundle();
    let card = String::from_utf8_lossy(bundle.card());
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
        "type_vocab_size": shape.types,
        "layer_norm_eps": shape.norm_eps,
        "f32_layers": header.f32_layers().collect::<Vec<_>>(),
        "metrics": metrics(header),
        "calibration": header.calibration.as_ref().map(calibration_object),
        "card": Some(card).filter(|card| !card.is_empty()),
        "tokenizer": tokenizer(model),
        "training": serde_json::from_slice::<Value>(bundle.training()).unwrap_or_default(),
        "selftest_inputs": bundle.selftest().map_or(0, Iterator::count),
        "sections": sections(header, |section| section.len.into()),
        "crc32c": sections(header, |section| format!("{:08x}", section.crc).into()),
        "scratch_bytes": model.scratch_bytes(),
        "bytes": bundle.file_len(),
    })
}

fn metrics(header: &Header) -> Map<String, Value> {
    let metrics = header.metrics.iter();
    metrics
        .map(|metric| {
            (
                metric.name.to_string(),
                json!({"f32": metric.f32, "int8": metric.int8}),
            )
        })
        .collect()
}

fn sections(header: &Header, tell: fn(&berth_bundle::Section) -> Value) -> Map<String, Value> {
    let sections = header.sections.iter();
    sections
        .map(|section| (section.kind.to_string(), tell(section)))
        .collect()
}

fn tokenizer(model: &Model) -> Value {
    let tokenizer = model.tokenizer();
    json!({
        "pieces": tokenizer.ids(),
        "unk_token_id": tokenizer.unk(),
        "cls_token_id": tokenizer.cls(),
        "sep_token_id": tokenizer.sep(),
        "pad_token_id": tokenizer.pad(),
    })
}
