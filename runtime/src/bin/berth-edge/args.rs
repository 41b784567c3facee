//! The command line, taken apart by hand: a device needs few flags and every byte.
//!
//! `_` and `-` are alike in flags, a value stands behind `=` or in the next argument, the last of a
//! repeated flag wins, and behind a lone `--` nothing is a flag any more. Of one letter there are `-h`
//! and `-V`; whatever else begins with one dash is a text.

use std::ffi::OsString;
use std::fmt;
use std::iter::Peekable;
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
{\"tokens\": [\"…\", \"…\"]}. Texts are taken as they stand, also one that begins with @.

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
    Bench {
        bundle: PathBuf,
        verify: bool,
        threads: Threads,
    },
    Inspect {
        bundle: PathBuf,
        verify: bool,
    },
    Selftest {
        bundle: PathBuf,
        verify: bool,
    },
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
    /// Two things to do instead of answering.
    Both([&'static str; 2]),
    NotUtf8(String),
    UnknownFlag {
        flag: String,
        nearest: &'static str,
    },
    NotANumber(String),
    NotThreads(String),
    NoFile,
    NotABoolean {
        flag: &'static str,
        value: String,
    },
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
                    "one argument too many: `{argument}` (a text with spaces needs quotes, and behind ssh two pairs)"
                )
            }
            UsageError::Both([one, other]) => {
                write!(
                    f,
                    "`--{one}` and `--{other}` are two commands; give one of them"
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

/// Where a switch is kept.
type Field = fn(&mut Given) -> &mut bool;

/// The flags that are bare or say `true` or `false`, and what each sets.
const SWITCHES: [(&str, Field); 7] = [
    ("text", |given| &mut given.plain_text),
    ("no_verify", |given| &mut given.no_verify),
    ("bench", |given| &mut given.bench),
    ("inspect", |given| &mut given.inspect),
    ("selftest", |given| &mut given.selftest),
    ("version", |given| &mut given.version),
    ("help", |given| &mut given.help),
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
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    let mut given = Given::default();
    while let Some(argument) = arguments.next() {
        given.take(argument, &mut arguments)?;
    }
    given.command()
}

/// What the command line has said so far.
#[derive(Default)]
struct Given {
    bundle: Option<PathBuf>,
    /// Two at most.
    texts: Vec<String>,
    /// Whether nothing is a flag any more.
    flags_over: bool,
    plain_text: bool,
    no_verify: bool,
    bench: bool,
    inspect: bool,
    selftest: bool,
    version: bool,
    help: bool,
    top_k: Option<NonZero<usize>>,
    threads: Threads,
    context: Option<PathBuf>,
    aggregation_strategy: Option<Aggregation>,
    min_score: Option<f32>,
    long_texts: LongTexts,
}

impl Given {
    /// Takes an argument, and of the `rest` its value, where it is a flag whose value stands there.
    fn take(
        &mut self,
        argument: OsString,
        rest: &mut Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<(), UsageError> {
        let argument = match argument.into_string() {
            // A path may be any bytes.
            Err(path) if self.bundle.is_none() => {
                self.bundle = Some(PathBuf::from(path));
                return Ok(());
            }
            argument => argument.map_err(|a| UsageError::NotUtf8(a.to_string_lossy().into()))?,
        };
        if self.flags_over {
            return self.word(argument);
        }
        match argument.as_str() {
            "--" => {
                self.flags_over = true;
                Ok(())
            }
            "-h" => self.flag("--help", rest),
            "-V" => self.flag("--version", rest),
            flag if flag.starts_with("--") => self.flag(flag, rest),
            _ => self.word(argument),
        }
    }

    /// Takes what is no flag: the bundle, then its texts.
    fn word(&mut self, word: String) -> Result<(), UsageError> {
        match self.bundle {
            None => self.bundle = Some(PathBuf::from(word)),
            Some(_) if self.texts.len() < 2 => self.texts.push(word),
            Some(_) => return Err(UsageError::TooMany(word)),
        }
        Ok(())
    }

    fn flag(
        &mut self,
        argument: &str,
        rest: &mut Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<(), UsageError> {
        let (name, value) = split(argument);
        if let Some((flag, switch)) = SWITCHES.into_iter().find(|(flag, _)| *flag == name) {
            *switch(self) = boolean(flag, value.or_else(|| next_boolean(rest)))?;
        } else if [TOP_K, AGGREGATION, THREADS, MIN_SCORE, LONG_TEXTS].contains(&name.as_str()) {
            let value = value.or_else(|| rest.next().map(|v| v.to_string_lossy().into()));
            self.value(&name, value.unwrap_or_default())?;
        } else if name == CONTEXT {
            let file = value.map(Into::into).or_else(|| rest.next());
            self.context = Some(PathBuf::from(file.ok_or(UsageError::NoFile)?));
        } else {
            return Err(UsageError::UnknownFlag {
                flag: argument.to_owned(),
                nearest: nearest(&name),
            });
        }
        Ok(())
    }

    /// Takes the value of one of the flags that have a number or a word.
    fn value(&mut self, name: &str, value: String) -> Result<(), UsageError> {
        match name {
            TOP_K => {
                self.top_k = Some(value.parse().map_err(|_| UsageError::NotANumber(value))?);
            }
            AGGREGATION => {
                let parsed = value.parse().map_err(|_| UsageError::NotAStrategy(value))?;
                self.aggregation_strategy = Some(parsed);
            }
            THREADS => self.threads = number_of_threads(value)?,
            MIN_SCORE => self.min_score = Some(score(value)?),
            _ => {
                self.long_texts = value.parse().map_err(|_| UsageError::NotLongTexts(value))?;
            }
        }
        Ok(())
    }

    /// What all of it asks for.
    fn command(mut self) -> Result<Command, UsageError> {
        if self.help {
            return Ok(Command::Help);
        }
        if self.version {
            return Ok(Command::Version);
        }
        let bundle = self.bundle.ok_or(UsageError::NoBundle)?;
        let (verify, threads) = (!self.no_verify, self.threads);
        let instead = [
            (self.bench, "bench"),
            (self.inspect, "inspect"),
            (self.selftest, "selftest"),
        ];
        let mut asked = instead.into_iter().filter(|(asked, _)| *asked);
        if let Some((_, one)) = asked.next() {
            if let Some((_, other)) = asked.next() {
                return Err(UsageError::Both([one, other]));
            }
            if let Some(text) = self.texts.pop() {
                return Err(UsageError::TooMany(text));
            }
            return Ok(match one {
                "bench" => Command::Bench {
                    bundle,
                    verify,
                    threads,
                },
                "inspect" => Command::Inspect { bundle, verify },
                _ => Command::Selftest { bundle, verify },
            });
        }
        let mut texts = self.texts.into_iter();
        let text = texts.next().map(|text| (text, texts.next()));
        Ok(Command::Answer(Answer {
            bundle,
            text,
            verify,
            plain_text: self.plain_text,
            top_k: self.top_k,
            threads,
            context: self.context,
            aggregation_strategy: self.aggregation_strategy,
            min_score: self.min_score,
            long_texts: self.long_texts,
        }))
    }
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

/// The next argument, where it is one of the words that a switch takes.
fn next_boolean(rest: &mut Peekable<impl Iterator<Item = OsString>>) -> Option<String> {
    let is_one =
        |word: &OsString| word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false");
    rest.next_if(is_one)?.into_string().ok()
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
    let switches = SWITCHES.into_iter().map(|(flag, _)| flag);
    let flags = switches.chain([TOP_K, THREADS, CONTEXT, AGGREGATION, MIN_SCORE, LONG_TEXTS]);
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
        parse(line.iter().map(OsString::from))
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
                verify: true,
                threads: Threads(1)
            })
        );
        assert_eq!(
            command(&["--bench", "--threads=3", "--no_verify", "m"]),
            Ok(Command::Bench {
                bundle: "m".into(),
                verify: false,
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
        for two in [
            ["bench", "inspect"],
            ["inspect", "selftest"],
            ["bench", "selftest"],
        ] {
            let flags = two.map(|flag| format!("--{flag}"));
            let found = command(&[&flags[1], "m", &flags[0]]);
            assert_eq!(found, Err(UsageError::Both(two)));
        }
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
