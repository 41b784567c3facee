//! What a flag that Berth does not know was meant to be: the nearest of its own, or what there is in the place of a flag
//! of Hugging Face's scripts.

use crate::args::{Cli, switch_before};
use clap::CommandFactory;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::{OsStr, OsString};

/// Names the flag that an unknown one is nearest to, or what there is in its place. A word too many behind a
/// switch was meant to be true or false.
pub fn suggest(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) if error.kind() == ErrorKind::UnknownArgument => {
            unknown.clone()
        }
        _ => return error,
    };
    let mut cli = Cli::command();
    cli.build();
    let named = typed.get(1).cloned().unwrap_or_default();
    let mut command = cli.find_subcommand(&named).cloned().unwrap_or(cli);
    let Some(flag) = unknown.strip_prefix("--") else {
        return match switch_before(typed, OsStr::new(&unknown)) {
            Some(switch) if !unknown.starts_with('-') => {
                let what = format!("{switch} takes true or false, not {unknown}");
                command.error(ErrorKind::InvalidValue, what)
            }
            _ => error,
        };
    };
    // Clap's own guess may be any flag, `--help` too.
    error.remove(ContextKind::SuggestedArg);
    let known: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|name| !matches!(*name, "help" | "version"))
        .collect();
    let instead = instead_of(flag);
    let meant = match instead {
        Some(Instead::Flag(flag)) if known.contains(&flag) => Some(flag.to_owned()),
        Some(Instead::Choice(flag, value)) if known.contains(&flag) => {
            Some(format!("{flag} {value}"))
        }
        Some(Instead::Predict | Instead::Nothing) => None,
        Some(Instead::Flag(_) | Instead::Choice(..)) | None => {
            nearest(known.into_iter(), flag).map(str::to_owned)
        }
    };
    if let Some(meant) = meant {
        let meant = ContextValue::String(format!("--{meant}"));
        error.insert(ContextKind::SuggestedArg, meant);
    }
    if let Some(tip) = instead.and_then(Instead::tip) {
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// What Berth has in the place of a flag of Hugging Face's scripts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// A flag of another name.
    Flag(&'static str),
    /// A value of a flag.
    Choice(&'static str, &'static str),
    /// A command of its own, `berth predict`.
    Predict,
    /// Nothing, and nothing is missing.
    Nothing,
}

/// Flags of Hugging Face's scripts that Berth has not, and what it has in their place.
const FOREIGN: [(&str, Instead); 13] = [
    ("lr", Instead::Flag("learning_rate")),
    ("fp16", Instead::Flag("bf16")),
    (
        "group_by_length",
        Instead::Choice("train_sampling_strategy", "group_by_length"),
    ),
    ("test_file", Instead::Predict),
    ("do_predict", Instead::Predict),
    ("report_to", Instead::Nothing),
    ("dataloader_num_workers", Instead::Nothing),
    ("logging_dir", Instead::Nothing),
    ("push_to_hub", Instead::Nothing),
    ("pad_to_max_length", Instead::Nothing),
    ("logging_first_step", Instead::Nothing),
    ("logging_strategy", Instead::Nothing),
    ("run_name", Instead::Nothing),
];

impl Instead {
    /// What is said of it, where a flag's name does not say it all.
    pub fn tip(self) -> Option<&'static str> {
        match self {
            Instead::Flag(_) | Instead::Choice(..) => None,
            Instead::Predict => Some("`berth predict` answers the rows of a test file"),
            Instead::Nothing => Some("Berth has no such thing, and it can be left out"),
        }
    }
}

/// What there is in the place of a flag of Hugging Face's scripts; nothing for any other.
pub fn instead_of(written: &str) -> Option<Instead> {
    let mut flags = FOREIGN.iter();
    let found = flags.find(|(name, _)| written.eq_ignore_ascii_case(name));
    found.map(|&(_, instead)| instead)
}

/// The name that was probably meant: the one that the greatest share of letters fits. Capitals don't count.
pub fn nearest<'n>(known: impl Iterator<Item = &'n str>, written: &str) -> Option<&'n str> {
    let written = written.to_lowercase();
    let alike = |name: &str| strsim::normalized_damerau_levenshtein(name, &written);
    known.max_by(|a, b| alike(a).total_cmp(&alike(b)).then_with(|| b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        args::parse(args::normalize(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn an_unknown_flag_names_the_nearest_but_never_help() {
        for (line, nearest) in [
            ("finetune --output_dir o --train_fil x", "--train_file"),
            (
                "finetune --output_dir o --max_seq_len 3",
                "--max_seq_length",
            ),
            ("ask m.berth x --JSON", "--json"),
            ("evaluate m --Validation-File=x", "--validation_file"),
        ] {
            let error = parse(&format!("berth {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains("similar argument"), "{text}");
            assert!(text.contains(&format!("'{nearest}'")), "{text}");
        }
        for line in [
            "finetune --output_dir o --disable_tqdm",
            "finetune --output_dir o --tf32 true",
            "tokenize m --max_pieces 3",
            "quantize m --output o --fp16",
            "inspect m --helo",
            "inspect m --versio",
            "--helo",
        ] {
            let error = parse(&format!("berth {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains("unexpected argument"), "{text}");
            let named = text.contains("similar argument");
            assert_eq!(named, !line.starts_with("--"), "{text}");
            for other in ["help", "version"] {
                assert!(!text.contains(&format!("exists: '--{other}'")), "{text}");
            }
        }
    }

    #[test]
    fn of_the_flags_of_other_scripts_it_is_said_what_there_is_instead() {
        for (flag, said) in [
            ("--lr 1e-5", "'--learning_rate'"),
            ("--fp16", "'--bf16'"),
            (
                "--group-by-length",
                "'--train_sampling_strategy group_by_length'",
            ),
            ("--test-file t.tsv", "`berth predict`"),
            ("--do_predict", "`berth predict`"),
            ("--report_to none", "can be left out"),
            ("--dataloader_num_workers 4", "can be left out"),
            ("--logging_dir l", "can be left out"),
            ("--push_to_hub", "can be left out"),
            ("--pad_to_max_length false", "can be left out"),
            ("--logging_first_step", "can be left out"),
            ("--logging_strategy steps", "can be left out"),
            ("--run_name r", "can be left out"),
        ] {
            let error = parse(&format!("berth finetune --output_dir o {flag}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains("unexpected argument"), "{text}");
            assert!(text.contains(said), "{text}");
            let is_flag = said.starts_with('\'');
            assert_eq!(text.contains("similar argument"), is_flag, "{text}");
        }
        for (name, _) in FOREIGN {
            assert!(parse(&format!("berth finetune --output_dir o --{name}")).is_err());
        }
    }
}
