//! The tract backend: a graph of Berth's [ops](super::ops), planned once, and a driver that runs
//! the plan without allocating.
//!
//! `plan.run()` would make a new state for each query. The driver keeps one instead, with the tensors
//! of the inputs and the [`Workspace`] that the ops work in, and for each query:
//!
//! 1. drops the values of the turn before, so that every tensor is held only by its owner again,
//! 2. binds the symbol of the length, overwriting the last one,
//! 3. writes the inputs into their tensors and sets them,
//! 4. executes the plan and lends out the output where it lies.

use std::sync::Arc;

use berth_encoder::{ForwardError, check_input};
use tract_core::internal::*;

use super::ops::{Block, Part, Workspace};
use crate::error::{OpenError, QueryError};
use crate::memory::AlignedBytes;
use crate::network::Network;
use crate::workers::{Threads, Workers};

/// A network as a tract plan.
#[derive(Clone)]
pub(crate) struct Plan {
    network: Arc<Network>,
    plan: Arc<TypedSimplePlan>,
    /// The number of tokens of a query.
    tokens: Symbol,
}

impl Plan {
    /// Wires the ops and orders them.
    pub(crate) fn new(network: Arc<Network>) -> Result<Self, OpenError> {
        let built = build(&network);
        let (plan, tokens) = built.map_err(|error| refused(&network, &error))?;
        Ok(Plan {
            network,
            plan,
            tokens,
        })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }
}

fn build(network: &Arc<Network>) -> TractResult<(Arc<TypedSimplePlan>, Symbol)> {
    let mut model = TypedModel::default();
    let tokens = model.symbols.sym("S");
    let ids = model.add_source("ids", u32::fact([tokens.to_dim()]))?;
    let second = model.add_source("second", u32::scalar_fact())?;
    let block = |part| Block {
        network: network.clone(),
        part,
    };
    let mut rows = model.wire_node("embed", block(Part::Embed), &[ids, second])?;
    for layer in 0..network.bundle().header().shape.layers as usize {
        rows = model.wire_node(format!("layer.{layer}"), block(Part::Layer(layer)), &rows)?;
    }
    let logits = model.wire_node("head", block(Part::Head), &rows)?;
    model.select_output_outlets(&logits)?;
    Ok((TypedSimplePlan::new(model)?, tokens))
}

fn refused(network: &Network, error: &TractError) -> OpenError {
    let origin = network.origin().clone();
    OpenError::Plan {
        origin,
        reason: format!("{error:#}").replace('\n', " "),
    }
}

/// The state of one session's turns.
pub(crate) struct Engine {
    state: TypedSimpleState,
    tokens: Symbol,
    positions: usize,
    vocabulary: u32,
    ids: Arc<Tensor>,
    second: Arc<Tensor>,
}

impl Engine {
    /// Takes the memory for the longest input, and starts the threads.
    pub(crate) fn new(plan: &Plan, threads: Threads) -> Result<Self, OpenError> {
        let team = super::workers(&plan.network, threads)?;
        let scratch = super::scratch(&plan.network, threads)?;
        Engine::spawn(plan, scratch, team).map_err(|error| refused(&plan.network, &error))
    }

    fn spawn(plan: &Plan, scratch: AlignedBytes, team: Workers) -> TractResult<Self> {
        let header = plan.network.bundle().header();
        let positions = header.shape.positions as usize;
        let mut state = plan.plan.spawn()?;
        state
            .turn_state
            .shared
            .insert(Workspace::new(header, scratch, team)?);
        Ok(Engine {
            state,
            tokens: plan.tokens.clone(),
            positions,
            vocabulary: header.shape.vocab_size,
            ids: Arc::new(Tensor::zero::<u32>(&[positions])?),
            second: Arc::new(Tensor::zero::<u32>(&[])?),
        })
    }

    /// The logits of one input; those of `ids` from `second` on belong to the second text.
    pub(crate) fn run(&mut self, ids: &[u32], second: usize) -> Result<&[f32], QueryError> {
        self.check(ids, second).map_err(QueryError::Forward)?;
        let ran = self.turn(ids, second);
        ran.map_err(|error| match error.downcast_ref::<ForwardError>() {
            Some(&error) => QueryError::Forward(error),
            None => QueryError::Plan,
        })
    }

    /// What the ops would refuse: their errors go through tract, which allocates for each.
    fn check(&self, ids: &[u32], second: usize) -> Result<(), ForwardError> {
        check_input(ids.len(), second, self.positions)?;
        match ids.iter().position(|&id| id >= self.vocabulary) {
            Some(position) => Err(ForwardError::UnknownId {
                id: ids[position],
                position,
            }),
            None => Ok(()),
        }
    }

    fn turn(&mut self, ids: &[u32], second: usize) -> TractResult<&[f32]> {
        self.drop_values();
        self.set_inputs(ids, second)?;
        self.state.exec()?;
        self.state.output(0)?.try_as_plain_ram()?.as_slice()
    }

    fn drop_values(&mut self) {
        let values = &mut self.state.turn_state.values;
        values.iter_mut().for_each(|value| *value = None);
    }

    fn set_inputs(&mut self, ids: &[u32], second: usize) -> TractResult<()> {
        let tensor = Arc::get_mut(&mut self.ids).context("the ids are held elsewhere")?;
        // SAFETY: the tensor was made as plain memory of `positions` integers, and `run` has seen that
        // there are no more ids.
        unsafe { tensor.set_shape_unchecked(&[ids.len()]) };
        tensor
            .try_as_plain_ram_mut()?
            .as_slice_mut()?
            .copy_from_slice(ids);
        let tensor = Arc::get_mut(&mut self.second).context("the start is held elsewhere")?;
        tensor.try_as_plain_ram_mut()?.as_slice_mut()?[0] =
            u32::try_from(second).unwrap_or(u32::MAX);

        self.state
            .turn_state
            .resolved_symbols
            .set(&self.tokens, ids.len() as i64);
        self.state
            .set_input(0, TValue::from_const(self.ids.clone()))?;
        self.state
            .set_input(1, TValue::from_const(self.second.clone()))
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "the tests from outside use more of it")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[cfg(test)]
mod tests {
    use berth_task::Task;

    use super::support;
    use super::*;
    use crate::Model;

    /// The shapes of the graph's nodes, in the order in which they run.
    fn shapes(plan: &Plan) -> Vec<String> {
        let order = plan.plan.order_without_consts().iter();
        let facts = order.map(|&node| &plan.plan.model().node(node).outputs[0].fact);
        facts.map(|fact| format!("{:?}", fact.shape)).collect()
    }

    #[test]
    fn facts_name_the_length_by_its_symbol_and_are_kept_by_the_values() {
        let classes = &["negative", "positive"][..];
        for (task, labels, last, logits) in [
            (Task::TextClassification, classes, "1,32", "1,2"),
            (Task::TokenClassification, classes, "S,32", "S,2"),
            (Task::QuestionAnswering, &[], "S,32", "S,2"),
        ] {
            let model = Model::from_bytes(&support::bundle(task, labels)).unwrap();
            let mut found = shapes(model.plan());
            found.sort();
            let mut expected = ["S", "", "S,32", "S,32", last, logits];
            expected.sort();
            assert_eq!(found, expected, "{task}");

            let mut engine = Engine::new(model.plan(), Threads(2)).unwrap();
            for tokens in [7, 1, support::POSITIONS] {
                engine.run(&vec![2; tokens], tokens).unwrap();
                let fact = model.plan().plan.model().output_fact(0).unwrap();
                let symbols = &engine.state.turn_state.resolved_symbols;
                let value = engine.state.output(0).unwrap();
                assert!(
                    fact.matches(value, Some(symbols)).unwrap(),
                    "{task}, {tokens} tokens"
                );
            }
        }
    }

    #[test]
    fn a_turn_that_fails_on_its_way_leaves_the_engine_whole() {
        let model = Model::from_bytes(&support::bundle(Task::TextClassification, &["a", "b"]));
        let mut engine = Engine::new(model.unwrap().plan(), Threads(2)).unwrap();
        let expected = engine.run(&[2, 5, 3], 3).unwrap().to_vec();
        // As if an op had failed between the first and the last: the rows are lost with the turn.
        let shared = &engine.state.turn_state.shared;
        let space = shared.get::<std::sync::Mutex<Workspace>>().unwrap();
        space.lock().unwrap().lose_rows();
        assert_eq!(engine.run(&[2, 5, 3], 3).unwrap(), expected);
    }
}
