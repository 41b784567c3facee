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
    /// Where what it learned from is found, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_home: Option<String>,
    /// Under what that may be used, in the words of who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_licence: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_knew_nothing_of_the_datas_licence_is_read_and_stays_as_it_is() {
        let text = r#"{"base_model":"a/b","base_model_sha256":"00"}"#;
        let mut read: Provenance = serde_json::from_str(text).unwrap();
        assert_eq!((&read.data_home, &read.data_licence), (&None, &None));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        read.data_licence = Some("CC0".into());
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Provenance>(&written).unwrap(), read);
    }
}
