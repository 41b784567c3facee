//! A tiny checkpoint quantized: the bundle holds its weights, to half a step, and nothing else.

#[cfg(feature = "tract")]
#[path = "support/nodes.rs"]
mod nodes;

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::{AlignedBytes, Bundle};
use berth_checkpoint::save::{Existing, Folder, TensorRef};
use berth_checkpoint::{Checkpoint, Config, ProblemType, TrainingArgs, tiny};
use berth_kernels::Linear;
use berth_quantize::{Options, QuantizeError, Ranges, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_wordpiece::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 32;
const LABELS: [&str; 3] = ["bad", "so-so", "good"];

/// A tensor with its name and shape.
type Named = (String, Vec<usize>, Vec<f32>);

/// A folder with a base model, and the fine-tuned ones that are made of it.
struct Room {
    folder: TempDir,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::create(folder.path().join("base"), 5, &["film", "good"]).unwrap();
        Room { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn base(&self) -> Checkpoint {
        Checkpoint::open(self.path("base")).unwrap()
    }

    /// A classifier on the base model, after `edit`.
    fn tuned(&self, edit: impl FnOnce(&mut Config, &mut Vec<Named>)) -> PathBuf {
        self.tuned_for(Task::TextClassification, &LABELS, edit)
    }

    fn tuned_for(
        &self,
        task: Task,
        labels: &[&str],
        edit: impl FnOnce(&mut Config, &mut Vec<Named>),
    ) -> PathBuf {
        let base = self.base();
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let mut config = base.config.with_head(task, &labels);
        let mut tensors: Vec<Named> = base
            .names()
            .map(|name| {
                let tensor = base.tensor(name).unwrap();
                (name.to_owned(), tensor.shape, tensor.data)
            })
            .collect();
        let outputs = config.id2label.len();
        let weight = (0..outputs * HIDDEN)
            .map(|i| (i as f32 * 0.7).sin())
            .collect();
        let bias = (0..outputs).map(|i| i as f32 - 0.5).collect();
        tensors.push(("classifier.weight".into(), vec![outputs, HIDDEN], weight));
        tensors.push(("classifier.bias".into(), vec![outputs], bias));
        edit(&mut config, &mut tensors);

        let path = self.path("tuned");
        let mut folder = Folder::create(&path).unwrap();
        let refs: Vec<TensorRef<'_>> = tensors
            .iter()
            .map(|(name, shape, data)| TensorRef { name, shape, data })
            .collect();
        folder.model(&config, &refs).unwrap();
        folder
            .tokenizer(&base.tokenizer_files().unwrap(), 128)
            .unwrap();
        folder.training_args(&TrainingArgs::new(task, 40)).unwrap();
        folder.commit(Existing::Replace).unwrap()
    }
}

fn bundle_of(path: &Path) -> AlignedBytes {
    let checkpoint = Checkpoint::open(path).unwrap();
    let writer = quantize(&checkpoint, &Options::default()).unwrap();
    writer.to_bytes().unwrap()
}

fn refusal(path: &Path) -> QuantizeError {
    let checkpoint = Checkpoint::open(path).unwrap();
    quantize(&checkpoint, &Options::default())
        .map(drop)
        .unwrap_err()
}

/// The quantized weight of `output` and `input`, out of the layout that `FORMAT.md` lays down.
fn step(linear: &Linear<'_>, output: usize, input: usize) -> i8 {
    let groups = linear.inputs / 4;
    let group = output / 16 * groups + input / 4;
    linear.weights[group * 64 + output % 16 * 4 + input % 4]
}

/// Holds `count` outputs of a quantized layer, from `first` on, against the f32 layer they are
/// of. They come out `factor` times as large.
fn close(linear: &Linear<'_>, first: usize, checkpoint: &Checkpoint, name: &str, factor: f32) {
    let weight = checkpoint.tensor(&format!("{name}.weight")).unwrap();
    let bias = checkpoint.tensor(&format!("{name}.bias")).unwrap().data;
    let [outputs, inputs] = weight.shape[..] else {
        panic!("{name} is no matrix");
    };
    assert_eq!(linear.inputs, inputs, "{name}");
    for (output, row) in weight.data.chunks(inputs).enumerate() {
        let at = first + output;
        let one = linear.scale[at] / factor;
        let steps = (0..inputs).map(|input| step(linear, at, input));
        for (q, w) in steps.clone().zip(row) {
            // Half a step, and what is lost in rounding the product and the quotient.
            let error = (f32::from(q) * one - w).abs();
            assert!(error <= one * 0.500_01, "{name} {output}: {error} of {one}");
        }
        let largest = row.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
        assert!(
            (one * 127.0 / largest - 1.0).abs() < 1e-6,
            "{name} {output}"
        );
        let sum: i32 = steps.map(i32::from).sum();
        assert_eq!(
            linear.sum[at],
            linear.scale[at] * sum as f32,
            "{name} {output}"
        );
        assert_eq!(linear.bias[at], bias[output] * factor, "{name} {output}");
    }
    assert!(linear.outputs >= first + outputs, "{name}");
}

/// Each label has the score that its logit stands for, whatever the others have.
#[test]
fn labels_that_do_not_exclude_each_other_are_decided_one_by_one() {
    let room = Room::new();
    let of = |problem_type| {
        let path = room.tuned(|config, _| config.problem_type = Some(problem_type));
        let checkpoint = Checkpoint::open(&path).unwrap();
        let writer = quantize(&checkpoint, &Options::default()).unwrap();
        Model::from_bytes(&writer.to_bytes().unwrap()).unwrap()
    };
    let (one, several) = (
        of(ProblemType::SingleLabelClassification),
        of(ProblemType::MultiLabelClassification),
    );
    assert!(!one.multi_label() && several.multi_label());
    assert_eq!(several.bundle().decisions(), Some(&[0.5; LABELS.len()][..]));
    let logits = |model: &Model| {
        let mut session = model.session().unwrap();
        session.logits("film", None).unwrap().values.to_vec()
    };
    assert_eq!(logits(&one), logits(&several));
    let expected: Vec<f32> = logits(&several)
        .into_iter()
        .map(berth_task::sigmoid)
        .collect();
    let mut session = several.session().unwrap();
    let answer = session.classify("film").unwrap();
    let scores: Vec<f32> = answer.iter().map(|row| row.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for row in answer.iter() {
        let label = LABELS.iter().position(|label| *label == row.label).unwrap();
        assert_eq!(row.score, expected[label]);
    }
}

#[test]
fn every_layer_is_the_checkpoints_to_half_a_step() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let bytes = bundle_of(&path);
    let bundle = Bundle::open(&bytes).unwrap();
    bundle.verify().unwrap();
    let exact = |name: &str| checkpoint.tensor(name).unwrap().data;
    // Two heads of 16: log2(e) / 4.
    let score = (std::f64::consts::LOG2_E / 4.0) as f32;
    for index in 0..2 {
        let layer = bundle.layer(index).int8().unwrap();
        let at = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        close(
            &layer.qkv,
            0,
            &checkpoint,
            &at("attention.self.query"),
            score,
        );
        close(
            &layer.qkv,
            HIDDEN,
            &checkpoint,
            &at("attention.self.key"),
            1.0,
        );
        close(
            &layer.qkv,
            2 * HIDDEN,
            &checkpoint,
            &at("attention.self.value"),
            1.0,
        );
        close(
            &layer.attention_out,
            0,
            &checkpoint,
            &at("attention.output.dense"),
            1.0,
        );
        close(&layer.up, 0, &checkpoint, &at("intermediate.dense"), 1.0);
        close(&layer.down, 0, &checkpoint, &at("output.dense"), 1.0);
        let norm = layer.attention_norm;
        assert_eq!(norm.weight, exact(&at("attention.output.LayerNorm.weight")));
        assert_eq!(norm.bias, exact(&at("attention.output.LayerNorm.bias")));
        let norm = layer.output_norm;
        assert_eq!(norm.weight, exact(&at("output.LayerNorm.weight")));
        assert_eq!(norm.bias, exact(&at("output.LayerNorm.bias")));
        assert_eq!(norm.eps, 1e-12);
    }
    let head = bundle.head();
    close(
        &head.pooler.unwrap(),
        0,
        &checkpoint,
        "bert.pooler.dense",
        1.0,
    );
    assert_eq!(head.weight, exact("classifier.weight"));
    assert_eq!(head.bias, exact("classifier.bias"));
    let tokenizer = Tokenizer::new(bundle.tokenizer()).unwrap();
    assert_eq!(tokenizer.ids(), bundle.header().shape.vocab_size);
}

#[test]
fn embeddings_are_the_checkpoints_to_half_a_step() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let bytes = bundle_of(&path);
    let embeddings = Bundle::open(&bytes).unwrap().embeddings();
    let exact = |name: &str| {
        let name = format!("bert.embeddings.{name}");
        checkpoint.tensor(&name).unwrap().data
    };
    for (values, scale, name) in [
        (
            embeddings.word,
            embeddings.word_scale,
            "word_embeddings.weight",
        ),
        (
            embeddings.position,
            embeddings.position_scale,
            "position_embeddings.weight",
        ),
    ] {
        let exact = exact(name);
        assert_eq!(values.len(), exact.len());
        assert_eq!(scale.len() * HIDDEN, exact.len());
        for (row, (q, w)) in values.chunks(HIDDEN).zip(exact.chunks(HIDDEN)).enumerate() {
            for (q, w) in q.iter().zip(w) {
                let error = (f32::from(*q) * scale[row] - w).abs();
                assert!(error <= scale[row] * 0.500_01, "{name} {row}");
            }
        }
    }
    assert_eq!(embeddings.kind, exact("token_type_embeddings.weight"));
    assert_eq!(embeddings.norm.weight, exact("LayerNorm.weight"));
    assert_eq!(embeddings.norm.bias, exact("LayerNorm.bias"));
}

#[test]
fn the_header_tells_what_the_checkpoint_is() {
    let room = Room::new();
    let path = room.tuned(|config, _| {
        config.raw.insert("_name_or_path".into(), "base".into());
    });
    let bytes = bundle_of(&path);
    let bundle = Bundle::open(&bytes).unwrap();
    let header = bundle.header();
    assert_eq!(header.task, Task::TextClassification);
    assert_eq!(header.labels.iter().collect::<Vec<_>>(), LABELS);
    assert_eq!(header.max_tokens, 40);
    assert!(header.metrics.is_empty());
    let shape = header.shape;
    assert_eq!((shape.hidden, shape.layers, shape.heads), (32, 2, 2));
    assert_eq!(
        (shape.intermediate, shape.positions, shape.types),
        (64, 128, 2)
    );
    let from = &header.provenance;
    assert_eq!(from.berth, env!("CARGO_PKG_VERSION"));
    assert_eq!((&*from.model, &*from.base), ("tuned", "base"));
    let sha256 = berth_checkpoint::sha256(path.join("model.safetensors")).unwrap();
    assert_eq!(from.weights_sha256, sha256);
    let training: TrainingArgs = serde_json::from_slice(bundle.training()).unwrap();
    assert_eq!(training, TrainingArgs::new(Task::TextClassification, 40));
}

#[test]
fn options_come_before_what_the_checkpoint_remembers() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let options = Options {
        task: Some(Task::TextPairClassification),
        max_tokens: Some(128),
        name: Some("a name".to_owned()),
        ..Options::default()
    };
    let writer = quantize(&checkpoint, &options).unwrap();
    let bytes = writer.to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    assert_eq!(bundle.header().task, Task::TextPairClassification);
    assert_eq!(bundle.header().max_tokens, 128);
    assert_eq!(bundle.header().provenance.model, "a name");
    let training: TrainingArgs = serde_json::from_slice(bundle.training()).unwrap();
    assert_eq!(
        training,
        TrainingArgs::new(Task::TextPairClassification, 128)
    );
}

#[test]
fn the_same_checkpoint_gives_the_same_file() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let bytes = bundle_of(&path);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let writer = quantize(&checkpoint, &Options::default()).unwrap();
    let file = room.path("model.berth");
    writer.write(&file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), *bytes);
}

#[test]
fn a_model_that_answers_with_a_number_has_no_labels() {
    let room = Room::new();
    let path = room.tuned_for(Task::TextPairRegression, &["LABEL_0"], |_, _| ());
    let bytes = bundle_of(&path);
    let bundle = Bundle::open(&bytes).unwrap();
    assert!(bundle.header().labels.is_empty());
    assert_eq!(bundle.head().bias, [-0.5]);
    let path = room.tuned_for(Task::TextPairRegression, &["a", "b"], |_, _| ());
    let refused = refusal(&path).to_string();
    assert!(refused.contains("config.json: 2 labels"), "{refused}");
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let room = Room::new();
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let path = room.tuned(|_, tensors| {
            let name = "bert.encoder.layer.1.output.dense.weight";
            let found = tensors.iter_mut().find(|(found, ..)| found == name);
            found.unwrap().2[64 * 3 + 5] = value;
        });
        let refused = refusal(&path).to_string();
        let expected = format!("`bert.encoder.layer.1.output.dense.weight` holds {text} at [3, 5]");
        assert!(refused.contains(&expected), "{refused}");
    }
}

#[test]
fn one_token_type_is_enough_for_single_texts_and_too_few_for_pairs() {
    let room = Room::new();
    let cut = |config: &mut Config, tensors: &mut Vec<Named>| {
        config.type_vocab_size = 1;
        let types = tensors
            .iter_mut()
            .find(|(name, ..)| name.contains("token_type"));
        let (_, shape, data) = types.expect("a table of token types");
        shape[0] = 1;
        data.truncate(HIDDEN);
    };
    let path = room.tuned(cut);
    let bytes = bundle_of(&path);
    let bundle = Bundle::open(&bytes).unwrap();
    assert_eq!(bundle.header().shape.types, 2);
    let whole = Checkpoint::open(&path).unwrap();
    let types = whole.tensor("bert.embeddings.token_type_embeddings.weight");
    assert_eq!(bundle.embeddings().kind[..HIDDEN], types.unwrap().data);
    assert_eq!(bundle.embeddings().kind[HIDDEN..], [0.0; HIDDEN]);

    let path = room.tuned_for(Task::TextPairClassification, &LABELS, cut);
    let refused = refusal(&path).to_string();
    assert!(
        refused.contains("config.json: there must be 2 token types"),
        "{refused}"
    );
}

#[test]
fn a_checkpoint_without_a_head_or_without_a_task_is_refused() {
    let room = Room::new();
    let base = room.base();
    for task in [None, Some(Task::TextClassification)] {
        let options = Options {
            task,
            ..Options::default()
        };
        let refused = quantize(&base, &options).map(drop).unwrap_err();
        assert!(matches!(refused, QuantizeError::NoHead { .. }), "{refused}");
    }
    let path = room.tuned(|_, _| ());
    fs::remove_file(path.join("training_args.json")).unwrap();
    let refused = refusal(&path);
    assert!(matches!(refused, QuantizeError::NoTask { .. }), "{refused}");
    let path = room.tuned(|_, tensors| tensors.retain(|(name, ..)| !name.contains("pooler")));
    let refused = refusal(&path).to_string();
    assert!(
        refused.contains("`bert.pooler.dense.weight` is missing"),
        "{refused}"
    );
}

#[test]
fn a_head_on_every_row_needs_no_pooler() {
    let room = Room::new();
    let path = room.tuned_for(Task::TokenClassification, &LABELS, |_, tensors| {
        tensors.retain(|(name, ..)| !name.contains("pooler"));
    });
    let bytes = bundle_of(&path);
    let bundle = Bundle::open(&bytes).unwrap();
    let head = bundle.head();
    assert_eq!(bundle.header().task, Task::TokenClassification);
    assert!(head.pooler.is_none());
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(
        head.weight,
        checkpoint.tensor("classifier.weight").unwrap().data
    );
    assert_eq!(
        head.bias,
        checkpoint.tensor("classifier.bias").unwrap().data
    );
}

#[test]
fn tasks_and_labels_that_a_bundle_does_not_hold_are_refused() {
    let room = Room::new();
    let path = room.tuned_for(Task::QuestionAnswering, &[], |_, tensors| {
        tensors.retain(|(name, ..)| !name.contains("qa_outputs"));
    });
    assert!(matches!(refusal(&path), QuantizeError::NoHead { .. }));
    let sequence = Checkpoint::open(room.tuned(|_, _| ())).unwrap();
    let options = Options {
        task: Some(Task::TokenClassification),
        ..Options::default()
    };
    let refused = quantize(&sequence, &options).map(drop).unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("BertForSequenceClassification does not answer token-classification; say the task that it was fine-tuned for"),
        "{refused}"
    );
    let many: Vec<String> = (0..513).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let path = room.tuned_for(Task::TextClassification, &many, |_, _| ());
    let refused = refusal(&path).to_string();
    assert!(
        refused.contains("there must be 1 to 512 outputs"),
        "{refused}"
    );
    let long = ["x".repeat(9000)];
    let path = room.tuned_for(Task::TextClassification, &[&long[0]], |_, _| ());
    let refused = refusal(&path).to_string();
    assert!(
        refused.contains("`id2label` has label names of more than 8192"),
        "{refused}"
    );
}

#[test]
fn a_bound_on_tokens_beyond_the_positions_is_refused() {
    let room = Room::new();
    let checkpoint = Checkpoint::open(room.tuned(|_, _| ())).unwrap();
    for tokens in [0, 2, 129, usize::MAX] {
        let options = Options {
            max_tokens: Some(tokens),
            ..Options::default()
        };
        let refused = quantize(&checkpoint, &options).map(drop).unwrap_err();
        assert!(
            matches!(refused, QuantizeError::MaxTokens { .. }),
            "{refused}"
        );
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let other = room.path("other");
    tiny::create(&other, 5, &["film", "good", "more", "words"]).unwrap();
    for file in ["tokenizer.json", "vocab.txt"] {
        fs::copy(other.join(file), path.join(file)).unwrap();
    }
    let refused = refusal(&path);
    assert!(
        matches!(refused, QuantizeError::Vocabulary { .. }),
        "{refused}"
    );
}

#[test]
fn a_token_without_an_embedding_is_named() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let rows = room.base().config.vocab_size;
    let file = path.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    for (id, content) in (rows..).zip(["[NEW]", "[NEWER]"]) {
        added.push(json!({
            "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }));
    }
    fs::write(&file, tokenizer.to_string()).unwrap();
    let refused = refusal(&path).to_string();
    let named = format!(
        "the tokenizer has {} pieces, and the model embeddings for {rows}: \"[NEW]\" is the first \
         without one; take it out of the tokenizer's files, ",
        rows + 2
    );
    assert!(refused.contains(&named), "{refused}");
    assert!(refused.contains("resize_token_embeddings"), "{refused}");
}

#[test]
fn layers_that_stay_in_f32_are_the_checkpoints_own() {
    let room = Room::new();
    let path = room.tuned(|_, _| ());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let options = Options {
        f32_layers: vec![1],
        ..Options::default()
    };
    let writer = quantize(&checkpoint, &options).unwrap();
    assert!(writer.header().f32_layers().eq([1]));
    let bytes = writer.to_bytes().unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    assert!(bundle.layer(0).int8().is_some());
    let layer = bundle.layer(1).f32().unwrap();
    let exact = |part: &str| {
        let name = format!("bert.encoder.layer.1.{part}");
        checkpoint.tensor(&name).unwrap().data
    };
    let packed = |weights: &[f32], output: usize, input: usize, inputs: usize| {
        weights[(output / 16 * inputs + input) * 16 + output % 16]
    };
    // Two heads of 16: log2(e) / 4.
    let score = (std::f64::consts::LOG2_E / 4.0) as f32;
    for (third, (part, factor)) in [("query", score), ("key", 1.0), ("value", 1.0)]
        .into_iter()
        .enumerate()
    {
        let weight = exact(&format!("attention.self.{part}.weight"));
        let bias = exact(&format!("attention.self.{part}.bias"));
        for (output, row) in weight.chunks(HIDDEN).enumerate() {
            let at = third * HIDDEN + output;
            assert_eq!(layer.qkv.bias[at], bias[output] * factor);
            for (input, weight) in row.iter().enumerate() {
                let found = packed(layer.qkv.weights, at, input, HIDDEN);
                assert_eq!(found, weight * factor, "{part} {output} {input}");
            }
        }
    }
    let weight = exact("output.dense.weight");
    for (output, row) in weight.chunks(layer.down.inputs).enumerate() {
        for (input, weight) in row.iter().enumerate() {
            let found = packed(layer.down.weights, output, input, layer.down.inputs);
            assert_eq!(found, *weight);
        }
    }
    assert_eq!(layer.output_norm.bias, exact("output.LayerNorm.bias"));
}

#[test]
fn a_layer_that_is_not_there_can_not_stay_in_f32() {
    let room = Room::new();
    let checkpoint = Checkpoint::open(room.tuned(|_, _| ())).unwrap();
    let options = Options {
        f32_layers: vec![0, 2],
        ..Options::default()
    };
    let refused = quantize(&checkpoint, &options).map(drop).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("config.json: there is no layer 2"), "{text}");
    assert!(text.ends_with("the model has layers 0 to 1"), "{text}");
}

#[test]
fn the_bundle_carries_inputs_up_to_its_longest_and_passes_its_selftest() {
    let room = Room::new();
    for (task, labels) in [
        (Task::TextClassification, &LABELS[..]),
        (Task::TextPairRegression, &["LABEL_0"]),
    ] {
        let checkpoint = Checkpoint::open(room.tuned_for(task, labels, |_, _| ())).unwrap();
        let options = Options {
            task: Some(task),
            ..Options::default()
        };
        let bytes = quantize(&checkpoint, &options).unwrap().to_bytes().unwrap();
        let model = berth_runtime::Model::from_bytes(&bytes).unwrap();
        let report = berth_runtime::selftest::selftest(&model).unwrap();
        assert!(report.passed(), "{report}");
        assert_eq!(report.lengths[..4], [1, 7, 16, 33]);
        assert_eq!(report.lengths.last(), Some(&model.positions()));
        // A pair has a second text, whose token type the self-test has to see too.
        for golden in model.bundle().selftest().unwrap() {
            let golden = golden.unwrap();
            let tokens = golden.ids.len();
            let second = match task.takes_pair() {
                true => tokens / 2,
                false => tokens,
            };
            assert_eq!(golden.second as usize, second, "{task:?}, {tokens} tokens");
        }
    }
}

/// With all layers in f32 and a head that reads every token, nothing behind the smoothed channels is
/// quantized: the answers show whether what one tensor gives another takes.
#[test]
fn smoothing_changes_no_bit_of_a_model_in_f32() {
    let room = Room::new();
    let path = room.tuned_for(Task::TokenClassification, &LABELS, |_, _| ());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let floats = Options {
        f32_layers: vec![0, 1],
        ..Options::default()
    };
    let bytes = |options: &Options| quantize(&checkpoint, options).unwrap().to_bytes().unwrap();
    let plain = bytes(&floats);
    let inputs = [4, 11, 40].map(|tokens| berth_data::Encoded {
        ids: (0..tokens).map(|i| 2 + i * 7 % 90).collect(),
        second: 3,
        ..Default::default()
    });
    let smoothing = Some(Ranges::measure(&plain, &inputs).unwrap());
    let smooth = Options {
        smoothing,
        ..floats
    };
    let smoothed = bytes(&smooth);
    let weights = |bytes: &[u8]| {
        let layer = Bundle::open(bytes).unwrap().layer(0).f32().unwrap();
        layer.attention_out.weights.to_vec()
    };
    assert_ne!(
        weights(&plain),
        weights(&smoothed),
        "something was smoothed"
    );
    let answers = |bytes: &[u8]| {
        let mut session = Model::from_bytes(bytes).unwrap().session().unwrap();
        let mut answer = |input: &berth_data::Encoded| {
            let logits = session.logits_of(&input.ids, input.second).unwrap();
            logits
                .iter()
                .map(|logit| logit.to_bits())
                .collect::<Vec<_>>()
        };
        inputs.iter().map(&mut answer).collect::<Vec<_>>()
    };
    assert_eq!(answers(&plain), answers(&smoothed));
    // In int8 it is another model, and one that opens.
    let int8 = Options {
        f32_layers: Vec::new(),
        clipping: true,
        ..smooth
    };
    assert_ne!(answers(&bytes(&int8)), answers(&plain));
}
