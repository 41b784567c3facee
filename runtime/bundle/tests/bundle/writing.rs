//! What the writer promises: the same bytes for the same parts, and refusal of what can't be read.

use std::fs;

use berth_bundle::{
    Bundle, Calibration, Golden, Head, Header, Layer, MAX_HEADER_LEN, MAX_LAYERS, MAX_THRESHOLDS,
    Metric, OpenError, Provenance, SectionKind, Shape, ShapeError, Threshold, WriteError, Writer,
};
use berth_task::{Labels, MAX_LABEL_BYTES, MAX_LABELS, Task};

use crate::example::{self, Numbers, SHAPE};

#[test]
fn the_same_parts_give_the_same_bytes() {
    assert_eq!(*example::bundle(), *example::bundle());
}

#[test]
fn a_file_holds_the_bytes_and_replaces_an_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.berth");
    fs::write(&path, "old").unwrap();
    let len = example::writer().write(&path).unwrap();
    let file = fs::read(&path).unwrap();
    assert_eq!(file, *example::bundle());
    assert_eq!(len, file.len() as u64);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("model.berth");
    let error = example::writer().write(&path).unwrap_err().to_string();
    assert!(error.contains("missing/model.berth"), "{error}");
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn metrics_can_come_last() {
    let mut writer = example::writer();
    let mut metrics = heapless::Vec::new();
    let metric = Metric {
        name: "eval_f1".try_into().unwrap(),
        f32: 0.5,
        int8: 0.25,
    };
    metrics.push(metric.clone()).unwrap();
    writer.set_metrics(metrics);
    let bytes = writer.to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    assert_eq!(bundle.header().metrics, [metric]);
}

#[test]
fn logits_are_one_row_or_one_for_each_token() {
    let mut header = example::header();
    assert_eq!([0, 1, 9].map(|tokens| header.logits(tokens)), [2; 3]);
    header.task = Task::TokenClassification;
    assert_eq!([0, 1, 9].map(|tokens| header.logits(tokens)), [0, 2, 18]);
    assert_eq!(header.logits(usize::MAX), usize::MAX);
}

#[test]
fn parts_come_in_their_order() {
    let mut numbers = Numbers::default();
    let (embeddings, layer, head) = (numbers.embeddings(), numbers.layer(), numbers.head());
    let mut writer = Writer::new(example::header()).unwrap();
    let out_of_turn = |result: Result<(), WriteError>, turn: Option<SectionKind>| match result {
        Err(WriteError::Order { expected, .. }) => assert_eq!(expected, turn),
        other => panic!("{other:?}"),
    };
    out_of_turn(writer.layer(&layer), Some(SectionKind::Embeddings));
    writer.embeddings(&embeddings).unwrap();
    out_of_turn(writer.embeddings(&embeddings), Some(SectionKind::Layer(0)));
    writer.layer(&layer).unwrap();
    out_of_turn(writer.head(&head), Some(SectionKind::Layer(1)));
    writer.layer(&layer).unwrap();
    out_of_turn(writer.layer(&layer), Some(SectionKind::Head));
    writer.head(&head).unwrap();
    let missing = writer.to_bytes().map(drop).unwrap_err();
    assert!(matches!(
        missing,
        WriteError::Missing(SectionKind::Tokenizer)
    ));
    writer.tokenizer(b"").unwrap();
    out_of_turn(writer.tokenizer(b""), Some(SectionKind::Training));
    writer.training(b"").unwrap();
    out_of_turn(writer.training(b""), None);
    let bytes = writer.to_bytes().unwrap();
    Bundle::open(&bytes).unwrap().verify().unwrap();
}

#[test]
fn an_array_that_does_not_fit_the_shape_is_refused_by_its_place() {
    let mut numbers = Numbers::default();
    let (embeddings, layer) = (numbers.embeddings(), numbers.layer());
    let mut writer = Writer::new(example::header()).unwrap();
    writer.embeddings(&embeddings).unwrap();
    let mut refuse = |layer: &Layer<'static>, expected_place| match writer.layer(layer) {
        Err(WriteError::Array { kind, place, .. }) => {
            assert_eq!((kind, place), (SectionKind::Layer(0), expected_place));
        }
        other => panic!("{other:?}"),
    };
    let mut short = layer;
    short.qkv.weights = &layer.qkv.weights[1..];
    refuse(&short, 3);
    let mut turned = layer;
    (turned.up, turned.down) = (layer.down, layer.up);
    refuse(&turned, 16);
    let mut short = layer;
    short.output_norm.bias = &layer.output_norm.bias[1..];
    refuse(&short, 30);
}

#[test]
fn the_head_has_a_pooler_where_its_task_reads_the_first_row() {
    let labels = Labels::of(["O", "B"]).unwrap();
    let header = Header::new(SHAPE, Task::TokenClassification, labels, 8);
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(header).unwrap();
    writer.embeddings(&numbers.embeddings()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    let head = numbers.head();
    assert!(matches!(writer.head(&head), Err(WriteError::Pooler)));
    let head = Head {
        pooler: None,
        ..head
    };
    writer.head(&head).unwrap();
    writer.tokenizer(example::TABLES).unwrap();
    writer.training(example::TRAINING).unwrap();
    let bytes = writer.to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    assert!(bundle.head().pooler.is_none());
    assert_eq!(bundle.head().weight, head.weight);
}

#[test]
fn what_no_reader_would_open_is_not_begun() {
    let mut header = example::header();
    header.shape.heads = 3;
    let refused = Writer::new(header).map(drop).unwrap_err();
    let reason = OpenError::Shape(ShapeError::Heads);
    assert!(matches!(refused, WriteError::Refused(error) if error == reason));
    assert!(
        refused
            .to_string()
            .contains("share the hidden size equally"),
        "{refused}"
    );
}

/// Every field at its capacity still is within the cap on the header.
#[test]
fn the_fullest_header_is_written_and_read() {
    let names: Vec<String> = (0..MAX_LABELS)
        .map(|i| format!("{i:0width$}", width = MAX_LABEL_BYTES / MAX_LABELS))
        .collect();
    let labels = Labels::of(names.iter().map(String::as_str)).unwrap();
    let shape = Shape {
        layers: MAX_LAYERS,
        outputs: MAX_LABELS as u32,
        ..SHAPE
    };
    let mut header = Header::new(shape, Task::TextClassification, labels, 9);
    let name = || "m".repeat(128).as_str().try_into().unwrap();
    header.provenance = Provenance {
        berth: "v".repeat(32).as_str().try_into().unwrap(),
        model: name(),
        base: name(),
        weights_sha256: [255; 32],
    };
    while !header.metrics.is_full() {
        let metric = Metric {
            name: name(),
            f32: 1.0,
            int8: 1.0,
        };
        header.metrics.push(metric).unwrap();
    }
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(header).unwrap();
    writer.embeddings(&numbers.embeddings()).unwrap();
    for _ in 0..MAX_LAYERS {
        writer.layer(&numbers.layer()).unwrap();
    }
    let head = Head {
        weight: numbers.floats(MAX_LABELS * 16),
        bias: numbers.floats(MAX_LABELS),
        ..numbers.head()
    };
    writer.head(&head).unwrap();
    writer.tokenizer(example::TABLES).unwrap();
    writer.training(example::TRAINING).unwrap();
    writer.decisions().unwrap();
    let golden = Golden {
        ids: &[2],
        second: 1,
        crc: u32::MAX,
    };
    writer.selftest(&[golden]).unwrap();
    writer.card("a card").unwrap();
    let threshold = Threshold {
        min_score: 1.0,
        answered: u32::MAX,
        right: u32::MAX,
    };
    let calibration = Calibration {
        temperature: 1.0,
        answers: u32::MAX,
        error_before: 1.0,
        error_after: 1.0,
        error_held_out: 1.0,
        thresholds: [threshold; MAX_THRESHOLDS].into_iter().collect(),
    };
    writer.set_calibration(Some(calibration)).unwrap();
    assert!(writer.header().sections.is_full());
    let bytes = writer.to_bytes().unwrap();
    assert!(example::header_bytes(&bytes).len() < MAX_HEADER_LEN as usize);
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    assert_eq!(bundle.header(), writer.header());
    assert_eq!(
        bundle
            .layer(MAX_LAYERS as usize - 1)
            .int8()
            .unwrap()
            .qkv
            .outputs,
        48
    );
}
