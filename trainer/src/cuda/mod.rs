//! Training on a GPU: the model of [`crate::model`], with its steps as CUDA kernels of our own.
//!
//! ```text
//!  Bert, AdamW ──► device::Engine ◄── engine ──► pass: encoder (attention, feed_forward), heads, loss
//!                                       │          │
//!                     layout, inputs ◄──┘          └──► kernels ──► machine ◄── driver: a GPU
//!                                                       *.cu                ◄── tests: the host
//! ```
//!
//! * `driver`: an NVIDIA GPU, by its driver, NVRTC and cuBLAS; with the feature `cuda`.
//! * `machine`: what the rest needs of a GPU, and its memory.
//! * `kernels`: the kernels, one argument struct for each; `kernels/*.cu`.
//! * `layout`, `inputs`: where parameters lie on the device; what a batch sends there.
//! * `pass`, `encoder`, `attention`, `feed_forward`, `heads`, `loss`: the parts of the network, forward and backward, as
//!   in [`crate::ops`], whose structs they read.
//! * `engine`: all of it together.
//!
//! candle takes no part: its graph has four nodes here, whose order backward is known, and its CUDA backend is half an
//! hour of compiling kernels that none of the four calls, with a toolkit. So this builds wherever Rust does, and what it
//! needs of NVIDIA's it opens when a GPU is asked for.
//!
//! The same as on the CPU: what is computed and in which precision, dropout's masks bit for bit, the optimizer, checkpoints.
//! With bf16, products and attention read bf16 rows, weights and probabilities; sums, norms, residuals, gradients of
//! parameters, master weights and moments are f32, and so are the heads. What is different: rows that are kept for the
//! backward pass rather than computed again, and the order of sums. That order is fixed, so that a run gives the same bits
//! on the same GPU.
//!
//! The tests compile the kernels' own source as C++ and run it on the host, thread by thread, below the same Rust code: each
//! parameter's gradient and steps of AdamW against the CPU's. The same tests run on a GPU that `BERTH_TEST_DEVICE` names.

mod attention;
#[cfg(feature = "cuda")]
mod driver;
mod encoder;
mod engine;
mod feed_forward;
mod heads;
mod inputs;
mod kernels;
mod layout;
mod loss;
mod machine;
mod pass;
#[cfg(test)]
mod tests;

#[cfg(feature = "cuda")]
pub use opening::{check, open};

#[cfg(feature = "cuda")]
mod opening {
    use std::sync::Arc;

    use super::driver::{self, Gpu};
    use super::engine::Trained;
    use super::kernels::WIDEST_HEAD;
    use super::machine::Operand;
    use crate::device::{Device, DeviceError};
    use crate::model::Bert;

    pub use driver::check;

    /// Puts a model on a GPU.
    ///
    /// # Errors
    /// If the GPU can't be had, or the model does not fit it.
    pub fn open(device: Device, model: &Bert, mixed: bool) -> Result<Trained, DeviceError> {
        let operand = if mixed { Operand::Half } else { Operand::Full };
        let layers = &model.encoder().layers;
        let head = layers.first().map_or(1, |layer| layer.attention.heads.size);
        if head > WIDEST_HEAD {
            let problem =
                format!("heads of {head} columns; the kernels are made for {WIDEST_HEAD} at most");
            return Err(DeviceError::Unfit { device, problem });
        }
        let gpu = Gpu::open(device, head, operand)?;
        Trained::new(Arc::new(gpu), model, operand)
    }
}
