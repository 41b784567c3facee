//! A parameter: a candle `Var` with its name and the gradient that the ops add to.
//!
//! candle's autograd carries the activations' gradients from op to op. A parameter's gradient does not travel with
//! them: the backward pass of the op that reads a parameter adds to it right here, as PyTorch's `.grad` does. That
//! makes accumulation over several batches free, lets one op read more than candle's three tensors, keeps rows of the
//! word table that no token asked for out of everything, and saves the zeroed copy that candle adds each gradient to.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{
    CpuStorage, Device, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, Var, bail,
};

use crate::kernels::gemm::Write;
use crate::kernels::{adamw, isa::Isa};

/// One named tensor that is trained, unless it is [fixed](Parameter::fix).
pub struct Parameter {
    name: String,
    shape: Vec<usize>,
    var: Var,
    gradient: Mutex<Gradient>,
}

/// The sum of the gradients since [`Gradient::clear`].
pub enum Gradient {
    /// Of a parameter whose every element takes part.
    Dense {
        /// In the parameter's order; anything while `filled` is false.
        values: Vec<f32>,
        /// Whether an op has written since it was cleared.
        filled: bool,
    },
    /// Of a table, of which a batch reads some rows: the others' gradient is zero.
    Rows {
        /// Columns of the table.
        width: usize,
        /// Rows of the table that have a gradient, in the order in which they were first met.
        rows: Vec<u32>,
        /// Where each of them is in `rows`.
        slots: HashMap<u32, u32>,
        /// The gradients of `rows`.
        values: Vec<f32>,
    },
    /// Of a parameter that stays as it is: nothing is added to it.
    Fixed,
}

impl Parameter {
    /// A dense layer's weight or bias, or a norm's.
    ///
    /// # Errors
    /// If `data` is not as long as the shape says.
    pub fn dense(name: &str, shape: &[usize], data: Vec<f32>) -> Result<Arc<Self>> {
        let gradient = Gradient::Dense {
            values: Vec::new(),
            filled: false,
        };
        Self::new(name, shape, data, gradient)
    }

    /// A table, of shape `[rows, columns]`.
    ///
    /// # Errors
    /// If `data` is not as long as the shape says.
    pub fn table(name: &str, shape: &[usize], data: Vec<f32>) -> Result<Arc<Self>> {
        let width = shape.last().copied().unwrap_or(0);
        let gradient = Gradient::Rows {
            width,
            rows: Vec::new(),
            slots: HashMap::new(),
            values: Vec::new(),
        };
        Self::new(name, shape, data, gradient)
    }

    fn new(name: &str, shape: &[usize], data: Vec<f32>, gradient: Gradient) -> Result<Arc<Self>> {
        let var = Var::from_vec(data, shape, &Device::Cpu)?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            var,
            gradient: Mutex::new(gradient),
        }))
    }

    /// Its name in a checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sizes, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor: the variable itself if `train`, so that candle tracks what is computed from it.
    pub fn tensor(&self, train: bool) -> Tensor {
        if train {
            self.var.as_tensor().clone()
        } else {
            self.var.as_detached_tensor()
        }
    }

    /// Its numbers, to read. Nobody can write while they are held.
    pub fn values(&self) -> Values<'_> {
        Values(self.var.storage_and_layout().0)
    }

    /// Calls `change` with its numbers.
    ///
    /// # Errors
    /// Those of candle, if the tensor is not an array of f32 on the CPU.
    pub fn update(&self, change: impl FnOnce(&mut [f32])) -> Result<()> {
        self.var.inplace_op1(&Change(Mutex::new(Some(change))))
    }

    /// Its gradient.
    pub fn gradient(&self) -> MutexGuard<'_, Gradient> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it as it is from now on: it takes no gradient, and has no part in the norm of all gradients. An optimizer
    /// that is made after this doesn't move it.
    pub fn fix(&self) {
        *self.gradient() = Gradient::Fixed;
    }

    /// Whether it stays as it is.
    pub fn is_fixed(&self) -> bool {
        matches!(*self.gradient(), Gradient::Fixed)
    }

    /// Adds to a dense gradient: `add` writes over the values it is given or adds to them, as it is told.
    pub fn add_gradient(&self, add: impl FnOnce(&mut [f32], Write)) {
        if let Gradient::Dense { values, filled } = &mut *self.gradient() {
            values.resize(self.len(), 0.0);
            add(values, if *filled { Write::Add } else { Write::Over });
            *filled = true;
        }
    }

    /// Adds `more` to a dense gradient.
    pub fn add_values(&self, more: &[f32]) {
        self.add_gradient(|values, write| match write {
            Write::Over => values.copy_from_slice(more),
            Write::Add => values
                .iter_mut()
                .zip(more)
                .for_each(|(value, more)| *value += more),
        });
    }

    /// Adds to some rows of a table's gradient: `add` gets the place of each of `rows` among the values, and the
    /// values.
    pub fn add_rows(
        &self,
        touched: impl Iterator<Item = u32>,
        add: impl FnOnce(&[u32], &mut [f32]),
    ) {
        if let Gradient::Rows {
            width,
            rows,
            slots,
            values,
        } = &mut *self.gradient()
        {
            let places: Vec<u32> = touched
                .map(|row| {
                    *slots.entry(row).or_insert_with(|| {
                        rows.push(row);
                        rows.len() as u32 - 1
                    })
                })
                .collect();
            values.resize(rows.len() * *width, 0.0);
            add(&places, values);
        }
    }
}

impl Gradient {
    /// Starts again from zero.
    pub fn clear(&mut self) {
        match self {
            Self::Dense { filled, .. } => *filled = false,
            Self::Rows {
                rows,
                slots,
                values,
                ..
            } => {
                rows.clear();
                slots.clear();
                values.clear();
            }
            Self::Fixed => {}
        }
    }

    /// Whether any op has added to it since it was cleared, where it is not fixed.
    pub fn is_filled(&self) -> bool {
        match self {
            Self::Dense { filled, .. } => *filled,
            Self::Rows { rows, .. } => !rows.is_empty(),
            Self::Fixed => true,
        }
    }

    /// The gradient of a row of a table, if it has one.
    pub fn row(&self, row: u32) -> Option<&[f32]> {
        match self {
            Self::Dense { .. } | Self::Fixed => None,
            Self::Rows {
                width,
                slots,
                values,
                ..
            } => {
                let slot = *slots.get(&row)? as usize;
                Some(&values[slot * width..][..*width])
            }
        }
    }

    /// The sum of its squares, in a fixed order.
    pub fn sum_of_squares(&self, isa: Isa) -> f64 {
        match self {
            Self::Dense { filled: false, .. } | Self::Fixed => 0.0,
            Self::Dense { values, .. } | Self::Rows { values, .. } => {
                adamw::sum_of_squares(isa, values)
            }
        }
    }

    /// All of it, zeros included, for a parameter of `len` numbers.
    pub fn to_vec(&self, len: usize) -> Vec<f32> {
        match self {
            Self::Dense {
                values,
                filled: true,
            } => values.clone(),
            Self::Dense { .. } | Self::Fixed => vec![0.0; len],
            Self::Rows {
                width,
                rows,
                values,
                ..
            } => {
                let mut all = vec![0.0; len];
                for (row, values) in rows.iter().zip(values.chunks_exact(*width)) {
                    all[*row as usize * width..][..*width].copy_from_slice(values);
                }
                all
            }
        }
    }
}

/// A parameter's numbers, locked against writing.
pub struct Values<'a>(StorageRef<'a>);

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.0 {
            Storage::Cpu(CpuStorage::F32(values)) => values,
            _ => unreachable!("a parameter is made from a Vec<f32> on the CPU"),
        }
    }
}

/// A closure as one of candle's in-place ops, which is the way to write to a variable without copying it.
struct Change<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        let change = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (storage, change) {
            (CpuStorage::F32(values), Some(change)) => {
                change(values);
                Ok(())
            }
            _ => bail!("a parameter is an array of f32 and changes once at a time"),
        }
    }
}
