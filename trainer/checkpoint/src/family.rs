//! The families of models that are a BERT in all but name.
//!
//! DistilBERT's encoder is a BERT whose token types are zero, under other names; so it is read as one,
//! with token types that are zero, and written without them, under its own names. Its classifier has no pooler but
//! `pre_classifier`, a dense layer of the same size that ReLU follows and not tanh; that keeps its name.

use std::borrow::Cow;

/// What config.json and the tensors call things.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// BERT, MiniLM.
    #[default]
    Bert,
    /// DistilBERT.
    DistilBert,
}

/// A field of config.json, and what DistilBERT calls it.
const FIELDS: [(&str, &str); 8] = [
    ("hidden_size", "dim"),
    ("num_hidden_layers", "n_layers"),
    ("num_attention_heads", "n_heads"),
    ("intermediate_size", "hidden_dim"),
    ("hidden_act", "activation"),
    ("hidden_dropout_prob", "dropout"),
    ("attention_probs_dropout_prob", "attention_dropout"),
    ("classifier_dropout", "seq_classif_dropout"),
];

/// The places of the two families in [`PREFIXES`], [`LAYERS`] and [`PARTS`].
const DISTIL: usize = 0;
const BERT: usize = 1;

/// What the names of the encoder's tensors begin with in DistilBERT and in BERT.
pub(crate) const PREFIXES: [&str; 2] = ["distilbert.", "bert."];

/// The table that DistilBERT lacks; there it is zero.
pub(crate) const TOKEN_TYPES: &str = "bert.embeddings.token_type_embeddings.weight";

/// What the names of the layers' tensors begin with behind that.
const LAYERS: [&str; 2] = ["transformer.layer.", "encoder.layer."];

/// A part of a tensor's name in DistilBERT, and what BERT calls it.
const PARTS: [[&str; 2]; 8] = [
    ["attention.q_lin.", "attention.self.query."],
    ["attention.k_lin.", "attention.self.key."],
    ["attention.v_lin.", "attention.self.value."],
    ["attention.out_lin.", "attention.output.dense."],
    ["sa_layer_norm.", "attention.output.LayerNorm."],
    ["ffn.lin1.", "intermediate.dense."],
    ["ffn.lin2.", "output.dense."],
    ["output_layer_norm.", "output.LayerNorm."],
];

impl Family {
    /// `model_type` in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::DistilBert => "distilbert",
        }
    }

    /// The family that a `model_type` names, if it is one of these.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Family::Bert, Family::DistilBert];
        all.into_iter().find(|family| family.name() == name)
    }

    /// What this family calls a field of BERT's.
    pub(crate) fn field(self, field: &'static str) -> &'static str {
        let other = FIELDS.iter().find(|(bert, _)| *bert == field);
        match (self, other) {
            (Family::DistilBert, Some((_, distil))) => distil,
            _ => field,
        }
    }

    /// What this family calls a class of BERT's.
    pub(crate) fn class(self, bert: &str) -> String {
        match self {
            Family::Bert => bert.to_owned(),
            Family::DistilBert => format!("Distil{bert}"),
        }
    }

    /// What this family calls a tensor of BERT's; none where it has none.
    pub(crate) fn tensor(self, bert: &str) -> Option<Cow<'_, str>> {
        if self == Family::Bert {
            return Some(Cow::Borrowed(bert));
        }
        if bert == TOKEN_TYPES || bert.starts_with("bert.pooler.") {
            return None;
        }
        let Some(bare) = bert.strip_prefix(PREFIXES[BERT]) else {
            return Some(Cow::Borrowed(bert));
        };
        let tensor = layer_tensor(bare, [BERT, DISTIL]);
        let tensor = tensor.as_deref().unwrap_or(bare);
        Some(Cow::Owned(format!("{}{tensor}", PREFIXES[DISTIL])))
    }
}

/// The class of BERT with the same head: `DistilBertForQuestionAnswering` has that of
/// `BertForQuestionAnswering`.
pub(crate) fn bert_class(architecture: &str) -> &str {
    architecture.strip_prefix("Distil").unwrap_or(architecture)
}

/// BERT's name of a tensor that DistilBERT has in its encoder's layers: `transformer.layer.0.ffn.lin1.bias`
/// is `encoder.layer.0.intermediate.dense.bias`.
pub(crate) fn bert_layer_tensor(bare: &str) -> Option<String> {
    layer_tensor(bare, [DISTIL, BERT])
}

/// What the one family calls a tensor of a layer that the other calls `bare`.
fn layer_tensor(bare: &str, [from, to]: [usize; 2]) -> Option<String> {
    let rest = bare.strip_prefix(LAYERS[from])?;
    let (layer, part) = rest.split_once('.')?;
    let known = |names: &[&'static str; 2]| Some((part.strip_prefix(names[from])?, names[to]));
    let (end, name) = PARTS.iter().find_map(known)?;
    Some(format!("{}{layer}.{name}{end}", LAYERS[to]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_distilbert_calls_things_has_berts_names() {
        for (found, expected) in [
            (
                "transformer.layer.5.attention.q_lin.weight",
                "encoder.layer.5.attention.self.query.weight",
            ),
            (
                "transformer.layer.0.sa_layer_norm.bias",
                "encoder.layer.0.attention.output.LayerNorm.bias",
            ),
            (
                "transformer.layer.0.output_layer_norm.weight",
                "encoder.layer.0.output.LayerNorm.weight",
            ),
            (
                "transformer.layer.11.ffn.lin2.weight",
                "encoder.layer.11.output.dense.weight",
            ),
        ] {
            assert_eq!(bert_layer_tensor(found).as_deref(), Some(expected));
            let [found, expected] = [format!("distilbert.{found}"), format!("bert.{expected}")];
            assert_eq!(Family::DistilBert.tensor(&expected), Some(found.into()));
            assert_eq!(
                Family::Bert.tensor(&expected),
                Some(expected.as_str().into())
            );
        }
        let distil = |name| Family::DistilBert.tensor(name);
        assert_eq!(
            distil("bert.embeddings.LayerNorm.bias").as_deref(),
            Some("distilbert.embeddings.LayerNorm.bias")
        );
        assert_eq!(
            distil("pre_classifier.weight").as_deref(),
            Some("pre_classifier.weight")
        );
        assert_eq!(distil(TOKEN_TYPES), None);
        assert_eq!(distil("bert.pooler.dense.weight"), None);
        assert_eq!(
            bert_layer_tensor("transformer.layer.0.adapter.weight"),
            None
        );
        assert_eq!(bert_layer_tensor("embeddings.LayerNorm.weight"), None);
        assert_eq!(Family::DistilBert.field("hidden_size"), "dim");
        assert_eq!(Family::DistilBert.field("vocab_size"), "vocab_size");
        assert_eq!(Family::Bert.field("hidden_size"), "hidden_size");
        assert_eq!(
            bert_class("DistilBertForTokenClassification"),
            "BertForTokenClassification"
        );
    }
}
