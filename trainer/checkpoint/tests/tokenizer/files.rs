//! Folders with a tokenizer: those that are read, and those that are refused with a clear word.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use berth_checkpoint::TokenizerFiles;
use berth_checkpoint::save::{Existing, Folder};
use berth_checkpoint::tokenizer::{TokenizerError, reference, tables};
use berth_wordpiece::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{folder, pieces, uncased};

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\n##s\nÉté\nete\na\n!\n";

/// The tokenizer.json of the small vocabulary.
fn whole() -> Value {
    let oracle = crate::kit::oracle(VOCABULARY, uncased());
    serde_json::to_value(&oracle).unwrap()
}

fn with_json(tokenizer: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

fn message(dir: &Path) -> String {
    let error = tables(dir).expect_err("a tokenizer that is refused");
    let message = error.to_string().replace(&dir.display().to_string(), "DIR");
    assert!(!message.contains('\n'), "{message}");
    message
}

/// The tables of the small vocabulary, made once.
fn small() -> &'static [u8] {
    static TABLES: OnceLock<Vec<u8>> = OnceLock::new();
    TABLES.get_or_init(|| tables(folder(VOCABULARY).path()).unwrap())
}

/// The pieces of a text, as the real tokenizer reads the folder.
fn split(dir: &Path, text: &str) -> String {
    reference(dir)
        .unwrap()
        .encode(text, false)
        .unwrap()
        .get_tokens()
        .join(" ")
}

#[test]
fn both_kinds_of_files_give_the_same_tables() {
    let mut whole = whole();
    assert_eq!(tables(with_json(&whole).path()).unwrap(), small());
    whole["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    whole["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let dir = with_json(&whole);
    assert_eq!(tables(dir.path()).unwrap(), small());
    assert_eq!(
        reference(dir.path())
            .unwrap()
            .encode("a a a a", true)
            .unwrap()
            .len(),
        6
    );
}

#[test]
fn a_configuration_beside_the_vocabulary_is_followed() {
    let dir = folder(VOCABULARY);
    assert_eq!(split(dir.path(), "Films ÉTÉ Été!"), "film ##s ete ete !");
    let config = dir.path().join("tokenizer_config.json");
    fs::write(&config, json!({"do_lower_case": false}).to_string()).unwrap();
    assert_eq!(
        split(dir.path(), "Films films Été!"),
        "[UNK] film ##s Été !"
    );
    fs::write(&config, json!({"mask_token": {"content": "a"}, "added_tokens_decoder": {"9": {
        "content": "fil", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
        "special": true}}}).to_string())
    .unwrap();
    assert_eq!(
        split(dir.path(), "films[MASK]"),
        "fil [UNK] [UNK] [UNK] [UNK]"
    );
    fs::write(&config, "{\n\"do_lower_case\": maybe}").unwrap();
    assert_eq!(
        message(dir.path()),
        "DIR/tokenizer_config.json: not a tokenizer file: expected value at line 2 column 18"
    );
}

/// A model that is trained from a vocabulary is saved with a tokenizer.json: it must make the pieces that were learned
/// from.
#[test]
fn the_files_that_are_written_make_the_pieces_of_those_that_were_read() {
    let added = |content: &str| {
        json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
               "special": true})
    };
    for config in [
        json!({}),
        json!({"strip_accents": false}),
        json!({"do_lower_case": false, "strip_accents": true}),
        json!({"tokenize_chinese_chars": false}),
        json!({"cls_token": "a", "sep_token": {"content": "!"}}),
        json!({"added_tokens_decoder": {"11": added("<name>"), "5": added("film")}}),
    ] {
        let read = folder(VOCABULARY);
        fs::write(
            read.path().join("tokenizer_config.json"),
            config.to_string(),
        )
        .unwrap();
        let written = read.path().join("written");
        let mut to = Folder::create(&written).unwrap();
        to.tokenizer(&TokenizerFiles::read(read.path()).unwrap(), 64)
            .unwrap();
        to.commit(Existing::Refuse).unwrap();
        assert!(
            tables(read.path()).unwrap() == tables(&written).unwrap(),
            "{config}"
        );
    }
}

#[test]
fn an_added_token_beyond_the_vocabulary_has_a_text() {
    let mut whole = whole();
    whole["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": 11, "content": "<name>", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
    let tables = tables(with_json(&whole).path()).unwrap();
    let tokenizer = Tokenizer::new(&tables).unwrap();
    let ids: Vec<u32> = pieces(&tokenizer, "a<name>films<NAME>")
        .iter()
        .map(|piece| piece.id)
        .collect();
    assert_eq!(ids, [9, 11, 5, 6, 1, 1, 1]);
    assert_eq!(
        (tokenizer.ids(), tokenizer.piece_text(11).unwrap().text),
        (11, "<name>")
    );
    assert_eq!(tokenizer.piece_text(12), None);
}

#[test]
fn other_tokenizers_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        message(dir.path()),
        "DIR: neither tokenizer.json nor vocab.txt is there; copy them from where the model is from"
    );
    let change = |pointer: &str, value: Value| {
        let mut whole = whole();
        *whole.pointer_mut(pointer).unwrap() = value;
        message(with_json(&whole).path())
    };
    let refusals = [
        (
            "/normalizer",
            json!({"type": "Lowercase"}),
            "the normalizer is Lowercase; Berth reads BERT's tokenizers, where it is a BertNormalizer",
        ),
        (
            "/normalizer",
            Value::Null,
            "the normalizer is missing; Berth",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "WhitespaceSplit"}),
            "the pre-tokenizer is WhitespaceSplit; Berth",
        ),
        (
            "/model",
            json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}),
            "the model is WordLevel; Berth reads BERT's tokenizers, where it is WordPiece",
        ),
        (
            "/model/continuing_subword_prefix",
            json!("@@"),
            "the prefix inside words is \"@@\"; Berth",
        ),
        (
            "/model/max_input_chars_per_word",
            json!(200),
            "the longest word is 200 characters; Berth",
        ),
        (
            "/model/unk_token",
            json!("<unk>"),
            "the unknown token is \"<unk>\", which has no id; Berth",
        ),
        (
            "/model/vocab/film",
            json!(1),
            "the id in the vocabulary is 1 for both \"[UNK]\" and \"film\"; Berth",
        ),
        (
            "/model/vocab/film",
            json!(4_000_000_000_u32),
            "the vocabulary is one with the id 4000000000; Berth",
        ),
        (
            "/added_tokens/4/lstrip",
            json!(true),
            "the added token is \"[MASK]\" with lstrip; Berth",
        ),
        (
            "/added_tokens/4/normalized",
            json!(true),
            "the added token is \"[MASK]\" with normalized; Berth",
        ),
        (
            "/post_processor",
            Value::Null,
            "the post-processor is missing; Berth reads BERT's tokenizers, where it is [CLS] A [SEP]",
        ),
    ];
    for (pointer, value, expected) in refusals {
        let message = change(pointer, value);
        assert!(
            message.starts_with(&format!("DIR/tokenizer.json: {expected}")),
            "{message}"
        );
    }
}

#[test]
fn a_template_must_be_that_of_bert() {
    let token = |id: &str, kind: u32| json!({"SpecialToken": {"id": id, "type_id": kind}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let template = |kind: u32| {
        json!({"type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", kind), token("[SEP]", kind)],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}})
    };
    let mut whole = whole();
    whole["post_processor"] = template(1);
    assert_eq!(tables(with_json(&whole).path()).unwrap(), small());
    whole["post_processor"] = template(0);
    let message = message(with_json(&whole).path());
    assert!(
        message.starts_with("DIR/tokenizer.json: the post-processor is [{\"SpecialToken\""),
        "{message}"
    );
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, "{\"version\": \"1.0\",\n oops").unwrap();
    assert_eq!(
        message(dir.path()),
        "DIR/tokenizer.json: not a tokenizer file: key must be a string at line 2 column 2"
    );
    let vocabulary = folder("[PAD]\n[UNK]\nfilm\n");
    assert_eq!(
        message(vocabulary.path()),
        "DIR/vocab.txt: not a tokenizer file: the special token [SEP] is not in it"
    );
    let empty = folder("");
    assert!(message(empty.path()).contains("is not in it"));
    fs::write(empty.path().join("vocab.txt"), b"[PAD]\n\xFF\n").unwrap();
    let error = tables(empty.path()).unwrap_err();
    assert!(matches!(error, TokenizerError::Parse { .. }), "{error}");
}
