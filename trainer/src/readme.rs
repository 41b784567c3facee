//! The card of a fine-tuned model, its README.md: the front matter that the Hub reads, then what it is, how to
//! use it, how good it is, what it was made of, and where it ends.

use std::fmt::Write;

use berth_checkpoint::{DataFile, Provenance, TrainingArgs};
use berth_data::{Target, TaskName};
use berth_task::Task;
use serde_json::Value;

use crate::job::Job;
use crate::results::Results;

/// The metrics that the Hub knows, by the names in results and there.
const METRICS: [(&str, &str); 8] = [
    ("eval_accuracy", "accuracy"),
    ("eval_f1", "f1"),
    ("eval_precision", "precision"),
    ("eval_recall", "recall"),
    ("eval_matthews_correlation", "matthews_correlation"),
    ("eval_pearson", "pearsonr"),
    ("eval_spearmanr", "spearmanr"),
    ("eval_exact_match", "exact_match"),
];

/// What a card tells.
struct Card<'a> {
    name: String,
    task: Task,
    data_set: Option<TaskName>,
    from: Provenance,
    args: &'a TrainingArgs,
    labels: &'a [String],
    /// Whether a text may have any number of them.
    has_sets: bool,
    results: &'a Results,
}

/// The text, for a model with these `labels` that was trained as `args` say.
pub(crate) fn readme(
    job: &Job<'_>,
    args: &TrainingArgs,
    labels: &[String],
    results: &Results,
) -> String {
    let name = job.output_dir.file_name();
    let from = args.provenance.clone().unwrap_or_default();
    let mut targets = job.train.iter().map(|row| &row.target);
    let card = Card {
        name: name.map_or("model".into(), |name| {
            name.to_string_lossy().replace(char::is_control, " ")
        }),
        task: job.task,
        data_set: args.task_name.as_ref().and_then(|name| name.parse().ok()),
        from,
        args,
        labels: if job.labels.is_empty() { &[] } else { labels },
        has_sets: targets.any(|target| matches!(target, Target::Set(_))),
        results,
    };
    card.text()
}

impl Card<'_> {
    fn text(&self) -> String {
        let mut text = self.front_matter();
        let base = match self.from.base_model.as_str() {
            "" => "A base model",
            name => name,
        };
        let _ = write!(
            text,
            "\n# {}\n\n{}, every parameter fine-tuned by Berth for {}.\n",
            self.name,
            plain(base),
            self.task
        );
        self.usage(&mut text);
        let labels = self.labels.iter().enumerate();
        let labels = labels.map(|(id, label)| [id.to_string(), label.clone()].map(Cell::Text));
        table(&mut text, "Labels", ["id", "label"], labels);
        let figures = self.results.all();
        let figures = figures
            .iter()
            .map(|(name, value)| [name.clone(), value.to_string()].map(Cell::Text));
        table(&mut text, "Figures", ["figure", "value"], figures);
        self.data(&mut text);
        let settings = self.args.recipe.as_object().into_iter().flatten();
        let settings = settings
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| [name.clone(), value.to_string()]);
        let length = self.args.max_seq_length.to_string();
        let length = ["max_seq_length".to_owned(), length];
        let settings = std::iter::once(length).chain(settings);
        let settings = settings.map(|row| row.map(Cell::Text));
        table(&mut text, "Recipe", ["setting", "value"], settings);
        self.limits(&mut text);
        text
    }

    /// YAML, whose strings are JSON's.
    fn front_matter(&self) -> String {
        let mut text = "---\nlibrary_name: transformers\n".to_owned();
        let mut line = |line: String| text.push_str(&(line + "\n"));
        if let Some(license) = &self.from.base_model_license {
            line(format!("license: {license}"));
        }
        // A base model without an organization is a folder that nobody else has.
        if self.from.base_model.contains('/') {
            line(format!("base_model: {}", quoted(&self.from.base_model)));
        }
        if let Some(name) = self.data_set {
            line(format!("datasets:\n- {}", quoted(name.hub_name())));
        }
        line(format!(
            "pipeline_tag: {}\ntags:\n- berth",
            pipeline(self.task)
        ));
        let measured = self.measured();
        if !measured.is_empty() {
            line("metrics:".into());
            measured
                .iter()
                .for_each(|(name, _)| line(format!("- {name}")));
            line(self.model_index(&measured));
        }
        text + "---\n"
    }

    /// The metrics that the Hub knows.
    fn measured(&self) -> Vec<(&'static str, f64)> {
        let value = |name: &str| self.results.eval.get(name).and_then(Value::as_f64);
        METRICS
            .into_iter()
            .filter_map(|(own, hub)| Some((hub, value(own)?)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    }

    fn model_index(&self, measured: &[(&str, f64)]) -> String {
        let file = match &self.from.validation_file {
            Some(file) => file.name.as_str(),
            None => "validation file",
        };
        let kind = match self.data_set {
            Some(name) => name.name(),
            None => file,
        };
        let mut text = format!(
            "model-index:\n- name: {}\n  results:\n  - task:\n      type: {}\n    dataset:\n      name: {}\n      \
             type: {}\n    metrics:",
            quoted(&self.name),
            pipeline(self.task),
            quoted(file),
            quoted(kind)
        );
        for (name, value) in measured {
            let _ = write!(text, "\n    - type: {name}\n      value: {value}");
        }
        text
    }

    fn usage(&self, text: &mut String) {
        let ask = match self.task {
            Task::TextClassification | Task::TokenClassification => "\"a text\"",
            Task::QuestionAnswering => "\"a question\" @passage.txt",
            Task::TextPairClassification | Task::TextPairRegression => {
                "\"the first text\" \"the second\""
            }
        };
        let _ = write!(
            text,
            "\n## Use\n\n```sh\nberth quantize . --output model.berth\nberth ask model.berth {ask}\n```\n\n\
             The folder opens in `transformers` too.\n"
        );
    }

    fn data(&self, text: &mut String) {
        let row = |what: &str, file: &Option<DataFile>| {
            let file = file.as_ref()?;
            Some([
                Cell::Text(what.to_owned()),
                Cell::Text(file.name.clone()),
                Cell::Text(file.rows.to_string()),
                Cell::Code(file.sha256.clone()),
            ])
        };
        let from = &self.from;
        let files = [
            row("learned from", &from.train_file),
            row("measured on", &from.validation_file),
        ];
        let heading = ["", "file", "rows", "SHA-256"];
        table(text, "Data", heading, files.into_iter().flatten());
        if let Some(origin) = self.origin() {
            let _ = write!(text, "\n{origin}\n");
        }
        if from.base_model_sha256.is_empty() {
            return;
        }
        let licence = from.base_model_license.as_deref();
        let licence = licence.unwrap_or("not known to Berth");
        let _ = write!(
            text,
            "\n## Base model\n\n{}; SHA-256 of its weights: `{}`; its licence: {licence}. What holds for this model \
             follows from that licence and the data's.\n",
            plain(&from.base_model),
            from.base_model_sha256
        );
    }

    /// Where the data are from, and their licence: as the recipe tells it, else as it is known of the data set.
    fn origin(&self) -> Option<String> {
        let (from, named) = (&self.from, self.data_set);
        let home = from.data_home.as_deref().or(named.map(TaskName::home));
        let licence = from.data_licence.as_deref();
        let licence = licence.or(named.map(TaskName::licence)).map(plain);
        let home = home.map(|home| format!("from <{}>", plain(home)));
        Some(match (named, home, licence) {
            (Some(name), Some(home), Some(licence)) => {
                format!("The data set is `{name}`, {home}; its licence: {licence}.")
            }
            (_, Some(home), Some(licence)) => {
                format!("The data are {home}; their licence: {licence}.")
            }
            (_, Some(home), None) => {
                format!("The data are {home}; their licence is not known to Berth.")
            }
            (_, None, Some(licence)) => format!("The licence of the data: {licence}."),
            (_, None, None) if from.train_file.is_some() => {
                "The licence of the data is not known to Berth.".to_owned()
            }
            (_, None, None) => return None,
        })
    }

    fn limits(&self, text: &mut String) {
        let length = self.args.max_seq_length;
        let long = match self.task {
            Task::QuestionAnswering => {
                format!(
                    "Passages are read by windows of {length} pieces; an answer lies in one of them."
                )
            }
            _ => format!("It was trained and measured on the first {length} pieces of each text."),
        };
        let always = match self.task {
            Task::TextPairRegression => {
                "It answers with a number, whatever the texts are about, and that may leave the labels' range."
            }
            Task::QuestionAnswering => {
                "It finds answers that stand in the passage word for word, whether they are true or not."
            }
            Task::TokenClassification => {
                "Each word gets one of its labels, whatever the text is about."
            }
            _ if self.has_sets => {
                "Each label is decided by itself, whatever the text is about; a text may get none."
            }
            _ => "It answers with one of its labels, whatever the text is about.",
        };
        let measured = match self.results.eval.is_empty() {
            true => "It was not measured.",
            false => {
                "On texts of another kind, time or language than those of the file that it was measured on it may do \
                 worse, and how it treats people of different groups was not measured."
            }
        };
        let _ = write!(text, "\n## Limits\n\n- {long}\n- {always}\n- {measured}\n");
        text.push_str("- What the base model and the data get wrong, it may get wrong too.\n");
    }
}

/// The Hub's name for the task.
fn pipeline(task: Task) -> &'static str {
    match task {
        Task::TokenClassification => "token-classification",
        Task::QuestionAnswering => "question-answering",
        _ => "text-classification",
    }
}

/// A string of JSON, which is one of YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name on one line that begins no markup.
fn plain(name: &str) -> String {
    name.replace(|c: char| c.is_control() || "<>`[]*|".contains(c), " ")
}

/// What stands in a cell of a table.
enum Cell {
    /// A text, whatever it looks like.
    Text(String),
    /// Code.
    Code(String),
}

impl Cell {
    /// The cell on one line, with nothing in it that would end it or begin markup.
    fn markdown(&self) -> String {
        let text = match self {
            Cell::Text(text) => text,
            Cell::Code(code) => return format!("`{}`", plain(code)),
        };
        let mut escaped = String::with_capacity(text.len());
        let mut inside = false;
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            // Inside a word it begins no emphasis.
            let joins = c == '_' && inside && rest.peek().is_some_and(|c| c.is_alphanumeric());
            inside = c.is_alphanumeric();
            match c {
                '_' if joins => escaped.push('_'),
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => escaped.extend(['\\', c]),
                c if c.is_control() => escaped.push(' '),
                c => escaped.push(c),
            }
        }
        escaped
    }
}

/// A heading and a table; nothing without rows.
fn table<const N: usize>(
    text: &mut String,
    title: &str,
    heading: [&str; N],
    rows: impl Iterator<Item = [Cell; N]>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = write!(
        text,
        "\n## {title}\n\n| {} |\n|{}\n",
        heading.join(" | "),
        "---|".repeat(N)
    );
    for row in rows {
        let cells = row.map(|cell| cell.markdown());
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    #[test]
    fn cells_stay_in_their_row() {
        let mut text = String::new();
        let rows = [
            ["0", "a|b\nc"],
            ["very_negative", "<pos> &amp;"],
            ["2", r"*b* __i__ `c` [d](e) ~~f~~ \|"],
        ];
        let rows = rows.map(|row| row.map(|cell| Cell::Text(cell.to_owned())));
        table(&mut text, "Labels", ["", ""], rows.into_iter());
        let expected = [
            "\n## Labels\n\n|  |  |\n|---|---|",
            r"| 0 | a\|b c |",
            "| very_negative | &lt;pos> &amp;amp; |",
            r"| 2 | \*b\* \_\_i\_\_ \`c\` \[d\](e) \~\~f\~\~ \\\| |",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
        assert_eq!(Cell::Code("0f_`".to_owned()).markdown(), "`0f_ `");
        table(&mut text, "None", [""], std::iter::empty());
        assert!(!text.contains("None"));
    }

    fn card(eval: Value, name: &str, base: &str) -> String {
        let results = Results {
            train: Map::new(),
            eval: eval.as_object().unwrap().clone(),
            logits: Vec::new(),
        };
        let mut args = TrainingArgs::new(Task::TextClassification, 128);
        args.recipe = json!({"seed": 1, "class_weights": null});
        let card = Card {
            name: name.into(),
            task: args.task,
            data_set: Some(TaskName::Mr),
            from: Provenance {
                base_model: base.into(),
                base_model_sha256: "00ff".into(),
                base_model_license: Some("apache-2.0".into()),
                validation_file: Some(DataFile {
                    name: "dev.tsv".into(),
                    sha256: "ee".into(),
                    rows: 7,
                }),
                ..Provenance::default()
            },
            args: &args,
            labels: &["no".into(), "yes".into()],
            has_sets: false,
            results: &results,
        };
        card.text()
    }

    #[test]
    fn the_front_matter_is_what_the_hub_reads() {
        let text = card(
            json!({"eval_accuracy": 0.75, "eval_pearson": null}),
            "a \"name\": #1",
            "org/base",
        );
        let expected = r#"---
library_name: transformers
license: apache-2.0
base_model: "org/base"
datasets:
- "cornell-movie-review-data/rotten_tomatoes"
pipeline_tag: text-classification
tags:
- berth
metrics:
- accuracy
model-index:
- name: "a \"name\": #1"
  results:
  - task:
      type: text-classification
    dataset:
      name: "dev.tsv"
      type: "mr"
    metrics:
    - type: accuracy
      value: 0.75
---
"#;
        assert!(text.starts_with(expected), "{text}");
        for line in [
            "| measured on | dev.tsv | 7 | `ee` |",
            "| 1 | yes |",
            "| seed | 1 |",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("class_weights"), "{text}");
    }

    #[test]
    fn a_folder_is_no_base_model_for_the_hub() {
        let text = card(json!({}), "m", "folder");
        assert!(
            !text.contains("base_model:") && !text.contains("model-index"),
            "{text}"
        );
        assert!(text.contains("It was not measured."), "{text}");
    }

    #[test]
    fn what_is_always_answered_follows_from_the_task() {
        let results = Results {
            train: Map::new(),
            eval: Map::new(),
            logits: Vec::new(),
        };
        for (task, has_sets, expected) in [
            (
                Task::TextClassification,
                false,
                "It answers with one of its labels, ",
            ),
            (
                Task::TextPairClassification,
                true,
                "Each label is decided by itself, ",
            ),
            (
                Task::TokenClassification,
                false,
                "Each word gets one of its labels, ",
            ),
            (
                Task::TextPairRegression,
                false,
                "It answers with a number, ",
            ),
        ] {
            let card = Card {
                name: "m".into(),
                task,
                data_set: None,
                from: Provenance::default(),
                args: &TrainingArgs::new(task, 128),
                labels: &[],
                has_sets,
                results: &results,
            };
            let text = card.text();
            assert!(text.contains(&format!("\n- {expected}")), "{text}");
        }
    }

    #[test]
    fn the_datas_licence_is_told_as_the_recipe_tells_it() {
        let args = TrainingArgs::new(Task::TextClassification, 128);
        let results = Results {
            train: Map::new(),
            eval: Map::new(),
            logits: Vec::new(),
        };
        let told = |data_set, home: Option<&str>, licence: Option<&str>| {
            let card = Card {
                name: "m".into(),
                task: args.task,
                data_set,
                from: Provenance {
                    train_file: Some(DataFile::default()),
                    data_home: home.map(str::to_owned),
                    data_licence: licence.map(str::to_owned),
                    ..Provenance::default()
                },
                args: &args,
                labels: &[],
                has_sets: false,
                results: &results,
            };
            let text = card.text();
            let origin = card.origin().unwrap();
            assert!(text.contains(&format!("\n\n{origin}\n")), "{text}");
            origin
        };
        let (home, licence) = (Some("https://a/b_c"), Some("CC\nBY-SA"));
        for (data_set, home, licence, expected) in [
            (
                Some(TaskName::Cola),
                None,
                licence,
                "The data set is `cola`, from <https://nyu-mll.github.io/CoLA/>; its licence: CC BY-SA.",
            ),
            (
                None,
                home,
                licence,
                "The data are from <https://a/b_c>; their licence: CC BY-SA.",
            ),
            (
                None,
                home,
                None,
                "The data are from <https://a/b_c>; their licence is not known to Berth.",
            ),
            (None, None, licence, "The licence of the data: CC BY-SA."),
            (
                None,
                None,
                None,
                "The licence of the data is not known to Berth.",
            ),
        ] {
            assert_eq!(told(data_set, home, licence), expected);
        }
    }
}
