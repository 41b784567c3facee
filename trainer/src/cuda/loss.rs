//! The loss on the device: the road of [`crate::ops::loss`].

use super::inputs::{Offset, Packed};
use super::kernels::{Choices, Total, Values};
use super::machine::{Buffer, Operand};
use super::pass::Pass;
use crate::device::DeviceError;
use crate::kernels::loss::Weighing;
use crate::ops::loss::Targets;

/// What is to be learned from a batch.
#[derive(Copy, Clone)]
pub struct Learned<'a> {
    /// Those of the batch's rows.
    pub targets: &'a Targets,
    /// Of their classes.
    pub weighing: Option<&'a Weighing>,
    /// What all targets of the update weigh together.
    pub whole: f64,
}

/// What a loss needs on the device.
pub enum PackedTargets {
    /// A choice among the columns of each row, or among the rows of a sequence.
    Choices {
        /// The right one of each.
        rights: Offset,
        /// Of the classes.
        weights: Option<Offset>,
        /// How many.
        count: usize,
        /// Whether they are among rows.
        among_rows: bool,
        /// What is to be divided by.
        mass: f64,
        /// ε and γ.
        smoothing: [f64; 2],
    },
    /// 0 or 1 for each output.
    Sets {
        /// The first.
        targets: Offset,
        /// What is to be divided by.
        mass: f64,
    },
    /// A number for each output.
    Values {
        /// The first.
        targets: Offset,
        /// What is to be divided by.
        mass: f64,
    },
}

impl PackedTargets {
    /// Adds the targets of a model with `outputs` outputs to what is sent.
    pub fn new(learned: Learned<'_>, outputs: usize, packed: &mut Packed) -> Self {
        let Learned {
            targets,
            weighing,
            whole,
        } = learned;
        let right = |&class: &i64| (class as i32).to_ne_bytes();
        match targets {
            Targets::Classes(classes) => {
                let weights = weighing.map(|w| &w.weights[..]).filter(|w| !w.is_empty());
                let bytes = |weights: &[f64]| {
                    let all = weights.iter().map(|w| w.to_ne_bytes());
                    packed.put(all.collect::<Vec<_>>())
                };
                Self::Choices {
                    weights: weights.map(bytes),
                    rights: packed.put(classes.iter().map(right)),
                    count: classes.len(),
                    among_rows: false,
                    mass: whole,
                    smoothing: weighing.map_or([0.0; 2], |w| [w.smoothing, w.gamma]),
                }
            }
            Targets::Spans(_, spans) => Self::Choices {
                rights: packed.indices(spans.iter().flatten().copied()),
                weights: None,
                count: 2 * spans.len(),
                among_rows: true,
                mass: 2.0 * whole,
                smoothing: [0.0; 2],
            },
            Targets::Sets(sets) => {
                let mut all = vec![0f32; sets.len() * outputs];
                for (row, set) in all.chunks_exact_mut(outputs).zip(sets) {
                    set.iter().for_each(|&class| row[class as usize] = 1.0);
                }
                Self::Sets {
                    targets: packed.put(all.into_iter().map(f32::to_ne_bytes)),
                    mass: whole * outputs as f64,
                }
            }
            Targets::Values(values) => Self::Values {
                targets: packed.put(values.iter().map(|v| v.to_ne_bytes())),
                mass: whole,
            },
        }
    }
}

impl Pass<'_> {
    /// The batch's share of the loss, a double, and the gradient of its logits, `rows` rows of `outputs`.
    pub fn loss(
        &self,
        targets: &PackedTargets,
        logits: &Buffer,
        rows: usize,
        outputs: usize,
    ) -> Result<(Buffer, Buffer), DeviceError> {
        let gradient = self.full(rows * outputs)?;
        let count = match targets {
            PackedTargets::Choices { count, .. } => *count,
            PackedTargets::Sets { .. } | PackedTargets::Values { .. } => rows * outputs,
        };
        let terms = self.memory.take(8 * count)?;
        let values = |targets: Offset, mass: f64| Values {
            outputs: logits.at(),
            targets: self.sent.at(targets),
            gradient: gradient.at(),
            terms: terms.at(),
            count: count as u64,
            mass,
        };
        // SAFETY: the targets were checked against rows and outputs, and weights, where there are any, are one for each
        // output; gradient and terms are as long as the targets.
        unsafe {
            match *targets {
                PackedTargets::Sets { targets, mass } => self
                    .stream
                    .binary_cross_entropy(Operand::Full, values(targets, mass)),
                PackedTargets::Values { targets, mass } => self
                    .stream
                    .squared_error(Operand::Full, values(targets, mass)),
                PackedTargets::Choices {
                    rights,
                    weights,
                    among_rows,
                    mass,
                    smoothing,
                    ..
                } => {
                    let argument = Choices {
                        logits: logits.at(),
                        gradient: gradient.at(),
                        rights: self.sent.at(rights),
                        weights: weights.map_or(0, |weights| self.sent.at(weights)),
                        terms: terms.at(),
                        starts: if among_rows {
                            self.sent.at(self.starts)
                        } else {
                            0
                        },
                        choices: count as u32,
                        columns: outputs as u32,
                        smoothing: smoothing[0],
                        gamma: smoothing[1],
                        mass,
                    };
                    self.stream.cross_entropy(Operand::Full, argument)
                }
            }
        }?;
        let sum = self.memory.take(8)?;
        let argument = Total {
            terms: terms.at(),
            sum: sum.at(),
            count: count as u64,
        };
        // SAFETY: there are as many terms, and room for a double.
        unsafe { self.stream.total(Operand::Full, argument) }?;
        Ok((sum, gradient))
    }
}
