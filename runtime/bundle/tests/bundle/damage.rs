//! Damage of every kind, and bytes at random: found, or without consequence, but never a panic.

use berth_bundle::{AlignedBytes, Bundle, OpenError, VerifyError};

use crate::example::{self, header_bytes, repair};

/// Opens and verifies; a text says what went wrong.
fn check(file: &[u8]) -> Result<(), String> {
    let bundle = Bundle::open(file).map_err(|error| error.to_string())?;
    bundle.verify().map_err(|error| error.to_string())
}

#[test]
fn every_truncation_is_refused_at_open() {
    let whole = example::bundle();
    check(&whole).unwrap();
    for len in 0..whole.len() {
        let found = len as u64;
        let expected = match len {
            0 => OpenError::NotABundle,
            1..64 => OpenError::Cut {
                found,
                expected: 64,
            },
            _ => {
                let expected = whole.len() as u64;
                OpenError::Cut { found, expected }
            }
        };
        assert_eq!(Bundle::open(&whole[..len]).unwrap_err(), expected, "{len}");
    }
}

#[test]
fn every_changed_bit_is_found() {
    let mut file = example::bundle().to_vec();
    for place in 0..file.len() {
        for bit in 0..8 {
            file[place] ^= 1 << bit;
            let copy = AlignedBytes::copy_of(&file);
            assert!(check(&copy).is_err(), "bit {bit} of byte {place}");
            file[place] ^= 1 << bit;
        }
    }
    check(&AlignedBytes::copy_of(&file)).unwrap();
}

#[test]
fn the_verifier_names_the_part_that_was_changed() {
    let whole = example::bundle();
    let spans: Vec<_> = Bundle::open(&whole).unwrap().spans().collect();
    let header_end = 64 + header_bytes(&whole).len();
    for (section, span) in spans {
        for place in [span.start, span.end - 1] {
            let mut file = whole.to_vec();
            file[place as usize] ^= 1;
            let copy = AlignedBytes::copy_of(&file);
            let bundle = Bundle::open(&copy).unwrap();
            assert_eq!(bundle.verify(), Err(VerifyError::Section(section.kind)));
        }
    }
    let mut file = whole.to_vec();
    file[header_end] = 1;
    let copy = AlignedBytes::copy_of(&file);
    assert_eq!(
        Bundle::open(&copy).unwrap().verify(),
        Err(VerifyError::Padding)
    );
}

/// The map is whole, but what is read a second time is not.
#[test]
fn a_second_reading_is_held_against_the_first_in_pieces_of_any_size() {
    let whole = example::bundle();
    let bundle = Bundle::open(&whole).unwrap();
    let read = |file: &[u8], piece: usize| {
        let mut verifier = bundle.verifier();
        for bytes in file.chunks(piece) {
            verifier.update(bytes)?;
        }
        verifier.finish()
    };
    for piece in [1, 7, 64, 1000, whole.len()] {
        assert_eq!(read(&whole, piece), Ok(()));
        assert_eq!(
            read(&whole[..whole.len() - 1], piece),
            Err(VerifyError::Cut)
        );
        let longer = [&*whole, &[0]].concat();
        assert_eq!(read(&longer, piece), Err(VerifyError::Longer));
        for place in (0..whole.len()).step_by(5) {
            let mut file = whole.to_vec();
            file[place] ^= 0x80;
            assert!(read(&file, piece).is_err(), "byte {place}");
        }
    }
    assert_eq!(
        read(&[&[0; 64], &whole[64..]].concat(), 50),
        Err(VerifyError::Header)
    );
    assert_eq!(bundle.verifier().finish(), Err(VerifyError::Cut));
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let whole = example::bundle();
    let expected = whole.len() as u64;
    for extra in [1, 64, 5000] {
        let longer = [&*whole, &vec![0; extra]].concat();
        let found = longer.len() as u64;
        let error = Bundle::open(&AlignedBytes::copy_of(&longer)).unwrap_err();
        assert_eq!(error, OpenError::Longer { found, expected });
    }
}

#[test]
fn bytes_at_a_bad_place_in_memory_are_refused() {
    let whole = example::bundle();
    for shift in 1..64 {
        let moved = [&vec![0; shift], &*whole].concat();
        let moved = AlignedBytes::copy_of(&moved);
        let error = Bundle::open(&moved[shift..]).unwrap_err();
        assert_eq!(error, OpenError::Misaligned);
    }
}

/// A generator of Marsaglia's: the same sequence on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => 0,
            1 => 255,
            2 => 1 << self.below(8),
            _ => self.below(256) as u8,
        }
    }
}

/// Changes the head of the file at random and makes the checksum right again, so that the changes
/// reach everything behind it. What still opens must be usable without a panic.
#[test]
fn whatever_stands_in_a_header_nothing_panics() {
    let whole = example::bundle();
    let head = 64 + header_bytes(&whole).len();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut file = whole.to_vec();
        for _ in 0..1 + random.below(4) {
            // Mostly behind the magic and the two lengths, which are soon told.
            let first = if random.below(10) == 0 { 0 } else { 64 };
            let place = first + random.below(head - first);
            file[place] = random.byte();
        }
        if random.below(8) == 0 {
            let cut = random.below(file.len());
            file.truncate(cut);
        }
        let repairable = file.len() > head && header_fits(&file);
        if repairable {
            repair(&mut file);
        }
        let copy = AlignedBytes::copy_of(&file);
        match Bundle::open(&copy) {
            Ok(bundle) => {
                opened += 1;
                use_all(&bundle);
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'));
            }
        }
    }
    // Names and metrics may hold anything, so a good part must open; a good part must not.
    assert!(opened > 10_000 && refused > 10_000, "{opened} {refused}");
}

fn header_fits(file: &[u8]) -> bool {
    64 + example::u32_at(file, 12) as usize <= file.len()
}

/// Walks over everything that a view gives.
fn use_all(bundle: &Bundle<'_>) {
    let _ = bundle.verify();
    let shape = bundle.header().shape;
    let hidden = shape.hidden as usize;
    let embeddings = bundle.embeddings();
    assert_eq!(embeddings.word.len(), shape.vocab_size as usize * hidden);
    assert_eq!(embeddings.norm.bias.len(), hidden);
    for index in 0..shape.layers as usize {
        let layer = bundle.layer(index).int8().unwrap();
        assert_eq!(layer.qkv.weights.len(), 3 * hidden * hidden);
        assert_eq!(layer.output_norm.bias.len(), hidden);
    }
    assert_eq!(bundle.head().bias.len(), shape.outputs as usize);
    let _ = (bundle.tokenizer(), bundle.training());
}
