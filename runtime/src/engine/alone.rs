//! The encoder's own forward pass: what runs without the feature `tract`.

use std::sync::Arc;

use berth_encoder::{Scratch, check_input};

use crate::error::{OpenError, QueryError};
use crate::memory::AlignedBytes;
use crate::network::Network;
use crate::workers::{Threads, Workers};

/// Nothing but the network: the encoder knows its order.
#[derive(Clone)]
pub(crate) struct Plan {
    network: Arc<Network>,
}

impl Plan {
    /// Never fails; the face is that of the other engine.
    pub(crate) fn new(network: Arc<Network>) -> Result<Self, OpenError> {
        Ok(Plan { network })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }
}

/// The memory of one session's forward passes.
pub(crate) struct Engine {
    network: Arc<Network>,
    scratch: AlignedBytes,
    team: Workers,
    logits: Vec<f32>,
}

impl Engine {
    /// Takes the memory for the longest input, and starts the threads.
    pub(crate) fn new(plan: &Plan, threads: Threads) -> Result<Self, OpenError> {
        let team = super::workers(&plan.network, threads)?;
        let header = plan.network.bundle().header();
        let most = header.logits(header.shape.positions as usize);
        Ok(Engine {
            network: plan.network.clone(),
            scratch: super::scratch(&plan.network, threads)?,
            team,
            logits: vec![0.0; most],
        })
    }

    /// The logits of one input; those of `ids` from `second` on belong to the second text.
    pub(crate) fn run(&mut self, ids: &[u32], second: usize) -> Result<&[f32], QueryError> {
        let header = self.network.bundle().header();
        let tokens = ids.len();
        let most = header.shape.positions as usize;
        check_input(tokens, second, most).map_err(QueryError::Forward)?;
        let scratch = Scratch::carve_for(&mut self.scratch, header, tokens, &self.team);
        let mut scratch = scratch.expect("memory for the longest input");
        let logits = &mut self.logits[..header.logits(tokens)];
        let ran = self
            .network
            .encoder()
            .forward(ids, second, &mut scratch, logits);
        ran.map_err(QueryError::Forward)?;
        Ok(logits)
    }
}
