//! config.json: the shape of a BERT, its dropout, and the names of its labels.
//!
//! Fields have Hugging Face's names and, where a file leaves one out, Hugging Face's defaults. Fields
//! that mean nothing here are kept and written back.

use std::fmt;
use std::path::Path;

use berth_task::Task;
use serde_json::{Map, Value, json};

use crate::error::CheckpointError;
use crate::family::{Family, bert_class};
use crate::json::{self, Fields};

/// The file's name in a checkpoint.
pub const CONFIG_FILE: &str = "config.json";

/// The largest number of rows or columns that a config.json may ask for. It bounds what a damaged
/// file can make a program do.
const MAX_SIZE: usize = 1 << 24;
/// The most layers that a config.json may ask for.
const MAX_LAYERS: usize = 1 << 10;

/// What `transformers` calls GELU by the error function.
const EXACT_GELUS: [&str; 2] = ["gelu", "gelu_python"];
/// What it calls GELU by tanh.
const TANH_GELUS: [&str; 5] = [
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "gelu_fast",
    "gelu_accurate",
];

/// Rows of the token type embeddings where no file tells: one for each text of a pair.
const TOKEN_TYPES: usize = 2;

/// A model's config.json.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the file calls things.
    pub family: Family,
    /// Classes of `transformers` that the weights were saved from; the first counts.
    pub architectures: Vec<String>,
    /// Rows of the word embeddings.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer; they share `hidden_size` evenly.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rows of the position embeddings: the longest input.
    pub max_position_embeddings: usize,
    /// Rows of the token type embeddings.
    pub type_vocab_size: usize,
    /// The feed-forward activation as the file calls it: GELU by the error function, or what is
    /// [taken for it](Config::approximated_act).
    pub hidden_act: String,
    /// Dropout after the embeddings, the attention and the feed-forward part.
    pub hidden_dropout_prob: f64,
    /// Dropout on the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the head; `hidden_dropout_prob` where it is not given.
    pub classifier_dropout: Option<f64>,
    /// Dropout before the head for questions: a BERT has none.
    pub qa_dropout: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// The padding token.
    pub pad_token_id: u32,
    /// The labels in the order of the head's outputs; empty for a model without a classifier.
    pub id2label: Vec<String>,
    /// What the classifier's outputs mean.
    pub problem_type: Option<ProblemType>,
    /// The type of the numbers in the weights file, such as `float32`.
    pub dtype: Option<String>,
    /// Every field as it was read, for those that are not above.
    pub raw: Map<String, Value>,
}

/// How a sequence classifier's outputs are trained and read.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum ProblemType {
    /// One output, a number.
    Regression,
    /// One label of several.
    SingleLabelClassification,
    /// Any number of labels.
    MultiLabelClassification,
}

impl ProblemType {
    const ALL: [ProblemType; 3] = [
        ProblemType::Regression,
        ProblemType::SingleLabelClassification,
        ProblemType::MultiLabelClassification,
    ];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            ProblemType::Regression => "regression",
            ProblemType::SingleLabelClassification => "single_label_classification",
            ProblemType::MultiLabelClassification => "multi_label_classification",
        }
    }
}

/// A field of config.json that asks for a computation that is not made here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsupported {
    field: &'static str,
    found: String,
    supported: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {}; only {} is supported",
            self.field, self.found, self.supported
        )
    }
}

impl Config {
    /// Reads `config.json` of a folder.
    ///
    /// # Errors
    /// When the file is missing, is not JSON, lacks a size, or describes a model that is not a BERT
    /// or a BERT of an unsupported kind.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = dir.as_ref().join(CONFIG_FILE);
        let raw: Map<String, Value> = json::read(&path)?;
        let fields = Fields { path, map: &raw };
        let family = family(&fields)?;
        let at = |field| family.field(field);
        let sizes = [1, MAX_SIZE];
        let chance = [0.0, 1.0];
        let architectures = architectures(&fields)?;
        let hidden_size = fields.count(at("hidden_size"), sizes, None)?;
        let num_attention_heads = fields.count(at("num_attention_heads"), sizes, None)?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            let what = format!("is {num_attention_heads}, which does not divide {hidden_size}");
            return Err(fields.wrong(at("num_attention_heads"), what));
        }
        let classifier_dropout = match fields.get(at("classifier_dropout")) {
            Some(_) => Some(fields.number(at("classifier_dropout"), chance, 0.0)?),
            None if family == Family::DistilBert => Some(0.2),
            None => None,
        };
        let qa_dropout = match family {
            Family::Bert => 0.0,
            Family::DistilBert => fields.number("qa_dropout", chance, 0.1)?,
        };
        Ok(Config {
            family,
            vocab_size: fields.count("vocab_size", sizes, None)?,
            hidden_size,
            num_hidden_layers: fields.count(at("num_hidden_layers"), [1, MAX_LAYERS], None)?,
            num_attention_heads,
            intermediate_size: fields.count(at("intermediate_size"), sizes, None)?,
            max_position_embeddings: fields.count(
                "max_position_embeddings",
                [2, MAX_SIZE],
                Some(512),
            )?,
            type_vocab_size: match family {
                Family::Bert => fields.count("type_vocab_size", sizes, Some(TOKEN_TYPES))?,
                // It has no such table, whatever the file says.
                Family::DistilBert => TOKEN_TYPES,
            },
            hidden_act: fields.text(at("hidden_act"))?.unwrap_or("gelu").to_owned(),
            hidden_dropout_prob: fields.number(at("hidden_dropout_prob"), chance, 0.1)?,
            attention_probs_dropout_prob: fields.number(
                at("attention_probs_dropout_prob"),
                chance,
                0.1,
            )?,
            classifier_dropout,
            qa_dropout,
            initializer_range: fields.number("initializer_range", [0.0, 1e3], 0.02)?,
            layer_norm_eps: fields.number("layer_norm_eps", chance, 1e-12)?,
            pad_token_id: fields.count("pad_token_id", [0, MAX_SIZE], Some(0))? as u32,
            id2label: labels(&fields, &architectures)?,
            problem_type: problem_type(&fields)?,
            dtype: match fields.text("dtype")? {
                Some(name) => Some(name.to_owned()),
                None => fields.text("torch_dtype")?.map(str::to_owned),
            },
            architectures,
            raw,
        })
    }

    /// The activation's name where the model was trained with GELU by tanh, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`
    /// (Hendrycks and Gimpel, 2016). What is computed here is GELU by the error function, within 5e-4 of it. The file
    /// that is [written](Self::to_json) names what was computed.
    pub fn approximated_act(&self) -> Option<&str> {
        let act = self.hidden_act.as_str();
        TANH_GELUS.contains(&act).then_some(act)
    }

    /// The whole file: what was read, with the fields of this struct laid over it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = self.raw.clone();
        let at = |field| self.family.field(field);
        let mut set = |field, value: Value| map.insert(at(field).to_owned(), value);
        set("model_type", json!(self.family.name()));
        set("architectures", json!(self.architectures));
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            set(field, json!(size));
        }
        let act = self.approximated_act().map(|_| EXACT_GELUS[0]);
        set("hidden_act", json!(act.unwrap_or(&self.hidden_act)));
        for (field, number) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
            ("initializer_range", self.initializer_range),
        ] {
            set(field, json!(number));
        }
        if self.family == Family::Bert {
            set("type_vocab_size", json!(self.type_vocab_size));
            set("layer_norm_eps", json!(self.layer_norm_eps));
        }
        set("classifier_dropout", json!(self.classifier_dropout));
        if self.family == Family::DistilBert {
            set("qa_dropout", json!(self.qa_dropout));
        }
        set("pad_token_id", json!(self.pad_token_id));
        self.set_labels(&mut map);
        // One field and its older name: whichever the file has, it must not say two things.
        map.shift_remove("torch_dtype");
        map.insert("dtype".to_owned(), json!(self.dtype));
        map.retain(|field, value| !value.is_null() || self.raw.contains_key(field));
        map
    }

    fn set_labels(&self, map: &mut Map<String, Value>) {
        // A count beside the names could contradict them.
        map.shift_remove("num_labels");
        let labels = || self.id2label.iter().enumerate();
        let by_id: Map<_, _> = labels()
            .map(|(i, name)| (i.to_string(), json!(name)))
            .collect();
        let by_name: Map<_, _> = labels().map(|(i, name)| (name.clone(), json!(i))).collect();
        for (field, labels) in [("id2label", by_id), ("label2id", by_name)] {
            if labels.is_empty() {
                map.shift_remove(field);
            } else {
                map.insert(field.to_owned(), Value::Object(labels));
            }
        }
        let problem_type = self.problem_type.map(ProblemType::name);
        map.insert("problem_type".to_owned(), json!(problem_type));
    }

    /// The same encoder with a fresh head: `architectures`, labels and `problem_type` follow from
    /// the task. Question answering has no labels.
    pub fn with_head(&self, task: Task, labels: &[String]) -> Self {
        let problem_type = match task {
            Task::TextClassification | Task::TextPairClassification => {
                Some(ProblemType::SingleLabelClassification)
            }
            Task::TextPairRegression => Some(ProblemType::Regression),
            Task::TokenClassification | Task::QuestionAnswering => None,
        };
        Config {
            architectures: vec![self.family.class(architecture(task))],
            id2label: labels.to_vec(),
            problem_type,
            ..self.clone()
        }
    }

    /// The head that the model has, where it is one that answers other tasks than `task`. Heads that
    /// answer for a text and for each word have tensors of the same names, so that only this tells them
    /// apart. A head that gives a number answers no task of labels either; it has no class of its own,
    /// and is told in words.
    pub fn other_head(&self, task: Task) -> Option<&str> {
        let mut heads = self.architectures.iter().map(String::as_str);
        let known = |head: &&str| [SEQUENCE, TOKENS, SPAN, CHOICE].contains(&bert_class(head));
        heads
            .find(known)
            .filter(|head| bert_class(head) != architecture(task))
            .or_else(|| self.number_for(task))
    }

    /// What to call a head that gives a number where `task` wants a label: as for `transformers`, one
    /// output is a number unless `problem_type` says what else it is.
    fn number_for(&self, task: Task) -> Option<&'static str> {
        let number = match self.problem_type {
            Some(kind) => kind == ProblemType::Regression,
            None => self.id2label.len() == 1,
        };
        match task {
            Task::TextPairClassification if number => {
                Some("a head for regression, which is --task text-pair-regression,")
            }
            Task::TextClassification if number => Some(
                "a head for regression, which is for pairs of texts alone (--task text-pair-regression),",
            ),
            _ => None,
        }
    }

    /// The dropout before a head that answers for a text.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// The dropout before a head that answers for each word.
    pub fn token_head_dropout(&self) -> f64 {
        match self.family {
            Family::Bert => self.head_dropout(),
            Family::DistilBert => self.hidden_dropout_prob,
        }
    }

    /// The dropout behind attention's output layer: a DistilBERT has none there.
    pub fn attention_output_dropout(&self) -> f64 {
        match self.family {
            Family::Bert => self.hidden_dropout_prob,
            Family::DistilBert => 0.0,
        }
    }
}

/// The classes of `transformers` that hold the heads made here.
const SEQUENCE: &str = "BertForSequenceClassification";
const TOKENS: &str = "BertForTokenClassification";
const SPAN: &str = "BertForQuestionAnswering";
/// One of those that none of the tasks here has; its tensors are called as theirs.
const CHOICE: &str = "BertForMultipleChoice";

/// The class that holds the head for a task.
fn architecture(task: Task) -> &'static str {
    match task {
        Task::TextClassification | Task::TextPairClassification | Task::TextPairRegression => {
            SEQUENCE
        }
        Task::TokenClassification => TOKENS,
        Task::QuestionAnswering => SPAN,
    }
}

/// The family, where it is one that is computed here.
fn family(fields: &Fields) -> Result<Family, CheckpointError> {
    // The oldest BERTs name no family; their tensors tell.
    let found = fields.text("model_type")?.unwrap_or("bert");
    let Some(family) = Family::named(found) else {
        return Err(CheckpointError::NotBert {
            path: fields.path.clone(),
            found: found.to_owned(),
        });
    };
    let gelus = EXACT_GELUS.iter().chain(&TANH_GELUS);
    let gelus: Vec<Value> = gelus.map(|name| json!(name)).collect();
    for (field, supported, values) in [
        (family.field("hidden_act"), "gelu", &gelus[..]),
        ("position_embedding_type", "absolute", &[json!("absolute")]),
        ("is_decoder", "false", &[json!(false)]),
        ("add_cross_attention", "false", &[json!(false)]),
    ] {
        if let Some(value) = fields.get(field).filter(|value| !values.contains(value)) {
            let unsupported = Unsupported {
                field,
                found: value.to_string(),
                supported,
            };
            return Err(CheckpointError::Unsupported {
                path: fields.path.clone(),
                unsupported,
            });
        }
    }
    Ok(family)
}

fn architectures(fields: &Fields) -> Result<Vec<String>, CheckpointError> {
    let Some(value) = fields.get("architectures") else {
        return Ok(Vec::new());
    };
    strings(value).ok_or_else(|| fields.wrong("architectures", "must be a list of strings"))
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn problem_type(fields: &Fields) -> Result<Option<ProblemType>, CheckpointError> {
    let Some(name) = fields.text("problem_type")? else {
        return Ok(None);
    };
    match ProblemType::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
    {
        Some(kind) => Ok(Some(kind)),
        None => Err(fields.wrong("problem_type", format!("is {name:?}, which is none"))),
    }
}

/// The labels in the order of their ids, whichever of the fields holds them. A classifier whose
/// config.json has none of these has the two that `transformers` leaves out.
fn labels(fields: &Fields, architectures: &[String]) -> Result<Vec<String>, CheckpointError> {
    if let Some(value) = fields.get("id2label") {
        let pairs = value.as_object().into_iter().flatten();
        let pairs = pairs.map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_owned())));
        return ordered(fields, "id2label", pairs);
    }
    if let Some(value) = fields.get("label2id") {
        let pairs = value.as_object().into_iter().flatten();
        let pairs =
            pairs.map(|(name, id)| Some((usize::try_from(id.as_u64()?).ok()?, name.clone())));
        return ordered(fields, "label2id", pairs);
    }
    if fields.get("num_labels").is_some() {
        return Ok(numbered(fields.count("num_labels", [1, MAX_SIZE], None)?));
    }
    let classifies = architectures
        .iter()
        .any(|name| [SEQUENCE, TOKENS].contains(&bert_class(name)));
    Ok(numbered(if classifies { 2 } else { 0 }))
}

/// The names of labels that have none.
pub(crate) fn numbered(labels: usize) -> Vec<String> {
    (0..labels).map(|i| format!("LABEL_{i}")).collect()
}

/// Names in the order of their ids, if the ids are 0 to n - 1.
fn ordered(
    fields: &Fields,
    field: &str,
    pairs: impl Iterator<Item = Option<(usize, String)>>,
) -> Result<Vec<String>, CheckpointError> {
    let wrong = || fields.wrong(field, "must number the labels from 0 on, each once");
    let mut pairs = pairs.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    pairs.sort();
    if pairs.is_empty() || pairs.iter().enumerate().any(|(i, (id, _))| i != *id) {
        return Err(wrong());
    }
    Ok(pairs.into_iter().map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64}"#;

    fn read(text: &str) -> Result<Config, CheckpointError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG_FILE), text).unwrap();
        Config::read(dir.path())
    }

    fn with(field: &str, value: Value) -> Result<Config, CheckpointError> {
        let mut map: Map<String, Value> = serde_json::from_str(MINIMAL).unwrap();
        map.insert(field.to_owned(), value);
        read(&Value::Object(map).to_string())
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_hugging_face() {
        let config = read(MINIMAL).unwrap();
        assert_eq!(config.max_position_embeddings, 512);
        assert_eq!(config.type_vocab_size, 2);
        assert_eq!(config.layer_norm_eps, 1e-12);
        assert_eq!(config.head_dropout(), 0.1);
        assert!(config.id2label.is_empty());
        assert_eq!(config.to_json()["model_type"], "bert");
    }

    #[test]
    fn a_file_is_written_back_with_what_is_unknown_in_it() {
        let mut map: Map<String, Value> = serde_json::from_str(MINIMAL).unwrap();
        map.insert("use_cache".into(), json!(true));
        map.insert("torch_dtype".into(), json!("float16"));
        map.insert("id2label".into(), json!({"1": "no", "0": "yes"}));
        map.insert("classifier_dropout".into(), Value::Null);
        let config = read(&Value::Object(map).to_string()).unwrap();
        assert_eq!(config.id2label, ["yes", "no"]);
        let written = config.to_json();
        assert_eq!(written["use_cache"], true);
        assert_eq!(written["dtype"], "float16");
        assert!(!written.contains_key("torch_dtype") && !written.contains_key("problem_type"));
        assert_eq!(written["classifier_dropout"], Value::Null);
        assert_eq!(written["id2label"].to_string(), r#"{"0":"yes","1":"no"}"#);
        let again = read(&Value::Object(written.clone()).to_string()).unwrap();
        assert_eq!(
            again,
            Config {
                raw: written,
                ..config
            }
        );
    }

    #[test]
    fn a_head_follows_from_the_task() {
        let base = read(MINIMAL).unwrap();
        let labels = ["negative".to_owned(), "positive".to_owned()];
        let config = base.with_head(Task::TextClassification, &labels);
        let written = config.to_json();
        assert_eq!(
            written["architectures"],
            json!(["BertForSequenceClassification"])
        );
        assert_eq!(written["problem_type"], "single_label_classification");
        assert_eq!(written["label2id"], json!({"negative": 0, "positive": 1}));
        assert_eq!(base.other_head(Task::TokenClassification), None);
        assert_eq!(config.other_head(Task::TextPairRegression), None);
        let other = config.other_head(Task::TokenClassification);
        assert_eq!(other, Some("BertForSequenceClassification"));
        let choice = with("architectures", json!(["BertForMultipleChoice"])).unwrap();
        assert_eq!(
            choice.other_head(Task::TextClassification),
            Some("BertForMultipleChoice")
        );
        let span = config.with_head(Task::QuestionAnswering, &[]).to_json();
        assert_eq!(span["architectures"], json!(["BertForQuestionAnswering"]));
        assert!(!span.contains_key("id2label") && !span.contains_key("problem_type"));
    }

    #[test]
    fn a_number_is_no_label() {
        use ProblemType::{MultiLabelClassification, Regression, SingleLabelClassification};
        let base = read(MINIMAL).unwrap();
        let labels = ["a".to_owned(), "b".to_owned()];
        for (problem_type, outputs, number) in [
            (Some(Regression), 1, true),
            (Some(Regression), 2, true),
            (None, 1, true),
            (None, 2, false),
            (Some(SingleLabelClassification), 1, false),
            (Some(MultiLabelClassification), 1, false),
        ] {
            let config = Config {
                problem_type,
                ..base.with_head(Task::TextClassification, &labels[..outputs])
            };
            for task in [Task::TextClassification, Task::TextPairClassification] {
                let told = config.other_head(task).unwrap_or_default();
                let named = told.contains("--task text-pair-regression");
                assert_eq!(
                    (named, told.is_empty()),
                    (number, !number),
                    "{problem_type:?}"
                );
            }
            assert_eq!(config.other_head(Task::TextPairRegression), None);
        }
    }

    #[test]
    fn gelu_by_tanh_is_taken_for_gelu() {
        let text = r#"{"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 64, "hidden_act": "gelu"}"#;
        for (act, approximated, written) in [
            ("gelu", None, "gelu"),
            ("gelu_python", None, "gelu_python"),
            ("gelu_new", Some("gelu_new"), "gelu"),
            ("gelu_pytorch_tanh", Some("gelu_pytorch_tanh"), "gelu"),
        ] {
            let config = read(&text.replace("\"gelu\"", &format!("{act:?}"))).unwrap();
            assert_eq!(config.approximated_act(), approximated);
            assert_eq!(config.to_json()["hidden_act"], written);
        }
        let clipped = read(&text.replace("\"gelu\"", "\"gelu_10\"")).unwrap_err();
        assert!(clipped.to_string().contains("only gelu is supported"));
    }

    #[test]
    fn distilbert_is_read_and_written_by_its_own_names() {
        let text = r#"{"model_type": "distilbert", "vocab_size": 30, "dim": 32, "n_layers": 2,
            "type_vocab_size": 8000000,
            "n_heads": 2, "hidden_dim": 64, "seq_classif_dropout": 0.2, "qa_dropout": 0.1,
            "activation": "gelu", "architectures": ["DistilBertForSequenceClassification"]}"#;
        let config = read(text).unwrap();
        let sizes = (
            config.hidden_size,
            config.num_hidden_layers,
            config.intermediate_size,
        );
        assert_eq!((sizes, config.head_dropout()), ((32, 2, 64), 0.2));
        assert_eq!(config.type_vocab_size, 2);
        assert_eq!(config.id2label, ["LABEL_0", "LABEL_1"]);
        assert_eq!(config.other_head(Task::TextPairClassification), None);
        let other = config.other_head(Task::TokenClassification);
        assert_eq!(other, Some("DistilBertForSequenceClassification"));
        let written = config.to_json();
        assert_eq!(
            (&written["dim"], &written["model_type"]),
            (&json!(32), &json!("distilbert"))
        );
        assert!(!written.contains_key("hidden_size"));
        assert_eq!(written["qa_dropout"], 0.1);
        let dropout = (
            config.token_head_dropout(),
            config.attention_output_dropout(),
            config.qa_dropout,
        );
        assert_eq!(dropout, (0.1, 0.0, 0.1));
        let usual = read(&text.replace("\"seq_classif_dropout\": 0.2, \"qa_dropout\": 0.1,", ""));
        assert_eq!(usual.unwrap().to_json()["seq_classif_dropout"], 0.2);
        let tagger = config.with_head(Task::TokenClassification, &config.id2label);
        let written = tagger.to_json();
        assert_eq!(
            (
                &written["dim"],
                &written["model_type"],
                &written["architectures"]
            ),
            (
                &json!(32),
                &json!("distilbert"),
                &json!(["DistilBertForTokenClassification"])
            )
        );
        let relu = read(&text.replace("\"gelu\"", "\"relu\""))
            .unwrap_err()
            .to_string();
        assert!(
            relu.contains("`activation` is \"relu\"; only gelu is supported"),
            "{relu}"
        );
    }

    #[test]
    fn labels_are_found_wherever_they_stand() {
        let labels = |field, value| with(field, value).unwrap().id2label;
        assert_eq!(labels("label2id", json!({"b": 1, "a": 0})), ["a", "b"]);
        assert_eq!(
            labels("num_labels", json!(3)),
            ["LABEL_0", "LABEL_1", "LABEL_2"]
        );
        let two = labels("architectures", json!(["BertForSequenceClassification"]));
        assert_eq!(two, ["LABEL_0", "LABEL_1"]);
        for bad in [
            json!({"1": "a"}),
            json!({"0": "a", "00": "b"}),
            json!({"0": 3}),
            json!([]),
        ] {
            let error = with("id2label", bad).unwrap_err().to_string();
            assert!(error.ends_with("`id2label` must number the labels from 0 on, each once"));
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (field, value, expected) in [
            (
                "hidden_size",
                json!(0),
                "`hidden_size` must be a whole number from 1 to 16777216, not 0",
            ),
            (
                "hidden_size",
                json!(33),
                "`num_attention_heads` is 2, which does not divide 33",
            ),
            ("hidden_size", json!(1u64 << 60), "`hidden_size` must be"),
            (
                "num_hidden_layers",
                json!(2.5),
                "`num_hidden_layers` must be",
            ),
            ("vocab_size", Value::Null, "`vocab_size` is missing"),
            (
                "hidden_dropout_prob",
                json!(1.0),
                "`hidden_dropout_prob` must be a number from 0",
            ),
            (
                "classifier_dropout",
                json!("a"),
                "`classifier_dropout` must be a number",
            ),
            (
                "model_type",
                json!("roberta"),
                "`model_type` is \"roberta\"; only bert and distilbert are supported",
            ),
            (
                "hidden_act",
                json!("relu"),
                "`hidden_act` is \"relu\"; only gelu is supported",
            ),
            (
                "position_embedding_type",
                json!("relative_key"),
                "only absolute is supported",
            ),
            ("is_decoder", json!(true), "`is_decoder` is true"),
            (
                "architectures",
                json!("BertModel"),
                "`architectures` must be a list",
            ),
            (
                "problem_type",
                json!("magic"),
                "`problem_type` is \"magic\"",
            ),
        ] {
            let error = with(field, value).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains(CONFIG_FILE),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_json_object_is_named_with_its_line() {
        for (text, expected) in [
            (
                "{\"vocab_size\": 3,\n\"hidden_size\" 4}",
                "config.json:2: expected `:`",
            ),
            ("", "config.json:1: EOF while parsing a value"),
            (
                "[]",
                "config.json:1: invalid type: sequence, expected a map",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Config::read("/nowhere").unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/config.json: "), "{error}");
    }
}
