//! The fuzzer's targets without a fuzzer: on their seeds, and on seeded random changes of these.
//!
//! `BERTH_TEST_ROUNDS` sets how many inputs each target is given.

/// How many inputs each target is given in an ordinary run.
const ROUNDS: usize = 3_000;

/// A generator of numbers without much order (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Gives a target its seeds, and then changed ones; to a slow target a part of the usual number.
fn storm(name: &str, share: usize, run: fn(&[u8])) {
    let wanted = std::env::var("BERTH_TEST_ROUNDS").ok();
    let rounds = wanted.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let seeds = berth_fuzz::seeds();
    let (_, inputs) = seeds
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("seeds");
    inputs.iter().for_each(|input| run(input));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds.div_ceil(share) {
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..1 + random.below(6) {
            change(&mut input, &mut random);
        }
        run(&input);
    }
}

fn change(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(input.len());
    match (random.below(8), input.is_empty()) {
        (0, false) => drop(input.remove(at)),
        (1, _) => input.insert(at, random.below(256) as u8),
        (2, false) => input.truncate(input.len() - random.below(input.len().min(9))),
        (3, false) => input[at] ^= 1 << random.below(8),
        (4, false) => input[at] = [0, 1, 16, 127, 128, 255][random.below(6)],
        (5, _) => input.extend((0..random.below(9)).map(|i| (i as u8).wrapping_mul(37))),
        (_, false) => input[at] = random.below(256) as u8,
        _ => input.push(random.below(256) as u8),
    }
}

#[test]
fn bundles_damaged_by_scripts() {
    storm("damage", 1, berth_fuzz::damage::run);
}

#[test]
fn bundles_of_raw_bytes() {
    storm("bytes", 10, berth_fuzz::bytes::run);
}

#[test]
fn tables_of_raw_bytes() {
    storm("tables", 1, berth_fuzz::tables::run);
}

#[test]
fn texts() {
    storm("text", 1, berth_fuzz::text::run);
}

#[test]
fn json() {
    storm("json", 1, berth_fuzz::json::run);
}

#[test]
fn streams_of_lines() {
    storm("lines", 30, berth_fuzz::lines::run);
}

#[cfg(feature = "checkpoint")]
#[test]
fn files_of_a_checkpoint() {
    storm("checkpoint", 10, berth_fuzz::checkpoint::run);
}

#[cfg(feature = "checkpoint")]
#[test]
fn files_of_onnx() {
    storm("onnx", 1, berth_fuzz::onnx::run);
}
