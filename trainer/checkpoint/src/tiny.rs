//! A small BERT made of nothing but a seed: for tests, and for walking the whole road offline.
//!
//! Two layers, 32 wide, two heads; a WordPiece vocabulary of single characters and a few words. The
//! numbers are random but fixed, the same on every machine. No parameter is at its neutral value, no
//! bias zero and no layer norm one, so that a computation that forgets one of them gives other
//! results.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, json};

use crate::config::Config;
use crate::error::SaveError;
use crate::family::Family;
use crate::names;
use crate::save::{Existing, Folder, TensorRef};
use crate::vocabulary::TokenizerFiles;

const HIDDEN: usize = 32;
const POSITIONS: usize = 128;

/// Writes a small base model to `dir`, which must be empty or not there yet. Texts are lower-cased;
/// of `words`, those made of letters and digits become pieces of their own.
///
/// # Errors
/// When `dir` holds something, or cannot be written.
pub fn create(dir: impl AsRef<Path>, seed: u64, words: &[&str]) -> Result<(), SaveError> {
    let vocab = vocabulary(words);
    let pieces: Vec<&str> = vocab.iter().map(String::as_str).collect();
    let mut folder = Folder::create(&dir)?;
    let lacks = |name| SaveError::Name {
        dir: dir.as_ref().into(),
        name,
    };
    let tokenizer = TokenizerFiles::wordpiece(&pieces, true).map_err(lacks)?;
    let config = config(vocab.len());
    let mut random = Random(seed);
    let mut shapes = names::encoder(&config);
    shapes.extend(names::heads(&config).swap_remove(0));
    let data: Vec<Vec<f32>> = shapes
        .iter()
        .map(|(name, shape)| random.tensor(name, shape))
        .collect();
    let tensors: Vec<TensorRef> = shapes
        .iter()
        .zip(&data)
        .map(|((name, shape), data)| TensorRef { name, shape, data })
        .collect();
    folder.model(&config, &tensors)?;
    folder.tokenizer(&tokenizer, POSITIONS)?;
    folder.commit(Existing::Refuse)?;
    Ok(())
}

/// Special tokens, printable ASCII as the lower-casing tokenizer leaves it, continuations, words.
fn vocabulary(words: &[&str]) -> Vec<String> {
    let characters = (b'!'..=b'~')
        .map(char::from)
        .filter(|c| !c.is_ascii_uppercase());
    let continuations = characters.clone().filter(char::is_ascii_alphanumeric);
    let words: BTreeSet<String> = words
        .iter()
        .map(|word| word.to_lowercase())
        .filter(|word| word.chars().all(char::is_alphanumeric) && word.chars().count() > 1)
        .collect();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    special
        .map(str::to_owned)
        .into_iter()
        .chain(characters.map(String::from))
        .chain(continuations.map(|c| format!("##{c}")))
        .chain(words)
        .collect()
}

fn config(vocab_size: usize) -> Config {
    Config {
        family: Family::Bert,
        architectures: vec!["BertModel".to_owned()],
        vocab_size,
        hidden_size: HIDDEN,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 2 * HIDDEN,
        max_position_embeddings: POSITIONS,
        type_vocab_size: 2,
        hidden_act: "gelu".to_owned(),
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        classifier_dropout: None,
        qa_dropout: 0.0,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        pad_token_id: 0,
        id2label: Vec::new(),
        problem_type: None,
        dtype: None,
        raw: Map::from_iter([("position_embedding_type".to_owned(), json!("absolute"))]),
    }
}

/// SplitMix64: a counter, well mixed. [Steele, Lea, Flood 2014]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Close to a standard normal: twelve uniform numbers have variance one together. A logarithm
    /// would be rounded differently by different systems.
    fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| (bits >> 40) as f32 / (1 << 24) as f32;
        (0..12).map(|_| uniform(self.next())).sum::<f32>() - 6.0
    }

    /// Dense weights keep the variance of what goes through them; the rest is scattered a little
    /// around its neutral value.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let (mean, deviation) = match shape {
            _ if name.ends_with("LayerNorm.weight") => (1.0, 0.1),
            [_, inputs] if !name.contains("embeddings") => (0.0, 1.0 / (*inputs as f32).sqrt()),
            [_, _] => (0.0, 0.3),
            _ => (0.0, 0.05),
        };
        (0..shape.iter().product())
            .map(|_| mean + deviation * self.normal())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;
    use crate::digest::{hex, sha256};
    use tokenizers::Tokenizer;

    #[test]
    fn the_same_seed_gives_the_same_bytes_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let sum = |name: &str| hex(&sha256(at(name).join("model.safetensors")).unwrap());
        create(at("a"), 42, &["film", "Good", "x-y"]).unwrap();
        create(at("b"), 42, &["good", "film", "film"]).unwrap();
        create(at("c"), 43, &["film", "good"]).unwrap();
        assert_eq!(sum("a"), sum("b"));
        assert_ne!(sum("a"), sum("c"));
        let fixed = "904c330496b629424d58e974cc0c3abd109c75b77e0bc8d6d6b326d7e3702279";
        assert_eq!(sum("a"), fixed, "what others compare against");
        assert!(
            create(at("a"), 42, &[]).is_err(),
            "a folder with something in it is kept"
        );
    }

    #[test]
    fn it_is_a_base_model_without_a_neutral_parameter() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), 1, &["film"]).unwrap();
        let model = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(model.max_length(), POSITIONS);
        assert!(model.has("bert.pooler.dense.weight") && !model.has("classifier.weight"));
        for name in model.names() {
            let data = model.tensor(name).unwrap().data;
            assert!(
                data.iter().all(|n| n.is_finite() && n.abs() < 3.0),
                "{name}"
            );
            assert!(data.iter().any(|n| *n != data[0]), "{name}");
        }
    }

    #[test]
    fn its_tokenizer_knows_words_and_spells_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), 1, &["film", "good"]).unwrap();
        let tokenizer = Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
        let encoding = tokenizer.encode(("A GOOD film!", "Été 中"), true).unwrap();
        let expected = "[CLS] a good film ! [SEP] e ##t ##e [UNK] [SEP]";
        assert_eq!(encoding.get_tokens().join(" "), expected);
        assert_eq!(encoding.get_type_ids(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    }
}
