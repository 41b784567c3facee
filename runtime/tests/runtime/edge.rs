//! The program `berth-edge`, run as a process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use berth_runtime::lines::MAX_LINE_BYTES;
use berth_task::Task;
use serde_json::Value;

use crate::fixtures::section;
use crate::selftest::with_inputs;
use crate::support;

/// A bundle in a folder of its own.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(task: Task, labels: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("m.berth"), support::bundle(task, labels)).unwrap();
        Fixture { folder }
    }

    fn sentiment() -> Self {
        Fixture::new(Task::TextClassification, &["negative", "positive"])
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-edge"));
        command
            .current_dir(self.path())
            .args(arguments)
            .env_remove("BERTH_ISA");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs with this on standard input.
    fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || pipe.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A program that ends early closes its end of the pipe.
        let written = writer.join().unwrap();
        assert!(written.is_ok() || !output.status.success());
        output
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn answers(output: &Output) -> Vec<Value> {
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_text_gets_one_line() {
    let fixture = Fixture::sentiment();
    let output = fixture.run(&["m.berth", "a good film"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    assert_eq!(answers(&output).len(), 1);
    assert!(output.stdout.ends_with(b"]\n"));
    for arguments in [
        ["--no_verify", "m.berth", "--", "a good film"],
        ["m.berth", "--top-k=2", "a good film", "--text"],
    ] {
        assert_eq!(fixture.run(&arguments).stdout, output.stdout);
    }
    let best = fixture.run(&["m.berth", "a good film", "--top_k", "1"]);
    assert_eq!(answers(&best)[0][0], answers(&output)[0][0]);
    assert_eq!(answers(&best)[0].as_array().unwrap().len(), 1);
    // On the command line, a text is a text.
    assert_eq!(code(&fixture.run(&["m.berth", "{\"text\":"])), 0);
}

#[test]
fn every_line_gets_a_line_in_order() {
    let fixture = Fixture::sentiment();
    let alone = |text: &str| fixture.run(&["m.berth", text]).stdout;
    let input = "a good film\n\r\n{\"text\": \"bad\"}\r\n bad plot ";
    let output = fixture.feed(&["m.berth"], input.as_bytes());
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    let expected = ["a good film", "", "bad", " bad plot "].map(alone).concat();
    assert_eq!(text(&output.stdout), text(&expected));
    let nothing = fixture.feed(&["m.berth"], b"");
    assert_eq!((code(&nothing), nothing.stdout.len()), (0, 0));
    let plain = fixture.feed(&["m.berth", "--text"], b"{\"text\": \"bad\"}");
    assert_eq!(plain.stdout, alone("{\"text\": \"bad\"}"));
}

#[test]
fn answers_are_flushed_before_the_next_question() {
    let fixture = Fixture::sentiment();
    let mut child = fixture
        .command(&["m.berth"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    for question in ["film\n", "{\n", "plot\n"] {
        questions.write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'));
    }
    drop(questions);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_byte_order_mark_before_json_changes_no_answer() {
    let fixture = Fixture::sentiment();
    for lines in ["{\"text\":\"a good film\"}\nfilm\n", "{\"text\":\"film\"}"] {
        let plain = fixture.feed(&["m.berth"], lines.as_bytes());
        let marked = fixture.feed(&["m.berth"], format!("\u{feff}{lines}").as_bytes());
        assert_eq!(code(&plain), 0);
        assert_eq!(code(&marked), 0);
        assert_eq!(marked.stdout, plain.stdout, "{lines}");
    }
}

#[test]
fn bad_lines_are_answered_with_errors_and_the_run_goes_on() {
    let fixture = Fixture::sentiment();
    let mut input = b"film\n{\"text\":7}\n\xff\n".to_vec();
    input.extend(vec![b'x'; MAX_LINE_BYTES + 1]);
    input.extend(b"\nfilm\n");
    let output = fixture.feed(&["m.berth"], &input);
    assert_eq!(code(&output), 1);
    let answers = answers(&output);
    let errors: Vec<bool> = answers
        .iter()
        .map(|answer| answer["error"].is_string())
        .collect();
    assert_eq!(errors, [false, true, true, true, false]);
    assert_eq!(answers[0], answers[4]);
}

#[test]
fn a_long_text_is_read_by_windows_or_cut_with_a_warning() {
    let fixture = Fixture::sentiment();
    let long = "film ".repeat(20_000);
    let input = format!("film\n{long}\n");
    let output = fixture.feed(&["m.berth"], input.as_bytes());
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    assert_eq!(answers(&output)[1][0]["windows"], 572);
    let output = fixture.feed(&["m.berth", "--long_texts", "cut"], input.as_bytes());
    assert_eq!(code(&output), 0);
    assert_eq!(
        text(&output.stderr),
        "berth-edge: warning: line 2 is too long: 19954 word pieces are cut off\n"
    );
    assert_eq!(answers(&output)[1][0]["truncated"], 19_954);
    let output = fixture.run(&["m.berth", "--long-texts=cut", &long]);
    assert!(text(&output.stderr).contains("19954 word pieces"));
}

#[test]
fn cutting_what_is_read_by_windows_whatever_is_said_is_warned_of() {
    for (task, labels, texts) in [
        (Task::TokenClassification, &["A", "B"][..], &["a film"][..]),
        (Task::QuestionAnswering, &[], &["good?", "a film"]),
    ] {
        let fixture = Fixture::new(task, labels);
        let plain = fixture.run(&[&["m.berth"], texts].concat());
        let cut = fixture.run(&[&["m.berth", "--long_texts", "cut"], texts].concat());
        assert_eq!((code(&cut), &cut.stdout), (0, &plain.stdout));
        let said = format!("berth-edge: warning: --long_texts cut changes no answer of {task}\n");
        assert_eq!(
            (text(&plain.stderr), text(&cut.stderr)),
            ("", said.as_str())
        );
    }
}

#[test]
fn an_answer_below_the_least_score_is_marked() {
    let fixture = Fixture::sentiment();
    let output = fixture.run(&["m.berth", "film", "--min_score", "1"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    assert_eq!(answers(&output)[0][0]["abstained"], true);
    let sure = fixture.run(&["m.berth", "film", "--min_score=0.5"]);
    assert_eq!(sure.stdout, fixture.run(&["m.berth", "film"]).stdout);
    let number = Fixture::new(Task::TextPairRegression, &[]);
    let output = number.run(&["m.berth", "a", "b", "--min_score", "0.5"]);
    assert_eq!((code(&output), output.stdout.len()), (2, 0));
    assert!(text(&output.stderr).contains("a number"));
}

/// Ten thousand lines, every tenth of them broken in one of eight ways: as many lines come out, each in
/// its place.
#[test]
fn ten_thousand_lines_of_which_a_tenth_is_broken_give_ten_thousand_lines() {
    const BROKEN: [&[u8]; 8] = [
        b"{",
        b"{\"text\":7}",
        b"{\"text\":\"a\"",
        b"{\"txt\":\"a\"}",
        b"{\"text\":\"\\ud800\"}",
        b"{\"text\":\"a\",}",
        b"{\"text\":\"a\"} b",
        b"{\"text\":\"\xff\"}",
    ];
    let fixture = Fixture::sentiment();
    let mut input = Vec::new();
    for line in 0..10_000 {
        match line % 10 {
            3 => input.extend_from_slice(BROKEN[line / 10 % 8]),
            _ => input.extend(format!("{{\"text\":\"film {}\",\"n\":{line}}}", line % 7).bytes()),
        }
        input.extend_from_slice([&b"\n"[..], b"\r\n"][line % 2]);
    }
    let output = fixture.feed(&["m.berth", "--top_k", "1"], &input);
    assert_eq!((code(&output), text(&output.stderr)), (1, ""));
    let answers = answers(&output);
    assert_eq!(answers.len(), 10_000);
    for (line, answer) in answers.iter().enumerate() {
        assert_eq!(
            answer.get("error").is_some(),
            line % 10 == 3,
            "{line}: {answer}"
        );
        if line >= 70 && line % 10 != 3 && (line - 70) % 10 != 3 {
            assert_eq!(answer, &answers[line - 70]);
        }
    }
}

#[test]
fn plain_lines_are_questions_on_a_passage_from_a_file() {
    let fixture = Fixture::new(Task::QuestionAnswering, &[]);
    let passage = "the plot is not good, the film is gripping\n";
    fs::write(fixture.path().join("passage.txt"), passage).unwrap();
    let alone = fixture.run(&["m.berth", "is it\tgood?", passage]);
    assert_eq!(code(&alone), 0);
    let flags = ["m.berth", "--context", "passage.txt"];
    let given = fixture.feed(
        &flags,
        b"is it\tgood?\n{\"question\":\"is it\\tgood?\"}\r\n",
    );
    assert_eq!((code(&given), &given.stdout), (0, &alone.stdout.repeat(2)));
    let typed = fixture.run(&["m.berth", "is it\tgood?", "--context=passage.txt"]);
    assert_eq!(typed.stdout, alone.stdout);
    let own = fixture.feed(
        &flags,
        b"{\"question\":\"good?\",\"context\":\"a bad plot\"}\n",
    );
    assert_eq!(
        own.stdout,
        fixture.run(&["m.berth", "good?", "a bad plot"]).stdout
    );
    let file = fixture.path().join("marked.txt");
    fs::write(file, format!("\u{feff}{passage}")).unwrap();
    let marked = fixture.run(&["m.berth", "is it\tgood?", "--context=marked.txt"]);
    assert_eq!(marked.stdout, alone.stdout);
    fs::write(fixture.path().join("latin.txt"), b"one\ncaf\xe9\n").unwrap();
    let latin = fixture.run(&["m.berth", "--context", "latin.txt", "good?"]);
    assert_eq!((code(&latin), latin.stdout.len()), (1, 0));
    assert_eq!(
        text(&latin.stderr),
        "berth-edge: latin.txt:2: not UTF-8; save the text as UTF-8\n"
    );
    let missing = fixture.run(&["m.berth", "--context", "none.txt", "good?"]);
    assert_eq!((code(&missing), missing.stdout.len()), (1, 0));
    assert!(text(&missing.stderr).starts_with("berth-edge: none.txt: "));
    let other = Fixture::sentiment();
    fs::write(other.path().join("passage.txt"), passage).unwrap();
    for texts in [&["a"][..], &[]] {
        let flags = ["m.berth", "--context", "passage.txt"];
        let output = other.run(&[&flags, texts].concat());
        assert_eq!((code(&output), output.stdout.len()), (2, 0));
        let said = text(&output.stderr);
        assert!(
            said.contains("m.berth: --context is for a model that answers"),
            "{said}"
        );
    }
}

#[test]
fn more_answers_than_the_bundle_keeps_are_warned_of_once() {
    let fixture = Fixture::new(Task::QuestionAnswering, &[]);
    let lines = b"good?\tthe plot is not good\ngood?\tthe film is gripping\n";
    let asked = |top_k| fixture.feed(&["m.berth", "--top_k", top_k], lines);
    let all = asked("20");
    assert_eq!((code(&all), text(&all.stderr)), (0, ""));
    let more = asked("21");
    assert_eq!((code(&more), &more.stdout), (0, &all.stdout));
    let said = text(&more.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("berth-edge: warning: --top_k 21 ") && said.contains("n_best_size, 20,"),
        "{said}"
    );
}

#[test]
fn pairs_are_two_arguments_or_a_line_with_a_tab() {
    let fixture = Fixture::new(Task::TextPairClassification, &["yes", "no"]);
    let output = fixture.run(&["m.berth", "a film", "a plot"]);
    assert_eq!(code(&output), 0);
    let lines = b"a film\ta plot\n{\"text\":\"a film\",\"text_pair\":\"a plot\"}\n";
    let fed = fixture.feed(&["m.berth"], lines);
    assert_eq!(fed.stdout, output.stdout.repeat(2));
    let missing = fixture.run(&["m.berth", "a film"]);
    assert_eq!((code(&missing), missing.stdout.len()), (2, 0));
    assert!(text(&missing.stderr).contains("two texts"));
    let unwanted = Fixture::sentiment().run(&["m.berth", "a", "b"]);
    assert_eq!(code(&unwanted), 2);
}

#[test]
fn nobody_listening_is_no_failure() {
    let fixture = Fixture::sentiment();
    let mut child = fixture
        .command(&["m.berth"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut questions = child.stdin.take().unwrap();
    // Whether a write still finds somebody depends on who is faster.
    let _ = questions.write_all(&b"film\n".repeat(10_000));
    drop(questions);
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

/// As systemd hands a connection over: one socket to read from and to write to, whose other end is closed while
/// a part of an answer is unread.
#[cfg(unix)]
#[test]
fn a_client_that_hangs_up_is_no_failure() {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let fixture = Fixture::sentiment();
    let (mut client, service) = UnixStream::pair().unwrap();
    let child = fixture
        .command(&["m.berth"])
        .stdin(OwnedFd::from(service.try_clone().unwrap()))
        .stdout(OwnedFd::from(service))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.write_all(b"film\n").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    drop(client);
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

/// The rows of a text that fills all these positions, each with this label, would take 3 GB.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_not_there_is_a_failure_in_one_line() {
    let fixture = Fixture::sentiment();
    let task = Task::TokenClassification;
    let bundle = support::bundle_with(task, &[&"a".repeat(8_000)], |shape| {
        shape.positions = 65_536;
    });
    fs::write(fixture.path().join("m.berth"), bundle).unwrap();
    let limited = "ulimit -v 1000000 && exec \"$0\" m.berth film";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_berth-edge")])
        .current_dir(fixture.path())
        .env_remove("BERTH_ISA")
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stderr),
        "berth-edge: m.berth: no 3189768704 bytes of memory\n"
    );
    assert_eq!((code(&output), output.stdout.len()), (1, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let fixture = Fixture::sentiment();
    let full = || {
        Stdio::from(
            fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
    };
    let output = fixture
        .command(&["m.berth", "film"])
        .stdout(full())
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).starts_with("berth-edge: standard output: "));
}

#[test]
fn a_damaged_bundle_answers_nothing_unless_told_to() {
    let fixture = Fixture::sentiment();
    let path = fixture.path().join("m.berth");
    let mut bytes = fs::read(&path).unwrap();
    let at = section(&bytes, 1);
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = fixture.feed(&["m.berth"], b"film\n");
    assert_eq!((code(&output), output.stdout.len()), (1, 0));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("berth-edge: m.berth: ") && error.lines().count() == 1,
        "{error}"
    );
    assert_eq!(
        code(&fixture.feed(&["m.berth", "--no_verify"], b"film\n")),
        0
    );
    for instead in ["--bench", "--inspect", "--selftest"] {
        let output = fixture.run(&["m.berth", instead]);
        assert_eq!((code(&output), output.stdout.len()), (1, 0), "{instead}");
        assert_eq!(text(&output.stderr), error, "{instead}");
    }
    assert_eq!(
        code(&fixture.run(&["m.berth", "--inspect", "--no_verify"])),
        0
    );
    let none = fixture.run(&["none.berth", "film"]);
    assert_eq!((code(&none), text(&none.stderr).lines().count()), (1, 1));
}

#[test]
fn the_environment_forces_a_tier_with_the_same_answer() {
    let fixture = Fixture::sentiment();
    let run = |isa: &str| {
        let mut command = fixture.command(&["m.berth", "a good film"]);
        command
            .env("BERTH_ISA", isa)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let expected = fixture.run(&["m.berth", "a good film"]).stdout;
    for isa in berth_kernels::Isa::available() {
        assert_eq!(run(isa.tier().name()).stdout, expected);
    }
    assert_eq!(run("").stdout, expected);
    let unknown = run("quantum");
    assert_eq!((code(&unknown), unknown.stdout.len()), (1, 0));
    let error = text(&unknown.stderr);
    assert!(
        error.contains("BERTH_ISA=quantum") && error.contains("portable"),
        "{error}"
    );
}

#[test]
fn threads_share_a_query_and_change_nothing() {
    let fixture = Fixture::sentiment();
    let alone = fixture.run(&["m.berth", "a gripping film"]);
    for threads in ["1", "2", "4"] {
        let shared = fixture.run(&["m.berth", "a gripping film", "--threads", threads]);
        assert_eq!((code(&shared), &shared.stdout), (0, &alone.stdout));
    }
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let fixture = Fixture::sentiment();
    for arguments in [
        &[][..],
        &["m.berth", "--self_test"],
        &["m.berth", "--threads", "0"],
        &["m.berth", "--topk", "2"],
        &["m.berth", "a", "b", "c"],
    ] {
        let output = fixture.run(arguments);
        assert_eq!(
            (code(&output), output.stdout.len()),
            (2, 0),
            "{arguments:?}"
        );
        assert_eq!(text(&output.stderr).lines().count(), 1, "{arguments:?}");
    }
    let version = fixture.run(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        concat!("berth-edge ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = fixture.run(&["--help"]);
    assert!(code(&help) == 0 && text(&help.stdout).contains("--no_verify"));
}

#[test]
fn a_bundle_is_inspected_and_measured() {
    let fixture = Fixture::sentiment();
    let inspected = fixture.run(&["--inspect", "m.berth"]);
    assert_eq!(code(&inspected), 0);
    assert!(text(&inspected.stdout).starts_with("m.berth\ntask         text-classification\n"));

    let measured = fixture.run(&["m.berth", "--bench"]);
    assert_eq!((code(&measured), text(&measured.stderr)), (0, ""));
    let report = &answers(&measured)[0];
    let lengths: Vec<_> = report["lengths"].as_object().unwrap().keys().collect();
    assert_eq!(
        lengths,
        ["16", "32"],
        "those that the model has positions for"
    );
    for latency in report["lengths"].as_object().unwrap().values() {
        let of = |name: &str| latency[name].as_f64().unwrap();
        assert!(0.0 < of("min_ms") && of("min_ms") <= of("p50_ms"));
        assert!(of("p50_ms") <= of("p90_ms") && of("p90_ms") <= of("p99_ms"));
    }
    assert_eq!(report["allocations_per_query"], 0.0);
    assert!(report["load_ms"].as_f64() > Some(0.0) && report["cpu"].is_string());
}

#[test]
fn the_selftest_tells_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture { folder };
    let test = |bytes: &[u8], flags: &[&str]| {
        fs::write(fixture.path().join("m.berth"), bytes).unwrap();
        let output = fixture.run(&[&["--selftest", "m.berth"], flags].concat());
        let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            said(output.stdout),
            said(output.stderr),
        )
    };
    let task = Task::TextClassification;
    let (code, out, err) = test(&with_inputs(task, &[1, 9], |_| 0), &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("m.berth\ninputs of 1, 9 tokens\n"), "{out}");
    assert!(out.ends_with("bits\n") && out.contains("passed: "), "{out}");

    let (code, out, err) = test(&with_inputs(task, &[1, 9], |_| 1), &[]);
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    assert!(
        out.contains("0 of 2 the same") && out.contains("FAILED: "),
        "{out}"
    );

    let old = support::bundle(task, &["negative", "positive"]);
    let (code, out, err) = test(&old, &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("berth-edge: m.berth: ") && err.contains("quantize"),
        "{err}"
    );

    // A weight that changed on the way is found by its checksum, or else by the answers.
    let mut damaged = with_inputs(task, &[1, 9], |_| 0);
    let at = section(&damaged, 1);
    damaged[at..at + 64].fill(0x55);
    let (code, _, err) = test(&damaged, &[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("layer 0"), "{err}");
    let (code, out, _) = test(&damaged, &["--no_verify"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("FAILED: "), "{out}");
}
