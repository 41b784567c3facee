//! `berth quickstart`: the whole road on a shipped sample, from a base model to answers on sentences that
//! nobody trained on.
//!
//! A walk that was interrupted goes on when it is called again. What it makes it names in a file ([`folder`])
//! beforehand, so that it goes on in, and writes over, nothing that others made.

mod folder;
mod samples;

use super::ask::for_people;
use super::finetune::train;
use super::print;
use super::quantize::{Converted, comparison_table, convert, within};
use crate::args::{DEFAULT_MODEL, FinetuneArgs, QuantizeArgs, QuickstartArgs, with_usual};
use crate::error::Error;
use crate::{fetch, interrupt, show};
use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::tiny;
use berth_checkpoint::weights::WEIGHTS_FILE;
use berth_runtime::measure::{self, Report};
use berth_runtime::{Threads, counting};
use berth_task::Task;
use berth_trainer::Outcome;
use folder::claim;
use samples::Sample;
use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// How a walk goes on that was stopped.
const WAY: &str = "the same command goes on from there";

/// Lengths whose latency is shown, in pieces.
const LENGTHS: [usize; 3] = [16, 64, 128];

/// Walks the road.
pub fn run(args: &QuickstartArgs) -> Result<(), Error> {
    interrupt::listen();
    let road = Road::lay(args)?;
    step("1. base model");
    let base = road.base()?;
    eprintln!("{base}");

    step("2. fine-tune");
    let finetune = road.finetune_args(&base)?;
    if let Outcome::Interrupted { checkpoint, step } = train(&finetune)? {
        let saved = checkpoint.display();
        return Err(Error::Interrupted(format!(
            "stopped after step {step}, saved in {saved}; {WAY}"
        )));
    }

    step("3. quantize, and measure f32 and int8");
    let quantize = road.quantize_args()?;
    let converted = convert(&quantize).map_err(|error| within(error, WAY))?;
    converted.warn();
    if interrupt::asked() {
        let bundle = road.bundle.display();
        let what = format!("stopped, and {bundle} is written; {WAY}");
        return Err(Error::Interrupted(what));
    }

    if let Some(comparison) = &converted.comparison {
        print(comparison_table(comparison))?;
    }

    step("4. latency");
    let lengths = LENGTHS
        .into_iter()
        .filter(|length| !args.tiny || *length <= 64)
        .collect();
    let options = measure::Options {
        threads: Threads::default(),
        lengths,
        allocations: Some(counting::allocations),
        ..Default::default()
    };
    let report = measure::measure(&road.bundle, &options)?;

    print(summary(&road, &converted, &report)?)?;
    print(answers(&road)?)?;
    if args.tiny {
        print(
            "These answers mean nothing: --tiny trains a small random model to show the road.\n",
        )?;
    }
    print(next(&road))
}

/// Where everything of one walk lies.
struct Road {
    sample: &'static Sample,
    folder: PathBuf,
    model: PathBuf,
    bundle: PathBuf,
    tiny: bool,
    threads: u32,
}

impl Road {
    /// Writes the sample's files; the folder may be there from an earlier walk.
    ///
    /// # Errors
    /// As [`claim`], or where they can't be written.
    fn lay(args: &QuickstartArgs) -> Result<Self, Error> {
        let sample = Sample::of(args.task)?;
        let folder = args.output_dir.clone();
        claim(&folder, sample.makes(args.tiny))?;
        let data = sample.place(&folder);
        fs::create_dir_all(&data).map_err(|source| Error::file(&data, source))?;
        let kind = &sample.kind(args.tiny);
        let road = Road {
            sample,
            model: folder.join(kind),
            bundle: folder.join(kind).with_extension("berth"),
            tiny: args.tiny,
            threads: args.threads.unwrap_or(0),
            folder,
        };
        for (split, content) in sample.splits() {
            berth_checkpoint::save::write_file(road.data(split), content.as_bytes())?;
        }
        let origin = sample.origin_file(&road.folder);
        berth_checkpoint::save::write_file(origin, sample.origin().as_bytes())?;
        if let Some(passage) = sample.passage {
            let file = sample.passage_file(&road.folder);
            berth_checkpoint::save::write_file(file, passage.as_bytes())?;
        }
        Ok(road)
    }

    /// The file of a split of the sample.
    fn data(&self, split: &str) -> PathBuf {
        self.sample.file(&self.folder, split)
    }

    /// The base model's name or folder.
    fn base(&self) -> Result<String, Error> {
        if !self.tiny {
            let folder = fetch::resolve(DEFAULT_MODEL, &fetch::Options::from_environment())?;
            return Ok(folder.display().to_string());
        }
        let folder = self.model.with_extension("base");
        if !folder.join(CONFIG_FILE).exists() {
            tiny::create(&folder, 1, &frequent_words(self.sample.train, 800))?;
        }
        Ok(folder.display().to_string())
    }

    fn finetune_args(&self, base: &str) -> Result<FinetuneArgs, Error> {
        let [flag, learn] = self.sample.learn;
        let mut typed = ["berth", flag, learn].map(OsString::from).to_vec();
        let origin = self.sample.origin_file(&self.folder);
        for (flag, value) in [
            ("--config", origin.as_os_str()),
            ("--train_file", self.data("train").as_os_str()),
            ("--validation_file", self.data("dev").as_os_str()),
            ("--output_dir", self.model.as_os_str()),
            ("--model_name_or_path", base.as_ref()),
        ] {
            typed.extend([flag.into(), value.to_owned()]);
        }
        typed.extend(["--threads".into(), self.threads.to_string().into()]);
        typed.extend(self.sample.recipe.iter().map(OsString::from));
        if self.tiny {
            typed.extend(["--max_seq_length", "64", "--num_train_epochs", "1"].map(OsString::from));
            typed.extend(["--learning_rate", "1e-3"].map(OsString::from));
            if self.sample.task == Task::QuestionAnswering {
                typed.extend(["--doc_stride", "16"].map(OsString::from));
            }
        }
        if has_checkpoint(&self.model) {
            typed.extend(["--resume_from_checkpoint", "true"].map(OsString::from));
        } else {
            typed.push("--overwrite_output_dir".into());
        }
        with_usual(typed)
    }

    fn quantize_args(&self) -> Result<QuantizeArgs, Error> {
        let mut typed: Vec<OsString> = vec!["berth".into()];
        typed.push(self.model.clone().into());
        typed.extend(["--output".into(), self.bundle.clone().into()]);
        typed.extend(["--validation_file".into(), self.data("dev").into()]);
        with_usual(typed)
    }
}

/// Whether a walk was interrupted here, or has finished.
fn has_checkpoint(model: &Path) -> bool {
    let entries = fs::read_dir(model).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .into_iter()
        .any(|name| name.starts_with("checkpoint-"))
}

/// The words that occur most, most frequent first, equals in the order of the alphabet.
fn frequent_words(text: &str, most: usize) -> Vec<&str> {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let words = text
        .split(|c: char| !c.is_ascii_lowercase())
        .filter(|word| word.len() > 1);
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    let mut words: Vec<(&str, u32)> = counts.into_iter().collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    words.into_iter().take(most).map(|(word, _)| word).collect()
}

fn step(title: &str) {
    eprintln!("\n== {title}");
}

fn summary(road: &Road, converted: &Converted, report: &Report) -> Result<String, Error> {
    let weights = road.model.join(WEIGHTS_FILE);
    let f32_bytes = fs::metadata(&weights)
        .map_err(|source| Error::file(&weights, source))?
        .len();
    let mut rows = vec![
        vec!["checkpoint, f32".into(), show::size(f32_bytes)],
        vec!["bundle, int8".into(), show::size(converted.bytes)],
    ];
    for (tokens, latency) in &report.lengths {
        rows.push(vec![
            format!("latency p50, {tokens} tokens"),
            format!("{:.2} ms", latency.p50_ms),
        ]);
    }
    if let Some(memory) = report.peak_rss_mb {
        rows.push(vec![
            "peak memory of this program, training included".into(),
            format!("{memory:.0} MB"),
        ]);
    }
    if let Some(allocations) = report.allocations_per_query {
        rows.push(vec!["allocations a query".into(), allocations.to_string()]);
    }
    let table = show::table(&["", "measured"], &rows);
    Ok(format!(
        "\n{table}\n{} ({}), one thread\n",
        report.cpu, report.isa
    ))
}

/// What the bundle says of sentences that nobody trained on.
fn answers(road: &Road) -> Result<String, Error> {
    let mut session = berth_runtime::Model::open(&road.bundle)?.session()?;
    let passage = road.sample.passage;
    let mut lines = passage.map_or_else(String::new, |passage| format!("{passage}\n\n"));
    for text in road.sample.texts {
        let answer = for_people(&mut session, text, passage, None)?;
        lines.push_str(&format!("\"{text}\"\n{answer}\n\n"));
    }
    Ok(lines)
}

fn next(road: &Road) -> String {
    let path = |path: &Path| show::word(&path.display().to_string());
    let bundle = path(&road.bundle);
    let sample = road.sample;
    let task = sample.task;
    let (text, kind) = match task {
        Task::TextClassification => ("a gripping film", "csv"),
        Task::TokenClassification => (sample.texts[0], "conll"),
        Task::QuestionAnswering => (sample.texts[0], "json"),
        _ => (sample.texts[0], "csv"),
    };
    let passage = sample.passage.map(|_| sample.passage_file(&road.folder));
    let pair = passage.map_or_else(String::new, |file| format!(" @{}", path(&file)));
    let text = show::word(text);
    let recipe: String = road
        .sample
        .recipe
        .iter()
        .map(|flag| format!(" {flag}"))
        .collect();
    let program = this_program().map_or_else(String::new, |program| {
        format!("Here, `berth` is {}. ", path(&program))
    });
    format!(
        "To go on:\n\
         \n  berth ask {bundle} {text}{pair}\n\
         \n  berth finetune --task {task}{recipe} --train_file your.{kind} --validation_file your-dev.{kind} --output_dir your-model\n\
         \n  scp \"$(.ci/cross aarch64-unknown-linux-gnu | tail -n 1)\" {bundle} board:\n\
         \n{program}The last command works only in a checkout of Berth."
    )
}

/// How this program is to be typed; nothing where `berth` does it, or where it is not known.
fn this_program() -> Option<PathBuf> {
    let (program, current) = (env::current_exe().ok()?, env::current_dir().ok()?);
    typed(&program, &current, &env::var_os("PATH").unwrap_or_default())
}

/// How a program is typed in the folder `current`; nothing where it is the `berth` that the folders of `path` hold.
fn typed(program: &Path, current: &Path, path: &OsStr) -> Option<PathBuf> {
    let name = format!("berth{}", env::consts::EXE_SUFFIX);
    let found = env::split_paths(path)
        .map(|folder| folder.join(&name))
        .find(|found| found.is_file());
    let is_same = |found: PathBuf| match [found.as_path(), program].map(Path::canonicalize) {
        [Ok(found), Ok(program)] => found == program,
        _ => false,
    };
    if found.is_some_and(is_same) {
        return None;
    }
    Some(match program.strip_prefix(current) {
        Ok(below) if below.components().count() > 1 => below.to_owned(),
        // A bare name would be looked for in PATH.
        Ok(name) => Path::new(".").join(name),
        Err(_) => program.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::samples::SAMPLES;
    use super::*;
    use crate::config::published;

    fn args(folder: &Path, task: Task, tiny: bool) -> QuickstartArgs {
        QuickstartArgs {
            task,
            output_dir: folder.to_owned(),
            tiny,
            threads: None,
        }
    }

    #[test]
    fn a_samples_licence_is_told_of_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        for sample in SAMPLES {
            let folder = dir.path().join(sample.name);
            let road = Road::lay(&args(&folder, sample.task, true)).unwrap();
            let finetune = road.finetune_args("base").unwrap();
            let (config, train) = (finetune.config.unwrap(), finetune.train_file.unwrap());
            let told = published::origin(&config, Some(&train), None, &train).unwrap();
            assert_eq!(told.licence.as_deref(), Some(sample.licence));
            assert_eq!(told.home.as_deref(), Some(sample.home));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_folder_as_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["with blanks", "it's $HOME"] {
            let folder = dir.path().join(name);
            let road = Road::lay(&args(&folder, Task::QuestionAnswering, true)).unwrap();
            let text = next(&road);
            let ask = text.lines().find_map(|line| line.strip_prefix("  berth "));
            let command = format!("printf '%s\\n' {}", ask.unwrap());
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .output()
                .unwrap();
            let passage = road.sample.passage_file(&folder);
            let (bundle, passage) = (road.bundle.display(), passage.display());
            let question = road.sample.texts[0];
            assert_eq!(
                String::from_utf8(output.stdout).unwrap(),
                format!("ask\n{bundle}\n{question}\n@{passage}\n")
            );
        }
    }

    #[test]
    fn the_program_is_named_as_it_is_typed() {
        let dir = tempfile::tempdir().unwrap();
        let [bin, other] = ["bin", "other"].map(|name| dir.path().join(name));
        let name = format!("berth{}", env::consts::EXE_SUFFIX);
        for folder in [&bin, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(&name), "").unwrap();
        }
        let program = bin.join(&name);
        let nowhere = OsStr::new("");
        for (current, expected) in [
            (dir.path(), Path::new("bin").join(&name)),
            (bin.as_path(), Path::new(".").join(&name)),
            (other.as_path(), program.clone()),
        ] {
            assert_eq!(typed(&program, current, nowhere), Some(expected));
        }
        for (folders, is_told) in [
            ([&bin, &other], false),
            ([&other, &bin], true),
            ([&other, &other], true),
        ] {
            let path = env::join_paths(folders).unwrap();
            let told = typed(&program, dir.path(), &path);
            assert_eq!(told.is_some(), is_told, "{folders:?}");
        }
    }

    #[test]
    fn three_commands_to_paste_stand_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        for sample in SAMPLES {
            let folder = dir.path().join(sample.name);
            let road = Road::lay(&args(&folder, sample.task, true)).unwrap();
            let text = next(&road);
            let commands: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("  "))
                .collect();
            let [ask, finetune, copy] = commands[..] else {
                panic!("{text}")
            };
            let bundle = road.bundle.display().to_string();
            assert!(ask.starts_with(&format!("berth ask {bundle} ")), "{ask}");
            let file = ask.split_once(" @").map(|(_, file)| file);
            let passage = file.map(|file| fs::read_to_string(file).unwrap());
            assert_eq!(passage.as_deref(), sample.passage);
            assert!(finetune.starts_with("berth finetune --task "), "{finetune}");
            let build = "scp \"$(.ci/cross aarch64-unknown-linux-gnu | tail -n 1)\"";
            assert_eq!(copy, format!("{build} {bundle} board:"));
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert!(root.join(".ci/cross").is_file());
    }
}
