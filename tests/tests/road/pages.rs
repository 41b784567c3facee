//! The report pages and the card, as the program leaves them.

use std::fs;
use std::path::Path;

use berth_checkpoint::{TrainingArgs, hex, sha256};

use crate::fixture::{self, LABELS, Trained};
use crate::program::berth;

#[test]
fn a_fine_tuning_leaves_a_page_and_a_card() {
    let dir = fixture::folder();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    fixture::base_model(&dir.path().join("base"));
    let train = fixture::write_sentences(dir.path(), "train.tsv", 48, 1);
    let checksum = hex(&sha256(&train).expect("a file"));
    fixture::write_sentences(dir.path(), "dev.tsv", 20, 2);
    let arguments = "finetune --task text-classification --num_train_epochs 2 --learning_rate 1e-3 \
                     --save_strategy no --threads 1 --json";
    let names = ["base", "train.tsv", "dev.tsv", "out", "data.toml"];
    let [base, train_file, dev, out, recipe] = names.map(path);
    let data = format!(
        "[data]\nhome = \"https://there\"\nlicence = \"CC BY-SA 4.0\"\n\n\
         [data.sha256]\n\"train.tsv\" = \"{checksum}\"\n"
    );
    fs::write(&recipe, data).expect("a file");
    let paths = [
        ("--config", &recipe),
        ("--model_name_or_path", &base),
        ("--train_file", &train_file),
        ("--validation_file", &dev),
        ("--output_dir", &out),
    ];
    let paths = paths.iter().flat_map(|(flag, path)| [*flag, path.as_str()]);
    berth(arguments.split_whitespace().chain(paths)).ok();

    let out = Path::new(&out);
    let page = fs::read_to_string(out.join("report.html")).expect("a page");
    assert_whole(&page);
    for id in [
        "course",
        "labels",
        "confidence",
        "mistakes",
        "figures",
        "origin",
        "recipe",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    let card = fs::read_to_string(out.join("README.md")).expect("a card");
    let row = format!("| learned from | train.tsv | 48 | `{checksum}` |");
    assert!(card.contains(&row), "{card}");
    let licence = "The data are from <https://there>; their licence: CC BY-SA 4.0.";
    assert!(card.contains(licence), "{card}");
    assert!(page.contains(&checksum));
    let args = TrainingArgs::read(out).expect("a file").expect("arguments");
    let from = args.provenance.expect("where it comes from");
    assert_eq!(from.base_model, "base");
    assert_eq!(from.train_file.expect("a file").sha256, checksum);
    assert_eq!(from.validation_file.expect("a file").rows, 20);
    assert_eq!(from.data_licence.expect("a licence"), "CC BY-SA 4.0");
    // No way on this machine to any of them.
    assert!(!page.contains(&base) && !card.contains(&base));

    let bundle = path("out.berth");
    let folder = out.to_str().expect("UTF-8");
    berth(["quantize", folder, "--output", &bundle]).ok();
    let told = berth(["inspect", &bundle, "--json"]).ok();
    assert!(told.contains(licence), "{told}");
}

#[test]
fn a_quantization_leaves_a_page_beside_the_bundle_or_where_it_is_told_to() {
    let trained = Trained::get();
    let dir = fixture::folder();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (checkpoint, dev) = (text(&trained.checkpoint), text(&trained.dev));
    let quantize = |output: &str, more: &[&str]| {
        let fixed = [
            "quantize",
            &checkpoint,
            "--validation_file",
            &dev,
            "--output",
            output,
        ];
        let all = fixed.iter().chain(more).copied();
        berth(all.collect::<Vec<_>>())
    };
    quantize(&path("tiny.berth"), &[]).ok();
    let page = fs::read_to_string(dir.path().join("tiny.report.html")).expect("a page");
    assert_whole(&page);
    for shown in [
        "<section id=\"changed\">",
        "<section id=\"latency\">",
        LABELS[0],
        LABELS[1],
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    let elsewhere = path("page.html");
    quantize(&path("again.berth"), &["--report", &elsewhere]).ok();
    assert_whole(&fs::read_to_string(&elsewhere).expect("a page"));
    // Where the gate is missed, nothing is written.
    let missed = quantize(&path("missed.berth"), &["--max_drop=-100"]);
    assert_eq!(missed.code, Some(1), "{missed:?}");
    assert!(missed.stderr.contains("nothing was written"), "{missed:?}");
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("a name")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    let expected = ["again.berth", "page.html", "tiny.berth", "tiny.report.html"];
    assert_eq!(names, expected);
}

/// A whole page that needs nothing else.
fn assert_whole(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for outside in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}
