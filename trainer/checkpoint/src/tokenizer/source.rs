//! The tokenizer files of a Hugging Face folder, read into a real tokenizer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::TokenizerError;
use crate::vocabulary::token_name;

/// The special tokens of BERT, with their names in tokenizer_config.json.
const SPECIALS: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// The tokenizer of the folder `dir`, and the file that it was read from.
pub(super) fn read(dir: &Path) -> Result<(Tokenizer, PathBuf), TokenizerError> {
    let whole = dir.join("tokenizer.json");
    let vocabulary = dir.join("vocab.txt");
    if whole.is_file() {
        Ok((from_json(&whole)?, whole))
    } else if vocabulary.is_file() {
        Ok((
            from_vocabulary(&vocabulary, &dir.join("tokenizer_config.json"))?,
            vocabulary,
        ))
    } else {
        Err(TokenizerError::Missing {
            dir: dir.to_owned(),
        })
    }
}

/// A tokenizer.json as it is, but for truncation and padding.
fn from_json(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| parse_error(path, error))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| parse_error(path, error))?;
    Ok(tokenizer)
}

/// What `transformers` makes of a vocabulary and a tokenizer_config.json, which may be missing.
fn from_vocabulary(path: &Path, config_path: &Path) -> Result<Tokenizer, TokenizerError> {
    let config = config(config_path)?;
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    let pieces = WordPiece::read_bytes(&bytes).map_err(|error| parse_error(path, error))?;
    let [_, unk, cls, sep, _] = SPECIALS.map(|(name, usual)| special(&config, name, usual));
    let model = WordPiece::builder()
        .vocab(pieces)
        .unk_token(unk)
        .build()
        .map_err(|error| parse_error(path, error))?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| {
        let missing = || parse_error(path, format!("the special token {token} is not in it"));
        tokenizer.token_to_id(token).ok_or_else(missing)
    };
    let processing = BertProcessing::new((sep.clone(), id(&sep)?), (cls.clone(), id(&cls)?));
    tokenizer
        .with_normalizer(Some(normalizer(&config)))
        .map_err(|error| parse_error(path, error))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(processing));
    tokenizer
        .add_tokens(added_tokens(&config, config_path)?)
        .map_err(|error| parse_error(path, error))?;
    Ok(tokenizer)
}

fn config(path: &Path) -> Result<Value, TokenizerError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| parse_error(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(read_error(path, source)),
    }
}

fn normalizer(config: &Value) -> BertNormalizer {
    let flag = |name: &str| config[name].as_bool();
    BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars").unwrap_or(true),
        flag("strip_accents"),
        flag("do_lower_case").unwrap_or(true),
    )
}

/// A special token, by whatever name the configuration has for it, if there is one.
fn special(config: &Value, name: &str, usual: &str) -> String {
    let config = config.as_object();
    let name = config.map_or(usual, |config| token_name(config, name, usual));
    name.to_owned()
}

/// The tokens that are found in raw text: those of `added_tokens_decoder`, and BERT's own.
fn added_tokens(config: &Value, path: &Path) -> Result<Vec<AddedToken>, TokenizerError> {
    let mut tokens = Vec::new();
    for token in config["added_tokens_decoder"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
    {
        let token: AddedToken =
            serde_json::from_value(token.clone()).map_err(|error| parse_error(path, error))?;
        tokens.push(token);
    }
    for (name, usual) in SPECIALS {
        let content = special(config, name, usual);
        if tokens.iter().all(|token| token.content != content) {
            tokens.push(AddedToken::from(content, true));
        }
    }
    Ok(tokens)
}

fn read_error(path: &Path, source: io::Error) -> TokenizerError {
    TokenizerError::Read {
        path: path.to_owned(),
        source,
    }
}

fn parse_error(path: &Path, reason: impl ToString) -> TokenizerError {
    TokenizerError::Parse {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
