//! The tokenizer's files: read from one checkpoint, written to another, or made from a list of
//! words.
//!
//! What a checkpoint says about lengths stands in tokenizer_config.json; the truncation and padding
//! that a tokenizer.json may carry belong to whoever saved it, and are not written on.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::CheckpointError;
use crate::json;

pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
pub(crate) const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
pub(crate) const VOCAB_FILE: &str = "vocab.txt";

/// The special tokens of a BERT, and what tokenizer files call them.
const SPECIAL: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

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
    /// When both are missing, a file is damaged, or the tokenizer is not WordPiece.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let config: Option<Map<String, Value>> =
            json::read_if_there(&dir.join(TOKENIZER_CONFIG_FILE))?;
        let vocab_path = dir.join(VOCAB_FILE);
        let vocab = if vocab_path.exists() {
            Some(json::bytes(&vocab_path)?)
        } else {
            None
        };
        let path = dir.join(TOKENIZER_FILE);
        let mut files = match (json::read_if_there(&path)?, vocab) {
            (Some(tokenizer), vocab) => Self::around(tokenizer, vocab, &path)?,
            (None, Some(vocab)) => {
                let none = Map::new();
                from_vocab(&vocab, config.as_ref().unwrap_or(&none), &vocab_path)?
            }
            (None, None) => {
                return Err(CheckpointError::NoFile {
                    dir: dir.to_owned(),
                    file: TOKENIZER_FILE,
                });
            }
        };
        files.config = config.unwrap_or(files.config);
        if let Some(map) = json::read_if_there(&dir.join(SPECIAL_TOKENS_FILE))? {
            files.special_tokens = map;
        }
        Ok(files)
    }

    /// Makes the files of BERT's WordPiece tokenizer; a piece's id is its place in `vocab`.
    /// `lower_case` also strips accents.
    ///
    /// # Errors
    /// The name of a special token that `vocab` lacks.
    pub fn wordpiece(vocab: &[&str], lower_case: bool) -> Result<Self, String> {
        Self::configured(vocab, &default_config(lower_case))
    }

    /// The same as a tokenizer_config.json says: how texts are normalized, what special tokens are called, and which
    /// tokens there are besides. It is what `transformers` makes of both files, and the tables are made of.
    fn configured(vocab: &[&str], config: &Map<String, Value>) -> Result<Self, String> {
        let called = SPECIAL.map(|(name, usual)| (name, token_name(config, name, usual)));
        if let Some((_, token)) = called.iter().find(|(_, token)| !vocab.contains(token)) {
            return Err((*token).to_owned());
        }
        let text: String = vocab.iter().flat_map(|piece| [piece, "\n"]).collect();
        let names = called
            .iter()
            .map(|(name, token)| ((*name).to_owned(), json!(token)));
        let lower_case = config.get("do_lower_case").and_then(Value::as_bool);
        Ok(TokenizerFiles {
            tokenizer: tokenizer_json(vocab, config),
            config: default_config(lower_case.unwrap_or(true)),
            special_tokens: names.collect(),
            vocab: text.into_bytes(),
        })
    }

    /// The files around a tokenizer.json.
    fn around(
        mut tokenizer: Map<String, Value>,
        vocab: Option<Vec<u8>>,
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
        let normalizer = tokenizer.get("normalizer");
        let lower_case = normalizer.and_then(|map| map.get("lowercase")?.as_bool());
        Ok(TokenizerFiles {
            config: default_config(lower_case.unwrap_or(true)),
            special_tokens: special_tokens(),
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

/// The tokens that are found in raw text, by their ids: those of `added_tokens_decoder`, and the special ones. What is
/// no piece comes behind the vocabulary.
fn added_tokens(vocab: &[&str], config: &Map<String, Value>) -> Vec<Value> {
    let place = |token: &str| vocab.iter().position(|piece| *piece == token);
    let content = |token: &Value| {
        token
            .get("content")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let listed = config
        .get("added_tokens_decoder")
        .and_then(Value::as_object);
    let mut tokens: Vec<Value> = listed.into_iter().flat_map(Map::values).cloned().collect();
    for (name, usual) in SPECIAL {
        let token = token_name(config, name, usual);
        if tokens
            .iter()
            .all(|listed| content(listed).as_deref() != Some(token))
        {
            tokens.push(
                json!({"content": token, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true}),
            );
        }
    }
    let mut next = vocab.len();
    for token in &mut tokens {
        let id = content(token)
            .and_then(|content| place(&content))
            .unwrap_or_else(|| {
                next += 1;
                next - 1
            });
        if let Value::Object(token) = token {
            token.insert("id".to_owned(), json!(id));
        }
    }
    tokens.sort_by_key(|token| token["id"].as_u64());
    tokens
}

fn tokenizer_json(vocab: &[&str], config: &Map<String, Value>) -> Value {
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
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
        "added_tokens": added_tokens(vocab, config),
        "normalizer": {"type": "BertNormalizer", "clean_text": true,
                       "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
                       "strip_accents": flag("strip_accents"),
                       "lowercase": flag("do_lower_case").unwrap_or(true)},
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

fn default_config(lower_case: bool) -> Map<String, Value> {
    let mut config = special_tokens();
    config.insert("do_lower_case".into(), json!(lower_case));
    config.insert("tokenize_chinese_chars".into(), json!(true));
    config.insert("strip_accents".into(), Value::Null);
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
