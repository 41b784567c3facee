//! `berth finetune`: from a labelled file to a checkpoint.

mod report;

use super::evaluate::{Files, LabelledFile, measure};
use super::print;
use crate::args::FinetuneArgs;
use crate::error::Error;
use crate::model::Model;
use crate::sources::Known;
use crate::{fetch, interrupt, show};
use berth_checkpoint::Checkpoint;
use berth_checkpoint::save::write_file;
use berth_data::{Dataset, EncodeOptions, Encoded, encode_all, unasked_words};
use berth_runtime::measure::peak_rss_mb;
use berth_trainer::imbalance::{ClassWeights, Computed};
use berth_trainer::{Control, Job, Observer, Outcome, Recipe, Results, Start, StepInfo, finetune};
use berth_wordpiece::Tokenizer;
use indicatif::ProgressBar;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Fine-tunes and prints the results.
pub fn run(args: &FinetuneArgs) -> Result<(), Error> {
    interrupt::listen();
    let results = match train(args)? {
        Outcome::Finished(mut results) => {
            measure_mismatched(args, &mut results)?;
            results
        }
        Outcome::AlreadyFinished => {
            let output = args.output_dir.display();
            show::note(format!("{output}: this run has finished; nothing to do"));
            return Ok(());
        }
        Outcome::Interrupted { checkpoint, step } => {
            let (at, output) = (checkpoint.display(), args.output_dir.display());
            return Err(Error::Interrupted(format!(
                "stopped after step {step}, saved in {at}; go on with the same command and \
                 --resume_from_checkpoint true --output_dir {output}"
            )));
        }
    };
    if let Some(mb) = peak_rss_mb() {
        show::note(format!("peak memory {mb:.0} MB"));
    }
    let all = results.all();
    if args.switches.json {
        return print(Value::Object(all));
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(name, value)| vec![name.clone(), short(value)])
        .collect();
    print(show::table(&["result", "value"], &rows))?;
    print(args.output_dir.display())
}

/// Reads, encodes, trains.
///
/// # Errors
/// At the first thing that is wrong; what a flag asks for is checked before anything is fetched.
pub fn train(args: &FinetuneArgs) -> Result<Outcome, Error> {
    let recipe = recipe(args)?;
    let known = Known::new(&args.data, None)?;
    let (train_file, dev_files) = files(args, &known)?;
    let mut train = berth_data::read(&known.source(&train_file)?)?;
    train
        .examples
        .truncate(args.max_train_samples.unwrap_or(usize::MAX));
    let misplaced = train.misplaced();
    train.examples.retain(|example| !example.is_misplaced());
    if misplaced > 0 {
        show::note(format!(
            "{}: {misplaced} questions left out, whose answers are not where answer_start says",
            train.path.display()
        ));
    }
    let dev = dev_files
        .first
        .map(|file| read_dev(&known, &file, &train, args))
        .transpose()?;

    let folder = fetch::resolve(
        &args.model_name_or_path,
        &fetch::Options::from_environment(),
    )?;
    let base = Checkpoint::open(&folder)?;
    let usual = known.usual_length();
    let limit = known.max_seq_length(usual.min(base.config.max_position_embeddings));
    for dataset in [Some(&train), dev.as_ref()].into_iter().flatten() {
        known.check(dataset, limit)?;
    }
    let tables = berth_checkpoint::tokenizer::tables(&folder)?;
    let wrong = |what: String| Error::Model {
        path: folder.clone(),
        what,
    };
    let tokenizer = Tokenizer::new(&tables).map_err(|error| wrong(error.to_string()))?;
    let options = known.encoding(limit);
    let encode = |data: &Dataset| encode(&tokenizer, &options, data).map_err(&wrong);
    let encoded = encode(&train)?;
    let encoded_dev = dev.as_ref().map(encode).transpose()?;
    let dev = dev.as_ref().zip(encoded_dev.as_ref());

    let mut training_args = known.training_args(limit, &train.spellings);
    let named = &args.model_name_or_path;
    training_args.provenance = Some(report::provenance(
        named,
        &base,
        &train,
        dev.map(|(data, _)| data),
    )?);
    let job = Job {
        base: &base,
        task: known.task,
        labels: &train.labels,
        train: &encoded,
        dev: dev.map(|(data, inputs)| known.evaluator(data, inputs)),
        recipe: &recipe,
        output_dir: &args.output_dir,
        training_args,
        start: start(args),
    };
    let outcome = finetune(&job, &mut Progress::new())?;
    if let Outcome::Finished(results) = &outcome {
        report::write_page(&job, results)?;
    }
    Ok(outcome)
}

/// Measures the result on the second file of a data set that has one, and tells it with the rest.
fn measure_mismatched(args: &FinetuneArgs, results: &mut Results) -> Result<(), Error> {
    let known = Known::new(&args.data, None)?;
    let Some(file) = files(args, &known)?.1.second else {
        return Ok(());
    };
    let model = Model::open(&args.output_dir)?;
    let rows = LabelledFile::read(&model, &file, &args.data, args.max_eval_samples)?;
    let batch = args.recipe.per_device_eval_batch_size as usize;
    let measured = measure(&model, &rows, batch)?;
    results.eval.extend(measured.report_mismatched());
    for (name, figures) in [
        ("eval_results.json", &results.eval),
        ("all_results.json", &results.all()),
    ] {
        let text = serde_json::to_string_pretty(figures).unwrap_or_default() + "\n";
        write_file(args.output_dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// The trainer's recipe, from the flags of the same names.
fn recipe(args: &FinetuneArgs) -> Result<Recipe, Error> {
    if args.device != "cpu" {
        let device = &args.device;
        return Err(Error::Usage(format!(
            "--device {device} is not there yet; training runs on cpu"
        )));
    }
    if !args.switches.do_train {
        let what = "--do_train false leaves nothing to do; berth evaluate measures a checkpoint";
        return Err(Error::Usage(what.into()));
    }
    let named = serde_json::to_value(&args.recipe);
    let mut recipe: Recipe = named
        .and_then(serde_json::from_value)
        .map_err(|error| Error::Usage(format!("the recipe: {error}")))?;
    recipe.bf16 = args.switches.bf16;
    let weights = args.recipe.class_weights.as_deref();
    recipe.class_weights = weights.map(class_weights).transpose()?;
    let measured = args.validation_file.is_some() || args.data_dir.is_some();
    if !measured || !args.switches.do_eval {
        recipe.eval_strategy = berth_trainer::recipe::Strategy::No;
        if args.recipe.load_best_model_at_end {
            let what = "--load_best_model_at_end needs a --validation_file to tell which is best";
            return Err(Error::Usage(what.into()));
        }
        if args.recipe.early_stopping_patience.is_some() {
            let what = "--early_stopping_patience needs a --validation_file to tell when to stop";
            return Err(Error::Usage(what.into()));
        }
    }
    recipe
        .check()
        .map_err(|error| Error::Usage(error.to_string()))?;
    Ok(recipe)
}

/// `balanced`, or what a JSON file says.
fn class_weights(flag: &str) -> Result<ClassWeights, Error> {
    if flag == "balanced" {
        return Ok(ClassWeights::Computed(Computed::Balanced));
    }
    let text = std::fs::read_to_string(flag).map_err(|source| Error::file(flag, source))?;
    let wrong = |line: usize, what: &str| Error::Setting {
        path: flag.into(),
        line,
        what: what.to_owned(),
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(error.line(), &format!("no JSON: {error}")))?;
    serde_json::from_value(value).map_err(|_| {
        let what = "class weights are an object {\"label\": weight} or a list of weights in the labels' order";
        wrong(1, what)
    })
}

/// The file to learn from, and those to measure on.
fn files(args: &FinetuneArgs, known: &Known) -> Result<(PathBuf, Files), Error> {
    let folder = args.data_dir.as_deref();
    let dev = match args.switches.do_eval {
        true => Files::find(known.task_name, args.validation_file.as_deref(), folder)?,
        false => Files::default(),
    };
    let named = folder.zip(known.task_name);
    let train = match (&args.train_file, named) {
        (Some(file), _) => file.clone(),
        (None, Some((folder, name))) => name.train_file(folder)?,
        (None, None) => {
            return Err(Error::Usage(
                "nothing to learn from: give --train_file, or --task_name with --data_dir".into(),
            ));
        }
    };
    Ok((train, dev))
}

fn read_dev(
    known: &Known,
    file: &Path,
    train: &Dataset,
    args: &FinetuneArgs,
) -> Result<Dataset, Error> {
    let mut source = known.labelled(file, &train.labels)?;
    source.spellings = train.spellings.clone();
    let mut dev = berth_data::read(&source)?;
    dev.examples
        .truncate(args.max_eval_samples.unwrap_or(usize::MAX));
    Ok(dev)
}

fn encode(
    tokenizer: &Tokenizer<'_>,
    options: &EncodeOptions,
    data: &Dataset,
) -> Result<Vec<Encoded>, String> {
    let limit = options.limit;
    let encoded = encode_all(tokenizer, options, &data.examples);
    let encoded = encoded.map_err(|error| error.to_string())?;
    let cut = encoded.iter().filter(|row| row.truncated > 0).count();
    let (path, all) = (data.path.display(), data.examples.len());
    let unlabelled = match data.unlabelled {
        0 => String::new(),
        left_out => format!(", {left_out} without a label left out"),
    };
    let cut = if cut > 0 {
        format!(", {cut} cut to {limit} pieces")
    } else {
        String::new()
    };
    let words = match unasked_words(&data.examples, &encoded) {
        0 => String::new(),
        words => format!(", {words} words without a piece to learn from"),
    };
    show::note(format!("{path}: {all} rows{unlabelled}{cut}{words}"));
    Ok(encoded)
}

fn start(args: &FinetuneArgs) -> Start {
    match args.resume_from_checkpoint.as_deref() {
        Some("true") => Start::ResumeNewest,
        Some("false") | None if args.switches.overwrite_output_dir => Start::Overwrite,
        Some("false") | None => Start::Fresh,
        Some(folder) => Start::ResumeFrom(folder.into()),
    }
}

/// A value as people read it.
fn short(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 => format!("{number:.4}"),
        _ => value.to_string(),
    }
}

/// Draws the run on stderr, and passes Ctrl-C on.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        Progress { bar: None }
    }

    /// A line that stays, above the bar.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| show::note(line)),
            None => show::note(line),
        }
    }
}

impl Observer for Progress {
    fn on_step(&mut self, step: &StepInfo) -> Control {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = show::progress(step.total_steps, "training");
            bar.set_position(step.step - 1);
            bar.reset_eta();
            bar
        });
        bar.set_position(step.step);
        bar.set_message(format!(
            "loss {:.4}  {:.0} tokens/s",
            step.loss, step.tokens_per_second
        ));
        if step.step == step.total_steps {
            bar.finish_and_clear();
        }
        if interrupt::asked() {
            Control::Stop
        } else {
            Control::Continue
        }
    }

    fn on_evaluate(&mut self, step: u64, metrics: &[(String, f64)]) {
        let figures: Vec<String> = metrics
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        self.say(&format!("step {step}: {}", figures.join("  ")));
    }

    fn on_save(&mut self, checkpoint: &Path) {
        self.say(&format!("saved {}", checkpoint.display()));
    }

    fn on_early_stop(&mut self, step: u64, evaluations: u32) {
        self.say(&format!(
            "stopped early at step {step}: no better for {evaluations} evaluations"
        ));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn on_resume(&mut self, checkpoint: &Path, step: u64) {
        self.say(&format!(
            "going on from {}, step {step}",
            checkpoint.display()
        ));
    }
}
