//! Reading by hand-made contents: both shapes, every error, and damage.

use super::*;
use berth_task::Task;

fn source(path: &str) -> Source {
    Source::new(path, Task::QuestionAnswering)
}

fn read_from(source: &Source, content: &[u8]) -> Result<Dataset, DataError> {
    read(source, &Text::decode(&source.path, content.to_vec())?)
}

fn error(content: &str) -> String {
    read_from(&source("f.json"), content.as_bytes())
        .unwrap_err()
        .to_string()
}

const NESTED: &str = r#"{"version": "v2.0",
"data": [{"title": "T", "paragraphs": [
 {"context": "Größe: two apples.",
  "qas": [
   {"id": "a", "question": "how many?", "is_impossible": false,
    "answers": [{"text": "two", "answer_start": 7}, {"answer_start": 11, "text": "apples"}]},
   {"question": "why?", "id": "b", "is_impossible": true, "answers": [],
    "plausible_answers": [{"text": "two", "answer_start": 7}]}]},
 {"context": "", "qas": []}]}]}"#;

const FLAT: [&str; 2] = [
    r#"{"id": "a", "question": "how many?", "context": "Größe: two apples.", "answers": {"text": ["two", "apples"], "answer_start": [7, 11]}}"#,
    r#"{"id": "b", "question": "why?", "context": "Größe: two apples.", "answers": {"text": [], "answer_start": []}}"#,
];

fn gold(text: &str, start: Option<usize>) -> GoldAnswer {
    let text = text.to_owned();
    GoldAnswer { text, start }
}

#[test]
fn both_shapes_say_the_same() {
    let array = format!("[{}\n, {}]", FLAT[0], FLAT[1]);
    let data = format!("{{\"data\": [{}, {}]}}", FLAT[0], FLAT[1]);
    let lines = format!("{}\r\n\r\n{}\n", FLAT[0], FLAT[1]);
    for content in [NESTED, &array, &data, &lines] {
        for mark in ["", "\u{feff}"] {
            let dataset =
                read_from(&source("f.json"), format!("{mark}{content}").as_bytes()).unwrap();
            let [first, second] = &dataset.examples[..] else {
                panic!("{content}")
            };
            assert_eq!(
                (first.id.as_deref(), second.id.as_deref()),
                (Some("a"), Some("b"))
            );
            assert_eq!((&*first.text, &*second.text), ("how many?", "why?"));
            assert_eq!(second.pair.as_deref(), Some("Größe: two apples."));
            // Two characters before have two bytes each.
            let answers = vec![gold("two", Some(9)), gold("apples", Some(13))];
            assert_eq!(first.label, Label::Answers(answers));
            assert_eq!(second.label, Label::Answers(Vec::new()));
        }
    }
    let lines = |content: &str| -> Vec<u64> {
        let dataset = read_from(&source("f.json"), content.as_bytes()).unwrap();
        dataset.examples.iter().map(|row| row.line).collect()
    };
    assert_eq!(lines(NESTED), [5, 7]);
    assert_eq!(lines(&array), [1, 2]);
}

#[test]
fn an_answer_that_stands_elsewhere_has_no_place() {
    for (text, start) in [
        ("two", 6),
        ("two", -1),
        ("two", 99),
        ("three", 7),
        ("", 0),
        ("Two", 7),
    ] {
        let line = FLAT[0].replace(
            r#"["two", "apples"], "answer_start": [7, 11]"#,
            &format!(r#"["{text}"], "answer_start": [{start}]"#),
        );
        let dataset = read_from(&source("f.jsonl"), line.as_bytes()).unwrap();
        assert_eq!(
            dataset.examples[0].label,
            Label::Answers(vec![gold(text, None)])
        );
        assert_eq!(
            (dataset.misplaced(), dataset.examples[0].is_misplaced()),
            (1, true)
        );
        dataset.check_answerable().unwrap();
    }
    let dataset = read_from(&source("f.json"), NESTED.as_bytes()).unwrap();
    assert_eq!(dataset.misplaced(), 0);
    assert_eq!(
        dataset.check_answerable().unwrap_err().to_string(),
        "f.json:7: question \"b\" has no answer; say --version_2_with_negative if there are such"
    );
}

#[test]
fn ids_may_be_numbers_or_missing() {
    let lines = r#"{"id": 7, "question": "q", "context": "c"}
{"question": "r", "context": "c"}"#;
    let unlabelled = Source {
        labelled: false,
        ..source("f.jsonl")
    };
    let dataset = read_from(&unlabelled, lines.as_bytes()).unwrap();
    let ids: Vec<_> = dataset
        .examples
        .iter()
        .map(|row| row.id.as_deref().unwrap())
        .collect();
    assert_eq!(ids, ["7", "1"]);
    assert!(dataset.examples.iter().all(|row| row.label == Label::None));
}

#[test]
fn members_may_have_other_names() {
    let mut named = source("f.jsonl");
    named.columns.text = Some("q".into());
    named.columns.text_pair = Some("p".into());
    named.columns.label = Some("a".into());
    let line =
        r#"{"q": "who?", "p": "me", "a": [{"text": "me", "answer_start": 0}], "question": 5}"#;
    let dataset = read_from(&named, line.as_bytes()).unwrap();
    assert_eq!(dataset.examples[0].text, "who?");
    assert_eq!(
        dataset.examples[0].label,
        Label::Answers(vec![gold("me", Some(0))])
    );
}

#[test]
fn what_is_wrong_is_named_by_its_line() {
    for (content, expected) in [
        (
            "",
            "f.json:1: no rows; the file is empty or holds a header alone",
        ),
        (
            "{\"data\": []}",
            "f.json:1: no rows; the file is empty or holds a header alone",
        ),
        ("{\"data\":\n 3}", "f.json:2:2: \"data\" is not an array"),
        ("[{},\n5]", "f.json:1:2: no \"context\"; there are "),
        ("\n[\n5]", "f.json:3:1: \"a row\" is not an object"),
        (
            "{\"question\": \"q\",\n \"context\": 5}",
            "f.json:2:13: \"context\" is not a text",
        ),
        (
            "{\"context\": \"c\",\n \"answers\": []}",
            "f.json:1:1: no \"question\"; there are answers, context",
        ),
        (
            "{\"context\": \"c\", \"question\": \"q\"}",
            "f.json:1:1: no \"answers\"; there are context, question",
        ),
        (
            "{\"context\": \"c\", \"question\": \"q\",\n\"answers\": {\"text\": [\"c\"], \"answer_start\": []}}",
            "f.json:2:12: 1 answers with 0 places in \"answer_start\"",
        ),
        (
            "{\"context\": \"c\", \"question\": \"q\",\n\"answers\": {\"text\": [\"c\"], \"answer_start\": [0.5]}}",
            "f.json:2:12: \"answers\" is not a list of",
        ),
        (
            "{\"data\": [{\"paragraphs\": [\n{\"context\": \"c\"}]}]}",
            "f.json:2:1: no \"qas\"; there are context",
        ),
        (
            "{\"data\": [{\"paragraphs\": [\n{\"context\": \"c\", \"qas\": 1}]}]}",
            "f.json:2:25: \"qas\" is not an array",
        ),
        (
            "{\"context\": \"c\",\n",
            "f.json:2: not valid JSON at column 0: EOF while parsing an object",
        ),
    ] {
        let found = error(content);
        assert!(found.starts_with(expected), "{content}\n{found}");
    }
    let twice = format!("{}\n\n{}", FLAT[0], FLAT[0]);
    assert_eq!(
        error(&twice),
        "f.json:3: the id \"a\" stands on line 1 already; predictions are told by id"
    );
    let utf_8 = read_from(&source("f.json"), b"{}\n\"\xff\"")
        .unwrap_err()
        .to_string();
    assert!(utf_8.starts_with("f.json:2: not UTF-8"), "{utf_8}");
}

#[test]
fn what_is_wrong_in_a_file_of_one_line_is_found_by_id_or_column() {
    let line = NESTED.replace('\n', "");
    for (from, to, expected) in [
        (
            r#""answer_start": 7}, {"#,
            r#""answer_start": "7"}, {"#,
            r#"f.json:1: question "a": "answers" is not a list of"#,
        ),
        (
            r#""question": "why?", "#,
            "",
            r#"f.json:1: question "b": no "question"; there are answers, id"#,
        ),
        (
            r#""context": "","#,
            "",
            r#"f.json:1:399: no "context"; there are qas"#,
        ),
        (
            r#""id": "b""#,
            r#""id": "a""#,
            r#"f.json:1: the id "a" is that of two questions; predictions"#,
        ),
    ] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line);
        let found = error(&changed);
        assert!(found.starts_with(expected), "{found}");
    }
    let flat = FLAT[1].replace("\"context\"", "\"text\"");
    let found = error(&format!("{}\n{flat}", FLAT[0]));
    assert!(
        found.starts_with("f.json:2: question \"b\": no \"context\"; there are answers"),
        "{found}"
    );
}

/// Every cut, and bytes changed one by one: an error or rows, and no panic.
#[test]
fn damage_gives_an_error_or_rows() {
    for content in [NESTED.as_bytes(), FLAT[0].as_bytes()] {
        let mut refused = 0;
        for cut in 0..content.len() {
            refused += usize::from(read_from(&source("f.json"), &content[..cut]).is_err());
        }
        assert_eq!(refused, content.len());
        for at in 0..content.len() {
            for byte in [b'"', b'{', b']', b'\\', b'0', b',', 0, 0xff] {
                let mut changed = content.to_vec();
                changed[at] = byte;
                let _ = read_from(&source("f.json"), &changed);
            }
        }
    }
    assert!(error(&"[".repeat(100_000)).contains("not valid JSON"));
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let line = format!("{{\"question\":\"q\",\"context\":\"c\",\"answers\":{deep}}}");
    assert!(error(&line).contains("recursion limit"));
}

#[test]
fn questions_without_an_id_get_one_that_no_other_has() {
    let row = |id: &str| {
        let id = format!("{id}\"question\": \"q\", \"context\": \"c\", \"answers\": []}}\n");
        format!("{{{id}")
    };
    let content = [row(""), row(""), row("\"id\": \"1\", "), row("")].concat();
    let dataset = read_from(&source("f.jsonl"), content.as_bytes()).unwrap();
    let ids: Vec<_> = dataset
        .examples
        .iter()
        .map(|row| row.id.as_deref())
        .collect();
    assert_eq!(ids, ["0", "#1", "1", "3"].map(Some));
}
