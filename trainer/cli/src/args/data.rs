//! How a labelled file is read: the flags that every command with a data file takes.

use super::values::{finite, trimmed};
use berth_data::{Format, TaskName};
use berth_task::Task;
use clap::Args;

/// How a data file is read; shared by the commands that read one.
#[derive(Args, Debug, Default, Clone)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DataArgs {
    /// text-classification, text-pair-classification, text-pair-regression, token-classification,
    /// question-answering
    #[arg(long)]
    pub task: Option<Task>,
    /// A published data set, whose own files are read: mr, cola, sst2, rte, qnli, mnli, mrpc, sick, sick_r,
    /// stsb; any other file by its extension
    #[arg(long)]
    pub task_name: Option<TaskName>,
    /// tsv, csv, json, jsonl, conll or conllu, where the file's name does not say it
    #[arg(long)]
    pub format: Option<Format>,
    /// Column of the text
    #[arg(long)]
    pub text_column_name: Option<String>,
    /// Column of the second text
    #[arg(long)]
    pub text_pair_column_name: Option<String>,
    /// Column of the label
    #[arg(long)]
    pub label_column_name: Option<String>,
    /// Rows may have any number of labels, in one cell with this between them: '|'. Lists of JSON need no flag
    #[arg(long, allow_hyphen_values = true)]
    pub label_delimiter: Option<String>,
    /// New names for the labels, in their order: a,b
    #[arg(long, value_delimiter = ',', value_parser = trimmed)]
    pub label_names: Option<Vec<String>>,
    /// Longest input in pieces, the special ones included; when not given: a trained model's own; in
    /// training 128, for questions 384, as far as the model has positions
    #[arg(long, alias = "max_length", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_seq_length: Option<u32>,
    #[command(flatten)]
    pub spans: SpanArgs,
}

/// How passages are read and answers are chosen, for question-answering.
#[derive(Args, Debug, Default, Clone)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct SpanArgs {
    /// Questions: pieces that neighbouring windows of a passage share; when not given: a trained model's own, 128 in training
    #[arg(long)]
    pub doc_stride: Option<u32>,
    /// Questions: how many best starts, ends and answers are looked at; when not given: a trained model's own, 20 in training
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=berth_task::MAX_N_BEST as i64))]
    pub n_best_size: Option<u32>,
    /// Questions: the most pieces of an answer; when not given: a trained model's own, 30 in training
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_answer_length: Option<u32>,
    /// Questions: some have no answer in their passage
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub version_2_with_negative: Option<bool>,
    /// Questions: no answer where its score exceeds the best span's by more, with --version_2_with_negative understood;
    /// when not given: a trained model's own; in training, with --version_2_with_negative, fitted to the labelled file
    #[arg(long, value_parser = finite::<f32>, allow_negative_numbers = true)]
    pub null_score_diff_threshold: Option<f32>,
}

impl SpanArgs {
    /// The flags that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            ("--doc_stride", self.doc_stride.is_some()),
            ("--n_best_size", self.n_best_size.is_some()),
            ("--max_answer_length", self.max_answer_length.is_some()),
            (
                "--version_2_with_negative",
                self.version_2_with_negative.is_some(),
            ),
            (
                "--null_score_diff_threshold",
                self.null_score_diff_threshold.is_some(),
            ),
        ];
        flags
            .into_iter()
            .filter_map(|(flag, is_given)| is_given.then_some(flag))
    }
}
