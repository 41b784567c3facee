//! The small whole things that are damaged, and the corpora to begin with.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use berth_task::Task;
use berth_wordpiece::Tokenizer;

#[allow(dead_code, reason = "the runtime's tests use more of it")]
#[path = "../../../runtime/tests/support/mod.rs"]
mod support;

/// Where the tables are that [`text`](crate::text) reads, if not the small ones.
const TABLES_VARIABLE: &str = "BERTH_FUZZ_TABLES";

/// A bundle of each kind of head, each as small as the format allows or nearly, one of other sizes, and two whose tokenizer
/// tables are none: of the first version of the format, and with everything that the newest has.
pub(crate) fn bundles() -> &'static [Vec<u8>] {
    static BUNDLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BUNDLES.get_or_init(|| {
        vec![
            bundle(Task::TextClassification, &["negative", "positive"], 1),
            bundle(Task::TokenClassification, &["O", "B-LOC", "I-LOC"], 2),
            bundle(Task::QuestionAnswering, &[], 1),
            bundle(Task::TextPairRegression, &[], 1),
            partial(),
            include_bytes!("../../golden/bundle/tiny.berth").to_vec(),
            include_bytes!("../../golden/bundle/calibrated.berth").to_vec(),
        ]
    })
}

fn bundle(task: Task, labels: &[&str], heads: u32) -> Vec<u8> {
    support::bundle_with(task, labels, |shape| {
        shape.hidden = 16 * heads;
        shape.heads = heads;
        shape.layers = heads;
        shape.intermediate = 16;
        shape.positions = 32;
    })
}

/// A bundle of which no size fills whole vectors.
fn partial() -> Vec<u8> {
    support::bundle_with(
        Task::TextClassification,
        &["negative", "positive"],
        |shape| {
            (shape.hidden, shape.heads, shape.intermediate) = (22, 2, 13);
            shape.layers = 1;
            shape.positions = 32;
        },
    )
}

/// The tables of the first of them: a few dozen pieces of ASCII.
pub(crate) fn small_tables() -> &'static [u8] {
    static TABLES: OnceLock<Vec<u8>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let bytes = berth_bundle::AlignedBytes::copy_of(&bundles()[0]);
        let bundle = berth_bundle::Bundle::open(&bytes).expect("a whole bundle");
        bundle.tokenizer().to_vec()
    })
}

static CHOSEN: OnceLock<Vec<u8>> = OnceLock::new();

/// Has [`text`](crate::text) read these tables, if it has not begun yet.
pub fn use_tables(tables: Vec<u8>) {
    CHOSEN.get_or_init(|| tables);
}

/// A tokenizer over the tables of [`use_tables`], else of the file that `BERTH_FUZZ_TABLES` names, else
/// over the small ones.
pub(crate) fn tokenizer() -> Tokenizer<'static> {
    let tables = CHOSEN.get_or_init(|| match std::env::var_os(TABLES_VARIABLE) {
        Some(path) => fs::read(&path).unwrap_or_else(|error| {
            panic!("{TABLES_VARIABLE}={}: {error}", Path::new(&path).display())
        }),
        None => small_tables().to_vec(),
    });
    Tokenizer::new(tables).expect("whole tables")
}

/// What each target's corpus begins with: the target's name, and inputs.
pub fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let scripts = (0..=255u8).map(|n| (0..40).map(|i| n.wrapping_mul(i + 3) ^ i).collect());
    let texts = support::texts().into_iter().filter(|text| text.len() < 500);
    let text = texts.map(|text| [&[9, 2, 1, 4][..], text.as_bytes()].concat());
    let lines = [
        r#"{"text":"a","text_pair":"b"}"#,
        r#" { "id" : [1, -0.5e+3, {"a": {}}, [] , true,false,null ], "text":null } "#,
        r#"{"text":"\"\\\/\b\f\n\r\tA\u0041\u00e9\u20AC\ud83d\uDE00é€😀","te\u0078t":""}"#,
    ];
    let json: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    let stream = [b"\x03".to_vec(), lines.join("\r\n").into_bytes()].concat();
    #[allow(unused_mut, reason = "there are more with a feature")]
    let mut seeds = vec![
        ("damage", scripts.collect()),
        ("bytes", bundles().to_vec()),
        ("tables", vec![small_tables().to_vec()]),
        ("text", text.collect()),
        ("json", json),
        (
            "lines",
            vec![stream, b"\x00a\tb\n\xfe\n\xfd\r\n{\xff".to_vec()],
        ),
    ];
    #[cfg(feature = "checkpoint")]
    seeds.extend([
        ("checkpoint", crate::checkpoint::seeds()),
        ("onnx", crate::onnx::seeds()),
    ]);
    seeds
}
