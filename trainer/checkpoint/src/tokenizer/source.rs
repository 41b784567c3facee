//! The tokenizer files of a Hugging Face folder, read into a real tokenizer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::TokenizerError;
use crate::config::CONFIG_FILE;
use crate::vocabulary::{
    self, Normalizing, SPECIAL, SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE,
    VOCAB_FILE, settings, token_name,
};

/// The tokenizer of the folder `dir`, and the file that it was read from.
pub(super) fn read(dir: &Path) -> Result<(Tokenizer, PathBuf), TokenizerError> {
    let whole = dir.join(TOKENIZER_FILE);
    let vocabulary = dir.join(VOCAB_FILE);
    if whole.is_file() {
        Ok((from_json(&whole, dir)?, whole))
    } else if vocabulary.is_file() {
        Ok((from_vocabulary(&vocabulary, dir)?, vocabulary))
    } else {
        Err(TokenizerError::Missing {
            dir: dir.to_owned(),
        })
    }
}

/// A tokenizer.json as it is, but for truncation and padding, and for what the configuration beside it overrules.
fn from_json(path: &Path, dir: &Path) -> Result<Tokenizer, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| parse_error(path, error))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| parse_error(path, error))?;
    let config = object(&dir.join(TOKENIZER_CONFIG_FILE))?;
    let model = object(&dir.join(CONFIG_FILE))?;
    let cleans = match tokenizer.get_normalizer() {
        Some(NormalizerWrapper::BertNormalizer(normalizer)) => Some(normalizer.clean_text),
        _ => None,
    };
    if let (Some(told), Some(cleans)) = (Normalizing::overruling(&config, &model), cleans) {
        tokenizer
            .with_normalizer(Some(normalizer(told, cleans)))
            .map_err(|error| parse_error(path, error))?;
    }
    Ok(tokenizer)
}

/// What `transformers` makes of a vocabulary, a tokenizer_config.json and a special_tokens_map.json, which both may be
/// missing.
fn from_vocabulary(path: &Path, dir: &Path) -> Result<Tokenizer, TokenizerError> {
    let config_path = dir.join(TOKENIZER_CONFIG_FILE);
    let settings = settings(
        &object(&config_path)?,
        &object(&dir.join(SPECIAL_TOKENS_FILE))?,
    );
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    let pieces = WordPiece::read_bytes(&bytes).map_err(|error| parse_error(path, error))?;
    let [unk, sep, _, cls, _] =
        SPECIAL.map(|(name, usual)| token_name(&settings, name, usual).to_owned());
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
        .with_normalizer(Some(normalizer(Normalizing::configured(&settings), true)))
        .map_err(|error| parse_error(path, error))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(processing));
    tokenizer
        .add_tokens(added_tokens(&settings, &config_path)?)
        .map_err(|error| parse_error(path, error))?;
    Ok(tokenizer)
}

/// The object in a JSON file; an empty one where there is no file, or anything else in it.
fn object(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Ok(Map::new()),
            Err(error) => Err(parse_error(path, error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(source) => Err(read_error(path, source)),
    }
}

fn normalizer(told: Normalizing, cleans: bool) -> BertNormalizer {
    BertNormalizer::new(
        cleans,
        told.chinese_chars,
        told.strip_accents,
        told.lower_case,
    )
}

/// The tokens that are found in raw text.
fn added_tokens(
    settings: &Map<String, Value>,
    path: &Path,
) -> Result<Vec<AddedToken>, TokenizerError> {
    vocabulary::added_tokens(settings)
        .into_iter()
        .map(|token| serde_json::from_value(token).map_err(|error| parse_error(path, error)))
        .collect()
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
