//! The road on real sentences with a real base model, where both are there.
//!
//! `BERTH_DATA` names the folder that holds the data sets by name; the base model is what
//! `berth fetch` has put into the cache. One test runs the checks one after the other and says how
//! many ran and how many were skipped. With `BERTH_DATA` set, a skip is a failure.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use berth_bundle::{AlignedBytes, Bundle};
use berth_checkpoint::{Checkpoint, tokenizer};
use berth_data::{EncodeOptions, Encoded, Example, Source, TaskName, encode_all};
use berth_runtime::Model;
use berth_task::Task;
use berth_tests::naive::Matrix;
use berth_trainer::Predictor;
use berth_trainer::batches::{Plan, Sampling};
use berth_trainer::kernels::gemm::Precision;
use berth_trainer::memory::{Load, Sizes};
use berth_trainer::model::HeadKind;
use berth_wordpiece::Tokenizer;
use serde_json::Value;

use crate::program::berth;
use crate::{dequantized, fixture, forward, gradients};

const BASE: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Pieces of an input at most; every sentence of the sample is shorter.
const LENGTH: usize = 96;

/// What the checks need.
struct Ground {
    base: PathBuf,
    mr: PathBuf,
}

type Check = (&'static str, fn(&Ground));

const CHECKS: [Check; 4] = [
    (
        "every sentence has the ids of the tokenizers crate",
        the_same_ids,
    ),
    (
        "the gradients of all 105 tensors are the reference's",
        the_gradients,
    ),
    ("training needs the memory that was foretold", the_memory),
    (
        "2,000 sentences teach a model that keeps its answers in int8",
        the_road,
    ),
];

#[test]
fn real_sentences_and_a_real_model() {
    let data = env::var_os("BERTH_DATA").map(PathBuf::from);
    let (ran, why) = match Ground::find(data.as_deref()) {
        Ok(ground) => {
            for (what, check) in CHECKS {
                say(&format!("real data: {what}"));
                check(&ground);
            }
            (CHECKS.len(), String::new())
        }
        Err(why) => (0, format!(" ({why})")),
    };
    let skipped = CHECKS.len() - ran;
    say(&format!("real data: {ran} ran, {skipped} skipped{why}"));
    assert!(
        data.is_none() || skipped == 0,
        "BERTH_DATA is set, so nothing may be skipped{why}"
    );
}

impl Ground {
    fn find(data: Option<&Path>) -> Result<Self, String> {
        let mr = data.ok_or("BERTH_DATA is not set")?.join("mr");
        if !mr.join("dev.tsv").is_file() {
            return Err(format!("{} holds no dev.tsv", mr.display()));
        }
        let fetched = berth(["fetch", BASE]);
        match fetched.code {
            Some(0) => Ok(Ground {
                base: fetched.stdout.trim().into(),
                mr,
            }),
            _ => Err(format!("no {BASE}; `berth fetch {BASE}` gets it")),
        }
    }

    fn examples(&self, file: &str) -> Vec<Example> {
        let source = Source::named(self.mr.join(file), TaskName::Mr);
        berth_data::read(&source)
            .expect("the published file")
            .examples
    }
}

fn the_same_ids(ground: &Ground) {
    let oracle = tokenizer::reference(&ground.base).expect("the real tokenizer");
    let tables = tokenizer::tables(&ground.base).expect("its tables");
    let ours = Tokenizer::new(&tables).expect("tables");
    let examples = [ground.examples("train.tsv"), ground.examples("dev.tsv")].concat();
    let encoded = encode_all(&ours, &texts(512), &examples).expect("room");
    assert_eq!(examples.len(), 9662);
    for (example, encoded) in examples.iter().zip(encoded) {
        let expected = oracle
            .encode(example.text.as_str(), true)
            .expect("an encoding");
        assert_eq!(encoded.ids, expected.get_ids(), "{}", example.text);
    }
}

fn the_gradients(ground: &Ground) {
    let base = Checkpoint::open(&ground.base).expect("the base model");
    let tables = tokenizer::tables(&ground.base).expect("its tokenizer");
    let tokenizer = Tokenizer::new(&tables).expect("tables");
    let examples = ground.examples("dev.tsv");
    let rows = encode_all(&tokenizer, &texts(24), &examples[..6]).expect("room");
    let kind = HeadKind::Sequence { outputs: 3 };
    let found = gradients::hold_to_the_reference(base, kind, &rows);
    say(&format!(
        "real data: {} tensors within {:.1e}, {} that are zero within {:.1e} of 0",
        found.within, found.worst, found.unseen, found.largest_unseen
    ));
    assert_eq!((found.within, found.unseen), (99, 6));
}

/// Holds the estimate to what `berth bench --train` reports of shapes in a process of their own: as much as was held, or up
/// to 15 % more.
fn the_memory(ground: &Ground) {
    let base = text(&ground.base);
    let config = Checkpoint::open(&ground.base)
        .expect("the base model")
        .config;
    for (sequences, length) in [(32, 16), (32, 64), (8, 384)] {
        let shape = format!("{sequences}x{length}");
        let shapes = ["--shapes", &shape, "--steps", "1", "--threads", "1"];
        let model = ["--json", "--model_name_or_path", &base];
        let bench = ["bench", "--train"].into_iter().chain(model);
        let report = object(&berth(bench.chain(shapes)).ok());
        let found = report["peak_rss_mb"].as_f64().expect("a peak");
        // The pieces of its three steps are drawn at random; so many differ.
        let draws = (3 * sequences * length) as f64;
        let vocabulary = config.vocab_size as f64;
        let rows = vocabulary * (1.0 - (-draws / vocabulary).exp()) + length as f64;
        let kind = HeadKind::Sequence { outputs: 2 };
        let sizes = Sizes::new(&config, kind, rows as usize, 1, Precision::F32);
        let batch = vec![length; sequences];
        let plan = Plan::new(batch, Sampling::Sequential, 1, sequences, 1);
        let loads = plan.loads(&Vec::from_iter(0..sequences)).into_iter();
        let needed = loads.map(|load| sizes.peak(load, Load::default())).max();
        let foretold = needed.expect("a pass") as f64 / 1e6;
        say(&format!(
            "real data: {shape}: {found:.0} MB, foretold {foretold:.0}"
        ));
        assert!(
            (found..found * 1.15).contains(&foretold),
            "{shape}: {found} MB, foretold {foretold}"
        );
    }
}

/// Single texts of at most `limit` pieces.
fn texts(limit: usize) -> EncodeOptions {
    EncodeOptions::new(Task::TextClassification, limit)
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn the_road(ground: &Ground) {
    let dir = fixture::folder();
    let (model, bundle) = (dir.path().join("model"), dir.path().join("mr.berth"));
    let dev = text(&ground.mr.join("dev.tsv"));
    let train = text(&ground.mr.join("train.tsv"));
    let (base, model_text, bundle_text) = (text(&ground.base), text(&model), text(&bundle));
    let length = LENGTH.to_string();
    let learn = [
        "finetune",
        "--task_name",
        "mr",
        "--train_file",
        &train,
        "--num_train_epochs",
        "1",
    ];
    let how = [
        "--max_train_samples",
        "2000",
        "--learning_rate",
        "1e-4",
        "--seed",
        "1",
        "--max_seq_length",
        &length,
    ];
    let whereto = ["--model_name_or_path", &base, "--output_dir", &model_text];
    berth(learn.into_iter().chain(how).chain(whereto)).ok();

    let convert = [
        "quantize",
        &model_text,
        "--output",
        &bundle_text,
        "--validation_file",
        &dev,
    ];
    let report = object(&berth(convert.into_iter().chain(["--json"])).ok());
    let accuracy = |of: &Value| of["eval_accuracy"].as_f64().expect("an accuracy");
    let (f32, int8) = (accuracy(&report["f32"]), accuracy(&report["int8"]));
    let agreement = report["agreement"].as_f64().expect("an agreement");
    say(&format!(
        "real data: accuracy {f32} in f32, {int8} in int8, agreement {agreement}"
    ));
    assert!(f32 >= 0.70, "2,000 sentences teach {f32}");
    assert!(int8 >= f32 - 0.01, "int8 lost {f32} - {int8}");
    assert!(agreement >= 0.97, "agreement {agreement}");
    let evaluate =
        |of: &str| object(&berth(["evaluate", of, "--validation_file", &dev, "--json"]).ok());
    assert_eq!(
        accuracy(&evaluate(&model_text)),
        f32,
        "the checkpoint by itself"
    );
    assert_eq!(
        accuracy(&evaluate(&bundle_text)),
        int8,
        "the bundle by itself"
    );
    the_same_model(&model, &bundle, &ground.examples("dev.tsv")[..4]);
}

/// Reference, trainer and device on a real model: the first by rounding alone, the last by int8.
fn the_same_model(model: &Path, bundle: &Path, examples: &[Example]) {
    let checkpoint = Checkpoint::open(model).expect("the checkpoint");
    let bytes = AlignedBytes::copy_of(&fs::read(bundle).expect("the bundle"));
    let opened = Bundle::open(&bytes).expect("the bundle");
    let device = Model::open(bundle).expect("the bundle");
    let mut session = device.session().expect("a session");
    let rows = encode_all(device.tokenizer(), &texts(LENGTH), examples).expect("room");
    let (exact, quantized) = (
        forward::reference(&checkpoint),
        dequantized::reference(&opened),
    );
    let predictor = Predictor::load(&checkpoint, Task::TextClassification).expect("a model");
    for (row, trainer) in rows.iter().zip(predictor.logits(&rows, 2).expect("logits")) {
        let of = |reference: &berth_tests::naive::Bert, row: &Encoded| {
            let logits = reference.forward(&forward::sequence(row)).logits;
            Matrix::new(1, logits.len(), logits)
        };
        let error = of(&exact, row).relative_error(&forward::matrix(&trainer, 1));
        assert!(error < 1e-4, "the trainer is off by {error:e}");
        let int8 = session.logits_of(&row.ids, row.second).expect("an answer");
        let error = of(&quantized, row).relative_error(&forward::matrix(int8, 1));
        assert!(error < 0.15, "the device is off by {error:e}");
    }
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Says something even where the harness keeps what a passing test prints.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
