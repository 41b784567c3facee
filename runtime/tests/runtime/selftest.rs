//! A bundle that tests itself: what it says where all is well, and where it is not.

use berth_bundle::{Golden, Writer, logits_crc};
use berth_kernels::Isa;
use berth_runtime::Model;
use berth_runtime::selftest::{Report, SelftestError, selftest};
use berth_task::Task;

use crate::support::{self, POSITIONS};

/// The bundle with inputs of these lengths, their checksums changed.
pub fn with_inputs(task: Task, lengths: &[usize], change: impl Fn(usize) -> u32) -> Vec<u8> {
    let mut writer = writer(task);
    let model = Model::from_bytes(&writer.to_bytes().unwrap()).unwrap();
    let mut session = model.session().unwrap();
    let ids: Vec<Vec<u32>> = lengths
        .iter()
        .map(|&tokens| (0..tokens as u32).map(|i| 2 + i % 40).collect())
        .collect();
    let golden = |(index, ids): (usize, &'_ Vec<u32>)| {
        let logits = session.logits_of(ids, ids.len().div_ceil(2)).unwrap();
        (
            ids.len().div_ceil(2) as u32,
            logits_crc(logits) ^ change(index),
        )
    };
    let known: Vec<(u32, u32)> = ids.iter().enumerate().map(golden).collect();
    let inputs: Vec<Golden<'_>> = ids
        .iter()
        .zip(known)
        .map(|(ids, (second, crc))| Golden { ids, second, crc })
        .collect();
    writer.selftest(&inputs).unwrap();
    writer.to_bytes().unwrap().to_vec()
}

fn writer(task: Task) -> Writer {
    let labels: &[&str] = match task {
        Task::TextPairRegression | Task::QuestionAnswering => &[],
        _ => &["one", "other"],
    };
    support::writer(task, labels, |_| ())
}

fn tested(bytes: &[u8]) -> Result<Report, SelftestError> {
    selftest(&Model::from_bytes(bytes).unwrap())
}

#[test]
fn every_instruction_set_and_engine_has_the_bits() {
    let lengths = [1, 2, 17, POSITIONS];
    for task in Task::ALL {
        let report = tested(&with_inputs(task, &lengths, |_| 0)).unwrap();
        assert!(report.passed(), "{report}");
        assert_eq!(report.lengths, lengths);
        assert_eq!(report.runs.len(), 2 * Isa::available().count());
        let text = report.to_string();
        assert!(
            text.starts_with("inputs of 1, 2, 17, 48 tokens\n"),
            "{text}"
        );
        assert!(
            text.contains("portable     encoder  4 of 4 the same\n"),
            "{text}"
        );
        assert!(text.contains("\npassed: "), "{text}");
    }
}

#[test]
fn one_bit_is_enough_to_fail() {
    let change = |index| if index == 2 { 1 << 31 } else { 0 };
    let bytes = with_inputs(Task::TextClassification, &[1, 2, 17], change);
    let report = tested(&bytes).unwrap();
    assert!(!report.passed());
    for run in &report.runs {
        assert_eq!((run.same, run.differs), (2, Some(2)));
    }
    let text = report.to_string();
    assert!(
        text.contains("2 of 3 the same, not the one of 17 tokens\n"),
        "{text}"
    );
    assert!(text.contains("\nFAILED: "), "{text}");
}

#[test]
fn inputs_that_the_model_refuses_are_not_the_same() {
    let mut writer = writer(Task::TextClassification);
    let long = [2; POSITIONS + 1];
    let inputs = [(&long[..], 1), (&[u32::MAX][..], 1), (&[2, 3][..], 3)];
    let inputs = inputs.map(|(ids, second)| Golden {
        ids,
        second,
        crc: 0,
    });
    writer.selftest(&inputs).unwrap();
    let report = tested(&writer.to_bytes().unwrap()).unwrap();
    assert!(report.runs.iter().all(|run| run.same == 0));
}

#[test]
fn a_bundle_without_inputs_says_so_and_the_way_out() {
    let none = support::bundle(Task::TextPairRegression, &[]);
    let mut empty = writer(Task::TextPairRegression);
    empty.selftest(&[]).unwrap();
    for bytes in [none, empty.to_bytes().unwrap().to_vec()] {
        let error = tested(&bytes).unwrap_err().to_string();
        assert!(error.ends_with("quantize the model again"), "{error}");
        assert!(error.contains("carries no inputs"), "{error}");
    }
}

#[test]
fn damaged_inputs_are_named() {
    let mut bytes = with_inputs(Task::TextClassification, &[3], |_| 0);
    let end = bytes.len();
    // One input of three tokens is six numbers; the first is how many tokens.
    bytes[end - 24] = 4;
    let error = tested(&bytes).unwrap_err().to_string();
    assert!(
        error.contains("\"selftest\" is no sequence of inputs"),
        "{error}"
    );
}
