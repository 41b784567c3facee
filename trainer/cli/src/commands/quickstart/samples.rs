//! The shipped samples: what a walk learns from, and the questions at its end.

use crate::error::Error;
use berth_checkpoint::hex;
use berth_task::Task;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What a walk learns from, and asks at its end.
pub(super) struct Sample {
    /// The application.
    pub(super) task: Task,
    /// The flag that says what to learn, and its value.
    pub(super) learn: [&'static str; 2],
    /// Flags of the recipe that are not as usual.
    pub(super) recipe: &'static [&'static str],
    /// The bundle's name.
    pub(super) name: &'static str,
    pub(super) extension: &'static str,
    pub(super) train: &'static str,
    pub(super) dev: &'static str,
    /// Texts of our own, in no file.
    pub(super) texts: [&'static str; 3],
    /// What they are questions on, where they are.
    pub(super) passage: Option<&'static str>,
    /// Where the files were taken from.
    pub(super) home: &'static str,
    /// Under what they may be used.
    pub(super) licence: &'static str,
}

/// 4,000 and 1,000 sentences of Sentence Polarity 1.0 (CC BY 4.0, Bo Pang and Lillian Lee).
const MR: Sample = Sample {
    task: Task::TextClassification,
    learn: ["--task_name", "mr"],
    recipe: &[],
    name: "sentiment",
    home: "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    licence: "CC BY 4.0, by Bo Pang and Lillian Lee",
    extension: "tsv",
    train: include_str!("../../../../../models/mr/train.tsv"),
    dev: include_str!("../../../../../models/mr/dev.tsv"),
    texts: [
        "a gripping film with a big heart and not one wasted minute",
        "two hours of shouting that add up to nothing at all",
        "it starts slowly, but the last half hour is worth the wait",
    ],
    passage: None,
};

/// 2,000 and 500 sentences of UD English EWT (CC BY-SA 4.0, see `models/ud_ewt`).
const UD_EWT: Sample = Sample {
    task: Task::TokenClassification,
    learn: ["--task", "token-classification"],
    recipe: &[],
    name: "parts-of-speech",
    home: "https://github.com/UniversalDependencies/UD_English-EWT",
    licence: "CC BY-SA 4.0",
    extension: "conll",
    train: include_str!("../../../../../models/ud_ewt/train.conll"),
    dev: include_str!("../../../../../models/ud_ewt/dev.conll"),
    texts: [
        "John Smith 's car is new",
        "The old can can hold the sand.",
        "She will book a flight, or read a book.",
    ],
    passage: None,
};

/// 1,500 and 200 questions of SQuAD 1.1 (CC BY-SA 4.0, see `models/squad`).
const SQUAD: Sample = Sample {
    task: Task::QuestionAnswering,
    learn: ["--task", "question-answering"],
    // So few questions need many small steps.
    recipe: &[
        "--per_device_train_batch_size",
        "8",
        "--learning_rate",
        "2e-4",
    ],
    name: "answers",
    home: "https://rajpurkar.github.io/SQuAD-explorer/",
    licence: "CC BY-SA 4.0",
    extension: "json",
    train: include_str!("../../../../../models/squad/train.json"),
    dev: include_str!("../../../../../models/squad/dev.json"),
    texts: [
        "When was the lighthouse built?",
        "Who paid for the new lamp?",
        "How far can the light be seen?",
    ],
    passage: Some(
        "The old lighthouse stands on a rock in the bay. It was built in 1847 by two brothers from the \
         village, and for sixty years it burned oil. In 1908 the harbour company paid for a new lamp. \
         On a clear night its light can be seen from eighteen miles away.",
    ),
};

/// 1,600 and 400 pairs made of SQuAD 1.1 (CC BY-SA 4.0, see `models/squad_pairs`).
const SQUAD_PAIRS: Sample = Sample {
    task: Task::TextPairClassification,
    learn: ["--task", "text-pair-classification"],
    recipe: &[],
    name: "answerable",
    home: "https://rajpurkar.github.io/SQuAD-explorer/",
    licence: "CC BY-SA 4.0",
    extension: "tsv",
    train: include_str!("../../../../../models/squad_pairs/train.tsv"),
    dev: include_str!("../../../../../models/squad_pairs/dev.tsv"),
    texts: [
        "When was the lighthouse built?",
        "How far can the light be seen?",
        "Who was the first keeper of the lighthouse?",
    ],
    passage: SQUAD.passage,
};

/// All of them.
pub(super) const SAMPLES: [&Sample; 4] = [&MR, &UD_EWT, &SQUAD, &SQUAD_PAIRS];

impl Sample {
    /// The one for an application.
    pub(super) fn of(task: Task) -> Result<&'static Self, Error> {
        let none = || {
            Error::Usage(format!(
                "--task {task} has no quickstart; text-classification, text-pair-classification, \
                 token-classification and question-answering have"
            ))
        };
        let found = SAMPLES.into_iter().find(|sample| sample.task == task);
        found.ok_or_else(none)
    }

    /// What its model is called, a small one or a real one.
    pub(super) fn kind(&self, tiny: bool) -> String {
        match (tiny, self.task) {
            (true, Task::TextClassification) => "tiny".to_owned(),
            (true, _) => format!("tiny-{}", self.name),
            (false, _) => self.name.to_owned(),
        }
    }

    /// The names of all that a walk makes in its folder.
    pub(super) fn makes(&self, tiny: bool) -> [String; 5] {
        let kind = self.kind(tiny);
        [
            format!("data/{}", self.name),
            format!("{kind}.base"),
            format!("{kind}.berth"),
            format!("{kind}.report.html"),
            kind,
        ]
    }

    /// Where its files are in a walk's folder.
    pub(super) fn place(&self, folder: &Path) -> PathBuf {
        folder.join("data").join(self.name)
    }

    /// The file of a split in a walk's folder.
    pub(super) fn file(&self, folder: &Path, split: &str) -> PathBuf {
        self.place(folder)
            .join(format!("{split}.{}", self.extension))
    }

    /// The file that tells where the others come from, in a walk's folder: a recipe's table, for the model's card.
    pub(super) fn origin_file(&self, folder: &Path) -> PathBuf {
        self.place(folder).join("data.toml")
    }

    /// What it holds. The texts are plain: Rust writes them as TOML does.
    pub(super) fn origin(&self) -> String {
        let (home, licence) = (self.home, self.licence);
        let mut text = format!("[data]\nhome = {home:?}\nlicence = {licence:?}\n\n[data.sha256]\n");
        for (split, content) in self.splits() {
            let name = format!("{split}.{}", self.extension);
            let digest = hex(&Sha256::digest(content));
            text.push_str(&format!("{name:?} = {digest:?}\n"));
        }
        text
    }

    /// The file of the passage in a walk's folder.
    pub(super) fn passage_file(&self, folder: &Path) -> PathBuf {
        self.place(folder).join("passage.txt")
    }

    /// Its files, by the names of their splits.
    pub(super) fn splits(&self) -> [(&'static str, &'static str); 2] {
        [("train", self.train), ("dev", self.dev)]
    }
}
