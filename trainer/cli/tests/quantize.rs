//! `berth quantize` by itself and inside of longer commands: what it tells of a file that fits badly, and that no end in
//! its midst leaves something half done.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use berth_checkpoint::{hex, sha256};
use serde_json::{Value, json};

const DEV: &str = "data/sentiment/dev.tsv";

/// The program in `folder`.
fn berth(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(arguments).current_dir(folder);
    command
}

/// What it prints.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = berth(folder, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A folder with a tiny model, its base and its data.
fn walked() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    printed(
        dir.path(),
        &["quickstart", "--tiny", "--output_dir", ".", "--threads=2"],
    );
    dir
}

#[test]
fn what_no_figure_is_about_is_told_in_every_form() {
    let dir = walked();
    let quantize = |model: &str, more: &[&str]| {
        let fixed = ["quantize", model, "--output", "cut.berth"];
        let file = ["--validation_file", DEV];
        printed(dir.path(), &[&fixed[..], &file, more].concat())
    };
    let page = || fs::read_to_string(dir.path().join("cut.report.html")).expect("a page");
    let cut = ["--max_seq_length=8", "--max_drop=100"];
    let told = quantize("tiny", &[&cut[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let count = told["f32"]["eval_truncated"].as_u64().expect("a count");
    assert_eq!(told["int8"]["eval_truncated"], count);
    let warning = format!("{count} of 1000 texts were cut to 8 pieces");
    assert_eq!(told["warnings"], json!([warning]));
    let gate = json!({"max_drop": 100.0, "min_agreement": null, "passed": true});
    assert_eq!(told["gate"], gate);
    assert!(quantize("tiny", &cut).contains(&format!("\nwarning: {warning}\n")));
    let shown = page();
    let digest = hex(&sha256(dir.path().join("cut.berth")).expect("a bundle"));
    for part in [
        warning.as_str(),
        "Asked for: --max_drop 100; ",
        "dev.tsv",
        &digest,
    ] {
        assert!(shown.contains(part), "{part}");
    }
    // Once, and not on stderr as well.
    let line = [
        "quantize",
        "tiny",
        "--output",
        "cut.berth",
        "--validation_file",
        DEV,
        cut[0],
    ];
    let output = berth(dir.path(), &line).output().expect("the program runs");
    let beside = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !beside.contains("were cut"),
        "{beside}"
    );

    printed(dir.path(), &["export", "tiny", "--output_dir", "onnx"]);
    let eight_bits = "the weights came in eight bits, so f32 stands for these weights";
    let [whole, steps] = ["onnx/model.onnx", "onnx/model_quantized.onnx"];
    assert!(!quantize(whole, &[]).contains(eight_bits));
    assert!(quantize(steps, &[]).contains(eight_bits));
    assert!(page().contains(eight_bits));
}

/// Killed as soon as a bundle lies there: the page beside it is that bundle's, if there is one.
#[test]
fn a_bundle_never_stands_beside_the_page_of_another() {
    let dir = walked();
    let bundle = dir.path().join("tiny.berth");
    let page = dir.path().join("tiny.report.html");
    for layers in ["--f32_layers=0", "--f32_layers=1"] {
        let before = fs::read(&bundle).expect("a bundle");
        let quantize = ["quantize", "tiny", "--output", "tiny.berth", layers];
        let file = ["--validation_file", DEV];
        let mut command = berth(dir.path(), &[&quantize[..], &file].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program runs");
        while fs::read(&bundle).expect("a bundle") == before && is_running(&mut child) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().expect("a child");
        let digest = || hex(&sha256(&bundle).expect("a bundle"));
        if let Ok(page) = fs::read_to_string(&page) {
            assert!(page.contains(&digest()), "the page is of another bundle");
        }
        printed(dir.path(), &[&quantize[..], &file].concat());
        let page = fs::read_to_string(&page).expect("a page");
        assert!(page.contains(&digest()), "the next one has its page");
    }
}

#[cfg(unix)]
#[test]
fn a_link_at_the_place_of_the_page_stays_one() {
    let dir = walked();
    let at = |name: &str| dir.path().join(name);
    let (link, page) = (at("tiny.report.html"), at("kept.html"));
    fs::rename(&link, &page).expect("a page");
    std::os::unix::fs::symlink("kept.html", &link).expect("a link");
    printed(
        dir.path(),
        &["quantize", "tiny", "--output=tiny.berth", "--f32_layers=0"],
    );
    assert!(link.is_symlink());
    let digest = hex(&sha256(at("tiny.berth")).expect("a bundle"));
    let page = fs::read_to_string(&page).expect("a page");
    assert!(page.contains(&digest), "the page is of another bundle");
}

/// Both lead to a file that is not there yet.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_stay_links_to_what_is_written() {
    use std::os::unix::fs::symlink;

    let dir = walked();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("kept")).expect("a folder");
    for name in ["link.berth", "link.report.html"] {
        symlink(format!("kept/{name}"), at(name)).expect("a link");
    }
    let quantize = ["quantize", "tiny", "--output=link.berth"];
    for _ in 0..2 {
        printed(dir.path(), &quantize);
        assert!(at("link.berth").is_symlink() && at("link.report.html").is_symlink());
        let digest = hex(&sha256(at("kept/link.berth")).expect("a bundle"));
        let page = fs::read_to_string(at("kept/link.report.html")).expect("a page");
        assert!(page.contains(&digest), "the page is of another bundle");
    }

    symlink("none/new.berth", at("lost.berth")).expect("a link");
    let refused = berth(dir.path(), &["quantize", "tiny", "--output=lost.berth"]).output();
    let refused = refused.expect("the program runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("none: ") && said.ends_with("; make the folder first\n"),
        "{said}"
    );
    assert!(at("lost.berth").is_symlink() && !at("none").exists());
}

#[cfg(unix)]
#[test]
fn a_bundle_that_cannot_be_written_leaves_the_earlier_one_and_its_page() {
    let dir = walked();
    let files = || {
        let names = ["tiny.berth", "tiny.report.html"];
        names.map(|name| fs::read(dir.path().join(name)).expect("a file"))
    };
    let before = files();
    // No file may become as long as a bundle.
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let quantize = ["quantize", "tiny", "--output=tiny.berth", "--f32_layers=0"];
    let mut command = Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_berth")]);
    let output = command.args(quantize).current_dir(dir.path()).output();
    let output = output.expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("tiny.berth: ") && !said.contains(".partial"),
        "{said}"
    );
    assert!(files() == before, "what was there has changed");
    nothing_half_written(dir.path());
}

/// What a killed one has left goes with the next one to that output; what it has left of others may be being written.
#[test]
fn what_a_killed_one_has_left_goes_with_the_next() {
    let dir = walked();
    let at = |name: &str| dir.path().join(name);
    let [own, other] = ["tiny", "other"].map(|name| format!(".berth-{name}.berth.a1b2c3.partial"));
    for name in [&own, &other] {
        fs::write(at(name), "half").expect("a file");
    }
    printed(dir.path(), &["quantize", "tiny", "--output=tiny.berth"]);
    assert!(!at(&own).exists() && at(&other).exists());
}

/// That a folder holds nothing that is not whole.
fn nothing_half_written(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("a name").file_name();
        let name = name.to_str().expect("UTF-8");
        assert!(!name.ends_with(".partial"), "{name}");
    }
}

fn is_running(child: &mut Child) -> bool {
    child.try_wait().expect("a child").is_none()
}

/// Interrupts a command when it says `marker`, and waits for its end.
#[cfg(unix)]
fn interrupted(mut command: Command, marker: &str) -> Output {
    use std::io::{BufRead, BufReader};

    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stderr = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("UTF-8");
        if line.contains(marker) {
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-INT", &pid]).status();
        }
        stderr.extend(line.bytes().chain([b'\n']));
    }
    let output = child.wait_with_output().expect("the program runs");
    Output { stderr, ..output }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_longer_command_while_it_quantizes() {
    let dir = walked();
    let quickstart = ["quickstart", "--tiny", "--output_dir", ".", "--threads=2"];
    let typed = format!(
        "finetune --task_name mr --model_name_or_path tiny.base --train_file data/sentiment/train.tsv \
         --validation_file {DEV} --output_dir run --max_steps 2 --max_seq_length 64 --threads 2 \
         --overwrite_output_dir --metrics_file run.json"
    );
    let finetune: Vec<&str> = typed.split_whitespace().collect();
    for (arguments, marker, bundle, way) in [
        (
            &quickstart[..],
            "== 3.",
            "tiny.berth",
            "the same command goes on from there",
        ),
        (
            &finetune[..],
            "f32 and int8",
            "run/model.berth",
            "--resume_from_checkpoint true",
        ),
    ] {
        let (bundle, metrics) = (dir.path().join(bundle), dir.path().join("run.json"));
        // The signal may come when the bundle is written already; then it comes again.
        for attempt in 0.. {
            assert!(attempt < 20, "no signal came in time");
            let _ = fs::remove_file(&bundle);
            let _ = fs::remove_file(&metrics);
            let output = interrupted(berth(dir.path(), arguments), marker);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() || bundle.exists() {
                continue;
            }
            assert_eq!(output.status.code(), Some(130), "{said}");
            assert!(output.stdout.is_empty(), "{said}");
            let mut lines = said.lines();
            let told =
                |line: &str| line.starts_with("error: stopped before ") && line.ends_with(way);
            assert!(lines.any(told), "{said}");
            break;
        }
        assert!(!metrics.exists());
        nothing_half_written(bundle.parent().expect("a folder"));
    }
}
