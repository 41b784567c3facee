//! What was typed, brought to the one form that clap knows: names with `_`, switches with `=true` or
//! `=false`.

use super::Cli;
use crate::error::Error;
use crate::meant;
use clap::{Args, CommandFactory, Parser};
use std::ffi::{OsStr, OsString};

/// Brings what was typed to the form that clap knows: `-` inside a flag's name becomes `_`, and a switch
/// followed by `true` or `false`, in any capitals, becomes `--switch=true`. What follows a bare `--` is left
/// alone.
pub fn normalize(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let switches = switches();
    let is_switch = |name: &str| switches.iter().any(|switch| switch == name);
    let mut out: Vec<OsString> = Vec::new();
    let mut verbatim = false;
    for token in typed {
        let Some(text) = token.to_str().filter(|_| !verbatim) else {
            out.push(token);
            continue;
        };
        verbatim = text == "--";
        let after_switch = out
            .last()
            .and_then(|last| last.to_str()?.strip_prefix("--"))
            .is_some_and(is_switch);
        if let (true, Some(truth)) = (after_switch, truth(text)) {
            if let Some(last) = out.last_mut() {
                last.push(format!("={truth}"));
            }
        } else if let Some(flag) = text.strip_prefix("--").filter(|flag| !flag.is_empty()) {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let name = name.replace('-', "_");
            let one = match value.map(|value| (value, truth(value))) {
                None => format!("--{name}"),
                Some((_, Some(truth))) if is_switch(&name) => format!("--{name}={truth}"),
                Some((value, _)) => format!("--{name}={value}"),
            };
            out.push(one.into());
        } else {
            out.push(token);
        }
    }
    out
}

/// What a word says, in any capitals.
pub fn truth(word: &str) -> Option<bool> {
    word.to_ascii_lowercase().parse().ok()
}

/// The bare switch that a word stands behind.
pub fn switch_before<'t>(typed: &'t [OsString], word: &OsStr) -> Option<&'t str> {
    let switches = switches();
    typed.windows(2).find_map(|pair| {
        let flag = pair[0].to_str()?;
        let name = flag.strip_prefix("--")?;
        let found = pair[1] == *word && switches.iter().any(|switch| switch == name);
        found.then_some(flag)
    })
}

/// Reads what was typed, in the form of [`normalize`].
///
/// # Errors
/// As clap has them, beside an unknown flag with the one that was probably meant, or what there is in its
/// place.
pub fn parse(typed: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(&typed).map_err(|error| meant::suggest(error, &typed))
}

/// A command's arguments, with everything that was not typed as usual.
///
/// # Errors
/// As [`parse`], as an error of usage.
pub fn with_usual<A: Args>(typed: Vec<OsString>) -> Result<A, Error> {
    let command = A::augment_args(clap::Command::new("berth").args_override_self(true));
    let matches = command.try_get_matches_from(normalize(typed.into_iter()));
    matches
        .and_then(|found| A::from_arg_matches(&found))
        .map_err(|error| Error::Usage(error.to_string()))
}

/// The names of all flags that take no value or `true`/`false`.
pub fn switches() -> Vec<String> {
    let command = Cli::command();
    let mut names: Vec<String> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter(|arg| arg.is_require_equals_set())
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;
    use clap::ArgAction;
    use clap::builder::PossibleValue;
    use std::path::PathBuf;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        super::parse(normalize(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_that_is_true_or_false_is_a_switch() {
        let (command, switches) = (Cli::command(), switches());
        for flag in command
            .get_subcommands()
            .flat_map(clap::Command::get_arguments)
        {
            let words = flag.get_possible_values();
            let words: Vec<&str> = words.iter().map(PossibleValue::get_name).collect();
            let is_bare = matches!(flag.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
            let is_switch = flag
                .get_long()
                .is_some_and(|name| switches.iter().any(|switch| switch == name));
            assert_eq!(is_bare || words == ["true", "false"], is_switch, "{flag}");
        }
    }

    #[test]
    fn dashes_and_underscores_are_alike_and_the_last_wins() {
        let cli = parse("berth finetune --train-file a.tsv --train_file=b-c.tsv --output-dir o --learning-rate 1e-5")
            .unwrap();
        let Command::Finetune(args) = cli.command else {
            panic!("not finetune")
        };
        assert_eq!(args.train_file, Some(PathBuf::from("b-c.tsv")));
        assert_eq!(args.recipe.learning_rate, 1e-5);
    }

    #[test]
    fn switches_stand_bare_or_with_a_word() {
        for (typed, expected) in [
            ("--do_eval", true),
            ("--do-eval false", false),
            ("--do_eval=true", true),
        ] {
            let cli = parse(&format!("berth finetune --output_dir o {typed} --seed 1")).unwrap();
            let Command::Finetune(args) = cli.command else {
                panic!("not finetune")
            };
            assert_eq!(args.switches.do_eval, expected, "{typed}");
        }
        for (typed, expected) in [
            ("--bf16 True", true),
            ("--bf16 --bf16 FALSE", false),
            ("--bf16=TRUE", true),
            ("--bf16=tRUE --bf16=False", false),
        ] {
            let cli = parse(&format!("berth finetune --output_dir o {typed} --seed 1")).unwrap();
            let Command::Finetune(args) = cli.command else {
                panic!("not finetune")
            };
            assert_eq!(args.switches.bf16, expected, "{typed}");
        }
        let cli = parse("berth evaluate m --json True --validation_file=True").unwrap();
        let Command::Evaluate(args) = cli.command else {
            panic!("not evaluate")
        };
        assert!(args.stdout.json);
        assert_eq!(args.validation_file, Some(PathBuf::from("True")));
        let cli = parse("berth finetune --output_dir o --resume_from_checkpoint True").unwrap();
        let Command::Finetune(args) = cli.command else {
            panic!("not finetune")
        };
        assert_eq!(args.resume_from_checkpoint.as_deref(), Some("true"));
        let cli = parse("berth ask --json m.berth true").unwrap();
        let Command::Ask(args) = cli.command else {
            panic!("not ask")
        };
        assert!(args.json && args.text == "true");
    }

    #[test]
    fn a_switch_takes_nothing_but_true_or_false() {
        for line in [
            "evaluate m --json maybe --validation_file x",
            "evaluate m --json=maybe",
            "finetune --output_dir o --bf16=1",
            "inspect m --json yes",
        ] {
            let error = parse(&format!("berth {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                text.contains("true or false") || text.contains("true, false"),
                "{text}"
            );
            assert!(text.contains("--json") || text.contains("--bf16"), "{text}");
        }
    }

    #[test]
    fn numbers_keep_to_their_ranges() {
        let quantize = |flag: &str| parse(&format!("berth quantize m --output o {flag}"));
        for flag in [
            "--max_drop -1",
            "--max_drop=-100",
            "--max_drop 100",
            "--min_agreement 0",
            "--min_agreement 1",
        ] {
            assert!(quantize(flag).is_ok(), "{flag}");
        }
        for (flag, range) in [
            ("--max_drop nan", "-100 to 100"),
            ("--max_drop inf", "-100 to 100"),
            ("--max_drop 200", "-100 to 100"),
            ("--max_drop -100.1", "-100 to 100"),
            ("--min_agreement nan", "0 to 1"),
            ("--min_agreement 99", "0 to 1"),
            ("--min_agreement -0.5", "0 to 1"),
            ("--max_eval_samples 0", "from 1 on"),
        ] {
            let error = quantize(flag).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(range), "{error}");
        }
        for flag in [
            "num_train_epochs",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "adam_beta1",
            "adam_beta2",
            "adam_epsilon",
            "max_grad_norm",
            "early_stopping_threshold",
            "label_smoothing_factor",
            "focal_gamma",
            "layerwise_lr_decay",
            "null_score_diff_threshold",
        ] {
            for value in ["nan", "inf", "x"] {
                let line = format!("berth finetune --output_dir o --{flag} {value}");
                let text = parse(&line).unwrap_err().to_string();
                assert!(text.contains("a finite number"), "{text}");
                assert!(text.contains(&format!("--{flag}")), "{text}");
            }
        }
        assert!(parse("berth bench m.berth --lengths 16,0").is_err());
    }

    #[test]
    fn what_follows_two_dashes_is_text() {
        let cli = parse("berth ask m.berth -- --so-so").unwrap();
        let Command::Ask(args) = cli.command else {
            panic!("not ask")
        };
        assert_eq!(args.text, "--so-so");
    }
}
