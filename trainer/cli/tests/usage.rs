//! What the program says to a hand at the keyboard: versions, help, mistyped flags, missing files.

use std::process::{Command, Output};

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
