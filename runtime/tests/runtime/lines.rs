//! A line in, a line of JSON out.

use std::num::NonZero;

use berth_runtime::answer::{Answerer, Options};
use berth_runtime::lines::Line;
use berth_runtime::{Model, QueryError};
use berth_task::{LongTexts, Task};
use serde_json::{Value, json};

use crate::fixtures::sentiment as sentiment_model;
use crate::support::{self, POSITIONS};

fn answerer(task: Task, labels: &[&str], options: Options) -> Answerer {
    let model = Model::from_bytes(&support::bundle(task, labels)).unwrap();
    Answerer::new(model.session().unwrap(), options).unwrap()
}

fn sentiment(options: Options) -> Answerer {
    answerer(Task::TextClassification, &["negative", "positive"], options)
}

/// The answer's JSON, how much was cut, and whether it is an error.
fn ask(answerer: &mut Answerer, line: &str) -> (Value, usize, bool) {
    let answer = answerer.line(Line::Whole(&mut line.as_bytes().to_vec()));
    assert!(!answer.json.contains('\n'));
    (
        serde_json::from_str(answer.json).unwrap(),
        answer.truncated,
        answer.failed,
    )
}

#[test]
fn a_classification_lists_every_label_best_first() {
    let mut answerer = sentiment(Options::default());
    let (plain, truncated, failed) = ask(&mut answerer, "a good film");
    assert_eq!((truncated, failed), (0, false));
    let rows = plain.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let keys: Vec<_> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["label", "score"]);
    }
    assert!(rows[0]["score"].as_f64() >= rows[1]["score"].as_f64());
    assert_eq!(ask(&mut answerer, r#"{"text":"a good film"}"#).0, plain);
    assert_eq!(
        ask(&mut answerer, r#"{"text":"\u0061 good\u0020film","id":7}"#).0,
        plain
    );
    assert_ne!(ask(&mut answerer, " ").0, plain);
}

#[test]
fn scores_are_those_of_the_session() {
    let model = sentiment_model();
    let mut session = model.session().unwrap();
    let mut answerer = sentiment(Options::default());
    for text in support::texts() {
        let rows: Vec<_> = session
            .classify(&text)
            .unwrap()
            .iter()
            .map(|row| (row.label.to_owned(), row.score))
            .collect();
        let answer = answerer.ask(&text, None).unwrap();
        let read: Vec<Value> = serde_json::from_str(answer.json).unwrap();
        for (row, (label, score)) in read.iter().zip(rows) {
            assert_eq!(row["label"], json!(label));
            assert_eq!(row["score"].to_string().parse::<f32>().unwrap(), score);
        }
    }
}

#[test]
fn the_best_labels_can_be_asked_for_alone() {
    let all = ask(&mut sentiment(Options::default()), "film").0;
    let mut options = Options {
        top_k: NonZero::new(1),
        ..Options::default()
    };
    assert_eq!(ask(&mut sentiment(options), "film").0, json!([all[0]]));
    options.top_k = NonZero::new(9);
    assert_eq!(ask(&mut sentiment(options), "film").0, all);
}

#[test]
fn a_text_that_is_cut_says_so_in_each_object() {
    let long = "film ".repeat(POSITIONS + 5);
    let options = Options {
        long_texts: LongTexts::Cut,
        ..Options::default()
    };
    let (answer, truncated, failed) = ask(&mut sentiment(options), &long);
    assert_eq!((truncated, failed), (7, false));
    let rows = answer.as_array().unwrap();
    assert!(rows.iter().all(|row| row["truncated"] == json!(7)));
    let mut regression = answerer(Task::TextPairRegression, &[], options);
    let (answer, truncated, _) = ask(&mut regression, &format!("{long}\tfilm"));
    assert_eq!(truncated, POSITIONS + 5 + 1 - (POSITIONS - 3));
    assert_eq!(answer["truncated"], json!(truncated));
}

#[test]
fn a_text_that_is_read_by_windows_says_so_in_each_object() {
    let long = "film ".repeat(POSITIONS + 5);
    let (answer, truncated, failed) = ask(&mut sentiment(Options::default()), &long);
    assert_eq!((truncated, failed), (0, false));
    for row in answer.as_array().unwrap() {
        assert_eq!((&row["windows"], row.get("truncated")), (&json!(2), None));
    }
    // The shorter of two texts has half of 45 pieces at most; the rest is cut, and said.
    let mut regression = answerer(Task::TextPairRegression, &[], Options::default());
    let (answer, truncated, _) = ask(&mut regression, &format!("{long}\t{long}"));
    assert_eq!(truncated, POSITIONS + 5 - (POSITIONS - 3) / 2);
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["score", "truncated", "windows"]);
}

fn score(row: &Value) -> f32 {
    row["score"].as_f64().unwrap() as f32
}

#[test]
fn an_answer_below_the_least_score_is_marked() {
    let plain = ask(&mut sentiment(Options::default()), "a good film").0;
    let best = score(&plain[0]);
    for (least, abstained) in [
        (best, false),
        (best.next_up(), true),
        (1.0, true),
        (0.0, false),
    ] {
        let mut answerer = sentiment(Options::default());
        answerer.set_min_score(least).unwrap();
        let (answer, _, failed) = ask(&mut answerer, "a good film");
        assert!(!failed);
        for (row, plain) in answer
            .as_array()
            .unwrap()
            .iter()
            .zip(plain.as_array().unwrap())
        {
            let mut expected = plain.clone();
            if abstained {
                expected["abstained"] = json!(true);
            }
            assert_eq!(row, &expected, "{least}");
        }
    }
}

#[test]
fn each_tag_below_the_least_score_is_marked() {
    let mut tagger = answerer(
        Task::TokenClassification,
        &["NOUN", "VERB"],
        Options::default(),
    );
    let rows = ask(&mut tagger, "a good film, not gripping").0;
    let scores: Vec<f32> = rows.as_array().unwrap().iter().map(score).collect();
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted[2];
    tagger.set_min_score(middle).unwrap();
    let rows = ask(&mut tagger, "a good film, not gripping").0;
    let marked = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["abstained"] == json!(true));
    assert!(
        marked.eq(scores.iter().map(|&score| score < middle)),
        "{rows}"
    );
    assert!(scores.iter().any(|&score| score < middle), "{scores:?}");
}

#[test]
fn a_span_below_the_least_score_is_marked_and_stays() {
    let mut reader = answerer(Task::QuestionAnswering, &[], Options::default());
    let sure = ask(&mut reader, "good?\tthe plot is not good").0;
    reader.set_min_score(score(&sure).next_up()).unwrap();
    let unsure = ask(&mut reader, "good?\tthe plot is not good").0;
    assert_eq!(
        (sure.get("abstained"), &unsure["abstained"]),
        (None, &json!(true))
    );
    assert_eq!(unsure["answer"], sure["answer"]);
}

#[test]
fn a_number_has_no_least_score() {
    let mut regression = answerer(Task::TextPairRegression, &[], Options::default());
    let refused = regression.set_min_score(0.5).unwrap_err();
    assert_eq!(refused, QueryError::Unscored);
}

#[test]
fn a_least_score_is_a_number_from_0_to_1() {
    let mut answerer = sentiment(Options::default());
    answerer.set_min_score(1.0).unwrap();
    let marked = ask(&mut answerer, "film").0;
    for bad in [f32::NAN, -0.1, 1.0f32.next_up(), 7.0, f32::INFINITY] {
        let refused = answerer.set_min_score(bad).unwrap_err();
        assert_eq!(refused, QueryError::NoScore, "{bad}");
        assert_eq!(ask(&mut answerer, "film").0, marked, "{bad}");
    }
}

#[test]
fn pairs_come_with_a_tab_or_by_name() {
    for (task, labels) in [
        (Task::TextPairClassification, &["yes", "no"][..]),
        (Task::TextPairRegression, &[]),
    ] {
        let mut answerer = answerer(task, labels, Options::default());
        let (plain, _, failed) = ask(&mut answerer, "a film\ta plot");
        assert!(!failed);
        assert_eq!(
            ask(&mut answerer, r#"{"text_pair":"a plot","text":"a film"}"#).0,
            plain
        );
        assert_eq!(plain.is_object(), task == Task::TextPairRegression);
        assert!(ask(&mut answerer, "a film").2);
        assert!(ask(&mut answerer, r#"{"text":"a film"}"#).2);
        assert_eq!(
            answerer.ask("a", None).unwrap_err(),
            QueryError::PairMissing
        );
    }
}

#[test]
fn a_bad_line_gets_an_error_and_the_next_an_answer() {
    let mut answerer = sentiment(Options::default());
    let good = ask(&mut answerer, "film").0;
    for bad in [
        "{",
        r#"{"text":1}"#,
        "{}",
        r#"{"text":"a","text_pair":"b"}"#,
        r#"{"text":"\ud800"}"#,
    ] {
        let (answer, truncated, failed) = ask(&mut answerer, bad);
        assert!(failed && truncated == 0, "{bad}");
        let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["error"], "{bad}");
        assert!(answer["error"].is_string());
        assert_eq!(ask(&mut answerer, "film").0, good);
    }
    let answer = answerer.line(Line::TooLong);
    assert!(answer.failed);
    assert_eq!(
        answer.json,
        r#"{"error":"a line of more than 1048576 bytes"}"#
    );
    let answer = answerer.line(Line::Whole(&mut [b'a', 0xff]));
    assert_eq!(answer.json, r#"{"error":"not UTF-8 from byte 1 on"}"#);
}

#[test]
fn labels_of_any_text_stay_json() {
    let labels = ["\"\\\u{1}\n", "größer 日本"];
    let mut answerer = answerer(Task::TextClassification, &labels, Options::default());
    let (answer, _, _) = ask(&mut answerer, "film");
    let mut found: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["label"].clone())
        .collect();
    found.sort_by_key(|label| label != &json!(labels[0]));
    assert_eq!(found, labels.map(|label| json!(label)));
}
