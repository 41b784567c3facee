//! The command line, taken apart by hand: a device needs few flags and every byte.
//!
//! `_` and `-` are alike in flags, a value stands behind `=` or in the next argument, the last of a
//! repeated flag wins, and behind a lone `--` nothing is a flag any more. Of one letter there are `-h`
//! and `-V`; whatever else begins with one dash is a text.

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;

use berth_runtime::{MAX_THREADS, Threads};
use berth_task::{Aggregation, LongTexts};

pub const USAGE: &str = "\
usage: berth-edge [FLAGS] F.berth [TEXT [PAIR]]

Answers TEXT (and PAIR, for a model that takes two texts) with a line of JSON.
Without a text it answers every line of standard input: plain text, two texts with a
tab between them, or JSON such as {\"text\": \"…\", \"text_pair\": \"…\"}; for a model that
answers questions, {\"question\": \"…\", \"context\": \"…\"}; for one that tags, also
{\"tokens\": [\"…\", \"…\"]}.

  --text         take every line of input as plain text, also one that begins with {
  --top_k N      write the N best labels only, or a list of the N best answers
  --context FILE the passage that plain lines, or TEXT, are questions on
  --min_score P  mark answers whose score is below P, from 0 to 1, with \"abstained\": true
  --long_texts W what becomes of texts longer than the model's input, where there is one answer
                 for the whole text: windows, whose answers are put together, which is the
                 default, or cut, with a warning
  --aggregation_strategy S
                 the rows of tags: none (a row a piece), first (a row a word) or simple (a row
                 an entity), which is the default for labels that begin with B- or I-
  --no_verify    don't read the whole bundle to check it before the first answer
  --threads N    threads that share each query, 1 where nothing is said
  --bench        measure latency, load time and memory instead of answering
  --inspect      print what the bundle holds instead of answering
  --selftest     compare this machine's answers with the workstation's, bit for bit
  -V, --version  print the version
  -h, --help     print this

BERTH_ISA=portable in the environment forces the kernels of a lower instruction set.
Exit codes: 0; 1 when the bundle, a line or the selftest was bad; 2 for a wrong command line.";

/// What to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    Answer(Answer),
    Bench { bundle: PathBuf, threads: Threads },
    Inspect { bundle: PathBuf, verify: bool },
    Selftest { bundle: PathBuf, verify: bool },
    Help,
    Version,
}

/// What to answer, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub bundle: PathBuf,
    /// A text and its pair, instead of the lines of standard input.
    pub text: Option<(String, Option<String>)>,
    pub verify: bool,
    pub plain_text: bool,
    pub top_k: Option<NonZero<usize>>,
    pub threads: Threads,
    /// The file that holds the passage for questions without one.
    pub context: Option<PathBuf>,
    pub aggregation_strategy: Option<Aggregation>,
    /// Answers with a lower score are marked.
    pub min_score: Option<f32>,
    pub long_texts: LongTexts,
}

/// What is wrong with the command line.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum UsageError {
    NoBundle,
    TooMany(String),
    NotUtf8(String),
    UnknownFlag { flag: String, nearest: &'static str },
    NotANumber(String),
    NotThreads(String),
    NoFile,
    NotABoolean { flag: &'static str, value: String },
    NotAStrategy(String),
    NotAScore(String),
    NotLongTexts(String),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::NoBundle => f.write_str("no bundle given"),
            UsageError::TooMany(argument) => {
                write!(
                    f,
                    "one argument too many: `{argument}` (a text with spaces needs quotes)"
                )
            }
            UsageError::NotUtf8(argument) => write!(f, "`{argument}` is not UTF-8"),
            UsageError::UnknownFlag { flag, nearest } => {
                write!(f, "unknown flag `{flag}`; the nearest is `--{nearest}`")
            }
            UsageError::NotANumber(value) => {
                write!(f, "`--{TOP_K}` takes a number from 1 on, not `{value}`")
            }
            UsageError::NotThreads(value) => {
                write!(
                    f,
                    "`--{THREADS}` takes a number from 1 to {MAX_THREADS}, not `{value}`"
                )
            }
            UsageError::NoFile => f.write_str("`--context` takes the name of a file"),
            UsageError::NotAStrategy(value) => write!(
                f,
                "`--aggregation_strategy` takes `none`, `first` or `simple`, not `{value}`"
            ),
            UsageError::NotAScore(value) => {
                write!(
                    f,
                    "`--{MIN_SCORE}` takes a number from 0 to 1, not `{value}`"
                )
            }
            UsageError::NotLongTexts(value) => {
                write!(
                    f,
                    "`--{LONG_TEXTS}` takes `windows` or `cut`, not `{value}`"
                )
            }
            UsageError::NotABoolean { flag, value } => {
                write!(f, "`--{flag}` takes `true` or `false`, not `{value}`")
            }
        }
    }
}

const BOOLEANS: [&str; 7] = [
    "text",
    "no_verify",
    "bench",
    "inspect",
    "selftest",
    "version",
    "help",
];
const TOP_K: &str = "top_k";
const THREADS: &str = "threads";
const CONTEXT: &str = "context";
const AGGREGATION: &str = "aggregation_strategy";
const MIN_SCORE: &str = "min_score";
const LONG_TEXTS: &str = "long_texts";

/// Reads the arguments behind the program's name.
///
/// # Errors
/// When the bundle is missing, a flag is unknown or its value none that it takes, a text is not UTF-8,
/// or there are more texts than can be read.
pub fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    let mut on = [false; BOOLEANS.len()];
    let mut top_k = None;
    let mut threads = Threads::default();
    let mut context = None;
    let mut aggregation_strategy = None;
    let mut min_score = None;
    let mut long_texts = LongTexts::default();
    let mut bundle = None;
    let mut texts = Vec::new();
    let mut flags_over = false;
    while let Some(argument) = arguments.next() {
        let argument = match argument.into_string() {
            // A path may be any bytes.
            Err(path) if bundle.is_none() => {
                bundle = Some(PathBuf::from(path));
                continue;
            }
            argument => argument.map_err(|a| UsageError::NotUtf8(a.to_string_lossy().into()))?,
        };
        let argument = match argument.as_str() {
            "-h" if !flags_over => "--help".to_owned(),
            "-V" if !flags_over => "--version".to_owned(),
            _ => argument,
        };
        if flags_over || !argument.starts_with("--") {
            match bundle {
                None => bundle = Some(PathBuf::from(argument)),
                Some(_) if texts.len() < 2 => texts.push(argument),
                Some(_) => return Err(UsageError::TooMany(argument)),
            }
            continue;
        }
        if argument == "--" {
            flags_over = true;
            continue;
        }
        let (name, value) = split(&argument);
        if let Some(place) = BOOLEANS.iter().position(|flag| *flag == name) {
            let next = |word: &std::ffi::OsString| {
                word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false")
            };
            let value =
                value.or_else(|| arguments.next_if(next).and_then(|v| v.into_string().ok()));
            on[place] = boolean(BOOLEANS[place], value)?;
        } else if [TOP_K, AGGREGATION, THREADS, MIN_SCORE, LONG_TEXTS].contains(&name.as_str()) {
            let value = value.or_else(|| arguments.next().map(|v| v.to_string_lossy().into()));
            let value = value.unwrap_or_default();
            match name.as_str() {
                TOP_K => {
                    top_k = Some(value.parse().map_err(|_| UsageError::NotANumber(value))?);
                }
                AGGREGATION => {
                    let parsed = value.parse().map_err(|_| UsageError::NotAStrategy(value))?;
                    aggregation_strategy = Some(parsed);
                }
                THREADS => threads = number_of_threads(value)?,
                MIN_SCORE => min_score = Some(score(value)?),
                _ => {
                    long_texts = value.parse().map_err(|_| UsageError::NotLongTexts(value))?;
                }
            }
        } else if name == CONTEXT {
            let file = value.map(Into::into).or_else(|| arguments.next());
            context = Some(PathBuf::from(file.ok_or(UsageError::NoFile)?));
        } else {
            let nearest = nearest(&name);
            return Err(UsageError::UnknownFlag {
                flag: argument,
                nearest,
            });
        }
    }
    let [
        plain_text,
        no_verify,
        bench,
        inspect,
        selftest,
        version,
        help,
    ] = on;
    if help {
        return Ok(Command::Help);
    }
    if version {
        return Ok(Command::Version);
    }
    let bundle = bundle.ok_or(UsageError::NoBundle)?;
    let verify = !no_verify;
    if bench || inspect || selftest {
        if let Some(text) = texts.pop() {
            return Err(UsageError::TooMany(text));
        }
        return Ok(if bench {
            Command::Bench { bundle, threads }
        } else if inspect {
            Command::Inspect { bundle, verify }
        } else {
            Command::Selftest { bundle, verify }
        });
    }
    let mut texts = texts.into_iter();
    let text = texts.next().map(|text| (text, texts.next()));
    Ok(Command::Answer(Answer {
        bundle,
        text,
        verify,
        plain_text,
        top_k,
        threads,
        context,
        aggregation_strategy,
        min_score,
        long_texts,
    }))
}

/// A flag's name, without dashes and with `_` for `-`, and the value behind its `=`.
fn split(argument: &str) -> (String, Option<String>) {
    let argument = argument.strip_prefix("--").unwrap_or(argument);
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (argument, None),
    };
    (name.replace('-', "_"), value)
}

fn number_of_threads(value: String) -> Result<Threads, UsageError> {
    let known = value.parse().ok().filter(|n| (1..=MAX_THREADS).contains(n));
    known.map(Threads).ok_or(UsageError::NotThreads(value))
}

/// A share from 0 to 1.
fn score(value: String) -> Result<f32, UsageError> {
    let known = value.parse::<f32>().ok();
    let known = known.filter(|share| (0.0..=1.0).contains(share));
    known.ok_or(UsageError::NotAScore(value))
}

/// What a switch says: bare, or with a word in any capitals.
fn boolean(flag: &'static str, value: Option<String>) -> Result<bool, UsageError> {
    match value {
        None => Ok(true),
        Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        Some(value) => Err(UsageError::NotABoolean { flag, value }),
    }
}

/// The flag that `name` is most likely a slip of.
fn nearest(name: &str) -> &'static str {
    let flags =
        BOOLEANS
            .into_iter()
            .chain([TOP_K, THREADS, CONTEXT, AGGREGATION, MIN_SCORE, LONG_TEXTS]);
    flags
        .min_by_key(|flag| distance(name, flag))
        .unwrap_or(TOP_K)
}

/// Levenshtein's distance: how many letters to put in, take out or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &[&str]) -> Result<Command, UsageError> {
        parse(line.iter().map(std::ffi::OsString::from))
    }

    fn answer(line: &[&str]) -> Answer {
        match command(line) {
            Ok(Command::Answer(answer)) => answer,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn texts_stand_behind_the_bundle_wherever_the_flags_are() {
        let plain = answer(&["m.berth"]);
        assert_eq!(
            (plain.text, plain.verify, plain.plain_text),
            (None, true, false)
        );
        let texts = Some(("a text".to_owned(), Some("-pair".to_owned())));
        for line in [
            [
                "--no-verify",
                "m.berth",
                "a text",
                "-pair",
                "--top_k=3",
                "--text",
            ],
            [
                "m.berth",
                "a text",
                "--top-k",
                "3",
                "-pair",
                "--no_verify=true",
            ],
        ] {
            let answer = answer(&line);
            assert_eq!(answer.bundle, PathBuf::from("m.berth"));
            assert_eq!((&answer.text, answer.verify), (&texts, false));
            assert_eq!(answer.top_k, NonZero::new(3));
        }
        let texts = answer(&["m.berth", "--", "--bench", "--"]).text;
        assert_eq!(texts, Some(("--bench".into(), Some("--".into()))));
    }

    #[test]
    fn booleans_are_bare_or_say_so_and_the_last_counts() {
        assert!(!answer(&["m", "--no_verify", "true"]).verify);
        assert!(!answer(&["m", "--no_verify", "True"]).verify);
        assert!(answer(&["m", "--no_verify=FALSE"]).verify);
        assert!(answer(&["m", "--no_verify", "false"]).verify);
        assert!(answer(&["m", "--no_verify", "--no_verify=false"]).verify);
        assert_eq!(
            answer(&["m", "--threads", "2", "--threads=4"]).threads,
            Threads(4)
        );
        assert_eq!(
            answer(&["m", "--top_k", "1", "--top_k", "2"]).top_k,
            NonZero::new(2)
        );
    }

    #[test]
    fn a_passage_comes_from_a_file() {
        for line in [["--context", "p.txt", "m"], ["m", "--context", "p.txt"]] {
            assert_eq!(answer(&line).context, Some("p.txt".into()));
        }
        assert_eq!(answer(&["m", "--context=p=q"]).context, Some("p=q".into()));
        assert_eq!(answer(&["m"]).context, None);
        assert_eq!(command(&["m", "--context"]), Err(UsageError::NoFile));
    }

    #[test]
    fn scores_are_shares_and_long_texts_have_two_ways() {
        let usual = answer(&["m"]);
        assert_eq!(
            (usual.min_score, usual.long_texts),
            (None, LongTexts::Windows)
        );
        let said = answer(&["m", "--min-score", "0.75", "--long_texts=cut"]);
        assert_eq!(
            (said.min_score, said.long_texts),
            (Some(0.75), LongTexts::Cut)
        );
        for bad in ["1.5", "-0.1", "NaN", "high", ""] {
            let error = command(&["m", "--min_score", bad]).unwrap_err();
            assert_eq!(error, UsageError::NotAScore(bad.into()));
            assert!(error.to_string().contains("from 0 to 1"), "{error}");
        }
        let error = command(&["m", "--long_texts", "no"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--long_texts` takes `windows` or `cut`, not `no`"
        );
    }

    #[test]
    fn one_thing_is_done_at_a_time() {
        assert_eq!(command(&["--version"]), Ok(Command::Version));
        assert_eq!(command(&["--help", "m"]), Ok(Command::Help));
        assert_eq!(command(&["-V"]), Ok(Command::Version));
        for line in [&["-h"][..], &["m", "-h"], &["-h", "m", "text"]] {
            assert_eq!(command(line), Ok(Command::Help), "{line:?}");
        }
        let text = Some(("-h".to_owned(), Some("-V".to_owned())));
        assert_eq!(answer(&["m", "--", "-h", "-V"]).text, text);
        assert_eq!(answer(&["m", "-v"]).text, Some(("-v".to_owned(), None)));
        assert_eq!(
            command(&["--bench", "m"]),
            Ok(Command::Bench {
                bundle: "m".into(),
                threads: Threads(1)
            })
        );
        assert_eq!(
            command(&["--bench", "--threads=3", "m"]),
            Ok(Command::Bench {
                bundle: "m".into(),
                threads: Threads(3)
            })
        );
        let inspect = Command::Inspect {
            bundle: "m".into(),
            verify: false,
        };
        assert_eq!(command(&["m", "--inspect", "--no-verify"]), Ok(inspect));
        let selftest = Command::Selftest {
            bundle: "m".into(),
            verify: true,
        };
        assert_eq!(command(&["--selftest", "m"]), Ok(selftest));
        assert_eq!(
            command(&["m", "--bench", "text"]),
            Err(UsageError::TooMany("text".into()))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |line: &[&str]| command(line).unwrap_err().to_string();
        assert_eq!(error(&[]), "no bundle given");
        assert!(error(&["m", "a", "b", "c"]).contains("`c`"));
        assert!(error(&["m", "--top_k", "0"]).contains("not `0`"));
        assert!(error(&["m", "--top_k"]).contains("from 1 on"));
        assert!(error(&["m", "--text=maybe"]).contains("`true` or `false`, not `maybe`"));
        assert_eq!(
            error(&["m", "--topk", "1"]),
            "unknown flag `--topk`; the nearest is `--top_k`"
        );
        for bad in ["0", "17", "-1", "two", ""] {
            let error = error(&["m", "--threads", bad]);
            assert_eq!(
                error,
                format!("`--threads` takes a number from 1 to 16, not `{bad}`")
            );
        }
        assert!(error(&["m", "--self_test"]).ends_with("the nearest is `--selftest`"));
    }

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("top_k", "top_k"), 0);
    }
}
