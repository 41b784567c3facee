//! The whole network against the kernels' oracle, on every instruction set of this machine.

#[path = "../../../kernels/tests/kernels/input.rs"]
#[allow(dead_code)]
mod input;
mod model;
#[path = "../../../kernels/tests/kernels/oracle.rs"]
#[allow(dead_code)]
mod oracle;

use berth_bundle::Bundle;
use berth_encoder::{
    Encoder, ForwardError, MAX_THREADS, Rows, Scratch, Team, scratch_bytes, scratch_bytes_for,
};
use berth_kernels::{Isa, NUMERICS_VERSION};
use berth_task::Task;

use input::Random;
use model::{Model, POSITIONS, VOCABULARY};

/// One task whose head reads the first row, and one whose head reads all.
const TASKS: [Task; 2] = [Task::TextPairClassification, Task::TokenClassification];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn ids(random: &mut Random, tokens: usize) -> Vec<u32> {
    let id = |_| (random.bits() % VOCABULARY as u64) as u32;
    (0..tokens).map(id).collect()
}

/// Full of what an earlier query might have left.
fn dirty_memory(bundle: &Bundle<'_>, tokens: usize) -> Vec<u8> {
    vec![0xa5; scratch_bytes(bundle.header(), tokens)]
}

fn forward(bundle: &Bundle<'_>, isa: Isa, ids: &[u32], second: usize) -> Vec<f32> {
    let header = bundle.header();
    let mut memory = dirty_memory(bundle, ids.len());
    let mut scratch = Scratch::carve(&mut memory, header, ids.len()).unwrap();
    let mut logits = vec![f32::NAN; header.logits(ids.len())];
    let encoder = Encoder::new(bundle, isa);
    encoder
        .forward(ids, second, &mut scratch, &mut logits)
        .unwrap();
    logits
}

/// Holds what every instruction set computes of inputs of these lengths against the oracle, to the bit; where the
/// second text begins is drawn, or is the middle.
fn oracles_bits(model: &Model, random: &mut Random, lengths: &[usize], drawn: bool, what: &str) {
    let bytes = model.bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    for &tokens in lengths {
        let ids = ids(random, tokens);
        let second = match drawn {
            true => random.size(tokens + 1) - 1,
            false => tokens / 2,
        };
        let expected = model.forward(&ids, second);
        for isa in Isa::available() {
            let found = forward(&bundle, isa, &ids, second);
            let what = format!("{what}, {tokens} tokens, {}", isa.tier());
            assert_eq!(bits(&found), bits(&expected), "{what}");
        }
    }
}

#[test]
fn every_instruction_set_computes_what_the_oracle_computes() {
    let mut random = Random(50);
    let lengths = [1, 2, 3, 7, 16, 17, 33, 64, 65, 95, 96, 97, POSITIONS];
    for task in TASKS {
        let model = Model::random(&mut random, task);
        oracles_bits(&model, &mut random, &lengths, true, &task.to_string());
    }
}

#[test]
fn sizes_that_fill_no_whole_vectors_have_the_oracles_bits_on_every_instruction_set() {
    let mut random = Random(60);
    let lengths = [1, 2, 7, 16, 33, 64, 65, 97, POSITIONS];
    for task in TASKS {
        for f32_layers in [&[][..], &[1]] {
            let model = Model::partial(&mut random, task, f32_layers);
            let what = format!("{task}, {f32_layers:?}");
            oracles_bits(&model, &mut random, &lengths, false, &what);
        }
    }
}

/// A hash of bits (FNV-1a).
fn hash(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Should this fail on some machine, then that machine computes another arithmetic; should it fail
/// on all after a change, then the change asks for a new version of the numerics.
#[test]
fn version_2_of_the_numerics_has_these_very_bits() {
    assert_eq!(NUMERICS_VERSION, 2);
    let mut random = Random(49);
    let of_both_lengths = [
        [0x59d1_ece0_dbab_c7b3, 0x01fb_1144_ec22_640b],
        [0x8a66_14b7_40a9_c610, 0xc9ed_092f_5e65_0554],
    ];
    for (task, expected) in TASKS.into_iter().zip(of_both_lengths) {
        let bytes = Model::random(&mut random, task).bundle();
        let bundle = Bundle::open(&bytes).unwrap();
        let ids = ids(&mut random, 101);
        for isa in Isa::available() {
            let found = [101, 64].map(|tokens| hash(&forward(&bundle, isa, &ids[..tokens], 60)));
            assert_eq!(found, expected, "{task}, {}: {found:#x?}", isa.tier());
        }
    }
}

/// The layers of a model of two that may run in floats.
const MIXED: [&[usize]; 3] = [&[0], &[1], &[0, 1]];

#[test]
fn layers_in_floats_have_the_oracles_bits_on_every_instruction_set() {
    let mut random = Random(57);
    let lengths = [1, 2, 7, 16, 17, 33, 64, 65, 97, POSITIONS];
    for task in TASKS {
        for f32_layers in MIXED {
            let model = Model::mixed(&mut random, task, f32_layers);
            let bytes = model.bundle();
            let bundle = Bundle::open(&bytes).unwrap();
            assert!(bundle.header().f32_layers().eq(f32_layers.iter().copied()));
            let what = format!("{task}, {f32_layers:?}");
            oracles_bits(&model, &mut random, &lengths, false, &what);
        }
    }
}

#[test]
fn version_2_of_the_numerics_has_these_very_bits_in_floats_too() {
    let mut random = Random(58);
    let bytes = Model::mixed(&mut random, TASKS[1], &[1]).bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let ids = ids(&mut random, 101);
    for isa in Isa::available() {
        let found = hash(&forward(&bundle, isa, &ids, 60));
        assert_eq!(found, 0xa4a9_89bf_b364_1763, "{}: {found:#x}", isa.tier());
    }
}

#[test]
fn the_first_row_alone_is_the_first_of_all() {
    let mut random = Random(51);
    for f32_layers in [&[][..], &[1]] {
        first_row_is_the_first_of_all(&Model::mixed(&mut random, TASKS[0], f32_layers));
    }
}

fn first_row_is_the_first_of_all(model: &Model) {
    let mut random = Random(59);
    let bytes = model.bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let width = bundle.header().shape.width() as usize;
    for isa in Isa::available() {
        let encoder = Encoder::new(&bundle, isa);
        assert_eq!(encoder.isa(), isa);
        let rows: Vec<Rows> = (0..3).map(|layer| encoder.rows(layer)).collect();
        assert_eq!(rows, [Rows::All, Rows::First, Rows::All]);
        assert_eq!(encoder.rows(usize::MAX), Rows::All);
        for tokens in [1, 5, 40, 100] {
            let mut memory = dirty_memory(&bundle, tokens);
            let mut scratch = Scratch::carve(&mut memory, bundle.header(), tokens).unwrap();
            let mut all = random.floats(tokens * width, 2.0);
            let mut first = all.clone();
            encoder.layer(1, Rows::All, &mut all, &mut scratch);
            encoder.layer(1, Rows::First, &mut first, &mut scratch);
            assert_eq!(bits(&all[..width]), bits(&first[..width]));
        }
    }
}

#[test]
fn a_longer_scratch_and_an_earlier_query_change_nothing() {
    let mut random = Random(52);
    for task in TASKS {
        let bytes = Model::random(&mut random, task).bundle();
        let bundle = Bundle::open(&bytes).unwrap();
        let encoder = Encoder::new(&bundle, Isa::best());
        let mut memory = dirty_memory(&bundle, POSITIONS);
        let mut scratch = Scratch::carve(&mut memory, bundle.header(), POSITIONS).unwrap();
        for tokens in [POSITIONS, 1, 30, 2, 99] {
            let ids = ids(&mut random, tokens);
            let expected = forward(&bundle, Isa::best(), &ids, tokens);
            let mut logits = vec![f32::NAN; expected.len()];
            encoder
                .forward(&ids, tokens, &mut scratch, &mut logits)
                .unwrap();
            assert_eq!(bits(&logits), bits(&expected), "{task}, {tokens} tokens");
        }
    }
}

/// A thread started for every part.
struct Threads(usize);

// SAFETY: every part is asked for once, and the scope ends when all threads have.
unsafe impl Team for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        assert!(parts <= self.0);
        std::thread::scope(|scope| {
            for part in 0..parts {
                scope.spawn(move || work(part));
            }
        });
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut random = Random(56);
    for (task, f32_layers) in [(TASKS[0], &[][..]), (TASKS[1], &[]), (TASKS[1], &[0])] {
        let bytes = Model::mixed(&mut random, task, f32_layers).bundle();
        let bundle = Bundle::open(&bytes).unwrap();
        let encoder = Encoder::new(&bundle, Isa::best());
        for tokens in [1, 2, 5, 33, 65, POSITIONS] {
            let ids = ids(&mut random, tokens);
            let expected = forward(&bundle, Isa::best(), &ids, tokens);
            for threads in [1, 2, 3, 4, MAX_THREADS] {
                let mut memory = vec![0xa5; scratch_bytes_for(bundle.header(), tokens, threads)];
                let team = Threads(threads);
                let scratch = Scratch::carve_for(&mut memory, bundle.header(), tokens, &team);
                let mut logits = vec![f32::NAN; expected.len()];
                let (mut scratch, second) = (scratch.unwrap(), tokens);
                let ran = encoder.forward(&ids, second, &mut scratch, &mut logits);
                assert_eq!(ran, Ok(()));
                let what = format!("{task}, {tokens} tokens, {threads} threads");
                assert_eq!(bits(&logits), bits(&expected), "{what}");
            }
        }
    }
}

#[test]
fn inputs_that_have_no_output_are_named_and_leave_the_scratch_whole() {
    let mut random = Random(53);
    let bytes = Model::random(&mut random, TASKS[0]).bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let encoder = Encoder::new(&bundle, Isa::best());
    let mut memory = dirty_memory(&bundle, POSITIONS + 1);
    let mut logits = [0.0; 3];

    let mut scratch = Scratch::carve(&mut memory, bundle.header(), POSITIONS + 1).unwrap();
    let mut error = |ids: &[u32], second| {
        encoder
            .forward(ids, second, &mut scratch, &mut logits)
            .unwrap_err()
    };
    assert_eq!(error(&[], 0), ForwardError::NoTokens);
    let (tokens, most) = (POSITIONS + 1, POSITIONS);
    let too_many = ForwardError::TooManyTokens { tokens, most };
    assert_eq!(error(&vec![0; tokens], 0), too_many);
    for id in [VOCABULARY as u32, u32::MAX] {
        let unknown = ForwardError::UnknownId { id, position: 2 };
        assert_eq!(error(&[1, 2, id, 3], 0), unknown);
    }
    let (second, tokens) = (4, 3);
    let behind = ForwardError::Second { second, tokens };
    assert_eq!(error(&[1, 2, 3], 4), behind);
    assert!(behind.to_string().contains("at 4 of 3 tokens"));
    encoder
        .forward(&[1, 2, 3], 3, &mut scratch, &mut logits)
        .unwrap();

    let mut scratch = Scratch::carve(&mut memory, bundle.header(), 5).unwrap();
    let error = encoder.forward(&[0; 6], 0, &mut scratch, &mut logits);
    let (tokens, most) = (6, 5);
    let too_many = ForwardError::TooManyTokens { tokens, most };
    assert_eq!(error, Err(too_many));
}

#[test]
fn the_second_text_has_the_second_type() {
    let mut random = Random(54);
    let bytes = Model::random(&mut random, TASKS[1]).bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let ids = ids(&mut random, 12);
    let logits = |second| forward(&bundle, Isa::best(), &ids, second);
    assert_ne!(bits(&logits(5)), bits(&logits(6)));
    assert_ne!(bits(&logits(0)), bits(&logits(12)));
}

#[test]
#[should_panic(expected = "scratch for so many tokens")]
fn a_layer_on_more_rows_than_the_scratch_has_room_for_is_refused() {
    let bytes = Model::random(&mut Random(55), TASKS[0]).bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let shape = bundle.header().shape;
    let mut memory = dirty_memory(&bundle, 2);
    let mut scratch = Scratch::carve(&mut memory, bundle.header(), 2).unwrap();
    let mut hidden = vec![0.0; 3 * shape.width() as usize];
    Encoder::new(&bundle, Isa::best()).layer(0, Rows::All, &mut hidden, &mut scratch);
}

#[test]
#[should_panic(expected = "whole rows")]
fn a_head_on_no_row_is_refused() {
    head_on(0);
}

#[test]
#[should_panic(expected = "scratch for so many tokens")]
fn a_head_on_more_rows_than_the_scratch_has_room_for_is_refused() {
    head_on(3);
}

/// The head of a tagger, which no pooler stands before, with scratch for two rows.
fn head_on(rows: usize) {
    let bytes = Model::random(&mut Random(56), Task::TokenClassification).bundle();
    let bundle = Bundle::open(&bytes).unwrap();
    let header = bundle.header();
    let mut memory = dirty_memory(&bundle, 2);
    let mut scratch = Scratch::carve(&mut memory, header, 2).unwrap();
    let hidden = vec![0.0; rows * header.shape.width() as usize];
    let mut logits = vec![0.0; header.logits(rows)];
    Encoder::new(&bundle, Isa::best()).head(&hidden, &mut logits, &mut scratch);
}
