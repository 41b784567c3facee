//! Labels that are decided one by one: the section that says so.

use berth_bundle::{
    AlignedBytes, Bundle, Calibration, Golden, Header, OpenError, SectionKind, WriteError, Writer,
};
use berth_task::Task;
use heapless::Vec;

use crate::example::{self, crc32c, header_bytes, repair, u32_at};

fn writer() -> Writer {
    let mut writer = example::writer();
    let ids = &[2, 3];
    let golden = Golden {
        ids,
        second: 2,
        crc: 5,
    };
    writer.decisions().unwrap();
    writer.selftest(&[golden]).unwrap();
    writer
}

#[test]
fn what_was_written_is_read() {
    let mut writer = writer();
    writer.card("a card").unwrap();
    let file = writer.to_bytes().unwrap();
    assert_eq!(u32_at(&file, 8), 4);
    let mut older = file.to_vec();
    older[8] = 3;
    repair(&mut older);
    let refused = Bundle::open(&AlignedBytes::copy_of(&older)).map(drop);
    assert_eq!(refused, Err(OpenError::SectionTable));
    let bundle = Bundle::open(&file).unwrap();
    bundle.verify().unwrap();
    assert_eq!(bundle.decisions(), Some(&[0.5, 0.5][..]));
    assert_eq!(
        (bundle.card(), bundle.selftest().unwrap().count()),
        (&b"a card"[..], 1)
    );
    let section = bundle.header().sections[6];
    assert_eq!((section.kind, section.len), (SectionKind::Decisions, 8));
    assert_eq!(section.kind.to_string(), "decisions");
    assert_eq!(postcard::to_stdvec(&section.kind).unwrap(), [9]);
    assert_eq!(Bundle::open(&example::bundle()).unwrap().decisions(), None);
}

#[test]
fn only_labels_are_decided_and_once() {
    let mut writer = writer();
    assert!(matches!(
        writer.decisions(),
        Err(WriteError::Order { expected: None, .. })
    ));
    let mut fresh = example::writer();
    fresh.card("a card").unwrap();
    assert!(matches!(
        fresh.decisions(),
        Err(WriteError::Order { expected: None, .. })
    ));

    let mut header = example::header();
    header.task = Task::TokenClassification;
    let mut tags = Writer::new(header).unwrap();
    assert!(matches!(
        tags.decisions(),
        Err(WriteError::Refused(OpenError::SectionTable))
    ));

    let refuse = |edit: fn(&mut Header)| {
        let file = self::writer().to_bytes().unwrap();
        let mut header = Bundle::open(&file).unwrap().header().clone();
        edit(&mut header);
        let encoded = header.encode();
        let mut lie = file.to_vec();
        assert_eq!(encoded.len(), header_bytes(&file).len());
        lie[64..64 + encoded.len()].copy_from_slice(&encoded);
        repair(&mut lie);
        Bundle::open(&AlignedBytes::copy_of(&lie)).map(drop)
    };
    assert_eq!(refuse(|_| ()), Ok(()));
    assert_eq!(
        refuse(|lie| lie.task = Task::TextPairClassification),
        Ok(())
    );
    // A head for tags has no pooler, and so another length too; the table comes first.
    let refused = refuse(|lie| lie.task = Task::TokenClassification);
    assert_eq!(refused, Err(OpenError::SectionTable));
    let refused = refuse(|lie| lie.sections[6].len = 4);
    assert_eq!(
        refused,
        Err(OpenError::SectionLength(SectionKind::Decisions))
    );
}

/// Whoever tuned the numbers of a file would not get what they asked for.
#[test]
fn other_scores_than_one_half_and_a_temperature_beside_them_are_refused() {
    let file = writer().to_bytes().unwrap();
    let bundle = Bundle::open(&file).unwrap();
    let (_, span) = bundle.spans().nth(6).unwrap();
    let mut tuned = file.to_vec();
    tuned[span.start as usize..][..4].copy_from_slice(&0.9f32.to_le_bytes());
    let refused = Bundle::open(&AlignedBytes::copy_of(&tuned)).map(drop);
    assert_eq!(refused, Err(OpenError::DecisionsChecksum));
    let mut header = bundle.header().clone();
    header.sections[6].crc = crc32c(&tuned[span.start as usize..span.end as usize]);
    let encoded = header.encode();
    assert_eq!(encoded.len(), header_bytes(&file).len());
    tuned[64..64 + encoded.len()].copy_from_slice(&encoded);
    repair(&mut tuned);
    let refused = Bundle::open(&AlignedBytes::copy_of(&tuned)).map(drop);
    assert_eq!(refused, Err(OpenError::Decisions));

    let calibration = |temperature| {
        Some(Calibration {
            temperature,
            answers: 0,
            error_before: 0.0,
            error_after: 0.0,
            error_held_out: 0.0,
            thresholds: Vec::new(),
        })
    };
    let mut writer = writer();
    writer.set_calibration(calibration(1.0)).unwrap();
    let refused = writer.set_calibration(calibration(2.0)).unwrap_err();
    assert!(matches!(
        refused,
        WriteError::Refused(OpenError::Calibration)
    ));
    let mut header = example::header();
    header.calibration = calibration(2.0);
    let mut before = example::writer_of(header);
    before.decisions().unwrap();
    assert!(matches!(
        before.to_bytes(),
        Err(WriteError::Refused(OpenError::Calibration))
    ));
}
