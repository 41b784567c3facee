//! What runs the network: a tract plan of Berth's ops, or the encoder alone.
//!
//! Both have the same face: a [`Plan`] made once for a model and shared, an [`Engine`] made for each
//! session with all its memory. Both call the same blocks of the encoder in the same order, so they
//! answer with the same bits.

#[cfg(not(feature = "tract"))]
mod alone;
#[cfg(feature = "tract")]
mod ops;
#[cfg(feature = "tract")]
mod tract;

use berth_encoder::ForwardError;

use crate::error::{OpenError, QueryError};
use crate::memory::AlignedBytes;
use crate::network::Network;

#[cfg(not(feature = "tract"))]
pub(crate) use alone::{Engine, Plan};
#[cfg(feature = "tract")]
pub(crate) use tract::{Engine, Plan};

/// The most bytes that the encoder of one session may calculate in. BERT-large takes a fiftieth; a
/// bundle that asks for more was not made in good faith.
pub const MAX_SCRATCH_BYTES: usize = 1 << 30;

/// The encoder's memory for the longest input.
fn scratch(network: &Network) -> Result<AlignedBytes, OpenError> {
    let shape = &network.bundle().header().shape;
    let bytes = berth_encoder::scratch_bytes(shape, shape.positions as usize);
    let memory = (bytes <= MAX_SCRATCH_BYTES).then(|| AlignedBytes::zeroed(bytes).ok());
    memory.flatten().ok_or_else(|| OpenError::Memory {
        origin: network.origin().clone(),
        bytes,
    })
}

/// Refuses an input that is longer than the engine's memory was made for.
pub(crate) fn check_room(tokens: usize, most: usize) -> Result<(), QueryError> {
    if tokens > most {
        return Err(QueryError::Forward(ForwardError::TooManyTokens {
            tokens,
            most,
        }));
    }
    Ok(())
}
