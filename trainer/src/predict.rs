//! Logits without training: f32, no dropout, the same computation as in training.

use std::path::PathBuf;

use berth_checkpoint::Checkpoint;
use berth_data::Encoded;
use berth_task::Task;

use crate::batches::Batch;
use crate::check;
use crate::error::TrainError;
use crate::model::{Bert, HeadKind, Missing};
use crate::observer::Control;

/// A fine-tuned model, ready to answer.
pub struct Predictor {
    model: Bert,
    limits: check::Limits,
    /// The checkpoint's folder.
    dir: PathBuf,
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
            dir: checkpoint.dir.clone(),
        })
    }

    /// The logits of each of `rows`, in their order, for a head that answers for each token one token after the other;
    /// computed `batch` at a time on the threads of the current rayon pool.
    ///
    /// # Errors
    /// If the model can't read a row, or answers with what is no number.
    pub fn logits(&self, rows: &[Encoded], batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        self.limits.check_inputs(rows)?;
        let all =
            logits(&self.model, rows, batch, |_, _| Control::Continue)?.expect("nobody stops it");
        match all.iter().flatten().all(|logit| logit.is_finite()) {
            true => Ok(all),
            false => Err(self.broken()),
        }
    }

    /// Why the answers are no numbers.
    fn broken(&self) -> TrainError {
        let what = match self.model.not_finite() {
            Some(name) => format!("tensor `{name}` holds what is no number"),
            None => "its weights are so large that its answers are no numbers".to_owned(),
        };
        TrainError::Damaged {
            path: self.dir.clone(),
            problem: format!(
                "{what}; take another model, or a checkpoint from before its training went wrong"
            ),
        }
    }
}

/// The logits of checked rows. Rows of like length go together, so that the threads have like work. `watch` hears how
/// many are done, of how many, before each batch and at the end; None where it stops them.
pub(crate) fn logits(
    model: &Bert,
    rows: &[Encoded],
    batch: usize,
    mut watch: impl FnMut(usize, usize) -> Control,
) -> Result<Option<Vec<Vec<f32>>>, TrainError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(rows[i].ids.len()));
    let mut all = vec![Vec::new(); rows.len()];
    let mut done = 0;
    for indices in order.chunks(batch.max(1)) {
        if watch(done, rows.len()) == Control::Stop {
            return Ok(None);
        }
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
        done += indices.len();
    }
    watch(done, rows.len());
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_checkpoint::save::{Existing, Folder, TensorRef};
    use berth_checkpoint::{Tensor, tiny};

    #[test]
    fn weights_that_are_no_numbers_are_named_instead_of_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        tiny::create(&base, 7, &["film"]).unwrap();
        let base = Checkpoint::open(&base).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let config = base.config.with_head(Task::TextClassification, &labels);
        let read = |name: &str| (name.to_owned(), base.tensor(name).unwrap());
        let mut tensors: Vec<(String, Tensor)> = base.names().map(read).collect();
        for (name, shape) in [
            ("classifier.weight", vec![2, 32]),
            ("classifier.bias", vec![2]),
        ] {
            let data = vec![0.5; shape.iter().product()];
            tensors.push((name.to_owned(), Tensor { shape, data }));
        }
        let logits = |name: &str, tensors: &[(String, Tensor)]| {
            let refs: Vec<TensorRef> = tensors
                .iter()
                .map(|(name, tensor)| TensorRef {
                    name,
                    shape: &tensor.shape,
                    data: &tensor.data,
                })
                .collect();
            let mut folder = Folder::create(dir.path().join(name)).unwrap();
            folder.model(&config, &refs).unwrap();
            let folder = folder.commit(Existing::Refuse).unwrap();
            let checkpoint = Checkpoint::open(folder).unwrap();
            let row = Encoded {
                ids: vec![2, 7, 3],
                second: 3,
                ..Encoded::default()
            };
            let predictor = Predictor::load(&checkpoint, Task::TextClassification)?;
            predictor.logits(&[row], 1)
        };
        assert_eq!(logits("whole", &tensors).unwrap()[0].len(), 2);
        let name = "bert.encoder.layer.1.output.dense.bias";
        let found = tensors.iter_mut().find(|(own, _)| own == name);
        found.unwrap().1.data[3] = f32::NAN;
        let error = logits("broken", &tensors).unwrap_err().to_string();
        assert!(
            error.contains(&format!("broken: tensor `{name}` holds what is no number")),
            "{error}"
        );
    }
}
