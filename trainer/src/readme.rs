//! The README.md of a fine-tuned model: the front matter that the Hub reads, then what it is, how good, how made.

use std::fmt::Write;

use berth_task::Task;

use crate::finetune::Results;
use crate::job::Job;

/// The text, for a model with these `labels`.
pub(crate) fn readme(job: &Job<'_>, labels: &[String], results: &Results) -> String {
    let base = job
        .base
        .dir
        .file_name()
        .map_or("a base model".into(), |name| name.to_string_lossy());
    let name = job
        .output_dir
        .file_name()
        .map_or("model".into(), |name| name.to_string_lossy());
    let mut text = format!(
        "---\nlibrary_name: transformers\npipeline_tag: {}\ntags:\n- berth\n---\n\n\
         # {name}\n\n{base}, every parameter fine-tuned by Berth for {}.\n",
        pipeline(job.task),
        job.task
    );
    if !job.labels.is_empty() {
        section(
            &mut text,
            "Labels",
            labels
                .iter()
                .enumerate()
                .map(|(id, label)| (id.to_string(), label.clone())),
        );
    }
    let figures = results.all();
    section(
        &mut text,
        "Figures",
        figures
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string())),
    );
    let recipe = serde_json::to_value(job.recipe).unwrap_or_default();
    let settings = recipe
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    section(
        &mut text,
        "Recipe",
        settings.map(|(name, value)| (name.clone(), value.to_string())),
    );
    text
}

/// The Hub's name for the task.
fn pipeline(task: Task) -> &'static str {
    match task {
        Task::TokenClassification => "token-classification",
        Task::QuestionAnswering => "question-answering",
        _ => "text-classification",
    }
}

/// A heading and a table of two columns. A bar in a cell would end it.
fn section(text: &mut String, heading: &str, rows: impl Iterator<Item = (String, String)>) {
    let _ = write!(text, "\n## {heading}\n\n| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(
            text,
            "| {name} | {} |",
            value.replace('|', "\\|").replace('\n', " ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn cells_stay_in_their_row() {
        let mut text = String::new();
        section(
            &mut text,
            "Labels",
            [("0".to_owned(), "a|b\nc".to_owned())].into_iter(),
        );
        assert_eq!(text, "\n## Labels\n\n| | |\n|---|---|\n| 0 | a\\|b c |\n");
    }
}
