//! Runs that start from another model than a bare BERT: from one that was fine-tuned before, or from a DistilBERT.

use std::path::Path;

use berth_checkpoint::save::{Existing, Folder, TensorRef};
use berth_checkpoint::{Checkpoint, Config, Family, Tensor};
use berth_data::{Encoded, Target};
use berth_task::Task;
use berth_trainer::model::{Bert, HeadKind, Missing, OldClassifier};
use berth_trainer::{
    Control, Job, Observer, Outcome, Predictor, Recipe, Start, StepInfo, Unobserved, finetune,
};

use crate::common::{self, Base, examples, job, labels, recipe, weights, with_numbers};

const TYPES: &str = "bert.embeddings.token_type_embeddings.weight";
const POOLER: &str = "bert.pooler.dense.weight";

/// Hears what it is told, and stops after a step.
#[derive(Default)]
struct Heard {
    classifiers: Vec<(Vec<String>, OldClassifier)>,
    steps: Vec<StepInfo>,
    last: u64,
}

impl Observer for Heard {
    fn on_step(&mut self, step: &StepInfo) -> Control {
        self.steps.push(*step);
        match step.step == self.last {
            true => Control::Stop,
            false => Control::Continue,
        }
    }

    fn on_old_classifier(&mut self, labels: &[String], became: OldClassifier) {
        self.classifiers.push((labels.to_vec(), became));
    }
}

fn named(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|name| name.to_string()).collect()
}

/// One step, which changes next to nothing.
fn still() -> Recipe {
    Recipe {
        max_steps: 1,
        learning_rate: 1e-9,
        ..recipe()
    }
}

/// The result of a run, and what was heard of the classifier that it began with.
fn result(job: &Job<'_>) -> (Checkpoint, Vec<(Vec<String>, OldClassifier)>) {
    let mut heard = Heard::default();
    finetune(job, &mut heard).unwrap();
    let checkpoint = Checkpoint::open(job.output_dir).unwrap();
    (checkpoint, heard.classifiers)
}

fn with_targets(rows: &[Encoded], target: impl Fn(&Encoded) -> Target) -> Vec<Encoded> {
    let with = |row: &Encoded| Encoded {
        target: target(row),
        ..row.clone()
    };
    rows.iter().map(with).collect()
}

/// The class of an example, with the labels in their order or the other way round.
fn class(row: &Encoded, turned: bool) -> u32 {
    match row.target {
        Target::Class(class) if turned => 1 - class,
        Target::Class(class) => class,
        _ => unreachable!("examples have classes"),
    }
}

fn assert_near(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 1e-4, "{a} where {b} should be");
    }
}

/// A model whose labels are the other way round is no worse after a step that changes nothing.
#[test]
fn a_base_with_the_labels_in_another_order_answers_as_before() {
    let base = Base::new();
    let (sorted, turned) = (labels(), named(&["good", "bad"]));
    let (train, dev) = (examples(200, 1), examples(50, 2));
    let turned_dev = with_targets(&dev, |row| Target::Class(class(row, true)));
    let learning = Recipe {
        num_train_epochs: 4.0,
        gradient_accumulation_steps: 1,
        ..recipe()
    };
    let turned_train = with_targets(&train, |row| Target::Class(class(row, true)));
    let out = base.path("first");
    let first = Job {
        dev: common::dev(&turned_dev),
        ..job(&base, &learning, &turned, &turned_train, &out)
    };
    let Outcome::Finished(before) = finetune(&first, &mut Unobserved).unwrap() else {
        panic!("it ran to its end");
    };
    let first = Checkpoint::open(&out).unwrap();
    let (still, out) = (still(), base.path("second"));
    let second = Job {
        base: &first,
        dev: common::dev(&dev),
        ..job(&base, &still, &sorted, &train, &out)
    };
    let mut heard = Heard::default();
    let Outcome::Finished(after) = finetune(&second, &mut heard).unwrap() else {
        panic!("it ran to its end");
    };
    assert_eq!(heard.classifiers, [(turned, OldClassifier::Reordered)]);
    let accuracy = before.eval["eval_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.95, "{accuracy}");
    assert_eq!(after.eval["eval_accuracy"].as_f64(), Some(accuracy));
    let second = Checkpoint::open(&out).unwrap();
    assert_eq!(second.config.id2label, sorted);
    let pooler = |model: &Checkpoint| model.tensor(POOLER).unwrap().data;
    assert_near(&pooler(&second), &pooler(&first));

    // A run that is resumed has its rows in its own order already.
    let (recipe, whole, parts) = (recipe(), base.path("whole"), base.path("parts"));
    let on = |out: &Path, start: Start, observer: &mut dyn Observer| {
        let job = Job {
            base: &first,
            start,
            ..job(&base, &recipe, &sorted, &train[..60], out)
        };
        finetune(&job, observer).unwrap()
    };
    on(&whole, Start::Fresh, &mut Unobserved);
    let mut stopped = Heard {
        last: 3,
        ..Heard::default()
    };
    on(&parts, Start::Fresh, &mut stopped);
    let mut resumed = Heard::default();
    on(&parts, Start::ResumeNewest, &mut resumed);
    assert_eq!(
        [stopped.classifiers.len(), resumed.classifiers.len()],
        [1, 0]
    );
    assert_eq!(weights(&whole), weights(&parts));
}

#[test]
fn rows_may_have_several_labels() {
    let base = Base::new();
    let (sorted, turned) = (labels(), named(&["good", "bad"]));
    let rows = examples(60, 1);
    let sets = |turned| with_targets(&rows, |row| Target::Set(vec![class(row, turned)]));
    let (recipe, still, out) = (recipe(), still(), base.path("first"));
    let (first, _) = result(&job(&base, &recipe, &turned, &sets(true), &out));
    let out = base.path("second");
    let (second, heard) = result(&Job {
        base: &first,
        ..job(&base, &still, &sorted, &sets(false), &out)
    });
    assert_eq!(heard, [(turned, OldClassifier::Reordered)]);
    let logits = |model: &Checkpoint| {
        let predictor = Predictor::load(model, Task::TextClassification).unwrap();
        predictor.logits(&rows, 8).unwrap()
    };
    for (after, before) in logits(&second).iter().zip(logits(&first)) {
        assert_near(after, &[before[1], before[0]]);
    }
}

/// The models of others have O as the first label, and sorted it is the last.
#[test]
fn a_tagger_keeps_each_tags_row() {
    let base = Base::new();
    let (sorted, theirs) = (named(&["B-X", "I-X", "O"]), named(&["O", "B-X", "I-X"]));
    let rows = examples(60, 1);
    let tagged = |moved: u32| {
        let tag = |id: &u32| Some((id + moved) % 3);
        with_targets(&rows, |row| {
            Target::Classes(row.ids.iter().map(tag).collect())
        })
    };
    let (recipe, still, out) = (recipe(), still(), base.path("first"));
    let task = Task::TokenClassification;
    let (first, _) = result(&Job {
        task,
        ..job(&base, &recipe, &theirs, &tagged(1), &out)
    });
    let out = base.path("second");
    let (second, heard) = result(&Job {
        task,
        base: &first,
        ..job(&base, &still, &sorted, &tagged(0), &out)
    });
    assert_eq!(heard, [(theirs, OldClassifier::Reordered)]);
    let logits = |model: &Checkpoint| {
        let predictor = Predictor::load(model, task).unwrap();
        predictor.logits(&rows, 8).unwrap()
    };
    for (after, before) in logits(&second).iter().zip(logits(&first)) {
        for (after, before) in after.chunks(3).zip(before.chunks(3)) {
            assert_near(after, &[before[1], before[2], before[0]]);
        }
    }
}

#[test]
fn only_a_classifier_for_the_same_labels_is_gone_on_with() {
    let base = Base::new();
    let (own, rows, recipe, out) = (labels(), examples(60, 1), recipe(), base.path("first"));
    let (first, heard) = result(&job(&base, &recipe, &own, &rows, &out));
    assert!(heard.is_empty(), "a bare encoder has no classifier");
    let kind = HeadKind::Sequence { outputs: 2 };
    let values = |model: &Bert, name: &str| {
        let mut all = model.parameters().iter();
        all.find(|p| p.name() == name).unwrap().values().to_vec()
    };
    let stored = |model: &Checkpoint, name: &str| model.tensor(name).unwrap().data;
    let both = ["classifier.weight", "classifier.bias"];

    let (model, became) = Bert::begin(&first, kind, &named(&["no", "yes"]), 9).unwrap();
    assert_eq!(became, Some(OldClassifier::Replaced));
    let fresh = Bert::load(&base.checkpoint, kind, Missing::Seeded(9)).unwrap();
    for name in both {
        assert_eq!(values(&model, name), values(&fresh, name));
    }
    assert_eq!(values(&model, POOLER), stored(&first, POOLER));

    let three = HeadKind::Sequence { outputs: 3 };
    let (_, became) = Bert::begin(&first, three, &named(&["bad", "good", "so so"]), 9).unwrap();
    assert_eq!(became, Some(OldClassifier::Replaced));
    let (_, became) = Bert::begin(&base.checkpoint, kind, &own, 9).unwrap();
    assert_eq!(became, None);

    // Numbers for labels stand for the places of the other's.
    let numbers = named(&["0", "1"]);
    let (model, became) = Bert::begin(&first, kind, &numbers, 9).unwrap();
    assert_eq!(became, Some(OldClassifier::Numbered));
    let mut unnamed = Checkpoint::open(&out).unwrap();
    unnamed.config.id2label = named(&["LABEL_0", "LABEL_1"]);
    let (same, became) = Bert::begin(&unnamed, kind, &own, 9).unwrap();
    assert_eq!(became, None);
    for name in both {
        assert_eq!(values(&model, name), stored(&first, name));
        assert_eq!(values(&same, name), stored(&first, name));
    }
}

#[test]
fn regression_goes_on_with_its_one_row() {
    let base = Base::new();
    let (rows, recipe, still) = (with_numbers(examples(60, 1)), recipe(), still());
    let (out, again) = (base.path("first"), base.path("second"));
    let task = Task::TextPairRegression;
    let (first, _) = result(&Job {
        task,
        ..job(&base, &recipe, &[], &rows, &out)
    });
    let (second, heard) = result(&Job {
        task,
        base: &first,
        ..job(&base, &still, &[], &rows, &again)
    });
    assert!(heard.is_empty());
    for name in ["classifier.weight", "classifier.bias", POOLER] {
        let [before, after] = [&first, &second].map(|model| model.tensor(name).unwrap().data);
        assert_near(&after, &before);
    }
}

/// The base model as a DistilBERT, which has no token types, or as a BERT whose token types are zero.
fn without_types(base: &Base, family: Family) -> Checkpoint {
    let from = &base.checkpoint;
    let config = Config {
        family,
        ..from.config.clone()
    };
    let read = |name: &str| (name.to_owned(), from.tensor(name).unwrap());
    let mut tensors: Vec<(String, Tensor)> = from.names().map(read).collect();
    match family {
        Family::Bert => {
            let mut all = tensors.iter_mut();
            let (_, types) = all.find(|(name, _)| name == TYPES).unwrap();
            types.data.fill(0.0);
        }
        Family::DistilBert => tensors.retain(|(name, _)| name != TYPES),
    }
    let refs: Vec<TensorRef<'_>> = tensors
        .iter()
        .map(|(name, tensor)| TensorRef {
            name,
            shape: &tensor.shape,
            data: &tensor.data,
        })
        .collect();
    let mut folder = Folder::create(base.path(family.name())).unwrap();
    folder.model(&config, &refs).unwrap();
    let tokenizer = from.tokenizer_files().unwrap();
    folder.tokenizer(&tokenizer, from.max_length()).unwrap();
    Checkpoint::open(folder.commit(Existing::Refuse).unwrap()).unwrap()
}

/// It has none, so they neither move nor count where gradients are clipped, in a run that is resumed either.
#[test]
fn a_distilbert_learns_no_token_types() {
    let base = Base::new().without_dropout();
    let (labels, recipe) = (labels(), recipe());
    let train = with_targets(&examples(60, 1), |row| {
        Target::Classes(row.ids.iter().map(|id| Some(id % 2)).collect())
    });
    let run = |from: &Checkpoint, name: &str, start: Start, last: u64| {
        let out = base.path(name);
        let mut heard = Heard {
            last,
            ..Heard::default()
        };
        let job = Job {
            task: Task::TokenClassification,
            base: from,
            start,
            ..job(&base, &recipe, &labels, &train, &out)
        };
        finetune(&job, &mut heard).unwrap();
        heard.steps[0]
    };
    let [bert, distil] = [Family::Bert, Family::DistilBert].map(|f| without_types(&base, f));
    let of_bert = run(&bert, "of-bert", Start::Fresh, 0);
    let of_distil = run(&distil, "of-distil", Start::Fresh, 0);
    assert_eq!(of_bert.loss, of_distil.loss);
    let (norm, whole) = (of_distil.grad_norm, of_bert.grad_norm);
    assert!(norm < whole && norm > 0.0, "{norm} of {whole}");
    let is_zero = |name: &str| {
        let trained = Checkpoint::open(base.path(name)).unwrap();
        let types = trained.tensor(TYPES).unwrap().data;
        types.iter().all(|x| *x == 0.0)
    };
    assert!(is_zero("of-distil") && !is_zero("of-bert"));

    run(&distil, "parts", Start::Fresh, 3);
    run(&distil, "parts", Start::ResumeNewest, 0);
    assert!(is_zero("parts"));
    let [whole, parts] = ["of-distil", "parts"].map(|name| weights(&base.path(name)));
    assert_eq!(whole, parts);
}

/// Its `pre_classifier`, which ReLU follows, is a part of the head.
#[test]
fn a_distilbert_that_was_fine_tuned_goes_on_with_its_whole_head() {
    let base = Base::new();
    let from = without_types(&base, Family::DistilBert);
    let (labels, rows, recipe, still) = (labels(), examples(60, 1), recipe(), still());
    let logits = |model: &Checkpoint| {
        let predictor = Predictor::load(model, Task::TextClassification).unwrap();
        predictor.logits(&rows, 8).unwrap().concat()
    };
    let out = base.path("first");
    let (first, _) = result(&Job {
        base: &from,
        ..job(&base, &recipe, &labels, &rows, &out)
    });
    assert_eq!(first.config.family, Family::DistilBert);
    let out = base.path("second");
    let (second, heard) = result(&Job {
        base: &first,
        ..job(&base, &still, &labels, &rows, &out)
    });
    assert!(heard.is_empty());
    assert_near(&logits(&second), &logits(&first));
    assert!(second.has("pre_classifier.weight") && !second.has(POOLER));
}

/// Whose head would be left under a name that nothing reads.
#[test]
fn a_run_that_began_as_another_family_is_not_gone_on_with() {
    let base = Base::new();
    let [bert, distil] = [Family::Bert, Family::DistilBert].map(|f| without_types(&base, f));
    let (labels, rows, recipe, out) = (labels(), examples(60, 1), recipe(), base.path("run"));
    let mut stop = Heard {
        last: 3,
        ..Heard::default()
    };
    let begun = Job {
        base: &bert,
        ..job(&base, &recipe, &labels, &rows, &out)
    };
    finetune(&begun, &mut stop).unwrap();
    let again = Job {
        base: &distil,
        start: Start::ResumeNewest,
        ..job(&base, &recipe, &labels, &rows, &out)
    };
    let told = finetune(&again, &mut Unobserved).unwrap_err().to_string();
    assert!(told.contains("bert and is now distilbert"), "{told}");
}
