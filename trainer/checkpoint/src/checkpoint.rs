//! A folder opened as a BERT: config.json and weights that are known to fit each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::{Config, numbered};
use crate::error::CheckpointError;
use crate::family::{Family, TOKEN_TYPES};
use crate::training_args::TrainingArgs;
use crate::vocabulary::{TOKENIZER_CONFIG_FILE, TokenizerFiles};
use crate::weights::{Memory, Steps, Tensor, Weights};
use crate::{json, names};

/// An open checkpoint.
///
/// Opening checks that every tensor of the encoder is there in the shape that config.json asks for,
/// so that [`Checkpoint::tensor`] can only fail for tensors of a head that the checkpoint lacks, for
/// those of no model made here, or when the disk does. The files are read, not changed, and may be on
/// a read-only file system.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder.
    pub dir: PathBuf,
    /// Its config.json.
    pub config: Config,
    weights: Weights,
    training_args: Option<TrainingArgs>,
    max_length: usize,
    name: Option<String>,
}

impl Checkpoint {
    /// Opens a folder.
    ///
    /// # Errors
    /// When the folder or a file is missing, damaged or truncated, when the model is not a BERT of
    /// the supported kind, or when weights and config.json do not fit each other; each error names
    /// the file, and the tensor or field.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        if !dir.is_dir() {
            return Err(CheckpointError::NoFolder(dir.to_owned()));
        }
        if !dir.join(crate::config::CONFIG_FILE).exists() {
            let file = crate::config::CONFIG_FILE;
            return Err(CheckpointError::NoFile {
                dir: dir.to_owned(),
                file,
            });
        }
        let config = Config::read(dir)?;
        let mut weights = Weights::open(dir)?;
        if config.family == Family::DistilBert {
            let shape = vec![config.type_vocab_size, config.hidden_size];
            weights.add_zeros(TOKEN_TYPES, shape);
        }
        let config = with_labels(config, &weights);
        check(&weights, &config)?;
        Ok(Checkpoint {
            training_args: TrainingArgs::read(dir)?,
            max_length: max_length(dir, &config)?,
            dir: dir.to_owned(),
            config,
            weights,
            name: None,
        })
    }

    /// Puts a checkpoint together of a folder with config.json and tokenizer, and of tensors that were
    /// read from `file`, which is of another format. `name` and `sha256` are what the model and its
    /// weights are known by; `steps` has the matrices that stand in eight bits in the file, in `tensors`
    /// too.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], the weights file excepted.
    pub fn of_tensors(
        dir: &Path,
        file: &Path,
        config: Config,
        (tensors, steps): (BTreeMap<String, Tensor>, BTreeMap<String, Steps>),
        (name, sha256): (String, [u8; 32]),
    ) -> Result<Self, CheckpointError> {
        let weights = Weights::of_memory(Memory {
            path: file.to_owned(),
            tensors,
            steps,
            sha256,
        });
        let config = with_labels(config, &weights);
        check(&weights, &config)?;
        Ok(Checkpoint {
            training_args: TrainingArgs::read(dir)?,
            max_length: max_length(dir, &config)?,
            dir: dir.to_owned(),
            config,
            weights,
            name: Some(name),
        })
    }

    /// What the model is called: the folder's name, unless its weights came from elsewhere.
    pub fn name(&self) -> String {
        let folder = || {
            let whole = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
            let name = whole.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        self.name.clone().unwrap_or_else(folder)
    }

    /// The steps of a matrix whose weights came in eight bits. [`Checkpoint::tensor`] has the same in
    /// floats.
    pub fn steps(&self, name: &str) -> Option<&Steps> {
        self.weights.steps(name)
    }

    /// Reads a tensor by its canonical name, such as
    /// `bert.encoder.layer.0.attention.self.query.weight`, as `f32`.
    ///
    /// # Errors
    /// When there is no such tensor, its numbers are of a type that is not read, or the file cannot be
    /// read any more.
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        self.weights.tensor(name)
    }

    /// Whether there is a tensor of this canonical name.
    pub fn has(&self, name: &str) -> bool {
        self.weights.shape(name).is_some()
    }

    /// A tensor's shape, without reading its numbers.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.shape(name)
    }

    /// The canonical names of all tensors that can be read, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.weights.names();
        names.filter(move |name| self.weights.check_type(name).is_ok())
    }

    /// How the checkpoint was trained; none for one made elsewhere.
    pub fn training_args(&self) -> Option<&TrainingArgs> {
        self.training_args.as_ref()
    }

    /// The longest input in pieces: `model_max_length` of tokenizer_config.json, at most
    /// `max_position_embeddings`.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The files of its tokenizer, ready to be written into another folder.
    ///
    /// # Errors
    /// When there are none, or they are damaged.
    pub fn tokenizer_files(&self) -> Result<TokenizerFiles, CheckpointError> {
        TokenizerFiles::read(&self.dir)
    }

    /// The SHA-256 of the weights file; of several, of one after the other.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn sha256(&self) -> Result<[u8; 32], CheckpointError> {
        self.weights.sha256()
    }
}

/// Where config.json names no label, a classifier has one for each output.
fn with_labels(config: Config, weights: &Weights) -> Config {
    match weights.shape("classifier.weight") {
        Some(&[outputs, inputs]) if config.id2label.is_empty() && inputs == config.hidden_size => {
            Config {
                id2label: numbered(outputs),
                ..config
            }
        }
        _ => config,
    }
}

/// Holds the weights against config.json.
fn check(weights: &Weights, config: &Config) -> Result<(), CheckpointError> {
    for (name, shape) in names::encoder(config) {
        check_tensor(weights, name, shape)?;
    }
    for head in names::heads(config) {
        if head.iter().any(|(name, _)| weights.shape(name).is_some()) {
            for (name, shape) in head {
                check_tensor(weights, name, shape)?;
            }
        }
    }
    let layers = config.num_hidden_layers;
    match weights
        .names()
        .find(|name| names::layer(name).is_some_and(|i| i >= layers))
    {
        Some(name) => {
            let (path, name) = (weights.path_of(name).to_owned(), name.to_owned());
            Err(CheckpointError::ExtraLayer { path, name, layers })
        }
        None => Ok(()),
    }
}

fn check_tensor(
    weights: &Weights,
    name: String,
    expected: Vec<usize>,
) -> Result<(), CheckpointError> {
    let path = || weights.path_of(&name).to_owned();
    match weights.shape(&name) {
        Some(found) if found == expected => weights.check_type(&name),
        Some(found) => {
            let found = found.to_vec();
            Err(CheckpointError::Shape {
                path: path(),
                name,
                expected,
                found,
            })
        }
        None => Err(CheckpointError::MissingTensor { path: path(), name }),
    }
}

fn max_length(dir: &Path, config: &Config) -> Result<usize, CheckpointError> {
    let positions = config.max_position_embeddings;
    let file: Option<Map<String, Value>> = json::read_if_there(&dir.join(TOKENIZER_CONFIG_FILE))?;
    // Files that set no limit hold 1e30, which is no integer.
    let limit = file.and_then(|map| map.get("model_max_length")?.as_u64());
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit >= 2);
    Ok(limit.map_or(positions, |limit| limit.min(positions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::{Existing, Folder, TensorRef};
    use crate::tiny;
    use crate::weights::WEIGHTS_FILE;
    use berth_task::Task;
    use half::{bf16, f16};
    use safetensors::tensor::{Dtype, TensorView, serialize};
    use std::fs;

    type Tensors = Vec<(String, Tensor)>;

    /// A tiny checkpoint, and every tensor of it.
    fn tiny() -> (tempfile::TempDir, Tensors) {
        let dir = tempfile::tempdir().unwrap();
        tiny::create(dir.path(), 7, &["film"]).unwrap();
        let model = Checkpoint::open(dir.path()).unwrap();
        let read = |name: &str| (name.to_owned(), model.tensor(name).unwrap());
        let tensors = model.names().map(read).collect();
        (dir, tensors)
    }

    /// Writes tensors as another program would: any type, any names.
    fn write(path: &Path, tensors: &Tensors, dtype: Dtype, decode: fn(&f32) -> Vec<u8>) {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, tensor)| tensor.data.iter().flat_map(decode).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            (
                name,
                TensorView::new(dtype, tensor.shape.clone(), bytes).unwrap(),
            )
        });
        fs::write(path, serialize(views, None).unwrap()).unwrap();
    }

    fn f32_bytes(number: &f32) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    fn error(dir: &Path) -> String {
        Checkpoint::open(dir).unwrap_err().to_string()
    }

    #[test]
    fn what_is_saved_comes_back_to_the_bit() {
        let (dir, mut tensors) = tiny();
        let base = Checkpoint::open(dir.path()).unwrap();
        for (name, shape) in [
            ("classifier.weight", vec![3, 32]),
            ("classifier.bias", vec![3]),
        ] {
            let data = (0..shape.iter().product())
                .map(|i: usize| i as f32 / 7.0)
                .collect();
            tensors.push((name.to_owned(), Tensor { shape, data }));
        }
        tensors[0].1.data[..4].copy_from_slice(&[f32::MIN_POSITIVE / 2.0, -0.0, f32::MAX, 0.1]);
        let labels = ["a", "b", "c"].map(str::to_owned);
        let args = TrainingArgs::new(Task::TextClassification, 64);
        let to = dir.path().join("trained");
        let mut folder = Folder::create(&to).unwrap();
        let refs: Vec<TensorRef> = tensors
            .iter()
            .map(|(name, tensor)| TensorRef {
                name,
                shape: &tensor.shape,
                data: &tensor.data,
            })
            .collect();
        folder
            .model(
                &base.config.with_head(Task::TextClassification, &labels),
                &refs,
            )
            .unwrap();
        folder
            .tokenizer(&base.tokenizer_files().unwrap(), 64)
            .unwrap();
        folder.training_args(&args).unwrap();
        folder
            .json("all_results.json", &serde_json::json!({"eval_loss": 0.5}))
            .unwrap();
        folder.commit(Existing::Refuse).unwrap();

        let read = Checkpoint::open(&to).unwrap();
        assert_eq!(read.config.id2label, labels);
        assert_eq!(read.training_args(), Some(&args));
        assert_eq!(read.max_length(), 64);
        assert_eq!(read.names().count(), tensors.len());
        for (name, tensor) in &tensors {
            let found = read.tensor(name).unwrap();
            let bits =
                |tensor: &Tensor| tensor.data.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                (&found.shape, bits(&found)),
                (&tensor.shape, bits(tensor)),
                "{name}"
            );
        }
        assert_eq!(
            read.sha256().unwrap(),
            crate::sha256(to.join(WEIGHTS_FILE)).unwrap()
        );
    }

    #[test]
    fn old_names_halves_and_extras_are_read() {
        let (dir, tensors) = tiny();
        let path = dir.path().join(WEIGHTS_FILE);
        let mut old: Tensors = tensors
            .iter()
            .map(|(name, tensor)| {
                let name = name.trim_start_matches("bert.");
                let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
                (
                    name.replace("LayerNorm.bias", "LayerNorm.beta"),
                    tensor.clone(),
                )
            })
            .collect();
        let extra = Tensor {
            shape: vec![4],
            data: vec![0.0; 4],
        };
        old.push(("cls.predictions.bias".to_owned(), extra.clone()));
        old.push(("embeddings.position_ids".to_owned(), extra));
        write(&path, &old, Dtype::F16, |n| {
            f16::from_f32(*n).to_le_bytes().to_vec()
        });
        let model = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(model.names().count(), tensors.len());
        for (name, tensor) in &tensors {
            let rounded: Vec<f32> = tensor
                .data
                .iter()
                .map(|n| f16::from_f32(*n).to_f32())
                .collect();
            assert_eq!(model.tensor(name).unwrap().data, rounded, "{name}");
        }
        write(&path, &old, Dtype::BF16, |n| {
            bf16::from_f32(*n).to_le_bytes().to_vec()
        });
        let model = Checkpoint::open(dir.path()).unwrap();
        let first = bf16::from_f32(tensors[0].1.data[0]).to_f32();
        assert_eq!(model.tensor(&tensors[0].0).unwrap().data[0], first);
    }

    /// The tiny checkpoint as a DistilBERT would be saved.
    #[test]
    fn a_distilbert_is_a_bert_whose_token_types_are_zero() {
        let (dir, tensors) = tiny();
        let old = [
            ("attention.self.query", "attention.q_lin"),
            ("attention.self.key", "attention.k_lin"),
            ("attention.self.value", "attention.v_lin"),
            ("attention.output.dense", "attention.out_lin"),
            ("attention.output.LayerNorm", "sa_layer_norm"),
            ("intermediate.dense", "ffn.lin1"),
            ("output.dense", "ffn.lin2"),
            ("output.LayerNorm", "output_layer_norm"),
            ("bert.encoder.layer", "distilbert.transformer.layer"),
            ("bert.embeddings", "distilbert.embeddings"),
            ("bert.pooler.dense", "pre_classifier"),
        ];
        let renamed = |name: &str| {
            let replace = |name: String, (bert, distil): &(&str, &str)| name.replace(bert, distil);
            old.iter().fold(name.to_owned(), replace)
        };
        let kept = tensors.iter().filter(|(name, _)| name != TOKEN_TYPES);
        let saved: Tensors = kept
            .map(|(name, tensor)| (renamed(name), tensor.clone()))
            .collect();
        write(
            &dir.path().join(WEIGHTS_FILE),
            &saved,
            Dtype::F32,
            f32_bytes,
        );
        let words = tensors.iter().find(|(name, _)| name.contains("word_emb"));
        let vocab_size = words.unwrap().1.shape[0];
        let config = serde_json::json!({
            "model_type": "distilbert", "vocab_size": vocab_size, "dim": 32, "n_layers": 2,
            "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 128,
        });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let model = Checkpoint::open(dir.path()).unwrap();
        for (name, tensor) in &tensors {
            let name = name.replace("bert.pooler.dense", names::PRE_CLASSIFIER);
            let found = model.tensor(&name).unwrap();
            let expected = match name == TOKEN_TYPES {
                true => vec![0.0; tensor.data.len()],
                false => tensor.data.clone(),
            };
            assert_eq!(
                (&found.shape, found.data),
                (&tensor.shape, expected),
                "{name}"
            );
        }
        assert_eq!(model.names().count(), tensors.len());
    }

    #[test]
    fn weights_may_be_split_over_files() {
        let (dir, tensors) = tiny();
        fs::remove_file(dir.path().join(WEIGHTS_FILE)).unwrap();
        let (a, b) = (tensors[..5].to_vec(), tensors[5..].to_vec());
        write(&dir.path().join("a.safetensors"), &a, Dtype::F32, f32_bytes);
        write(&dir.path().join("b.safetensors"), &b, Dtype::F32, f32_bytes);
        let index = dir.path().join("model.safetensors.index.json");
        fs::write(
            &index,
            r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}"#,
        )
        .unwrap();
        let model = Checkpoint::open(dir.path()).unwrap();
        for (name, tensor) in &tensors {
            assert_eq!(model.tensor(name).unwrap(), *tensor);
        }
        fs::write(&index, r#"{"weight_map": {"x": "../b.safetensors"}}"#).unwrap();
        assert!(error(dir.path()).contains("names \"../b.safetensors\", which is no file"));
        fs::write(&index, r#"{"weight_map": {"x": "b\n.safetensors"}}"#).unwrap();
        let broken = error(dir.path());
        assert!(
            broken.contains(r#"names "b\n.safetensors", which is no file"#),
            "{broken}"
        );
        fs::write(&index, r#"{"weight_map": {"x": "a.safetensors"}}"#).unwrap();
        assert!(
            error(dir.path()).contains("is missing"),
            "{}",
            error(dir.path())
        );
        write(&dir.path().join("b.safetensors"), &a, Dtype::F32, f32_bytes);
        fs::write(
            &index,
            r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
        )
        .unwrap();
        assert!(
            error(dir.path()).contains("two tensors are `bert."),
            "{}",
            error(dir.path())
        );
    }

    #[test]
    fn weights_that_do_not_fit_the_config_are_named() {
        let (dir, tensors) = tiny();
        let path = dir.path().join(WEIGHTS_FILE);
        let change = |change: &dyn Fn(&mut Tensors)| {
            let mut tensors = tensors.clone();
            change(&mut tensors);
            write(&path, &tensors, Dtype::F32, f32_bytes);
            error(dir.path())
        };
        for i in 0..tensors.len() {
            let name = &tensors[i].0;
            let without = change(&|all| drop(all.remove(i)));
            assert!(
                without.contains(&format!("tensor `{name}` is missing")),
                "{without}"
            );
            let longer = change(&|all| {
                let tensor = &mut all[i].1;
                tensor.shape[0] += 1;
                tensor.data.resize(tensor.shape.iter().product(), 0.0);
            });
            assert!(
                longer.contains(&format!("tensor `{name}` has shape [")),
                "{longer}"
            );
            assert!(
                longer.contains(&format!("asks for {:?}", tensors[i].1.shape)),
                "{longer}"
            );
        }
        let one = || Tensor {
            shape: vec![1],
            data: vec![0.0],
        };
        let deep = change(&|all| all.push(("bert.encoder.layer.2.x".to_owned(), one())));
        assert!(
            deep.contains("layer.2.x` is of a layer beyond the 2 in config.json"),
            "{deep}"
        );
        let head = change(&|all| all.push(("qa_outputs.bias".to_owned(), one())));
        assert!(
            head.contains("tensor `qa_outputs.weight` is missing"),
            "{head}"
        );
        write(&path, &tensors, Dtype::I32, f32_bytes);
        assert!(error(dir.path()).contains("is I32; F32, F16 and BF16 are read"));
    }

    #[test]
    fn numbers_of_another_type_are_refused_only_where_they_are_asked_for() {
        let (dir, tensors) = tiny();
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, tensor)| tensor.data.iter().flat_map(f32_bytes).collect())
            .collect();
        let floats = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            (name.as_str(), view.unwrap())
        });
        let counter = TensorView::new(Dtype::I64, vec![1], &[7; 8]).unwrap();
        let flags = TensorView::new(Dtype::BOOL, vec![2], &[0, 1]).unwrap();
        let all = floats.chain([("steps", counter), ("bert.flags", flags)]);
        let bytes = serialize(all, None).unwrap();
        fs::write(dir.path().join(WEIGHTS_FILE), bytes).unwrap();
        let model = Checkpoint::open(dir.path()).unwrap();
        let names: Vec<&str> = model.names().collect();
        assert_eq!(names.len(), tensors.len());
        for (name, tensor) in &tensors {
            assert_eq!(model.tensor(name).unwrap(), *tensor, "{name}");
        }
        assert!(model.has("steps") && !names.contains(&"steps"));
        let refused = model.tensor("steps").unwrap_err().to_string();
        assert!(
            refused.contains("tensor `steps` is I64; F32, F16 and BF16 are read"),
            "{refused}"
        );
    }

    #[test]
    fn a_classifier_that_no_label_is_named_for_has_numbers() {
        let (dir, mut tensors) = tiny();
        for (name, shape) in [
            ("classifier.weight", vec![2, 32]),
            ("classifier.bias", vec![2]),
        ] {
            let data = vec![0.5; shape.iter().product()];
            tensors.push((name.to_owned(), Tensor { shape, data }));
        }
        write(
            &dir.path().join(WEIGHTS_FILE),
            &tensors,
            Dtype::F32,
            f32_bytes,
        );
        let path = dir.path().join("config.json");
        let mut config: Map<String, Value> = json::read(&path).unwrap();
        for architectures in [None, Some("BertForMultipleChoice")] {
            config.shift_remove("architectures");
            if let Some(class) = architectures {
                config.insert("architectures".to_owned(), serde_json::json!([class]));
            }
            fs::write(&path, Value::Object(config.clone()).to_string()).unwrap();
            let model = Checkpoint::open(dir.path()).unwrap();
            assert_eq!(model.config.id2label, ["LABEL_0", "LABEL_1"]);
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_told_from_one() {
        let (dir, _) = tiny();
        let path = dir.path().join(WEIGHTS_FILE);
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        assert!(error(dir.path()).contains("git lfs pull"));
        fs::remove_file(&path).unwrap();
        assert!(error(dir.path()).ends_with("no model.safetensors"));
        fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
        assert!(error(dir.path()).contains("convert it once, in that folder: python3 -c"));
        fs::remove_file(dir.path().join("config.json")).unwrap();
        assert!(error(dir.path()).ends_with("no config.json"));
        assert!(error(&dir.path().join("pytorch_model.bin")).contains("no such folder"));
    }

    #[test]
    fn the_tokenizers_limit_counts_up_to_the_positions() {
        let (dir, _) = tiny();
        for (text, expected) in [
            ("{\"model_max_length\": 64}", 64),
            (
                "{\"model_max_length\": 1000000000000000019884624838656}",
                128,
            ),
            ("{}", 128),
        ] {
            fs::write(dir.path().join(TOKENIZER_CONFIG_FILE), text).unwrap();
            assert_eq!(Checkpoint::open(dir.path()).unwrap().max_length(), expected);
        }
    }
}
