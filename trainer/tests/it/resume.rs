//! No lost work: a run that is stopped and resumed ends where an uninterrupted one ends, to the last bit.

use std::path::Path;

use berth_checkpoint::{Checkpoint, DataFile, Provenance};
use berth_trainer::recipe::Strategy;
use berth_trainer::schedule::Decay;
use berth_trainer::state::TrainerState;
use berth_trainer::{
    Control, Job, Observer, Outcome, Recipe, Start, StepInfo, TrainError, Unobserved, finetune,
};

use crate::common::{Base, dev as dev_of, examples, job, labels, names, recipe, weights};

/// Stops after a step.
struct StopAt(u64);

impl Observer for StopAt {
    fn on_step(&mut self, info: &StepInfo) -> Control {
        if info.step == self.0 {
            Control::Stop
        } else {
            Control::Continue
        }
    }
}

/// Stops before some batch of the evaluations, counted from 1 over all that the run makes.
struct StopBefore(usize);

impl Observer for StopBefore {
    fn on_evaluating(&mut self, done: usize, of: usize) -> Control {
        self.0 -= usize::from(done < of);
        match self.0 {
            0 => Control::Stop,
            _ => Control::Continue,
        }
    }
}

/// The log without what a clock decides.
fn history(dir: &Path) -> (Vec<String>, f64) {
    let state: TrainerState =
        serde_json::from_slice(&std::fs::read(dir.join("trainer_state.json")).unwrap()).unwrap();
    let entries = state
        .log_history
        .iter()
        .filter(|entry| entry.contains_key("loss"));
    (
        entries
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect(),
        state.loss_sum,
    )
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let base = Base::new();
    let (labels, train) = (labels(), examples(60, 1));
    let recipe = Recipe {
        save_strategy: Strategy::No,
        ..recipe()
    };
    let whole = base.path("whole");
    finetune(
        &job(&base, &recipe, &labels, &train, &whole),
        &mut Unobserved,
    )
    .unwrap();

    let parts = base.path("parts");
    let mut start = Start::Fresh;
    for step in [1, 4, 8, 9, 15] {
        let part = Job {
            start: start.clone(),
            ..job(&base, &recipe, &labels, &train, &parts)
        };
        let outcome = finetune(&part, &mut StopAt(step)).unwrap();
        let checkpoint = parts.join(format!("checkpoint-{step}"));
        assert_eq!(
            outcome,
            Outcome::Interrupted {
                checkpoint: checkpoint.clone(),
                step
            }
        );
        start = if step == 8 {
            Start::ResumeFrom(checkpoint)
        } else {
            Start::ResumeNewest
        };
    }
    // Another number of threads must not matter either.
    let recipe = Recipe {
        threads: 3,
        ..recipe
    };
    let last = Job {
        start,
        ..job(&base, &recipe, &labels, &train, &parts)
    };
    assert!(matches!(
        finetune(&last, &mut Unobserved).unwrap(),
        Outcome::Finished(_)
    ));
    assert_eq!(weights(&whole), weights(&parts));
    assert_eq!(history(&whole), history(&parts));
}

/// At a rate at which nothing is learned no evaluation betters the first, so the run ends at the third, at step 12
/// of 16; one that is stopped after the second counts on.
#[test]
fn a_run_that_stops_early_does_so_when_resumed_too() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let recipe = Recipe {
        learning_rate: 0.0,
        eval_strategy: Strategy::Steps,
        eval_steps: 4,
        save_steps: 8,
        load_best_model_at_end: true,
        early_stopping_patience: Some(2),
        ..recipe()
    };
    let run = |out: &Path, start, stop| {
        let job = Job {
            dev: dev_of(&dev),
            start,
            ..job(&base, &recipe, &labels, &train, out)
        };
        finetune(&job, &mut StopAt(stop)).unwrap()
    };
    let state = |out: &Path| -> TrainerState {
        let text = std::fs::read(out.join("trainer_state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let (whole, parts) = (base.path("whole"), base.path("parts"));
    assert!(matches!(
        run(&whole, Start::Fresh, 99),
        Outcome::Finished(_)
    ));
    let stopped = state(&whole);
    assert_eq!((stopped.global_step, stopped.max_steps), (12, 16));
    assert_eq!(stopped.best_global_step, Some(4));
    let callback = &stopped.stateful_callbacks["EarlyStoppingCallback"];
    assert_eq!(callback["attributes"]["early_stopping_patience_counter"], 2);

    let outcome = run(&parts, Start::Fresh, 9);
    assert!(matches!(outcome, Outcome::Interrupted { step: 9, .. }));
    let outcome = run(&parts, Start::ResumeNewest, 99);
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(weights(&whole), weights(&parts));
    assert_eq!(stopped.stateful_callbacks, state(&parts).stateful_callbacks);
    assert_eq!(state(&parts).global_step, 12);
    let outcome = run(&parts, Start::ResumeNewest, 99);
    assert_eq!(outcome, Outcome::AlreadyFinished);
}

/// Each evaluation, the last one too, is stopped before its second batch of three and made anew by the next run, which
/// stops in the one after it.
#[test]
fn an_evaluation_that_is_stopped_is_made_anew() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let unsaved = Recipe {
        eval_strategy: Strategy::Steps,
        eval_steps: 4,
        per_device_eval_batch_size: 8,
        save_strategy: Strategy::No,
        ..recipe()
    };
    let best = Recipe {
        save_strategy: Strategy::Steps,
        save_steps: 4,
        save_total_limit: 1,
        load_best_model_at_end: true,
        ..unsaved.clone()
    };
    let first_is_best = Recipe {
        learning_rate: 0.0,
        early_stopping_patience: Some(2),
        ..best.clone()
    };
    let state = |dir: &Path| -> TrainerState {
        let text = std::fs::read(dir.join("trainer_state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    // Without what a clock decides, and the folder.
    let course = |dir: &Path| {
        let mut state = state(dir);
        state.best_model_checkpoint = None;
        for entry in &mut state.log_history {
            entry.retain(|name, _| !name.ends_with("_runtime") && !name.ends_with("_per_second"));
        }
        state
    };
    let evaluated = |dir: &Path| {
        let mut steps = Vec::new();
        for entry in state(dir).log_history {
            if entry.contains_key("eval_loss") {
                steps.push(entry["step"].as_u64().unwrap());
            }
        }
        steps
    };
    for (name, recipe, stops) in [
        ("unsaved", &unsaved, &[4, 8, 12, 16, 16][..]),
        ("best", &best, &[4, 8, 12, 16, 16]),
        ("early", &first_is_best, &[4, 8, 12, 12]),
    ] {
        let run = |out: &Path, start, observer: &mut dyn Observer| {
            let job = Job {
                dev: dev_of(&dev),
                start,
                ..job(&base, recipe, &labels, &train, out)
            };
            finetune(&job, observer).unwrap()
        };
        let [whole, parts, other, late] =
            ["whole", "parts", "other", "late"].map(|part| base.path(&format!("{name}-{part}")));
        run(&whole, Start::Fresh, &mut Unobserved);
        let mut start = Start::Fresh;
        let mut batches = 2;
        for (i, &step) in stops.iter().enumerate() {
            let checkpoint = parts.join(format!("checkpoint-{step}"));
            let outcome = run(&parts, start, &mut StopBefore(batches));
            let stopped = Outcome::Interrupted {
                checkpoint: checkpoint.clone(),
                step,
            };
            assert_eq!(outcome, stopped, "{name}");
            // The last one is none of the log.
            let is_last = i + 1 == stops.len();
            let known = if is_last { step } else { step - 4 };
            assert_eq!(evaluated(&checkpoint).last().copied().unwrap_or(0), known);
            assert_eq!(
                state(&checkpoint).evaluation_due,
                !is_last,
                "{name}, {step}"
            );
            assert!(!parts.join("model.safetensors").exists());
            (start, batches) = (Start::ResumeNewest, 3 + 2);
            if i == 1 {
                let again = Outcome::Interrupted { checkpoint, step };
                let outcome = run(&parts, start.clone(), &mut StopBefore(1));
                assert_eq!(outcome, again, "{name}");
                // It goes on in another folder too.
                let from = Start::ResumeFrom(parts.join("checkpoint-8"));
                run(&other, from, &mut Unobserved);
            }
        }
        let outcome = run(&parts, start, &mut StopBefore(batches));
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
        let last = stops[stops.len() - 1];
        let all_but_the_last = 3 * last as usize / 4;
        let outcome = run(&late, Start::Fresh, &mut StopBefore(all_but_the_last + 1));
        assert!(matches!(outcome, Outcome::Interrupted { step, .. } if step == last));
        run(&late, Start::ResumeNewest, &mut Unobserved);
        for out in [&parts, &other, &late] {
            assert_eq!(weights(&whole), weights(out), "{name}");
            assert_eq!(course(&whole), course(out), "{name}");
        }
        if recipe.save_strategy != Strategy::No {
            assert_eq!(names(&whole), names(&parts), "{name}");
        }
        let text = std::fs::read_to_string(parts.join("trainer_state.json")).unwrap();
        assert!(!text.contains("evaluation_due"), "{name}");
    }
}

/// What is saved on the way is not taken for older than what the first course left.
#[test]
fn a_run_that_goes_back_keeps_what_it_saves() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(60, 1), base.path("out"));
    let recipe = Recipe {
        save_steps: 4,
        ..recipe()
    };
    finetune(&job(&base, &recipe, &labels, &train, &out), &mut StopAt(13)).unwrap();
    let recipe = Recipe {
        learning_rate: 1e-3,
        save_total_limit: 1,
        ..recipe
    };
    let back = Job {
        start: Start::ResumeFrom(out.join("checkpoint-4")),
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let outcome = finetune(&back, &mut StopAt(6)).unwrap();
    let checkpoint = out.join("checkpoint-6");
    assert_eq!(
        outcome,
        Outcome::Interrupted {
            checkpoint,
            step: 6
        }
    );
    assert_eq!(names(&out), ["checkpoint-6"]);
}

/// The best evaluation is taken to be that of the highest loss, the first, at step 4. A run that goes on in another
/// folder ends with its weights; where they are gone, that is said before anything is trained.
#[test]
fn the_best_checkpoint_is_found_beside_the_one_that_is_gone_on_with() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let recipe = Recipe {
        eval_strategy: Strategy::Steps,
        eval_steps: 4,
        save_steps: 4,
        load_best_model_at_end: true,
        greater_is_better: Some(true),
        ..recipe()
    };
    let run = |out: &Path, start, observer: &mut dyn Observer| {
        let job = Job {
            dev: dev_of(&dev),
            start,
            ..job(&base, &recipe, &labels, &train, out)
        };
        finetune(&job, observer)
    };
    let (first, second) = (base.path("first"), base.path("second"));
    run(&first, Start::Fresh, &mut StopAt(9)).unwrap();
    let at_9 = Start::ResumeFrom(first.join("checkpoint-9"));
    let outcome = run(&second, at_9.clone(), &mut Unobserved).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(weights(&second), weights(&first.join("checkpoint-4")));
    assert_ne!(weights(&second), weights(&second.join("checkpoint-16")));

    std::fs::remove_dir_all(first.join("checkpoint-4")).unwrap();
    let third = base.path("third");
    for start in [at_9, Start::ResumeNewest] {
        let out = if start == Start::ResumeNewest {
            &first
        } else {
            &third
        };
        let error = run(out, start, &mut Unobserved).unwrap_err().to_string();
        assert!(error.contains("checkpoint-9: the best"), "{error}");
        assert!(
            error.contains("checkpoint-4, which is not there"),
            "{error}"
        );
        assert!(
            error.ends_with("leave out load_best_model_at_end"),
            "{error}"
        );
    }
    // The best one is the very checkpoint that is gone on with.
    let fourth = base.path("fourth");
    run(&fourth, Start::Fresh, &mut StopAt(4)).unwrap();
    let at_4 = fourth.join("renamed");
    std::fs::rename(fourth.join("checkpoint-4"), &at_4).unwrap();
    let outcome = run(&fourth, Start::ResumeFrom(at_4.clone()), &mut Unobserved).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(weights(&fourth), weights(&at_4));
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    let first = job(&base, &recipe, &labels, &train, &out);
    finetune(&first, &mut Unobserved).unwrap();
    let stamp = |name: &str| {
        std::fs::metadata(out.join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before: Vec<_> = names(&out)
        .iter()
        .map(|name| (name.clone(), stamp(name)))
        .collect();
    let again = Job {
        start: Start::ResumeNewest,
        ..first
    };
    assert_eq!(
        finetune(&again, &mut Unobserved).unwrap(),
        Outcome::AlreadyFinished
    );
    let after: Vec<_> = names(&out)
        .iter()
        .map(|name| (name.clone(), stamp(name)))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_finished_run_is_not_taken_for_another_one() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    let learned_from = |sha256: &str, recipe| {
        let mut job = job(&base, recipe, &labels, &train, &out);
        let file = DataFile {
            sha256: sha256.into(),
            ..DataFile::default()
        };
        job.training_args.provenance = Some(Provenance {
            train_file: Some(file),
            ..Provenance::default()
        });
        job
    };
    finetune(&learned_from("ab", &recipe), &mut Unobserved).unwrap();
    let resumed = |sha256: &str, recipe| {
        let job = Job {
            start: Start::ResumeNewest,
            ..learned_from(sha256, recipe)
        };
        finetune(&job, &mut Unobserved).map_err(|error| error.to_string())
    };
    assert_eq!(resumed("ab", &recipe), Ok(Outcome::AlreadyFinished));
    let other = Recipe {
        seed: recipe.seed + 1,
        ..recipe.clone()
    };
    let error = resumed("ab", &other).unwrap_err();
    assert!(
        error.contains("seed was 42 and is now 43, which would be another run"),
        "{error}"
    );
    let error = resumed("cd", &recipe).unwrap_err();
    assert!(
        error.contains("the training file's SHA-256 was ab"),
        "{error}"
    );

    // Nor is it told as the result of other settings, but for those that change nothing.
    let free = Recipe {
        threads: 1,
        logging_steps: 1,
        save_steps: 2,
        ..recipe.clone()
    };
    assert_eq!(resumed("ab", &free), Ok(Outcome::AlreadyFinished));
    let faster = Recipe {
        learning_rate: 1e-2,
        ..recipe.clone()
    };
    let shorter = Recipe {
        num_train_epochs: 1.0,
        ..recipe.clone()
    };
    for (other, said) in [
        (&faster, "learning_rate was 0.005 and is now 0.01"),
        (&shorter, "num_train_epochs was 2.0 and is now 1.0"),
    ] {
        let error = resumed("ab", other).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let longer = Recipe {
        num_train_epochs: 3.0,
        ..recipe.clone()
    };
    let outcome = resumed("ab", &longer).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
}

#[test]
fn labels_are_told_apart_where_one_has_a_comma() {
    let base = Base::new();
    let (train, recipe, out) = (examples(20, 1), recipe(), base.path("out"));
    let [first, second] = [["a,b", "c"], ["a", "b,c"]].map(|two| two.map(str::to_owned));
    finetune(&job(&base, &recipe, &first, &train, &out), &mut StopAt(2)).unwrap();
    let again = Job {
        start: Start::ResumeNewest,
        ..job(&base, &recipe, &second, &train, &out)
    };
    let error = finetune(&again, &mut Unobserved).unwrap_err().to_string();
    assert!(
        error.contains(r#"the list of labels was ["a,b","c"] and is now ["a","b,c"], which"#),
        "{error}"
    );
}

/// Nor does another name for the same metric, or what is measured on the way where the last model is the result.
#[test]
fn a_finished_run_is_told_again_where_what_differs_changes_nothing() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(20, 1), examples(8, 2));
    let run = |name: &str, recipe: &Recipe, is_measured, start| {
        let out = base.path(name);
        let job = Job {
            dev: dev_of(&dev).filter(|_| is_measured),
            start,
            ..job(&base, recipe, &labels, &train, &out)
        };
        finetune(&job, &mut Unobserved).map_err(|error| error.to_string())
    };
    let plain = Recipe {
        eval_strategy: Strategy::Epoch,
        save_strategy: Strategy::Epoch,
        metric_for_best_model: Some("accuracy".into()),
        ..recipe()
    };
    let best = Recipe {
        load_best_model_at_end: true,
        ..plain.clone()
    };
    for (name, recipe) in [("plain", &plain), ("best", &best)] {
        let outcome = run(name, recipe, true, Start::Fresh);
        assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    }
    let unmeasured = recipe();
    let by_loss = Recipe {
        metric_for_best_model: None,
        greater_is_better: Some(false),
        ..plain.clone()
    };
    let by_name = Recipe {
        metric_for_best_model: Some("eval_accuracy".into()),
        greater_is_better: Some(true),
        ..best.clone()
    };
    for (name, recipe, is_measured) in [
        ("plain", &unmeasured, false),
        ("plain", &by_loss, true),
        ("best", &by_name, true),
    ] {
        let outcome = run(name, recipe, is_measured, Start::ResumeNewest);
        assert_eq!(outcome, Ok(Outcome::AlreadyFinished), "{name}");
    }
    let by_loss = Recipe {
        load_best_model_at_end: true,
        ..by_loss
    };
    for (recipe, said) in [
        (
            &by_loss,
            "metric_for_best_model was \"eval_accuracy\" and is now \"eval_loss\"",
        ),
        (&plain, "load_best_model_at_end was true and is now false"),
    ] {
        let error = run("best", recipe, true, Start::ResumeNewest).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

/// Hears what is changed, and stops after a step.
struct Changes(u64, Vec<[String; 3]>);

impl Observer for Changes {
    fn on_step(&mut self, info: &StepInfo) -> Control {
        StopAt(self.0).on_step(info)
    }

    fn on_changed(&mut self, setting: &str, then: &str, now: &str) {
        self.1.push([setting, then, now].map(str::to_owned));
    }
}

#[test]
fn a_run_goes_on_at_another_rate_aloud_and_with_another_loss_not_at_all() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(20, 1), base.path("out"));
    let from = |sha256: &str, recipe, start| {
        let mut job = job(&base, recipe, &labels, &train, &out);
        job.training_args.provenance = Some(Provenance {
            base_model_sha256: sha256.into(),
            ..Provenance::default()
        });
        Job { start, ..job }
    };
    let recipe = recipe();
    finetune(&from("ab", &recipe, Start::Fresh), &mut StopAt(2)).unwrap();
    let refused = |sha256: &str, recipe| {
        let job = from(sha256, recipe, Start::ResumeNewest);
        finetune(&job, &mut Unobserved).unwrap_err().to_string()
    };
    let error = refused("cd", &recipe);
    assert!(
        error.contains("the base model's SHA-256 was ab and is now cd"),
        "{error}"
    );
    let smooth = Recipe {
        label_smoothing_factor: 0.25,
        ..recipe.clone()
    };
    let error = refused("ab", &smooth);
    assert!(
        error.contains("label_smoothing_factor was 0.0 and is now 0.25"),
        "{error}"
    );

    let mut changes = Changes(3, Vec::new());
    let slower = Recipe {
        learning_rate: 1e-3,
        logging_steps: 1,
        ..recipe.clone()
    };
    finetune(&from("ab", &slower, Start::ResumeNewest), &mut changes).unwrap();
    assert_eq!(changes.1, [["learning_rate", "0.005", "0.001"]]);
    let mut changes = Changes(4, Vec::new());
    finetune(&from("ab", &slower, Start::ResumeNewest), &mut changes).unwrap();
    assert!(changes.1.is_empty());
}

/// Where it is constant, the rate does not hang on the length.
#[test]
fn a_run_goes_on_to_another_end_aloud_where_its_rate_changes() {
    let base = Base::new();
    let (labels, train) = (labels(), examples(20, 1));
    let told = |name: &str, decay, change: fn(&mut Recipe)| {
        let out = base.path(name);
        let mut recipe = Recipe {
            lr_scheduler_type: decay,
            ..recipe()
        };
        finetune(&job(&base, &recipe, &labels, &train, &out), &mut StopAt(2)).unwrap();
        change(&mut recipe);
        let longer = Job {
            start: Start::ResumeNewest,
            ..job(&base, &recipe, &labels, &train, &out)
        };
        let mut changes = Changes(3, Vec::new());
        finetune(&longer, &mut changes).unwrap();
        changes.1
    };
    let longer: fn(&mut Recipe) = |recipe| recipe.num_train_epochs = 4.0;
    let epochs = told("epochs", Decay::Linear, longer);
    assert_eq!(epochs, [["num_train_epochs", "2", "4"]]);
    let steps = told("steps", Decay::Cosine, |recipe| recipe.max_steps = 5);
    assert_eq!(steps, [["max_steps", "6", "5"]]);
    assert!(told("constant", Decay::Constant, longer).is_empty());
}

/// What it was worth on some rows would be held against what it is worth on others.
#[test]
fn a_run_is_not_measured_on_other_rows_in_silence() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let last = Recipe {
        eval_strategy: Strategy::Steps,
        eval_steps: 4,
        save_steps: 4,
        ..recipe()
    };
    let best = Recipe {
        load_best_model_at_end: true,
        ..last.clone()
    };
    let run = |recipe: &Recipe, file: Option<(&str, u64)>, observer: &mut dyn Observer| {
        let out = base.path(match recipe.load_best_model_at_end {
            true => "best",
            false => "last",
        });
        let start = match out.exists() {
            true => Start::ResumeNewest,
            false => Start::Fresh,
        };
        let mut job = Job {
            dev: dev_of(&dev),
            start,
            ..job(&base, recipe, &labels, &train, &out)
        };
        let data = |(sha256, rows): (&str, u64)| DataFile {
            name: "dev.tsv".into(),
            sha256: sha256.into(),
            rows,
        };
        job.training_args.provenance = Some(Provenance {
            validation_file: file.map(data),
            ..Provenance::default()
        });
        finetune(&job, observer).map_err(|error| error.to_string())
    };
    let (whole, few, other) = (Some(("ab", 20)), Some(("ab", 3)), Some(("cd", 20)));
    for recipe in [&last, &best] {
        run(recipe, whole, &mut StopAt(5)).unwrap();
    }
    let refused = |recipe, file, said: &str| {
        let error = run(recipe, file, &mut Unobserved).unwrap_err();
        assert!(error.contains(said), "{error}");
    };
    let files = "dev.tsv (SHA-256 ab) and is now dev.tsv (SHA-256 cd)";
    refused(&best, few, "max_eval_samples was 20 and is now 3, which");
    refused(&best, other, &format!("validation_file was {files}, which"));

    let changes = |file, stop| {
        let mut changes = Changes(stop, Vec::new());
        run(&last, file, &mut changes).unwrap();
        changes.1
    };
    assert_eq!(changes(few, 6), [["max_eval_samples", "20", "3"]]);
    assert!(changes(few, 7).is_empty());
    let files = ["dev.tsv (SHA-256 ab)", "dev.tsv (SHA-256 cd)"];
    assert_eq!(changes(other, 8), [["validation_file", files[0], files[1]]]);
    assert!(changes(None, 99).is_empty());

    run(&best, whole, &mut Unobserved).unwrap();
    for (recipe, file) in [(&best, whole), (&best, None), (&last, None)] {
        let outcome = run(recipe, file, &mut Unobserved);
        assert_eq!(outcome, Ok(Outcome::AlreadyFinished));
    }
    let way = "`berth evaluate` measures it on these";
    for (recipe, file, then, now) in [
        (&best, few, "20 rows of dev.tsv", "3 rows of dev.tsv"),
        (
            &best,
            other,
            "20 rows of dev.tsv (SHA-256 ab)",
            "20 rows of dev.tsv (SHA-256 cd)",
        ),
        (&last, whole, "no file", "20 rows of dev.tsv"),
    ] {
        let said = format!("finished, and was measured on {then} and not on {now}; {way}");
        refused(recipe, file, &said);
    }
}

/// The first loss would be held against accuracies.
#[test]
fn the_best_evaluation_is_not_taken_for_one_of_another_metric() {
    let base = Base::new();
    let (labels, train, dev) = (labels(), examples(60, 1), examples(20, 2));
    let out = base.path("out");
    let recipe = Recipe {
        eval_strategy: Strategy::Steps,
        eval_steps: 4,
        save_steps: 4,
        load_best_model_at_end: true,
        ..recipe()
    };
    let run = |recipe: &Recipe, start| {
        let job = Job {
            dev: dev_of(&dev),
            start,
            ..job(&base, recipe, &labels, &train, &out)
        };
        finetune(&job, &mut StopAt(5))
    };
    run(&recipe, Start::Fresh).unwrap();
    let by_name = Recipe {
        metric_for_best_model: Some("accuracy".into()),
        ..recipe.clone()
    };
    let by_way = Recipe {
        greater_is_better: Some(true),
        ..recipe
    };
    for (other, said) in [
        (
            by_name,
            "metric_for_best_model was eval_loss and is now eval_accuracy",
        ),
        (by_way, "greater_is_better was false and is now true"),
    ] {
        let error = run(&other, Start::ResumeNewest).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_others_left_in_a_folder_stays_when_a_run_goes_on_in_it() {
    let base = Base::new();
    let (labels, train, recipe) = (labels(), examples(20, 1), recipe());
    let run = |out: &Path, start| {
        let job = Job {
            start,
            ..job(&base, &recipe, &labels, &train, out)
        };
        finetune(&job, &mut StopAt(2))
    };
    let (first, second) = (base.path("first"), base.path("second"));
    run(&first, Start::Fresh).unwrap();
    run(&second, Start::Fresh).unwrap();
    std::fs::write(second.join("notes.txt"), "mine").unwrap();
    let old = second.join("checkpoint-2");
    std::fs::rename(&old, second.join("checkpoint-900")).unwrap();
    let before = names(&second);

    let from = first.join("checkpoint-2");
    let error = run(&second, Start::ResumeFrom(from.clone())).unwrap_err();
    assert!(matches!(error, TrainError::InUsedFolder { .. }), "{error}");
    assert_eq!(names(&second), before);
    let missing = Start::ResumeFrom(first.join("checkpoint-3"));
    let error = run(&second, missing).unwrap_err();
    assert!(matches!(error, TrainError::NothingToResume(_)), "{error}");

    let outcome = run(&second, Start::OverwriteFrom(from.clone())).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    assert!(!names(&second).contains(&"checkpoint-900".to_owned()));
    assert!(second.join("notes.txt").exists());
    // The same again has nothing to do; one of its own it does not remove.
    let again = run(&second, Start::ResumeFrom(from.clone())).unwrap();
    assert_eq!(again, Outcome::AlreadyFinished);
    let outcome = run(&first, Start::OverwriteFrom(from.clone())).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    assert!(from.exists());
    assert_eq!(weights(&first), weights(&second));
}

/// What lies after it is another course's then, also where that had come to its end.
#[test]
fn a_finished_run_is_gone_back_in_where_it_is_to_be_overwritten() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(20, 1), base.path("out"));
    let recipe = Recipe {
        save_steps: 2,
        ..recipe()
    };
    let run = |recipe: &Recipe, start, stop| {
        let job = Job {
            start,
            ..job(&base, recipe, &labels, &train, &out)
        };
        finetune(&job, &mut StopAt(stop)).unwrap()
    };
    run(&recipe, Start::Fresh, 99);
    let (result, at_2) = (weights(&out), out.join("checkpoint-2"));
    let faster = Recipe {
        learning_rate: 1e-2,
        ..recipe.clone()
    };
    let over = |folder: &Path| Start::OverwriteFrom(folder.to_owned());
    let outcome = run(&recipe, over(&out), 99);
    assert_eq!(outcome, Outcome::AlreadyFinished);

    let outcome = run(&faster, over(&at_2), 3);
    assert!(matches!(outcome, Outcome::Interrupted { step: 3, .. }));
    let found = names(&out).into_iter();
    let found = found.filter(|name| name.starts_with("checkpoint-"));
    assert_eq!(found.collect::<Vec<_>>(), ["checkpoint-2", "checkpoint-3"]);
    assert_eq!(weights(&out), result);
    let outcome = run(&faster, Start::ResumeNewest, 99);
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    assert_ne!(weights(&out), result);
}

#[test]
fn a_run_is_not_started_over_without_the_model_to_start_from() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(20, 1), base.path("out"));
    let recipe = Recipe {
        save_steps: 2,
        ..recipe()
    };
    finetune(&job(&base, &recipe, &labels, &train, &out), &mut Unobserved).unwrap();
    let before = names(&out);
    let own = Checkpoint::open(out.join("checkpoint-2")).unwrap();
    let over = Job {
        base: &own,
        start: Start::Overwrite,
        ..job(&base, &recipe, &labels, &train, &out)
    };
    let error = finetune(&over, &mut Unobserved).unwrap_err().to_string();
    assert!(
        error.contains("checkpoint-2: the model to start from"),
        "{error}"
    );
    assert!(error.contains("name another --output_dir"), "{error}");
    assert_eq!(names(&out), before);
}

#[test]
fn a_run_without_its_figures_has_not_finished() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    let first = job(&base, &recipe, &labels, &train, &out);
    finetune(&first, &mut Unobserved).unwrap();
    let result = weights(&out);
    std::fs::remove_file(out.join("all_results.json")).unwrap();
    let again = Job {
        start: Start::ResumeNewest,
        ..first
    };
    let outcome = finetune(&again, &mut Unobserved).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    assert!(out.join("all_results.json").exists());
    assert_eq!(weights(&out), result);
}

#[test]
fn a_run_that_was_started_over_is_not_taken_for_the_old_one() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    let run = |start| Job {
        start,
        ..job(&base, &recipe, &labels, &train, &out)
    };
    finetune(&run(Start::Fresh), &mut Unobserved).unwrap();
    let result = weights(&out);
    let outcome = finetune(&run(Start::Overwrite), &mut StopAt(2)).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { step: 2, .. }));
    assert_eq!(
        weights(&out),
        result,
        "the old result stays until there is a new one"
    );
    let outcome = finetune(&run(Start::ResumeNewest), &mut Unobserved).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
}

#[test]
fn a_run_killed_before_its_result_was_written_finishes_from_the_last_checkpoint() {
    let base = Base::new();
    let (labels, train, recipe, out) = (labels(), examples(20, 1), recipe(), base.path("out"));
    let first = job(&base, &recipe, &labels, &train, &out);
    finetune(&first, &mut Unobserved).unwrap();
    let result = weights(&out);
    for name in names(&out)
        .into_iter()
        .filter(|name| !name.starts_with("checkpoint-"))
    {
        std::fs::remove_file(out.join(name)).unwrap();
    }
    std::fs::create_dir(out.join(".checkpoint-9.abc.partial")).unwrap();
    let again = Job {
        start: Start::ResumeNewest,
        ..first
    };
    assert!(matches!(
        finetune(&again, &mut Unobserved).unwrap(),
        Outcome::Finished(_)
    ));
    assert_eq!(weights(&out), result);
    assert!(names(&out).iter().all(|name| !name.contains("partial")));

    // One killed later, over the files that come after the result, has nothing to train; it tidies up all the same.
    std::fs::write(out.join(".berth.abc.partial"), "half a page").unwrap();
    std::fs::create_dir(base.path(".out.abc.partial")).unwrap();
    finetune(&again, &mut Unobserved).unwrap();
    assert!(names(&out).iter().all(|name| !name.contains("partial")));
    assert!(!base.path(".out.abc.partial").exists());
}

#[test]
fn what_cannot_be_resumed_is_refused_with_the_reason() {
    let base = Base::new();
    let (labels, train, out) = (labels(), examples(20, 1), base.path("out"));
    let recipe = Recipe {
        save_steps: 2,
        ..recipe()
    };
    let resumed = |recipe: &Recipe, rows: usize, out: &Path, start| {
        let job = Job {
            start,
            ..job(&base, recipe, &labels, &train[..rows], out)
        };
        finetune(&job, &mut StopAt(2)).unwrap_err().to_string()
    };
    let error = resumed(&recipe, 20, &out, Start::ResumeNewest);
    assert!(
        error.ends_with("out: no checkpoint to resume from"),
        "{error}"
    );
    finetune(&job(&base, &recipe, &labels, &train, &out), &mut StopAt(2)).unwrap();
    let other = Recipe {
        seed: 1,
        ..recipe.clone()
    };
    let error = resumed(&other, 20, &out, Start::ResumeNewest);
    assert!(
        error.ends_with("checkpoint-2: seed was 42 and is now 1, which would be another run"),
        "{error}"
    );
    let mixed = Recipe {
        bf16: true,
        ..recipe.clone()
    };
    if mixed.check().is_ok() {
        let error = resumed(&mixed, 20, &out, Start::ResumeNewest);
        assert!(error.contains("bf16 was false and is now true"), "{error}");
    }
    let error = resumed(&recipe, 19, &out, Start::ResumeNewest);
    assert!(
        error.contains("the number of examples was 20 and is now 19"),
        "{error}"
    );
    let error = resumed(&recipe, 20, &out, Start::Fresh);
    assert!(
        error.contains("--overwrite_output_dir") && error.contains("--resume_from_checkpoint"),
        "{error}"
    );

    let optimizer = out.join("checkpoint-2/optimizer.safetensors");
    let bytes = std::fs::read(&optimizer).unwrap();
    std::fs::write(&optimizer, &bytes[..bytes.len() / 2]).unwrap();
    let error = resumed(&recipe, 20, &out, Start::ResumeNewest);
    assert!(error.contains("optimizer.safetensors: "), "{error}");
    std::fs::write(&optimizer, &bytes).unwrap();
    std::fs::write(out.join("checkpoint-2/trainer_state.json"), "{").unwrap();
    let job = Job {
        start: Start::ResumeNewest,
        ..job(&base, &recipe, &labels, &train, &out)
    };
    assert!(matches!(
        finetune(&job, &mut Unobserved),
        Err(TrainError::Damaged { .. })
    ));
}
