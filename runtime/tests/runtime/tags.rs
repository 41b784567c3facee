//! Tags: rows, windows and offsets, held against the model's logits taken piece by piece.

use berth_runtime::answer::{Answerer, MAX_WORDS, Options};
use berth_runtime::lines::Line;
use berth_runtime::{Model, QueryError, Session};
use berth_task::{Aggregation, Task, argmax, goes_on};
use berth_wordpiece::Piece;
use serde_json::{Value, json};

use crate::support::{self, POSITIONS, Random, WORDS};

const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

fn session(labels: &[&str]) -> Session {
    let bundle = support::bundle(Task::TokenClassification, labels);
    Model::from_bytes(&bundle).unwrap().session().unwrap()
}

/// Words of the vocabulary with others between them that fall into several pieces or into none.
fn text(words: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let odd = [
        "é",
        "日本語",
        "films",
        "(good)",
        "\u{200b}",
        "👩‍👩‍👧",
        "e\u{301}",
        "don't",
    ];
    let mut word = || match random.below(3) {
        0 => odd[random.below(odd.len())],
        _ => WORDS[random.below(WORDS.len())],
    };
    (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
}

/// All pieces of a text.
fn pieces(session: &Session, text: &str) -> Vec<Piece> {
    session.model().tokenizer().stream(text).collect()
}

/// The label of each piece: that of the window which the rule names, found by looking at all of them.
fn labels(session: &mut Session, pieces: &[Piece]) -> Vec<usize> {
    let room = POSITIONS - 2;
    let overlap = room / 4;
    let (cls, sep) = {
        let tokenizer = session.model().tokenizer();
        (tokenizer.cls(), tokenizer.sep())
    };
    let outputs = session.model().header().labels.len();
    let mut labels = vec![0; pieces.len()];
    let mut start = 0;
    while start < pieces.len() {
        let end = (start + room).min(pieces.len());
        let window = &pieces[start..end];
        let ids: Vec<u32> = std::iter::once(cls)
            .chain(window.iter().map(|piece| piece.id))
            .chain([sep])
            .collect();
        let logits = session.logits_of(&ids, ids.len()).unwrap();
        // The later window overwrites what it answers: all but the first half of the overlap.
        let from = if start == 0 { 0 } else { overlap / 2 };
        for at in from..window.len() {
            labels[start + at] = argmax(&logits[(at + 1) * outputs..(at + 2) * outputs]);
        }
        if end == pieces.len() {
            break;
        }
        start += room - overlap;
    }
    labels
}

/// Label, index and bytes of each row.
type Told = Vec<(String, usize, std::ops::Range<usize>)>;

fn told(session: &mut Session, text: &str, aggregation: Aggregation) -> Told {
    let tags = session.tag_with(text, None, aggregation).unwrap();
    tags.map(|tag| tag.unwrap())
        .map(|tag| {
            (
                tag.label.to_owned(),
                tag.index,
                tag.place.start_byte..tag.place.end_byte,
            )
        })
        .collect()
}

#[test]
fn every_piece_has_the_label_of_the_window_that_sees_most_around_it() {
    let mut session = session(&LABELS);
    for (words, seed) in [
        (0, 1),
        (1, 1),
        (20, 2),
        (30, 3),
        (46, 4),
        (60, 5),
        (400, 6),
        (401, 7),
    ] {
        let text = text(words, seed);
        let pieces = pieces(&session, &text);
        let labels = labels(&mut session, &pieces);
        let row = |(at, (piece, label)): (usize, (&Piece, usize))| {
            let bytes = piece.start as usize..piece.end as usize;
            (LABELS[label].to_owned(), at + 1, bytes)
        };
        let expected: Told = pieces.iter().zip(labels).enumerate().map(row).collect();
        assert_eq!(
            told(&mut session, &text, Aggregation::None),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_word_has_the_label_of_its_first_piece() {
    let mut session = session(&["DET", "NOUN", "VERB"]);
    for seed in 1..9 {
        let text = text(80, seed);
        let mut expected: Told = Vec::new();
        for (piece, row) in
            pieces(&session, &text)
                .into_iter()
                .zip(told(&mut session, &text, Aggregation::None))
        {
            match expected.last_mut() {
                Some(word) if !session.model().tokenizer().begins_word(piece.id) => {
                    word.2.end = word.2.end.max(row.2.end)
                }
                _ => expected.push((row.0, expected.len() + 1, row.2)),
            }
        }
        assert_eq!(
            told(&mut session, &text, Aggregation::First),
            expected,
            "{text}"
        );
        let usual = session.tag(&text).unwrap();
        assert_eq!(usual.count(), expected.len());
    }
}

#[test]
fn entities_are_runs_of_one_type_and_what_is_outside_is_left_out() {
    let mut session = session(&LABELS);
    let mut seen = 0;
    for seed in 1..9 {
        let text = text(80, seed);
        let mut expected: Told = Vec::new();
        let mut before = "O".to_owned();
        for (label, index, bytes) in told(&mut session, &text, Aggregation::None) {
            let kind = label.split_once('-').map_or("O", |(_, kind)| kind);
            let goes_on = !label.starts_with("B-") && before.ends_with(kind);
            match expected.last_mut() {
                Some(entity) if goes_on => entity.2.end = entity.2.end.max(bytes.end),
                _ => expected.push((kind.to_owned(), index, bytes)),
            }
            before = label;
        }
        expected.retain(|row| row.0 != "O");
        seen += expected.len();
        assert_eq!(
            told(&mut session, &text, Aggregation::Simple),
            expected,
            "{text}"
        );
    }
    assert!(seen > 20, "{seen} entities");
}

#[test]
fn an_entity_has_the_mean_score_of_its_pieces() {
    // Without labels of what is outside, two of them follow themselves again and again.
    let mut session = session(&["PER", "LOC"]);
    let mut seen = 0;
    for seed in 1..9 {
        let text = text(80, seed);
        let rows = session.tag_with(&text, None, Aggregation::None).unwrap();
        let pieces: Vec<_> = rows
            .map(|tag| tag.unwrap())
            .map(|tag| (tag.label.to_owned(), tag.score))
            .collect();
        for entity in session.tag_with(&text, None, Aggregation::Simple).unwrap() {
            let entity = entity.unwrap();
            let pieces = &pieces[entity.index - 1..];
            let follow = pieces.windows(2);
            let follow = follow.take_while(|pair| goes_on(&pair[0].0, &pair[1].0));
            let count = 1 + follow.count();
            let sum: f32 = pieces[..count].iter().map(|piece| piece.1).sum();
            let mean = sum / count as f32;
            assert_eq!(entity.score.to_bits(), mean.to_bits(), "{text}");
            seen += usize::from(entity.score != pieces[0].1);
        }
    }
    assert!(seen > 0);
}

#[test]
fn an_entity_is_called_what_follows_the_dash_of_its_first_label_whatever_stands_before() {
    let mut session = session(&["O", "S-PER", "E-PER", "time-zone", "U-creative-work"]);
    let mut seen = 0;
    for seed in 1..9 {
        let text = text(80, seed);
        let pieces = told(&mut session, &text, Aggregation::None);
        for (name, index, _) in told(&mut session, &text, Aggregation::Simple) {
            let (_, expected) = pieces[index - 1].0.split_once('-').unwrap();
            assert_eq!(name, expected, "{text}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn offsets_cut_each_word_out_of_a_mixed_text_in_all_three_counts() {
    let mut session = session(&["A", "B"]);
    let text = text(300, 3);
    let chars: Vec<char> = text.chars().collect();
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut rows = 0;
    for tag in session.tag(&text).unwrap() {
        let tag = tag.unwrap();
        let place = tag.place;
        assert_eq!(tag.word, &text[place.start_byte..place.end_byte]);
        let of_chars: String = chars[place.start..place.end].iter().collect();
        assert_eq!(tag.word, of_chars);
        let word = String::from_utf16(&units[place.start_utf16..place.end_utf16]).unwrap();
        assert_eq!(tag.word, word);
        rows += 1;
    }
    assert!(rows > 300);
}

fn ask(answerer: &mut Answerer, line: &str) -> (Value, bool) {
    let answer = answerer.line(Line::Whole(&mut line.as_bytes().to_vec()));
    (serde_json::from_str(answer.json).unwrap(), answer.failed)
}

fn answerer(labels: &[&str], aggregation_strategy: Option<Aggregation>) -> Answerer {
    let options = Options {
        aggregation_strategy,
        ..Options::default()
    };
    Answerer::new(session(labels), options).unwrap()
}

#[test]
fn words_that_are_given_stay_whole() {
    let mut answerer = answerer(&["A", "B"], None);
    let line = r#"{"tokens":["good","\u0066ilm-é","","don't","a b","\ud83d\ude00x"],"n":[{}]}"#;
    let (rows, failed) = ask(&mut answerer, line);
    assert!(!failed, "{rows}");
    let rows = rows.as_array().unwrap();
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("word"), ["good", "film-é", "don't", "a b", "😀x"]);
    assert_eq!(column("index"), [1, 2, 4, 5, 6]);
    assert_eq!(column("start"), [0, 5, 13, 19, 23]);
    assert_eq!(column("start_byte"), [0, 5, 14, 20, 24]);
    assert_eq!(column("end_utf16"), [4, 11, 18, 22, 26]);
    let keys: Vec<_> = rows[0].as_object().unwrap().keys().collect();
    let expected = [
        "entity",
        "score",
        "index",
        "word",
        "start",
        "end",
        "start_byte",
        "end_byte",
        "start_utf16",
        "end_utf16",
    ];
    assert_eq!(keys, expected);
    assert_eq!(ask(&mut answerer, r#"{"tokens":[]}"#).0, json!([]));
    assert_eq!(ask(&mut answerer, "").0, json!([]));
    let plain = ask(&mut answerer, "good film");
    assert_eq!(ask(&mut answerer, r#"{"text":"good film"}"#), plain);
    assert_eq!(ask(&mut answerer, r#"{"tokens":["good","film"]}"#), plain);
}

#[test]
fn labels_of_entities_give_rows_of_entities_unless_others_are_asked_for() {
    let text = text(40, 4);
    let (entities, _) = ask(&mut answerer(&LABELS, None), &text);
    let entity = entities[0].as_object().unwrap();
    assert!(entity.contains_key("entity_group") && !entity.contains_key("index"));
    let (pieces, _) = ask(&mut answerer(&LABELS, Some(Aggregation::None)), &text);
    let (words, _) = ask(&mut answerer(&LABELS, Some(Aggregation::First)), &text);
    let count = |rows: &Value| rows.as_array().unwrap().len();
    assert!(count(&pieces) > count(&words), "{pieces}");
    assert!(words[0]["entity"].is_string() && words[0]["index"] == 1);
}

#[test]
fn what_is_no_text_and_no_list_of_words_is_said() {
    let mut answerer = answerer(&["A", "B"], None);
    let many = format!("{{\"tokens\":[{}\"\"]}}", "\"\",".repeat(MAX_WORDS));
    for (line, message) in [
        (r#"{"tokens":"a b"}"#, "\"tokens\" is not a list of strings"),
        (
            r#"{"tokens":["a",1]}"#,
            "\"tokens\" is not a list of strings",
        ),
        (r#"{"words":["a"]}"#, "\"text\" is missing"),
        (
            r#"{"tokens":["a"}"#,
            "not JSON: `,` or `]` expected at byte 14",
        ),
        (
            r#"{"tokens":["a"#,
            "not JSON: a closing quote expected at byte 13",
        ),
        (&many, "more than 65536 tokens"),
    ] {
        assert_eq!(ask(&mut answerer, line), (json!({"error": message}), true));
    }
    let mut others = Model::from_bytes(&support::bundle(Task::TextClassification, &["a", "b"]))
        .unwrap()
        .session()
        .unwrap();
    let refused = others.tag("a").map(drop).unwrap_err();
    assert_eq!(refused, QueryError::Task(Task::TextClassification));
}

/// What was tagged is the caller's text, whatever is asked next.
fn words_of<'t>(session: &mut Session, texts: &[&'t str]) -> Vec<&'t str> {
    let mut words = Vec::new();
    for &text in texts {
        words.extend(session.tag(text).unwrap().map(|tag| tag.unwrap().word));
    }
    words
}

#[test]
fn words_outlive_the_next_query() {
    let mut session = session(&["NOUN", "VERB"]);
    let words = words_of(&mut session, &["a good film", "not gripping"]);
    drop(session);
    assert_eq!(words, ["a", "good", "film", "not", "gripping"]);
}
