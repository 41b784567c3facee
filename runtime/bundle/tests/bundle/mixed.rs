//! Layers in floats: what version 2 of the format brought.

use std::fs;
use std::path::PathBuf;

use berth_bundle::{AlignedBytes, Bundle, OpenError, SectionKind, WriteError, Writer};
use berth_kernels::LinearF32;

use crate::example::{self, Numbers, repair, u32_at};

/// The bytes of a linear in floats whose dimensions are multiples of 16.
fn linear(outputs: usize, inputs: usize) -> u32 {
    (4 * outputs * inputs + 4 * outputs) as u32
}

/// What opening says to the file with another version in it.
pub fn open_as(version: u8, bytes: &[u8]) -> Result<(), OpenError> {
    let mut file = bytes.to_vec();
    file[8] = version;
    repair(&mut file);
    Bundle::open(&AlignedBytes::copy_of(&file)).map(drop)
}

#[test]
fn the_writer_writes_the_golden_bytes() {
    let here = env!("CARGO_MANIFEST_DIR");
    let path = PathBuf::from(here).join("../../tests/golden/bundle/mixed.berth");
    let written = example::mixed().to_bytes().unwrap();
    if std::env::var_os("BERTH_WRITE_GOLDEN").is_some() {
        fs::write(&path, &*written).unwrap();
    }
    assert_eq!(fs::read(path).unwrap(), *written);
}

#[test]
fn only_a_model_with_such_a_layer_is_of_version_2() {
    assert_eq!(u32_at(&example::bundle(), 8), 1);
    assert_eq!(u32_at(&example::mixed().to_bytes().unwrap(), 8), 2);
    // A file of version 2 need not have one.
    assert_eq!(open_as(2, &example::bundle()), Ok(()));
}

#[test]
fn the_layer_is_read_as_it_was_written() {
    let bytes = example::mixed().to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    assert!(bundle.header().f32_layers().eq([1]));
    let section = bundle.header().sections[2];
    assert_eq!(section.kind, SectionKind::LayerF32(1));
    let linears = linear(48, 16) + linear(16, 16) + linear(32, 16) + linear(16, 32);
    assert_eq!(section.len, linears + 4 * 64);
    assert_eq!(section.kind.to_string(), "layer 1 in f32");

    let mut numbers = Numbers::default();
    numbers.embeddings();
    numbers.layer();
    assert!(bundle.layer(0).int8().is_some() && bundle.layer(0).f32().is_none());
    assert!(bundle.layer(1).int8().is_none());
    let (read, written) = (bundle.layer(1).f32().unwrap(), numbers.layer_f32());
    for (read, written) in [
        (read.qkv, written.qkv),
        (read.attention_out, written.attention_out),
        (read.up, written.up),
        (read.down, written.down),
    ] {
        assert_eq!(read.inputs, written.inputs);
        assert_eq!(read.outputs, written.outputs);
        assert_eq!((read.weights, read.bias), (written.weights, written.bias));
        let LinearF32 {
            inputs,
            outputs,
            weights,
            bias,
        } = read;
        assert!(LinearF32::new(inputs, outputs, weights, bias).is_some());
    }
    assert_eq!(read.output_norm.bias, written.output_norm.bias);
    // What stands behind it is where it was.
    assert_eq!(bundle.head().bias, numbers.head().bias);
    assert_eq!(bundle.training(), example::TRAINING);
}

#[test]
fn version_1_has_no_such_layer_and_version_6_is_not_known() {
    for (version, expected) in [
        (1, OpenError::SectionTable),
        (6, OpenError::FormatVersion(6)),
    ] {
        let bytes = example::mixed().to_bytes().unwrap();
        assert_eq!(open_as(version, &bytes), Err(expected));
    }
}

#[test]
fn a_layer_is_as_long_as_its_kind_asks() {
    // The table says floats, and the section has the length of integers; then the other way round.
    let as_floats = |bytes: &AlignedBytes, from: &[u8], to: &[u8]| {
        let mut file = bytes.to_vec();
        let header = example::header_bytes(bytes).len();
        let table = &mut file[64..64 + header];
        let place = table.windows(2).rposition(|kind| kind == from).unwrap();
        table[place..place + 2].copy_from_slice(to);
        open_as(2, &file)
    };
    let (int8, floats) = ([1, 1], [6, 1]);
    let kind = SectionKind::LayerF32(1);
    let lie = as_floats(&example::bundle(), &int8, &floats);
    assert_eq!(lie, Err(OpenError::SectionLength(kind)));
    let kind = SectionKind::Layer(1);
    let lie = as_floats(&example::mixed().to_bytes().unwrap(), &floats, &int8);
    assert_eq!(lie, Err(OpenError::SectionLength(kind)));
}

#[test]
fn it_comes_in_its_turn() {
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(example::header()).unwrap();
    let (embeddings, layer) = (numbers.embeddings(), numbers.layer_f32());
    let early = writer.layer_f32(&layer).unwrap_err();
    let expected = Some(SectionKind::Embeddings);
    assert!(matches!(early, WriteError::Order { expected: e, .. } if e == expected));
    writer.embeddings(&embeddings).unwrap();
    writer.layer_f32(&layer).unwrap();
    writer.layer_f32(&layer).unwrap();
    let late = writer.layer_f32(&layer).unwrap_err();
    let expected = Some(SectionKind::Head);
    assert!(matches!(late, WriteError::Order { expected: e, .. } if e == expected));
}
