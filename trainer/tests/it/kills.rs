//! A run in a process that is killed again and again, saves included, and resumed each time: never a torn checkpoint,
//! and in the end the weights of a run that nobody killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_checkpoint::Checkpoint;
use berth_trainer::random::Random;
use berth_trainer::{Job, Recipe, Start, TrainError, Unobserved, finetune};

use crate::common::{Base, examples, job, labels, names, recipe, weights};

/// Tells the process that is to be killed where to work.
const FOLDER: &str = "BERTH_TEST_KILLED_RUN";

/// Saves after every step, so that most kills meet a save.
fn killed_recipe() -> Recipe {
    Recipe {
        num_train_epochs: 5.0,
        save_steps: 1,
        save_total_limit: 2,
        ..recipe()
    }
}

fn run(base: &Base, output_dir: &Path, start: Start) -> Result<(), TrainError> {
    let (labels, train, recipe) = (labels(), examples(60, 1), killed_recipe());
    let job = Job {
        start,
        ..job(base, &recipe, &labels, &train, output_dir)
    };
    finetune(&job, &mut Unobserved).map(drop)
}

/// The other process: resumes, or begins where there is nothing to resume. Does nothing in an ordinary test run.
#[test]
fn the_run_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let base = Base::in_folder(Path::new(&folder));
    let out = Path::new(&folder).join("out");
    match run(&base, &out, Start::ResumeNewest) {
        Err(TrainError::NothingToResume(_)) => run(&base, &out, Start::Overwrite).unwrap(),
        result => result.unwrap(),
    }
}

#[test]
fn a_run_killed_again_and_again_ends_with_the_same_bits() {
    let base = Base::new();
    run(&base, &base.path("whole"), Start::Fresh).unwrap();

    let out = base.path("out");
    let mut random = Random::new(11);
    let mut kills = 0;
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::the_run_that_is_killed"])
            .env(FOLDER, base.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Later and later, so that the run gets ahead on a slow machine too.
        let patience = 20 + 10 * kills + random.below(100 + 20 * kills);
        std::thread::sleep(Duration::from_millis(patience as u64));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let found = if out.exists() {
            names(&out)
        } else {
            Vec::new()
        };
        for name in found.iter().filter(|name| name.starts_with("checkpoint-")) {
            Checkpoint::open(out.join(name)).unwrap();
        }
    }
    assert!(kills > 0, "the machine is too fast for this test");
    assert_eq!(weights(&base.path("whole")), weights(&out));
    assert!(names(&out).iter().all(|name| !name.starts_with('.')));
}
