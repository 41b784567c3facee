//! `logits CHECKPOINT TEXTS`: the f32 logits of a fine-tuned checkpoint, one JSON array for each line
//! of the file TEXTS. `logits CHECKPOINT SENTENCES token-classification`: for each sentence of a
//! tagged file an object with the `logits`, one piece after the other, and with the positions of the
//! `first` pieces of its words. `tests/reference/interop.py` holds them against those of
//! `transformers`.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use berth_checkpoint::{Checkpoint, tokenizer};
use berth_data::{EncodeOptions, Encoded, Example, Source, Target, encode_all};
use berth_task::Task;
use berth_trainer::Predictor;
use berth_wordpiece::Tokenizer;
use serde_json::json;

const BATCH: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (folder, file, task) = match arguments.as_slice() {
        [folder, file] => (folder, file, Task::TextClassification),
        [folder, file, task] => (folder, file, task.parse()?),
        _ => return Err("usage: logits CHECKPOINT FILE [TASK]".into()),
    };
    let checkpoint = Checkpoint::open(folder)?;
    let examples = examples(&checkpoint, file, task)?;
    let tables = tokenizer::tables(Path::new(folder))?;
    let tokenizer = Tokenizer::new(&tables)?;
    let limit = checkpoint.max_length();
    let rows = encode_all(&tokenizer, &EncodeOptions::new(task, limit), &examples)?;
    let logits = Predictor::load(&checkpoint, task)?.logits(&rows, BATCH)?;
    for (row, logits) in rows.iter().zip(logits) {
        let line = match task {
            Task::TokenClassification => json!({"logits": logits, "first": firsts(row)}),
            _ => json!(logits),
        };
        writeln!(stdout(), "{line}")?;
    }
    Ok(())
}

/// The lines of a file of texts, or the sentences of a tagged one.
fn examples(
    checkpoint: &Checkpoint,
    file: &str,
    task: Task,
) -> Result<Vec<Example>, Box<dyn Error>> {
    if task == Task::TokenClassification {
        let mut source = Source::new(file, task);
        source.labels = Some(checkpoint.config.id2label.clone());
        return Ok(berth_data::read(&source)?.examples);
    }
    let example = |(line, text): (usize, &str)| Example {
        text: text.to_owned(),
        line: line as u64 + 1,
        ..Example::default()
    };
    let text = fs::read_to_string(file)?;
    Ok(text.lines().enumerate().map(example).collect())
}

/// The positions of the pieces that are asked about.
fn firsts(row: &Encoded) -> Vec<usize> {
    let Target::Classes(classes) = &row.target else {
        return Vec::new();
    };
    let asked = classes.iter().enumerate();
    let asked = asked.filter_map(|(at, class)| class.map(|_| at));
    asked.collect()
}
