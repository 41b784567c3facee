//! From flags, and from what a model remembers of its training, to a [`Source`] that can be read.
//!
//! A flag wins over what is remembered; what neither says, the file's name and header say.

use crate::args::DataArgs;
use crate::error::Error;
use crate::show;
use berth_checkpoint::training_args::TRAINING_ARGS_FILE;
use berth_checkpoint::{Checkpoint, TrainingArgs, on_one_line};
use berth_data::{
    Dataset, EncodeOptions, Encoded, Evaluator, Format, Source, SpanScoring, TaskName,
};
use berth_task::{SpanRules, Task};
use std::collections::HashSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The most characters of a remembered name that an error tells.
const TOLD: usize = 100;

/// What a model remembers of its training.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The settings.
    pub args: TrainingArgs,
    /// The file that holds them: training_args.json, or a bundle.
    pub file: PathBuf,
}

impl Memory {
    /// That of a checkpoint; none for one made elsewhere.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        Some(Memory {
            args: checkpoint.training_args()?.clone(),
            file: checkpoint.dir.join(TRAINING_ARGS_FILE),
        })
    }

    /// That of a checkpoint's folder; none for one made elsewhere.
    ///
    /// # Errors
    /// As [`TrainingArgs::read`].
    pub fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let file = dir.join(TRAINING_ARGS_FILE);
        Ok(TrainingArgs::read(dir)?.map(|args| Memory { args, file }))
    }

    /// What a setting names.
    ///
    /// # Errors
    /// When there is nothing of that name.
    fn parsed<T>(&self, setting: &str, name: &str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: Display,
    {
        name.parse::<T>().map_err(|error| {
            let name = on_one_line(name, TOLD);
            self.wrong(format!("{setting} {name}: {error}"))
        })
    }

    /// The error that names the file.
    fn wrong(&self, what: String) -> Error {
        let path = self.file.clone();
        Error::Path { path, what }
    }
}

/// What is known of the data before a file is opened.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the head answers.
    pub task: Task,
    /// The published data set whose layout the files have.
    pub task_name: Option<TaskName>,
    flags: DataArgs,
    remembered: Option<Memory>,
}

impl Known {
    /// Puts flags and memory together.
    ///
    /// # Errors
    /// When neither names a task, or the flags contradict each other, or the task name that is remembered is none.
    pub fn new(flags: &DataArgs, remembered: Option<Memory>) -> Result<Self, Error> {
        // Flags about the task replace the memory of another task as a whole.
        let remembered_task = remembered.as_ref().map(|memory| memory.args.task);
        let task = match (flags.task, flags.task_name) {
            (Some(task), Some(name)) if name.task() != task => {
                let (name, own) = (name.name(), name.task());
                return Err(Error::Usage(format!(
                    "--task_name {name} is {own}, not --task {task}"
                )));
            }
            (Some(task), _) => task,
            (None, Some(name)) => name.task(),
            (None, None) => remembered_task.ok_or_else(|| {
                let tasks = Task::ALL.map(Task::name).join("|");
                Error::Usage(format!(
                    "nothing names the task: say --task {tasks}, or --task_name"
                ))
            })?,
        };
        let remembered = remembered.filter(|memory| memory.args.task == task);
        let task_name = match (flags.task_name, &remembered) {
            (Some(name), _) => Some(name),
            // Naming a task, a format or a column says that the file has a layout of its own.
            (None, Some(memory)) if !flags.lays_out() => {
                let name = memory.args.task_name.as_deref();
                let name = name.map(|name| memory.parsed("task_name", name));
                name.transpose()?
            }
            (None, _) => None,
        };
        check_delimiter(flags, task)?;
        check_label_names(flags, task)?;
        if flags.text_pair_column_name.is_some() && !task.takes_pair() {
            let pairs = Task::TextPairClassification;
            return Err(Error::Usage(format!(
                "--text_pair_column_name: {task} reads one text; --task {pairs} reads two"
            )));
        }
        Ok(Known {
            task,
            task_name,
            flags: flags.clone(),
            remembered,
        })
    }

    /// Says aloud which flags change nothing. A command does so once, however many files it reads.
    pub fn warn_of_idle_flags(&self) {
        let (task, spans) = (self.task, &self.flags.spans);
        if task != Task::QuestionAnswering {
            for flag in spans.given() {
                show::note(format!("warning: {flag} changes nothing in {task}"));
            }
        } else if spans.null_score_diff_threshold.is_some()
            && spans.version_2_with_negative == Some(false)
        {
            show::note(
                "warning: --null_score_diff_threshold changes nothing with \
                 --version_2_with_negative false",
            );
        }
    }

    /// The longest input: the flag, else what is remembered, else `usual`.
    pub fn max_seq_length(&self, usual: usize) -> usize {
        let flag = self.flags.max_seq_length.map(|length| length as usize);
        let kept = self.memory().map(|args| args.max_seq_length);
        flag.or(kept).unwrap_or(usual)
    }

    /// The settings that are remembered.
    fn memory(&self) -> Option<&TrainingArgs> {
        self.remembered.as_ref().map(|memory| &memory.args)
    }

    /// How examples become inputs of at most `limit` pieces.
    pub fn encoding(&self, limit: usize) -> EncodeOptions {
        EncodeOptions {
            doc_stride: self.spans().rules.doc_stride as usize,
            ..EncodeOptions::new(self.task, limit)
        }
    }

    /// How a model's answers to `inputs`, which are made of the data set, are measured.
    pub fn evaluator<'a>(&self, dataset: &'a Dataset, inputs: &'a [Encoded]) -> Evaluator<'a> {
        Evaluator {
            task: self.task,
            task_name: self.task_name,
            labels: &dataset.labels,
            multi_label: dataset.multi_label,
            examples: &dataset.examples,
            inputs,
            spans: self.spans(),
        }
    }

    /// How spans are chosen: by the flags, else as is remembered, else as is usual. A threshold says that some
    /// questions have no answer; one that neither tells is fitted to the file that is measured on.
    pub fn spans(&self) -> SpanScoring {
        let flags = &self.flags.spans;
        let mut rules = self
            .memory()
            .map(TrainingArgs::span_rules)
            .unwrap_or_default();
        let take = |place: &mut u32, flag: Option<u32>| *place = flag.unwrap_or(*place);
        take(&mut rules.doc_stride, flags.doc_stride);
        take(&mut rules.n_best_size, flags.n_best_size);
        take(&mut rules.max_answer_length, flags.max_answer_length);
        let told = flags.null_score_diff_threshold;
        let told = told.or(rules.null_score_diff_threshold);
        let negative = flags.version_2_with_negative.unwrap_or(told.is_some());
        rules.null_score_diff_threshold = told.filter(|_| negative);
        SpanScoring {
            rules,
            fit_threshold: negative && rules.null_score_diff_threshold.is_none(),
        }
    }

    /// Takes a threshold that was fitted to a file, as if a flag had given it.
    pub fn settle_threshold(&mut self, threshold: f32) {
        self.flags.spans.null_score_diff_threshold = Some(threshold);
    }

    /// Says aloud that a column of a file is not read, where it looks like a second text.
    pub fn warn_of_unread(&self, dataset: &Dataset) {
        if let Some(name) = &dataset.unread {
            show::note(format!(
                "warning: {}: the column {name:?} is not read, since {} reads one text; --task {} reads two",
                dataset.path.display(),
                self.task,
                Task::TextPairClassification,
            ));
        }
    }

    /// The longest input where neither flag nor memory says one.
    pub fn usual_length(&self) -> usize {
        match self.task {
            Task::QuestionAnswering => 384,
            _ => 128,
        }
    }

    /// Whether inputs of at most `limit` pieces, and the rows of `dataset`, go with the flags. Answers that are not
    /// where they should be are told aloud.
    ///
    /// # Errors
    /// When windows would not get on, or a question has no answer and none was to be expected.
    pub fn check(&self, dataset: &Dataset, limit: usize) -> Result<(), Error> {
        if self.task != Task::QuestionAnswering {
            return Ok(());
        }
        self.check_stride(limit)?;
        let spans = self.spans();
        if spans.rules.null_score_diff_threshold.is_none() && !spans.fit_threshold {
            dataset.check_answerable()?;
        }
        let (misplaced, all) = (dataset.misplaced(), dataset.examples.len());
        if misplaced > 0 {
            let loss = match misplaced == all {
                true => "there is no eval_loss",
                false => "eval_loss leaves them out",
            };
            show::note(format!(
                "warning: {}: {misplaced} of {all} questions have answers that are not where \
                 answer_start says; {loss}",
                dataset.path.display()
            ));
        }
        Ok(())
    }

    /// Whether windows of `limit` pieces get on, where passages are read by windows.
    ///
    /// # Errors
    /// When each would share all that it has with the one before.
    pub fn check_stride(&self, limit: usize) -> Result<(), Error> {
        let stride = self.spans().rules.doc_stride as usize;
        if self.task != Task::QuestionAnswering || stride + 3 < limit {
            return Ok(());
        }
        let flags = &self.flags;
        let is_typed = flags.spans.doc_stride.is_some() || flags.max_seq_length.is_some();
        Err(match &self.remembered {
            Some(memory) if !is_typed => memory.wrong(format!(
                "doc_stride {stride} leaves windows of max_seq_length {limit} nothing new to read; \
                 say a smaller one with --doc_stride"
            )),
            _ => Error::Usage(format!(
                "--doc_stride {stride} leaves windows of --max_seq_length {limit} nothing new to \
                 read; say a smaller one"
            )),
        })
    }

    /// How to read a file to learn from.
    ///
    /// # Errors
    /// When the format that is remembered for it is none.
    pub fn source(&self, path: &Path) -> Result<Source, Error> {
        let memory = self.memory();
        let mut source = match self.task_name {
            Some(name) => Source::named(path, name),
            None => Source::new(path, self.task),
        };
        source.format = match self.flags.format {
            Some(format) => Some(format),
            None => self.remembered_format(path)?,
        };
        let either = |flag: &Option<String>, kept: Option<&String>| flag.clone().or(kept.cloned());
        let columns = &mut source.columns;
        columns.text = either(
            &self.flags.text_column_name,
            memory.and_then(|args| args.text_column_name.as_ref()),
        );
        columns.text_pair = either(
            &self.flags.text_pair_column_name,
            memory.and_then(|args| args.text_pair_column_name.as_ref()),
        );
        columns.label = either(
            &self.flags.label_column_name,
            memory.and_then(|args| args.label_column_name.as_ref()),
        );
        source.label_names = self.flags.label_names.clone();
        source.label_delimiter = self.label_delimiter();
        Ok(source)
    }

    /// The format that was named for the training file, where this file's name says no more than that one's did.
    ///
    /// # Errors
    /// When it is none.
    fn remembered_format(&self, path: &Path) -> Result<Option<Format>, Error> {
        let Some(memory) = &self.remembered else {
            return Ok(None);
        };
        let train = memory.args.provenance.as_ref();
        let train = train.and_then(|made| made.train_file.as_ref());
        let of_train = train.and_then(|file| Format::of_path(Path::new(&file.name)));
        let of_this = Format::of_path(path);
        let format = memory.args.format.as_deref();
        let format = format.filter(|_| of_this.is_none() || of_this == of_train);
        format.map(|name| memory.parsed("format", name)).transpose()
    }

    /// What parts the labels of a cell: the flag, else what is remembered.
    fn label_delimiter(&self) -> Option<String> {
        let kept = self.memory();
        let kept = kept.and_then(|args| args.other.get(DELIMITER)?.as_str());
        let flag = self.flags.label_delimiter.as_deref();
        flag.or(kept).map(str::to_owned)
    }

    /// How to read a file to measure a model on that has `labels`, each decided by itself or not.
    ///
    /// # Errors
    /// As [`source`](Self::source), and where a flag parts labels of which the model gives a row one.
    pub fn labelled(
        &self,
        path: &Path,
        labels: &[String],
        multi_label: bool,
    ) -> Result<Source, Error> {
        if self.flags.label_delimiter.is_some() && !multi_label {
            return Err(Error::Usage(
                "--label_delimiter parts several labels of a row, and the model gives each row one"
                    .into(),
            ));
        }
        let mut source = self.source(path)?;
        source.multi_label = Some(multi_label);
        source.label_delimiter = source.label_delimiter.filter(|_| multi_label);
        source.label_names = None;
        source.labels = (self.task != Task::TextPairRegression).then(|| labels.to_vec());
        let spellings = self.memory().map(TrainingArgs::spellings);
        source.spellings = spellings.unwrap_or_default();
        Ok(source)
    }

    /// How to read a file whose rows a model is to answer; labels, where it has any, are not looked at.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    pub fn unlabelled(&self, path: &Path) -> Result<Source, Error> {
        let mut source = self.source(path)?;
        source.label_names = None;
        source.labelled = false;
        Ok(source)
    }

    /// The longest input for a model that takes at most `positions` pieces.
    ///
    /// # Errors
    /// When more was asked for.
    pub fn limit(&self, positions: usize) -> Result<usize, Error> {
        let limit = self.max_seq_length(self.usual_length().min(positions));
        if limit <= positions {
            return Ok(limit);
        }
        let what = format!("max_seq_length {limit} is more than the model's {positions} positions");
        Err(match (self.flags.max_seq_length, &self.remembered) {
            (None, Some(memory)) => {
                memory.wrong(format!("{what}; say a smaller one with --max_seq_length"))
            }
            _ => Error::Usage(format!("--{what}")),
        })
    }

    /// What the checkpoint that has learned from `train` is to remember.
    pub fn training_args(&self, max_seq_length: usize, train: &Dataset) -> TrainingArgs {
        let mut args = TrainingArgs::new(self.task, max_seq_length);
        args.task_name = self.task_name.map(|name| name.name().to_owned());
        args.format = self.flags.format.map(|format| format.name().to_owned());
        args.text_column_name = self.flags.text_column_name.clone();
        args.text_pair_column_name = self.flags.text_pair_column_name.clone();
        args.label_column_name = self.flags.label_column_name.clone();
        if self.task == Task::QuestionAnswering {
            let spans = self.spans();
            args.remember_spans(&SpanRules {
                null_score_diff_threshold: match spans.fit_threshold {
                    true => Some(0.0),
                    false => spans.rules.null_score_diff_threshold,
                },
                ..spans.rules
            });
        }
        if !train.spellings.is_empty() {
            args.remember_spellings(&train.spellings);
        }
        if let Some(delimiter) = self.label_delimiter() {
            args.other.insert(DELIMITER.to_owned(), delimiter.into());
        }
        args
    }
}

/// Where training_args.json keeps what parts several labels in a cell.
const DELIMITER: &str = "label_delimiter";

impl DataArgs {
    /// Whether a flag says how this file is laid out.
    fn lays_out(&self) -> bool {
        self.task.is_some()
            || self.format.is_some()
            || self.text_column_name.is_some()
            || self.text_pair_column_name.is_some()
            || self.label_column_name.is_some()
    }
}

/// Only rows that are classified may have several labels, and nothing parts nothing.
fn check_delimiter(flags: &DataArgs, task: Task) -> Result<(), Error> {
    match flags.label_delimiter.as_deref() {
        Some("") => Err(Error::Usage("--label_delimiter is empty".into())),
        Some(_)
            if !matches!(
                task,
                Task::TextClassification | Task::TextPairClassification
            ) =>
        {
            Err(Error::Usage(format!(
                "--label_delimiter parts the labels of rows that are classified, not those of {task}"
            )))
        }
        _ => Ok(()),
    }
}

/// Names are for tasks that have labels, each of its own, and on one line as files and tables show them.
fn check_label_names(flags: &DataArgs, task: Task) -> Result<(), Error> {
    let Some(names) = &flags.label_names else {
        return Ok(());
    };
    let wrong = |what: String| Err(Error::Usage(format!("--label_names {what}")));
    if !task.has_labels() {
        return wrong(format!("names labels, and {task} has none"));
    }
    let mut earlier = HashSet::new();
    for name in names {
        if name.trim().is_empty() {
            return wrong(format!("{:?} has an empty name", names.join(",")));
        }
        if name.contains(char::is_control) {
            return wrong(format!("has a tab, a line end or the like in {name:?}"));
        }
        if !earlier.insert(name.trim()) {
            return wrong(format!("gives {:?} twice", name.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> DataArgs {
        DataArgs {
            task: Some(Task::TextClassification),
            ..DataArgs::default()
        }
    }

    #[test]
    fn a_delimiter_is_refused_where_a_model_gives_one_label() {
        let flags = DataArgs {
            label_delimiter: Some("|".into()),
            ..flags()
        };
        let known = Known::new(&flags, None).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let read = |several| known.labelled(Path::new("a.csv"), &labels, several);
        let delimiter = read(true).unwrap().label_delimiter;
        assert_eq!(delimiter.as_deref(), Some("|"));
        let error = read(false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--label_delimiter"), "{error}");
    }

    #[test]
    fn a_threshold_says_that_some_questions_have_no_answer() {
        let chosen = |negative, threshold, remembered| {
            let mut flags = DataArgs {
                task: Some(Task::QuestionAnswering),
                ..DataArgs::default()
            };
            flags.spans.version_2_with_negative = negative;
            flags.spans.null_score_diff_threshold = threshold;
            let mut args = TrainingArgs::new(Task::QuestionAnswering, 384);
            args.remember_spans(&SpanRules {
                null_score_diff_threshold: remembered,
                ..SpanRules::default()
            });
            let file = PathBuf::from("training_args.json");
            let memory = Memory { args, file };
            let spans = Known::new(&flags, Some(memory)).unwrap().spans();
            (spans.rules.null_score_diff_threshold, spans.fit_threshold)
        };
        for (negative, threshold, remembered, expected) in [
            (None, None, None, (None, false)),
            (None, Some(1.5), None, (Some(1.5), false)),
            (None, Some(1.5), Some(0.5), (Some(1.5), false)),
            (None, None, Some(0.5), (Some(0.5), false)),
            (Some(true), None, None, (None, true)),
            (Some(true), Some(1.5), None, (Some(1.5), false)),
            (Some(false), Some(1.5), None, (None, false)),
            (Some(false), None, Some(0.5), (None, false)),
        ] {
            let found = chosen(negative, threshold, remembered);
            assert_eq!(found, expected, "{negative:?} {threshold:?} {remembered:?}");
        }
    }

    #[test]
    fn a_stride_that_is_remembered_is_told_with_its_file() {
        let told = |max_seq_length| {
            let flags = DataArgs {
                max_seq_length,
                ..DataArgs::default()
            };
            let mut args = TrainingArgs::new(Task::QuestionAnswering, 40);
            args.remember_spans(&SpanRules {
                doc_stride: 37,
                ..SpanRules::default()
            });
            let file = PathBuf::from("c/training_args.json");
            let known = Known::new(&flags, Some(Memory { args, file })).unwrap();
            let error = known.check_stride(40).unwrap_err();
            (error.exit_code(), error.to_string())
        };
        let (code, text) = told(None);
        assert_eq!(code, 1);
        let begins = "c/training_args.json: doc_stride 37 leaves windows of max_seq_length 40 ";
        assert!(text.starts_with(begins), "{text}");
        let (code, text) = told(Some(40));
        assert_eq!(code, 2);
        assert!(text.starts_with("--doc_stride 37 "), "{text}");
    }

    #[test]
    fn names_are_the_same_with_space_around_them() {
        let flags = DataArgs {
            label_names: Some(["a", " a"].map(str::to_owned).to_vec()),
            ..flags()
        };
        let error = Known::new(&flags, None).unwrap_err().to_string();
        assert_eq!(error, "--label_names gives \"a\" twice");
    }
}
