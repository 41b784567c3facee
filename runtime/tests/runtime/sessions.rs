//! Queries: their answers, and that the engine, the instruction set and the thread don't matter.

use std::thread;

use berth_encoder::{Encoder, Scratch};
use berth_kernels::Isa;
use berth_runtime::{Model, QueryError, Session};
use berth_task::{LongTexts, Task};
use berth_wordpiece::Piece;

use crate::fixtures::sentiment;
use crate::support::{self, POSITIONS, Random};

const ALL: [(Task, &[&str]); 5] = [
    (Task::TextClassification, &["negative", "positive"]),
    (Task::TextPairClassification, &["yes", "no", "maybe"]),
    (Task::TextPairRegression, &[]),
    (Task::TokenClassification, &["O", "B", "I"]),
    (Task::QuestionAnswering, &[]),
];

fn model(task: Task, labels: &[&str]) -> Model {
    Model::from_bytes(&support::bundle(task, labels)).unwrap()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The logits of the encoder by itself, without tract and without a session.
fn alone(model: &Model, isa: Isa, ids: &[u32], second: usize) -> Vec<u32> {
    let header = model.header();
    let scratch = berth_encoder::scratch_bytes(header, ids.len());
    let mut scratch = vec![0xa5; scratch];
    let mut logits = vec![f32::NAN; header.logits(ids.len())];
    let mut scratch = Scratch::carve(&mut scratch, header, ids.len()).unwrap();
    let encoder = Encoder::new(model.bundle(), isa);
    encoder
        .forward(ids, second, &mut scratch, &mut logits)
        .unwrap();
    bits(&logits)
}

#[test]
fn a_session_answers_as_the_encoder_alone_on_every_instruction_set() {
    let mut random = Random(3);
    let mixed = Model::from_bytes(&support::mixed(ALL[3].0, ALL[3].1)).unwrap();
    let all = ALL.map(|(task, labels)| model(task, labels));
    for model in all.into_iter().chain([mixed]) {
        let task = model.header().task;
        let vocabulary = model.header().shape.vocab_size as usize;
        let mut sessions: Vec<Session> = Isa::available()
            .map(|isa| model.on(isa).unwrap().session().unwrap())
            .collect();
        // Every length, each after a longer and after a shorter one.
        for tokens in (1..=POSITIONS).chain((1..=POSITIONS).rev()) {
            let ids: Vec<u32> = (0..tokens)
                .map(|_| random.below(vocabulary) as u32)
                .collect();
            let second = random.below(tokens + 1);
            let expected = alone(&model, Isa::portable(), &ids, second);
            for (session, isa) in sessions.iter_mut().zip(Isa::available()) {
                let found = bits(session.logits_of(&ids, second).unwrap());
                assert_eq!(found, expected, "{task}, {tokens} tokens, {}", isa.tier());
                assert_eq!(session.model().isa(), isa);
            }
        }
    }
}

#[test]
fn a_text_has_the_logits_of_its_tokens() {
    for (task, labels) in ALL {
        let model = model(task, labels);
        let mut session = model.session().unwrap();
        session.set_long_texts(LongTexts::Cut);
        let mut pieces = vec![Piece::default(); 2 * POSITIONS];
        for (text, other) in support::texts().iter().zip(support::texts().iter().rev()) {
            let pair = task.takes_pair().then_some(other.as_str());
            let encoding = model
                .tokenizer()
                .encode(text, pair, POSITIONS, &mut pieces)
                .unwrap();
            let ids: Vec<u32> = pieces[..encoding.len]
                .iter()
                .map(|piece| piece.id)
                .collect();
            let expected = bits(session.logits_of(&ids, encoding.second).unwrap());
            let logits = session.logits(text, pair).unwrap();
            assert_eq!(bits(logits.values), expected);
            assert_eq!(logits.truncated, encoding.truncated);
        }
    }
}

#[test]
fn labels_are_ranked_by_their_logits() {
    let mut session = sentiment().session().unwrap();
    session.set_long_texts(LongTexts::Cut);
    let mut winners = [false; 2];
    for text in support::texts() {
        let logits = session.logits(&text, None).unwrap().values.to_vec();
        let best = berth_task::argmax(&logits);
        winners[best] = true;
        let answer = session.classify(&text).unwrap();
        let rows: Vec<_> = answer.iter().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(answer.best(), rows[0]);
        assert_eq!(rows[0].label, ["negative", "positive"][best]);
        assert!(rows[0].score >= rows[1].score);
        assert!((rows[0].score + rows[1].score - 1.0).abs() < 1e-6);
    }
    assert_eq!(
        winners, [true; 2],
        "the texts are too much alike for this test"
    );
}

#[test]
fn each_task_has_its_own_question() {
    let mut single = sentiment().session().unwrap();
    assert_eq!(
        single.classify_pair("a", "b").unwrap_err(),
        QueryError::PairUnwanted
    );
    assert_eq!(
        single.logits("a", Some("b")).unwrap_err(),
        QueryError::PairUnwanted
    );
    let wrong = QueryError::Task(Task::TextClassification);
    assert_eq!(single.similarity("a", "b").unwrap_err(), wrong);
    assert!(
        single.classify("a").is_ok(),
        "an error leaves the session as it was"
    );

    let mut pair = model(Task::TextPairClassification, &["yes", "no"])
        .session()
        .unwrap();
    assert_eq!(pair.classify("a").unwrap_err(), QueryError::PairMissing);
    let there = pair
        .classify_pair("a good film", "a bad plot")
        .unwrap()
        .best()
        .score;
    let back = pair
        .classify_pair("a bad plot", "a good film")
        .unwrap()
        .best()
        .score;
    assert_ne!(there, back, "the second text is of another type");

    let mut number = model(Task::TextPairRegression, &[]).session().unwrap();
    let score = number.similarity("a", "b").unwrap().score;
    assert_eq!(number.logits("a", Some("b")).unwrap().values, [score]);
    let wrong = QueryError::Task(Task::TextPairRegression);
    assert_eq!(number.classify_pair("a", "b").unwrap_err(), wrong);
}

#[test]
fn any_length_of_text_is_answered() {
    let mut session = sentiment().session().unwrap();
    let empty = session.classify("").unwrap();
    assert_eq!((empty.truncated, empty.iter().len()), (0, 2));
    let fits = "film ".repeat(POSITIONS - 2);
    let long = "film ".repeat(20_000);
    assert_eq!(long.len(), 100_000);
    for (text, windows) in [(&fits, 1), (&(fits.clone() + "film"), 2), (&long, 572)] {
        let answer = session.classify(text).unwrap();
        assert_eq!((answer.truncated, answer.windows), (0, windows));
    }
    session.set_long_texts(LongTexts::Cut);
    assert_eq!(session.classify(&fits).unwrap().truncated, 0);
    let cut = session.classify(&long).unwrap();
    assert_eq!((cut.truncated, cut.windows), (20_000 - (POSITIONS - 2), 1));
}

#[test]
fn tokens_from_elsewhere_are_checked() {
    let model = sentiment();
    let mut session = model.session().unwrap();
    let vocabulary = model.header().shape.vocab_size;
    let expected = bits(session.logits_of(&[2, 3], 2).unwrap());
    for (ids, second) in [
        (vec![], 0),
        (vec![0; POSITIONS + 1], POSITIONS + 1),
        (vec![2, vocabulary, 3], 3),
        (vec![2, u32::MAX, 3], 3),
        (vec![2, 3], 3),
        (vec![2, 3], usize::MAX),
    ] {
        let error = session.logits_of(&ids, second).unwrap_err();
        assert!(
            matches!(error, QueryError::Forward(_)),
            "{} tokens: {error:?}",
            ids.len()
        );
        assert_eq!(bits(session.logits_of(&[2, 3], 2).unwrap()), expected);
    }
}

#[test]
fn threads_share_a_model_and_agree() {
    let model = sentiment();
    let answers = |model: &Model| -> Vec<u32> {
        let mut session = model.session().unwrap();
        let texts = support::texts();
        texts
            .iter()
            .flat_map(|text| bits(session.logits(text, None).unwrap().values))
            .collect()
    };
    let expected = answers(&model);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| answers(&model.clone())))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
    // A session may move to another thread.
    let mut session = model.session().unwrap();
    thread::spawn(move || session.classify("a").map(|_| ()).unwrap())
        .join()
        .unwrap();
}
