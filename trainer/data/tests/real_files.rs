//! The published data sets, where the environment variable `BERTH_DATA` names the folder that
//! holds them: rows and labels must be those that their publishers count.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use berth_data::metrics::squad::{Mean, Rules, Score};
use berth_data::{Dataset, Example, Format, Label, Source, TaskName, read};
use berth_task::Task;
use flate2::read::GzDecoder;
use serde_json::Value;

/// A file of a data set and how many rows each label has in it. For regression: all rows.
type Expected = (TaskName, &'static str, &'static [u64]);

const FILES: [Expected; 14] = [
    (TaskName::Mr, "mr/train.tsv", &[4306, 4356]),
    (TaskName::Mr, "mr/dev.tsv", &[509, 491]),
    (TaskName::Cola, "cola/in_domain_train.tsv", &[2528, 6023]),
    (TaskName::Cola, "cola/in_domain_dev.tsv", &[160, 367]),
    (TaskName::Sst2, "sst2/train.tsv.gz", &[29780, 37569]),
    (TaskName::Sst2, "sst2/dev.tsv", &[428, 444]),
    (TaskName::Rte, "rte/train.tsv", &[1249, 1241]),
    (TaskName::Rte, "rte/dev.tsv", &[146, 131]),
    (TaskName::Sick, "sick/SICK_train.txt", &[1299, 2536, 665]),
    (TaskName::Sick, "sick/SICK_trial.txt", &[144, 282, 74]),
    (TaskName::SickR, "sick/SICK_train.txt", &[4500]),
    (TaskName::SickR, "sick/SICK_trial.txt", &[500]),
    (TaskName::Stsb, "stsb/sts-train.csv", &[5749]),
    (TaskName::Stsb, "stsb/sts-dev.csv", &[1500]),
];

/// The folder of the data sets. Says how many files are read or skipped, past the capture of test
/// output.
fn data_folder(files: usize) -> Option<PathBuf> {
    let folder = env::var_os("BERTH_DATA").map(PathBuf::from);
    let (read, skipped) = if folder.is_some() {
        (files, 0)
    } else {
        (0, files)
    };
    let line = format!("berth-data: {read} published files read, {skipped} skipped (BERTH_DATA)");
    let _ = writeln!(io::stderr(), "{line}");
    folder
}

#[test]
fn published_files_have_the_rows_and_labels_that_are_known_of_them() {
    let Some(folder) = data_folder(FILES.len()) else {
        return;
    };
    for (name, file, expected) in FILES {
        let dataset = read(&Source::named(folder.join(file), name)).unwrap();
        let counts = match name.task() {
            Task::TextPairRegression => vec![dataset.rows()],
            _ => dataset.histogram(),
        };
        assert_eq!(counts, expected, "{file}");
        assert_eq!(dataset.unlabelled, 0);
        check_rows(&dataset, name);
    }
    for (name, train, dev) in [
        (TaskName::Mr, "mr/train.tsv", "mr/dev.tsv"),
        (
            TaskName::Cola,
            "cola/in_domain_train.tsv",
            "cola/in_domain_dev.tsv",
        ),
        (TaskName::Stsb, "stsb/sts-train.csv", "stsb/sts-dev.csv"),
        (TaskName::Sst2, "sst2/train.tsv.gz", "sst2/dev.tsv"),
        (TaskName::Sick, "sick/SICK_train.txt", "sick/SICK_trial.txt"),
    ] {
        let (folder, files) = (folder.join(name_of_folder(train)), [train, dev]);
        let found = [
            name.train_file(&folder).unwrap(),
            name.dev_file(&folder).unwrap(),
        ];
        assert_eq!(
            found.map(|path| path.file_name().unwrap().to_owned()),
            files.map(file_name)
        );
    }
}

/// The same file must come out the same when it is described by flags instead of its task name.
#[test]
fn a_published_file_can_be_read_without_its_name() {
    let Some(folder) = data_folder(1) else { return };
    let by_name = read(&Source::named(
        folder.join("sick/SICK_trial.txt"),
        TaskName::Sick,
    ))
    .unwrap();
    let mut source = Source::new(by_name.path.clone(), Task::TextPairClassification);
    source.format = Some(Format::Tsv);
    source.columns.text = Some("sentence_A".into());
    source.columns.text_pair = Some("sentence_B".into());
    source.columns.label = Some("entailment_judgment".into());
    let by_flags = read(&source).unwrap();
    assert_eq!(by_flags.labels, ["CONTRADICTION", "ENTAILMENT", "NEUTRAL"]);
    let [entailment, neutral, contradiction] = by_name.histogram()[..] else {
        panic!()
    };
    assert_eq!(by_flags.histogram(), [contradiction, entailment, neutral]);
    let texts = |dataset: &Dataset| -> Vec<_> {
        dataset
            .examples
            .iter()
            .map(|row| (row.text.clone(), row.pair.clone(), row.line))
            .collect()
    };
    assert_eq!(texts(&by_flags), texts(&by_name));
}

/// A tagged file, the column of the tags, and how many sentences, words and labels it has.
type Tagged = (&'static str, Option<&'static str>, usize, u64, usize);

const TAGGED: [Tagged; 6] = [
    ("wnut17/wnut17train.conll", None, 3394, 62_730, 13),
    ("wnut17/emerging.dev.conll", None, 1009, 15_733, 13),
    (
        "ud_ewt/en_ewt-ud-train.conllu.gz",
        None,
        12_544,
        204_577,
        17,
    ),
    ("ud_ewt/en_ewt-ud-dev.conllu.gz", None, 2001, 25_147, 17),
    (
        "ud_ewt/en_ewt-ud-train.conllu.gz",
        Some("xpos"),
        12_544,
        204_577,
        49,
    ),
    (
        "ud_ewt/en_ewt-ud-dev.conllu.gz",
        Some("xpos"),
        2001,
        25_147,
        49,
    ),
];

/// The figures of `TAGGED` are the publishers', those of labels a count of the columns by hand.
#[test]
fn tagged_files_have_the_sentences_words_and_labels_that_are_known_of_them() {
    let Some(folder) = data_folder(TAGGED.len()) else {
        return;
    };
    let tagged = |file: &str, column: Option<&str>| {
        let mut source = Source::new(folder.join(file), Task::TokenClassification);
        source.columns.label = column.map(str::to_owned);
        read(&source).unwrap()
    };
    for (file, column, sentences, words, labels) in TAGGED {
        let dataset = tagged(file, column);
        let counts = dataset.histogram();
        let found = (dataset.examples.len(), counts.iter().sum(), counts.len());
        assert_eq!(found, (sentences, words, labels), "{file} {column:?}");
        for row in &dataset.examples {
            let joined: Vec<_> = row
                .words
                .iter()
                .map(|word| &row.text[word.clone()])
                .collect();
            assert_eq!(joined.join(" "), row.text);
        }
    }
    let wnut = tagged("wnut17/emerging.dev.conll", None);
    let location = wnut
        .labels
        .iter()
        .position(|label| label == "B-location")
        .unwrap();
    assert_eq!(wnut.histogram()[location], 74);
    let ewt = tagged("ud_ewt/en_ewt-ud-dev.conllu.gz", None);
    let noun = ewt.labels.iter().position(|label| label == "NOUN").unwrap();
    assert_eq!(ewt.histogram()[noun], 4210);
    let first = ewt.examples[0].id.as_deref().unwrap();
    assert!(first.ends_with("ENG_20041117_172713-0001"), "{first}");
}

fn check_rows(dataset: &Dataset, name: TaskName) {
    for row in &dataset.examples {
        let place = format!("{}:{}", dataset.path.display(), row.line);
        assert!(!row.text.contains(['\t', '\n', '\r']), "{place}");
        assert_eq!(row.pair.is_some(), name.task().takes_pair(), "{place}");
        assert!(
            row.pair
                .iter()
                .all(|text| !text.is_empty() && !text.ends_with('\r')),
            "{place}"
        );
        if let Label::Value(value) = row.label {
            assert!((0.0..=5.0).contains(&value), "{place}");
        }
    }
}

fn name_of_folder(file: &str) -> &Path {
    Path::new(file).parent().unwrap()
}

fn file_name(file: &str) -> std::ffi::OsString {
    Path::new(file).file_name().unwrap().to_owned()
}

/// The answers that teams handed in for SQuAD, scored by the official script's rules.
#[test]
fn published_predictions_have_their_published_scores() {
    let Some(folder) = data_folder(3) else { return };
    let folder = folder.join("squad");
    let source = Source::new(
        folder.join("dev-v1.1.public.json.gz"),
        Task::QuestionAnswering,
    );
    let dev = read(&source).unwrap();
    let expected = json(&fs::read(folder.join("expected-scores.json")).unwrap());
    for name in ["bert", "logistic_regression_baseline"] {
        let file = folder.join(format!("predictions-{name}.public.json.gz"));
        let mut predictions = Vec::new();
        GzDecoder::new(fs::File::open(file).unwrap())
            .read_to_end(&mut predictions)
            .unwrap();
        let predictions = json(&predictions);
        let mut missing = 0;
        let mean = Mean::of(dev.examples.iter().map(|example| {
            let Label::Answers(gold) = &example.label else {
                panic!("line {}", example.line)
            };
            let gold: Vec<&str> = gold.iter().map(|gold| gold.text.as_str()).collect();
            match predictions[example.id.as_ref().unwrap()].as_str() {
                Some(answer) => Score::of(Rules::V1, answer, &gold),
                None => {
                    missing += 1;
                    Score::default()
                }
            }
        }));
        let expected = &expected[name];
        let near = |found: f64, name: &str| (found - expected[name].as_f64().unwrap()).abs() < 1e-9;
        assert!(near(mean.exact, "exact_match"), "{name}: {mean:?}");
        assert!(near(mean.f1, "f1"), "{name}: {mean:?}");
        assert_eq!(mean.total as u64, expected["total"], "{name}");
        assert_eq!(missing, expected["missing"], "{name}");
    }
}

/// Questions, those without an answer, and those whose answer does not stand where it should.
#[test]
fn squad_is_read_whole() {
    let Some(folder) = data_folder(3) else { return };
    for (file, questions, unanswerable, misplaced) in [
        ("squad/train-v1.1.json.gz", 87599, 0, 0),
        ("squad/dev-v1.1.public.json.gz", 9555, 0, 0),
        ("squad2/dev-v2.0.public.json.gz", 9886, 4969, 0),
    ] {
        let source = Source::new(folder.join(file), Task::QuestionAnswering);
        let dataset = read(&source).unwrap();
        let none = |example: &&Example| example.label == Label::Answers(Vec::new());
        let found = dataset.examples.iter().filter(none).count();
        let counts = (dataset.examples.len(), found, dataset.misplaced());
        assert_eq!(counts, (questions, unanswerable, misplaced), "{file}");
        for example in &dataset.examples {
            let Label::Answers(gold) = &example.label else {
                panic!("{file}:{}", example.line)
            };
            for gold in gold {
                let passage = example.pair.as_ref().unwrap();
                assert!(passage[gold.start.unwrap()..].starts_with(&gold.text));
            }
        }
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
