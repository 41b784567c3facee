//! The tensors of a BERT: one name for each, whatever the file calls it, and the shape that
//! config.json asks for.
//!
//! The names are those of Hugging Face's `BertForSequenceClassification`. Files differ from them in
//! three ways: a bare encoder is saved without the prefix `bert.`, checkpoints converted from
//! TensorFlow call a layer norm's weight and bias `gamma` and `beta`, and a DistilBERT has names of its
//! own and no token types.

use crate::config::Config;
use crate::family::{PREFIXES, TOKEN_TYPES, bert_layer_tensor};

/// DistilBERT's dense layer between the first row and the classifier; ReLU follows.
pub const PRE_CLASSIFIER: &str = "pre_classifier";

/// The canonical name of a tensor, or none where it is not a parameter of any model made here:
/// buffers, and the heads that the encoder was pre-trained with.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    let bare = bare.unwrap_or(name);
    let layer = bert_layer_tensor(bare);
    let bare = layer.as_deref().unwrap_or(bare);
    let buffer = bare.ends_with(".position_ids") || bare.ends_with(".token_type_ids");
    let pretraining = [
        "cls.",
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
    ];
    if buffer || pretraining.iter().any(|head| bare.starts_with(head)) {
        return None;
    }
    let encoder = ["embeddings.", "encoder.", "pooler."]
        .iter()
        .any(|part| bare.starts_with(part));
    let full = if encoder {
        format!("bert.{bare}")
    } else {
        name.to_owned()
    };
    Some(match full.strip_suffix("LayerNorm.gamma") {
        Some(start) => format!("{start}LayerNorm.weight"),
        None => match full.strip_suffix("LayerNorm.beta") {
            Some(start) => format!("{start}LayerNorm.bias"),
            None => full,
        },
    })
}

/// The number of the layer that a tensor belongs to.
pub(crate) fn layer(canonical: &str) -> Option<usize> {
    let rest = canonical.strip_prefix("bert.encoder.layer.")?;
    rest.split('.').next()?.parse().ok()
}

/// The tensors that every BERT has, pooler and heads excepted, with their shapes
/// (`[outputs, inputs]` for a dense layer).
pub fn encoder(config: &Config) -> Vec<(String, Vec<usize>)> {
    let h = config.hidden_size;
    let mut all = vec![
        (
            "bert.embeddings.word_embeddings.weight".into(),
            vec![config.vocab_size, h],
        ),
        (
            "bert.embeddings.position_embeddings.weight".into(),
            vec![config.max_position_embeddings, h],
        ),
        (TOKEN_TYPES.into(), vec![config.type_vocab_size, h]),
    ];
    both(&mut all, "bert.embeddings.LayerNorm", &[h]);
    for i in 0..config.num_hidden_layers {
        let at = format!("bert.encoder.layer.{i}");
        for part in ["query", "key", "value"] {
            both(&mut all, &format!("{at}.attention.self.{part}"), &[h, h]);
        }
        both(&mut all, &format!("{at}.attention.output.dense"), &[h, h]);
        both(&mut all, &format!("{at}.attention.output.LayerNorm"), &[h]);
        both(
            &mut all,
            &format!("{at}.intermediate.dense"),
            &[config.intermediate_size, h],
        );
        both(
            &mut all,
            &format!("{at}.output.dense"),
            &[h, config.intermediate_size],
        );
        both(&mut all, &format!("{at}.output.LayerNorm"), &[h]);
    }
    all
}

/// The tensors that a checkpoint may have beside its encoder: each group is there whole or not at
/// all.
pub fn heads(config: &Config) -> Vec<Vec<(String, Vec<usize>)>> {
    let h = config.hidden_size;
    let group = |name: &str, outputs| {
        let mut group = Vec::new();
        both(&mut group, name, &[outputs, h]);
        group
    };
    vec![
        group("bert.pooler.dense", h),
        group(PRE_CLASSIFIER, h),
        group("classifier", config.id2label.len()),
        group("qa_outputs", 2),
    ]
}

/// A weight of the given shape and its bias, which is as long as the weight has rows.
fn both(all: &mut Vec<(String, Vec<usize>)>, name: &str, shape: &[usize]) {
    all.push((format!("{name}.weight"), shape.to_vec()));
    all.push((format!("{name}.bias"), shape[..1].to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_age_become_one() {
        for (found, expected) in [
            (
                "embeddings.LayerNorm.gamma",
                Some("bert.embeddings.LayerNorm.weight"),
            ),
            (
                "bert.embeddings.LayerNorm.beta",
                Some("bert.embeddings.LayerNorm.bias"),
            ),
            ("bert.pooler.dense.weight", Some("bert.pooler.dense.weight")),
            ("classifier.weight", Some("classifier.weight")),
            ("embeddings.position_ids", None),
            ("bert.embeddings.position_ids", None),
            ("cls.predictions.transform.LayerNorm.gamma", None),
            (
                "distilbert.transformer.layer.1.ffn.lin1.bias",
                Some("bert.encoder.layer.1.intermediate.dense.bias"),
            ),
            (
                "transformer.layer.1.sa_layer_norm.weight",
                Some("bert.encoder.layer.1.attention.output.LayerNorm.weight"),
            ),
            (
                "distilbert.embeddings.word_embeddings.weight",
                Some("bert.embeddings.word_embeddings.weight"),
            ),
            ("pre_classifier.bias", Some("pre_classifier.bias")),
            ("vocab_projector.bias", None),
        ] {
            assert_eq!(canonical(found).as_deref(), expected, "{found}");
        }
        assert_eq!(layer("bert.encoder.layer.11.output.dense.bias"), Some(11));
        assert_eq!(layer("bert.embeddings.LayerNorm.bias"), None);
    }
}
