//! Whole runs on the small model: what they learn, what they write, and how they fail.

use std::path::{Path, PathBuf};

use berth_checkpoint::{Checkpoint, ProblemType};
use berth_data::{Encoded, Evaluator, Target};
use berth_task::Task;
use berth_trainer::recipe::Strategy;
use berth_trainer::{
    Control, Job, Observer, Outcome, Predictor, Recipe, Results, Start, StepInfo, TrainError,
    Unobserved, finetune,
};
use serde_json::Value;

use crate::common::{self, Base, examples, job, labels, names, recipe, weights, with_numbers};

const TASK: Task = Task::TextClassification;

fn finished(outcome: Outcome) -> Results {
    match outcome {
        Outcome::Finished(results) => results,
        other => panic!("{other:?}"),
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_learns_and_leaves_a_checkpoint_that_predicts_the_same() {
    let base = Base::new();
    let (labels, train, dev, out) = (
        labels(),
        examples(200, 1),
        examples(50, 2),
        base.path("out"),
    );
    let recipe = Recipe {
        num_train_epochs: 4.0,
        gradient_accumulation_steps: 1,
        ..recipe()
    };
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let results = finished(finetune(&run, &mut Unobserved).unwrap());
    assert!(
        results.eval["eval_accuracy"].as_f64().unwrap() > 0.95,
        "{results:?}"
    );
    assert_eq!(results.train["epoch"], 4.0);

    let written = [
        "README.md",
        "all_results.json",
        "checkpoint-200",
        "config.json",
        "eval_results.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "train_results.json",
        "trainer_state.json",
        "training_args.json",
        "vocab.txt",
    ];
    assert_eq!(names(&out), written);
    let state = json(&out.join("trainer_state.json"));
    assert_eq!(
        (&state["global_step"], &state["max_steps"]),
        (&200.into(), &200.into())
    );
    let first = &state["log_history"][0];
    for key in ["loss", "grad_norm", "learning_rate", "epoch", "step"] {
        assert!(first[key].is_number(), "{key} of {first}");
    }
    assert_eq!(
        json(&out.join("training_args.json"))["recipe"]["learning_rate"],
        5e-3
    );

    let checkpoint = Checkpoint::open(&out).unwrap();
    assert_eq!(checkpoint.config.id2label, labels);
    let logits = Predictor::load(&checkpoint, TASK)
        .unwrap()
        .logits(&dev, 7)
        .unwrap();
    let right = |(row, logits): (&Encoded, &Vec<f32>)| {
        row.target == Target::Class(u32::from(logits[1] > logits[0]))
    };
    let share = dev.iter().zip(&logits).filter(|pair| right(*pair)).count() as f64 / 50.0;
    assert_eq!(results.eval["eval_accuracy"].as_f64(), Some(share));
}

#[test]
fn predictions_come_in_the_order_of_the_rows_and_do_not_depend_on_the_batch() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    finetune(&job(&base, &recipe, &labels, &train, &out), &mut Unobserved).unwrap();
    let predictor = Predictor::load(&Checkpoint::open(&out).unwrap(), TASK).unwrap();
    let together = predictor.logits(&train, 8).unwrap();
    for (row, logits) in train.iter().zip(&together) {
        let alone = &predictor.logits(std::slice::from_ref(row), 1).unwrap()[0];
        assert!(
            alone.iter().zip(logits).all(|(a, b)| (a - b).abs() < 1e-5),
            "{alone:?} {logits:?}"
        );
    }
    let error = Predictor::load(&base.checkpoint, TASK)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no `classifier`"), "{error}");
    let other = Predictor::load(&Checkpoint::open(&out).unwrap(), Task::TokenClassification);
    let error = other.err().unwrap().to_string();
    assert!(
        error.contains("BertForSequenceClassification does not answer token-classification"),
        "{error}"
    );
}

#[test]
fn regression_learns_numbers() {
    let base = Base::new();
    let (train, dev) = (
        with_numbers(examples(200, 1)),
        with_numbers(examples(50, 2)),
    );
    let recipe = Recipe {
        num_train_epochs: 4.0,
        gradient_accumulation_steps: 1,
        ..recipe()
    };
    let out = base.path("out");
    let run = Job {
        task: Task::TextPairRegression,
        dev: common::dev(&dev).map(|dev| Evaluator {
            task: Task::TextPairRegression,
            ..dev
        }),
        ..job(&base, &recipe, &[], &train, &out)
    };
    let results = finished(finetune(&run, &mut Unobserved).unwrap());
    assert!(
        results.eval["eval_pearson"].as_f64().unwrap() > 0.9,
        "{results:?}"
    );
    let config = Checkpoint::open(&out).unwrap().config;
    assert_eq!(
        (config.problem_type, config.id2label.len()),
        (Some(ProblemType::Regression), 1)
    );
}

#[test]
fn the_result_depends_on_the_seed_alone() {
    let base = Base::new();
    let (labels, train) = (labels(), examples(40, 1));
    let run = |name: &str, recipe: Recipe| {
        let out = base.path(name);
        finetune(&job(&base, &recipe, &labels, &train, &out), &mut Unobserved).unwrap();
        weights(&out)
    };
    let first = run("a", recipe());
    assert_eq!(
        first,
        run(
            "b",
            Recipe {
                threads: 1,
                ..recipe()
            }
        )
    );
    assert_eq!(
        first,
        run(
            "c",
            Recipe {
                threads: 5,
                save_steps: 1,
                logging_steps: 0,
                ..recipe()
            }
        )
    );
    assert_ne!(
        first,
        run(
            "d",
            Recipe {
                seed: 43,
                ..recipe()
            }
        )
    );
}

/// Words of two kinds, in sentences of different lengths of which some have hardly a word that counts.
fn tagged(count: usize, seed: u64) -> Vec<Encoded> {
    let tags = |(i, row): (usize, Encoded)| {
        let counts = |place: usize| match i % 4 {
            0 => place == 0,
            _ => !place.is_multiple_of(3),
        };
        let class = |(place, id): (usize, &u32)| counts(place).then_some(id % 2);
        let classes = row.ids.iter().enumerate().map(class).collect();
        Encoded {
            target: Target::Classes(classes),
            ..row
        }
    };
    examples(count, seed)
        .into_iter()
        .enumerate()
        .map(tags)
        .collect()
}

/// A partial group and a partial batch end each epoch.
#[test]
fn accumulated_batches_are_one_large_batch() {
    let base = Base::new().without_dropout();
    let labels = labels();
    let weighed = |recipe: &mut Recipe| {
        recipe.class_weights = serde_json::from_str("[1.0, 4.0]").unwrap();
        recipe.label_smoothing_factor = 0.1;
    };
    let tagging = Task::TokenClassification;
    let number = Task::TextPairRegression;
    /// Settings beside those of the batches.
    type Change<'a> = &'a dyn Fn(&mut Recipe);
    let cases: [(&str, Task, Vec<Encoded>, Change); 5] = [
        ("classes", TASK, examples(71, 1), &|_| {}),
        ("weighed classes", TASK, examples(71, 1), &weighed),
        ("tags", tagging, tagged(71, 1), &|_| {}),
        ("weighed tags", tagging, tagged(71, 1), &weighed),
        ("numbers", number, with_numbers(examples(71, 1)), &|_| {}),
    ];
    for (case, task, train, change) in cases {
        let run = |batch, accumulation| {
            let mut recipe = Recipe {
                per_device_train_batch_size: batch,
                gradient_accumulation_steps: accumulation,
                learning_rate: 1e-3,
                max_steps: 4,
                ..recipe()
            };
            change(&mut recipe);
            let out = base.path(&format!("{case} {batch}x{accumulation}"));
            let labels = if task == number { &[][..] } else { &labels[..] };
            let run = Job {
                task,
                ..job(&base, &recipe, labels, &train, &out)
            };
            let mut record = Record::default();
            finished(finetune(&run, &mut record).unwrap());
            let checkpoint = Checkpoint::open(&out).unwrap();
            let weight = checkpoint.tensor("classifier.weight").unwrap().data;
            (record.steps, weight)
        };
        let (steps, weight) = run(30, 1);
        for (batch, accumulation) in [(15, 2), (6, 5), (10, 3)] {
            let (cut_steps, cut_weight) = run(batch, accumulation);
            for (step, cut) in steps.iter().zip(&cut_steps) {
                let far = (step.loss - cut.loss).abs();
                assert!(far < 1e-5 * (1.0 + step.loss), "{case}: {step:?} {cut:?}");
                let far = (step.grad_norm - cut.grad_norm).abs();
                assert!(
                    far < 1e-4 * (1.0 + step.grad_norm),
                    "{case}: {step:?} {cut:?}"
                );
            }
            let mut pairs = weight.iter().zip(&cut_weight);
            assert!(
                pairs.all(|(a, b)| (a - b).abs() < 1e-4),
                "{case}: {weight:?} {cut_weight:?}"
            );
        }
    }
}

/// Records what it is told.
#[derive(Default)]
struct Record {
    begun: Vec<(u64, u64)>,
    steps: Vec<StepInfo>,
    logged: Vec<(u64, f64)>,
    evaluations: Vec<(u64, f64)>,
    saved: Vec<PathBuf>,
}

impl Observer for Record {
    fn on_begin(&mut self, done: u64, of: u64) {
        assert!(self.steps.is_empty());
        self.begun.push((done, of));
    }

    fn on_log(&mut self, step: &StepInfo, loss: f64) {
        self.logged.push((step.step, loss));
    }

    fn on_step(&mut self, info: &StepInfo) -> Control {
        self.steps.push(*info);
        Control::Continue
    }

    fn on_evaluate(&mut self, step: u64, metrics: &[(String, f64)]) {
        let loss = metrics
            .iter()
            .find(|(name, _)| name == "eval_loss")
            .unwrap();
        self.evaluations.push((step, loss.1));
    }

    fn on_save(&mut self, checkpoint: &Path) {
        assert!(Checkpoint::open(checkpoint).is_ok());
        self.saved.push(checkpoint.to_owned());
    }
}

#[test]
fn the_observer_hears_of_every_step_evaluation_and_checkpoint() {
    let base = Base::new();
    let (labels, train, dev, out) = (labels(), examples(60, 1), examples(20, 2), base.path("out"));
    let recipe = Recipe {
        eval_strategy: Strategy::Epoch,
        save_strategy: Strategy::Steps,
        save_steps: 6,
        logging_steps: 5,
        ..recipe()
    };
    let mut record = Record::default();
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    finetune(&run, &mut record).unwrap();
    let steps: Vec<u64> = record.steps.iter().map(|info| info.step).collect();
    assert_eq!(record.begun, [(0, 16)]);
    assert_eq!(steps, (1..=16).collect::<Vec<_>>());
    let logged: Vec<u64> = record.logged.iter().map(|(step, _)| *step).collect();
    assert_eq!(logged, [5, 10, 15]);
    let losses = record.steps[5..10].iter().map(|info| info.loss);
    let far = (record.logged[1].1 - losses.sum::<f64>() / 5.0).abs();
    assert!(far < 1e-12, "{far}");
    assert_eq!(record.steps[7].epoch, 1.0);
    assert_eq!(
        record.steps.iter().map(|info| info.tokens).sum::<usize>(),
        2 * train.iter().map(|row| row.ids.len()).sum::<usize>()
    );
    assert_eq!(
        record
            .evaluations
            .iter()
            .map(|(step, _)| *step)
            .collect::<Vec<_>>(),
        [8, 16]
    );
    assert_eq!(
        record.saved,
        [6, 12, 16].map(|step| out.join(format!("checkpoint-{step}")))
    );
}

#[test]
fn the_best_checkpoint_is_kept_and_becomes_the_result() {
    let base = Base::new();
    let (labels, train, dev, out) = (labels(), examples(60, 1), examples(20, 2), base.path("out"));
    let recipe = Recipe {
        num_train_epochs: 6.0,
        learning_rate: 3e-2,
        lr_scheduler_type: berth_trainer::schedule::Decay::Constant,
        eval_strategy: Strategy::Epoch,
        save_strategy: Strategy::Epoch,
        save_total_limit: 1,
        load_best_model_at_end: true,
        ..recipe()
    };
    let mut record = Record::default();
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let results = finished(finetune(&run, &mut record).unwrap());
    let (best, loss) = record
        .evaluations
        .iter()
        .copied()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    let last = record.evaluations.last().unwrap().0;
    assert_eq!(results.eval["eval_loss"].as_f64(), Some(loss));
    assert_eq!(
        weights(&out),
        weights(&out.join(format!("checkpoint-{best}")))
    );
    let mut kept: Vec<String> = [best, last]
        .map(|step| format!("checkpoint-{step}"))
        .to_vec();
    kept.sort();
    kept.dedup();
    let found: Vec<String> = names(&out)
        .into_iter()
        .filter(|name| name.starts_with("checkpoint-"))
        .collect();
    assert_eq!(found, kept);
    assert_eq!(
        json(&out.join("trainer_state.json"))["best_global_step"],
        best
    );
}

#[test]
fn a_metric_that_no_evaluation_has_is_refused_with_those_there_are() {
    let base = Base::new();
    let (labels, train, dev, out) = (labels(), examples(8, 1), examples(8, 2), base.path("out"));
    let recipe = Recipe {
        eval_strategy: Strategy::Epoch,
        save_strategy: Strategy::Epoch,
        load_best_model_at_end: true,
        metric_for_best_model: Some("acuracy".into()),
        ..recipe()
    };
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let error = finetune(&run, &mut Unobserved).unwrap_err().to_string();
    assert!(
        error.starts_with("metric_for_best_model is eval_acuracy, which no evaluation has")
            && error.contains("eval_accuracy"),
        "{error}"
    );
}

#[test]
fn an_epoch_that_is_cut_short_is_measured_at_its_end() {
    let base = Base::new();
    let (labels, train, dev, out) = (labels(), examples(60, 1), examples(20, 2), base.path("out"));
    let recipe = Recipe {
        max_steps: 3,
        eval_strategy: Strategy::Epoch,
        save_strategy: Strategy::Epoch,
        load_best_model_at_end: true,
        ..recipe()
    };
    let mut record = Record::default();
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    finished(finetune(&run, &mut record).unwrap());
    let steps: Vec<u64> = record.evaluations.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [3]);
    assert_eq!(json(&out.join("trainer_state.json"))["best_global_step"], 3);
}

/// As `transformers` does: wherever the run ends, the last model may be the best one.
#[test]
fn the_last_model_is_measured_between_two_evaluations_too() {
    let base = Base::new();
    let (labels, train, dev, out) = (labels(), examples(60, 1), examples(20, 2), base.path("out"));
    let recipe = Recipe {
        eval_strategy: Strategy::Steps,
        eval_steps: 7,
        save_steps: 7,
        load_best_model_at_end: true,
        ..recipe()
    };
    let mut record = Record::default();
    let run = Job {
        dev: common::dev(&dev),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let results = finished(finetune(&run, &mut record).unwrap());
    let steps: Vec<u64> = record.evaluations.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [7, 14, 16]);
    let losses = record.evaluations.iter().map(|(_, loss)| *loss);
    let least = losses.fold(f64::INFINITY, f64::min);
    assert_eq!(results.eval["eval_loss"].as_f64(), Some(least));
}

/// Five batches, two of them a step: the third step has one, and ends the epoch.
#[test]
fn epochs_are_counted_in_batches() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(20, 1), base.path("out"));
    let recipe = Recipe {
        num_train_epochs: 2.3,
        ..recipe()
    };
    let mut record = Record::default();
    let run = job(&base, &recipe, &labels, &train, &out);
    let results = finished(finetune(&run, &mut record).unwrap());
    let epochs: Vec<f64> = record.steps.iter().map(|info| info.epoch).collect();
    assert_eq!(epochs, [0.4, 0.8, 1.0, 1.4, 1.8, 2.0, 2.4]);
    assert_eq!(results.train["epoch"], 2.4);
    assert_eq!(json(&out.join("trainer_state.json"))["epoch"], 2.4);
}

/// A flag, and what it changes.
type Change = (&'static str, fn(&mut Recipe));

/// Of 9 examples of one class to 1 of the other, with a rate that lets the model learn little more than their shares:
/// the weights bring the rare class's probability up.
#[test]
fn weights_change_what_is_learned_and_not_what_is_measured() {
    let base = Base::new().without_dropout();
    let (labels, dev) = (labels(), examples(20, 2));
    let rare = |(i, row): (usize, Encoded)| Encoded {
        target: Target::Class(u32::from(i % 10 == 0)),
        ..row
    };
    let train: Vec<Encoded> = examples(40, 1).into_iter().enumerate().map(rare).collect();
    let run = |name: &str, change: fn(&mut Recipe)| {
        let mut recipe = Recipe {
            learning_rate: 3e-4,
            ..recipe()
        };
        change(&mut recipe);
        let out = base.path(name);
        let run = Job {
            dev: common::dev(&dev),
            ..job(&base, &recipe, &labels, &train, &out)
        };
        let results = finished(finetune(&run, &mut Unobserved).unwrap());
        let predictor = Predictor::load(&Checkpoint::open(&out).unwrap(), TASK).unwrap();
        let logits = predictor.logits(&dev, 8).unwrap();
        let plain = logits.iter().zip(&dev).map(|(logits, row)| {
            let Target::Class(class) = row.target else {
                panic!("{row:?}")
            };
            let all: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            all.ln() - f64::from(logits[class as usize])
        });
        let loss = plain.sum::<f64>() / 20.0;
        let measured = results.eval["eval_loss"].as_f64().unwrap();
        assert!((measured - loss).abs() < 1e-5, "{name}: {measured} {loss}");
        let rare = logits.iter().map(|logits| f64::from(logits[1] - logits[0]));
        rare.sum::<f64>() / 20.0
    };
    let plain = run("plain", |_| {});
    let balanced = run("balanced", |recipe| {
        recipe.class_weights = serde_json::from_str("\"balanced\"").unwrap();
    });
    assert!(balanced > plain + 0.1, "{plain} {balanced}");
    let changes: [Change; 3] = [
        ("smooth", |recipe| recipe.label_smoothing_factor = 0.3),
        ("focal", |recipe| recipe.focal_gamma = 2.0),
        ("layers", |recipe| recipe.layerwise_lr_decay = 0.5),
    ];
    for (name, change) in changes {
        assert_ne!(run(name, change), plain, "{name}");
    }
}

#[test]
fn a_run_that_diverges_stops_and_names_step_rows_and_the_last_good_checkpoint() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(60, 1), base.path("out"));
    let recipe = Recipe {
        learning_rate: 1e30,
        warmup_steps: 0.0,
        save_steps: 1,
        max_grad_norm: 0.0,
        ..recipe()
    };
    let error = finetune(&job(&base, &recipe, &labels, &train, &out), &mut Unobserved)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("step 2: the ") && error.contains(" is not finite (examples "),
        "{error}"
    );
    assert!(error.ends_with("checkpoint-1"), "{error}");
    let broken = Encoded {
        target: Target::Value(3e38),
        ..train[0].clone()
    };
    let run = Job {
        task: Task::TextPairRegression,
        start: Start::Overwrite,
        ..job(&base, &recipe, &[], std::slice::from_ref(&broken), &out)
    };
    let error = finetune(&run, &mut Unobserved).unwrap_err().to_string();
    assert_eq!(
        error,
        "step 1: the loss is not finite (examples 1); no checkpoint was saved yet"
    );
}

/// The first step has rate 0, the second one's overflows; nothing is left that holds what it came to.
#[test]
fn a_last_update_that_overflows_is_an_error_and_leaves_no_checkpoint() {
    let base = Base::new();
    let (labels, train) = (labels(), examples(60, 1));
    let recipe = Recipe {
        learning_rate: 1e39,
        warmup_steps: 2.0,
        max_steps: 2,
        save_steps: 1,
        ..recipe()
    };
    let unsaved = Recipe {
        save_strategy: Strategy::No,
        ..recipe.clone()
    };
    let (saved, none) = (base.path("saved"), base.path("none"));
    for (recipe, out, last) in [
        (&recipe, &saved, "saved/checkpoint-1"),
        (&unsaved, &none, "no checkpoint was saved yet"),
    ] {
        let run = job(&base, recipe, &labels, &train, out);
        let error = finetune(&run, &mut Unobserved).unwrap_err().to_string();
        assert!(error.starts_with("after step 2: `"), "{error}");
        assert!(error.contains("not finite"), "{error}");
        assert!(error.ends_with(last), "{error}");
        assert!(!out.join("config.json").exists());
    }
    assert_eq!(names(&saved), ["checkpoint-1"]);
}

#[test]
fn a_base_model_that_holds_no_numbers_is_named() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(8, 1), recipe(), base.path("out"));
    let file = base.path("base").join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let run = job(&base, &recipe, &labels, &train, &out);
    let error = finetune(&run, &mut Unobserved).unwrap_err().to_string();
    let (folder, last) = (base.path("base"), "tensor `bert.pooler.dense.weight`");
    assert!(
        error.starts_with(&format!(
            "{}: {last} holds what is no number; ",
            folder.display()
        )),
        "{error}"
    );
    assert!(error.contains("another --model_name_or_path"), "{error}");
}

#[test]
fn a_folder_with_what_a_killed_run_left_is_begun_in() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(8, 1), recipe(), base.path("out"));
    let left = [".berth.a1b2c3.partial", ".checkpoint-1.d4e5f6.partial"];
    for name in left {
        std::fs::create_dir_all(out.join(name)).unwrap();
    }
    let run = job(&base, &recipe, &labels, &train, &out);
    let notes = out.join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    let error = finetune(&run, &mut Unobserved).unwrap_err();
    assert!(matches!(error, TrainError::OutputNotEmpty(_)), "{error}");
    assert_eq!(names(&out), [left[0], left[1], "notes.txt"]);
    std::fs::remove_file(notes).unwrap();
    finished(finetune(&run, &mut Unobserved).unwrap());
    assert!(names(&out).iter().all(|name| !name.contains("partial")));
}

/// Begins other runs after each step.
#[cfg(unix)]
struct Others<'a> {
    jobs: &'a [Job<'a>],
    said: Vec<String>,
}

#[cfg(unix)]
impl Observer for Others<'_> {
    fn on_step(&mut self, _: &StepInfo) -> Control {
        let run = |job| finetune(job, &mut Unobserved).unwrap_err().to_string();
        self.said.extend(self.jobs.iter().map(run));
        Control::Continue
    }
}

#[cfg(unix)]
#[test]
fn a_folder_is_written_to_by_one_run_at_a_time() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(16, 1), recipe(), base.path("out"));
    let run = |start| Job {
        start,
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let jobs = [Start::Fresh, Start::Overwrite, Start::ResumeNewest].map(run);
    let mut others = Others {
        jobs: &jobs,
        said: Vec::new(),
    };
    finished(finetune(&run(Start::Fresh), &mut others).unwrap());
    let said = format!("{}: another run writes here; ", out.display());
    assert_eq!(others.said.len(), 4 * jobs.len());
    for error in others.said {
        assert!(error.starts_with(&said), "{error}");
    }
    assert!(names(&out).iter().all(|name| !name.starts_with('.')));
    finished(finetune(&run(Start::Overwrite), &mut Unobserved).unwrap());
}

#[test]
fn bad_jobs_are_refused_before_anything_is_written() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(8, 1), recipe(), base.path("out"));
    let refused = |change: &dyn Fn(&mut Job<'_>)| {
        let mut job = job(&base, &recipe, &labels, &train, &out);
        change(&mut job);
        let error = finetune(&job, &mut Unobserved).unwrap_err().to_string();
        assert!(!out.exists());
        error
    };
    assert_eq!(refused(&|job| job.train = &[]), "no examples to train on");
    assert_eq!(
        refused(&|job| job.labels = &[]),
        "example 1 has no label that fits the task"
    );
    assert_eq!(
        refused(&|job| job.task = Task::QuestionAnswering),
        "example 1 has no label that fits the task"
    );
    assert_eq!(
        refused(&|job| job.start = Start::ResumeNewest)
            .split(": ")
            .last(),
        Some("no checkpoint to resume from")
    );
    let mut huge = Base::new();
    huge.checkpoint.config.intermediate_size = 1 << 40;
    if cfg!(target_os = "linux") {
        let job = job(&huge, &recipe, &labels, &train, &out);
        let error = finetune(&job, &mut Unobserved).unwrap_err().to_string();
        assert!(!out.exists());
        assert!(
            error.starts_with("a batch of 4 sequences needs about "),
            "{error}"
        );
        assert!(
            error.contains(" MB are there; no batch size fits"),
            "{error}"
        );
    }
}

#[test]
fn the_best_evaluation_names_a_checkpoint_where_it_has_one() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let state = |save_steps: u64| {
        let out = base.path(&format!("every-{save_steps}"));
        let recipe = Recipe {
            eval_strategy: Strategy::Steps,
            eval_steps: 2,
            save_strategy: Strategy::Steps,
            save_steps,
            // Not the last evaluation is the best one then, whose step would be saved anyway.
            metric_for_best_model: Some("eval_loss".into()),
            greater_is_better: Some(true),
            ..recipe()
        };
        let run = Job {
            dev: common::dev(&dev),
            ..job(&base, &recipe, &labels, &train, &out)
        };
        finished(finetune(&run, &mut Unobserved).unwrap());
        json(&out.join("trainer_state.json"))
    };
    let (often, seldom) = (state(2), state(1000));
    let step = &often["best_global_step"];
    assert_eq!(step, &seldom["best_global_step"]);
    assert!(step.as_u64() < often["global_step"].as_u64(), "{often}");
    let folder = Path::new(often["best_model_checkpoint"].as_str().unwrap());
    assert!(folder.ends_with(format!("checkpoint-{step}")) && folder.exists());
    assert!(seldom["best_model_checkpoint"].is_null(), "{seldom}");
}
