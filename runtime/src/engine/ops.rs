//! Berth's blocks as ops of tract.
//!
//! ```text
//!   ids [S] ──┐
//!             ├─► Embed ─► Layer(0) ─► … ─► Layer(n-1) ─► Head ─► logits [R, outputs]
//!   second [] ┘      [S, width]                [R, width]
//! ```
//!
//! `S` is a symbol; `R` is 1 for a head that reads the first row alone, else `S`. Weights stand in
//! the ops, borrowed from the bundle. No op makes a tensor: one tensor for the rows lies in the
//! session's [`Workspace`], is lent out by `Embed`, changed in place by each layer while nobody else
//! holds it, and given back by `Head`, whose logits have a tensor of their own.

use std::fmt;
use std::sync::{Arc, Mutex};

use berth_bundle::Header;
use berth_encoder::{Rows, Scratch};
use tract_core::internal::*;

use crate::memory::AlignedBytes;
use crate::network::Network;
use crate::workers::Workers;

/// The memory of one session, shared by the ops of its turns.
pub(crate) struct Workspace {
    scratch: AlignedBytes,
    /// Who calculates in it.
    team: Workers,
    /// Room for the rows of the longest input; away while a turn runs.
    rows: Option<Arc<Tensor>>,
    /// Room for the logits of the longest input.
    logits: Arc<Tensor>,
}

impl Workspace {
    /// Memory for inputs of up to as many tokens as the model has positions.
    pub(crate) fn new(
        header: &Header,
        scratch: AlignedBytes,
        team: Workers,
    ) -> TractResult<Mutex<Self>> {
        let most = header.logits(header.shape.positions as usize);
        Ok(Mutex::new(Workspace {
            scratch,
            team,
            rows: Some(Arc::new(rows_of(header)?)),
            logits: Arc::new(Tensor::zero::<f32>(&[most])?),
        }))
    }
}

#[cfg(test)]
impl Workspace {
    /// What an op that fails does.
    pub(crate) fn lose_rows(&mut self) {
        self.rows = None;
    }
}

/// A tensor for the rows of the longest input.
fn rows_of(header: &Header) -> TractResult<Tensor> {
    let [positions, width] = [header.shape.positions, header.shape.width()].map(|n| n as usize);
    Tensor::zero_aligned::<f32>(&[positions, width], 64)
}

/// Which part of the network an op is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Part {
    /// Token ids to rows.
    Embed,
    /// One layer, in place.
    Layer(usize),
    /// Rows to logits.
    Head,
}

/// An op: a part of a network.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) network: Arc<Network>,
    pub(crate) part: Part,
}

impl Block {
    fn header(&self) -> &Header {
        self.network.bundle().header()
    }

    fn embed(&self, space: &mut Workspace, ids: &TValue, second: &TValue) -> TractResult<TValue> {
        let ids = ids.try_as_plain_ram()?.as_slice::<u32>()?;
        let second = *second.try_as_plain_ram()?.to_scalar::<u32>()? as usize;
        // The rows are missing when the turn before failed on its way.
        let mut rows = match space.rows.take() {
            Some(rows) => rows,
            None => Arc::new(rows_of(self.header())?),
        };
        let mut view = take_shape(
            &mut rows,
            &[ids.len(), self.header().shape.width() as usize],
        )?;
        let mut scratch = self.carve(&mut space.scratch, &space.team, ids.len())?;
        let hidden = view.as_slice_mut()?;
        self.network
            .encoder()
            .embed(ids, second, hidden, &mut scratch)?;
        Ok(TValue::from_const(rows))
    }

    fn layer(&self, space: &mut Workspace, index: usize, rows: TValue) -> TractResult<TValue> {
        let mut rows = rows.into_arc_tensor();
        let tokens = rows.shape()[0];
        let mut scratch = self.carve(&mut space.scratch, &space.team, tokens)?;
        let owned = Arc::get_mut(&mut rows).context("the rows are held elsewhere")?;
        let mut view = owned.try_as_plain_ram_mut()?;
        let wanted = self.network.encoder().rows(index);
        self.network
            .encoder()
            .layer(index, wanted, view.as_slice_mut()?, &mut scratch);
        if wanted == Rows::First {
            take_shape(&mut rows, &[1, self.header().shape.width() as usize])?;
        }
        Ok(TValue::from_const(rows))
    }

    fn head(&self, space: &mut Workspace, rows: TValue) -> TractResult<TValue> {
        let rows = rows.into_arc_tensor();
        let count = rows.shape()[0];
        let outputs = self.header().shape.outputs as usize;
        let mut scratch = self.carve(&mut space.scratch, &space.team, count)?;
        let mut view = take_shape(&mut space.logits, &[count, outputs])?;
        let hidden = rows.try_as_plain_ram()?.as_slice()?;
        self.network
            .encoder()
            .head(hidden, view.as_slice_mut()?, &mut scratch);
        space.rows = Some(rows);
        Ok(TValue::from_const(space.logits.clone()))
    }

    fn carve<'s>(
        &self,
        memory: &'s mut [u8],
        team: &'s Workers,
        tokens: usize,
    ) -> TractResult<Scratch<'s>> {
        Scratch::carve_for(memory, self.header(), tokens, team)
            .context("more tokens than positions")
    }
}

/// Gives a tensor that nobody else holds another shape within the memory that it has.
fn take_shape<'t>(tensor: &'t mut Arc<Tensor>, shape: &[usize]) -> TractResult<PlainViewMut<'t>> {
    let tensor = Arc::get_mut(tensor).context("a buffer is held elsewhere")?;
    let room = tensor.try_as_plain_ram()?.layout().size() / size_of::<f32>();
    let wanted = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n));
    ensure!(
        wanted.is_some_and(|wanted| wanted <= room),
        "a buffer is too small for {shape:?}"
    );
    // SAFETY: the tensor is one of the workspace's, plain memory of initialized `f32`, and the
    // elements of the new shape fit into it.
    unsafe { tensor.set_shape_unchecked(shape) };
    tensor.try_as_plain_ram_mut()
}

impl EvalOp for Block {
    not_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shared = context.shared.context("outside of a session")?;
        let space = shared
            .get::<Mutex<Workspace>>()
            .context("no workspace in the session")?;
        // A panic of an earlier turn leaves nothing here that this one relies on.
        let space = &mut *space
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let output = match self.part {
            Part::Embed => {
                let (ids, second) = args_2!(inputs);
                self.embed(space, &ids, &second)?
            }
            Part::Layer(index) => self.layer(space, index, args_1!(inputs))?,
            Part::Head => self.head(space, args_1!(inputs))?,
        };
        Ok(tvec!(output))
    }
}

impl Op for Block {
    fn name(&self) -> StaticName {
        match self.part {
            Part::Embed => "BerthEmbed".into(),
            Part::Layer(_) => "BerthLayer".into(),
            Part::Head => "BerthHead".into(),
        }
    }

    op_as_typed_op!();
}

impl TypedOp for Block {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = &self.header().shape;
        let rows = match self.part {
            Part::Layer(index) if self.network.encoder().rows(index) == Rows::First => 1.to_dim(),
            _ => inputs[0].shape[0].clone(),
        };
        let columns = if self.part == Part::Head {
            shape.outputs
        } else {
            shape.width()
        };
        Ok(tvec!(f32::fact([rows, (columns as usize).to_dim()])))
    }

    as_op!();
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Berth{:?}", self.part)
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part && Arc::ptr_eq(&self.network, &other.network)
    }
}

impl Eq for Block {}
