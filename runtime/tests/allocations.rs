//! No query allocates, from the first one on.
//!
//! A program without a test harness, since it counts everything that the process allocates, and a
//! harness allocates in a thread of its own while a test runs.

#[allow(dead_code, reason = "the other tests use more of it")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use berth_runtime::answer::{Answerer, Options};
use berth_runtime::counting::{Counting, allocations};
use berth_runtime::lines::{Line, Lines};
use berth_runtime::{ForwardError, Model, QueryError, Session, Threads};
use berth_task::Task;
use support::{POSITIONS, Random};

#[global_allocator]
static ALLOCATOR: Counting<Scarce> = Counting(Scarce);

/// The system's memory, in blocks of [`MOST`] bytes at most.
struct Scarce;

/// More than any program asks for, unless memory is to be short.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: a block comes from the system's allocator and goes back to it, with the layout that the caller
// gives; else there is none, which a null pointer says.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST.load(Relaxed) {
            return ptr::null_mut();
        }
        // SAFETY: the caller promises of `layout` what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller got `block` from this allocator, and so from `System`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

/// How many allocations `work` makes.
fn during(work: impl FnOnce()) -> u64 {
    let before = allocations();
    work();
    allocations() - before
}

fn session(task: Task, labels: &[&str]) -> Session {
    session_with(task, labels, Threads(1))
}

fn session_with(task: Task, labels: &[&str], threads: Threads) -> Session {
    Model::from_bytes(&support::bundle(task, labels))
        .unwrap()
        .session_with(threads)
        .unwrap()
}

fn main() {
    assert_eq!(
        during(|| drop(black_box(Box::new(1)))),
        1,
        "the counter counts"
    );
    for threads in [1, 2, 3] {
        tokens_of_every_length(Threads(threads));
    }
    layers_in_floats();
    texts();
    pairs();
    questions();
    tags();
    lines();
    lines_of_questions();
    lines_to_be_tagged();
    long_texts();
    mixed();
    rows_beyond_memory();
    println!("no allocation in any query");
}

fn tokens_of_every_length(threads: Threads) {
    let ids = [5; POSITIONS];
    for (task, labels) in [
        (Task::TextClassification, &["a", "b"][..]),
        (Task::TokenClassification, &["O", "B", "I"]),
        (Task::QuestionAnswering, &[]),
    ] {
        let mut session = session_with(task, labels, threads);
        let mut random = Random(5);
        let count = during(|| {
            for _ in 0..3_000 {
                let tokens = 1 + random.below(POSITIONS);
                session
                    .logits_of(&ids[..tokens], random.below(tokens + 1))
                    .unwrap();
            }
        });
        assert_eq!(count, 0, "{task}, {threads:?}");
        for (ids, second, said) in [
            (&ids[..0], 0, ForwardError::NoTokens),
            (
                &[u32::MAX],
                1,
                ForwardError::UnknownId {
                    id: u32::MAX,
                    position: 0,
                },
            ),
            (
                &ids[..1],
                usize::MAX,
                ForwardError::Second {
                    second: usize::MAX,
                    tokens: 1,
                },
            ),
        ] {
            let mut found = Ok(());
            let count = during(|| found = session.logits_of(ids, second).map(|_| ()));
            assert_eq!(
                (count, found),
                (0, Err(QueryError::Forward(said))),
                "{task}"
            );
        }
    }
}

fn layers_in_floats() {
    let model = Model::from_bytes(&support::mixed(Task::TextClassification, &["a", "b"]));
    let model = model.unwrap();
    let ids = [5; POSITIONS];
    for threads in [1, 2] {
        let mut session = model.session_with(Threads(threads)).unwrap();
        let mut random = Random(17);
        let count = during(|| {
            for _ in 0..300 {
                let tokens = 1 + random.below(POSITIONS);
                session.logits_of(&ids[..tokens], tokens).unwrap();
            }
        });
        assert_eq!(count, 0, "{threads} threads");
    }
}

fn texts() {
    let texts = support::texts();
    let mut session = session(Task::TextClassification, &["negative", "positive"]);
    let mut random = Random(11);
    let first = during(|| assert!(session.classify(&texts[3]).unwrap().truncated == 0));
    assert_eq!(first, 0, "the very first query");
    let count = during(|| {
        for _ in 0..2_000 {
            let text = &texts[random.below(texts.len() - 2)];
            assert!(session.classify(text).unwrap().best().score >= 0.5);
            assert!(session.classify_pair(text, text).is_err());
        }
        for text in &texts {
            session.classify(text).unwrap();
        }
    });
    assert_eq!(count, 0);
}

fn pairs() {
    let texts = support::texts();
    let mut session = session(Task::TextPairRegression, &[]);
    let mut random = Random(13);
    let count = during(|| {
        for _ in 0..2_000 {
            let [text, pair] = [0; 2].map(|_| &texts[random.below(texts.len() - 2)]);
            session.similarity(text, pair).unwrap();
        }
    });
    assert_eq!(count, 0);
}

/// Passages of one window and of thousands.
fn questions() {
    let texts = support::texts();
    let mut session = session(Task::QuestionAnswering, &[]);
    let mut random = Random(17);
    let first = during(|| assert!(session.answer("good?", &texts[3]).unwrap().truncated == 0));
    assert_eq!(first, 0, "the very first query");
    let count = during(|| {
        for _ in 0..300 {
            let [question, passage] = [0; 2].map(|_| &texts[random.below(texts.len() - 2)]);
            let answers = session.answer(question, passage).unwrap();
            assert!(answers.iter().all(|answer| passage.contains(answer.text)));
        }
        for passage in &texts {
            black_box(session.answer("a film", passage).unwrap().best().place);
        }
    });
    assert_eq!(count, 0);
}

fn tags() {
    let texts = support::texts();
    for labels in [&["O", "B-PER", "I-PER"][..], &["DET", "NOUN"]] {
        let mut session = session(Task::TokenClassification, labels);
        let mut rows = 0;
        let count = during(|| {
            for text in &texts {
                rows += session.tag(text).unwrap().map(Result::unwrap).count();
            }
        });
        assert_eq!(count, 0, "{labels:?}");
        assert!(rows > texts.len(), "{rows} rows");
    }
}

/// Texts and pairs that are read by windows, with a least score to abstain by, line by line.
fn long_texts() {
    for (task, labels) in [
        (Task::TextClassification, &["negative", "positive"][..]),
        (Task::TextPairClassification, &["yes", "no"]),
        (Task::TextPairRegression, &[]),
    ] {
        let mut answerer = Answerer::new(session(task, labels), Options::default()).unwrap();
        if task != Task::TextPairRegression {
            answerer.set_min_score(0.75).unwrap();
        }
        let text = |words: usize| "good film ".repeat(words / 2);
        let pair = |words| task.takes_pair().then(|| format!("\t{}", text(words)));
        let line = |words| text(words) + &pair(words * 7 % 301).unwrap_or_default();
        let mut lines: Vec<Vec<u8>> = (0..400).map(|words| line(words).into_bytes()).collect();
        let mut windows = 0;
        let count = during(|| {
            for line in &mut lines {
                let answer = answerer.line(Line::Whole(line));
                assert!(!answer.failed);
                windows += usize::from(answer.json.contains("windows"));
            }
        });
        assert_eq!(count, 0, "{task}");
        assert!(windows > 300, "{task}: {windows} long ones");
    }
}

/// Lines of texts that fit the model, plain and split.
fn lines_to_be_tagged() {
    let session = session(Task::TokenClassification, &["\u{1}", "NOUN"]);
    let mut answerer = Answerer::new(session, Options::default()).unwrap();
    let fits = |text: &&String| text.len() < 200;
    let mut input: Vec<Vec<u8>> = Vec::new();
    for text in support::texts().iter().filter(fits) {
        let words: Vec<&str> = text.split(' ').collect();
        let words = serde_json::to_string(&words).unwrap();
        input.push(text.clone().into_bytes());
        input.push(format!("{{\"tokens\": {words}}}").into_bytes());
    }
    let count = during(|| {
        for line in &mut input {
            assert!(!answerer.line(Line::Whole(line)).failed);
        }
    });
    assert_eq!(count, 0);
}

/// A text to be tagged whose rows take more memory than there is has an error, and the next line its answer.
fn rows_beyond_memory() {
    let session = session(Task::TokenClassification, &["DET", "NOUN"]);
    let mut answerer = Answerer::new(session, Options::default()).unwrap();
    let long = "a good film ".repeat(2_000);
    let mut ask = |text: &str| {
        let answer = answerer.line(Line::Whole(&mut text.as_bytes().to_vec()));
        (answer.failed, answer.json.to_owned())
    };
    let short = ask("a good film");
    assert!(!short.0, "{}", short.1);
    MOST.store(1 << 16, Relaxed);
    let lacking = [ask(&long), ask("a good film"), ask(&long)];
    MOST.store(usize::MAX, Relaxed);
    let error = "the answer takes more memory than there is; that of a shorter text takes less";
    let error = (true, format!("{{\"error\":\"{error}\"}}"));
    assert_eq!(lacking, [error.clone(), short, error]);
    let (failed, rows) = ask(&long);
    assert!(!failed && rows.matches("\"entity\"").count() == 6_000);
}

/// Questions with their passage, and questions on one that was given.
fn lines_of_questions() {
    for top_k in [None, std::num::NonZero::new(20)] {
        let session = session(Task::QuestionAnswering, &[]);
        let options = Options {
            top_k,
            ..Options::default()
        };
        let mut answerer = Answerer::new(session, options).unwrap();
        answerer
            .set_passage("the film is not good ".repeat(20))
            .unwrap();
        let texts = support::texts();
        let mut lines: Vec<Vec<u8>> = texts[..texts.len() - 2]
            .iter()
            .map(|text| {
                serde_json::json!({"question": "good?", "context": text})
                    .to_string()
                    .into()
            })
            .collect();
        lines.push(b"is it good?".to_vec());
        lines.push(b"{\"context\":\"no question\"}".to_vec());
        let mut failed = 0;
        let count = during(|| {
            for line in &mut lines {
                failed += usize::from(answerer.line(Line::Whole(line)).failed);
            }
        });
        assert_eq!((count, failed), (0, 1));
    }
}

/// The whole way of a line through the program: read, parsed, answered, written.
fn lines() {
    let mut input = Vec::new();
    for text in support::texts() {
        let json = serde_json::to_string(&text).unwrap();
        input.extend(format!("{{\"text\": {json}, \"n\": [1.5e3, null]}}\n").bytes());
        input.extend(b"{\"text\": broken}\r\n\xff\n plain \"text\"\n");
    }
    input.extend(vec![b'x'; berth_runtime::lines::MAX_LINE_BYTES + 1]);
    let session = session(Task::TextClassification, &["\u{1}\u{2}", "positive"]);
    let mut answerer = Answerer::new(session, Options::default()).unwrap();
    let mut lines = Lines::new(input.as_slice()).unwrap();
    let (mut answered, mut failed) = (0, 0);
    let count = during(|| {
        while let Some(line) = lines.next_line().unwrap() {
            let long = matches!(line, Line::TooLong);
            let answer = answerer.line(line);
            failed += usize::from(answer.failed);
            answered += usize::from(!answer.failed);
            assert!(!long || answer.failed);
        }
    });
    assert_eq!(count, 0);
    assert_eq!(
        (answered, failed),
        (2 * support::texts().len(), 2 * support::texts().len() + 1)
    );
}

/// How many queries [`mixed`] asks.
const MIXED: usize = 10_000;

/// All heads in turns, each query of a random kind and length, from the very first one on: texts, pairs,
/// tokens from elsewhere, and lines of JSON in and out.
fn mixed() {
    let texts = support::texts();
    let classes = &["negative", "positive"];
    let mut classifier = session(Task::TextClassification, classes);
    let mut entailment = session(Task::TextPairClassification, classes);
    let mut similarity = session(Task::TextPairRegression, &[]);
    let mut tagger = session(Task::TokenClassification, &["O", "B", "I"]);
    let mut reader = session(Task::QuestionAnswering, &[]);
    let mut answerers = [
        (Task::TextClassification, &classes[..]),
        (Task::TextPairClassification, &classes[..]),
        (Task::TextPairRegression, &[]),
    ]
    .map(|(task, labels)| Answerer::new(session(task, labels), Options::default()).unwrap());
    let streams = [false, true].map(|pairs| json_lines(&texts, pairs));
    let [mut single, mut pairs] = [0, 1].map(|at| Lines::new(streams[at].as_slice()).unwrap());
    let ids = [7; POSITIONS];
    let mut random = Random(29);
    let mut asked = [0; 8];
    let count = during(|| {
        for _ in 0..MIXED {
            let [text, pair] = [0; 2].map(|_| &texts[random.below(texts.len())]);
            let tokens = 1 + random.below(POSITIONS);
            let (ids, second) = (&ids[..tokens], random.below(tokens + 1));
            let kind = random.below(8);
            asked[kind] += 1;
            match kind {
                0 => assert_eq!(classifier.classify(text).unwrap().iter().len(), 2),
                1 => assert_eq!(
                    entailment.classify_pair(text, pair).unwrap().iter().len(),
                    2
                ),
                2 => assert!(similarity.similarity(text, pair).unwrap().score.is_finite()),
                3 => assert_eq!(tagger.logits_of(ids, tokens).unwrap().len(), 3 * tokens),
                4 => assert_eq!(reader.logits_of(ids, second).unwrap().len(), 2 * tokens),
                _ => {
                    let lines = if kind == 5 { &mut single } else { &mut pairs };
                    let line = lines.next_line().unwrap().expect("lines enough");
                    let answer = answerers[kind - 5].line(line);
                    assert!(!answer.failed, "{}", answer.json);
                }
            }
        }
    });
    assert_eq!(count, 0, "{MIXED} mixed queries");
    assert!(asked.iter().all(|&asked| asked > MIXED / 10), "{asked:?}");
    println!("{MIXED} mixed queries, by kind {asked:?}");
}

/// Lines of JSON with one text or two, as many as are asked for at most.
fn json_lines(texts: &[String], pairs: bool) -> Vec<u8> {
    let short: Vec<&String> = texts.iter().filter(|text| text.len() < 1_000).collect();
    let line = |index: usize| {
        let [text, pair] = [index, 7 * index + 1].map(|at| short[at % short.len()]);
        let mut line = serde_json::json!({"text": text, "number": index});
        if pairs {
            line["text_pair"] = pair.as_str().into();
        }
        line.to_string() + "\n"
    };
    (0..MIXED).map(line).collect::<String>().into_bytes()
}
