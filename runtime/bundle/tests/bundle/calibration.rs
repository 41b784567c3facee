//! The temperature, what was measured with it, and the card: what version 3 of the format brought.

use std::fs;
use std::path::PathBuf;

use berth_bundle::{
    AlignedBytes, Bundle, Calibration, Golden, MAX_CARD_BYTES, MAX_THRESHOLDS, OpenError,
    SectionKind, Threshold, WriteError, Writer,
};
use berth_task::Temperature;

use crate::example::{self, crc32c, header_bytes, repair, u32_at};

const CARD: &str = "# tiny\n\nLearnt from nothing; für Tests.\n";

const INPUT: Golden<'static> = Golden {
    ids: &[2, 3],
    second: 2,
    crc: 5,
};

fn calibration() -> Calibration {
    let threshold = |(min_score, answered, right)| Threshold {
        min_score,
        answered,
        right,
    };
    let thresholds = [(0.5, 900, 800), (0.875, 400, 390), (1.0, 0, 0)];
    Calibration {
        temperature: 1.75,
        answers: 1000,
        error_before: 0.125,
        error_after: 0.03125,
        error_held_out: 0.0625,
        thresholds: thresholds.into_iter().map(threshold).collect(),
    }
}

/// A writer with everything that version 3 knows of.
fn writer() -> Writer {
    let mut writer = example::writer();
    writer.selftest(&[INPUT]).unwrap();
    writer.card(CARD).unwrap();
    writer.set_calibration(Some(calibration())).unwrap();
    writer
}

/// What opening says to the bundle whose calibration was changed.
fn with(edit: impl FnOnce(&mut Calibration)) -> Result<(), OpenError> {
    let mut changed = calibration();
    edit(&mut changed);
    let whole = writer().to_bytes().unwrap();
    let sound = postcard::to_stdvec(&Some(calibration())).unwrap();
    let header = header_bytes(&whole);
    let before = &header[..header.len() - sound.len()];
    let lie = postcard::to_stdvec(&Some(changed)).unwrap();
    open(&with_header(&whole, &[before, &lie].concat()))
}

fn open(file: &[u8]) -> Result<(), OpenError> {
    Bundle::open(&AlignedBytes::copy_of(file)).map(drop)
}

/// The file with another header in front of its sections, and a prefix that fits.
fn with_header(whole: &[u8], header: &[u8]) -> Vec<u8> {
    let sections = (64 + header_bytes(whole).len()).next_multiple_of(64);
    let mut file = whole[..64].to_vec();
    file.extend_from_slice(header);
    file.resize(file.len().next_multiple_of(64), 0);
    file.extend_from_slice(&whole[sections..]);
    file[12..16].copy_from_slice(&(header.len() as u32).to_le_bytes());
    let len = file.len() as u64;
    file[16..24].copy_from_slice(&len.to_le_bytes());
    repair(&mut file);
    file
}

#[test]
fn the_writer_writes_the_golden_bytes() {
    let here = env!("CARGO_MANIFEST_DIR");
    let path = PathBuf::from(here).join("../../tests/golden/bundle/calibrated.berth");
    let written = writer().to_bytes().unwrap();
    if std::env::var_os("BERTH_WRITE_GOLDEN").is_some() {
        fs::write(&path, &*written).unwrap();
    }
    assert_eq!(fs::read(path).unwrap(), *written);
}

/// Taken apart by hand, with nothing of the crate but the numbers that `FORMAT.md` gives.
#[test]
fn the_bytes_lie_where_the_specification_says() {
    let file = writer().to_bytes().unwrap();
    assert_eq!(u32_at(&file, 8), 3);
    let mut expected = vec![1];
    expected.extend(1.75f32.to_le_bytes());
    expected.extend([0xe8, 0x07]);
    for error in [0.125f32, 0.03125, 0.0625] {
        expected.extend(error.to_le_bytes());
    }
    expected.push(3);
    expected.extend(0.5f32.to_le_bytes());
    expected.extend([0x84, 0x07, 0xa0, 0x06]);
    expected.extend(0.875f32.to_le_bytes());
    expected.extend([0x90, 0x03, 0x86, 0x03]);
    expected.extend(1f32.to_le_bytes());
    expected.extend([0, 0]);
    assert!(header_bytes(&file).ends_with(&expected));
    assert!(file.ends_with(CARD.as_bytes()));
    let crc = crc32c(CARD.as_bytes());
    let card = Bundle::open(&file).unwrap().header().sections[7];
    assert_eq!((card.kind, card.crc), (SectionKind::Card, crc));
    assert_eq!(postcard::to_stdvec(&card.kind).unwrap(), [7]);
}

#[test]
fn what_was_written_is_read() {
    let file = writer().to_bytes().unwrap();
    let bundle = Bundle::open(&file).unwrap();
    bundle.verify().unwrap();
    assert_eq!(bundle.header(), writer().header());
    assert_eq!(bundle.header().calibration, Some(calibration()));
    assert_eq!(bundle.header().temperature().get(), 1.75);
    assert_eq!(bundle.card(), CARD.as_bytes());
    assert_eq!(bundle.selftest().unwrap().count(), 1);

    let [half, .., none] = &calibration().thresholds[..] else {
        panic!("three of them")
    };
    assert_eq!(half.precision(), Some(800.0 / 900.0));
    assert_eq!(half.coverage(1000), 0.9);
    assert_eq!((none.precision(), none.coverage(0)), (None, 0.0));
}

#[test]
fn each_comes_without_the_others_and_older_bundles_have_neither() {
    let mut card = example::mixed();
    card.card(CARD).unwrap();
    let file = card.to_bytes().unwrap();
    let bundle = Bundle::open(&file).unwrap();
    assert_eq!(u32_at(&file, 8), 3);
    assert_eq!(header_bytes(&file).last(), Some(&0));
    assert_eq!(bundle.header().calibration, None);
    assert_eq!(bundle.header().temperature(), Temperature::ONE);
    assert!(bundle.selftest().is_none() && bundle.layer(1).f32().is_some());

    let mut calibrated = example::writer();
    calibrated.set_calibration(Some(calibration())).unwrap();
    let file = calibrated.to_bytes().unwrap();
    assert_eq!(u32_at(&file, 8), 3);
    assert_eq!(Bundle::open(&file).unwrap().card(), b"");
    calibrated.set_calibration(None).unwrap();
    assert_eq!(*calibrated.to_bytes().unwrap(), *example::bundle());

    let file = example::bundle();
    let old = Bundle::open(&file).unwrap();
    assert_eq!(old.header().temperature(), Temperature::ONE);
    assert_eq!(
        (old.header().calibration.as_ref(), old.card()),
        (None, &b""[..])
    );
}

#[test]
fn older_versions_know_of_neither() {
    for version in [1u8, 2] {
        let mut file = writer().to_bytes().unwrap().to_vec();
        file[8] = version;
        repair(&mut file);
        assert_eq!(open(&file), Err(OpenError::HeaderTail));
        let bare =
            header_bytes(&file).len() - postcard::to_stdvec(&Some(calibration())).unwrap().len();
        let bare = header_bytes(&file)[..bare].to_vec();
        let bare = with_header(&file, &bare);
        assert_eq!(open(&bare), Err(OpenError::SectionTable));
    }
}

#[test]
fn a_calibration_that_can_not_be_is_refused() {
    assert_eq!(with(|_| ()), Ok(()));
    for value in [0.01, 100.0] {
        assert_eq!(with(|lie| lie.temperature = value), Ok(()));
    }
    let refused = Err(OpenError::Calibration);
    for value in [0.0, -1.0, 0.009, 101.0, f32::NAN, f32::INFINITY] {
        assert_eq!(with(|lie| lie.temperature = value), refused, "{value}");
    }
    assert_eq!(with(|lie| lie.error_before = 1.5), refused);
    assert_eq!(with(|lie| lie.error_after = -0.1), refused);
    assert_eq!(with(|lie| lie.error_held_out = f32::NAN), refused);
    assert_eq!(with(|lie| lie.answers = 899), refused);
    assert_eq!(with(|lie| lie.thresholds[0].right = 901), refused);
    assert_eq!(with(|lie| lie.thresholds[0].min_score = 1.1), refused);
    let error = OpenError::Calibration.to_string();
    assert!(
        error.contains("temperature") && !error.contains('\n'),
        "{error}"
    );

    let mut writer = writer();
    let mut lie = calibration();
    lie.temperature = 0.0;
    let lie = writer.set_calibration(Some(lie)).unwrap_err();
    assert!(matches!(lie, WriteError::Refused(OpenError::Calibration)));
    assert_eq!(writer.header().calibration, Some(calibration()));
}

#[test]
fn more_thresholds_than_there_can_be_are_not_decoded() {
    let whole = writer().to_bytes().unwrap();
    let sound = postcard::to_stdvec(&Some(calibration())).unwrap();
    let header = header_bytes(&whole);
    let before = &header[..header.len() - sound.len()];
    let with = |count: usize| {
        let thresholds = vec![(0.5f32, 1u32, 1u32); count];
        let lie = Some((1f32, 9u32, 0f32, 0f32, 0f32, thresholds));
        let lie = postcard::to_stdvec(&lie).unwrap();
        open(&with_header(&whole, &[before, &lie].concat()))
    };
    assert_eq!(with(MAX_THRESHOLDS), Ok(()));
    assert_eq!(with(MAX_THRESHOLDS + 1), Err(OpenError::HeaderEncoding));
}

#[test]
fn a_card_stands_last_and_once_and_is_bounded() {
    let again = writer().card(CARD).unwrap_err();
    assert!(matches!(again, WriteError::Order { expected: None, .. }));
    let behind = writer().selftest(&[INPUT]).unwrap_err();
    assert!(matches!(behind, WriteError::Order { expected: None, .. }));

    let longest = "c".repeat(MAX_CARD_BYTES);
    let mut writer = example::writer();
    let longer = writer.card(&format!("{longest}c")).unwrap_err();
    assert!(matches!(longer, WriteError::Card(16_385)), "{longer}");
    writer.card(&longest).unwrap();
    let file = writer.to_bytes().unwrap();
    assert_eq!(Bundle::open(&file).unwrap().card(), longest.as_bytes());

    // The same with one byte more than there may be, which no writer writes.
    let mut header = Bundle::open(&file).unwrap().header().clone();
    header.sections.last_mut().unwrap().len += 1;
    let mut lie = with_header(&file, &header.encode());
    lie.push(b'c');
    let len = lie.len() as u64;
    lie[16..24].copy_from_slice(&len.to_le_bytes());
    repair(&mut lie);
    let refused = OpenError::SectionLength(SectionKind::Card);
    assert_eq!(open(&lie), Err(refused));
}
