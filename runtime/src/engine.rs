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

use berth_encoder::MAX_THREADS;

use crate::error::OpenError;
use crate::memory::AlignedBytes;
use crate::network::Network;
use crate::workers::{Threads, Workers};

#[cfg(not(feature = "tract"))]
pub(crate) use alone::{Engine, Plan};
#[cfg(feature = "tract")]
pub(crate) use tract::{Engine, Plan};

/// The most bytes that the encoder of one session may calculate in. BERT-large takes a fiftieth; a
/// bundle that asks for more is refused.
pub const MAX_SCRATCH_BYTES: usize = 1 << 30;

/// Threads for one session, if there may be so many.
fn workers(network: &Network, threads: Threads) -> Result<Workers, OpenError> {
    if !(1..=MAX_THREADS).contains(&threads.0) {
        return Err(OpenError::Threads { asked: threads.0 });
    }
    Workers::start(threads).map_err(|source| OpenError::Spawn {
        origin: network.origin().clone(),
        source,
    })
}

/// The encoder's memory for the longest input.
fn scratch(network: &Network, threads: Threads) -> Result<AlignedBytes, OpenError> {
    let header = network.bundle().header();
    let positions = header.shape.positions as usize;
    let bytes = berth_encoder::scratch_bytes_for(header, positions, threads.0);
    let origin = || network.origin().clone();
    if bytes > MAX_SCRATCH_BYTES {
        let origin = origin();
        return Err(OpenError::TooLarge { origin, bytes });
    }
    AlignedBytes::zeroed(bytes).map_err(|_| OpenError::Memory {
        origin: origin(),
        bytes,
    })
}
