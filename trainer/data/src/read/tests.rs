//! Reading by hand-made contents: every format, every published layout, every error, and damage.

mod several;

use super::*;
use crate::task_name::TaskName;
use std::path::Path;

/// Reads `content` as if the source's file held it.
fn read_from(source: &Source, content: &[u8]) -> Result<Dataset, DataError> {
    let format = check(source)?;
    parse(
        source,
        format,
        &Text::decode(&source.path, content.to_vec())?,
    )
}

fn error(source: &Source, content: &str) -> String {
    read_from(source, content.as_bytes())
        .unwrap_err()
        .to_string()
}

fn single(path: &str) -> Source {
    Source::new(path, Task::TextClassification)
}

fn pair(path: &str) -> Source {
    Source::new(path, Task::TextPairClassification)
}

fn classes(dataset: &Dataset) -> Vec<u32> {
    let class = |example: &Example| match &example.label {
        Label::Class(class) => *class,
        other => panic!("{other:?}"),
    };
    dataset.examples.iter().map(class).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn the_four_formats_say_the_same() {
    let tsv = "id\ttext\tlabel\n1\tgood, \"so\" good\tpos\n\n2\t\tneg\n";
    let csv = "id,text,label\r\n1,\"good, \"\"so\"\" good\",pos\r\n\r\n2,,neg";
    let jsonl = "\n{\"text\": \"good, \\\"so\\\" good\", \"label\": \"pos\"}\n\n{\"label\":\"neg\",\"text\":null}";
    let json = format!("[{}]", jsonl.replace("\n\n", "\n,\n"));
    for (path, content) in [
        ("a.tsv", tsv),
        ("a.csv", csv),
        ("a.jsonl", jsonl),
        ("a.json", json.as_str()),
    ] {
        for mark in ["", "\u{feff}"] {
            let content = format!("{mark}{content}");
            let dataset = read_from(&single(path), content.as_bytes()).unwrap();
            assert_eq!(dataset.labels, ["neg", "pos"], "{path}");
            assert_eq!(classes(&dataset), [1, 0]);
            let lines: Vec<_> = dataset.examples.iter().map(|row| row.line).collect();
            assert_eq!(lines, [2, 4], "{path}");
            let texts: Vec<_> = dataset.examples.iter().map(|row| &*row.text).collect();
            assert_eq!(texts, ["good, \"so\" good", ""]);
        }
    }
}

#[test]
fn columns_are_found_by_their_usual_names_or_those_asked_for() {
    let content = b"labels,hypothesis,premise,other\n1,b,a,x\n";
    let mut source = pair("a.csv");
    let row = |source: &Source| {
        let row = read_from(source, content).unwrap().examples.remove(0);
        (row.text, row.pair)
    };
    assert_eq!(row(&source), ("a".into(), Some("b".into())));
    source.columns.text_pair = Some("other".into());
    assert_eq!(row(&source), ("a".into(), Some("x".into())));
    source.task = Task::TextClassification;
    assert_eq!(row(&source), ("a".into(), None));
    source.columns.text = Some("hypothesis".into());
    assert_eq!(row(&source), ("b".into(), None));
}

#[test]
fn labels_that_are_not_wanted_are_not_looked_at() {
    let source = Source {
        labelled: false,
        ..single("a.tsv")
    };
    let dataset = read_from(&source, b"text\none\ntwo\n").unwrap();
    assert_eq!(dataset.examples.len(), 2);
    assert!(dataset.examples.iter().all(|row| row.label == Label::None));
    assert!(dataset.labels.is_empty());
}

#[test]
fn rows_without_a_label_are_left_out_and_counted() {
    let dataset = read_from(&single("a.csv"), b"text,label\na,1\nb,\nc, \nd,0\n").unwrap();
    assert_eq!(
        (dataset.unlabelled, dataset.rows(), dataset.examples.len()),
        (2, 4, 2)
    );
    assert_eq!(dataset.labels, ["0", "1"]);
    let message = error(&single("a.csv"), "text,label\na,\nb,\n");
    assert_eq!(
        message,
        "a.csv:1: no labelled rows; all 2 are without a label"
    );
}

#[test]
fn own_labels_are_sorted_numbers_as_numbers() {
    let content = b"text,label\na,10\nb, 9\nc,x\nd,-1\ne,2.5\nf,nan\ng,9\n";
    let dataset = read_from(&single("a.csv"), content).unwrap();
    assert_eq!(dataset.labels, ["-1", "2.5", "9", "10", "nan", "x"]);
    assert_eq!(classes(&dataset), [3, 2, 5, 0, 1, 4, 2]);
    assert_eq!(dataset.histogram(), [1, 1, 2, 1, 1, 1]);
}

#[test]
fn new_names_go_to_the_labels_in_their_order() {
    let names = |names: &[&str]| Source {
        label_names: Some(strings(names)),
        ..single("a.csv")
    };
    let two = names(&["bad", "good"]);
    for (content, expected) in [
        // ids; ids of which one is missing; the names themselves; any two others, sorted
        ("text,label\na,1\nb,0\n", vec![1, 0]),
        ("text,label\na,1\nb,1\n", vec![1, 1]),
        ("text,label\na,good\nb,0\n", vec![1, 0]),
        ("text,label\na,2\nb,1\n", vec![1, 0]),
        ("text,label\na,pos\nb,neg\n", vec![1, 0]),
    ] {
        let dataset = read_from(&two, content.as_bytes()).unwrap();
        assert_eq!(dataset.labels, ["bad", "good"]);
        assert_eq!(classes(&dataset), expected, "{content}");

        // The same rows to measure with, alone: the spellings are known from before.
        for (line, expected) in content.lines().skip(1).zip(expected) {
            let source = Source {
                labels: Some(dataset.labels.clone()),
                spellings: dataset.spellings.clone(),
                ..single("a.csv")
            };
            let content = format!("text,label\n{line}\n");
            let dataset = read_from(&source, content.as_bytes()).unwrap();
            assert_eq!(classes(&dataset), [expected], "{content}");
        }
    }
    let content = "text,label\na,x\nb,y\nc,z\n";
    let message = error(&two, content);
    assert_eq!(
        message,
        "a.csv:1: --label_names gives 2 names for the 3 labels x, y, z"
    );
    let message = error(&names(&["a", "b", "a"]), content);
    assert_eq!(message, "a.csv: --label_names gives \"a\" twice");
}

#[test]
fn new_names_are_trimmed_and_go_by_name_where_they_are_the_old_ones() {
    let names = |names: &[&str]| Source {
        label_names: Some(strings(names)),
        ..single("a.csv")
    };
    let content = "text,label\na,pos\nb,pos\nc,pos\nd,neg\n";
    for given in [["pos", " neg"], ["pos", "Neg"], ["POS", "NEG"]] {
        let dataset = read_from(&names(&given), content.as_bytes()).unwrap();
        assert_eq!(dataset.labels, given.map(str::trim));
        assert_eq!(dataset.histogram(), [3, 1], "{given:?}");
    }
    // In their order; the first one is called as the other label is.
    for given in [["pos", "negg"], ["Pos", "negg"]] {
        let expected = format!(
            "a.csv:1: --label_names calls the label \"neg\" {:?}, which is another label's name; give the labels' \
             own names, in any order, or new ones in the order neg, pos",
            given[0]
        );
        assert_eq!(error(&names(&given), content), expected);
    }
    // Both are the same label's name.
    let message = error(&names(&["Pos", "POS"]), content);
    assert!(
        message.contains("calls the label \"neg\" \"Pos\", which is"),
        "{message}"
    );
    let dataset = read_from(&names(&["neg", "good"]), content.as_bytes()).unwrap();
    assert_eq!(dataset.histogram(), [1, 3]);
    // Ids that move on by one.
    let message = error(&names(&["0", "1"]), "text,label\na,1\nb,2\n");
    assert!(message.contains("calls the label \"2\" \"1\""), "{message}");
}

#[test]
fn a_models_labels_stay_in_their_order_whatever_that_of_their_names() {
    let source = |names: &[&str]| Source {
        labels: Some(strings(&["pos", "neg"])),
        label_names: Some(strings(names)),
        ..single("a.csv")
    };
    let content = "text,label\na,pos\nb,neg\nc,0\n";
    for (given, expected) in [
        (["neg", "pos"], ["pos", "neg"]),
        (["Neg", "POS"], ["POS", "Neg"]),
        (["good", "bad"], ["good", "bad"]),
    ] {
        let dataset = read_from(&source(&given), content.as_bytes()).unwrap();
        assert_eq!(dataset.labels, expected);
        assert_eq!(dataset.spellings, ["pos", "neg"]);
        assert_eq!(classes(&dataset), [0, 1, 0], "{given:?}");
    }
    let message = error(&source(&["neg", "bad"]), content);
    assert!(
        message.contains("calls the label \"pos\" \"neg\", which is"),
        "{message}"
    );
}

#[test]
fn new_names_of_a_task_name_go_by_name_where_they_are_its_own() {
    const SICK: &str = "sentence_A\tsentence_B\tentailment_judgment\na\tb\tENTAILMENT\na\tb\tNEUTRAL\n\
        a\tb\tNEUTRAL\na\tb\t0\n";
    let source = |names: &[&str]| Source {
        label_names: Some(strings(names)),
        ..Source::named("a.tsv", TaskName::Sick)
    };
    let given = ["neutral", "entailment", "contradiction"];
    let dataset = read_from(&source(&given), SICK.as_bytes()).unwrap();
    assert_eq!(dataset.labels, given);
    assert_eq!(dataset.histogram(), [2, 2, 0]);
    assert_eq!(dataset.spellings, given);
    let dataset = read_from(&source(&["a", "b", "c"]), SICK.as_bytes()).unwrap();
    assert_eq!(dataset.histogram(), [2, 2, 0]);
    assert_eq!(dataset.spellings, TaskName::Sick.labels());
    let message = error(&source(&["neutral", "b", "c"]), SICK);
    assert!(
        message.contains("calls the label \"entailment\" \"neutral\", which is"),
        "{message}"
    );
}

#[test]
fn a_whole_number_with_a_point_is_the_label_that_it_is_without() {
    let content = "text,label\na,1\nb,1.0\nc,0\nd,0.0\ne,2.0\n";
    let dataset = read_from(&single("a.csv"), content.as_bytes()).unwrap();
    assert_eq!(dataset.labels, ["0", "1", "2.0"]);
    assert_eq!(classes(&dataset), [1, 1, 0, 0, 2]);
    // What is no number keeps its point.
    let content = "text,label\na,v1\nb,v1.0\n";
    let dataset = read_from(&single("a.csv"), content.as_bytes()).unwrap();
    assert_eq!(dataset.labels, ["v1", "v1.0"]);
}

#[test]
fn a_file_holds_names_or_ids_but_ids_only_where_they_are_clear() {
    let known = |labels: &[&str]| Source {
        labels: Some(strings(labels)),
        ..single("a.tsv")
    };
    let content = b"text\tlabel\na\tno\nb\t1\nc\t0.0\nd\tmaybe\n";
    let dataset = read_from(&known(&["yes", "no", "maybe"]), content).unwrap();
    assert_eq!(classes(&dataset), [1, 1, 0, 2]);
    assert_eq!(dataset.labels, ["yes", "no", "maybe"]);

    let dataset = read_from(&known(&["1", "2"]), b"text\tlabel\na\t1\n").unwrap();
    assert_eq!(classes(&dataset), [0]);
    let message = error(&known(&["1", "2"]), "text\tlabel\na\t1\nb\t0\n");
    assert_eq!(message, "a.tsv:3: unknown label \"0\"; the labels are 1, 2");

    // Whole numbers are the same with and without a point.
    let content = b"text\tlabel\na\t1.0\nb\t2\nc\t1\n";
    for labels in [["1", "2"], ["1.0", "2.0"]] {
        let dataset = read_from(&known(&labels), content).unwrap();
        assert_eq!(classes(&dataset), [0, 1, 0]);
    }
}

#[test]
fn regression_reads_numbers_and_nothing_else() {
    let source = Source::new("a.tsv", Task::TextPairRegression);
    let read = |label: &str| {
        let content = format!("text\ttext_pair\tlabel\na\tb\t1\na\tb\t{label}\n");
        read_from(&source, content.as_bytes())
    };
    let dataset = read("-2.5e0").unwrap();
    assert_eq!(dataset.examples[1].label, Label::Value(-2.5));
    assert_eq!(dataset.range(), Some((-2.5, 1.0)));
    for label in ["x", "nan", "inf", "1e39", "1,5", "0x1"] {
        let message = read(label).unwrap_err().to_string();
        let expected = format!("a.tsv:3: the label \"{label}\" is no number;");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn published_files_are_read_as_they_are() {
    const STSB: &str = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\t\
        sentence1\tsentence2\tscore\n0\tn\tf\t2012\t1\ts\ts\ta\tb\t3.250";
    const SICK: &str = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\t\
        entailment_judgment\n1\ta\tb\t4.5\tNEUTRAL";
    const MNLI: &str = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t\
        sentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\t\
        label1\tgold_label\n0\t31193\t31193n\tgovernment\t( a )\t( b )\t(ROOT a)\t(ROOT b)\ta\tb\t\
        neutral\tcontradiction";
    const MRPC: &str = "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n\
        1\t7\t8\ta\tb\r\n";
    const RTE: &str = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment";
    const QNLI: &str = "index\tquestion\tsentence\tlabel\n0\ta\tb\tentailment";
    const COLA_WITH_HEADER: &str = "source\tlabel\tmark\tsentence\ngj04\t0\t*\tRan he.";
    let (class, value) = (Label::Class, Label::Value);
    for (name, content, text, second, label) in [
        (
            TaskName::Cola,
            "gj04\t1\t\tHe \"ran.",
            "He \"ran.",
            None,
            class(1),
        ),
        (TaskName::Cola, COLA_WITH_HEADER, "Ran he.", None, class(0)),
        (
            TaskName::Sst2,
            "sentence\tlabel\nfine \t1",
            "fine ",
            None,
            class(1),
        ),
        (
            TaskName::Mr,
            "sentence\tlabel\ndull\tnegative",
            "dull",
            None,
            class(0),
        ),
        (TaskName::Rte, RTE, "a", Some("b"), class(1)),
        (TaskName::Qnli, QNLI, "a", Some("b"), class(0)),
        (TaskName::Mnli, MNLI, "a", Some("b"), class(2)),
        (TaskName::Mrpc, MRPC, "a", Some("b"), class(1)),
        (TaskName::Sick, SICK, "a", Some("b"), class(1)),
        (TaskName::SickR, SICK, "a", Some("b"), value(4.5)),
        (TaskName::Stsb, STSB, "a", Some("b"), value(3.25)),
        (
            TaskName::Stsb,
            "news\tMSRpar\t2012\t1\t5.0\ta\tb",
            "a",
            Some("b"),
            value(5.0),
        ),
        (
            TaskName::Stsb,
            "news\tf\t2012\t1\t5.0\ta\tb\tl\tu\r\n",
            "a",
            Some("b"),
            value(5.0),
        ),
    ] {
        let file = match name {
            TaskName::Stsb => "sts-dev.csv",
            _ => "any.txt",
        };
        let dataset = read_from(&Source::named(file, name), content.as_bytes()).unwrap();
        assert_eq!(dataset.labels, name.labels());
        let row = &dataset.examples[0];
        assert_eq!((&*row.text, row.pair.as_deref()), (text, second), "{name}");
        assert_eq!(row.label, label, "{name}");
    }
}

#[test]
fn files_that_are_none_of_a_task_names_own_are_read_by_their_extension() {
    for name in [TaskName::Cola, TaskName::Mr, TaskName::Sst2] {
        for (path, content) in [
            ("a.csv", "text,label\n\"so, so\",1\n"),
            ("a.jsonl", "{\"text\": \"so, so\", \"label\": 1}\n"),
            ("a.json", "[{\"sentence\": \"so, so\", \"label\": 1}]"),
        ] {
            let dataset = read_from(&Source::named(path, name), content.as_bytes()).unwrap();
            assert_eq!(dataset.examples[0].text, "so, so", "{name}: {path}");
            assert_eq!(classes(&dataset), [1]);
        }
    }
    // What its own files can be called leaves the way out to be said.
    let message = error(
        &Source::named("a.txt", TaskName::Mr),
        "text,label\nfine,1\n",
    );
    assert_eq!(
        message,
        "a.txt:1: no column sentence or text or sentence1 or premise or question; the columns are \
         \"text,label\"; say --text_column_name NAME, or --format tsv|csv|jsonl|json where the file is none \
         of mr's own"
    );
    let message = error(
        &Source::named("a.tsv", TaskName::Cola),
        "text\tlabel\nfine\t1\n",
    );
    assert_eq!(
        message,
        "a.tsv:1: 2 columns where the files of cola have 4 and no header; where the file is none of its own, \
         say --format tsv|csv|jsonl|json"
    );
}

#[test]
fn the_line_of_json_that_is_broken_is_named_and_not_the_next() {
    let row = |name: &str| {
        format!(
            "{{\"tokens\": [\"{name}\"], \"tags\": [\"O\"], \"text\": \"{name}\", \"label\": \"x\", \
             \"question\": \"q\", \"context\": \"c\", \"answers\": []}}\n"
        )
    };
    for (broken, column) in [
        ("{\"text\":\"b\",\"label\":\r\n", 20),
        ("{\"text\":\"b\",\"label\":\"x\"\n", 23),
        ("{\"text\":\"b\",\n", 12),
        ("{\"text\":\"b\n", 10),
    ] {
        let content = [row("a"), "\n".into(), broken.into(), row("c")].concat();
        for task in [
            Task::TextClassification,
            Task::TokenClassification,
            Task::QuestionAnswering,
        ] {
            let message = error(&Source::new("f.jsonl", task), &content);
            let expected = format!("f.jsonl:3: not valid JSON at column {column}: EOF while");
            assert!(message.starts_with(&expected), "{task}: {message}");
        }
    }
    // An object may go on over lines, where each is right.
    let content = format!("{}{{\"text\": \"b\",\n\"label\": \"x\"}}\n", row("a"));
    let dataset = read_from(&single("f.jsonl"), content.as_bytes()).unwrap();
    assert_eq!(dataset.examples.len(), 2);
}

#[test]
fn a_column_that_is_read_has_its_name_for_itself() {
    let message = error(&single("a.csv"), "text,text,label\na,b,1\n");
    assert_eq!(
        message,
        "a.csv:1: the columns 1 and 2 are both called \"text\"; rename one of them"
    );
    let dataset = read_from(&single("a.csv"), b"text,x,x,label\na,b,c,1\n").unwrap();
    assert_eq!(dataset.examples[0].text, "a");
}

#[test]
fn a_label_stays_on_its_line() {
    let content = "text,label\na,x\nb,\"y\nz\"\n";
    let message = error(&single("a.csv"), content);
    assert!(
        message.starts_with("a.csv:3: the label \"y\\nz\" has a tab"),
        "{message}"
    );
    let named = Source {
        label_names: Some(strings(&["one", "two"])),
        ..single("a.csv")
    };
    let dataset = read_from(&named, content.as_bytes()).unwrap();
    assert_eq!(dataset.labels, ["one", "two"]);
}

/// By hand, with the members of `snli_1.0_train.jsonl`, which those of `multinli_1.0_train.jsonl` hold.
fn nli(label: &str, text: &str) -> String {
    format!(
        "{{\"annotator_labels\": [\"{label}\"], \"captionID\": \"1.jpg#0\", \"gold_label\": \"{label}\", \
         \"pairID\": \"1.jpg#0r1n\", \"sentence1\": \"{text}\", \"sentence1_binary_parse\": \"( a )\", \
         \"sentence1_parse\": \"(ROOT a)\", \"sentence2\": \"b\", \"sentence2_binary_parse\": \"( b )\", \
         \"sentence2_parse\": \"(ROOT b)\"}}\n"
    )
}

#[test]
fn pairs_that_annotators_did_not_agree_on_are_left_out_and_counted() {
    let jsonl = [
        nli("neutral", "a"),
        nli("-", "x"),
        nli("contradiction", "c"),
        nli("-", "y"),
        nli("entailment", "d"),
    ]
    .concat();
    let tsv = "gold_label\tsentence1\tsentence2\nneutral\ta\tb\n-\tx\tb\ncontradiction\tc\tb\n-\ty\t-\n\
        entailment\td\tb\n";
    for (source, content) in [
        (pair("snli_1.0_dev.jsonl"), jsonl.as_str()),
        (pair("a.tsv"), tsv),
        (Source::named("dev.jsonl", TaskName::Mnli), &jsonl),
        (Source::named("dev.tsv", TaskName::Mnli), tsv),
    ] {
        let dataset = read_from(&source, content.as_bytes()).unwrap();
        assert_eq!((dataset.unlabelled, dataset.rows()), (2, 5));
        let texts: Vec<_> = dataset.examples.iter().map(|row| &*row.text).collect();
        assert_eq!(texts, ["a", "c", "d"]);
        let names: Vec<_> = classes(&dataset)
            .into_iter()
            .map(|class| &*dataset.labels[class as usize])
            .collect();
        assert_eq!(names, ["neutral", "contradiction", "entailment"]);
        let source = Source {
            labelled: false,
            ..source
        };
        let dataset = read_from(&source, content.as_bytes()).unwrap();
        assert_eq!((dataset.unlabelled, dataset.examples.len()), (0, 5));
    }
    let message = error(&pair("a.jsonl"), &nli("-", "a"));
    assert_eq!(
        message,
        "a.jsonl:1: no labelled rows; all 1 are without a label"
    );
    // Elsewhere it is a label like any other.
    let dataset = read_from(&single("a.tsv"), b"text\tlabel\na\t-\nb\t+\n").unwrap();
    assert_eq!((dataset.unlabelled, dataset.examples.len()), (0, 2));
}

#[test]
fn published_test_files_without_labels_are_read() {
    for (name, content, text, second) in [
        (
            TaskName::Cola,
            "index\tsentence\n0\tHe ran.",
            "He ran.",
            None,
        ),
        (TaskName::Sst2, "index\tsentence\n0\tfine", "fine", None),
        (
            TaskName::Qnli,
            "index\tquestion\tsentence\n0\ta\tb",
            "a",
            Some("b"),
        ),
        (
            TaskName::Mrpc,
            "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\ta\tb",
            "a",
            Some("b"),
        ),
    ] {
        let mut source = Source::named("test.tsv", name);
        source.labelled = false;
        let dataset = read_from(&source, content.as_bytes()).unwrap();
        let row = &dataset.examples[0];
        assert_eq!((&*row.text, row.pair.as_deref()), (text, second), "{name}");
        assert_eq!((&row.label, dataset.labels.len()), (&Label::None, 0));
    }
}

#[test]
fn a_task_names_labels_are_known_to_models_that_number_theirs() {
    let labels = Some(strings(&["LABEL_0", "LABEL_1"]));
    let source = Source {
        labels,
        ..Source::named("dev.tsv", TaskName::Rte)
    };
    let content = b"sentence1\tsentence2\tlabel\na\tb\tnot_entailment\na\tb\t0\n";
    let dataset = read_from(&source, content).unwrap();
    assert_eq!(dataset.labels, ["LABEL_0", "LABEL_1"]);
    assert_eq!(classes(&dataset), [1, 0]);
}

/// In the order of a model's own labels.
#[test]
fn a_task_names_labels_are_told_by_name_whatever_their_order_in_a_model() {
    let source = |labels: &[&str]| Source {
        labels: Some(strings(labels)),
        ..Source::named("dev.tsv", TaskName::Mnli)
    };
    let content = "sentence1\tsentence2\tgold_label\na\tb\tentailment\na\tb\tneutral\na\tb\tcontradiction\n\
        a\tb\t0\na\tb\t1.0\na\tb\t2\n";
    for (labels, expected) in [
        (["entailment", "neutral", "contradiction"], [0_u32, 1, 2]),
        (["contradiction", "entailment", "neutral"], [1, 2, 0]),
        (["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], [2, 1, 0]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], [0, 1, 2]),
        (["label_0", "label_1", "label_2"], [0, 1, 2]),
        (["0", "1", "2"], [0, 1, 2]),
    ] {
        let dataset = read_from(&source(&labels), content.as_bytes()).unwrap();
        assert_eq!(dataset.labels, labels);
        assert_eq!(
            classes(&dataset),
            [expected, expected].concat(),
            "{labels:?}"
        );
    }
    // Through what the labels were called while learning, and through new names.
    let learnt = Source {
        spellings: strings(&["neutral", "entailment", "contradiction"]),
        ..source(&["n", "e", "c"])
    };
    let dataset = read_from(&learnt, content.as_bytes()).unwrap();
    assert_eq!(classes(&dataset), [1, 0, 2, 1, 0, 2]);
    let named = Source {
        label_names: Some(strings(&["neutral", "entailment", "contradiction"])),
        ..source(&["n", "e", "c"])
    };
    let dataset = read_from(&named, content.as_bytes()).unwrap();
    assert_eq!(classes(&dataset), [1, 0, 2, 1, 0, 2]);

    let numbers = content.replace("a\tb\tentailment\n", "");
    for (labels, expected) in [
        (
            &["n", "e", "neutral"][..],
            "dev.tsv:3: unknown label \"contradiction\"; the labels of mnli are entailment, neutral, contradiction, \
             and the model's are n, e, neutral; call them as mnli does, in the model's order, with --label_names",
        ),
        (
            &["neutral", "contradiction"][..],
            "dev.tsv:4: unknown label \"0\"; the labels of mnli are entailment, neutral, contradiction, and the \
             model's are neutral, contradiction; where the file has the model's, say --task \
             text-pair-classification instead",
        ),
    ] {
        assert_eq!(error(&source(labels), &numbers), expected);
    }
}

#[test]
fn bad_input_is_one_line_with_file_and_line() {
    for (source, content, expected) in [
        (single("a.tsv"), "", "a.tsv:1: no rows;"),
        (single("a.csv"), "text,label\n\n", "a.csv:1: no rows;"),
        (single("a.json"), "[]", "a.json:1: no rows;"),
        (
            single("a.csv"),
            "\nbody,class\nx,y\n",
            "a.csv:2: no column text or sentence or sentence1 or premise or question; the \
             columns are body, class; say --text_column_name NAME",
        ),
        (
            single("a.csv"),
            "text,class\nx,y\n",
            "a.csv:1: no column label or labels or gold_label; the columns",
        ),
        (
            pair("a.jsonl"),
            "{\"text\":\"a\",\"label\":1}",
            "a.jsonl:1: no column text_pair or sentence2 or hypothesis or context; the columns \
             are text, label; say --text_pair_column_name NAME",
        ),
        (
            single("a.csv"),
            "text;label\na;b\n",
            "a.csv:1: no column text or sentence or sentence1 or premise or question; the columns are text;label; if \
             semicolons part the columns, save the file with commas",
        ),
        (
            single("a.csv"),
            "text\tlabel\na\tb\n",
            "a.csv:1: no column text or sentence or sentence1 or premise or question; the columns are \"text\\tlabel\"; \
             say --format tsv if tabs part the columns",
        ),
        (
            single("a.csv"),
            "\"text\";\"label\"\n",
            "a.csv:1: text behind a closing quote; semicolons part no columns here: save the file with commas",
        ),
        (
            single("a.tsv"),
            "\"text\"\t\"label\"\na\tb\n",
            "a.tsv:1: no column text or sentence or sentence1 or premise or question; the columns are \"text\", \
             \"label\"; quotes are part of a text here: take them out",
        ),
        (
            single("a.jsonl"),
            "{\n\"text\":\"a\",\n\"label\":1}\n{\n\"text\":\"b\"\n\"label\":1}\n",
            "a.jsonl:6: not valid JSON at column 1: expected `,` or `}`",
        ),
        (
            Source::new("a.csv", Task::TokenClassification),
            "",
            "a.csv: token-classification is not read from csv; the formats are conll, conllu, jsonl, json",
        ),
        (
            single("a.tsv"),
            "text\tlabel\nfine\t1\nshort\n",
            "a.tsv:3: 1 column where there should be 2; is the row cut off?",
        ),
        (
            single("a.tsv"),
            "text\tlabel\na tab\there\t1\n",
            "a.tsv:2: 3 columns where there should be 2; is there a stray separator",
        ),
        (
            Source::new("a.conllu", Task::TokenClassification),
            "# text = a\n1  a  a  X  _  _  0  root  _  _\n",
            "a.conllu:2: spaces part the columns, and tabs do in CoNLL-U; put tabs there, or, where no line is a \
             comment, say --format conll --text_column_name 2 --label_column_name 4",
        ),
        (
            Source::named("a", TaskName::Cola),
            "gj04\t1\t\tx\ngj04\t1\t\n",
            "a:2: 3 columns where",
        ),
        (
            single("a.jsonl"),
            "{\"text\":\"a\",\"label\":1}\n{\"text\":\"a\"}",
            "a.jsonl:2: the object has no \"label\", which the first one has",
        ),
        (
            single("a.jsonl"),
            "{\"text\":\"a\",\"label\":{\"x\":1}}",
            "a.jsonl:1: \"label\" holds an array or object;",
        ),
        (
            Source::named("a.tsv", TaskName::Mr),
            "sentence\tlabel\nx\t1\nx\tmixed\n",
            "a.tsv:3: unknown label \"mixed\"; the labels are negative, positive",
        ),
        (
            single("a.xlsx"),
            "",
            "a.xlsx: the name does not tell the format",
        ),
        (
            Source::new("a.tsv", Task::QuestionAnswering),
            "",
            "a.tsv: question-answering is not read from tsv; the formats are json, jsonl",
        ),
        (
            Source {
                task: Task::TextClassification,
                ..Source::named("a", TaskName::Rte)
            },
            "",
            "a: rte is a data set for text-pair-classification, not for text-classification",
        ),
    ] {
        let message = error(&source, content);
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn more_labels_than_a_model_can_have_are_refused_at_their_line() {
    let rows: String = (0..600).map(|i| format!("text {i}\t{i}.5\n")).collect();
    let message = error(&single("a.tsv"), &format!("text\tlabel\n{rows}"));
    assert!(
        message.starts_with("a.tsv:514: label \"512.5\" is one too many;"),
        "{message}"
    );
}

#[test]
fn empty_cells_behind_the_last_column_are_borne() {
    let dataset = read_from(&single("a.csv"), b"text,label\na,1,\nb,0,,\n").unwrap();
    assert_eq!(classes(&dataset), [1, 0]);
}

/// Bytes cut, doubled, overwritten and swapped at random: never a panic, and every error is
/// one line that begins with the file's name.
#[test]
fn damaged_files_give_rows_or_an_error() {
    let seeds: [(&str, &[u8]); 5] = [
        ("a.tsv", b"\xef\xbb\xbftext\ttext_pair\tlabel\r\na \xc3\xa4\tb\t1\r\n\r\nc\t\"d\t0\r\n"),
        ("a.csv", b"text,text_pair,label\n\"a, \"\"x\"\"\ny\",b,1\nc,\"d\",0\n"),
        ("a.jsonl", b"{\"text\":\"a\\u00e4\",\"text_pair\":\"b\",\"label\":1}\n{\"label\":0.0,\"text_pair\":null,\"text\":true}\n"),
        ("a.json", b"[{\"text\":\"a\",\"text_pair\":\"b\",\"label\":\"1\"},\n {\"label\":\"0\",\"text_pair\":\"\",\"text\":\"c\"}]"),
        ("sts.csv", b"g\tf\ty\t1\t4.5\ta\tb\ng\tf\ty\t2\t-0.5\ta\tb\tl\tu\n"),
    ];
    let mut random = Random(1);
    let (mut good, mut bad) = (0, 0);
    for round in 0..40_000 {
        let (path, seed) = seeds[round % seeds.len()];
        let mut content = seed.to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut content, &mut random);
        }
        let source = match path {
            "sts.csv" => Source::named(path, TaskName::Stsb),
            _ => pair(path),
        };
        match read_from(&source, &content) {
            Ok(dataset) => {
                assert!(!dataset.examples.is_empty());
                good += 1;
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.starts_with(&format!("{path}:")), "{message}");
                assert!(!message.contains('\n'), "{message}");
                bad += 1;
            }
        }
    }
    assert!(good > 2_000 && bad > 20_000, "{good} read, {bad} refused");
}

/// CRLF, a byte order mark and a word of two scripts; then every kind of damage.
#[test]
fn damaged_files_of_words_give_sentences_or_an_error() {
    let seeds: [(&str, &[u8]); 4] = [
        ("a.conll", b"\xef\xbb\xbf-DOCSTART- O\r\n\r\nEU B-ORG\r\nn\xc3\xa4h O\r\n\r\n# I-ORG\r\n"),
        ("b.conll", b"New York\tB-LOC\n.\tO\n\n\nx\tO"),
        ("a.conllu", b"# sent_id = 1\r\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\r\n1\tdo\tdo\tAUX\tVB\t_\t2\taux\t_\t_\r\n1.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\r\n"),
        ("a.jsonl", b"{\"tokens\":[\"a\",\"\\u00e4 b\"],\"ner_tags\":[\"O\",1]}\r\n{\"tokens\":[],\"ner_tags\":[]}\n"),
    ];
    let mut random = Random(3);
    let (mut good, mut bad) = (0, 0);
    for round in 0..40_000 {
        let (path, seed) = seeds[round % seeds.len()];
        let mut content = seed.to_vec();
        for _ in 0..random.below(4) {
            damage(&mut content, &mut random);
        }
        let source = Source::new(path, Task::TokenClassification);
        match read_from(&source, &content) {
            Ok(dataset) => {
                for example in &dataset.examples {
                    let Label::Tags(tags) = &example.label else {
                        panic!("{example:?}");
                    };
                    assert_eq!(tags.len(), example.words.len());
                    assert!(
                        tags.iter()
                            .all(|&tag| (tag as usize) < dataset.labels.len())
                    );
                    assert!(
                        example
                            .words
                            .iter()
                            .all(|word| example.text.get(word.clone()).is_some())
                    );
                }
                good += 1;
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.starts_with(&format!("{path}:")), "{message}");
                assert!(!message.contains('\n'), "{message}");
                bad += 1;
            }
        }
    }
    assert!(good > 10_000 && bad > 10_000, "{good} read, {bad} refused");
}

fn damage(content: &mut Vec<u8>, random: &mut Random) {
    const TELLING: &[u8] = b"\t\n\r\",[]{}:\\01e-\x00\xff\xc3\xef\x1f\x8b";
    if content.is_empty() {
        return content.push(b'"');
    }
    let at = random.below(content.len());
    match random.below(5) {
        0 => content.truncate(at),
        1 => drop(content.remove(at)),
        2 => content[at] = TELLING[random.below(TELLING.len())],
        3 => content.insert(at, TELLING[random.below(TELLING.len())]),
        _ => {
            let other = random.below(content.len());
            content.swap(at, other);
        }
    }
}

/// Xorshift: enough to be different every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = read(&single("nowhere/a.tsv")).unwrap_err().to_string();
    assert!(message.starts_with("nowhere/a.tsv: "), "{message}");
    let message = TaskName::Cola
        .train_file(Path::new("nowhere"))
        .unwrap_err()
        .to_string();
    let expected = "nowhere: holds none of train.tsv, train.tsv.gz, in_domain_train.tsv, \
        in_domain_train.tsv.gz; Berth downloads no data sets, cola is found at https://";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn a_second_text_that_the_task_does_not_read_is_told() {
    let csv = "sentence1,sentence2,label\na,b,x\nc,d,y\n";
    let json = "[{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":\"x\"}]";
    let unread = |source: &Source, content: &str| {
        let dataset = read_from(source, content.as_bytes()).unwrap();
        dataset.unread
    };
    let second = Some("sentence2".to_owned());
    assert_eq!(unread(&single("a.csv"), csv), second);
    assert_eq!(unread(&single("a.tsv"), &csv.replace(',', "\t")), second);
    assert_eq!(unread(&single("a.json"), json), second);
    assert_eq!(unread(&pair("a.csv"), csv), None);
    let mut asked = single("a.csv");
    asked.columns.text = second;
    assert_eq!(unread(&asked, csv), None);
}
