//! `berth finetune FILE`: settings from a TOML or JSON file, as flags, before clap sees them.
//!
//! ```text
//! finetune a.toml --seed 2   ─►   finetune --config=a.toml --learning_rate=3e-5 … --seed 2
//! ```
//!
//! A key is a flag's name, with `_` or `-`. What is typed wins, key by key, whatever its place. A list is
//! joined by commas, `null` is as good as absent. Paths are seen from the current folder, as typed ones are
//! and as `run_glue` sees those of its JSON file. Each setting is tried by itself, so that a wrong one is
//! named with its file and line. The table `data` is no setting: [`published`] reads it. A setting that Berth
//! has not, but `run_glue` has, is read over where it asks for nothing: `"report_to": "none"`.

pub mod published;

use crate::args::{Cli, normalize, switch_before, switches, truth};
use crate::error::Error;
use crate::meant::{Instead, instead_of, nearest};
use clap::{CommandFactory, Parser};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// The key that holds no setting, but a table.
const DATA: &str = "data";

/// Flags that say one thing in two ways: who types one does not want the file's other.
const RIVALS: [[&str; 2]; 2] = [["seed", "seeds"], ["warmup_steps", "warmup_ratio"]];

/// Puts the settings of the file that `finetune` names in front of what was typed: behind `--config`, or as the
/// one argument that is no flag, as the parsers of `transformers` take it. Takes and gives the form of
/// [`normalize`].
///
/// # Errors
/// When there are two files, one can't be read, or it holds what is no setting; then with its line.
pub fn expand(typed: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    if typed.get(1).is_none_or(|command| command != "finetune") {
        return Ok(typed);
    }
    let (files, rest) = part(&typed[2..]);
    for word in files
        .iter()
        .filter(|word| parser(Path::new(word)).is_none())
    {
        if let Some(switch) = switch_before(&typed, word) {
            return Err(Error::Usage(format!(
                "{switch} takes true or false, not {}; and a file of settings ends in .toml or .json",
                word.display()
            )));
        }
    }
    let file = match &files[..] {
        [] => return Ok(typed),
        [file] => Path::new(file),
        [_, second, ..] => {
            return Err(Error::Usage(format!(
                "one file of settings is read, and {} is a second one",
                second.display()
            )));
        }
    };
    let settings = read(file)?;
    let names = Names::of_finetune();
    let mut out = typed[..2].to_vec();
    let mut config = OsString::from("--config=");
    config.push(file);
    out.push(config);
    let wins: Vec<&str> = rest
        .iter()
        .filter_map(|token| names.of_token(token))
        .collect();
    for (name, flag) in settings.flags(file, &names)? {
        let rivals = RIVALS.iter().find(|pair| pair.contains(&name));
        let loses = rivals.is_some_and(|pair| wins.iter().any(|typed| pair.contains(typed)));
        if !loses && !wins.contains(&name) {
            out.push(flag);
        }
    }
    out.extend(rest);
    Ok(out)
}

/// The files of settings among the arguments, and all the others.
fn part(arguments: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let switches = switches();
    let (mut files, mut rest) = (Vec::new(), Vec::new());
    let mut tokens = arguments.iter();
    while let Some(token) = tokens.next() {
        let text = token.to_str().unwrap_or_default();
        match text.strip_prefix("--") {
            Some("") => {
                rest.push(token.clone());
                rest.extend(tokens.by_ref().cloned());
            }
            Some("config") => files.extend(tokens.next().cloned()),
            Some(flag) if flag.starts_with("config=") => files.push(flag["config=".len()..].into()),
            Some(flag) => {
                rest.push(token.clone());
                let next = tokens.as_slice().first().and_then(|next| next.to_str());
                let ends = next.is_some_and(|next| next.starts_with("--"));
                let alone = ends || flag.contains('=') || flag == "help" || flag == "version";
                if !alone && !switches.iter().any(|switch| switch == flag) {
                    rest.extend(tokens.next().cloned());
                }
            }
            None if text.starts_with('-') && text.len() > 1 => rest.push(token.clone()),
            None => files.push(token.clone()),
        }
    }
    (files, rest)
}

/// A file of settings.
struct Settings {
    text: String,
    values: Map<String, Value>,
}

/// What reads a file, as its name tells.
fn parser(path: &Path) -> Option<fn(&str) -> Parsed> {
    match path.extension()?.to_str()? {
        "toml" => Some(toml),
        "json" => Some(json),
        _ => None,
    }
}

/// Reads a file, in the format that its name tells.
fn read(path: &Path) -> Result<Settings, Error> {
    let parse = parser(path).ok_or_else(|| {
        Error::Usage(format!(
            "{}: settings are read from a file that ends in .toml or .json",
            path.display()
        ))
    })?;
    let text = fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let values = parse(&text).map_err(|(line, what)| Error::Setting {
        path: path.to_owned(),
        line,
        what,
    })?;
    Ok(Settings { text, values })
}

type Parsed = Result<Map<String, Value>, (usize, String)>;

fn json(text: &str) -> Parsed {
    serde_json::from_str(text).map_err(|error| (error.line(), format!("no JSON object: {error}")))
}

fn toml(text: &str) -> Parsed {
    let values: Map<String, Value> = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        (line, error.message().replace('\n', " "))
    })?;
    // TOML has no null: this is what a number becomes that JSON can't have.
    match values.iter().find(|(_, value)| value.is_null()) {
        Some((key, _)) => Err((
            line_of(text, key),
            format!("`{key}` is not a finite number"),
        )),
        None => Ok(values),
    }
}

impl Settings {
    /// Of a warm-up that is told by both names, the one that `transformers` passes over: the share, unless the count is 0.
    fn idle_warmup(&self) -> Option<&'static str> {
        let [steps, ratio] = ["warmup_steps", "warmup_ratio"];
        let told = |name| self.values.get(name).filter(|value| !value.is_null());
        let count = told(steps)?;
        told(ratio)?;
        Some(if count.as_f64() == Some(0.0) {
            steps
        } else {
            ratio
        })
    }

    /// The settings as flags, each behind its name.
    fn flags<'n>(&self, file: &Path, names: &'n Names) -> Result<Vec<(&'n str, OsString)>, Error> {
        let mut flags = Vec::new();
        let idle = self.idle_warmup();
        for (key, value) in &self.values {
            if key == DATA || idle == Some(key) {
                continue;
            }
            let flag = flag(key, value, names).map_err(|what| {
                let (file, line) = (file.display(), line_of(&self.text, key));
                Error::Usage(format!("{file}:{line}: {what}"))
            })?;
            flags.extend(flag);
        }
        Ok(flags)
    }
}

/// One setting as it would be typed; none for `null`, and for what Berth has not and nobody asks for.
fn flag<'n>(
    key: &str,
    value: &Value,
    names: &'n Names,
) -> Result<Option<(&'n str, OsString)>, String> {
    let written = key.replace('-', "_");
    let Some(name) = names.get(&written) else {
        let instead = instead_of(&written);
        if instead.is_some_and(|instead| asks_nothing(value, instead)) {
            return Ok(None);
        }
        let tip = match instead {
            Some(Instead::Flag(flag)) => format!("; Berth has `{flag}` in its place"),
            Some(Instead::Choice(flag, value)) => {
                format!("; Berth has `{flag}` with \"{value}\" in its place")
            }
            Some(instead) => format!("; {}", instead.tip().unwrap_or_default()),
            None => match names.nearest(&written) {
                Some(nearest) => format!("; the nearest is `{nearest}`"),
                None => String::new(),
            },
        };
        return Err(format!("`{key}` is no setting of finetune{tip}"));
    };
    let Some(value) = as_typed(key, value)? else {
        return Ok(None);
    };
    let is_switch = switches().iter().any(|switch| switch == name);
    if is_switch && truth(&value).is_none() {
        return Err(format!("`{key}` takes true or false, not {value:?}"));
    }
    let flag = OsString::from(format!("--{name}={value}"));
    // Whatever else a run needs; a flag given twice is no mistake.
    let line = ["berth", "finetune", "--output_dir=_"].map(OsString::from);
    let line = normalize(line.into_iter().chain([flag]));
    match Cli::try_parse_from(&line) {
        Ok(_) => Ok(line.into_iter().next_back().map(|flag| (name, flag))),
        Err(error) => {
            // The value may have lines of its own; what clap says of it ends in an empty one.
            let text = error.to_string();
            let lines = text.lines().map(str::trim);
            let said: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
            let said = said.join(" ");
            Err(said.trim_start_matches("error: ").to_owned())
        }
    }
}

/// Whether a setting that Berth has not, but something `instead` of it, is set to what asks for nothing.
fn asks_nothing(value: &Value, instead: Instead) -> bool {
    let is_no_use = instead == Instead::Nothing;
    match value {
        Value::Null => true,
        Value::Bool(wanted) => !wanted,
        Value::Number(number) => is_no_use && number.as_f64() == Some(0.0),
        Value::String(text) => {
            truth(text) == Some(false)
                || is_no_use && (text.is_empty() || text.eq_ignore_ascii_case("none"))
        }
        Value::Array(values) => values.iter().all(|value| asks_nothing(value, instead)),
        Value::Object(_) => false,
    }
}

/// A value as it would be typed; none for `null`.
fn as_typed(key: &str, value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::Array(values) => {
            let one = |value: &Value| match value {
                Value::String(text) if text.contains(',') => Err(format!(
                    "`{key}` lists {text:?}, but a comma parts what a flag lists"
                )),
                Value::String(_) | Value::Bool(_) | Value::Number(_) => {
                    Ok(as_typed(key, value)?.unwrap_or_default())
                }
                _ => Err(format!(
                    "`{key}` lists something else than texts and numbers"
                )),
            };
            let values: Vec<String> = values.iter().map(one).collect::<Result<_, _>>()?;
            Ok(Some(values.join(",")))
        }
        Value::Object(_) => Err(format!(
            "`{key}` is a table, but a setting is a text, a number, true, false or a list of them"
        )),
    }
}

/// The names of finetune's flags.
struct Names {
    /// Every way to write one, and the one that counts.
    all: HashMap<String, String>,
}

impl Names {
    fn of_finetune() -> Self {
        let cli = Cli::command();
        let command = cli.find_subcommand("finetune");
        let mut all = HashMap::new();
        for flag in command.into_iter().flat_map(clap::Command::get_arguments) {
            let name = flag.get_long().unwrap_or_default();
            let aliases = flag.get_all_aliases().unwrap_or_default();
            for written in aliases.into_iter().chain([name]) {
                all.insert(written.to_owned(), name.to_owned());
            }
        }
        for none in ["", "config", "help", "version"] {
            all.remove(none);
        }
        Names { all }
    }

    fn get(&self, written: &str) -> Option<&str> {
        self.all.get(written).map(String::as_str)
    }

    /// The flag that a token of the command line is.
    fn of_token(&self, token: &OsString) -> Option<&str> {
        let flag = token.to_str()?.strip_prefix("--")?;
        self.get(flag.split_once('=').map_or(flag, |(name, _)| name))
    }

    /// What was probably meant.
    fn nearest(&self, written: &str) -> Option<&str> {
        nearest(self.all.keys().map(String::as_str), written).and_then(|known| self.get(known))
    }
}

/// The line on which a key stands, from 1 on: before an equals sign or a colon, in quotes or not.
fn line_of(text: &str, key: &str) -> usize {
    let is_key = |&(at, _): &(usize, &str)| {
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let after = text[at + key.len()..].trim_start_matches(['"', '\'']);
        !text[..at].ends_with(inside) && after.trim_start().starts_with(['=', ':', ']'])
    };
    let at = text.match_indices(key).find(is_key).map_or(0, |(at, _)| at);
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, FinetuneArgs};

    /// What a line comes to whose file of settings holds `text`; `FILE` in it stands for the file.
    fn expanded(name: &str, text: &str, line: &str) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let line = line.replace("FILE", file.to_str().unwrap());
        let typed = line.split(' ').map(OsString::from);
        let shown = |text: String| text.replace(&file.display().to_string(), "FILE");
        let tokens = expand(normalize(typed)).map_err(|error| shown(error.to_string()))?;
        let texts = tokens.into_iter().skip(2);
        Ok(texts
            .map(|token| shown(token.into_string().unwrap()))
            .collect())
    }

    fn parsed(tokens: Vec<String>) -> FinetuneArgs {
        let line = ["berth", "finetune"]
            .map(str::to_owned)
            .into_iter()
            .chain(tokens);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Finetune(args) => *args,
            _ => panic!("not finetune"),
        }
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "# a run\nlearning-rate = 0.25\ntask = 'text-classification'\nmax_steps = -1\n\
                    load_best_model_at_end = true\nlabel_names = [\"a\", \"b\"]\n[data]\nhome = 'x'\n";
        let json = r#"{"learning_rate": 0.25, "task": "text-classification", "max_steps": -1, "data_dir": null,
            "load_best_model_at_end": true, "label_names": ["a", "b"]}"#;
        for (name, text) in [("a.toml", toml), ("a.json", json)] {
            for line in [
                "FILE",
                "--config FILE",
                "--config=FILE",
                "--seed 2 FILE",
                "--do_eval FILE",
            ] {
                let tokens = expanded(name, text, &format!("berth finetune {line} --output-dir o"));
                let args = parsed(tokens.unwrap());
                assert_eq!(args.recipe.learning_rate, 0.25);
                assert_eq!(args.recipe.max_steps, -1);
                assert!(args.recipe.load_best_model_at_end);
                assert_eq!(args.data.label_names.unwrap(), ["a", "b"]);
                assert_eq!(args.output_dir, Path::new("o"));
                assert_eq!(args.config.unwrap(), Path::new("FILE"));
                assert_eq!(args.recipe.seed, if line.contains("seed") { 2 } else { 42 });
            }
        }
    }

    #[test]
    fn what_is_typed_wins() {
        let text = "warmup_ratio = 0.5\nlabel_names = ['a', 'b']\nseeds = [1, 2]\noutput_dir = 'o'";
        let run = |more: &str| {
            let line = format!("berth finetune FILE {more}");
            parsed(expanded("a.toml", text, line.trim()).unwrap())
        };
        let args = run("");
        assert_eq!((args.recipe.warmup(), args.seeds), (0.5, vec![1, 2]));
        let args = run("--warmup-steps 7 --label-names c,d --seed=9");
        assert_eq!(args.recipe.warmup(), 7.0);
        assert_eq!(args.data.label_names.unwrap(), ["c", "d"]);
        assert_eq!((args.recipe.seed, args.seeds.len()), (9, 0));
        assert_eq!(run("--seeds 3 --seeds 4,5").seeds, [4, 5]);
        let text = "warmup_steps = 7";
        let typed = "berth finetune FILE --output_dir o --warmup-ratio 0.25";
        let args = parsed(expanded("a.toml", text, typed).unwrap());
        assert_eq!(args.recipe.warmup(), 0.25);
    }

    #[test]
    fn settings_of_run_glue_are_taken() {
        let text = r#"{"output_dir": "o", "adam_beta1": 0.8, "adam_beta2": 0.98, "adam_epsilon": 1e-06,
            "greater_is_better": "True", "warmup_ratio": 0.06, "save_total_limit": 0}"#;
        let recipe = parsed(expanded("a.json", text, "berth finetune FILE").unwrap()).recipe;
        assert_eq!(recipe.save_total_limit, 0);
        let adam = [recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon];
        assert_eq!(adam, [0.8, 0.98, 1e-6]);
        assert_eq!(
            (recipe.greater_is_better, recipe.warmup()),
            (Some(true), 0.06)
        );
        for (steps, ratio, expected) in [("0", "0.06", 0.06), ("5", "0.06", 5.0), ("5", "0", 5.0)] {
            let [steps, ratio] = [("steps", steps), ("ratio", ratio)]
                .map(|(name, value)| format!("\"warmup_{name}\": {value}"));
            for both in [format!("{steps}, {ratio}"), format!("{ratio}, {steps}")] {
                let text = format!("{{\"output_dir\": \"o\", {both}}}");
                let args = parsed(expanded("a.json", &text, "berth finetune FILE").unwrap());
                assert_eq!(args.recipe.warmup(), expected, "{text}");
            }
        }
    }

    #[test]
    fn an_unknown_switch_makes_no_file_of_what_follows() {
        let line = "berth finetune --fp16 --output_dir o";
        let tokens = expanded("a.toml", "", line).unwrap();
        assert_eq!(tokens, ["--fp16", "--output_dir", "o"]);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line() {
        let error =
            |name: &str, text: &str| expanded(name, text, "berth finetune FILE").unwrap_err();
        assert_eq!(
            error("a.toml", "seed = 1\n\nlearning_rat = 1e-5\n"),
            "FILE:3: `learning_rat` is no setting of finetune; the nearest is `learning_rate`"
        );
        assert_eq!(
            error("a.json", "{\n\"seeds\": [1],\n\"sed\" : 1}"),
            "FILE:3: `sed` is no setting of finetune; the nearest is `seed`"
        );
        let wrong = error("a.toml", "text_column_name = 'seed'\nseed = \"x\"\n");
        assert!(
            wrong.starts_with("FILE:2: invalid value 'x' for '--seed <SEED>'"),
            "{wrong}"
        );
        for (text, said) in [
            (
                "task_name = 'imdb'",
                "invalid value 'imdb' for '--task_name <TASK_NAME>': not a task name; the names are cola, ",
            ),
            (
                "format = 'xlsx'",
                "invalid value 'xlsx' for '--format <FORMAT>': not a format; the formats are tsv, csv, ",
            ),
            (
                "task_name = \"im\\ndb\"",
                "invalid value 'im db' for '--task_name <TASK_NAME>': not a task name; the names are cola, ",
            ),
            (
                "lr_scheduler_type = 'foo'",
                "invalid value 'foo' for '--lr_scheduler_type <LR_SCHEDULER_TYPE>' [possible values: linear, cosine,",
            ),
            (
                "train_sampling_strategy = 'foo'",
                "invalid value 'foo' for '--train_sampling_strategy <TRAIN_SAMPLING_STRATEGY>' [possible values: ",
            ),
            (
                "save_steps = 0.5",
                "invalid value '0.5' for '--save_steps <SAVE_STEPS>': a whole number of steps from 1 on; a share",
            ),
        ] {
            let file = format!("seed = 1\n\n{text}\n");
            let told = error("a.toml", &file);
            assert!(told.starts_with(&format!("FILE:3: {said}")), "{told}");
        }
        let table = error("a.toml", "seed = 1\n[seeds]\na = 1\n");
        assert!(table.starts_with("FILE:2: `seeds` is a table"), "{table}");
        let comma = error("a.json", "{\"label_names\": [\"a,b\"]}");
        assert!(
            comma.contains("lists \"a,b\", but a comma parts"),
            "{comma}"
        );
        assert!(error("a.json", "{\"seeds\": [[1]]}").contains("lists something else"));
        assert!(error("a.toml", "seed = 1\nseed = 2\n").starts_with("FILE:2: "));
        assert_eq!(
            error("a.toml", "seed = 1\nlearning_rate = nan"),
            "FILE:2: `learning_rate` is not a finite number"
        );
        assert!(error("a.json", "{\n\"seed\" 1}").starts_with("FILE:2: no JSON object"));
        assert!(error("a.json", "[1]").starts_with("FILE:1: no JSON object"));
        assert!(error("a.yaml", "seed: 1").contains("ends in .toml or .json"));
        let two = expanded("a.toml", "seed = 1", "berth finetune FILE --config FILE");
        assert!(two.unwrap_err().contains("a second one"));
    }

    #[test]
    fn a_word_behind_a_switch_is_true_or_false() {
        for capitals in ["true", "True", "TRUE"] {
            let line = format!("berth finetune --load_best_model_at_end {capitals} --output_dir o");
            let tokens = expanded("a.toml", "", &line).unwrap();
            assert!(parsed(tokens).recipe.load_best_model_at_end);
        }
        let error = expanded("a.toml", "", "berth finetune --bf16 maybe --output_dir o");
        let error = error.unwrap_err();
        assert!(
            error.contains("--bf16 takes true or false, not maybe"),
            "{error}"
        );
        let text = r#"{"load_best_model_at_end": "True", "bf16": "False", "output_dir": "o"}"#;
        let args = parsed(expanded("a.json", text, "berth finetune FILE").unwrap());
        assert!(args.recipe.load_best_model_at_end && !args.switches.bf16);
        assert_eq!(
            expanded("a.json", r#"{"bf16": "maybe"}"#, "berth finetune FILE").unwrap_err(),
            "FILE:1: `bf16` takes true or false, not \"maybe\""
        );
    }

    #[test]
    fn what_asks_for_nothing_is_read_over() {
        let text = r#"{"output_dir": "o", "seed": 7, "report_to": "none", "fp16": false, "push_to_hub": false,
            "do_predict": false, "test_file": null, "dataloader_num_workers": 0, "logging_dir": null, "lr": null,
            "group_by_length": false, "pad_to_max_length": false, "logging_first_step": false, "run_name": null,
            "logging_strategy": null}"#;
        let args = parsed(expanded("a.json", text, "berth finetune FILE").unwrap());
        assert_eq!((args.recipe.seed, args.switches.bf16), (7, false));
        let lists = "report_to = ['none']\noutput_dir = 'o'";
        assert!(expanded("a.toml", lists, "berth finetune FILE").is_ok());
        let error = |text| expanded("a.json", text, "berth finetune FILE").unwrap_err();
        for (text, said) in [
            (r#"{"report_to": "tensorboard"}"#, "it can be left out"),
            (r#"{"report_to": ["none", "wandb"]}"#, "it can be left out"),
            (r#"{"push-to-hub": true}"#, "it can be left out"),
            (r#"{"dataloader_num_workers": 4}"#, "it can be left out"),
            (r#"{"pad_to_max_length": true}"#, "it can be left out"),
            (r#"{"logging_strategy": "steps"}"#, "it can be left out"),
            (r#"{"fp16": true}"#, "`bf16` in its place"),
            (
                r#"{"group_by_length": true}"#,
                "`train_sampling_strategy` with \"group_by_length\" in its place",
            ),
            (r#"{"lr": 0}"#, "`learning_rate` in its place"),
            (r#"{"test_file": "t.tsv"}"#, "`berth predict`"),
        ] {
            let told = error(text);
            assert!(told.starts_with("FILE:1: "), "{told}");
            assert!(told.contains("no setting of finetune"), "{told}");
            assert!(told.contains(said), "{told}");
        }
        let other = error(r#"{"tf32": false}"#);
        let begins = "FILE:1: `tf32` is no setting of finetune; the nearest is `";
        assert!(other.starts_with(begins), "{other}");
    }

    #[test]
    fn other_commands_and_files_behind_flags_are_left_alone() {
        for line in [
            "berth ask a.json text",
            "berth finetune --train_file a.json",
            "berth finetune --help",
        ] {
            let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(expand(typed.clone()).unwrap(), typed);
        }
    }
}
