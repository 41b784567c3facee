//! A small model, examples that can be learned, and jobs over them.

use std::path::{Path, PathBuf};

use berth_checkpoint::{Checkpoint, TrainingArgs, tiny};
use berth_data::{Encoded, Evaluator, Target};
use berth_task::Task;
use berth_trainer::random::Random;
use berth_trainer::{Job, Recipe, Start};

/// A folder with a small base model.
pub struct Base {
    dir: tempfile::TempDir,
    pub checkpoint: Checkpoint,
}

impl Base {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        tiny::create(&base, 3, &["good", "bad"]).unwrap();
        let checkpoint = Checkpoint::open(base).unwrap();
        Self { dir, checkpoint }
    }

    pub fn without_dropout(mut self) -> Self {
        self.checkpoint.config.hidden_dropout_prob = 0.0;
        self.checkpoint.config.attention_probs_dropout_prob = 0.0;
        self
    }

    /// A path beside the base model.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Sequences of random pieces with one of two signal pieces in the middle, which is their class; some have two texts.
pub fn examples(count: usize, seed: u64) -> Vec<Encoded> {
    let mut random = Random::new(seed);
    let one = |_| {
        let length = 3 + random.below(20);
        let class = random.below(2) as u32;
        let mut ids: Vec<u32> = (0..length).map(|_| 20 + random.below(60) as u32).collect();
        ids[0] = 2;
        ids[length / 2] = 10 + class;
        let second = if random.below(3) == 0 {
            length / 2
        } else {
            length
        };
        Encoded {
            ids,
            second,
            target: Target::Class(class),
            ..Encoded::default()
        }
    };
    let numbered = |(example, row)| Encoded { example, ..row };
    (0..count).map(one).enumerate().map(numbered).collect()
}

/// The same with the class as a number.
pub fn with_numbers(rows: Vec<Encoded>) -> Vec<Encoded> {
    let number = |target: &Target| match target {
        Target::Class(class) => Target::Value(*class as f32 * 4.0),
        other => other.clone(),
    };
    rows.into_iter()
        .map(|row| Encoded {
            target: number(&row.target),
            ..row
        })
        .collect()
}

/// Small steps often: 8 updates an epoch over 60 examples, and every strategy on.
pub fn recipe() -> Recipe {
    Recipe {
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 2,
        learning_rate: 5e-3,
        num_train_epochs: 2.0,
        logging_steps: 3,
        threads: 2,
        ..Recipe::default()
    }
}

pub fn labels() -> Vec<String> {
    ["bad", "good"].map(str::to_owned).to_vec()
}

/// A job of text classification.
pub fn job<'a>(
    base: &'a Base,
    recipe: &'a Recipe,
    labels: &'a [String],
    train: &'a [Encoded],
    output_dir: &'a Path,
) -> Job<'a> {
    Job {
        base: &base.checkpoint,
        task: Task::TextClassification,
        labels,
        train,
        dev: None,
        recipe,
        output_dir,
        training_args: TrainingArgs::new(Task::TextClassification, 64),
        start: Start::Fresh,
    }
}

/// How a job of text classification measures on `rows`.
pub fn dev(rows: &[Encoded]) -> Option<Evaluator<'_>> {
    Some(Evaluator {
        task: Task::TextClassification,
        task_name: None,
        labels: &[],
        multi_label: false,
        examples: &[],
        inputs: rows,
        spans: Default::default(),
    })
}

/// The bytes of the weights in a folder.
pub fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model.safetensors")).unwrap()
}

/// The names in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
