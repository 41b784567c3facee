//! Logits without training: f32, no dropout, the same computation as in training.

use berth_checkpoint::Checkpoint;
use berth_data::Encoded;
use berth_task::Task;

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
    /// Loads a checkpoint that was fine-tuned for `task`.
    ///
    /// # Errors
    /// If a tensor can't be read, or the checkpoint has no head for the task.
    pub fn load(checkpoint: &Checkpoint, task: Task) -> Result<Self, TrainError> {
        if let Some(head) = checkpoint.config.other_head(task) {
            return Err(TrainError::OtherHead {
                checkpoint: checkpoint.dir.clone(),
                head: head.to_owned(),
                task,
            });
        }
        let labels = checkpoint
            .shape("classifier.weight")
            .map_or(checkpoint.config.id2label.len(), |shape| shape[0]);
        let model = Bert::load(checkpoint, HeadKind::of(task, labels), Missing::Refused)?;
        Ok(Self {
            model,
            limits: check::Limits::of(&checkpoint.config),
        })
    }

    /// The logits of each of `rows`, in their order, for a head that answers for each token one token after the other;
    /// computed `batch` at a time on the threads of the current rayon pool.
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
        let batch = Batch::new(indices.iter().map(|&i| &rows[i]));
        let logits = model.forward(&batch, None)?;
        let (_, outputs) = logits.dims2()?;
        let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        let mut rest = &values[..];
        for &index in indices {
            let answers = match model.answers_tokens() {
                true => rows[index].ids.len(),
                false => 1,
            };
            let (own, after) = rest.split_at(answers * outputs);
            all[index] = own.to_vec();
            rest = after;
        }
    }
    Ok(all)
}
