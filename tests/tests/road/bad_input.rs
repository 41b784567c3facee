//! Bad input gets one clear line and exit code 1, and leaves nothing half-written.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{self, Dice, Trained};
use crate::program::{self, Run, berth};
use crate::real::say;

/// How many changed bytes are tried, over the whole bundle; `BERTH_TEST_ROUNDS` sets another number.
const CHANGED_BYTES: usize = 60;

/// Each way a table can be wrong: its bytes, and what the error says after the file's name.
const TABLES: [(&str, &[u8], &[&str]); 6] = [
    (
        "no-column.tsv",
        b"review\tlabel\nfine\tpositive\n",
        &[":1:", "review", "--text_column_name"],
    ),
    (
        "short.tsv",
        b"sentence\tlabel\ngood\tpositive\nbad\n",
        &[":3:", "1 column", "2"],
    ),
    (
        "unknown.tsv",
        b"sentence\tlabel\ngood\tpositive\nbad\tsour\n",
        &[":3:", "sour", "negative, positive"],
    ),
    ("empty.tsv", b"", &[":1:", "empty"]),
    ("header.tsv", b"sentence\tlabel\n", &[":", "no rows"]),
    (
        "latin1.tsv",
        b"sentence\tlabel\ngood\tpositive\ncaf\xe9\tnegative\n",
        &[":3:", "UTF-8"],
    ),
];

#[test]
fn a_bad_table_is_named_with_its_line() {
    let dir = fixture::folder();
    let model = &Trained::get().checkpoint;
    for (name, bytes, expected) in TABLES {
        let table = dir.path().join(name);
        fs::write(&table, bytes).expect("a table");
        let mut runs = vec![
            evaluate(model, &table),
            evaluate(&Trained::get().bundle, &table),
        ];
        // While learning, a new label is no mistake.
        if name != "unknown.tsv" {
            runs.push(finetune(model, &table, &dir.path().join("out")));
        }
        for run in runs {
            let line = run.refused();
            let place = format!("{}{}", table.display(), expected[0]);
            assert!(line.contains(&place), "{line}");
            assert!(
                expected[1..].iter().all(|word| line.contains(word)),
                "{line}"
            );
        }
        nothing_but(dir.path(), &[name]);
        fs::remove_file(table).expect("our own file");
    }
}

#[cfg(unix)]
#[test]
fn an_output_in_a_folder_that_is_not_there_names_the_way_out() {
    let dir = fixture::folder();
    let nowhere = dir.path().join("nowhere");
    let output = nowhere.join("x.berth");
    let line = berth([
        OsStr::new("quantize"),
        Trained::get().checkpoint.as_os_str(),
        OsStr::new("--output"),
        output.as_os_str(),
    ])
    .refused();
    let said = "nowhere: No such file or directory (os error 2); make the folder first";
    assert!(line.ends_with(said), "{line}");
    assert!(!nowhere.exists());
}

/// Files for other tasks that are wrong: task, name, bytes, and what the error says after the file's name.
const OTHERS: [(&str, &str, &[u8], &[&str]); 14] = [
    (
        "text-classification",
        "open.jsonl",
        b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\n{\"text\":\"c\",\"label\":\"x\"}\n",
        &[":2:", "not valid JSON"],
    ),
    ("token-classification", "short.conll", b"the O\n\nfilm\n", &[":3:", "1 column", "2"]),
    ("token-classification", "long.conll", b"the\tO\nfilm\tO\tB-X\n", &[":2:", "3 columns", "2"]),
    ("token-classification", "bare.conll", b"the\nfilm\n", &[":1:", "no tag", "--label_column_name"]),
    ("token-classification", "gap.conll", b"the\tO\r\nfilm\t\r\n", &[":2:", "without a tag"]),
    (
        "token-classification",
        "tags.jsonl",
        b"{\"tokens\":[\"a\"],\"tags\":[\"O\"]}\r\n{\"tokens\":[\"a\",\"b\"],\"tags\":[\"O\"]}\r\n",
        &[":2:", "2 words and 1 tag"],
    ),
    ("token-classification", "latin1.conll", b"the O\ncaf\xe9 O\n", &[":2:", "UTF-8"]),
    ("token-classification", "number.conllu", b"x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", &[":1:", "number"]),
    ("text-classification", "quote.csv", b"text,label\ngood,1\n\"bad,0\n", &[":3:", "never closes"]),
    ("text-pair-regression", "number.csv", b"text,text_pair,label\na,b,1\na,b,much\n", &[":3:", "much", "number"]),
    (
        "question-answering",
        "member.json",
        b"{\"data\":[{\"paragraphs\":[\n{\"context\":\"a\",\"qas\":[\n{\"id\":\"1\",\"answers\":[]}]}]}]}",
        &[":3:", "question"],
    ),
    (
        "question-answering",
        "starts.jsonl",
        b"{\"question\":\"q\",\"context\":\"a\",\"answers\":{\"text\":[\"a\"],\"answer_start\":[]}}",
        &[":1:", "1 answers with 0 places"],
    ),
    ("question-answering", "cut.json", b"{\"data\":[\n{\"paragraphs\":", &[":2:", "not valid JSON"]),
    ("question-answering", "latin1.jsonl", b"\n{\"question\":\"caf\xe9\"}", &[":2:", "UTF-8"]),
];

#[test]
fn a_bad_file_of_any_task_is_named_with_its_line() {
    let dir = fixture::folder();
    for (task, name, bytes, expected) in OTHERS {
        let file = dir.path().join(name);
        fs::write(&file, bytes).expect("a file");
        let model = &Trained::get().checkpoint;
        for run in [
            learn(task, model, &file, &dir.path().join("out")),
            data(task, &file, model),
        ] {
            let line = run.refused();
            let place = format!("{}{}", file.display(), expected[0]);
            assert!(line.contains(&place), "{line}");
            let rest = &expected[1..];
            assert!(rest.iter().all(|word| line.contains(word)), "{line}");
        }
        nothing_but(dir.path(), &[name]);
        fs::remove_file(file).expect("our own file");
    }
}

#[test]
fn questions_whose_answers_are_elsewhere_are_told_with_their_file() {
    let dir = fixture::folder();
    let file = dir.path().join("elsewhere.jsonl");
    let row = r#"{"question":"q","context":"a b","answers":{"text":["b"],"answer_start":[0]}}"#;
    fs::write(&file, row).expect("a file");
    let out = dir.path().join("out");
    let run = learn(
        "question-answering",
        &Trained::get().checkpoint,
        &file,
        &out,
    );
    let line = run.refused();
    let told = format!("{}: the answer to none of 1 questions", file.display());
    assert!(line.contains(&told), "{line}");
    assert!(!out.exists());
}

/// Control characters have no pieces: nothing could be learned from such a file, nor measured, however long it took.
#[test]
fn words_of_which_none_has_a_piece_are_told_before_anything_is_learned() {
    let dir = fixture::folder();
    let task = "token-classification";
    let [whole, none] = [
        ("whole.conll", "film O\n"),
        ("none.conll", "\u{1} O\n\n\u{2} O\n"),
    ]
    .map(|(name, content)| (dir.path().join(name), content));
    for (file, content) in [&whole, &none] {
        fs::write(file, content).expect("a file");
    }
    let (whole, none) = (whole.0, none.0);
    let (base, out) = (dir.path().join("base"), dir.path().join("out"));
    fixture::base_model(&base);
    let measured = |dev: &Path| {
        let fixed = [
            "finetune",
            "--task",
            task,
            "--max_steps",
            "1",
            "--train_file",
        ];
        let paths = [&whole, &out, &base].map(|path| path.as_os_str());
        let [train, out, base] = paths;
        let flags: [&OsStr; 7] = [
            train,
            "--output_dir".as_ref(),
            out,
            "--model_name_or_path".as_ref(),
            base,
            "--validation_file".as_ref(),
            dev.as_os_str(),
        ];
        berth(fixed.map(OsStr::new).into_iter().chain(flags))
    };
    for run in [learn(task, &base, &none, &out), measured(&none)] {
        let line = run.refused();
        let told = format!("{}: none of its 2 words has a piece", none.display());
        assert!(line.contains(&told), "{line}");
        assert!(!out.exists());
    }
    measured(&whole).ok();
    let line = evaluate(&out, &none).refused();
    assert!(line.contains("none.conll: none of its 2 words"), "{line}");
}

/// Marks and line ends of other systems change nothing; what is left out is counted.
#[test]
fn a_byte_order_mark_and_carriage_returns_are_borne() {
    let dir = fixture::folder();
    let model = &Trained::get().checkpoint;
    let rows = ["a O", "b B-X", "", "c O"];
    let question = r#"{"id": "ID", "question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [AT]}}"#;
    let questions = ["2", "1"].map(|at| question.replace("AT", at).replace("ID", at));
    let text = ["text\tlabel", "good\t1", "bad\t0"].map(str::to_owned);
    let files = [
        (
            "token-classification",
            "a.conll",
            rows.map(str::to_owned).to_vec(),
        ),
        ("question-answering", "a.jsonl", questions.to_vec()),
        ("text-classification", "a.tsv", text.to_vec()),
    ];
    for (task, name, lines) in files {
        let told = |content: String| {
            let file = dir.path().join(name);
            fs::write(&file, content).expect("a file");
            let line = data(task, &file, model).ok();
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON")
        };
        let plain = told(lines.join("\n") + "\n");
        assert_eq!(told(format!("\u{feff}{}\r\n", lines.join("\r\n"))), plain);
        if task == "question-answering" {
            assert_eq!(
                (&plain["answers"]["answer"], &plain["answers"]["misplaced"]),
                (&1.into(), &1.into())
            );
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = fixture::folder();
    let missing = dir.path().join("missing.tsv");
    let trained = Trained::get();
    for run in [
        evaluate(&trained.checkpoint, &missing),
        evaluate(&missing, &trained.dev),
        finetune(&trained.checkpoint, &missing, &dir.path().join("out")),
        finetune(&missing, &trained.dev, &dir.path().join("out")),
        quantize(&missing, &dir.path().join("out.berth")),
        ask(&missing.with_extension("berth"), "a film"),
    ] {
        let line = run.refused();
        assert!(line.contains("missing"), "{line}");
    }
    nothing_but(dir.path(), &[]);
}

#[test]
fn a_checkpoint_cut_anywhere_is_refused() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let copy = dir.path().join("model");
    trained.copy(&copy);
    let weights = copy.join("model.safetensors");
    let whole = fs::read(&weights).expect("weights");
    for length in [0, 7, 8, 500, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).expect("cut weights");
        for run in [
            evaluate(&copy, &trained.dev),
            quantize(&copy, &dir.path().join("out.berth")),
            finetune(&copy, &trained.dev, &dir.path().join("out")),
        ] {
            let line = run.refused();
            assert!(
                line.contains("model.safetensors"),
                "cut to {length}: {line}"
            );
        }
        nothing_but(dir.path(), &["model"]);
    }
}

#[test]
fn a_bundle_cut_anywhere_or_changed_anywhere_is_refused() {
    let dir = fixture::folder();
    let whole = fs::read(&Trained::get().bundle).expect("the bundle");
    let damaged = dir.path().join("damaged.berth");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&damaged, bytes).expect("a damaged bundle");
        let line = ask(&damaged, "a film").refused();
        assert!(line.contains("damaged.berth"), "{what}: {line}");
    };
    for part in 0..20 {
        let mut bytes = whole.clone();
        bytes[whole.len() * part / 20] ^= 1;
        fs::write(&damaged, bytes).expect("a damaged bundle");
        for command in ["tokenize", "inspect"] {
            let text = ["a film"].into_iter().filter(|_| command == "tokenize");
            let words = [command, damaged.to_str().expect("UTF-8")]
                .into_iter()
                .chain(text);
            let line = berth(words).refused();
            assert!(line.contains("damaged.berth"), "{command}: {line}");
        }
    }
    for part in 0..20 {
        let length = whole.len() * part / 20;
        refused(&whole[..length], &format!("cut to {length}"));
    }
    refused(&whole[..whole.len() - 1], "its last byte cut");
    refused(&[&whole[..], b"\0"].concat(), "a byte too many");
    let mut dice = Dice(11);
    // The prefix byte by byte, then bytes of the header and the sections.
    let header = (0..64)
        .chain((0..16).map(|_| 64 + dice.below(400)))
        .collect::<Vec<_>>();
    let rounds = rounds(CHANGED_BYTES);
    let places = header
        .into_iter()
        .chain((0..rounds).map(|_| dice.below(whole.len())));
    for place in places.collect::<Vec<_>>() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << dice.below(8);
        refused(&bytes, &format!("byte {place} changed"));
    }
}

#[test]
fn what_is_no_bundle_at_all_is_refused() {
    let dir = fixture::folder();
    let file = dir.path().join("letter.berth");
    fs::write(&file, "Dear all,\n").expect("a file");
    let line = ask(&file, "a film").refused();
    assert!(line.contains("letter.berth"), "{line}");
    let line = ask(dir.path(), "a film").refused();
    assert!(line.contains(&dir.path().display().to_string()), "{line}");
}

#[test]
fn a_file_that_is_measured_on_is_not_written_over() {
    let dir = fixture::folder();
    let row = "{\"text\":\"a good film\",\"label\":\"positive\"}\n";
    let measured = |name: &str| {
        let file = dir.path().join(name);
        fs::write(&file, row).expect("a file");
        let run = berth([
            "evaluate".as_ref(),
            Trained::get().bundle.as_os_str(),
            "--validation_file".as_ref(),
            file.as_os_str(),
            "--format".as_ref(),
            "jsonl".as_ref(),
            "--output_dir".as_ref(),
            dir.path().as_os_str(),
        ]);
        assert_eq!(fs::read_to_string(&file).expect("the file"), row);
        run
    };
    let line = measured("eval_results.json").refused();
    assert!(
        line.contains("eval_results.json: is read, and would be written over"),
        "{line}"
    );
    // Only questions have such a file.
    fs::remove_file(dir.path().join("eval_results.json")).expect("our own file");
    measured("eval_predictions.json").ok();
    nothing_but(dir.path(), &["eval_predictions.json", "eval_results.json"]);
}

#[test]
fn a_folder_with_something_in_it_is_kept() {
    let dir = fixture::folder();
    let out = dir.path().join("out");
    fs::create_dir(&out).expect("a folder");
    fs::write(out.join("notes.txt"), "mine").expect("a file");
    let line = finetune(&Trained::get().checkpoint, &Trained::get().dev, &out).refused();
    assert!(line.contains("--overwrite_output_dir"), "{line}");
    assert!(line.contains("--resume_from_checkpoint"), "{line}");
    nothing_but(&out, &["notes.txt"]);
}

#[test]
fn a_gate_that_is_missed_writes_nothing() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let output = dir.path().join("out.berth");
    let run = berth([
        "quantize".as_ref(),
        trained.checkpoint.as_os_str(),
        "--output".as_ref(),
        output.as_os_str(),
        "--validation_file".as_ref(),
        trained.dev.as_os_str(),
        "--max_drop=-100".as_ref(),
        "--json".as_ref(),
    ]);
    assert_eq!(run.code, Some(1), "{run:?}");
    // The report is told all the same, with what was tried.
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("a line of JSON");
    let tried = report["search"].as_array().expect("the search's log");
    let changes: Vec<_> = tried
        .iter()
        .filter_map(|step| step["change"].as_str())
        .collect();
    assert_eq!((changes[0], changes.len()), ("none", 5), "{changes:?}");
    assert!(report["layers"].is_array(), "{report}");
    assert!(
        run.stderr
            .lines()
            .last()
            .is_some_and(|line| line.contains("100")),
        "{run:?}"
    );
    nothing_but(dir.path(), &[]);
}

#[test]
fn no_text_and_a_very_long_one_are_answered() {
    let dir = fixture::folder();
    let long = dir.path().join("long.txt");
    for (text, windows) in [
        ("a".repeat(100_000), false),
        ("good film ".repeat(10_000), true),
    ] {
        fs::write(&long, &text).expect("a text");
        let run = ask(&Trained::get().bundle, &format!("@{}", long.display()));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        assert_eq!(run.stdout.contains("windows"), windows, "{}", run.stdout);
        assert!(run.stdout.contains("positive") && run.stdout.contains("negative"));
    }
    let answered = ask(&Trained::get().bundle, "").ok();
    assert!(
        answered.contains("positive") && answered.contains("negative"),
        "{answered}"
    );
    let lines = format!("\n{}\n", "a".repeat(100_000));
    let edge = program::edge([&Trained::get().bundle], &lines).ok();
    assert_eq!(edge.lines().count(), 2, "{edge}");
}

/// Each output of a command that meets a full disk is whole or not there.
///
/// Needs a disk to fill: a small file system in memory, which only root can mount.
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let needed = fs::metadata(&trained.bundle).expect("the bundle").len();
    let Some(disk) = Disk::mount(&dir.path().join("disk"), needed * 3 / 4) else {
        say("full disk: SKIPPED, only root can mount a small one");
        return;
    };
    let line = quantize(&trained.checkpoint, &disk.0.join("out.berth")).refused();
    assert!(line.contains("out.berth"), "{line}");
    nothing_but(&disk.0, &[]);
    // Not even the first checkpoint fits.
    fs::write(disk.0.join("filler"), vec![1; needed as usize / 2]).expect("room for half of it");
    let run = finetune(&trained.checkpoint, &trained.dev, &disk.0.join("out"));
    assert_eq!(run.code, Some(1), "{run:?}");
    let last = run
        .stderr
        .trim_end()
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    assert!(last.contains("out"), "{run:?}");
    let out = disk.0.join("out");
    let leftovers = if out.exists() {
        names(&out)
    } else {
        Vec::new()
    };
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

fn finetune(model: &Path, table: &Path, output: &Path) -> Run {
    learn("text-classification", model, table, output)
}

fn data(task: &str, file: &Path, model: &Path) -> Run {
    berth([
        "data".as_ref(),
        file.as_os_str(),
        "--task".as_ref(),
        task.as_ref(),
        "--model_name_or_path".as_ref(),
        model.as_os_str(),
        "--json".as_ref(),
    ])
}

fn learn(task: &str, model: &Path, table: &Path, output: &Path) -> Run {
    berth([
        "finetune".as_ref(),
        "--task".as_ref(),
        task.as_ref(),
        "--model_name_or_path".as_ref(),
        model.as_os_str(),
        "--train_file".as_ref(),
        table.as_os_str(),
        "--output_dir".as_ref(),
        output.as_os_str(),
        "--max_steps".as_ref(),
        "2".as_ref(),
    ])
}

fn evaluate(model: &Path, table: &Path) -> Run {
    berth([
        "evaluate".as_ref(),
        model.as_os_str(),
        "--validation_file".as_ref(),
        table.as_os_str(),
    ])
}

fn quantize(model: &Path, output: &Path) -> Run {
    berth([
        "quantize".as_ref(),
        model.as_os_str(),
        "--output".as_ref(),
        output.as_os_str(),
    ])
}

fn ask(bundle: &Path, text: &str) -> Run {
    berth(["ask".as_ref(), bundle.as_os_str(), text.as_ref()])
}

/// Holds that a folder has exactly these entries, hidden ones counted.
fn nothing_but(dir: &Path, expected: &[&str]) {
    assert_eq!(names(dir), expected, "in {}", dir.display());
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let mut names: Vec<_> = entries
        .map(|entry| name(entry.expect("an entry")))
        .collect();
    names.sort();
    names
}

/// A file system in memory, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir(at).expect("a folder");
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Disk(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

fn rounds(usual: usize) -> usize {
    let wanted = std::env::var("BERTH_TEST_ROUNDS").ok();
    wanted.map_or(usual, |wanted| {
        wanted.parse().expect("BERTH_TEST_ROUNDS is a number")
    })
}
