//! The section that may be left out: inputs with known answers, from version 2 on.

use berth_bundle::{
    AlignedBytes, Bundle, Golden, OpenError, SectionKind, SelftestError, WriteError, logits_crc,
};

use crate::example::{self, crc32c, header_bytes, repair, u32_at};

const INPUTS: [Golden<'static>; 3] = [
    Golden {
        ids: &[2],
        second: 1,
        crc: 7,
    },
    Golden {
        ids: &[2, 12, 3, 5, 3],
        second: 3,
        crc: u32::MAX,
    },
    Golden {
        ids: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        second: 9,
        crc: 0,
    },
];

fn bundle() -> AlignedBytes {
    let mut writer = example::writer();
    writer.selftest(&INPUTS).unwrap();
    writer.to_bytes().unwrap()
}

/// Ids, where the second text begins, checksum.
type Input = (Vec<u32>, u32, u32);

/// The inputs of a bundle that opens.
fn inputs(file: &[u8]) -> Vec<Result<Input, SelftestError>> {
    let file = AlignedBytes::copy_of(file);
    let bundle = Bundle::open(&file).unwrap();
    let inputs = bundle.selftest().expect("a section of inputs");
    inputs
        .map(|input| input.map(|golden| (golden.ids.to_vec(), golden.second, golden.crc)))
        .collect()
}

#[test]
fn inputs_come_back_as_they_were_written() {
    let file = bundle();
    Bundle::open(&file).unwrap().verify().unwrap();
    assert_eq!(u32_at(&file, 8), 2, "what version 1 has not is version 2");
    let written = INPUTS.map(|golden| Ok((golden.ids.to_vec(), golden.second, golden.crc)));
    assert_eq!(inputs(&file), written);
}

#[test]
fn a_bundle_without_them_stays_version_1() {
    let file = example::bundle();
    assert_eq!(u32_at(&file, 8), 1);
    assert!(Bundle::open(&file).unwrap().selftest().is_none());
}

#[test]
fn they_stand_behind_all_others_and_once() {
    let mut early = berth_bundle::Writer::new(example::header()).unwrap();
    let turn = early.selftest(&INPUTS).unwrap_err();
    assert!(matches!(
        turn,
        WriteError::Order {
            expected: Some(SectionKind::Embeddings),
            ..
        }
    ));
    let mut writer = example::writer();
    writer.selftest(&INPUTS).unwrap();
    let again = writer.selftest(&INPUTS).unwrap_err();
    assert!(matches!(again, WriteError::Order { expected: None, .. }));
}

#[test]
fn version_1_has_no_such_section() {
    let mut file = bundle().to_vec();
    file[8..12].copy_from_slice(&1u32.to_le_bytes());
    repair(&mut file);
    let error = Bundle::open(&AlignedBytes::copy_of(&file)).map(drop);
    assert_eq!(error, Err(OpenError::SectionTable));
}

/// Version 2 has nothing that version 1 lacks but the section.
#[test]
fn version_2_may_do_without() {
    let mut file = example::bundle().to_vec();
    file[8..12].copy_from_slice(&2u32.to_le_bytes());
    repair(&mut file);
    let file = AlignedBytes::copy_of(&file);
    assert!(Bundle::open(&file).unwrap().selftest().is_none());
}

#[test]
fn two_of_them_or_one_in_the_middle_are_refused() {
    let whole = bundle();
    let header = Bundle::open(&whole).unwrap().header().clone();
    let refused = |header: &berth_bundle::Header| {
        let bytes = postcard::to_stdvec(header).unwrap();
        let mut file = vec![0; 64 + bytes.len()];
        file[..64].copy_from_slice(&whole[..64]);
        file[12..16].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        file[64..].copy_from_slice(&bytes);
        let len = file.len() as u64;
        file[16..24].copy_from_slice(&len.to_le_bytes());
        repair(&mut file);
        Bundle::open(&AlignedBytes::copy_of(&file)).map(drop)
    };
    let mut twice = header.clone();
    twice.sections.push(twice.sections[6]).unwrap();
    assert_eq!(refused(&twice), Err(OpenError::SectionTable));
    let mut swapped = header;
    swapped.sections.swap(5, 6);
    assert_eq!(refused(&swapped), Err(OpenError::SectionTable));
    assert_eq!(header_bytes(&whole).len(), u32_at(&whole, 12) as usize);
}

#[test]
fn numbers_that_are_no_inputs_end_the_walk_with_an_error() {
    let whole = bundle();
    let start = {
        let bundle = Bundle::open(&whole).unwrap();
        bundle.spans().last().unwrap().1.start as usize
    };
    let second = start + 4 * 4;
    for (tokens, read) in [(0u32, 1), (18, 1), (u32::MAX, 1), (15, 2), (4, 4)] {
        let mut file = whole.to_vec();
        file[second..second + 4].copy_from_slice(&tokens.to_le_bytes());
        let found = inputs(&file);
        assert_eq!(found.len(), read + 1, "{tokens}");
        assert_eq!(found[read], Err(SelftestError), "{tokens}");
    }
}

#[test]
fn the_checksum_of_logits_is_that_of_the_format() {
    let logits = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, -7.25];
    let bytes: Vec<u8> = logits.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    assert_eq!(logits_crc(&logits), crc32c(&bytes));
    assert_ne!(logits_crc(&[0.0]), logits_crc(&[-0.0]));
}
