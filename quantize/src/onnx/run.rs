//! An ONNX file run as it is, through tract on the workstation, and what each kind of operator costs.
//!
//! A plan is made for one length and thrown away when all inputs of that length have run. Lengths go up
//! in steps of 32 where the model has an `attention_mask` to say what is padding; else every length has
//! a plan of its own. Where the file fixes the sizes of its inputs, it has the one plan: a row is padded to
//! that length, and repeated. Inputs and outputs are taken by Hugging Face's names.

mod dequantize;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use thiserror::Error;
use tract_onnx::tract_hir::internal::*;

use super::proto::{Model, ProtoError, told};
use crate::threads::on_threads;

/// In what steps lengths go up.
const STEP: usize = 32;

/// The largest size of an input that a file may fix. It bounds what a damaged file can make a program do.
const MOST_FIXED: usize = 1 << 12;

/// Why a file did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// It can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no ONNX model, or damaged.
    #[error("{}: {source}", path.display())]
    Proto {
        /// The file.
        path: PathBuf,
        /// In what way.
        source: ProtoError,
    },
    /// An input that is none of a BERT's.
    #[error(
        "{}: it has an input `{name}`; only input_ids, attention_mask and token_type_ids are known",
        path.display()
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// The input.
        name: String,
    },
    /// A text is longer than the file's inputs.
    #[error(
        "{}: its inputs have {fixed} tokens, and a text has {tokens}; say --max_seq_length {fixed}",
        path.display()
    )]
    Longer {
        /// The file.
        path: PathBuf,
        /// The length of its inputs.
        fixed: usize,
        /// The length of the text.
        tokens: usize,
    },
    /// A text is shorter than the file's inputs, and it can't be told what is padding.
    #[error(
        "{}: its inputs have {fixed} tokens, a text has {tokens}, and without attention_mask nothing says what is \
         padding; export it with dynamic axes",
        path.display()
    )]
    Shorter {
        /// The file.
        path: PathBuf,
        /// The length of its inputs.
        fixed: usize,
        /// The length of the text.
        tokens: usize,
    },
    /// tract can't run it.
    #[error("{}: tract does not run it: {what}", path.display())]
    Tract {
        /// The file.
        path: PathBuf,
        /// What it said.
        what: String,
    },
}

/// One input of a model.
#[derive(Copy, Clone, Debug)]
pub struct Tokens<'i> {
    /// The ids, without padding.
    pub ids: &'i [u32],
    /// The first position of the second text; the length without one.
    pub second: usize,
}

/// What a kind of operator cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// tract's name for it.
    pub op: String,
    /// Its share of the time, from 0 to 1.
    pub share: f64,
    /// How often it ran.
    pub calls: u64,
}

/// ONNX's operators as files are run with them: tract's, but for one.
pub fn operators() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx();
    dequantize::register(&mut onnx);
    onnx
}

type Times = BTreeMap<String, (Duration, u64)>;

/// An open file.
pub struct Run {
    path: PathBuf,
    model: InferenceModel,
    inputs: Vec<(Input, DatumType)>,
    /// Rows that are computed at once: one, unless the file fixes another number.
    rows: usize,
    /// The one length of all inputs, if the file fixes it.
    fixed: Option<usize>,
    /// Whether the outputs are a start and an end.
    spans: bool,
    times: Times,
}

/// What an input is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Input {
    Ids,
    Mask,
    Types,
}

impl Run {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is damaged, has unknown inputs, or operators that tract lacks.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let error = |what: &TractError| tract(path, what);
        let answers = answers(path)?;
        let model = guarded(path, || {
            // It names sizes that the inputs here have numbers for.
            let onnx = operators().with_ignore_value_info(true);
            let mut model = onnx.model_for_path(path)?;
            let outputs = model.output_outlets()?;
            let outputs: Vec<_> = answers.iter().map(|&at| outputs[at]).collect();
            model.select_output_outlets(&outputs)?;
            Ok(model)
        })?;
        let (mut inputs, mut sizes) = (Vec::new(), [None; 2]);
        let outlets = guarded(path, || Ok(model.input_outlets()?.to_vec()))?;
        for outlet in outlets {
            let name = &model.node(outlet.node).name;
            let input = match name.as_str() {
                "input_ids" => Input::Ids,
                "attention_mask" => Input::Mask,
                "token_type_ids" => Input::Types,
                _ => {
                    let (path, name) = (path.to_owned(), told(name));
                    return Err(RunError::Input { path, name });
                }
            };
            let fact = model.outlet_fact(outlet).map_err(|what| error(&what))?;
            inputs.push((input, fact.datum_type().unwrap_or(i64::datum_type())));
            for (size, dim) in sizes.iter_mut().zip(fact.shape.dims()) {
                let fixed = dim.concretize().and_then(|dim| dim.to_usize().ok());
                *size = size.or(fixed.filter(|fixed| (1..=MOST_FIXED).contains(fixed)));
            }
        }
        let [rows, fixed] = sizes;
        Ok(Run {
            path: path.to_owned(),
            model,
            inputs,
            rows: rows.unwrap_or(1),
            fixed,
            spans: answers.len() == 2,
            times: Times::new(),
        })
    }

    /// The logits of every input, in their order: row by row where there are rows for each token, start
    /// and end side by side. `most` is the longest input that the model takes; `done` is called after
    /// each input.
    ///
    /// # Errors
    /// When tract can't compute them, or the file takes inputs of another length alone.
    pub fn logits(
        &mut self,
        inputs: &[Tokens],
        most: usize,
        threads: usize,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, input) in inputs.iter().enumerate() {
            let length = self.padded(input.ids.len(), most)?;
            by_length.entry(length).or_default().push(at);
        }
        let mut logits = vec![Vec::new(); inputs.len()];
        for (length, places) in by_length {
            let (rows, times) = self.of_length(length, &places, inputs, threads, done)?;
            add(&mut self.times, &times);
            for (at, row) in places.into_iter().zip(rows) {
                logits[at] = row;
            }
        }
        Ok(logits)
    }

    /// The logits of the inputs at `places`, which are made one length, and what they cost.
    fn of_length(
        &self,
        length: usize,
        places: &[usize],
        inputs: &[Tokens],
        threads: usize,
        done: &(dyn Fn() + Sync),
    ) -> Result<(Vec<Vec<f32>>, Times), RunError> {
        let plan = guarded(&self.path, || self.plan(length))?;
        let times = Mutex::new(Times::new());
        let all_times = &times;
        let rows = on_threads(places, threads, || -> Result<_, RunError> {
            let mut state = guarded(&self.path, || plan.spawn())?;
            Ok(move |at: usize| -> Result<Vec<f32>, RunError> {
                let mut times = Times::new();
                let row = guarded(&self.path, || {
                    self.one(&mut state, inputs[at], length, &mut times)
                })?;
                add(
                    &mut all_times.lock().expect("no thread panics with it"),
                    &times,
                );
                done();
                Ok(row)
            })
        })?;
        let times = times.into_inner().expect("no thread panics with it");
        Ok((rows, times))
    }

    /// What each kind of operator cost so far, the dearest first.
    pub fn shares(&self) -> Vec<Share> {
        let all: Duration = self.times.values().map(|(time, _)| *time).sum();
        let share = |(op, (time, calls)): (&String, &(Duration, u64))| Share {
            op: op.clone(),
            share: time.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE),
            calls: *calls,
        };
        let mut shares: Vec<_> = self.times.iter().map(share).collect();
        shares.sort_by(|one, other| other.share.total_cmp(&one.share));
        shares
    }

    /// How long an input of `tokens` is made.
    fn padded(&self, tokens: usize, most: usize) -> Result<usize, RunError> {
        let has_mask = self.inputs.iter().any(|(input, _)| *input == Input::Mask);
        let path = || self.path.clone();
        match self.fixed {
            None if has_mask => Ok(tokens.next_multiple_of(STEP).min(most).max(tokens)),
            None => Ok(tokens),
            Some(fixed) if tokens > fixed => Err(RunError::Longer {
                path: path(),
                fixed,
                tokens,
            }),
            Some(fixed) if tokens < fixed && !has_mask => Err(RunError::Shorter {
                path: path(),
                fixed,
                tokens,
            }),
            Some(fixed) => Ok(fixed),
        }
    }

    fn plan(&self, length: usize) -> TractResult<Arc<TypedSimplePlan>> {
        let mut model = self.model.clone();
        for (place, (_, kind)) in self.inputs.iter().enumerate() {
            model.set_input_fact(place, InferenceFact::dt_shape(*kind, [self.rows, length]))?;
        }
        model.into_optimized()?.into_runnable()
    }

    fn one(
        &self,
        state: &mut TypedSimpleState,
        tokens: Tokens,
        length: usize,
        times: &mut Times,
    ) -> TractResult<Vec<f32>> {
        let mut values = tvec![];
        for (input, kind) in &self.inputs {
            let number = |at: usize| match input {
                Input::Ids => tokens.ids.get(at).map_or(0, |&id| i64::from(id)),
                Input::Mask => i64::from(at < tokens.ids.len()),
                Input::Types => i64::from(at >= tokens.second && at < tokens.ids.len()),
            };
            let row: Vec<i64> = (0..length).map(number).collect();
            let tensor = Tensor::from_shape(&[self.rows, length], &row.repeat(self.rows))?;
            values.push(tensor.cast_to_dt(*kind)?.into_owned().into_tvalue());
        }
        let outputs = state.run_plan_with_eval(values, |context, op_state, node, inputs| {
            let begun = Instant::now();
            let result = tract_onnx::tract_core::plan::eval(context, op_state, node, inputs);
            let entry = times.entry(node.op.name().into_owned()).or_default();
            entry.0 += begun.elapsed();
            entry.1 += 1;
            result
        })?;
        self.answer(&outputs, tokens.ids.len())
    }

    /// The outputs as one row for each token, or as one row; of the first input where there are several.
    fn answer(&self, outputs: &[TValue], tokens: usize) -> TractResult<Vec<f32>> {
        let floats = |at: usize| -> TractResult<(Vec<f32>, usize)> {
            let output = outputs
                .get(at)
                .with_context(|| "an output is missing".to_owned())?;
            let floats = output.cast_to::<f32>()?;
            let data = floats.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((data, output.rank()))
        };
        let (mut first, rank) = floats(0)?;
        if self.spans {
            let (end, _) = floats(1)?;
            let both = first.into_iter().zip(end).take(tokens);
            return Ok(both.flat_map(|(start, end)| [start, end]).collect());
        }
        if rank == 3 {
            let width = outputs[0].shape()[2];
            first.truncate(tokens * width);
        } else {
            first.truncate(first.len() / self.rows);
        }
        Ok(first)
    }
}

/// The places of the outputs that answer. Damage is told here, before tract reads the file.
fn answers(path: &Path) -> Result<Vec<usize>, RunError> {
    let bytes = std::fs::read(path).map_err(|source| RunError::Read {
        path: path.to_owned(),
        source,
    })?;
    let proto = |source| RunError::Proto {
        path: path.to_owned(),
        source,
    };
    let model = Model::read(&bytes).map_err(proto)?;
    for external in model.externals() {
        let location = external.location;
        if Path::new(location)
            .file_name()
            .is_none_or(|last| last != location)
        {
            return Err(proto(ProtoError::External {
                name: "?".to_owned(),
                location: told(location),
                offset: external.offset,
            }));
        }
    }
    Ok(model.answers())
}

fn tract(path: &Path, what: &TractError) -> RunError {
    RunError::Tract {
        path: path.to_owned(),
        what: format!("{what:#}").replace('\n', " "),
    }
}

/// Runs tract's code. It has panics for what it does not expect in a file; those are errors too.
fn guarded<T>(path: &Path, run: impl FnOnce() -> TractResult<T>) -> Result<T, RunError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(tract(path, &error)),
        Err(_) => Err(RunError::Tract {
            path: path.to_owned(),
            what: "it gave up in the middle".to_owned(),
        }),
    }
}

fn add(sum: &mut Times, times: &Times) {
    for (op, (time, calls)) in times {
        let entry = sum.entry(op.clone()).or_default();
        entry.0 += *time;
        entry.1 += calls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::write::{self, Dim, Set};

    /// Two sizes that each call chooses.
    const NAMED: [Dim; 2] = [Dim::Named("batch"), Dim::Named("tokens")];

    /// Inputs of these sizes, and rows of tables that the ids choose; as outputs, those that are named.
    fn graph(inputs: &[&str], dims: &[Dim], outputs: &[&str]) -> write::Graph {
        let mut graph = write::Graph::default();
        inputs.iter().for_each(|name| graph.input(name, dims));
        graph.node("seen", "Mul", &[inputs[0], inputs[inputs.len() - 1]], &[]);
        let sizes = dims.iter().map(|dim| match dim {
            Dim::Named(_) => -1,
            Dim::Size(size) => *size as i64,
        });
        // A graph of fixed sizes runs with no others.
        match sizes.collect::<Vec<i64>>()[..] {
            [rows, tokens] if rows > 0 => {
                graph.ints("sizes", &[rows, tokens]);
                graph.node("rows", "Reshape", &["seen", "sizes"], &[]);
            }
            _ => drop(graph.node("rows", "Identity", &["seen"], &[])),
        }
        let numbers: Vec<f32> = (0..24u8).map(f32::from).collect();
        for (name, dims, table) in [
            ("logits", &[8, 3][..], &numbers[..]),
            ("last_hidden_state", &[6, 4], &numbers),
            ("start_logits", &[8], &numbers[..8]),
            ("end_logits", &[8], &numbers[8..16]),
        ] {
            let of = graph.floats(&format!("{name}.table"), dims, table);
            graph.node(name, "Gather", &[&of, "rows"], &[]);
        }
        outputs.iter().for_each(|name| graph.output(name, dims));
        graph
    }

    fn run(graph: write::Graph, ids: &[u32]) -> Result<Vec<f32>, RunError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        std::fs::write(&path, graph.finish("rows", &[])).unwrap();
        let second = ids.len();
        let mut run = Run::open(&path)?;
        let mut logits = run.logits(&[Tokens { ids, second }], 64, 1, &|| ())?;
        Ok(logits.remove(0))
    }

    const BOTH: [&str; 2] = ["input_ids", "attention_mask"];
    const IDS: [u32; 3] = [2, 5, 1];
    const ROWS: [f32; 9] = [6.0, 7.0, 8.0, 15.0, 16.0, 17.0, 3.0, 4.0, 5.0];

    #[test]
    fn sizes_inside_a_graph_may_have_names() {
        let mut named = graph(&BOTH, &NAMED, &["logits"]);
        named.info("seen", &NAMED);
        assert_eq!(run(named, &IDS).unwrap(), ROWS);
    }

    #[test]
    fn outputs_are_found_by_name() {
        let later = graph(&BOTH, &NAMED, &["last_hidden_state", "logits"]);
        assert_eq!(run(later, &IDS).unwrap(), ROWS);
        let spans = ["last_hidden_state", "end_logits", "start_logits"];
        let spans = run(graph(&BOTH, &NAMED, &spans), &IDS).unwrap();
        assert_eq!(spans, [2.0, 10.0, 5.0, 13.0, 1.0, 9.0]);
        let first = graph(&BOTH, &NAMED, &["start_logits", "last_hidden_state"]);
        assert_eq!(run(first, &IDS).unwrap().len(), 3 * 4);
    }

    #[test]
    fn a_softmax_between_steps_is_that_of_the_numbers_that_they_stand_for() {
        let numbers: Vec<f32> = (0..24u8).map(|i| f32::from(i * 7 % 24) * 0.13).collect();
        let mut graph = write::Graph::default();
        graph.input("input_ids", &NAMED);
        let table = graph.floats("table", &[8, 3], &numbers);
        let (before, behind) = (
            graph.scalar("before", 0.1),
            graph.scalar("behind", 1.0 / 255.0),
        );
        graph.node("rows", "Gather", &[&table, "input_ids"], &[]);
        graph.node("steps", "QuantizeLinear", &["rows", &before], &[]);
        graph.node("floats", "DequantizeLinear", &["steps", &before], &[]);
        graph.node("shares", "Softmax", &["floats"], &[("axis", Set::Int(-1))]);
        graph.node("share steps", "QuantizeLinear", &["shares", &behind], &[]);
        graph.node("logits", "DequantizeLinear", &["share steps", &behind], &[]);
        graph.output("logits", &NAMED);
        let step = |x: f32, scale: f32| (x / scale).round_ties_even() * scale;
        let expected: Vec<f32> = IDS
            .into_iter()
            .flat_map(|id| {
                let row = numbers[3 * id as usize..][..3].iter();
                let powers: Vec<f32> = row.map(|&x| step(x, 0.1).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(move |x| step(x / sum, 1.0 / 255.0))
            })
            .collect();
        let found = run(graph, &IDS).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn inputs_of_one_size_are_padded_to_it() {
        for rows in [1, 2] {
            let fixed = [Dim::Size(rows), Dim::Size(4)];
            let logits = run(graph(&BOTH, &fixed, &["logits"]), &IDS).unwrap();
            assert_eq!(logits, ROWS, "{rows} rows at once");
            let long = run(graph(&BOTH, &fixed, &["logits"]), &[1; 5]).unwrap_err();
            let told =
                "model.onnx: its inputs have 4 tokens, and a text has 5; say --max_seq_length 4";
            assert!(long.to_string().ends_with(told), "{long}");
        }
        let fixed = [Dim::Size(1), Dim::Size(4)];
        let blind = graph(&["input_ids"], &fixed, &["logits"]);
        let error = run(blind, &IDS).unwrap_err().to_string();
        assert!(error.contains("without attention_mask"), "{error}");
    }
}
