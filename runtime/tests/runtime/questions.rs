//! Questions on passages: windows, places, JSON.

use std::num::NonZero;

use berth_bundle::{AlignedBytes, Bundle};
use berth_runtime::answer::{Answerer, Options};
use berth_runtime::lines::Line;
use berth_runtime::{Model, Place, QueryError, Session};
use berth_task::{Pair, Span, SpanDecoder, Task, Temperature, Window};
use berth_wordpiece::{Division, Piece};
use serde_json::{Value, json};

use crate::support::{self, Random, WORDS};

fn model() -> Model {
    Model::from_bytes(&support::bundle(Task::QuestionAnswering, &[])).unwrap()
}

fn words(random: &mut Random, most: usize) -> String {
    let count = random.below(most);
    let words = (0..count).map(|_| WORDS[random.below(WORDS.len())]);
    words.collect::<Vec<_>>().join(" ")
}

/// The same with the whole passage's pieces at hand, and each window an input of its own.
pub fn window_by_window(
    session: &mut Session,
    temperature: Temperature,
    question: &str,
    passage: &str,
) -> (Vec<Span>, usize) {
    let model = session.model().clone();
    let (tokenizer, header) = (model.tokenizer(), model.header());
    let rules = header.spans.unwrap();
    let asked: Vec<Piece> = tokenizer.stream(question).collect();
    let pieces: Vec<Piece> = tokenizer.stream(passage).collect();
    let limit = header.max_tokens as usize;
    let division = Division::new(limit, asked.len(), rules.doc_stride as usize).unwrap();
    let mut decoder = SpanDecoder::new(rules).at(temperature);
    let mut shared: Vec<Pair> = vec![[0.0; 2]; limit];
    for range in division.windows(pieces.len()) {
        let window = &pieces[range.clone()];
        let mut input = vec![Piece::default(); limit];
        let encoding = tokenizer.join(&asked[..division.question], Some(window), &mut input);
        let encoding = encoding.unwrap();
        let ids: Vec<u32> = input[..encoding.len].iter().map(|piece| piece.id).collect();
        let logits = session.logits_of(&ids, encoding.second).unwrap();
        let first = encoding.second;
        let part = Window {
            logits,
            passage: first..first + window.len(),
            before: if range.start == 0 { 0 } else { division.stride },
            after: if range.end == pieces.len() {
                0
            } else {
                division.stride
            },
        };
        let bytes = |at: usize| (window[at - first].start, window[at - first].end);
        decoder.window(&part, bytes, &mut shared);
    }
    let mut spans = Default::default();
    decoder.rank(&mut spans);
    (spans.to_vec(), asked.len() - division.question)
}

#[test]
fn a_passage_read_as_it_comes_is_read_as_a_whole() {
    let mut session = model().session().unwrap();
    let mut random = Random(3);
    for round in 0..300 {
        let question = words(&mut random, if round % 10 == 0 { 60 } else { 8 });
        let passage = words(&mut random, if round % 7 == 0 { 400 } else { 40 });
        let (spans, truncated) =
            window_by_window(&mut session, Temperature::ONE, &question, &passage);
        let answers = session.answer(&question, &passage).unwrap();
        assert_eq!(answers.truncated, truncated, "{round}");
        let found: Vec<_> = answers
            .iter()
            .map(|answer| {
                (
                    answer.place.start_byte,
                    answer.place.end_byte,
                    answer.score.to_bits(),
                )
            })
            .collect();
        let expected: Vec<_> = spans
            .iter()
            .map(|span| (span.start as usize, span.end as usize, span.score.to_bits()))
            .collect();
        assert_eq!(found, expected, "{round}: {question:?} on {passage:?}");
        for answer in answers.iter() {
            let Place {
                start_byte,
                end_byte,
                ..
            } = answer.place;
            assert_eq!(answer.text, &passage[start_byte..end_byte]);
        }
    }
}

/// Scripts, emoji, combining marks and right-to-left, mixed at random.
fn mixed(random: &mut Random) -> String {
    const PARTS: [&str; 12] = [
        "good film",
        "日本語",
        "مرحبا",
        "é",
        "e\u{301}",
        "👩‍👩‍👧",
        "🇩🇪",
        "ß",
        "नमस्ते",
        "עברית",
        "\u{feff}",
        "-",
    ];
    let space = [" ", "", "\t\n"][random.below(3)];
    let count = 1 + random.below(60);
    let parts = (0..count).map(|_| PARTS[random.below(PARTS.len())]);
    parts.collect::<Vec<_>>().join(space)
}

#[test]
fn answers_can_be_cut_out_in_all_three_counts() {
    let mut session = model().session().unwrap();
    let mut random = Random(29);
    for _ in 0..1000 {
        let passage = mixed(&mut random);
        let chars: Vec<char> = passage.chars().collect();
        let utf16: Vec<u16> = passage.encode_utf16().collect();
        for answer in session.answer("not good?", &passage).unwrap().iter() {
            let place = answer.place;
            assert!(!answer.text.is_empty());
            assert_eq!(&passage[place.start_byte..place.end_byte], answer.text);
            assert_eq!(
                chars[place.start..place.end].iter().collect::<String>(),
                answer.text
            );
            let units = &utf16[place.start_utf16..place.end_utf16];
            assert_eq!(String::from_utf16(units).unwrap(), answer.text);
        }
    }
}

#[test]
fn no_passage_is_too_long_and_none_too_short() {
    let mut session = model().session().unwrap();
    let long = "the plot is not good at all ".repeat(20_000);
    assert_eq!(session.answer("good?", &long).unwrap().truncated, 0);
    for passage in ["", " ", "\0"] {
        let answers = session.answer("good?", passage).unwrap();
        let best = answers.best();
        assert_eq!(
            (best.text, best.score, best.place),
            ("", 0.0, Place::default())
        );
        assert_eq!(answers.iter().len(), 1);
    }
    // Three quarters of what three added tokens leave of 32.
    assert_eq!(
        session
            .answer(&"film ".repeat(50), "good")
            .unwrap()
            .truncated,
        50 - 21
    );
}

#[test]
fn only_a_model_for_questions_answers_them() {
    let bundle = support::bundle(Task::TextPairClassification, &["a", "b"]);
    let mut session = Model::from_bytes(&bundle).unwrap().session().unwrap();
    let refused = session.answer("a", "b").map(|_| ()).unwrap_err();
    assert_eq!(refused, QueryError::Task(Task::TextPairClassification));
    let mut session = model().session().unwrap();
    let refused = session.classify_pair("a", "b").map(|_| ()).unwrap_err();
    assert_eq!(refused, QueryError::Task(Task::QuestionAnswering));
}

fn answerer(top_k: Option<usize>) -> Answerer {
    let options = Options {
        top_k: top_k.and_then(NonZero::new),
        ..Options::default()
    };
    Answerer::new(model().session().unwrap(), options).unwrap()
}

fn line(answerer: &mut Answerer, text: &str) -> (Value, bool) {
    let answer = answerer.line(Line::Whole(&mut text.as_bytes().to_vec()));
    (serde_json::from_str(answer.json).unwrap(), answer.failed)
}

#[test]
fn an_answer_has_its_text_its_score_and_its_place() {
    let mut one = answerer(None);
    let json = r#"{"question":"is it good?","context":"é the plot is not good"}"#;
    let (answer, failed) = line(&mut one, json);
    assert!(!failed);
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    let expected = [
        "answer",
        "score",
        "start",
        "end",
        "start_byte",
        "end_byte",
        "start_utf16",
        "end_utf16",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        line(&mut one, "is it good?\té the plot is not good").0,
        answer
    );
    let asked = one
        .ask("is it good?", Some("é the plot is not good"))
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(asked.json).unwrap(), answer);

    let (list, _) = line(&mut answerer(Some(3)), json);
    let list = list.as_array().unwrap();
    assert_eq!((list.len(), &list[0]), (3, &answer));
    assert!(list[0]["score"].as_f64() >= list[1]["score"].as_f64());
    let (only, _) = line(&mut answerer(Some(1)), json);
    assert_eq!(only, json!([answer]));
}

#[test]
fn no_answer_is_an_empty_one_at_no_place() {
    let (answer, failed) = line(&mut answerer(None), "good?\t");
    let expected = json!({"answer": "", "score": 0.0, "start": 0, "end": 0, "start_byte": 0, "end_byte": 0, "start_utf16": 0, "end_utf16": 0});
    assert_eq!((answer, failed), (expected, false));
}

#[test]
fn a_cut_question_is_said() {
    let question = "film ".repeat(50);
    let (answer, _) = line(&mut answerer(None), &format!("{question}\tgood"));
    assert_eq!(answer["truncated"], 29);
}

#[test]
fn plain_lines_are_questions_on_the_passage_that_was_given() {
    let mut given = answerer(None);
    given.set_passage("the plot is not good".into()).unwrap();
    let (expected, _) = line(&mut answerer(None), "is\tit?\tthe plot is not good");
    let (found, failed) = line(&mut given, r#"{"question":"is"}"#);
    assert!(!failed && found["answer"].is_string());
    assert_eq!(line(&mut given, "is").0, found);
    assert!(!line(&mut given, "is\tit?").1);
    assert_eq!(
        line(
            &mut given,
            r#"{"question":"is","context":"it?\tthe plot is not good"}"#
        )
        .0,
        expected
    );
    assert_eq!(
        line(&mut given, r#"{"context":"a"}"#).0,
        json!({"error": "\"question\" is missing"})
    );
    let bundle = support::bundle(Task::TextClassification, &["a", "b"]);
    let session = Model::from_bytes(&bundle).unwrap().session().unwrap();
    let mut other = Answerer::new(session, Options::default()).unwrap();
    let refused = other.set_passage(String::new()).unwrap_err();
    assert_eq!(refused, QueryError::Task(Task::TextClassification));
}

/// What answers is a part of the caller's passage, whatever is asked next.
fn all<'p>(session: &mut Session, questions: &[&str], passage: &'p str) -> Vec<&'p str> {
    questions
        .iter()
        .map(|question| session.answer(question, passage).unwrap().best().text)
        .collect()
}

#[test]
fn answers_outlive_the_next_question() {
    let mut session = model().session().unwrap();
    let passage = "the plot is not good, the film is gripping";
    let questions = ["is it good?", "film?"];
    let texts = all(&mut session, &questions, passage);
    for (question, text) in questions.iter().zip(texts) {
        let again = session.answer(question, passage).unwrap().best();
        assert_eq!(again.text, text);
        assert!(passage.contains(text));
    }
}

/// A model that may find no answer says so where its threshold is low, and never where it is high.
#[test]
fn the_threshold_of_the_bundle_decides_about_no_answer() {
    let ask = |threshold: f32| {
        let bytes = support::bundle_for_spans(|rules| {
            rules.null_score_diff_threshold = Some(threshold);
        });
        let opened = AlignedBytes::copy_of(&bytes);
        let kept = Bundle::open(&opened).unwrap().header().spans.unwrap();
        assert_eq!(kept.null_score_diff_threshold, Some(threshold));
        let mut session = Model::from_bytes(&bytes).unwrap().session().unwrap();
        let answers = session
            .answer("is it good?", "the plot is not good")
            .unwrap();
        let nones = answers
            .iter()
            .filter(|answer| answer.text.is_empty())
            .count();
        assert_eq!(nones, 1);
        assert!(answers.best().score > 0.0);
        answers.best().text.to_owned()
    };
    assert_eq!(ask(-1e30), "");
    assert_ne!(ask(1e30), "");
}
