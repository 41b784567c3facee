//! Where a model comes from, as its card and its bundle tell it.

use serde::{Deserialize, Serialize};

/// What a model was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The base model's name on the Hub, which has a `/`, or what its folder is called.
    pub base_model: String,
    /// The SHA-256 of its weights, in hexadecimal.
    pub base_model_sha256: String,
    /// Its licence by the Hub's name for it, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_license: Option<String>,
    /// What the model learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_file: Option<DataFile>,
    /// What it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<DataFile>,
}

/// A data file, so that it can be told from any other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// What it is called, without the way to it.
    pub name: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many of its rows were used.
    pub rows: u64,
}
