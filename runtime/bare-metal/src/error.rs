//! Why there is no answer, and what a selftest found.

use core::fmt;

use berth_bundle::{OpenError, SelftestError, VerifyError};
use berth_encoder::ForwardError;
use berth_task::Task;
use berth_wordpiece::{EncodeError, TableError};

/// Why there is no answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Failed {
    /// The bytes are no bundle that this version can use.
    Open(OpenError),
    /// A byte of the bundle is not what was written.
    Damaged(VerifyError),
    /// The bundle carries no tokenizer that can be used.
    Tokenizer(TableError),
    /// The text does not go into an input.
    Encode(EncodeError),
    /// The model has another task than to classify a text.
    Task(Task),
    /// The block to calculate in is too small for this model.
    Scratch {
        /// How many bytes it takes.
        needed: usize,
        /// How many there are.
        there: usize,
    },
    /// More logits than there is room for.
    Outputs {
        /// How many there are.
        outputs: usize,
    },
    /// The model does not take the input.
    Forward(ForwardError),
    /// The bundle's inputs with known answers can't be read.
    Selftest(SelftestError),
    /// An input has other bits here than on the workstation.
    Differs(Check),
    /// Nobody said what to classify, or it is not UTF-8.
    NoText,
    /// What was printed did not arrive.
    Output,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Open(why) => write!(f, "{why}"),
            Failed::Damaged(why) => write!(f, "{why}"),
            Failed::Tokenizer(why) => write!(f, "{why}"),
            Failed::Encode(why) => write!(f, "{why}"),
            Failed::Task(task) => write!(f, "a model for {task}; this program classifies a text"),
            Failed::Scratch { needed, there } => write!(
                f,
                "the model takes {needed} bytes to calculate in where there are {there}"
            ),
            Failed::Outputs { outputs } => write!(f, "no room for {outputs} logits"),
            Failed::Forward(why) => write!(f, "{why}"),
            Failed::Selftest(why) => write!(f, "{why}"),
            Failed::Differs(check) => write!(f, "{check}"),
            Failed::NoText => f.write_str("no text, or one that is not UTF-8 or too long"),
            Failed::Output => f.write_str("nobody listens"),
        }
    }
}

impl core::error::Error for Failed {}

impl From<fmt::Error> for Failed {
    fn from(_: fmt::Error) -> Self {
        Failed::Output
    }
}

/// What became of the inputs with known answers that a bundle carries.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Check {
    /// Those whose logits have the workstation's bits.
    pub same: usize,
    /// Those whose logits have others.
    pub differ: usize,
    /// Those that are longer than the memory allows for, which were not asked.
    pub longer: usize,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.same + self.differ;
        write!(f, "selftest: {} of {asked} the same bits", self.same)?;
        if self.longer > 0 {
            write!(f, ", {} too long to ask", self.longer)?;
        }
        Ok(())
    }
}
