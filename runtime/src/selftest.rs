//! Whether this machine computes what the workstation measured: `berth-edge --selftest`.
//!
//! A bundle carries a few inputs with the checksums of the logits that the workstation had for them.
//! They are asked here on every instruction set of the machine, through a session and of the encoder
//! alone, and every bit has to be the same. Then an accuracy report made there holds here.

use std::fmt::{self, Display};

pub use berth_bundle::SelftestError as Unreadable;
use berth_bundle::{Golden, logits_crc};
use berth_encoder::{Encoder, Scratch, check_input, scratch_bytes};
use berth_kernels::{Isa, Tier};

use crate::error::{OpenError, Origin, QueryError};
use crate::model::Model;

/// What a session runs on.
const SESSION: &str = if cfg!(feature = "tract") {
    "tract"
} else {
    "session"
};

/// What was asked, and how many answers were right. Its text form is lines for people.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number of tokens of each input.
    pub lengths: Vec<usize>,
    /// One row for each instruction set and each way through the network.
    pub runs: Vec<Run>,
}

/// The answers of one instruction set, one way through the network.
#[derive(Copy, Clone, Debug)]
pub struct Run {
    /// The instruction set.
    pub tier: Tier,
    /// `tract` or `session`; or `encoder`, for the encoder alone.
    pub engine: &'static str,
    /// How many inputs had the workstation's bits.
    pub same: usize,
    /// The first input, counted from 0, that had not.
    pub differs: Option<usize>,
}

impl Report {
    /// Whether every input had the workstation's bits everywhere.
    pub fn passed(&self) -> bool {
        self.runs.iter().all(|run| run.same == self.lengths.len())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.lengths.len();
        f.write_str("inputs of ")?;
        for (i, length) in self.lengths.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{length}")?;
        }
        writeln!(f, " tokens")?;
        for run in &self.runs {
            let (tier, engine, same) = (run.tier, run.engine, run.same);
            write!(f, "{tier:<12} {engine:<8} {same} of {inputs} the same")?;
            if let Some(input) = run.differs {
                write!(f, ", not the one of {} tokens", self.lengths[input])?;
            }
            writeln!(f)?;
        }
        f.write_str(if self.passed() {
            "passed: every logit has the workstation's bits"
        } else {
            "FAILED: this machine does not compute what the workstation measured"
        })
    }
}

/// Asks the model its own inputs on every instruction set of this machine.
///
/// # Errors
/// When the bundle carries none, when they are damaged, or when there is no memory for a session.
pub fn selftest(model: &Model) -> Result<Report, SelftestError> {
    let inputs = inputs(model)?;
    let mut runs = Vec::new();
    for isa in Isa::available() {
        let mut session = model.on(isa)?.session()?;
        runs.push(run(isa, SESSION, &inputs, |golden| {
            Ok(logits_crc(
                session.logits_of(golden.ids, golden.second as usize)?,
            ))
        }));
        runs.push(run(isa, "encoder", &inputs, |golden| {
            alone(model, isa, golden)
        }));
    }
    let lengths = inputs.iter().map(|golden| golden.ids.len()).collect();
    Ok(Report { lengths, runs })
}

/// The inputs of the model's bundle, one at least, none longer than it takes.
fn inputs(model: &Model) -> Result<Vec<Golden<'_>>, SelftestError> {
    let origin = || model.origin().clone();
    let section = model.bundle().selftest();
    let section = section.ok_or_else(|| SelftestError::None { origin: origin() })?;
    let inputs: Result<Vec<Golden<'_>>, Unreadable> = section.collect();
    match inputs {
        Ok(inputs) if inputs.is_empty() => Err(SelftestError::None { origin: origin() }),
        Ok(inputs) => Ok(inputs),
        Err(source) => Err(SelftestError::Unreadable {
            origin: origin(),
            source,
        }),
    }
}

/// Compares one way of answering with the bundle's checksums. An input that is refused is not the same.
fn run(
    isa: Isa,
    engine: &'static str,
    inputs: &[Golden<'_>],
    mut answer: impl FnMut(&Golden<'_>) -> Result<u32, QueryError>,
) -> Run {
    let mut run = Run {
        tier: isa.tier(),
        engine,
        same: 0,
        differs: None,
    };
    for (index, golden) in inputs.iter().enumerate() {
        if answer(golden) == Ok(golden.crc) {
            run.same += 1;
        } else {
            run.differs.get_or_insert(index);
        }
    }
    run
}

/// The checksum of the encoder's own logits.
fn alone(model: &Model, isa: Isa, golden: &Golden<'_>) -> Result<u32, QueryError> {
    let header = model.header();
    let (tokens, second) = (golden.ids.len(), golden.second as usize);
    check_input(tokens, second, model.positions()).map_err(QueryError::Forward)?;
    let mut memory = vec![0; scratch_bytes(header, tokens)];
    let scratch = Scratch::carve(&mut memory, header, tokens);
    let mut scratch = scratch.ok_or(QueryError::Plan)?;
    let mut logits = vec![0.0; header.logits(tokens)];
    let encoder = Encoder::new(model.bundle(), isa);
    let ran = encoder.forward(golden.ids, second, &mut scratch, &mut logits);
    ran.map_err(QueryError::Forward)?;
    Ok(logits_crc(&logits))
}

/// Why nothing could be compared. Its text is one line and names the file.
#[derive(Debug)]
pub enum SelftestError {
    /// The bundle carries no inputs.
    None {
        /// The bundle.
        origin: Origin,
    },
    /// The bundle's inputs are damaged.
    Unreadable {
        /// The bundle.
        origin: Origin,
        /// What is wrong with them.
        source: Unreadable,
    },
    /// There is no session to ask.
    Open(OpenError),
}

impl From<OpenError> for SelftestError {
    fn from(error: OpenError) -> Self {
        SelftestError::Open(error)
    }
}

impl Display for SelftestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelftestError::None { origin } => write!(
                f,
                "{origin}: the bundle carries no inputs to test itself with; quantize the model again"
            ),
            SelftestError::Unreadable { origin, source } => {
                write!(
                    f,
                    "{origin}: {source}; copy it again, or quantize the model again"
                )
            }
            SelftestError::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SelftestError {}
