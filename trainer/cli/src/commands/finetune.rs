//! `berth finetune`: from a labelled file to a checkpoint, or to one for each seed.
//!
//! [`lessons`] reads what is learned from, [`several`] runs it with several seeds, [`report`] tells what it was made
//! of and leaves the page, [`record`] writes down what came of it in f32 and in int8.

mod lessons;
mod record;
mod report;
mod several;

use super::{print, use_threads};
use crate::args::FinetuneArgs;
use crate::error::Error;
use crate::{interrupt, seeds, show};
use berth_runtime::measure::peak_rss_mb;
use berth_trainer::model::OldClassifier;
use berth_trainer::{Control, Observer, Outcome, Start, StepInfo, TrainError};
use comfy_table::Table;
use indicatif::ProgressBar;
use lessons::Lessons;
use serde_json::{Map, Value};
use std::path::Path;

/// Fine-tunes and prints the results.
pub fn run(args: &FinetuneArgs) -> Result<(), Error> {
    interrupt::listen();
    let is_several = !args.seeds.is_empty();
    if is_several {
        several::prepare(args)?;
    }
    record::check(args)?;
    if args.recipe.threads > 0 {
        use_threads(Some(args.recipe.threads))?;
    }
    let lessons = Lessons::read(args)?;
    let all = match is_several {
        true => several::train(args, &lessons)?,
        false => train_one(args, &lessons)?,
    };
    if let Some(mb) = peak_rss_mb() {
        show::note(format!("peak memory {mb:.0} MB"));
    }
    // What was trained is told, whether its bundle passes the gate or not.
    let recorded = match record::write(args, &lessons) {
        Err(error) if !matches!(error, Error::Gate(_)) => return Err(error),
        recorded => recorded,
    };
    if args.switches.json {
        print(Value::Object(all))?;
        return recorded.map(drop);
    }
    print(results(&all))?;
    if let Some(table) = recorded? {
        print(table)?;
    }
    print(args.output_dir.display())
}

/// The figures of one run or of several, for people.
fn results(all: &Map<String, Value>) -> Table {
    let spread = seeds::rows(all);
    if !spread.is_empty() {
        return show::table(&["result", "mean ± deviation", "each"], &spread);
    }
    let row = |(name, value): (&String, &Value)| vec![name.clone(), short(value)];
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    show::table(&["result", "value"], &rows)
}

/// Fine-tunes once; the figures, those that are there where the run had finished before.
fn train_one(args: &FinetuneArgs, lessons: &Lessons<'_>) -> Result<Map<String, Value>, Error> {
    let output = &args.output_dir;
    let outcome = lessons.train(args.recipe.seed, output, start(args))?;
    figures_of(args, lessons, output, outcome, "; nothing to do")
}

/// The figures that a run came to, those that are there where it had finished before; then that is said, with `so`
/// behind it.
fn figures_of(
    args: &FinetuneArgs,
    lessons: &Lessons<'_>,
    folder: &Path,
    outcome: Outcome,
    so: &str,
) -> Result<Map<String, Value>, Error> {
    match outcome {
        Outcome::Finished(results) => {
            let mut all = results.all();
            lessons.measure_mismatched(folder, &mut all)?;
            Ok(all)
        }
        Outcome::AlreadyFinished => {
            show::note(format!("{}: this run has finished{so}", folder.display()));
            lessons.all_figures(folder)
        }
        Outcome::Interrupted { checkpoint, step } => Err(interrupted(args, &checkpoint, step)),
    }
}

/// Reads, encodes, trains.
///
/// # Errors
/// At the first thing that is wrong; what a flag asks for is checked before anything is fetched.
pub fn train(args: &FinetuneArgs) -> Result<Outcome, Error> {
    let lessons = Lessons::read(args)?;
    lessons.train(args.recipe.seed, &args.output_dir, start(args))
}

fn interrupted(args: &FinetuneArgs, checkpoint: &Path, step: u64) -> Error {
    let at = checkpoint.display();
    let output = show::word(&args.output_dir.display().to_string());
    let flags = match start(args) {
        // It was stopped before it had one of its own.
        Start::ResumeFrom(from) | Start::OverwriteFrom(from) if from == checkpoint => String::new(),
        _ => format!(" and --resume_from_checkpoint true --output_dir {output}"),
    };
    Error::Interrupted(format!(
        "stopped after step {step}, saved in {at}; go on with the same command{flags}"
    ))
}

/// That Ctrl-C has not asked to stop before there is a step to save.
///
/// # Errors
/// If it has.
fn check_interrupt() -> Result<(), Error> {
    interrupt::check_before("a step was made; the same command begins again")
}

fn start(args: &FinetuneArgs) -> Start {
    match args.resume_from_checkpoint.as_deref() {
        Some("true") => Start::ResumeNewest,
        Some("false") | None if args.switches.overwrite_output_dir => Start::Overwrite,
        Some("false") | None => Start::Fresh,
        Some(folder) if args.switches.overwrite_output_dir => Start::OverwriteFrom(folder.into()),
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

/// Draws the run on stderr, or writes its log there where no bar can be drawn, and passes Ctrl-C on.
struct Progress {
    bar: Option<ProgressBar>,
    /// That of an evaluation before the first step or after the last.
    evaluating: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        Progress {
            bar: None,
            evaluating: None,
        }
    }

    fn control() -> Control {
        match interrupt::asked() {
            true => Control::Stop,
            false => Control::Continue,
        }
    }
}

/// The log's line of a step, with the mean loss since the one before.
fn logged(step: &StepInfo, loss: f64) -> String {
    let StepInfo {
        learning_rate: rate,
        grad_norm: norm,
        ..
    } = step;
    let (done, of) = (step.step, step.total_steps);
    format!("step {done} of {of}: loss {loss:.4}, learning_rate {rate:.3e}, grad_norm {norm:.4}")
}

impl Observer for Progress {
    fn on_begin(&mut self, done: u64, of: u64) {
        self.bar = Some(show::progress_from(done, of, "training"));
    }

    fn on_step(&mut self, step: &StepInfo) -> Control {
        if let Some(bar) = &self.bar {
            bar.set_position(step.step);
            bar.set_message(format!(
                "loss {:.4}  {:.0} tokens/s",
                step.loss, step.tokens_per_second
            ));
            if step.step == step.total_steps {
                bar.finish_and_clear();
            }
        }
        Self::control()
    }

    fn on_log(&mut self, step: &StepInfo, loss: f64) {
        if self.bar.as_ref().is_some_and(ProgressBar::is_hidden) {
            show::note(logged(step, loss));
        }
    }

    fn on_evaluating(&mut self, done: usize, of: usize) -> Control {
        match self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            Some(bar) => bar.set_message(format!("evaluating {done}/{of}")),
            None => {
                let begin = || show::progress(of as u64, "evaluating");
                let bar = self.evaluating.get_or_insert_with(begin);
                bar.set_position(done as u64);
            }
        }
        let control = Self::control();
        if (done == of || control == Control::Stop)
            && let Some(bar) = self.evaluating.take()
        {
            bar.finish_and_clear();
        }
        control
    }

    fn on_evaluate(&mut self, step: u64, metrics: &[(String, f64)]) {
        let figures: Vec<String> = metrics
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        show::note(format!("step {step}: {}", figures.join("  ")));
    }

    fn on_save(&mut self, checkpoint: &Path) {
        show::note(format!("saved {}", checkpoint.display()));
    }

    fn on_early_stop(&mut self, step: u64, evaluations: u32) {
        show::note(format!(
            "stopped early at step {step}: no better for {evaluations} evaluations"
        ));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn on_damaged(&mut self, problem: &TrainError) {
        show::note(format!("warning: {problem}; an older checkpoint is tried"));
    }

    fn on_old_classifier(&mut self, labels: &[String], became: OldClassifier) {
        let labels = labels.join(", ");
        show::note(match became {
            OldClassifier::Reordered => format!(
                "the base model's classifier is for the same labels in another order ({labels}); \
                 each keeps its weights"
            ),
            OldClassifier::Numbered => format!(
                "the base model's classifier is for the labels {labels}; the numbers here are taken \
                 for these, from 0 on"
            ),
            OldClassifier::Replaced => format!(
                "the base model's classifier is for other labels ({labels}); a fresh one is trained"
            ),
        });
    }

    fn on_resume(&mut self, checkpoint: &Path, step: u64) {
        show::note(format!(
            "going on from {}, step {step}",
            checkpoint.display()
        ));
    }

    fn on_changed(&mut self, setting: &str, then: &str, now: &str) {
        show::note(format!(
            "warning: --{setting} was {then} until here and is {now} from here on"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::with_usual;
    use std::ffi::OsString;

    #[test]
    fn an_evaluation_is_shown_as_it_goes_on() {
        let step = |step| StepInfo {
            step,
            total_steps: 2,
            epoch: 0.5,
            loss: 1.0,
            learning_rate: 1e-3,
            grad_norm: 1.0,
            tokens: 8,
            tokens_per_second: 8.0,
        };
        let mut progress = Progress::new();
        let alone = |progress: &Progress| {
            let bar = progress.evaluating.as_ref()?;
            Some((bar.position(), bar.length()?, bar.prefix()))
        };
        // After the last step, as before the first, it has a bar of its own.
        let by_itself = |progress: &mut Progress| {
            for (done, shown) in [(0, true), (4, true), (9, false)] {
                assert_eq!(progress.on_evaluating(done, 9), Control::Continue);
                let bar = (done as u64, 9, "evaluating".to_owned());
                assert_eq!(alone(progress), shown.then_some(bar));
            }
        };
        by_itself(&mut progress);
        progress.on_begin(0, 2);
        progress.on_step(&step(1));
        assert_eq!(progress.on_evaluating(4, 9), Control::Continue);
        let message = progress.bar.as_ref().map(ProgressBar::message);
        assert_eq!(message.as_deref(), Some("evaluating 4/9"));
        assert_eq!(alone(&progress), None);
        progress.on_step(&step(2));
        by_itself(&mut progress);
    }

    #[test]
    fn the_bar_is_there_before_the_first_step() {
        let mut progress = Progress::new();
        progress.on_begin(3, 8);
        let bar = progress.bar.expect("a bar");
        assert_eq!((bar.position(), bar.length()), (3, Some(8)));
        assert!(!bar.is_finished());
        // What was done before this run says nothing of its pace.
        assert_eq!(bar.per_sec(), 0.0);
    }

    #[test]
    fn a_logged_step_is_a_line() {
        let step = StepInfo {
            step: 10,
            total_steps: 40,
            epoch: 0.5,
            loss: 9.0,
            learning_rate: 2e-5,
            grad_norm: 1.25,
            tokens: 8,
            tokens_per_second: 8.0,
        };
        assert_eq!(
            logged(&step, 0.5),
            "step 10 of 40: loss 0.5000, learning_rate 2.000e-5, grad_norm 1.2500"
        );
    }

    #[test]
    fn the_way_to_go_on_is_typed_as_it_is_printed() {
        for (folder, typed) in [("out", "out"), ("c d", "\"c d\""), ("$a", "'$a'")] {
            let line = ["berth", "--task_name", "sst2", "--output_dir", folder];
            let line = line.map(OsString::from).to_vec();
            let args: FinetuneArgs = with_usual(line).expect("arguments");
            let said = interrupted(&args, Path::new("c d/checkpoint-3"), 3).to_string();
            let way = format!(" and --resume_from_checkpoint true --output_dir {typed}");
            assert!(said.ends_with(&way), "{said}");
        }
    }
}
