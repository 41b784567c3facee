//! What the program says to a hand at the keyboard: versions, help, mistyped flags, missing files.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

fn berth(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(arguments).output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["--help", "--version"] {
        let output = berth(&[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{flag}"
        );
    }
}

#[test]
fn a_mistyped_flag_is_a_usage_error_that_names_the_nearest() {
    let output = berth(&["evaluate", "model", "--validation_fil", "dev.tsv"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).contains("--validation_file"),
        "{}",
        stderr(&output)
    );
    let output = berth(&["ask", "m.berth", "x", "--JSON"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("'--json'"), "{said}");
}

#[test]
fn what_is_wrong_is_named_and_not_what_comes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("alone.onnx"), "").unwrap();
    std::fs::write(at("latin.txt"), b"one\ncaf\xe9\n").unwrap();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/bundle/tiny.berth"
    );
    let latin = format!("@{}", at("latin.txt"));
    for (arguments, code, said) in [
        (
            &["evaluate", "nosuch.onnx", "--validation_file", "x.tsv"][..],
            1,
            "nosuch.onnx: no such file",
        ),
        (
            &["quantize", "nosuch.onnx", "--output", "x.berth"],
            1,
            "nosuch.onnx: no such file",
        ),
        (
            &["evaluate", &at("alone.onnx"), "--validation_file", "x.tsv"],
            1,
            "--tokenizer_name",
        ),
        (
            &["data", "x.tsv"],
            2,
            "nothing names the task: say --task text-classification|",
        ),
        (
            &[
                "data",
                "x.tsv",
                "--task",
                "text-classification",
                "--label_names",
                "a,",
            ],
            2,
            "an empty name",
        ),
        (
            &[
                "data",
                "x.tsv",
                "--task_name",
                "sick_r",
                "--label_names",
                "a,b",
            ],
            2,
            "has none",
        ),
        (
            &["ask", model, "@"],
            2,
            "`@` stands before the name of a file",
        ),
        (&["ask", model, &latin], 1, "latin.txt:2: not UTF-8"),
    ] {
        let output = berth(arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
}

/// `berth tokenize --json` of the lines that it is given.
fn tokenize() -> Child {
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../models/sentiment/sentiment.berth"
    );
    Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["tokenize", model, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_line_of_input_that_is_not_utf_8_is_named() {
    let mut child = tokenize();
    let input = b"one\r\n\ncaf\xe9\n";
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let said = stderr(&output);
    assert!(said.contains("standard input:3: not UTF-8"), "{said}");
}

/// What is told of a line is many times as long, and never in memory as a whole.
#[cfg(target_os = "linux")]
#[test]
fn a_long_line_takes_little_memory() {
    use std::io::{BufRead, BufReader};

    let mut child = tokenize();
    // A piece for each byte.
    let line = ",".repeat(1 << 20) + "\n";
    let mut input = child.stdin.take().unwrap();
    input.write_all(line.as_bytes()).unwrap();
    let mut told = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut told).unwrap();
    let status = format!("/proc/{}/status", child.id());
    let status = std::fs::read_to_string(status).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(told.ends_with("[1048575,1048576],[0,0]]}\n"));
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    let peak: u64 = peak.expect("the peak").parse().unwrap();
    // The model alone is 24 MB of it.
    assert!(peak < 128_000, "{peak} kB for a line of a MiB");
}

#[test]
fn a_device_that_is_not_there_is_said_before_anything_is_read() {
    let finetune = |device| {
        berth(&[
            "finetune",
            "--task_name",
            "mr",
            "--train_file",
            "nowhere.tsv",
            "--output_dir",
            "nowhere",
            "--device",
            device,
        ])
    };
    let bench = |device| berth(&["bench", "--train", "--device", device]);
    // Number 999 is nowhere, whether the program was built for GPUs or not.
    for output in [finetune("cuda:999"), bench("cuda:999")] {
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("cuda:999: "), "{said}");
        if cfg!(not(feature = "cuda")) {
            assert!(said.contains("build it with `--features cuda`"), "{said}");
        }
    }
    for output in [finetune("gpu"), bench("gpu")] {
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains("cpu, cuda or cuda:N"), "{said}");
    }
}

#[test]
fn a_bench_is_of_a_bundle_or_of_training() {
    for arguments in [
        &["bench"][..],
        &["bench", "--train", "false"],
        &["bench", "--train", "nowhere.berth"],
        &["bench", "--train", "--shapes", "32x0"],
    ] {
        let output = berth(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn a_missing_file_is_one_line_that_names_it() {
    for arguments in [
        &["ask", "nowhere.berth", "a text"][..],
        &["inspect", "nowhere"],
        &["evaluate", "nowhere.berth", "--validation_file", "dev.tsv"],
        &["quantize", "nowhere", "--output", "nowhere.berth"],
    ] {
        let output = berth(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        assert!(
            text.starts_with("error: ") && text.contains("nowhere"),
            "{text}"
        );
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    }
}
