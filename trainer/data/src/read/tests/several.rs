//! Rows that may have any number of labels each, as lists and in cells.

use super::*;

#[test]
fn a_list_of_zeros_and_ones_for_all_labels_is_refused() {
    let jsonl = "{\"text\":\"a\",\"label\":[0,2]}\n{\"text\":\"b\",\"label\":[1,0,1]}\n";
    let message = error(&single("a.jsonl"), jsonl);
    assert!(
        message.starts_with("a.jsonl:2: a list with a zero or a one for each label"),
        "{message}"
    );
    let floats = jsonl.replace("[1,0,1]", "[1.0,0.0,0.0]");
    assert!(error(&single("a.jsonl"), &floats).contains("rather than [1, 0, 1]"));
}

#[test]
fn zeros_and_ones_for_two_labels_are_seen_over_the_file() {
    let rows = |lists: &[&str]| -> String {
        let row = |list: &&str| format!("{{\"text\":\"a\",\"label\":{list}}}\n");
        lists.iter().map(row).collect()
    };
    let source = single("a.jsonl");
    for (lists, line) in [
        (&["[0,1]", "[1,0]"][..], 2),
        (&["[1,0]", "null", "[0,1]"][..], 1),
        (&["[1.0,0.0]"][..], 1),
        (&["[0,1]", "[true,1]"][..], 2),
        (&["[0,0.0]"][..], 1),
    ] {
        let message = error(&source, &rows(lists));
        let expected = format!("a.jsonl:{line}: a list with a zero or a one for each label");
        assert!(message.starts_with(&expected), "{message}");
    }
    for lists in [
        &["[0,1]", "[0,1]"][..],
        &["[1,0]", "[0]"],
        &["[1,0]", "[]"],
        &["[1,0]", "[0,2]"],
        &["[1,0]", "0"],
        &["[1]", "[0]"],
    ] {
        let dataset = read_from(&source, rows(lists).as_bytes()).unwrap();
        assert!(dataset.multi_label, "{lists:?}");
    }
    // Ids of a model that has more.
    let three = Source {
        labels: Some(strings(&["x", "y", "z"])),
        ..source
    };
    let dataset = read_from(&three, rows(&["[1,0]"]).as_bytes()).unwrap();
    assert_eq!(sets(&dataset), [vec![0, 1]]);
}

fn sets(dataset: &Dataset) -> Vec<Vec<u32>> {
    let set = |example: &Example| match &example.label {
        Label::Set(set) => set.clone(),
        other => panic!("{other:?}"),
    };
    dataset.examples.iter().map(set).collect()
}

#[test]
fn rows_may_have_any_number_of_labels_in_a_list_or_in_a_cell() {
    let csv = "text,label\na,x | y\nb,\nc,z|x|x\nd,|z|\n";
    let jsonl = "{\"text\":\"a\",\"label\":[\"x\",\"y\"]}\n{\"text\":\"b\",\"label\":[]}\n\
                 {\"text\":\"c\",\"label\":[\"z\",\"x\",\"x\"]}\n{\"text\":\"d\",\"label\":\"z\"}\n";
    let delimited = Source {
        label_delimiter: Some("|".into()),
        ..single("a.csv")
    };
    for (source, content) in [(&delimited, csv), (&single("a.jsonl"), jsonl)] {
        let dataset = read_from(source, content.as_bytes()).unwrap();
        assert!(dataset.multi_label);
        assert_eq!(dataset.labels, ["x", "y", "z"]);
        assert_eq!(sets(&dataset), [vec![0, 1], vec![], vec![0, 2], vec![2]]);
        assert_eq!(
            (dataset.unlabelled, dataset.histogram()),
            (0, vec![2, 1, 2])
        );
    }
    // The first row does not decide, and pairs may have several too.
    let late = b"{\"text\":\"a\",\"text_pair\":\"\",\"label\":\"y\"}\n{\"text\":\"b\",\"text_pair\":\"\",\"label\":[true, 1]}\n\
                 {\"text\":\"c\",\"text_pair\":\"\",\"label\":null}";
    let dataset = read_from(&pair("a.jsonl"), late).unwrap();
    assert_eq!(
        (&dataset.labels[..], dataset.unlabelled),
        (&strings(&["1", "true", "y"])[..], 1)
    );
    assert_eq!(sets(&dataset), [vec![2], vec![0, 1]]);
}

#[test]
fn a_cell_may_hold_a_list_as_json_writes_it() {
    let csv = "text,label\na,\"[\"\"x\"\",\"\"y\"\"]\"\nb,[]\nc,\nd, [2]\n";
    let tsv = "text\tlabel\na\t[\"x\",\"y\"]\nb\t[]\nc\t\nd\t [2]\n";
    for (path, content) in [("a.csv", csv), ("a.tsv", tsv)] {
        let dataset = read_from(&single(path), content.as_bytes()).unwrap();
        assert!(dataset.multi_label);
        assert_eq!(dataset.labels, ["2", "x", "y"]);
        assert_eq!(sets(&dataset), [vec![1, 2], vec![], vec![0]]);
        assert_eq!(dataset.unlabelled, 1);
    }
    for (rows, expected) in [
        (
            "[1]\nb\tx\n",
            "a.tsv:3: the label \"x\" is no list, unlike those of the rows before; write all of them as lists, or \
             say --label_delimiter for what parts the labels of a cell",
        ),
        (
            "x\nb\t[\"x\"]\n",
            "a.tsv:3: the label \"[\\\"x\\\"]\" is a list, unlike",
        ),
        ("[1]\nb\t[{}]\n", "a.tsv:3: the label \"[{}]\" is no list"),
    ] {
        let message = error(&single("a.tsv"), &format!("text\tlabel\na\t{rows}"));
        assert!(message.starts_with(expected), "{message}");
    }
    // One label a row, or a delimiter: a name like any other.
    let rows = b"text\tlabel\na\t[1]\nb\tx\n";
    let one = Source {
        multi_label: Some(false),
        ..single("a.tsv")
    };
    let parted = Source {
        label_delimiter: Some(";".into()),
        ..single("a.tsv")
    };
    for source in [one, parted] {
        assert_eq!(read_from(&source, rows).unwrap().labels, ["[1]", "x"]);
    }
}

#[test]
fn lists_are_told_from_a_models_names_with_a_delimiter_between_them() {
    let model = |labels: &[&str]| Source {
        labels: Some(strings(labels)),
        multi_label: Some(true),
        label_delimiter: Some("|".into()),
        ..single("a.tsv")
    };
    let known = model(&["x", "y", "z"]);
    let lists = "text\tlabel\na\t[\"z\",\"x\"]\nb\t[]\nc\t [1]\n";
    let parted = "text\tlabel\na\tz|x\nb\t\nc\t1\n";
    for content in [lists, parted] {
        let dataset = read_from(&known, content.as_bytes()).unwrap();
        assert_eq!(sets(&dataset), [vec![0, 2], vec![], vec![1]]);
    }
    let message = error(&known, "text\tlabel\na\tz|x\nb\t[\"x\"]\n");
    assert!(
        message.starts_with("a.tsv:3: the label \"[\\\"x\\\"]\" is a list, unlike"),
        "{message}"
    );
    // A list might be a name.
    let named = model(&["[1]", "x"]);
    let dataset = read_from(&named, b"text\tlabel\na\t[1]\nb\t[1]|x\n").unwrap();
    assert_eq!(sets(&dataset), [vec![0], vec![0, 1]]);
}

#[test]
fn an_unknown_label_alone_in_a_cell_may_be_several() {
    let source = |path| Source {
        labels: Some(strings(&["x", "y"])),
        multi_label: Some(true),
        ..single(path)
    };
    let message = error(&source("a.csv"), "text,label\na,x\nb,x|y\n");
    assert_eq!(
        message,
        "a.csv:3: unknown label \"x|y\"; the labels are x, y; where a cell has several, say --label_delimiter"
    );
    let one = Source {
        multi_label: Some(false),
        ..source("a.csv")
    };
    for (source, content) in [
        (one, "text,label\na,z\n"),
        (source("a.tsv"), "text\tlabel\na\t[\"z\"]\n"),
    ] {
        assert!(error(&source, content).ends_with("the labels are x, y"));
    }
}

#[test]
fn a_model_with_several_labels_is_measured_on_their_names_or_ids() {
    let source = Source {
        labels: Some(strings(&["x", "y", "z"])),
        multi_label: Some(true),
        ..single("a.jsonl")
    };
    let content = b"{\"text\":\"a\",\"label\":\"y\"}\n{\"text\":\"b\",\"label\":[2,0]}\n{\"text\":\"c\",\"label\":[]}";
    assert_eq!(
        sets(&read_from(&source, content).unwrap()),
        [vec![1], vec![0, 2], vec![]]
    );
    let message = error(&source, "\n{\"text\":\"a\",\"label\":[\"x\",\"q\"]}");
    assert_eq!(
        message,
        "a.jsonl:2: unknown label \"q\"; the labels are x, y, z"
    );
    // A model that gives one label has no use for several.
    let one = Source {
        multi_label: Some(false),
        ..source
    };
    let message = error(&one, "{\"text\":\"a\",\"label\":[\"x\"]}");
    assert!(
        message.starts_with("a.jsonl:1: \"label\" holds an array"),
        "{message}"
    );
}

#[test]
fn lists_that_are_no_labels_are_named() {
    let message = error(&single("a.jsonl"), "{\"text\":\"a\",\"label\":[\"x\",[1]]}");
    assert_eq!(
        message,
        "a.jsonl:1: \"label\" is no list of texts or numbers"
    );
    let message = error(&single("a.jsonl"), "{\"text\":\"a\",\"label\":[]}");
    assert_eq!(
        message,
        "a.jsonl:1: no row has a label, so that there is none to learn"
    );
    let regression = Source::new("a.jsonl", Task::TextPairRegression);
    let message = error(
        &regression,
        "{\"text\":\"a\",\"text_pair\":\"b\",\"label\":[1.0]}",
    );
    assert!(message.contains("holds an array or object"), "{message}");
}
