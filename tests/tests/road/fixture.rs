//! What the tests share: sentences that can be learned, a tiny model, and folders that vanish.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use berth_checkpoint::save::{Existing, Folder, TensorRef};
use berth_checkpoint::{Checkpoint, Config, TrainingArgs, tiny, tokenizer};
use berth_data::{EncodeOptions, Encoded, Source, encode_all};
use berth_quantize::{Options, quantize};
use berth_task::Task;
use berth_trainer::{Job, Outcome, Recipe, Start, Unobserved, finetune};
use berth_wordpiece::Tokenizer;
use tempfile::TempDir;

/// The labels of [`sentences`], as they stand in the file.
pub const LABELS: [&str; 2] = ["negative", "positive"];

/// Pieces of an input at most.
pub const LENGTH: usize = 32;

/// Words that make a sentence a good one.
pub const GOOD: [&str; 6] = ["good", "warm", "funny", "moving", "clever", "fresh"];
/// Words that make it a bad one.
pub const BAD: [&str; 6] = ["bad", "cold", "dull", "clumsy", "stale", "hollow"];
const REST: [&str; 12] = [
    "the", "a", "film", "plot", "story", "actor", "and", "is", "this", "scene", "it", "ending",
];

/// A folder of its own for a test, gone when the test ends.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder beside the build")
}

/// A base model that knows the words of [`sentences`].
pub fn base_model(dir: &Path) -> Checkpoint {
    let words: Vec<&str> = [&GOOD[..], &BAD, &REST].concat();
    tiny::create(dir, 7, &words).expect("a tiny model");
    Checkpoint::open(dir).expect("the tiny model")
}

/// Saves a model of these tensors with the tokenizer of `base`, as one that was trained for `task`; over one that is there.
pub fn save(
    base: &Checkpoint,
    config: &Config,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    task: Task,
    to: &Path,
) -> PathBuf {
    let refs: Vec<TensorRef<'_>> = tensors
        .iter()
        .map(|(name, shape, data)| TensorRef { name, shape, data })
        .collect();
    let mut folder = Folder::create(to).expect("a folder");
    folder.model(config, &refs).expect("a model");
    let tokenizer = base.tokenizer_files().expect("a tokenizer");
    folder.tokenizer(&tokenizer, 128).expect("a tokenizer");
    folder
        .training_args(&TrainingArgs::new(task, 40))
        .expect("its arguments");
    folder.commit(Existing::Replace).expect("the model")
}

/// A table of sentences, one good or bad word in each, which decides the label.
pub fn sentences(rows: usize, seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut table = "sentence\tlabel\n".to_owned();
    for _ in 0..rows {
        let label = dice.below(2);
        let mut words: Vec<&str> = (0..3 + dice.below(6)).map(|_| dice.pick(&REST)).collect();
        let place = dice.below(words.len() + 1);
        words.insert(place, dice.pick([&BAD, &GOOD][label]));
        table += &format!("{}\t{}\n", words.join(" "), LABELS[label]);
    }
    table
}

/// [`sentences`] as a file.
pub fn write_sentences(dir: &Path, name: &str, rows: usize, seed: u64) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, sentences(rows, seed)).expect("a table");
    path
}

/// The rows of a table, as the checkpoint's tokenizer encodes them.
pub fn encoded(table: &Path, checkpoint: &Checkpoint) -> Vec<Encoded> {
    let dataset = berth_data::read(&Source::new(table, Task::TextClassification)).expect("rows");
    let tables = tokenizer::tables(&checkpoint.dir).expect("a tokenizer");
    let tokenizer = Tokenizer::new(&tables).expect("its tables");
    let options = EncodeOptions::new(Task::TextClassification, LENGTH);
    encode_all(&tokenizer, &options, &dataset.examples).expect("room for the added tokens")
}

/// A recipe that learns [`sentences`] in seconds.
pub fn recipe() -> Recipe {
    Recipe {
        learning_rate: 1e-3,
        num_train_epochs: 10.0,
        per_device_train_batch_size: 16,
        ..Recipe::default()
    }
}

/// Fine-tunes `base` on `train` without a break.
pub fn train(base: &Checkpoint, train: &[Encoded], recipe: &Recipe, to: &Path) -> Checkpoint {
    let labels = LABELS.map(str::to_owned);
    let task = Task::TextClassification;
    let job = Job {
        base,
        task,
        labels: &labels,
        train,
        dev: None,
        recipe,
        output_dir: to,
        training_args: TrainingArgs::new(task, LENGTH),
        start: Start::Fresh,
    };
    let outcome = finetune(&job, &mut Unobserved).expect("a run");
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    Checkpoint::open(to).expect("the result")
}

/// A fine-tuned tiny model, made once for all tests.
pub struct Trained {
    /// Its folder.
    pub checkpoint: PathBuf,
    /// The same model as a bundle.
    pub bundle: PathBuf,
    /// Sentences that it has not seen.
    pub dev: PathBuf,
}

impl Trained {
    /// The one of this process.
    pub fn get() -> &'static Trained {
        static TRAINED: LazyLock<Trained> = LazyLock::new(Trained::make);
        &TRAINED
    }

    /// Opens the checkpoint.
    pub fn open(&self) -> Checkpoint {
        Checkpoint::open(&self.checkpoint).expect("the trained model")
    }

    /// Copies the checkpoint's files to a new folder.
    pub fn copy(&self, to: &Path) {
        fs::create_dir(to).expect("a folder");
        for entry in fs::read_dir(&self.checkpoint).expect("a checkpoint") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
    }

    fn make() -> Trained {
        // Statics are never dropped: the folder has a fixed place, and the next process clears it.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trained");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder beside the build");
        let trained = Trained {
            checkpoint: dir.join("checkpoint"),
            bundle: dir.join("tiny.berth"),
            dev: write_sentences(&dir, "dev.tsv", 100, 2),
        };
        let base = base_model(&dir.join("base"));
        let rows = encoded(&write_sentences(&dir, "train.tsv", 400, 1), &base);
        let checkpoint = train(&base, &rows, &recipe(), &trained.checkpoint);
        let bundle = quantize(&checkpoint, &Options::default()).expect("a bundle");
        bundle.write(&trained.bundle).expect("a file");
        trained
    }
}

/// SplitMix64: the same throws on every machine.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }
}
