//! From flash and a text to lines.

use core::fmt::Write;

use berth_bundle::{Bundle, OpenError, logits_crc};
use berth_task::{Task, classify, classify_each};

use crate::error::{Check, Failed};
use crate::memory::Memory;

/// Opens and verifies the bundle at the beginning of `flash`, which may be longer: a device's memory ends
/// where it ends.
///
/// # Errors
/// [`Failed::Open`] and [`Failed::Damaged`].
pub fn open(flash: &[u8]) -> Result<Bundle<'_>, Failed> {
    let bundle = match Bundle::open(flash) {
        Err(OpenError::Longer { expected, .. }) => Bundle::open(&flash[..expected as usize]),
        opened => opened,
    };
    let bundle = bundle.map_err(Failed::Open)?;
    bundle.verify().map_err(Failed::Damaged)?;
    Ok(bundle)
}

/// Classifies `text`, and prints a line for each label, the best first: its name, its score, and the bits of
/// its logit.
///
/// ```text
/// positive 0.94956917 40216d08
/// negative 0.05043078 c00917dc
/// ```
///
/// A text that has more pieces than the memory or the model allows for is cut, and a line before the others
/// says so.
///
/// # Errors
/// When the model does not classify texts, when it needs more memory, when its tables are not sound, or when
/// `out` takes nothing.
pub fn answer<const TOKENS: usize, const SCRATCH: usize>(
    bundle: &Bundle<'_>,
    text: &str,
    memory: &mut Memory<TOKENS, SCRATCH>,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let header = bundle.header();
    if header.task != Task::TextClassification {
        return Err(Failed::Task(header.task));
    }
    let encoding = memory.encode(bundle, text)?;
    if encoding.truncated > 0 {
        writeln!(out, "the last {} pieces were cut", encoding.truncated)?;
    }
    let logits = memory.forward(bundle, encoding.len, encoding.second)?;
    let mut scores = Default::default();
    match bundle.decisions() {
        Some(_) => classify_each(logits, &mut scores),
        None => classify(logits, header.temperature(), &mut scores),
    }
    for score in &scores {
        let label = usize::from(score.label);
        let name = header.labels.get(label).unwrap_or_default();
        let bits = logits[label].to_bits();
        writeln!(out, "{name} {} {bits:08x}", score.score)?;
    }
    Ok(())
}

/// Asks the inputs with known answers that the bundle carries; none where it has none.
///
/// # Errors
/// [`Failed::Differs`] where this machine does not compute the workstation's bits; else as [`answer`].
pub fn selftest<const TOKENS: usize, const SCRATCH: usize>(
    bundle: &Bundle<'_>,
    memory: &mut Memory<TOKENS, SCRATCH>,
) -> Result<Check, Failed> {
    let mut check = Check::default();
    for golden in bundle.selftest().into_iter().flatten() {
        let golden = golden.map_err(Failed::Selftest)?;
        if memory.take(golden.ids).is_none() {
            check.longer += 1;
            continue;
        }
        let logits = memory.forward(bundle, golden.ids.len(), golden.second as usize)?;
        match logits_crc(logits) == golden.crc {
            true => check.same += 1,
            false => check.differ += 1,
        }
    }
    if check.differ > 0 {
        return Err(Failed::Differs(check));
    }
    Ok(check)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::string::String;
    use std::sync::Mutex;

    use berth_bundle::AlignedBytes;

    use super::*;

    /// The shipped classifier.
    fn sentiment() -> AlignedBytes {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/sentiment/sentiment.berth"
        );
        AlignedBytes::copy_of(&fs::read(path).expect("the shipped bundle"))
    }

    #[test]
    fn the_shipped_bundle_answers_with_known_bits_in_memory_for_sixteen_pieces() {
        static MEMORY: Mutex<Memory<16, 0x4_0000>> = Mutex::new(Memory::new());
        let memory = &mut *MEMORY.lock().expect("one test");
        let bytes = sentiment();
        let bundle = open(&bytes).expect("a bundle");
        let mut lines = String::new();
        answer(&bundle, "a gripping film", memory, &mut lines).expect("an answer");
        let names: std::vec::Vec<_> = lines.split_whitespace().step_by(3).collect();
        assert_eq!(names, ["positive", "negative"], "{lines}");
        let check = Check {
            same: 3,
            differ: 0,
            longer: 3,
        };
        assert_eq!(selftest(&bundle, memory), Ok(check));

        lines.clear();
        let long = "a gripping film ".repeat(10);
        answer(&bundle, &long, memory, &mut lines).expect("an answer");
        assert!(
            lines.starts_with("the last 16 pieces were cut\n"),
            "{lines}"
        );
    }

    #[test]
    fn too_little_memory_is_told() {
        static MEMORY: Mutex<Memory<16, 0x1000>> = Mutex::new(Memory::new());
        let memory = &mut *MEMORY.lock().expect("one test");
        let bytes = sentiment();
        let bundle = open(&bytes).expect("a bundle");
        let told = answer(&bundle, "a gripping film", memory, &mut String::new());
        let fits = |needed| needed > 0x1000 && needed < 0x4_0000;
        assert!(
            matches!(told, Err(Failed::Scratch { needed, there: 0x1000 }) if fits(needed)),
            "{told:?}"
        );
    }

    #[test]
    fn flash_may_be_longer_than_the_bundle_and_damage_and_emptiness_are_told() {
        let mut flash = sentiment().to_vec();
        let len = flash.len();
        flash.resize(len + 4096, 0xff);
        let whole = AlignedBytes::copy_of(&flash);
        let opened = open(&whole).map(|bundle| bundle.file_len());
        assert_eq!(opened, Ok(len));
        flash[len - 1] ^= 1;
        let damaged = AlignedBytes::copy_of(&flash);
        assert!(matches!(open(&damaged).err(), Some(Failed::Damaged(_))));
        let empty = AlignedBytes::copy_of(&[0xff; 4096]);
        let error = open(&empty).err();
        assert_eq!(error, Some(Failed::Open(OpenError::NotABundle)));
    }
}
