//! `berth export`: a checkpoint as ONNX, for other runtimes.
//!
//! The folder is one that `optimum` opens: both graphs, config.json, the tokenizer's files, and
//! training_args.json where the checkpoint has one. It appears whole or not at all; in a folder that is there the files
//! come beside what else it has, which may be the checkpoint itself.

use super::print;
use crate::args::ExportArgs;
use crate::error::Error;
use crate::model::open_checkpoint;
use crate::{interrupt, outputs, show};
use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::save::{Existing, Folder};
use berth_quantize::onnx::{Form, export};
use serde_json::{Map, Value, json};

/// The two graphs.
const FILES: [(&str, Form); 2] = [
    ("model.onnx", Form::F32),
    ("model_quantized.onnx", Form::Int8),
];

/// The model's card, copied where the checkpoint has one: a bundle made of the graph carries it too.
const CARD_FILE: &str = "README.md";

/// Exports, and prints what was written.
pub fn run(args: &ExportArgs) -> Result<(), Error> {
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let output = &args.output_dir;
    let taken = outputs::is_used(output)?;
    if taken && !args.overwrite_output_dir {
        let what =
            "not empty; name another --output_dir, or write into it by --overwrite_output_dir";
        return Err(Error::Path {
            path: output.clone(),
            what: what.into(),
        });
    }
    let _held = berth_trainer::hold(output)?;
    berth_trainer::tidy(output)?;
    // From here on the disk has something half-written.
    interrupt::listen();
    let mut folder = Folder::create(output)?;
    let mut sizes = Vec::new();
    for (name, form) in FILES {
        interrupt::check(output)?;
        let bytes = export(&checkpoint, args.task, form)?;
        folder.bytes(name, &bytes)?;
        sizes.push((name, bytes.len() as u64));
    }
    // The checkpoint's own folder has the rest.
    if !outputs::are_the_same(output, &args.checkpoint) {
        folder.json(CONFIG_FILE, &checkpoint.config.to_json())?;
        folder.tokenizer(&checkpoint.tokenizer_files()?, checkpoint.max_length())?;
        if let Some(training) = checkpoint.training_args() {
            folder.training_args(training)?;
        }
        if let Ok(card) = std::fs::read(args.checkpoint.join(CARD_FILE)) {
            folder.bytes(CARD_FILE, &card)?;
        }
    }
    interrupt::check(output)?;
    let existing = match args.overwrite_output_dir {
        true => Existing::Merge,
        false => Existing::Refuse,
    };
    let written = folder.commit(existing)?;
    if args.stdout.json {
        let files = sizes
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), json!(bytes)));
        return print(Value::Object(files.collect::<Map<_, _>>()));
    }
    let lines = sizes
        .iter()
        .map(|(name, bytes)| format!("{}: {}", written.join(name).display(), show::size(*bytes)));
    print(lines.collect::<Vec<_>>().join("\n"))
}
