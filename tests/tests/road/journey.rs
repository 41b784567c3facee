//! From sentences to an answer, by the libraries: what is learned arrives, and arrives the same.

use std::fs;
use std::path::Path;

use berth_checkpoint::{Checkpoint, TrainingArgs};
use berth_data::{EncodeOptions, Encoded, Evaluator, encode_all};
use berth_quantize::{Comparison, Options, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_trainer::{
    Control, Job, Observer, Outcome, Predictor, Recipe, Start, StepInfo, Unobserved, finetune,
};

use crate::fixture::{self, LABELS, LENGTH, Trained};

const TASK: Task = Task::TextClassification;

#[test]
fn sentences_become_answers_on_the_device() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let source = berth_data::Source::new(&trained.dev, TASK);
    let examples = berth_data::read(&source).expect("rows").examples;
    let rows = fixture::encoded(&trained.dev, &checkpoint);
    let f32 = logits(&checkpoint, &rows);

    let model = Model::open_verified(&trained.bundle).expect("the bundle");
    let mut session = model.session().expect("a session");
    let mut int8 = Vec::new();
    for (example, row) in examples.iter().zip(&rows) {
        let answer = session.logits(&example.text, None).expect("an answer");
        assert_eq!(answer.truncated, 0);
        let text = answer.values.to_vec();
        assert_eq!(
            session.logits_of(&row.ids, row.second).expect("an answer"),
            text
        );
        int8.push(text);
    }

    let evaluator = Evaluator {
        examples: &examples,
        ..evaluator(&rows)
    };
    let learned = Comparison::new(&evaluator, &f32, &int8).expect("a comparison");
    assert!(
        accuracy(&rows, &f32) >= 0.95,
        "the trainer learned {}",
        accuracy(&rows, &f32)
    );
    assert!(
        accuracy(&rows, &int8) >= 0.95,
        "the device knows {}",
        accuracy(&rows, &int8)
    );
    assert!(
        learned.agreement() >= 0.98,
        "agreement {}",
        learned.agreement()
    );

    for (text, label) in [
        ("the plot is clever", "positive"),
        ("a dull film", "negative"),
    ] {
        let answer = session.classify(text).expect("an answer");
        assert_eq!(answer.best().label, label, "{text}");
        let scores: Vec<f32> = answer.iter().map(|row| row.score).collect();
        assert!(
            scores[0] > 0.5 && (scores.iter().sum::<f32>() - 1.0).abs() < 1e-6,
            "{scores:?}"
        );
    }
}

#[test]
fn a_bundle_says_where_it_comes_from() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let model = Model::open(&trained.bundle).expect("the bundle");
    let header = model.header();
    assert_eq!(header.task, TASK);
    assert_eq!(header.labels.iter().collect::<Vec<_>>(), LABELS);
    assert_eq!(header.max_tokens as usize, LENGTH);
    assert_eq!(
        header.provenance.weights_sha256,
        checkpoint.sha256().expect("the weights")
    );
}

#[test]
fn an_interrupted_run_ends_with_the_weights_of_a_whole_one() {
    let dir = fixture::folder();
    let base = fixture::base_model(&dir.path().join("base"));
    let rows = fixture::encoded(
        &fixture::write_sentences(dir.path(), "t.tsv", 100, 5),
        &base,
    );
    let recipe = fixture::recipe();
    let whole = dir.path().join("whole");
    fixture::train(&base, &rows, &recipe, &whole);

    let halves = dir.path().join("halves");
    let mut run = Run {
        base: &base,
        rows: &rows,
        recipe: &recipe,
        to: &halves,
    };
    let stopped = run.finetune(Start::Fresh, &mut StopAfter(5));
    assert!(
        matches!(&stopped, Outcome::Interrupted { step: 5, .. }),
        "{stopped:?}"
    );
    assert!(
        !halves.join("model.safetensors").exists(),
        "no result before the end"
    );
    let finished = run.finetune(Start::ResumeNewest, &mut Unobserved);
    assert!(matches!(finished, Outcome::Finished(_)), "{finished:?}");
    assert!(
        weights(&whole) == weights(&halves),
        "a resumed run ended elsewhere"
    );

    let before = weights(&halves);
    let again = run.finetune(Start::ResumeNewest, &mut Unobserved);
    assert_eq!(again, Outcome::AlreadyFinished);
    assert!(
        before == weights(&halves),
        "resuming a finished run changed it"
    );
}

#[test]
fn the_seed_decides_every_byte_and_the_number_of_threads_none() {
    let dir = fixture::folder();
    let base = fixture::base_model(&dir.path().join("base"));
    let rows = fixture::encoded(&fixture::write_sentences(dir.path(), "t.tsv", 60, 5), &base);
    let made = |name: &str, threads: usize, seed: u64| {
        let recipe = Recipe {
            threads,
            seed,
            num_train_epochs: 1.0,
            ..fixture::recipe()
        };
        let checkpoint =
            fixture::train(&base, &rows, &recipe, &dir.path().join(name).join("model"));
        let options = Options::default();
        let bundle = quantize(&checkpoint, &options)
            .expect("a bundle")
            .to_bytes()
            .expect("bytes");
        (weights(&checkpoint.dir), bundle.to_vec())
    };
    let one = made("one", 1, 1);
    assert!(one == made("again", 1, 1), "the same run, another model");
    // The bundle remembers the recipe, and with it the threads.
    assert!(
        one.0 == made("three", 3, 1).0,
        "another number of threads, other weights"
    );
    assert!(
        one.0 != made("other", 1, 2).0,
        "another seed, the same weights"
    );
}

#[test]
fn two_texts_are_told_apart_on_the_whole_road() {
    let dir = fixture::folder();
    let base = fixture::base_model(&dir.path().join("base"));
    let pairs = "premise\thypothesis\tlabel\ngood film\tbad plot\tno\nbad plot\tgood film\tyes\n";
    let table = dir.path().join("pairs.tsv");
    fs::write(&table, pairs).expect("a table");
    let task = Task::TextPairClassification;
    let dataset = berth_data::read(&berth_data::Source::new(&table, task)).expect("rows");
    let tables = berth_checkpoint::tokenizer::tables(&base.dir).expect("a tokenizer");
    let tokenizer = berth_wordpiece::Tokenizer::new(&tables).expect("its tables");
    let options = EncodeOptions::new(task, LENGTH);
    let rows = encode_all(&tokenizer, &options, &dataset.examples).expect("ids");
    let to = dir.path().join("model");
    let recipe = Recipe {
        num_train_epochs: 30.0,
        ..fixture::recipe()
    };
    let job = Job {
        task,
        labels: &dataset.labels,
        training_args: TrainingArgs::new(task, LENGTH),
        ..job(&base, &rows, &recipe, &to)
    };
    finetune(&job, &mut Unobserved).expect("a run");
    let bundle = quantize(
        &Checkpoint::open(&to).expect("the result"),
        &Options::default(),
    );
    let bytes = bundle.expect("a bundle").to_bytes().expect("bytes");
    let model = Model::from_bytes(&bytes).expect("the bundle");
    let mut session = model.session().expect("a session");
    for (first, second, label) in [
        ("good film", "bad plot", "no"),
        ("bad plot", "good film", "yes"),
    ] {
        assert_eq!(
            session
                .classify_pair(first, second)
                .expect("an answer")
                .best()
                .label,
            label
        );
    }
    assert!(
        session.classify("good film").is_err(),
        "one text where two are needed"
    );
}

/// A run that can be cut and taken up again.
struct Run<'a> {
    base: &'a Checkpoint,
    rows: &'a [Encoded],
    recipe: &'a Recipe,
    to: &'a Path,
}

impl Run<'_> {
    fn finetune(&mut self, start: Start, observer: &mut dyn Observer) -> Outcome {
        let job = Job {
            start,
            ..job(self.base, self.rows, self.recipe, self.to)
        };
        finetune(&job, observer).expect("a run")
    }
}

fn job<'a>(
    base: &'a Checkpoint,
    train: &'a [Encoded],
    recipe: &'a Recipe,
    to: &'a Path,
) -> Job<'a> {
    Job {
        base,
        task: TASK,
        labels: labels(),
        train,
        dev: None,
        recipe,
        output_dir: to,
        training_args: TrainingArgs::new(TASK, LENGTH),
        start: Start::Fresh,
    }
}

fn labels() -> &'static [String] {
    static NAMES: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| LABELS.map(str::to_owned).to_vec());
    &NAMES
}

/// Interrupts a run.
struct StopAfter(u64);

impl Observer for StopAfter {
    fn on_step(&mut self, step: &StepInfo) -> Control {
        if step.step == self.0 {
            Control::Stop
        } else {
            Control::Continue
        }
    }
}

fn weights(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("model.safetensors")).expect("weights")
}

fn logits(checkpoint: &Checkpoint, rows: &[Encoded]) -> Vec<Vec<f32>> {
    let predictor = Predictor::load(checkpoint, TASK).expect("a model");
    predictor.logits(rows, 16).expect("logits")
}

fn accuracy(rows: &[Encoded], logits: &[Vec<f32>]) -> f64 {
    let evaluation = evaluator(rows).evaluate(logits).expect("metrics");
    evaluation.get("accuracy").expect("the accuracy")
}

fn evaluator(rows: &[Encoded]) -> Evaluator<'_> {
    Evaluator {
        task: TASK,
        task_name: None,
        labels: labels(),
        multi_label: false,
        examples: &[],
        inputs: rows,
        spans: Default::default(),
    }
}
