//! The tokenizer files of a Hugging Face folder, read into a real tokenizer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::TokenizerError;
use crate::config::CONFIG_FILE;
use crate::vocabulary::{
    self, ADDED_TOKENS_FILE, Normalizing, SPECIAL, SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE, VOCAB_FILE, check_added_file, overrules, settle, token_name,
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

/// A tokenizer.json as it is, but for truncation and padding, and for what the files beside it say otherwise or add.
fn from_json(path: &Path, dir: &Path) -> Result<Tokenizer, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| parse_error(path, error))?;
    let config_path = dir.join(TOKENIZER_CONFIG_FILE);
    let overrules = overrules(&object(&config_path)?, &object(&dir.join(CONFIG_FILE))?);
    let whole: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| parse_error(path, error))?;
    let mut settled = whole.clone();
    settle(&mut settled, &settings(dir)?, overrules, dir)?;
    if settled != whole {
        let tokens = settled.get("added_tokens").and_then(Value::as_array);
        parsed(tokens.cloned().unwrap_or_default(), &config_path)?;
        tokenizer = Tokenizer::from_bytes(Value::Object(settled).to_string())
            .map_err(|error| parse_error(path, error))?;
    }
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| parse_error(path, error))?;
    Ok(tokenizer)
}

/// What the files of a folder say of its tokens; each may be missing.
fn settings(dir: &Path) -> Result<Map<String, Value>, TokenizerError> {
    let object = |name: &str| object(&dir.join(name));
    Ok(vocabulary::settings(
        &object(TOKENIZER_CONFIG_FILE)?,
        &object(SPECIAL_TOKENS_FILE)?,
        &object(ADDED_TOKENS_FILE)?,
    ))
}

/// What `transformers` makes of a vocabulary, a tokenizer_config.json, a special_tokens_map.json and an
/// added_tokens.json, which all three may be missing.
fn from_vocabulary(path: &Path, dir: &Path) -> Result<Tokenizer, TokenizerError> {
    let settings = settings(dir)?;
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
        .with_normalizer(Some(normalizer(Normalizing::configured(&settings))))
        .map_err(|error| parse_error(path, error))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(processing));
    let tokens = vocabulary::added_tokens(&settings, &[], |_, _| true);
    tokenizer
        .add_tokens(parsed(tokens, &dir.join(TOKENIZER_CONFIG_FILE))?)
        .map_err(|error| parse_error(path, error))?;
    let id = |content: &str| tokenizer.token_to_id(content).map(u64::from);
    check_added_file(&settings, &[], dir, id)?;
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

fn normalizer(told: Normalizing) -> BertNormalizer {
    BertNormalizer::new(
        true,
        told.chinese_chars,
        told.strip_accents,
        told.lower_case,
    )
}

/// The tokens that are found in raw text, as the file at `path` names them.
fn parsed(tokens: Vec<Value>, path: &Path) -> Result<Vec<AddedToken>, TokenizerError> {
    tokens
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
