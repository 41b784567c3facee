//! `berth quickstart`: the whole road on a shipped sample, from a base model to answers on sentences that
//! nobody trained on.
//!
//! A walk that was interrupted goes on when it is called again. What it makes it names in a file ([`MARKER`])
//! beforehand, so that it goes on in, and writes over, nothing that others made.

use super::ask::for_people;
use super::finetune::train;
use super::print;
use super::quantize::{Converted, comparison_table, convert, within};
use crate::args::{DEFAULT_MODEL, FinetuneArgs, QuantizeArgs, QuickstartArgs, normalize};
use crate::error::Error;
use crate::{fetch, interrupt, show};
use berth_checkpoint::{hex, tiny};
use berth_runtime::measure::{self, Report};
use berth_runtime::{Threads, counting};
use berth_task::Task;
use berth_trainer::Outcome;
use clap::Args;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a walk learns from, and asks at its end.
struct Sample {
    /// The application.
    task: Task,
    /// The flag that says what to learn, and its value.
    learn: [&'static str; 2],
    /// Flags of the recipe that are not as usual.
    recipe: &'static [&'static str],
    /// The bundle's name.
    name: &'static str,
    extension: &'static str,
    train: &'static str,
    dev: &'static str,
    /// Texts of our own, in no file.
    texts: [&'static str; 3],
    /// What they are questions on, where they are.
    passage: Option<&'static str>,
    /// Where the files were taken from.
    home: &'static str,
    /// Under what they may be used.
    licence: &'static str,
}

/// 4,000 and 1,000 sentences of Sentence Polarity 1.0 (CC BY 4.0, Bo Pang and Lillian Lee).
const MR: Sample = Sample {
    task: Task::TextClassification,
    learn: ["--task_name", "mr"],
    recipe: &[],
    name: "sentiment",
    home: "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    licence: "CC BY 4.0, by Bo Pang and Lillian Lee",
    extension: "tsv",
    train: include_str!("../../../../models/mr/train.tsv"),
    dev: include_str!("../../../../models/mr/dev.tsv"),
    texts: [
        "a gripping film with a big heart and not one wasted minute",
        "two hours of shouting that add up to nothing at all",
        "it starts slowly, but the last half hour is worth the wait",
    ],
    passage: None,
};

/// 2,000 and 500 sentences of UD English EWT (CC BY-SA 4.0, see `models/ud_ewt`).
const UD_EWT: Sample = Sample {
    task: Task::TokenClassification,
    learn: ["--task", "token-classification"],
    recipe: &[],
    name: "parts-of-speech",
    home: "https://github.com/UniversalDependencies/UD_English-EWT",
    licence: "CC BY-SA 4.0",
    extension: "conll",
    train: include_str!("../../../../models/ud_ewt/train.conll"),
    dev: include_str!("../../../../models/ud_ewt/dev.conll"),
    texts: [
        "John Smith 's car is new",
        "The old can can hold the sand.",
        "She will book a flight, or read a book.",
    ],
    passage: None,
};

/// 1,500 and 200 questions of SQuAD 1.1 (CC BY-SA 4.0, see `models/squad`).
const SQUAD: Sample = Sample {
    task: Task::QuestionAnswering,
    learn: ["--task", "question-answering"],
    // So few questions need many small steps.
    recipe: &[
        "--per_device_train_batch_size",
        "8",
        "--learning_rate",
        "2e-4",
    ],
    name: "answers",
    home: "https://rajpurkar.github.io/SQuAD-explorer/",
    licence: "CC BY-SA 4.0",
    extension: "json",
    train: include_str!("../../../../models/squad/train.json"),
    dev: include_str!("../../../../models/squad/dev.json"),
    texts: [
        "When was the lighthouse built?",
        "Who paid for the new lamp?",
        "How far can the light be seen?",
    ],
    passage: Some(
        "The old lighthouse stands on a rock in the bay. It was built in 1847 by two brothers from the \
         village, and for sixty years it burned oil. In 1908 the harbour company paid for a new lamp. \
         On a clear night its light can be seen from eighteen miles away.",
    ),
};

/// 1,600 and 400 pairs made of SQuAD 1.1 (CC BY-SA 4.0, see `models/squad_pairs`).
const SQUAD_PAIRS: Sample = Sample {
    task: Task::TextPairClassification,
    learn: ["--task", "text-pair-classification"],
    recipe: &[],
    name: "answerable",
    home: "https://rajpurkar.github.io/SQuAD-explorer/",
    licence: "CC BY-SA 4.0",
    extension: "tsv",
    train: include_str!("../../../../models/squad_pairs/train.tsv"),
    dev: include_str!("../../../../models/squad_pairs/dev.tsv"),
    texts: [
        "When was the lighthouse built?",
        "How far can the light be seen?",
        "Who was the first keeper of the lighthouse?",
    ],
    passage: SQUAD.passage,
};

/// All of them.
const SAMPLES: [&Sample; 4] = [&MR, &UD_EWT, &SQUAD, &SQUAD_PAIRS];

impl Sample {
    fn of(task: Task) -> Result<&'static Self, Error> {
        match task {
            Task::TextClassification => Ok(&MR),
            Task::TextPairClassification => Ok(&SQUAD_PAIRS),
            Task::TokenClassification => Ok(&UD_EWT),
            Task::QuestionAnswering => Ok(&SQUAD),
            Task::TextPairRegression => Err(Error::Usage(format!(
                "--task {task} has no quickstart; text-classification, text-pair-classification, \
                 token-classification and question-answering have"
            ))),
        }
    }

    /// What its model is called, a small one or a real one.
    fn kind(&self, tiny: bool) -> String {
        match (tiny, self.task) {
            (true, Task::TextClassification) => "tiny".to_owned(),
            (true, _) => format!("tiny-{}", self.name),
            (false, _) => self.name.to_owned(),
        }
    }

    /// The names of all that a walk makes in its folder.
    fn makes(&self, tiny: bool) -> [String; 5] {
        let kind = self.kind(tiny);
        [
            format!("data/{}", self.name),
            format!("{kind}.base"),
            format!("{kind}.berth"),
            format!("{kind}.report.html"),
            kind,
        ]
    }

    /// Where its files are in a walk's folder.
    fn place(&self, folder: &Path) -> PathBuf {
        folder.join("data").join(self.name)
    }

    /// The file of a split in a walk's folder.
    fn file(&self, folder: &Path, split: &str) -> PathBuf {
        self.place(folder)
            .join(format!("{split}.{}", self.extension))
    }

    /// The file that tells where the others come from, in a walk's folder: a recipe's table, for the model's card.
    fn origin_file(&self, folder: &Path) -> PathBuf {
        self.place(folder).join("data.toml")
    }

    /// What it holds. The texts are plain: Rust writes them as TOML does.
    fn origin(&self) -> String {
        let (home, licence) = (self.home, self.licence);
        let mut text = format!("[data]\nhome = {home:?}\nlicence = {licence:?}\n\n[data.sha256]\n");
        for (split, content) in self.splits() {
            let name = format!("{split}.{}", self.extension);
            let digest = hex(&Sha256::digest(content));
            text.push_str(&format!("{name:?} = {digest:?}\n"));
        }
        text
    }

    /// The file of the passage in a walk's folder.
    fn passage_file(&self, folder: &Path) -> PathBuf {
        self.place(folder).join("passage.txt")
    }

    /// Its files, by the names of their splits.
    fn splits(&self) -> [(&'static str, &'static str); 2] {
        [("train", self.train), ("dev", self.dev)]
    }

    /// Whether its files lie in a folder as a walk writes them.
    fn lies_in(&self, folder: &Path) -> bool {
        self.splits().into_iter().all(|(split, content)| {
            let found = fs::read(self.file(folder, split));
            found.is_ok_and(|bytes| bytes == content.as_bytes())
        })
    }
}

/// The file that names what walks made in a folder.
const MARKER: &str = ".berth-quickstart";

/// Its first line, for people; each of the others is a name.
const MARKED: &str =
    "Made by berth quickstart, which writes over these and over nothing else here:";

/// Notes what a walk is going to make in a folder, which may be there from an earlier one.
///
/// # Errors
/// Where something lies in its way that no walk made. Then nothing was written.
fn claim(folder: &Path, makes: [String; 5]) -> Result<(), Error> {
    let mut made = made(folder)?;
    for name in makes {
        let path = folder.join(&name);
        if made.insert(name) && path.symlink_metadata().is_ok() {
            return Err(not_ours(&path, "is there already"));
        }
    }
    fs::create_dir_all(folder).map_err(|source| Error::file(folder, source))?;
    let names = made.iter().map(|name| format!("{name}\n"));
    let text = format!("{MARKED}\n{}", names.collect::<String>());
    berth_checkpoint::save::write_file(folder.join(MARKER), text.as_bytes())?;
    Ok(())
}

/// The names of what walks made in a folder: none in a new or an empty one.
///
/// # Errors
/// Where others made the folder, or it can't be read.
fn made(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let marker = folder.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(text) => return Ok(text.lines().skip(1).map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::file(marker, source)),
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(Error::file(folder, source)),
    };
    // A walk that was killed while it wrote the first file leaves a part of it.
    let is_part = |name: &str| name.starts_with(".berth.") && name.ends_with(".partial");
    let mut is_empty = true;
    for entry in entries {
        let entry = entry.map_err(|source| Error::file(folder, source))?;
        is_empty &= entry.file_name().to_str().is_some_and(is_part);
    }
    // Earlier versions wrote no marker, but their samples first of all.
    let walked = SAMPLES.iter().filter(|sample| sample.lies_in(folder));
    let names = walked.flat_map(|sample| [true, false].map(|tiny| sample.makes(tiny)));
    let names: BTreeSet<String> = names.flatten().collect();
    match is_empty || !names.is_empty() {
        true => Ok(names),
        false => Err(not_ours(folder, "not empty")),
    }
}

fn not_ours(path: &Path, what: &str) -> Error {
    Error::Model {
        path: path.to_owned(),
        what: format!(
            "{what}, and not made by quickstart; name another --output_dir, or remove it"
        ),
    }
}

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
    if interrupt::asked() {
        let bundle = road.bundle.display();
        let what = format!("stopped, and {bundle} is written; {WAY}");
        return Err(Error::Interrupted(what));
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
        if !folder.join("config.json").exists() {
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
        parse(typed)
    }

    fn quantize_args(&self) -> Result<QuantizeArgs, Error> {
        let mut typed: Vec<OsString> = vec!["berth".into()];
        typed.push(self.model.clone().into());
        typed.extend(["--output".into(), self.bundle.clone().into()]);
        typed.extend(["--validation_file".into(), self.data("dev").into()]);
        parse(typed)
    }
}

/// A command's arguments with everything that was not typed as usual.
pub fn parse<A: Args>(typed: Vec<OsString>) -> Result<A, Error> {
    let command = A::augment_args(clap::Command::new("berth").args_override_self(true));
    let matches = command.try_get_matches_from(normalize(typed.into_iter()));
    matches
        .and_then(|found| A::from_arg_matches(&found))
        .map_err(|error| Error::Usage(error.to_string()))
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
    let weights = road.model.join("model.safetensors");
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
    let comparison = converted
        .comparison
        .as_ref()
        .map(comparison_table)
        .unwrap_or_default();
    let table = show::table(&["", "measured"], &rows);
    Ok(format!(
        "{comparison}\n\n{table}\n{} ({}), one thread\n",
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
    let bundle = road.bundle.display();
    let sample = road.sample;
    let task = sample.task;
    let (text, kind) = match task {
        Task::TextClassification => ("a gripping film", "csv"),
        Task::TokenClassification => (sample.texts[0], "conll"),
        Task::QuestionAnswering => (sample.texts[0], "json"),
        _ => (sample.texts[0], "csv"),
    };
    let passage = sample.passage.map(|_| sample.passage_file(&road.folder));
    let pair = passage.map_or_else(String::new, |file| format!(" @{}", file.display()));
    let recipe: String = road
        .sample
        .recipe
        .iter()
        .map(|flag| format!(" {flag}"))
        .collect();
    format!(
        "To go on:\n\
         \n  berth ask {bundle} \"{text}\"{pair}\n\
         \n  berth finetune --task {task}{recipe} --train_file your.{kind} --validation_file your-dev.{kind} --output_dir your-model\n\
         \n  scp \"$(.ci/cross aarch64-unknown-linux-gnu | tail -n 1)\" {bundle} board:\n\
         \nHere, `berth` is target/release/berth. The last command builds in Berth's own folder."
    )
}

#[cfg(test)]
mod tests {
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

    fn lay(folder: &Path, task: Task, tiny: bool) -> Result<(), String> {
        let road = Road::lay(&args(folder, task, tiny));
        road.map(drop).map_err(|error| error.to_string())
    }

    /// Writes a file in a folder that is made for it.
    fn put(folder: &Path, name: &str, content: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    const SENTENCES: Task = Task::TextClassification;
    const TAGS: Task = Task::TokenClassification;

    #[test]
    fn what_others_made_stays_as_it_is() {
        for (name, content) in [
            ("tiny/config.json", "{}"),
            ("data/sentiment/train.tsv", "sentence\tlabel\n"),
            ("notes.txt", "mine"),
            (".berth.hidden", "mine"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = &dir.path().join("own");
            put(folder, name, content);
            let refused = lay(folder, SENTENCES, true).unwrap_err();
            assert_eq!(
                refused,
                format!(
                    "{}: not empty, and not made by quickstart; name another --output_dir, or remove it",
                    folder.display()
                )
            );
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "{name}");
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), content);
        }
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "file", "mine");
        assert!(lay(&dir.path().join("file"), SENTENCES, true).is_err());
    }

    #[test]
    fn a_walk_goes_on_in_what_walks_made() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["new", "empty", "killed"] {
            let folder = &dir.path().join(name);
            match name {
                "empty" => fs::create_dir(folder).unwrap(),
                "killed" => put(folder, ".berth.a1b2c3.partial", "Made"),
                _ => {}
            }
            lay(folder, SENTENCES, true).unwrap();
            assert!(MR.lies_in(folder), "{name}");
            // As an interrupted walk leaves it, with files that others put beside it.
            put(folder, "tiny/checkpoint-1/config.json", "{}");
            put(folder, "tiny.base/config.json", "{}");
            put(folder, "bits", "mine");
            put(folder, "parts-of-speech/config.json", "mine");
            lay(folder, SENTENCES, true).unwrap();
            lay(folder, SENTENCES, false).unwrap();
            lay(folder, TAGS, true).unwrap();
            let refused = lay(folder, TAGS, false).unwrap_err();
            assert!(
                refused.contains("parts-of-speech: is there already"),
                "{refused}"
            );
            assert!(
                refused.contains("another --output_dir, or remove it"),
                "{refused}"
            );
            let own = folder.join("parts-of-speech/config.json");
            assert_eq!(fs::read_to_string(own).unwrap(), "mine");
            lay(folder, SENTENCES, true).unwrap();
        }
    }

    #[test]
    fn a_folder_of_an_earlier_version_is_told_by_its_sample() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        lay(folder, SENTENCES, true).unwrap();
        fs::remove_file(folder.join(MARKER)).unwrap();
        put(folder, "tiny/config.json", "{}");
        put(folder, "answers/config.json", "mine");
        lay(folder, SENTENCES, true).unwrap();
        assert!(folder.join(MARKER).is_file());
        let refused = lay(folder, Task::QuestionAnswering, false).unwrap_err();
        assert!(refused.contains("answers: is there already"), "{refused}");
    }

    #[test]
    fn a_samples_licence_is_told_of_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        for sample in SAMPLES {
            let folder = dir.path().join(sample.name);
            let road = Road::lay(&args(&folder, sample.task, true)).unwrap();
            let finetune = road.finetune_args("base").unwrap();
            let (config, train) = (finetune.config.unwrap(), finetune.train_file.unwrap());
            let told = published::origin(&config, Some(&train), &train).unwrap();
            assert_eq!(told.licence.as_deref(), Some(sample.licence));
            assert_eq!(told.home.as_deref(), Some(sample.home));
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
