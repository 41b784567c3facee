//! `logits CHECKPOINT TEXTS`: the f32 logits of a fine-tuned checkpoint, one JSON array for each line
//! of the file TEXTS. `tests/reference/interop.py` holds them against those of `transformers`.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use berth_checkpoint::{Checkpoint, tokenizer};
use berth_data::{EncodeOptions, Example, encode_all};
use berth_task::Task;
use berth_trainer::Predictor;
use berth_wordpiece::Tokenizer;

const BATCH: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, texts] = arguments.as_slice() else {
        return Err("usage: logits CHECKPOINT TEXTS".into());
    };
    let checkpoint = Checkpoint::open(folder)?;
    let tables = tokenizer::tables(Path::new(folder))?;
    let tokenizer = Tokenizer::new(&tables)?;
    let example = |(line, text): (usize, &str)| Example {
        text: text.to_owned(),
        line: line as u64 + 1,
        ..Example::default()
    };
    let text = fs::read_to_string(texts)?;
    let examples: Vec<Example> = text.lines().enumerate().map(example).collect();
    let task = Task::TextClassification;
    let limit = checkpoint.max_length();
    let rows = encode_all(&tokenizer, &EncodeOptions::new(task, limit), &examples)?;
    for logits in Predictor::load(&checkpoint, task)?.logits(&rows, BATCH)? {
        writeln!(stdout(), "{}", serde_json::to_string(&logits)?)?;
    }
    Ok(())
}
