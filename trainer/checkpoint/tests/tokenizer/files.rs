//! Folders with a tokenizer: those that are read, and those that are refused with a clear word.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Writes a JSON file of a folder; none where there is nothing to write.
fn write(dir: &Path, name: &str, content: &Value) {
    if !content.is_null() {
        fs::write(dir.join(name), content.to_string()).unwrap();
    }
}

/// A special token as files describe it.
fn added(content: &str) -> Value {
    json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
           "special": true})
}

/// What becomes of "<new>films<other>" where both are special tokens, and where one is.
const ALL_FURTHER: &str = "[CLS] <new> film ##s <other> [SEP]";
const NEW_ALONE: &str = "[CLS] <new> film ##s [UNK] [UNK] [UNK] [SEP]";

/// Checks the pieces of "<new>films<other>" and the ids of both, in a folder and as it is saved on.
fn check_further(dir: &Path, expected: &str, ids: [Option<u32>; 2], told: &str) {
    for read in [dir, written(dir).as_path()] {
        let reference = reference(read).unwrap();
        let encoding = reference.encode("<new>films<other>", true).unwrap();
        assert_eq!(encoding.get_tokens().join(" "), expected, "{told}");
        let found = ["<new>", "<other>"].map(|token| reference.token_to_id(token));
        assert_eq!(found, ids, "{told}");
    }
}

/// The tokenizer of a folder as it is saved on, in a folder inside.
fn written(dir: &Path) -> PathBuf {
    let written = dir.join("written");
    let mut to = Folder::create(&written).unwrap();
    to.tokenizer(&TokenizerFiles::read(dir).unwrap(), 64)
        .unwrap();
    to.commit(Existing::Refuse).unwrap();
    written
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
        assert!(
            tables(read.path()).unwrap() == tables(&written(read.path())).unwrap(),
            "{config}"
        );
    }
}

/// As `transformers` 4 and 5 read such folders.
#[test]
fn a_configuration_overrules_how_a_tokenizer_json_normalizes() {
    let mut cased = whole();
    cased["normalizer"]["lowercase"] = json!(false);
    let bert = json!({"model_type": "bert"});
    let (kept, lowered) = ("[UNK] Été !", "film ##s ete !");
    for (config, model, expected) in [
        (Value::Null, Value::Null, kept),
        (Value::Null, bert.clone(), lowered),
        (json!({}), Value::Null, kept),
        (json!({}), bert.clone(), lowered),
        (json!({"tokenizer_class": null}), bert.clone(), lowered),
        (
            json!({"tokenizer_class": "BertTokenizer"}),
            Value::Null,
            lowered,
        ),
        (
            json!({"tokenizer_class": "DistilBertTokenizerFast"}),
            bert.clone(),
            lowered,
        ),
        (json!({"do_lower_case": false}), bert.clone(), kept),
        (
            json!({"strip_accents": false}),
            bert.clone(),
            "film ##s [UNK] !",
        ),
        (
            json!({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": true}),
            bert.clone(),
            kept,
        ),
        (
            json!({}),
            json!({"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"}),
            kept,
        ),
        (
            json!({"tokenizer_class": "BertTokenizer"}),
            json!({"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"}),
            lowered,
        ),
    ] {
        let dir = with_json(&cased);
        write(dir.path(), "tokenizer_config.json", &config);
        write(dir.path(), "config.json", &model);
        let told = format!("{config} {model}");
        assert_eq!(split(dir.path(), "Films Été!"), expected, "{told}");
        let written = written(dir.path());
        assert_eq!(split(&written, "Films Été!"), expected, "{told}");
        let tokenizer = fs::read(written.join("tokenizer.json")).unwrap();
        let tokenizer: Value = serde_json::from_slice(&tokenizer).unwrap();
        if expected == kept {
            assert_eq!(tokenizer, cased, "{told}");
        } else {
            assert_eq!(tokenizer["normalizer"]["lowercase"], true, "{told}");
        }
    }
}

/// As `transformers` 5 reads such folders, and 4 those that it knows.
#[test]
fn special_tokens_are_read_wherever_they_stand() {
    for (config, map, expected, ids) in [
        (
            json!({"extra_special_tokens": ["<new>", "film"]}),
            Value::Null,
            "[CLS] <new> film [UNK] [UNK] [UNK] [UNK] [SEP]",
            [Some(11), None],
        ),
        (
            json!({"additional_special_tokens": ["<other>", "<new>"]}),
            Value::Null,
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            json!({"extra_special_tokens": {"name_token": "<new>"}}),
            Value::Null,
            "[CLS] <new> film ##s [UNK] [UNK] [UNK] [SEP]",
            [Some(11), None],
        ),
        (
            Value::Null,
            json!({"additional_special_tokens": ["<new>"], "cls_token": "a",
                   "sep_token": {"content": "!", "lstrip": false, "normalized": false, "rstrip": false,
                                 "single_word": false}}),
            "a <new> film ##s [UNK] [UNK] [UNK] !",
            [Some(11), None],
        ),
        (
            json!({"additional_special_tokens": ["<other>"]}),
            json!({"extra_special_tokens": [added("<new>")]}),
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            json!({"added_tokens_decoder": {"11": added("<other>")}}),
            json!({"additional_special_tokens": ["<new>"], "cls_token": "a"}),
            "[CLS] [UNK] [UNK] [UNK] film ##s <other> [SEP]",
            [None, Some(11)],
        ),
        (
            json!({"added_tokens_decoder": {"11": added("<other>")}, "extra_special_tokens": ["<new>"]}),
            Value::Null,
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            json!({"added_tokens_decoder": {"100": added("<new>"), "12": added("<other>")}}),
            Value::Null,
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
    ] {
        let dir = folder(VOCABULARY);
        write(dir.path(), "tokenizer_config.json", &config);
        write(dir.path(), "special_tokens_map.json", &map);
        check_further(dir.path(), expected, ids, &format!("{config} {map}"));
    }
}

/// As `transformers` 5 reads such folders, whether the configuration overrules tokenizer.json or not.
#[test]
fn special_tokens_that_a_tokenizer_json_lacks_are_added() {
    for (config, map, expected, ids) in [
        (
            json!({"extra_special_tokens": ["<new>"]}),
            Value::Null,
            NEW_ALONE,
            [Some(11), None],
        ),
        (
            json!({"additional_special_tokens": ["<other>", "<new>"]}),
            Value::Null,
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            json!({"additional_special_tokens": ["film"]}),
            Value::Null,
            "[CLS] [UNK] [UNK] [UNK] film [UNK] [UNK] [UNK] [UNK] [SEP]",
            [None, None],
        ),
        (
            json!({"extra_special_tokens": {"name_token": "<new>"}, "additional_special_tokens": ["<other>"]}),
            Value::Null,
            ALL_FURTHER,
            [Some(11), Some(12)],
        ),
        (
            json!({"additional_special_tokens": ["<other>"], "name_token": "<new>"}),
            Value::Null,
            ALL_FURTHER,
            [Some(11), Some(12)],
        ),
        (
            json!({"additional_special_tokens": ["<other>"], "bos_token": "<new>"}),
            Value::Null,
            ALL_FURTHER,
            [Some(11), Some(12)],
        ),
        (
            json!({"mask_token": "<new>"}),
            Value::Null,
            NEW_ALONE,
            [Some(11), None],
        ),
        (
            json!({}),
            json!({"additional_special_tokens": ["<new>"]}),
            NEW_ALONE,
            [Some(11), None],
        ),
        (
            json!({"added_tokens_decoder": {"11": added("<new>")}}),
            Value::Null,
            NEW_ALONE,
            [Some(11), None],
        ),
        (
            json!({"added_tokens_decoder": {"100": added("<new>"), "12": added("<other>")}}),
            Value::Null,
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
    ] {
        for class in ["BertTokenizer", "PreTrainedTokenizerFast"] {
            let mut config = config.clone();
            config["tokenizer_class"] = json!(class);
            let dir = with_json(&whole());
            write(dir.path(), "tokenizer_config.json", &config);
            write(dir.path(), "special_tokens_map.json", &map);
            check_further(dir.path(), expected, ids, &format!("{config} {map}"));
        }
    }
    let dir = with_special("<new>");
    let config = json!({"tokenizer_class": "BertTokenizer", "additional_special_tokens": ["<other>", "<new>"]});
    write(dir.path(), "tokenizer_config.json", &config);
    check_further(dir.path(), ALL_FURTHER, [Some(11), Some(12)], "both");
}

#[test]
fn a_usual_token_that_no_file_has_takes_an_id_only_before_others() {
    let mut maskless = whole();
    let vocabulary = maskless["model"]["vocab"].as_object_mut().unwrap();
    let id = vocabulary.remove("[MASK]").unwrap();
    vocabulary.insert("[unused0]".to_owned(), id);
    maskless["added_tokens"].as_array_mut().unwrap().truncate(4);
    let dir = with_json(&maskless);
    let mut config = json!({"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]"});
    write(dir.path(), "tokenizer_config.json", &config);
    let made = tables(dir.path()).unwrap();
    assert_eq!(Tokenizer::new(&made).unwrap().ids(), 11);
    config["extra_special_tokens"] = json!(["<new>"]);
    write(dir.path(), "tokenizer_config.json", &config);
    check_further(dir.path(), NEW_ALONE, [Some(12), None], "behind [MASK]");
}

#[test]
fn a_tokenizer_json_that_others_contradict_is_refused() {
    let bert = |mut config: Value| {
        config["tokenizer_class"] = json!("BertTokenizer");
        config
    };
    let mut disorder = whole();
    disorder["model"]["vocab"]["film"] = json!(40);
    for (dir, config, expected) in [
        (
            with_special("<new>"),
            json!({"added_tokens_decoder": {"11": added("<other>")}}),
            "DIR/tokenizer_config.json: `added_tokens_decoder` lacks \"<new>\", a token that tokenizer.json adds; ",
        ),
        (
            with_json(&whole()),
            json!({"cls_token": "a"}),
            "DIR/tokenizer.json: `post_processor` has \"[CLS]\" where the files beside it name the cls_token \"a\"; ",
        ),
        (
            with_json(&whole()),
            json!({"unk_token": "a"}),
            "DIR/tokenizer.json: `model` has \"[UNK]\" where the files beside it name the unk_token \"a\"; ",
        ),
        (
            with_json(&disorder),
            json!({"extra_special_tokens": ["<new>"]}),
            "DIR/tokenizer.json: `model.vocab` has ids in disorder, which leave none for \"<new>\", ",
        ),
    ] {
        write(dir.path(), "tokenizer_config.json", &bert(config));
        let message = message(dir.path());
        assert!(message.starts_with(expected), "{message}");
        let read = TokenizerFiles::read(dir.path()).unwrap_err().to_string();
        let read = read.replace(&dir.path().display().to_string(), "DIR");
        assert_eq!(read, message);
    }
}

#[test]
fn the_names_of_special_tokens_are_written_on() {
    let mut named = whole();
    named["post_processor"]["cls"] = json!(["a", 9]);
    for (config, cls) in [(json!({}), "[CLS]"), (json!({"cls_token": "a"}), "a")] {
        let dir = with_json(&named);
        write(dir.path(), "tokenizer_config.json", &config);
        write(dir.path(), "config.json", &json!({"model_type": "bert"}));
        let written = written(dir.path());
        write(&written, "config.json", &json!({"model_type": "bert"}));
        assert!(
            tables(dir.path()).unwrap() == tables(&written).unwrap(),
            "{config}"
        );
        let map = fs::read(written.join("special_tokens_map.json")).unwrap();
        let map: Value = serde_json::from_slice(&map).unwrap();
        assert_eq!(map["cls_token"], cls, "{config}");
    }
}

/// As tokenizers were saved that `transformers` had in Python alone, before 4.34.
#[test]
fn the_ids_of_an_added_tokens_json_are_followed() {
    let both = json!({"<new>": 12, "<other>": 11});
    let listed = json!({"additional_special_tokens": ["<new>", "<other>"]});
    for (config, map, added_file, expected, ids) in [
        (
            Value::Null,
            listed.clone(),
            both.clone(),
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            listed.clone(),
            Value::Null,
            both.clone(),
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            listed.clone(),
            Value::Null,
            json!({"<other>": 11}),
            ALL_FURTHER,
            [Some(12), Some(11)],
        ),
        (
            json!({"added_tokens_decoder": {"11": added("<new>")}}),
            listed.clone(),
            both.clone(),
            NEW_ALONE,
            [Some(11), None],
        ),
    ] {
        let dir = folder(VOCABULARY);
        write(dir.path(), "tokenizer_config.json", &config);
        write(dir.path(), "special_tokens_map.json", &map);
        write(dir.path(), "added_tokens.json", &added_file);
        let told = format!("{config} {map} {added_file}");
        check_further(dir.path(), expected, ids, &told);
    }
    let id = |token: &str, told: &str, given: &str| {
        format!(
            "`{token}` has the id {told}, and is given {given}: the ids there must follow the vocabulary"
        )
    };
    for (added_file, expected) in [
        (
            json!({"<new>": 15, "<other>": 13}),
            id("<other>", "13", "11"),
        ),
        (
            json!({"<new>": 11, "<other>": 11}),
            id("<other>", "11", "12"),
        ),
        (json!({"<new>": 3}), id("<new>", "3", "11")),
        (json!({"<new>": "11"}), id("<new>", "\"11\"", "11")),
        (json!({"film": 11}), id("film", "11", "5")),
        (
            json!({"<third>": 11}),
            "`<third>` is named by no list of special tokens".to_owned(),
        ),
    ] {
        let dir = folder(VOCABULARY);
        write(dir.path(), "special_tokens_map.json", &listed);
        write(dir.path(), "added_tokens.json", &added_file);
        let message = message(dir.path());
        let expected = format!("DIR/added_tokens.json: {expected}");
        assert!(message.starts_with(&expected), "{message}");
        let read = TokenizerFiles::read(dir.path()).unwrap_err().to_string();
        let read = read.replace(&dir.path().display().to_string(), "DIR");
        assert_eq!(read, message);
    }
}

#[test]
fn special_tokens_may_be_named_in_their_map_alone() {
    let dir = folder("<pad>\n<unk>\n<cls>\n<sep>\n<mask>\nfilm\n");
    let map = json!({"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<sep>",
                     "mask_token": "<mask>"});
    write(dir.path(), "special_tokens_map.json", &map);
    let read = tables(dir.path()).unwrap();
    let tokenizer = Tokenizer::new(&read).unwrap();
    assert_eq!(
        (tokenizer.unk(), tokenizer.cls(), tokenizer.sep()),
        (1, 2, 3)
    );
    assert!(read == tables(&written(dir.path())).unwrap());
    write(
        dir.path(),
        "special_tokens_map.json",
        &json!({"additional_special_tokens": [3]}),
    );
    assert!(message(dir.path()).contains("the special token [SEP] is not in it"));
    let dir = folder(VOCABULARY);
    write(
        dir.path(),
        "tokenizer_config.json",
        &json!({"extra_special_tokens": [3]}),
    );
    let message = message(dir.path());
    assert!(
        message.starts_with("DIR/tokenizer_config.json: not a tokenizer file: invalid type"),
        "{message}"
    );
}

/// The tokenizer.json of the small vocabulary with a special token behind it, whose id is 11.
fn with_special(content: &str) -> TempDir {
    let mut whole = whole();
    whole["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": 11, "content": content, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
    with_json(&whole)
}

#[test]
fn a_special_token_may_begin_as_a_continuation_does() {
    let dir = with_special("##x");
    let tables = tables(dir.path()).unwrap();
    let tokenizer = Tokenizer::new(&tables).unwrap();
    let text = "x a##xx ##x a";
    let ids = pieces(&tokenizer, text)
        .iter()
        .map(|piece| piece.id)
        .collect::<Vec<u32>>();
    assert_eq!(ids, [1, 9, 11, 1, 11, 9]);
    let theirs = reference(dir.path()).unwrap().encode(text, false).unwrap();
    assert_eq!(theirs.get_ids(), ids);
    assert_eq!(tokenizer.piece_text(11).unwrap().to_string(), "##x");
}

#[test]
fn a_special_token_has_at_most_255_bytes() {
    let longest = format!("<{}>", "x".repeat(253));
    let tables = tables(with_special(&longest).path()).unwrap();
    let tokenizer = Tokenizer::new(&tables).unwrap();
    let found = pieces(&tokenizer, &format!("a{longest}a"));
    assert_eq!(
        found.iter().map(|piece| piece.id).collect::<Vec<u32>>(),
        [9, 11, 9]
    );
    let message = message(with_special(&format!("{longest}!")).path());
    assert!(
        message.starts_with("DIR/tokenizer.json: the added token is \"<xxx"),
        "{message}"
    );
    assert!(
        message.ends_with("where it is of at most 255 bytes"),
        "{message}"
    );
}

#[test]
fn every_id_of_an_encoding_is_below_the_bound() {
    assert_eq!(Tokenizer::new(small()).unwrap().ids(), 11);
    for (token, id) in [("cls", 4_000_000_000_u32), ("sep", 30)] {
        let mut whole = whole();
        assert!(whole["post_processor"][token][1].is_u64());
        whole["post_processor"][token][1] = json!(id);
        let tables = tables(with_json(&whole).path()).unwrap();
        assert_eq!(Tokenizer::new(&tables).unwrap().ids(), id + 1);
    }
}

#[test]
fn an_added_token_beyond_the_vocabulary_has_a_text() {
    let tables = tables(with_special("<name>").path()).unwrap();
    let tokenizer = Tokenizer::new(&tables).unwrap();
    let ids: Vec<u32> = pieces(&tokenizer, "a<name>films<NAME>")
        .iter()
        .map(|piece| piece.id)
        .collect();
    assert_eq!(ids, [9, 11, 5, 6, 1, 1, 1]);
    assert_eq!(
        (tokenizer.ids(), tokenizer.piece_text(11).unwrap().text),
        (12, "<name>")
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
