//! Whole pages, of hostile texts for every task.

use super::*;
use berth_bundle::{Calibration, Threshold};
use berth_checkpoint::{DataFile, Provenance};
use berth_data::{Answer, Decision, Evaluation, Example, GoldAnswer, Label};
use berth_quantize::{Change, Changed, LayerCost};
use berth_runtime::measure::{Latency, Report};
use berth_task::Task;
use serde_json::json;

/// Markup, quotes, an override of the direction that is never ended, a NUL, and a tag that would end the
/// style.
const HOSTILE: &str =
    "<script>alert(1)</script>\" onload='x' \u{202e}txet\0</style><img src=x>&amp;";

fn example(text: &str, pair: Option<&str>, label: Label) -> Example {
    Example {
        text: text.into(),
        pair: pair.map(str::to_owned),
        words: std::iter::once(0..text.len()).collect(),
        label,
        line: 7,
        ..Example::default()
    }
}

fn decision(gold: Label, answer: Answer) -> Decision {
    Decision {
        example: 0,
        word: Some(0),
        gold,
        answer,
    }
}

/// A row of a task with hostile texts, and a wrong answer to it.
fn wrong(task: Task) -> (Example, Decision) {
    let class = Answer::Class {
        label: 1,
        probability: 0.9,
    };
    match task {
        Task::TextPairRegression => (
            example(HOSTILE, Some(HOSTILE), Label::Value(1.0)),
            decision(Label::Value(1.0), Answer::Value(3.5)),
        ),
        Task::QuestionAnswering => {
            let gold = GoldAnswer {
                text: HOSTILE[3..30].into(),
                start: Some(3),
            };
            let gold = Label::Answers(vec![gold]);
            let said = Answer::Span {
                text: HOSTILE[20..37].into(),
                start: 20,
                probability: 0.5,
            };
            (
                example(HOSTILE, Some(HOSTILE), gold.clone()),
                decision(gold, said),
            )
        }
        Task::TokenClassification => (
            example(HOSTILE, None, Label::Tags(vec![0])),
            decision(Label::Class(0), class),
        ),
        Task::TextPairClassification => (
            example(HOSTILE, Some(HOSTILE), Label::Class(0)),
            decision(Label::Class(0), class),
        ),
        Task::TextClassification => (
            example(HOSTILE, None, Label::Class(0)),
            decision(Label::Class(0), class),
        ),
    }
}

const TASKS: [Task; 5] = [
    Task::TextClassification,
    Task::TextPairClassification,
    Task::TextPairRegression,
    Task::TokenClassification,
    Task::QuestionAnswering,
];

/// What no text from outside may bring about.
fn assert_tame(page: &str, what: &str) {
    let body = page.split_once("</style>").expect("a style").1;
    for bad in [
        "<script", "<img", "</style", "\0", "src=", "http:", "https:", "@import", "url(",
    ] {
        let found = body.replace("http://www.w3.org/2000/svg", "");
        let found = found.replace("src=x&gt;", "");
        assert!(!found.contains(bad), "{what}: {bad}");
    }
    assert!(
        !page.contains("\0") && !STYLED.iter().any(|bad| page.contains(bad)),
        "{what}"
    );
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"),
        "{what}"
    );
    assert!(
        page.contains("&lt;script&gt;"),
        "{what}: the text is not there"
    );
    // Whatever turns the direction stands in an element that keeps it to itself.
    for (at, _) in body.match_indices('\u{202e}') {
        let before = &body[..at];
        assert!(
            before.matches("<bdi>").count() > before.matches("</bdi>").count(),
            "{what}"
        );
    }
}

/// What would fetch something from the style sheet.
const STYLED: [&str; 2] = ["@import", "url("];

fn state() -> TrainerState {
    let mut state = TrainerState {
        global_step: 4,
        epoch: 2.0,
        ..TrainerState::default()
    };
    for step in 1..=4 {
        state.add_loss(1.0 / f64::from(step));
    }
    state.log([("eval_loss".into(), 0.5), ("eval_<b>".into(), 0.75)]);
    state
}

#[test]
fn a_page_of_a_fine_tuning_shows_hostile_texts_as_texts() {
    let labels = [HOSTILE.to_owned(), "B-<i>".to_owned()];
    for task in TASKS {
        let (example, decision) = wrong(task);
        let (examples, decisions) = ([example], [decision]);
        let mut args = TrainingArgs::new(task, 128);
        let file = DataFile {
            name: HOSTILE.into(),
            ..DataFile::default()
        };
        args.provenance = Some(Provenance {
            base_model: HOSTILE.into(),
            train_file: Some(file),
            ..Provenance::default()
        });
        args.recipe = json!({"learning_rate": 5e-5, "<u>": HOSTILE});
        let results = json!({"eval_loss": 0.5, "eval_accuracy": 0.75, "train_runtime": 4000.0});
        let page = training(&Training {
            name: HOSTILE,
            args: &args,
            state: &state(),
            results: results.as_object().unwrap(),
            answered: Some(Answered {
                task,
                labels: &labels,
                examples: &examples,
                decisions: &decisions,
            }),
        });
        let page = page.unwrap();
        assert_tame(&page, task.name());
        for id in ["course", "mistakes", "figures", "origin", "recipe"] {
            assert!(
                page.contains(&format!("<section id=\"{id}\">")),
                "{task}: {id}"
            );
        }
        let numbers = task == Task::TextPairRegression;
        assert_eq!(page.contains("id=\"numbers\""), numbers, "{task}");
        assert_eq!(page.contains("id=\"confidence\""), !numbers, "{task}");
    }
}

/// A temperature, and a score that 80 of 100 answers have.
fn calibration() -> Calibration {
    let threshold = Threshold {
        min_score: 0.75,
        answered: 80,
        right: 76,
    };
    Calibration {
        temperature: 1.5,
        answers: 100,
        error_before: 0.125,
        error_after: 0.0625,
        error_held_out: 0.09375,
        thresholds: [threshold].into_iter().collect(),
    }
}

/// Two layers, of which the second is in floats.
fn cost() -> Cost {
    let layer = |layer, own_snr_db, explains| LayerCost {
        layer,
        snr_db: 21.5,
        own_snr_db,
        explains,
    };
    Cost {
        layers: vec![layer(0, 24.25, 0.5), layer(1, f64::INFINITY, -0.025)],
        rest: 0.125,
        inputs: 3,
        tokens: 60,
    }
}

fn smoothing() -> Step {
    Step {
        change: Change::Smoothing,
        kept: true,
        error: 0.0125,
        drop: 0.5,
        agreement: 0.9,
        latency: berth_quantize::Latency {
            tokens: 64,
            p50_ms: 4.5,
            min_ms: 4.25,
        },
        bytes: 23_700_000,
    }
}

/// f32 and int8 on a hundred rows, of which forty stay as they are.
fn comparison(changed: Vec<Changed>) -> Comparison {
    let evaluation = |accuracy| Evaluation {
        samples: 100,
        loss: Some(0.4),
        metrics: vec![("accuracy", accuracy)],
        fitted: Vec::new(),
    };
    Comparison {
        main_metric: "accuracy",
        full_marks: 1.0,
        f32: evaluation(0.9),
        int8: evaluation(0.875),
        asked: 100,
        same: 40,
        cosine: 0.99,
        error: 0.0,
        drop_interval: [-1.25, 6.75],
        changed,
        calibration: Some(calibration()),
    }
}

/// Two lengths, measured on a processor with a hostile name.
fn latency() -> Report {
    let latency = Latency {
        p50_ms: 1.5,
        p90_ms: 1.75,
        p99_ms: 2.0,
        min_ms: 1.25,
    };
    Report {
        lengths: vec![(16, latency), (64, latency)],
        open_ms: 0.1,
        load_ms: 0.5,
        peak_rss_mb: None,
        allocations_per_query: None,
        threads: 1,
        f32_layers: vec![2],
        cpu: HOSTILE.into(),
        isa: "portable",
    }
}

#[test]
fn without_a_file_to_compare_on_nothing_is_said_of_figures() {
    let page = quantized(&Quantized {
        name: "made",
        bytes: 1,
        sha256: "",
        f32_bytes: 1,
        f32_layers: &[],
        latency: &latency(),
        compared: None,
    });
    let page = page.unwrap();
    assert!(page.contains("<p>Every layer is int8.</p>"), "{page}");
    assert!(!page.contains("figures of int8"), "{page}");
}

#[test]
fn what_rounds_to_no_difference_has_no_sign() {
    for (int8, told) in [
        (0.5, "0.0000"),
        (0.49999, "0.0000"),
        (0.50001, "0.0000"),
        (0.75, "+0.2500"),
        (0.25, "-0.2500"),
    ] {
        assert_eq!(facts::difference(0.5, int8), told);
    }
}

#[test]
fn an_answer_that_is_a_number_is_kept_from_its_score() {
    let answered = Answered {
        task: Task::QuestionAnswering,
        labels: &[],
        examples: &[],
        decisions: &[],
    };
    for (text, told) in [("1", "<bdi>1</bdi> (25.0 %)"), ("", "no answer (25.0 %)")] {
        let said = Answer::Span {
            text: text.into(),
            start: 0,
            probability: 0.25,
        };
        assert_eq!(mistakes::answer(&answered, &said).into_string(), told);
    }
}

#[test]
fn a_page_of_a_quantization_has_every_changed_answer() {
    let labels = ["<no>".to_owned(), "yes".to_owned()];
    let (example, decision) = wrong(Task::TextClassification);
    let (examples, decisions) = ([example], [decision]);
    let changed = |line| Changed {
        line,
        text: HOSTILE.into(),
        gold: Label::Class(0),
        f32: Answer::Class {
            label: 0,
            probability: 0.5,
        },
        int8: Answer::Class {
            label: 1,
            probability: 0.5,
        },
    };
    let comparison = comparison((1000..1060).map(changed).collect());
    let (cost, search) = (cost(), [smoothing()]);
    let answered = Answered {
        task: Task::TextClassification,
        labels: &labels,
        examples: &examples,
        decisions: &decisions,
    };
    let latency = latency();
    let warnings = ["the file is too small".to_owned()];
    let gate = Gate {
        max_drop: Some(3.0),
        min_agreement: Some(0.25),
    };
    let page = quantized(&Quantized {
        name: HOSTILE,
        bytes: 23_800_000,
        sha256: "0123abcd",
        f32_bytes: 90_900_000,
        f32_layers: &[2],
        latency: &latency,
        compared: Some(Compared {
            file: HOSTILE,
            comparison: &comparison,
            cost: &cost,
            search: &search,
            gate,
            warnings: &warnings,
            f32: answered,
            int8: answered,
        }),
    });
    let page = page.unwrap();
    assert_tame(&page, "quantized");
    for line in 1000..1060 {
        assert_eq!(
            page.matches(&format!("line {line}<")).count(),
            1,
            "line {line}"
        );
    }
    for shown in [
        "0.8750",
        "0.9000 in f32",
        "40.00 %",
        "23.80 MB",
        "Layers [2]",
        "&lt;no&gt;",
        "1.50",
        "2.50</div>",
        "95 % interval -1.25 to 6.75",
        "temperature 1.5,",
        "<td>0.75</td><td>80.00 %</td><td>95.00 %</td>",
        "<td>1</td><td>exact</td><td>21.5 dB</td><td>-2.50 %</td>",
        "outliers smoothed into weights",
        "sizes are without self-test and card",
        "<code>0123abcd</code>",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    assert_eq!(page.matches("id=\"confidence\"").count(), 1);
    let (above, tiles) = page.split_once("class=\"tiles\"").expect("tiles");
    for shown in [
        "Asked for: --max_drop 3, --min_agreement 0.25; <b>met</b>.",
        "<p class=\"warning\">Warning: the file is too small.</p>",
        ", on <bdi>&lt;script&gt;",
    ] {
        assert!(above.contains(shown), "{shown} in {above}");
    }
    assert!(!tiles.contains("too few for this interval"));
    // The texts of the rows are cut; where the decision is found again, it stands whole.
    let cut = Changed {
        text: "cut".into(),
        f32: decisions[0].answer.clone(),
        int8: decisions[0].answer.clone(),
        ..changed(7)
    };
    let compared = Compared {
        file: "dev.tsv",
        comparison: &Comparison {
            asked: 100,
            same: 98,
            changed: vec![cut, changed(8)],
            ..comparison
        },
        cost: &cost,
        search: &[],
        gate: Gate::default(),
        warnings: &[],
        f32: answered,
        int8: answered,
    };
    assert_eq!(facts::gate(&compared).into_string(), "");
    let page = quantized(&Quantized {
        name: "made",
        bytes: 1,
        sha256: "",
        f32_bytes: 1,
        f32_layers: &[],
        latency: &latency,
        compared: Some(compared),
    });
    let caution =
        "to 6.75; 2 answers changed, too few for this interval: up to 7.00 points are possible";
    assert!(page.unwrap().contains(caution));
    let section = changed::section(&compared).body.into_string();
    assert!(
        !section.contains("cut") && section.contains("alert(1)"),
        "{section}"
    );
}

/// A page of all of them would be of hundreds of megabytes.
#[test]
fn of_very_many_changed_answers_the_first_stand_there_each_with_the_labels_that_changed() {
    let labels = ["a", "b", "kept"].map(str::to_owned);
    let set = |labels: [usize; 2], probabilities: [f32; 3]| Answer::Set {
        labels: labels.to_vec(),
        probabilities: probabilities.to_vec(),
    };
    let changed = |line| Changed {
        line,
        text: "text".into(),
        gold: Label::Set(vec![0, 2]),
        f32: set([0, 2], [0.75, 0.25, 0.5625]),
        int8: set([1, 2], [0.375, 0.625, 0.5625]),
    };
    let comparison = Comparison {
        asked: 2000,
        same: 2000 - 1003,
        ..comparison((1..=1003).map(changed).collect())
    };
    let answered = Answered {
        task: Task::TextClassification,
        labels: &labels,
        examples: &[],
        decisions: &[],
    };
    let section = changed::section(&Compared {
        file: "dev.jsonl",
        comparison: &comparison,
        cost: &cost(),
        search: &[],
        gate: Gate::default(),
        warnings: &[],
        f32: answered,
        int8: answered,
    });
    let section = section.body.into_string();
    assert_eq!(section.matches("<li>").count(), 1000);
    assert!(section.contains("line 1000<") && !section.contains("line 1001<"));
    assert!(!section.contains("kept"), "a label that both give");
    for shown in [
        "1003 of 2000: f32, int8, and what is right. Of several labels those that changed. \
         Here are the first 1000; <code>berth quantize --json</code> prints all.",
        "<summary>975 more</summary>",
        "\"f32\"><bdi>a</bdi> 75.0 %, not <bdi>b</bdi> 25.0 %<",
        "\"said\">not <bdi>a</bdi> 37.5 %, <bdi>b</bdi> 62.5 %<",
        "\"gold\"><bdi>a</bdi>, not <bdi>b</bdi><",
    ] {
        assert!(section.contains(shown), "{shown}");
    }
}

#[test]
fn a_run_that_was_not_measured_has_a_page() {
    let args = TrainingArgs::new(Task::TextClassification, 128);
    let page = training(&Training {
        name: "model",
        args: &args,
        state: &TrainerState::default(),
        results: &Map::new(),
        answered: None,
    });
    assert!(
        page.unwrap()
            .contains("<h1><bdi>model: fine-tuning</bdi></h1>")
    );
}

#[test]
fn rows_with_several_labels_have_their_figures_and_mistakes() {
    let labels = ["<a>", "b", "c"].map(str::to_owned);
    let (example, _) = wrong(Task::TextClassification);
    let gold = Label::Set(vec![0, 2]);
    let decisions = [decision(
        gold,
        Answer::Set {
            labels: vec![0, 1],
            probabilities: vec![0.75, 0.5625, 0.25],
        },
    )];
    let answered = Answered {
        task: Task::TextClassification,
        labels: &labels,
        examples: &[example],
        decisions: &decisions,
    };
    let sections = of_answers(&answered).unwrap();
    let ids: Vec<_> = sections.iter().map(|section| section.id).collect();
    assert_eq!(ids, ["labels", "mistakes", "confidence"]);
    let mistakes = sections[1].body.0.as_str();
    for shown in [
        "&lt;a&gt;</bdi> 75.0 %, ",
        "<bdi>b</bdi> 56.2 %",
        "<bdi>&lt;a&gt;</bdi>, <bdi>c</bdi>",
    ] {
        assert!(mistakes.contains(shown), "{shown} in {mistakes}");
    }
    // Sure of the one that is right by 0.75, of the two that are wrong by 0.5625 and 0.75.
    let mut told: Vec<_> = answered.probabilities().collect();
    told.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    assert_eq!(told, [(0.5625, false), (0.75, false), (0.75, true)]);
    assert_eq!(answered::error(&decisions[0]), 0.5625 + 0.75);
}
