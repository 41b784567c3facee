//! The inputs that a bundle carries, with the answers that it has on this machine, so that a device
//! can tell whether it has the same.

use berth_bundle::{Golden, Writer, logits_crc};
use berth_runtime::Model;

use crate::error::QuantizeError;

/// How many tokens the inputs have: one, some that cut the kernels' tiles short, some that fill them.
/// The model's own maximum comes on top.
const LENGTHS: [usize; 5] = [1, 7, 16, 33, 128];

/// Asks the bundle a few inputs of random tokens, the same for every bundle of its size, and adds them
/// with their answers.
///
/// # Errors
/// When the runtime doesn't open or doesn't answer what was put together.
pub(crate) fn add(writer: &mut Writer) -> Result<(), QuantizeError> {
    let model = Model::from_bytes(&writer.to_bytes()?)?;
    let mut session = model.session()?;
    let inputs = inputs(&model);
    let mut goldens = Vec::new();
    for (ids, second) in &inputs {
        let logits = session.logits_of(ids, *second)?;
        goldens.push(Golden {
            ids,
            second: *second as u32,
            crc: logits_crc(logits),
        });
    }
    writer.selftest(&goldens)?;
    Ok(())
}

/// Ids and where the second text begins.
fn inputs(model: &Model) -> Vec<(Vec<u32>, usize)> {
    let positions = model.positions();
    let shorter = LENGTHS.into_iter().filter(|&tokens| tokens < positions);
    let vocabulary = u64::from(model.header().shape.vocab_size);
    let takes_pair = model.header().task.takes_pair();
    let mut state = 0u64;
    let mut id = || {
        // A linear congruential generator with Knuth's constants; its upper half is random enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocabulary) as u32
    };
    shorter
        .chain([positions])
        .map(|tokens| {
            let ids = (0..tokens).map(|_| id()).collect();
            (ids, if takes_pair { tokens / 2 } else { tokens })
        })
        .collect()
}
