//! The tokenizer's files: read from one checkpoint, written to another, or made from a list of
//! words.
//!
//! What a checkpoint says about lengths stands in tokenizer_config.json; the truncation and padding
//! that a tokenizer.json may carry belong to whoever saved it, and are not written on.
//!
//! Where tokenizer_config.json and tokenizer.json disagree about how texts are normalized, `transformers` follows
//! tokenizer_config.json and what it leaves out, for BERT's classes of tokenizers. So is it done here, and the
//! tokenizer.json that is written says so. It also has the tokens that only the files beside it name; where those
//! contradict it, so that the ids depend on who reads them, the folder is refused.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::CONFIG_FILE;
use crate::error::CheckpointError;
use crate::json;

pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
pub(crate) const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
pub(crate) const ADDED_TOKENS_FILE: &str = "added_tokens.json";
pub(crate) const VOCAB_FILE: &str = "vocab.txt";

/// The special tokens of a BERT, and what tokenizer files call them.
pub(crate) const SPECIAL: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// Special tokens that BERT has none of but that may be named; they come before its own.
const UNUSUAL: [&str; 2] = ["bos_token", "eos_token"];

/// Where tokenizer_config.json lists all added tokens by their ids.
const DECODER: &str = "added_tokens_decoder";

/// Where special tokens beside these are listed: as `transformers` 5 writes it, and as those before it did.
const FURTHER: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// The classes of tokenizers for which tokenizer_config.json counts for more than tokenizer.json's normalizer. Each may
/// have "Fast" behind it.
const OVERRULING: [&str; 7] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
];

/// How texts are normalized.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Normalizing {
    /// Whether each Chinese character is a word.
    pub chinese_chars: bool,
    /// Whether letters lose their accents; without a word on it they do where they are lower-cased.
    pub strip_accents: Option<bool>,
    /// Whether capitals become small letters.
    pub lower_case: bool,
}

impl Normalizing {
    /// As a tokenizer_config.json says, or means by saying nothing.
    pub(crate) fn configured(config: &Map<String, Value>) -> Self {
        let flag = |name: &str| config.get(name).and_then(Value::as_bool);
        Normalizing {
            chinese_chars: flag("tokenize_chinese_chars").unwrap_or(true),
            strip_accents: flag("strip_accents"),
            lower_case: flag("do_lower_case").unwrap_or(true),
        }
    }

    /// As the normalizer of a tokenizer.json says.
    fn of(tokenizer: &Map<String, Value>) -> Self {
        let normalizer = tokenizer.get("normalizer");
        let flag = |name: &str| normalizer.and_then(|map| map.get(name)?.as_bool());
        Normalizing {
            chinese_chars: flag("handle_chinese_chars").unwrap_or(true),
            strip_accents: flag("strip_accents"),
            lower_case: flag("lowercase").unwrap_or(true),
        }
    }

    /// Sets what the normalizer of a tokenizer.json has otherwise; leaves one that isn't BERT's.
    fn overrule(self, tokenizer: &mut Map<String, Value>) {
        let Some(Value::Object(normalizer)) = tokenizer.get_mut("normalizer") else {
            return;
        };
        if normalizer.get("type").and_then(Value::as_str) != Some("BertNormalizer") {
            return;
        }
        for (field, value) in [
            ("handle_chinese_chars", json!(self.chinese_chars)),
            ("strip_accents", json!(self.strip_accents)),
            ("lowercase", json!(self.lower_case)),
        ] {
            if normalizer.get(field).unwrap_or(&Value::Null) != &value {
                normalizer.insert(field.to_owned(), value);
            }
        }
    }
}

/// Whether tokenizer_config.json, `config`, counts for more than tokenizer.json. Where it names no class of tokenizer,
/// config.json, `model`, may; where neither does, each family of models that is read has BERT's.
pub(crate) fn overrules(config: &Map<String, Value>, model: &Map<String, Value>) -> bool {
    let class = [config, model]
        .into_iter()
        .find_map(|file| file.get("tokenizer_class")?.as_str());
    match class {
        Some(class) => OVERRULING.contains(&class.strip_suffix("Fast").unwrap_or(class)),
        None => model.contains_key("model_type"),
    }
}

/// tokenizer.json, tokenizer_config.json, special_tokens_map.json and vocab.txt, as they will be
/// written.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    pub(crate) tokenizer: Value,
    pub(crate) config: Map<String, Value>,
    pub(crate) special_tokens: Map<String, Value>,
    pub(crate) vocab: Vec<u8>,
}

impl TokenizerFiles {
    /// Whether both make the same pieces of every text.
    pub fn makes_the_same_pieces(&self, other: &Self) -> bool {
        let parts = [
            "model",
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "added_tokens",
        ];
        parts
            .iter()
            .all(|part| self.tokenizer.get(part) == other.tokenizer.get(part))
    }

    /// Reads the files of a checkpoint. Only tokenizer.json must be there, or else vocab.txt, from
    /// which it is then made; the others follow.
    ///
    /// # Errors
    /// When both are missing, a file is damaged, the tokenizer is not WordPiece, or the files contradict one another.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let object = |name: &str| json::read_if_there::<Map<String, Value>>(&dir.join(name));
        let config = object(TOKENIZER_CONFIG_FILE)?;
        let special_tokens = object(SPECIAL_TOKENS_FILE)?;
        let none = Map::new();
        let added = object(ADDED_TOKENS_FILE)?;
        let told = config.as_ref().unwrap_or(&none);
        let settings = settings(
            told,
            special_tokens.as_ref().unwrap_or(&none),
            added.as_ref().unwrap_or(&none),
        );
        let vocab_path = dir.join(VOCAB_FILE);
        let vocab = if vocab_path.exists() {
            Some(json::bytes(&vocab_path)?)
        } else {
            None
        };
        let path = dir.join(TOKENIZER_FILE);
        let mut files = match (json::read_if_there(&path)?, vocab) {
            (Some(mut tokenizer), vocab) => {
                let model = object(CONFIG_FILE)?.unwrap_or_default();
                settle(&mut tokenizer, &settings, overrules(told, &model), dir)?;
                Self::around(tokenizer, vocab, &settings, &path)?
            }
            (None, Some(vocab)) => {
                let files = from_vocab(&vocab, &settings, &vocab_path)?;
                let tokens = files.tokenizer["added_tokens"].as_array();
                check_added_file(&settings, &[], dir, |content| {
                    id_in(tokens.into_iter().flatten(), content)
                })?;
                files
            }
            (None, None) => {
                return Err(CheckpointError::NoFile {
                    dir: dir.to_owned(),
                    file: TOKENIZER_FILE,
                });
            }
        };
        files.config = config.unwrap_or(files.config);
        files.special_tokens = special_tokens.unwrap_or(files.special_tokens);
        Ok(files)
    }

    /// Makes the files of BERT's WordPiece tokenizer; a piece's id is its place in `vocab`.
    /// `lower_case` also strips accents.
    ///
    /// # Errors
    /// The name of a special token that `vocab` lacks.
    pub fn wordpiece(vocab: &[&str], lower_case: bool) -> Result<Self, String> {
        let normalizing = Normalizing {
            chinese_chars: true,
            strip_accents: None,
            lower_case,
        };
        Self::configured(vocab, &default_config(normalizing))
    }

    /// The same as [`settings`] say: how texts are normalized, what special tokens are called, and which tokens there
    /// are besides. It is what `transformers` makes of the files, and the tables are made of.
    fn configured(vocab: &[&str], config: &Map<String, Value>) -> Result<Self, String> {
        let called = SPECIAL.map(|(name, usual)| (name, token_name(config, name, usual)));
        if let Some((_, token)) = called.iter().find(|(_, token)| !vocab.contains(token)) {
            return Err((*token).to_owned());
        }
        let text: String = vocab.iter().flat_map(|piece| [piece, "\n"]).collect();
        let special_tokens: Map<String, Value> = called
            .iter()
            .filter(|(name, _)| config.get(*name) != Some(&Value::Null))
            .map(|(name, token)| ((*name).to_owned(), json!(token)))
            .collect();
        let mut whole = default_config(Normalizing::configured(config));
        whole.extend(special_tokens.clone());
        Ok(TokenizerFiles {
            tokenizer: tokenizer_json(vocab, config),
            config: whole,
            special_tokens,
            vocab: text.into_bytes(),
        })
    }

    /// The files around a tokenizer.json, which name special tokens as `settings` do.
    fn around(
        mut tokenizer: Map<String, Value>,
        vocab: Option<Vec<u8>>,
        settings: &Map<String, Value>,
        path: &Path,
    ) -> Result<Self, CheckpointError> {
        for field in ["truncation", "padding"] {
            tokenizer.insert(field.to_owned(), Value::Null);
        }
        let model = tokenizer.get("model");
        // The oldest files name no type; then the vocabulary tells.
        let kind = model
            .and_then(|model| model.get("type")?.as_str())
            .unwrap_or("WordPiece");
        let pieces = model.and_then(|model| model.get("vocab")?.as_object());
        let pieces = match pieces {
            Some(pieces) if kind == "WordPiece" => pieces,
            _ => {
                let what = format!("is {kind}; only WordPiece is supported");
                return Err(CheckpointError::field(path, "model", what));
            }
        };
        let vocab = match vocab {
            Some(vocab) => vocab,
            None => vocab_text(pieces).ok_or_else(|| {
                CheckpointError::field(path, "model.vocab", "has ids in disorder")
            })?,
        };
        let special_tokens: Map<String, Value> = SPECIAL
            .iter()
            .filter(|(name, _)| settings.get(*name) != Some(&Value::Null))
            .map(|(name, usual)| {
                let token = token_name(settings, name, usual);
                ((*name).to_owned(), json!(token))
            })
            .collect();
        let mut config = default_config(Normalizing::of(&tokenizer));
        config.extend(special_tokens.clone());
        Ok(TokenizerFiles {
            config,
            special_tokens,
            tokenizer: Value::Object(tokenizer),
            vocab,
        })
    }
}

/// Pieces in the order of their ids, one on each line, if the ids are 0 to n - 1.
fn vocab_text(pieces: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut lines = vec![None; pieces.len()];
    for (piece, id) in pieces {
        *lines.get_mut(usize::try_from(id.as_u64()?).ok()?)? = Some(piece.as_str());
    }
    let lines: Option<Vec<&str>> = lines.into_iter().collect();
    Some(
        lines?
            .iter()
            .flat_map(|piece| [piece, "\n"])
            .collect::<String>()
            .into_bytes(),
    )
}

fn from_vocab(
    bytes: &[u8],
    config: &Map<String, Value>,
    path: &Path,
) -> Result<TokenizerFiles, CheckpointError> {
    let wrong = |line, what: &str| {
        let what = what.to_owned();
        CheckpointError::Line {
            path: path.to_owned(),
            line,
            what,
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        wrong(
            1 + before.iter().filter(|b| **b == b'\n').count(),
            "invalid UTF-8",
        )
    })?;
    let vocab: Vec<&str> = text.lines().collect();
    let mut files = TokenizerFiles::configured(&vocab, config)
        .map_err(|token| wrong(vocab.len().max(1), &format!("no {token} among the pieces")))?;
    files.vocab = bytes.to_owned();
    Ok(files)
}

/// What a configuration calls a special token, as a string or as an object.
pub(crate) fn token_name<'c>(
    config: &'c Map<String, Value>,
    name: &str,
    usual: &'c str,
) -> &'c str {
    let token = config.get(name);
    let named = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    named.unwrap_or(usual)
}

/// What a folder says of its tokens: tokenizer_config.json, and laid over it special_tokens_map.json, `special`, and
/// added_tokens.json, `added`, which both count for nothing where there is an `added_tokens_decoder`.
pub(crate) fn settings(
    config: &Map<String, Value>,
    special: &Map<String, Value>,
    added: &Map<String, Value>,
) -> Map<String, Value> {
    let mut settings = config.clone();
    if config.contains_key(DECODER) {
        return settings;
    }
    let mut further = further_tokens(config);
    for token in further_tokens(special) {
        if !further.contains(&token) {
            further.push(token);
        }
    }
    settings.extend(special.clone());
    settings.insert(FURTHER[0].to_owned(), Value::Array(further));
    settings.insert(ADDED_TOKENS_FILE.to_owned(), Value::Object(added.clone()));
    settings
}

/// The special tokens that are named beside BERT's own, whatever they are called, and those that are listed.
fn further_tokens(settings: &Map<String, Value>) -> Vec<Value> {
    let is_usual =
        |name: &str| UNUSUAL.contains(&name) || SPECIAL.iter().any(|(special, _)| *special == name);
    let mut tokens: Vec<Value> = settings
        .iter()
        .filter(|(name, token)| name.ends_with("_token") && !is_usual(name) && token.is_string())
        .map(|(_, token)| token.clone())
        .collect();
    if let Some(Value::Object(named)) = settings.get(FURTHER[0]) {
        tokens.extend(named.values().cloned());
    }
    let mut lists = FURTHER
        .iter()
        .filter_map(|name| settings.get(*name)?.as_array());
    tokens.extend(
        lists
            .find(|tokens| !tokens.is_empty())
            .into_iter()
            .flatten()
            .cloned(),
    );
    tokens
}

/// The special tokens that have a name of their own. Whether what each BERT calls so counts, `counts` says, which also
/// gets whether it is named.
fn named_tokens(settings: &Map<String, Value>, counts: impl Fn(&str, bool) -> bool) -> Vec<Value> {
    let unusual = UNUSUAL.into_iter().map(|name| (name, ""));
    let tokens = unusual
        .chain(SPECIAL)
        .filter_map(|(name, usual)| match settings.get(name) {
            Some(Value::Null) => None,
            told => {
                let token = token_name(settings, name, usual);
                Some(token).filter(|token| *token != usual || counts(usual, told.is_some()))
            }
        });
    tokens
        .filter(|token| !token.is_empty())
        .map(|token| json!(token))
        .collect()
}

/// The tokens that are found in raw text as `tokenizers` describes them, in the order in which they are added: `own`,
/// those of `added_tokens_decoder` or added_tokens.json, and those that are named or listed as special. Which of the
/// usual ones count, `counts` says, as in [`named_tokens`].
pub(crate) fn added_tokens(
    settings: &Map<String, Value>,
    own: &[Value],
    counts: impl Fn(&str, bool) -> bool,
) -> Vec<Value> {
    let mut tokens = own.to_vec();
    for (_, token) in by_id(settings, DECODER) {
        let mut known = tokens.iter_mut();
        match known.find(|known| known["content"] == token["content"]) {
            Some(known) => *known = token.clone(),
            None => tokens.push(token.clone()),
        }
    }
    let added = by_id(settings, ADDED_TOKENS_FILE).into_iter();
    let added = added.map(|(content, _)| json!(content));
    for token in added.chain(special_tokens_of(settings, counts)) {
        let token = described(&token);
        let content = &token["content"];
        if tokens.iter().all(|known| known["content"] != *content) {
            tokens.push(token);
        }
    }
    tokens
}

/// All special tokens that settings have, in the order in which they are added.
fn special_tokens_of(
    settings: &Map<String, Value>,
    counts: impl Fn(&str, bool) -> bool,
) -> Vec<Value> {
    let mut tokens = named_tokens(settings, counts);
    tokens.extend(further_tokens(settings));
    tokens
}

/// The entries of `added_tokens_decoder`, or of added_tokens.json, in the order of their ids.
fn by_id<'s>(settings: &'s Map<String, Value>, list: &str) -> Vec<(&'s String, &'s Value)> {
    let entries = settings.get(list).and_then(Value::as_object);
    let mut entries: Vec<_> = entries.into_iter().flatten().collect();
    entries.sort_by_key(|(key, value)| {
        let id = value.as_u64().or_else(|| key.parse().ok());
        id.unwrap_or(u64::MAX)
    });
    entries
}

/// A special token that is only named, or has some of its flags.
fn described(token: &Value) -> Value {
    let flag = |name: &str| token[name].as_bool().unwrap_or(false);
    let content = token.get("content").unwrap_or(token);
    json!({"content": content, "single_word": flag("single_word"), "lstrip": flag("lstrip"),
           "rstrip": flag("rstrip"), "normalized": flag("normalized"), "special": true})
}

/// The same tokens with their ids, in the order of these: that of the piece of this name, or the next behind the
/// vocabulary.
fn with_ids(mut tokens: Vec<Value>, pieces: &Map<String, Value>) -> Vec<Value> {
    let mut next = pieces.len();
    for token in &mut tokens {
        let content = token["content"].as_str();
        let place = content.and_then(|content| pieces.get(content)).cloned();
        let id = place.unwrap_or_else(|| {
            next += 1;
            json!(next - 1)
        });
        if let Value::Object(token) = token {
            token.insert("id".to_owned(), id);
        }
    }
    tokens.sort_by_key(|token| token["id"].as_u64());
    tokens
}

/// The id that a token has in a list.
fn id_in<'t>(tokens: impl IntoIterator<Item = &'t Value>, content: &str) -> Option<u64> {
    let mut tokens = tokens.into_iter();
    let token = tokens.find(|token| token["content"] == content)?;
    token["id"].as_u64()
}

/// Lays over a tokenizer.json what the files beside it say, as `transformers` does: the tokens that it lacks, and, if
/// the configuration `overrules` it, how texts are normalized.
///
/// # Errors
/// When the files contradict one another.
pub(crate) fn settle(
    tokenizer: &mut Map<String, Value>,
    settings: &Map<String, Value>,
    overrules: bool,
    dir: &Path,
) -> Result<(), CheckpointError> {
    if overrules {
        Normalizing::configured(settings).overrule(tokenizer);
        check_frame(tokenizer, settings, dir)?;
    }
    let model = tokenizer.get("model");
    let Some(pieces) = model.and_then(|model| model.get("vocab")?.as_object()) else {
        return Ok(());
    };
    let own = tokenizer.get("added_tokens").and_then(Value::as_array);
    let own: &[Value] = own.map(Vec::as_slice).unwrap_or_default();
    let is_own = |content: &Value| own.iter().any(|token| token["content"] == *content);
    let is_new = |token: &&Value| {
        let content = token["content"].as_str();
        content.is_some_and(|content| !pieces.contains_key(content)) && !is_own(&token["content"])
    };
    let replaces = overrules && settings.contains_key(DECODER);
    let start: &[Value] = if replaces { &[] } else { own };
    let is_meant = |_: &str, is_named: bool| overrules || is_named;
    let is_there = |usual: &str, is_named: bool| {
        let is_there = pieces.contains_key(usual) || is_own(&Value::from(usual));
        is_there && is_meant(usual, is_named)
    };
    let mut tokens = added_tokens(settings, start, is_there);
    // The usual ones that it has nowhere are given ids only where they move those of others.
    if tokens.iter().any(|token| is_new(&token)) {
        tokens = added_tokens(settings, start, is_meant);
    }
    for token in own.iter().filter(|_| replaces) {
        if tokens
            .iter()
            .all(|kept| kept["content"] != token["content"])
        {
            let what = format!(
                "lacks {}, a token that tokenizer.json adds; write it into both files or into neither",
                token["content"]
            );
            let path = dir.join(TOKENIZER_CONFIG_FILE);
            return Err(CheckpointError::field(&path, DECODER, what));
        }
    }
    let count = pieces.len() as u64;
    let in_order = |id: &Value| id.as_u64().is_some_and(|id| id < count);
    if let Some(new) = tokens.iter().find(is_new)
        && !pieces.values().all(in_order)
    {
        let what = format!(
            "has ids in disorder, which leave none for {}, a token of the files beside it; add it here",
            new["content"]
        );
        let path = dir.join(TOKENIZER_FILE);
        return Err(CheckpointError::field(&path, "model.vocab", what));
    }
    let is_same = without_ids(&tokens) == without_ids(own);
    let tokens = with_ids(tokens, pieces);
    check_added_file(settings, own, dir, |content| id_in(&tokens, content))?;
    if !is_same {
        tokenizer.insert("added_tokens".to_owned(), Value::Array(tokens));
    }
    Ok(())
}

fn without_ids(tokens: &[Value]) -> Vec<Value> {
    let mut tokens = tokens.to_vec();
    for token in tokens.iter_mut().filter_map(Value::as_object_mut) {
        token.remove("id");
    }
    tokens
}

/// Checks that a tokenizer.json begins and ends texts, and marks unknown words, with the tokens that the files beside
/// it name, if they name any but the usual ones: readers differ in whom they believe.
fn check_frame(
    tokenizer: &Map<String, Value>,
    settings: &Map<String, Value>,
    dir: &Path,
) -> Result<(), CheckpointError> {
    for (name, usual) in SPECIAL {
        let Some((field, there)) = called_in(tokenizer, name) else {
            continue;
        };
        let named = token_name(settings, name, usual);
        if named != there && named != usual {
            let path = dir.join(TOKENIZER_FILE);
            let what = format!(
                "has {there:?} where the files beside it name the {name} {named:?}; write the same in all"
            );
            return Err(CheckpointError::field(&path, field, what));
        }
    }
    Ok(())
}

/// What a tokenizer.json calls a special token, and in which of its parts, if it says.
fn called_in<'t>(tokenizer: &'t Map<String, Value>, name: &str) -> Option<(&'static str, &'t str)> {
    let (part, own, place) = match name {
        "unk_token" => {
            let token = tokenizer.get("model")?.get("unk_token")?.as_str()?;
            return Some(("model", token));
        }
        "cls_token" => ("post_processor", "cls", 0_usize),
        "sep_token" => ("post_processor", "sep", 2),
        _ => return None,
    };
    let processor = tokenizer.get(part)?;
    let template = &processor["single"][place]["SpecialToken"]["id"];
    let token = processor[own][0].as_str().or(template.as_str())?;
    Some((part, token))
}

/// Checks that each token of added_tokens.json gets the id that it has there, and is found as it is written. One that
/// isn't special is found in any case of its letters, but for those of a tokenizer.json, `own`, which says it itself.
///
/// # Errors
/// The first token of which it isn't so.
pub(crate) fn check_added_file(
    settings: &Map<String, Value>,
    own: &[Value],
    dir: &Path,
    id: impl Fn(&str) -> Option<u64>,
) -> Result<(), CheckpointError> {
    let path = dir.join(ADDED_TOKENS_FILE);
    let special = special_tokens_of(settings, |_, _| true);
    let is_special = |content: &str| {
        special
            .iter()
            .any(|token| described(token)["content"] == content)
    };
    for (content, told) in by_id(settings, ADDED_TOKENS_FILE) {
        let id = id(content);
        if id.is_none() || told.as_u64() != id {
            let given = id.map_or_else(|| "none".to_owned(), |id| id.to_string());
            let what = format!(
                "has the id {told}, and is given {given}: the ids there must follow the vocabulary without a gap"
            );
            return Err(CheckpointError::field(&path, content, what));
        }
        if !is_special(content) && own.iter().all(|token| token["content"] != content.as_str()) {
            let what = "is named by no list of special tokens, and so would be found in other letter cases too; \
                        list it in `additional_special_tokens` of tokenizer_config.json";
            return Err(CheckpointError::field(&path, content, what));
        }
    }
    Ok(())
}

fn tokenizer_json(vocab: &[&str], config: &Map<String, Value>) -> Value {
    let normalizing = Normalizing::configured(config);
    let called = |name: &str, usual| token_name(config, name, usual);
    let (cls, sep) = (called("cls_token", "[CLS]"), called("sep_token", "[SEP]"));
    let id = |token: &str| vocab.iter().position(|piece| *piece == token);
    let text = |name: &str, kind: usize| json!({"Sequence": {"id": name, "type_id": kind}});
    let mark = |token: &str, kind: usize| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let described = |token: &str| json!({"id": token, "ids": [id(token)], "tokens": [token]});
    let pieces: Map<String, Value> = vocab
        .iter()
        .enumerate()
        .map(|(id, piece)| ((*piece).to_owned(), json!(id)))
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": with_ids(added_tokens(config, &[], |_, _| true), &pieces),
        "normalizer": {"type": "BertNormalizer", "clean_text": true,
                       "handle_chinese_chars": normalizing.chinese_chars,
                       "strip_accents": normalizing.strip_accents,
                       "lowercase": normalizing.lower_case},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [mark(cls, 0), text("A", 0), mark(sep, 0)],
            "pair": [mark(cls, 0), text("A", 0), mark(sep, 0), text("B", 1), mark(sep, 1)],
            "special_tokens": {cls: described(cls), sep: described(sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": called("unk_token", "[UNK]"),
                  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": pieces},
    })
}

fn default_config(normalizing: Normalizing) -> Map<String, Value> {
    let Normalizing {
        chinese_chars,
        strip_accents,
        lower_case,
    } = normalizing;
    let mut config = special_tokens();
    config.insert("do_lower_case".into(), json!(lower_case));
    config.insert("tokenize_chinese_chars".into(), json!(chinese_chars));
    config.insert("strip_accents".into(), json!(strip_accents));
    config.insert("tokenizer_class".into(), json!("BertTokenizer"));
    config
}

fn special_tokens() -> Map<String, Value> {
    SPECIAL
        .iter()
        .map(|(name, token)| ((*name).to_owned(), json!(token)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::{Existing, Folder};
    use std::fs;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n";

    #[test]
    fn a_vocabulary_alone_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(VOCAB_FILE), VOCAB).unwrap();
        let lower = TokenizerFiles::read(dir.path()).unwrap();
        assert_eq!(lower.tokenizer["normalizer"]["lowercase"], true);
        assert_eq!(lower.tokenizer["model"]["vocab"]["##b"], 6);
        assert_eq!(lower.vocab, VOCAB.as_bytes());

        fs::write(
            dir.path().join(TOKENIZER_CONFIG_FILE),
            r#"{"do_lower_case": false}"#,
        )
        .unwrap();
        let cased = TokenizerFiles::read(dir.path()).unwrap();
        assert_eq!(cased.tokenizer["normalizer"]["lowercase"], false);
        assert_eq!(
            cased.config,
            serde_json::from_str(r#"{"do_lower_case": false}"#).unwrap()
        );
    }

    #[test]
    fn truncation_and_padding_are_not_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let vocab: Vec<&str> = VOCAB.lines().collect();
        let mut files = TokenizerFiles::wordpiece(&vocab, true).unwrap();
        let plain = files.clone();
        files.tokenizer["truncation"] = json!({"max_length": 128});
        files.tokenizer["padding"] = json!({"strategy": {"Fixed": 128}});
        let mut folder = Folder::create(&from).unwrap();
        folder.tokenizer(&files, 128).unwrap();
        folder.commit(Existing::Refuse).unwrap();
        fs::remove_file(from.join(VOCAB_FILE)).unwrap();

        let read = TokenizerFiles::read(&from).unwrap();
        assert_eq!(
            (&read.tokenizer, &read.vocab),
            (&plain.tokenizer, &plain.vocab)
        );
        let mut folder = Folder::create(&to).unwrap();
        folder.tokenizer(&read, 64).unwrap();
        folder.commit(Existing::Refuse).unwrap();
        let config = fs::read_to_string(to.join(TOKENIZER_CONFIG_FILE)).unwrap();
        assert!(config.contains("\"model_max_length\": 64"), "{config}");
    }

    #[test]
    fn each_unusable_tokenizer_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = || TokenizerFiles::read(dir.path()).unwrap_err().to_string();
        assert!(error().ends_with("no tokenizer.json"), "{}", error());
        let vocab = |bytes: &[u8]| fs::write(dir.path().join(VOCAB_FILE), bytes).unwrap();
        vocab(b"[PAD]\n\xff");
        assert!(
            error().ends_with("vocab.txt:2: invalid UTF-8"),
            "{}",
            error()
        );
        vocab(b"[UNK]\n[SEP]\n");
        assert!(
            error().ends_with("vocab.txt:2: no [PAD] among the pieces"),
            "{}",
            error()
        );
        fs::remove_file(dir.path().join(VOCAB_FILE)).unwrap();
        for (text, expected) in [
            (
                r#"{"model": {"type": "BPE", "vocab": {}}}"#,
                "`model` is BPE; only WordPiece",
            ),
            (
                r#"{"model": {"vocab": {"a": 1}}}"#,
                "`model.vocab` has ids in disorder",
            ),
            (
                r#"{"model": {"vocab": {"a": 0, "b": 0}}}"#,
                "`model.vocab` has ids in disorder",
            ),
            ("{\n\"model\": 1,}", "tokenizer.json:2: "),
        ] {
            fs::write(dir.path().join(TOKENIZER_FILE), text).unwrap();
            assert!(error().contains(expected), "{}", error());
        }
    }
}
