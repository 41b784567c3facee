//! Where a model is trained: on the CPU, or on another device that holds the parameters while it does.
//!
//! An [`Engine`] is such a device with one model on it. [`crate::model::Bert`] and [`crate::optimizer::AdamW`] hand their
//! work over to it; the host's copies of parameters and moments are then those of the last time that they were fetched,
//! which is before anything is saved.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batches::Batch;
use crate::kernels::adamw::Update;
use crate::kernels::loss::Weighing;
use crate::model::Bert;
use crate::ops::loss::Targets;

/// A device, as `--device` names it: `cpu`, `cuda` or `cuda:N`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, counted from 0.
    Cuda(u16),
}

/// Why a device can't be had, or could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The name is none.
    #[error("--device {0}: a device is cpu, cuda or cuda:N")]
    Name(String),
    /// The program was built without CUDA.
    #[error("{0}: this program was built without CUDA; build it with `--features cuda`")]
    NotBuilt(Device),
    /// A library of NVIDIA's is not on this machine, or not where libraries are looked for.
    #[error("{device}: no {library}; {hint}")]
    NoLibrary {
        /// The device asked for.
        device: Device,
        /// Its file.
        library: &'static str,
        /// What it comes with.
        hint: &'static str,
    },
    /// The device or the model is not fit for it.
    #[error("{device}: {problem}")]
    Unfit {
        /// The device asked for.
        device: Device,
        /// Why.
        problem: String,
    },
    /// There is no memory left.
    #[error(
        "the GPU has no {0} MB left; a smaller --per_device_train_batch_size with more --gradient_accumulation_steps may \
         fit, and in an evaluation a smaller --per_device_eval_batch_size"
    )]
    Memory(usize),
    /// A call failed.
    #[error("CUDA: {call}: {problem}")]
    Call {
        /// Which.
        call: &'static str,
        /// What came back.
        problem: String,
    },
}

impl Device {
    /// That the program and the machine have this device.
    ///
    /// # Errors
    /// If they have not.
    pub fn check(self) -> Result<(), DeviceError> {
        match self {
            Self::Cpu => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => crate::cuda::check(self),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt(self)),
        }
    }

    /// Puts a model on this device, where it is not the CPU; `mixed` is for products of bf16 in training.
    ///
    /// # Errors
    /// If the program, the machine or the model is not fit for it.
    pub fn engine(self, model: &Bert, mixed: bool) -> Result<Option<Arc<dyn Engine>>, DeviceError> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Ok(Some(Arc::new(crate::cuda::open(self, model, mixed)?))),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => {
                let _ = (model, mixed);
                Err(DeviceError::NotBuilt(self))
            }
        }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let number = match name {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        number
            .map(Self::Cuda)
            .ok_or_else(|| DeviceError::Name(name.to_owned()))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

/// What a device holds of each parameter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Its values.
    Values,
    /// Its gradient.
    Gradient,
    /// The running mean of the gradient.
    FirstMoment,
    /// The running mean of its square.
    SecondMoment,
}

/// A model on a device. Parameters are numbered in the order of their names.
pub trait Engine: Send + Sync {
    /// The logits of a batch, row after row; with `masks`, under dropout.
    ///
    /// # Errors
    /// If the device fails.
    fn logits(&self, batch: &Batch, masks: Option<u64>) -> Result<Vec<f32>, DeviceError>;

    /// Adds the gradients of the share that a batch has in the mean loss of an update, and returns that share. The
    /// targets are those of the batch's rows and were checked; all of the update's [weigh](Targets::weight) `whole`
    /// together.
    ///
    /// # Errors
    /// If the device fails.
    fn learn(
        &self,
        batch: &Batch,
        masks: u64,
        targets: &Targets,
        weighing: Option<&Weighing>,
        whole: f64,
    ) -> Result<f64, DeviceError>;

    /// The parameters that no batch has given a gradient since the last step.
    fn without_gradient(&self) -> Vec<usize>;

    /// The L2 norm of all gradients together.
    ///
    /// # Errors
    /// If the device fails.
    fn gradient_norm(&self) -> Result<f64, DeviceError>;

    /// Moves every parameter by its update, and clears the gradients.
    ///
    /// # Errors
    /// If the device fails.
    fn step(&self, updates: &[Update]) -> Result<(), DeviceError>;

    /// Numbers of a parameter.
    ///
    /// # Errors
    /// If the device fails.
    fn read(&self, numbers: Numbers, parameter: usize) -> Result<Vec<f32>, DeviceError>;

    /// Writes numbers of a parameter, as many as it has.
    ///
    /// # Errors
    /// If the device fails.
    fn write(&self, numbers: Numbers, parameter: usize, values: &[f32]) -> Result<(), DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_name_that_pytorch_gives_it() {
        for (name, device) in [
            ("cpu", Device::Cpu),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:12", Device::Cuda(12)),
        ] {
            assert_eq!(
                (name.parse(), device.to_string()),
                (Ok(device), name.into())
            );
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
