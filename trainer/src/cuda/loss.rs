//! The loss on the device: the road of [`crate::ops::loss`].

use super::inputs::{Offset, Packed};
use super::kernels::{Choices, Total, Values};
use super::machine::{Buffer, Operand};
use super::pass::Pass;
use crate::device::DeviceError;
use crate::kernels::loss::{IGNORED, Weighing};
use crate::ops::loss::Targets;

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
    Sets(Offset),
    /// A number for each output.
    Values(Offset),
}

impl PackedTargets {
    /// Adds the targets of a model with `outputs` outputs to what is sent.
    pub fn new(
        targets: &Targets,
        weighing: Option<&Weighing>,
        outputs: usize,
        packed: &mut Packed,
    ) -> Self {
        let right = |&class: &i64| (class as i32).to_ne_bytes();
        match targets {
            Targets::Classes(classes) => {
                let weights = weighing.map(|w| &w.weights[..]).filter(|w| !w.is_empty());
                let weight = |class: i64| weights.map_or(1.0, |w| w[class as usize]);
                let counted = classes.iter().filter(|&&class| class != IGNORED);
                let bytes = |weights: &[f64]| {
                    let all = weights.iter().map(|w| w.to_ne_bytes());
                    packed.put(all.collect::<Vec<_>>())
                };
                Self::Choices {
                    weights: weights.map(bytes),
                    rights: packed.put(classes.iter().map(right)),
                    count: classes.len(),
                    among_rows: false,
                    mass: counted.map(|&class| weight(class)).sum(),
                    smoothing: weighing.map_or([0.0; 2], |w| [w.smoothing, w.gamma]),
                }
            }
            Targets::Spans(_, spans) => Self::Choices {
                rights: packed.indices(spans.iter().flatten().copied()),
                weights: None,
                count: 2 * spans.len(),
                among_rows: true,
                mass: 2.0 * spans.len() as f64,
                smoothing: [0.0; 2],
            },
            Targets::Sets(sets) => {
                let mut all = vec![0f32; sets.len() * outputs];
                for (row, set) in all.chunks_exact_mut(outputs).zip(sets) {
                    set.iter().for_each(|&class| row[class as usize] = 1.0);
                }
                Self::Sets(packed.put(all.into_iter().map(f32::to_ne_bytes)))
            }
            Targets::Values(values) => {
                Self::Values(packed.put(values.iter().map(|v| v.to_ne_bytes())))
            }
        }
    }
}

impl Pass<'_> {
    /// The loss of logits, a double, and their gradient. There are `rows` rows of `outputs`.
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
            PackedTargets::Sets(_) | PackedTargets::Values(_) => rows * outputs,
        };
        let terms = self.memory.take(8 * count)?;
        let values = |targets: Offset| Values {
            outputs: logits.at(),
            targets: self.sent.at(targets),
            gradient: gradient.at(),
            terms: terms.at(),
            count: count as u64,
        };
        // SAFETY: the targets were checked against rows and outputs; gradient and terms are as long as they.
        unsafe {
            match *targets {
                PackedTargets::Sets(targets) => self
                    .stream
                    .binary_cross_entropy(Operand::Full, values(targets)),
                PackedTargets::Values(targets) => {
                    self.stream.squared_error(Operand::Full, values(targets))
                }
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
