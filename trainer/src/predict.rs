//! Logits without training: f32, no dropout, the same computation as in training.

use berth_checkpoint::Checkpoint;
use berth_data::Encoded;

use crate::batches::Batch;
use crate::check;
use crate::error::TrainError;
use crate::model::{Bert, HeadKind, Missing};

/// A fine-tuned model, ready to answer.
pub struct Predictor {
    model: Bert,
    limits: check::Limits,
}

impl Predictor {
    /// Loads a checkpoint with a classifier.
    ///
    /// # Errors
    /// If a tensor can't be read, or the checkpoint has no classifier.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, TrainError> {
        let outputs = checkpoint
            .shape("classifier.weight")
            .map_or(checkpoint.config.id2label.len(), |shape| shape[0]);
        let model = Bert::load(checkpoint, HeadKind::Sequence { outputs }, Missing::Refused)?;
        Ok(Self {
            model,
            limits: check::Limits::of(&checkpoint.config),
        })
    }

    /// The logits of each of `rows`, in their order, computed `batch` at a time on the threads of the current rayon
    /// pool.
    ///
    /// # Errors
    /// If the model can't read a row.
    pub fn logits(&self, rows: &[Encoded], batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        self.limits.check_inputs(rows)?;
        logits(&self.model, rows, batch)
    }
}

/// The logits of checked rows. Rows of like length go together, so that the threads have like work.
pub(crate) fn logits(
    model: &Bert,
    rows: &[Encoded],
    batch: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(rows[i].ids.len()));
    let mut all = vec![Vec::new(); rows.len()];
    for indices in order.chunks(batch.max(1)) {
        let logits = model
            .forward(&Batch::new(indices.iter().map(|&i| &rows[i])), None)?
            .to_vec2()?;
        for (&index, row) in indices.iter().zip(logits) {
            all[index] = row;
        }
    }
    Ok(all)
}
