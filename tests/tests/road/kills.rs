//! No lost work: a `berth finetune` that is killed again and again, and resumed each time.
//!
//! `BERTH_TEST_KILLS` says how often.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_checkpoint::Checkpoint;
use berth_checkpoint::weights::TensorFile;
use berth_trainer::state::{STATE_FILE, TrainerState};

use crate::fixture::{self, Dice};
use crate::program::program;
use crate::real::say;

/// Kills where nothing says how many.
const KILLS: usize = 12;

/// Never a torn checkpoint, and in the end the weights of a run that nobody killed.
#[test]
fn a_run_killed_again_and_again_ends_with_the_same_weights() {
    let kills = env::var("BERTH_TEST_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let pace = run.paced("whole");
    let mut patience = pace.begin;

    let mut dice = Dice(11);
    let (mut done, mut laps, mut in_saves, mut resumed) = (0, 0, 0, 0);
    while done < kills {
        let out = run.path("out");
        resumed += usize::from(!checkpoints(&out).is_empty());
        // By turns, at any moment from the start on, and once it has saved something.
        let chance = 0.01 * dice.below(100) as f64;
        let ended = match done % 2 {
            0 => outlived(run.start("out"), || true, patience.mul_f64(chance)),
            _ => {
                let before = newest(&out);
                let has_saved = || newest(&out) > before;
                outlived(run.start("out"), has_saved, pace.save.mul_f64(chance))
            }
        };
        match ended {
            Ended::Killed => {
                done += 1;
                in_saves += usize::from(hold_to_promise(&out));
                // A machine that has become busy must not get nowhere, until a run has ended.
                if checkpoints(&out).is_empty() {
                    patience = patience.mul_f64(1.1);
                }
            }
            Ended::Finished => {
                laps += 1;
                patience = pace.begin;
                assert_same(&run, "out");
                fs::remove_dir_all(out).expect("a folder");
            }
        }
    }
    run.to_the_end("out");
    assert_same(&run, "out");
    say(&format!(
        "{done} kills, {in_saves} of them during a save; {resumed} starts resumed; {laps} runs ended in between"
    ));
    assert!(resumed > 0, "nothing was ever resumed");
}

/// Ctrl-C is a request: the step is finished and saved, and the error says how to go on.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_resume() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    run.to_the_end("whole");
    // On a quick machine a run may end before the signal comes; then the next one tries.
    for attempt in 0.. {
        assert!(attempt < 20, "no signal came in time");
        let out = run.path("out");
        let mut command = run.command("out");
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program");
        while checkpoints(&out).is_empty() && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let signal = ["-INT", &child.id().to_string()].map(str::to_owned);
        let _ = Command::new("kill").args(signal).status();
        let ended = child.wait_with_output().expect("the program");
        if ended.status.success() {
            fs::remove_dir_all(out).expect("a folder");
            continue;
        }
        let error = String::from_utf8_lossy(&ended.stderr);
        let last = error.lines().last().unwrap_or_default();
        assert!(
            last.contains("saved in") && last.contains("--resume_from_checkpoint true"),
            "{error}"
        );
        assert!(!hold_to_promise(&out) && !checkpoints(&out).is_empty());
        run.to_the_end("out");
        return assert_same(&run, "out");
    }
}

enum Ended {
    Killed,
    Finished,
}

/// Kills a run a while after it has come to some point, if it has not ended by then.
fn outlived(mut run: Child, has_come: impl Fn() -> bool, patience: Duration) -> Ended {
    let mut deadline = None;
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        if deadline.is_none() && has_come() {
            deadline = Some(Instant::now() + patience);
        }
        if let Some(status) = run.try_wait().expect("a child") {
            assert!(status.success(), "{status}");
            return Ended::Finished;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().expect("a child");
    match run.wait().expect("a child").success() {
        true => Ended::Finished,
        false => Ended::Killed,
    }
}

/// How long a run takes.
struct Pace {
    /// To its first checkpoint, and half as long again.
    begin: Duration,
    /// From there to its end.
    save: Duration,
}

/// A run on the tiny model that saves after each of its 12 steps.
pub struct TinyRun {
    dir: PathBuf,
}

impl TinyRun {
    /// Its base model and sentences, in `dir`.
    pub fn new(dir: &Path) -> Self {
        fixture::base_model(&dir.join("base"));
        fixture::write_sentences(dir, "train.tsv", 48, 1);
        TinyRun { dir: dir.into() }
    }

    /// A path beside them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The command that goes on with the run in `out`, or begins it where there is nothing to go on with.
    pub fn command(&self, out: &str) -> Command {
        let mut command = program("berth");
        command.args(self.arguments(out));
        command
    }

    /// Its arguments.
    pub fn arguments(&self, out: &str) -> Vec<String> {
        let out = self.path(out);
        let way = match checkpoints(&out).is_empty() {
            true => ["--overwrite_output_dir", "true"],
            false => ["--resume_from_checkpoint", "true"],
        };
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let (base, train, out) = (
            text(self.path("base")),
            text(self.path("train.tsv")),
            text(out),
        );
        let fixed = "finetune --task text-classification --per_device_train_batch_size 4 --num_train_epochs 1 \
                     --learning_rate 1e-3 --save_strategy steps --save_steps 1 --save_total_limit 2 --threads 1";
        let fixed = fixed.split_whitespace();
        let paths = ["--model_name_or_path", &base, "--train_file", &train];
        let rest = ["--output_dir", &out].into_iter().chain(way);
        fixed.chain(paths).chain(rest).map(str::to_owned).collect()
    }

    fn start(&self, out: &str) -> Child {
        let mut command = self.command(out);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program")
    }

    fn paced(&self, out: &str) -> Pace {
        let begun = Instant::now();
        let mut child = self.start(out);
        let mut first = None;
        let status = loop {
            if first.is_none() && newest(&self.path(out)).is_some() {
                first = Some(begun.elapsed());
            }
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert!(status.success(), "{status}");
        let first = first.unwrap_or_default();
        Pace {
            begin: first.mul_f64(1.5),
            save: begun.elapsed() - first,
        }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn to_the_end(&self, out: &str) {
        let done = self.command(out).output().expect("the program");
        assert!(done.status.success(), "{done:?}");
    }

    /// The weights that it ended with.
    pub fn weights(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("model.safetensors")).expect("weights")
    }
}

fn assert_same(run: &TinyRun, out: &str) {
    let same = run.weights("whole") == run.weights(out);
    assert!(same, "a killed run ended with other weights");
    assert!(
        !half_written(&run.path(out)),
        "something half-written is left"
    );
}

/// The folders of a run's checkpoints.
pub fn checkpoints(out: &Path) -> Vec<PathBuf> {
    let names = names(out).into_iter();
    let named = names.filter(|name| name.starts_with("checkpoint-"));
    named.map(|name| out.join(name)).collect()
}

/// The newest of them, by its step.
fn newest(out: &Path) -> Option<u64> {
    let step = |name: String| name.strip_prefix("checkpoint-")?.parse().ok();
    names(out).into_iter().filter_map(step).max()
}

/// Holds what a run has left, at any moment, to the promise that whatever has a checkpoint's name is one. Says whether
/// something half-written lies beside.
///
/// # Panics
/// When a checkpoint is torn.
pub fn hold_to_promise(out: &Path) -> bool {
    for folder in checkpoints(out) {
        let checkpoint = Checkpoint::open(&folder).expect("a whole checkpoint");
        let mut moments = TensorFile::open(folder.join("optimizer.safetensors")).expect("moments");
        for name in checkpoint.names() {
            checkpoint.tensor(name).expect("a tensor");
            for moment in ["exp_avg", "exp_avg_sq"] {
                let moment = moments.tensor(&format!("{name}.{moment}"));
                moment.expect("a moment");
            }
        }
        let state = fs::read(folder.join(STATE_FILE)).expect("a state");
        let state: TrainerState = serde_json::from_slice(&state).expect("a state");
        assert!(folder.ends_with(format!("checkpoint-{}", state.global_step)));
    }
    half_written(out)
}

fn half_written(out: &Path) -> bool {
    let beside = out.parent().map(names).unwrap_or_default();
    let partial = |name: &String| name.ends_with(".partial");
    names(out).iter().any(partial) || beside.iter().any(partial)
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a name").file_name();
    entries
        .map(|entry| name(entry).into_string().expect("UTF-8"))
        .collect()
}
