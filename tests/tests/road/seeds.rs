//! `berth finetune` with a file of settings and several seeds: the same runs as by flags and one by one, whether they
//! were stopped or not, and what they are worth written down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use berth_checkpoint::save::hold;
use berth_checkpoint::{hex, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture;
use crate::kills::checkpoints;
use crate::program::{Run, berth, program};

/// A base model, sentences and a recipe for them.
struct Runs {
    dir: TempDir,
}

impl Runs {
    fn new() -> Self {
        let dir = fixture::folder();
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("a folder");
        let base = fixture::base_model(&dir.path().join("base")).dir;
        let files = [("train.tsv", 32, 1), ("dev.tsv", 16, 2)];
        let digests = files.map(|(name, rows, seed)| {
            let path = fixture::write_sentences(&data, name, rows, seed);
            let digest = hex(&sha256(path).expect("the file"));
            format!("\"{name}\" = \"{digest}\"\n")
        });
        let settings = format!(
            "task = 'text-classification'\n# in --data_dir\ntrain_file = 'train.tsv'\n\
             validation-file = 'dev.tsv'\nmodel_name_or_path = '{}'\nmax_seq_length = 32\n\
             num_train_epochs = 2\nlearning_rate = 1e-3\nper_device_train_batch_size = 4\n\
             save_strategy = 'steps'\nsave_steps = 1\nthreads = 1\nclass_weights = 'balanced'\n\
             seeds = [1, 2]\n[data]\nhome = 'https://there'\n[data.sha256]\n{}",
            base.display(),
            digests.concat()
        );
        fs::write(dir.path().join("run.toml"), settings).expect("settings");
        Runs { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command line that follows the recipe into the folder `out`.
    fn line(&self, out: &str, more: &[&str]) -> Vec<String> {
        let text = |name: &str| self.path(name).to_str().expect("UTF-8").to_owned();
        let fixed = [
            "finetune".into(),
            text("run.toml"),
            "--data_dir".into(),
            text("data"),
        ];
        let rest = ["--output_dir".into(), text(out)];
        let more = more.iter().map(|&word| word.to_owned());
        fixed.into_iter().chain(rest).chain(more).collect()
    }

    fn run(&self, out: &str, more: &[&str]) -> Run {
        berth(self.line(out, more))
    }

    fn json(&self, name: &str) -> Value {
        let text = fs::read(self.path(name)).expect("the file");
        serde_json::from_slice(&text).expect("JSON")
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("model.safetensors")).expect("weights")
    }

    fn written_at(&self, run: &str) -> SystemTime {
        let data = fs::metadata(self.path(run).join("model.safetensors"));
        data.and_then(|data| data.modified()).expect("a time")
    }
}

#[test]
fn seeds_are_single_runs_put_together() {
    let runs = Runs::new();
    let printed: Value = serde_json::from_str(&runs.run("all", &["--json"]).ok()).expect("JSON");
    let all = runs.json("all/all_results.json");
    assert_eq!(printed, all);
    assert_eq!(
        (&all["seeds"], &all["eval_samples"]),
        (&json!([1, 2]), &json!(16))
    );
    let loss = |run: &str| {
        let results = runs.json(&format!("{run}/all_results.json"));
        results["eval_loss"].as_f64().expect("a loss")
    };
    let losses = [loss("all/seed-1"), loss("all/seed-2")];
    assert_ne!(losses[0], losses[1]);
    assert_eq!(all["eval_loss_each"], json!(losses));
    let near = |name: &str, value: f64| (all[name].as_f64().expect(name) - value).abs() < 1e-12;
    assert!(near("eval_loss", (losses[0] + losses[1]) / 2.0), "{all}");
    assert!(
        near("eval_loss_std", (losses[0] - losses[1]).abs() / 2f64.sqrt()),
        "{all}"
    );
    let settings = &runs.json("all/seed-2/training_args.json")["recipe"];
    assert_eq!(
        (
            &settings["seed"],
            &settings["class_weights"],
            &settings["learning_rate"]
        ),
        (&json!(2), &json!("balanced"), &json!(1e-3))
    );

    // What is typed wins: one run, in the output folder itself.
    runs.run("one", &["--seed", "2"]).ok();
    assert!(
        runs.weights("one") == runs.weights("all/seed-2"),
        "another run than alone"
    );
    assert_eq!(loss("one"), losses[1]);

    let again = runs.run("all", &[]).refused();
    assert!(again.contains("--overwrite_output_dir"), "{again}");
}

#[cfg(unix)]
#[test]
fn seeds_stay_out_of_a_folder_that_others_write_to() {
    let runs = Runs::new();
    let figures = runs.path("out/all_results.json");
    fs::create_dir(runs.path("out")).expect("a folder");
    fs::write(&figures, "{}").expect("a file");
    let held = hold(runs.path("out")).expect("nobody else has it");
    for way in ["--overwrite_output_dir", "--resume_from_checkpoint"] {
        let line = runs.run("out", &[way, "true"]).refused();
        assert!(line.contains("out: another run writes here"), "{line}");
    }
    drop(held);
    assert!(figures.is_file());
}

/// Ctrl-C in the second run: the first one is not run again, the second goes on, and all end as without a break.
#[cfg(unix)]
#[test]
fn seeds_that_were_stopped_come_to_the_same() {
    let runs = Runs::new();
    runs.run("whole", &[]).ok();
    // On a quick machine all may have ended before the signal comes; then the next try.
    for attempt in 0.. {
        assert!(attempt < 20, "no signal came in time");
        let second = runs.path("out/seed-2");
        let mut command = program("berth");
        let line = runs.line("out", &["--overwrite_output_dir"]);
        let child = command
            .args(line)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program");
        while checkpoints(&second).is_empty() && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let signal = ["-INT", &child.id().to_string()].map(str::to_owned);
        let _ = Command::new("kill").args(signal).status();
        let ended = child.wait_with_output().expect("the program");
        if ended.status.success() {
            fs::remove_dir_all(runs.path("out")).expect("a folder");
            continue;
        }
        let error = String::from_utf8_lossy(&ended.stderr);
        let last = error.lines().last().unwrap_or_default();
        assert_eq!(ended.status.code(), Some(130), "{error}");
        assert!(
            last.contains("seed-2") && last.contains("--resume_from_checkpoint true"),
            "{error}"
        );
        break;
    }
    assert!(
        !runs.path("out/all_results.json").exists(),
        "figures before the end"
    );
    let before = runs.written_at("out/seed-1");
    let begun = runs.path("out/.berth.ab12.partial");
    fs::write(&begun, "{").expect("what a killed run may leave");
    runs.run("out", &["--resume_from_checkpoint", "true"]).ok();
    assert!(!begun.exists(), "half a file stays");
    assert_eq!(
        runs.written_at("out/seed-1"),
        before,
        "a finished run was run again"
    );
    for run in ["seed-1", "seed-2"] {
        let same = runs.weights(&format!("out/{run}")) == runs.weights(&format!("whole/{run}"));
        assert!(same, "{run} ended with other weights");
    }
    let (out, whole) = (
        runs.json("out/all_results.json"),
        runs.json("whole/all_results.json"),
    );
    for name in [
        "seeds",
        "eval_loss",
        "eval_accuracy_std",
        "eval_f1_each",
        "train_loss_each",
    ] {
        assert!(!whole[name].is_null(), "{name}");
        assert_eq!(out[name], whole[name], "{name}");
    }
}

#[test]
fn finished_runs_are_measured_in_f32_and_int8_without_training_again() {
    let runs = Runs::new();
    runs.run("out", &[]).ok();
    let before = runs.written_at("out/seed-1");
    let metrics = runs.path("metrics.json");
    let file = metrics.to_str().expect("UTF-8");
    let more = ["--resume_from_checkpoint", "true", "--metrics_file", file];
    runs.run("out", &more).ok();
    assert_eq!(
        runs.written_at("out/seed-1"),
        before,
        "a finished run was run again"
    );
    let told = runs.json("metrics.json");
    let all = runs.json("out/all_results.json");
    assert_eq!(told["metric"], "eval_accuracy");
    assert_eq!(
        (&told["seeds"], &told["eval_samples"]),
        (&json!([1, 2]), &json!(16))
    );
    assert_eq!(
        (&told["train_samples"], &told["recipe"]),
        (&json!(32), &json!("run.toml"))
    );
    for name in [
        "eval_loss_each",
        "eval_accuracy",
        "eval_accuracy_std",
        "eval_f1_each",
    ] {
        assert_eq!(told["f32"][name], all[name], "{name}");
    }
    let digest = |path: &Path| hex(&sha256(path).expect("the file"));
    assert_eq!(
        told["validation_sha256"],
        digest(&runs.path("data/dev.tsv"))
    );
    for (index, run) in ["seed-1", "seed-2"].into_iter().enumerate() {
        let bundle = runs.path(&format!("out/{run}.berth"));
        let kept = &told["bundles"][index];
        assert_eq!(kept["sha256"], digest(&bundle));
        assert_eq!(
            kept["bytes"],
            fs::metadata(&bundle).expect("the bundle").len()
        );
        assert_eq!(kept["f32_layers"], json!([]));
        let weights = runs.path(&format!("out/{run}/model.safetensors"));
        assert_eq!(kept["weights_sha256"], digest(&weights));
        let dev = runs.path("data/dev.tsv");
        let words = ["evaluate", "--json", "--validation_file"].map(Into::into);
        let line = words
            .into_iter()
            .chain([dev.into_os_string(), bundle.into_os_string()]);
        let int8: Value = serde_json::from_str(&berth(line).ok()).expect("JSON");
        for name in ["eval_loss", "eval_accuracy"] {
            assert_eq!(
                told["int8"][format!("{name}_each")][index],
                int8[name],
                "{name}"
            );
        }
        let [same, asked] = [0, 1].map(|place| told["answers"][index][place].as_f64());
        assert_eq!(
            told["agreement_each"][index].as_f64(),
            same.zip(asked).map(|(a, b)| a / b)
        );
    }

    // A gate that no bundle passes: nothing is written, and what was trained is told.
    fs::remove_file(&metrics).expect("the file");
    let gate = runs.run("out", &[&more[..], &["--max_drop=-100"]].concat());
    assert_eq!(gate.code, Some(1), "{gate:?}");
    assert!(gate.stderr.contains("-100 are allowed"), "{gate:?}");
    assert!(gate.stdout.contains("eval_accuracy"), "{gate:?}");
    assert!(!metrics.exists());

    // Runs of other settings are no runs of this recipe.
    let other = runs
        .run("out", &[&more[..], &["--weight_decay", "0.5"]].concat())
        .refused();
    assert!(
        other.contains("seed-1: weight_decay was 0.01 and is now 0.5"),
        "{other}"
    );
    assert!(!metrics.exists());
    // Nor are they put together with such runs.
    let more = ["--seeds", "1,2,3", "--learning_rate", "1e-2"];
    let resumed = ["--resume_from_checkpoint", "true"];
    let other = runs.run("out", &[&more[..], &resumed].concat()).refused();
    assert!(
        other.contains("seed-1: learning_rate was 0.001 and is now 0.01"),
        "{other}"
    );
    assert!(!runs.path("out/seed-3").exists());
}

#[test]
fn what_does_not_go_together_is_said_before_anything_is_written() {
    let runs = Runs::new();
    let wrong = runs.path("wrong.toml");
    fs::write(&wrong, "seed = 1\nlearning_rat = 2\n").expect("settings");
    let output = berth(["finetune", wrong.to_str().expect("UTF-8")]);
    assert_eq!(output.code, Some(2));
    let said =
        "wrong.toml:2: `learning_rat` is no setting of finetune; the nearest is `learning_rate`";
    assert!(output.stderr.contains(said), "{output:?}");
    for (more, code, said) in [
        (&["--seeds", "1,1"][..], 2, "--seeds has 1 twice"),
        (
            &["--resume_from_checkpoint", "true"],
            1,
            "out: no checkpoint to resume from",
        ),
        (
            &["--resume_from_checkpoint", "x"],
            2,
            "say --resume_from_checkpoint true",
        ),
        (
            &["--metrics_file", "m", "--do_eval", "false"],
            2,
            "--metrics_file needs",
        ),
        (&["--seeds", "1,x"], 2, "invalid value 'x'"),
        (&["--max_drop", "x"], 2, "invalid value 'x'"),
    ] {
        let output = runs.run("out", more);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.contains(said), "{more:?}: {output:?}");
        assert!(!runs.path("out").exists());
    }
    fs::write(runs.path("data/dev.tsv"), fixture::sentences(16, 3)).expect("a table");
    let other = runs.run("out", &[]).refused();
    assert!(other.contains("data/dev.tsv: not the file that"), "{other}");
    fs::remove_file(runs.path("data/train.tsv")).expect("the table");
    let none = runs.run("out", &[]).refused();
    assert!(!runs.path("out").exists());
    assert!(
        none.contains("dev.tsv") || none.contains("no train.tsv"),
        "{none}"
    );
}

/// Each recipe in `models` is read whole, says what it misses in an empty folder, and knows the real files where they
/// are there: then nothing is amiss until the base model, which has a wrong name here.
#[test]
fn recipes_know_their_files() {
    let dir = fixture::folder();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let data = std::env::var_os("BERTH_DATA").map(PathBuf::from);
    let mut recipes = 0;
    for entry in fs::read_dir(models).expect("the folder") {
        let folder = entry.expect("an entry").path();
        let recipe = folder.join("finetune.toml");
        if !recipe.is_file() {
            continue;
        }
        recipes += 1;
        let name = folder.file_name().expect("a name");
        let run = |data: &Path| {
            let out = dir.path().join("out");
            let typed = [
                "finetune".as_ref(),
                recipe.as_os_str(),
                "--data_dir".as_ref(),
                data.as_os_str(),
                "--output_dir".as_ref(),
                out.as_os_str(),
                "--model_name_or_path".as_ref(),
                "no/such/model".as_ref(),
            ];
            berth(typed)
        };
        let line = run(dir.path()).refused();
        assert!(line.contains("holds no"), "{name:?}: {line}");
        assert!(line.contains("found at https://"), "{name:?}: {line}");
        if let Some(data) = &data {
            let run = run(&data.join(name));
            assert!(run.stderr.contains("the 2 files that"), "{name:?}: {run:?}");
            assert!(run.refused().contains("no/such/model"), "{name:?}");
        }
    }
    assert_eq!(recipes, 8);
}
