//! A file to examples, for tagging: texts split into words, with a tag for each.
//!
//! | format | words | tags |
//! |---|---|---|
//! | CoNLL | the first column, or the number that `--text_column_name` says | the last column, or that of `--label_column_name` |
//! | CoNLL-U | `form` | `upos`; `xpos` or another column by name or number |
//! | JSON, JSONL | `tokens` or `words`, a list of texts | `ner_tags`, `tags` or `labels`, a list as long, of names or ids |
//!
//! Tags are taken as they stand: IOB1 stays IOB1, which the metric of entities reads too.

use serde_json::Value;

use crate::dataset::{Dataset, Example, Label};
use crate::error::DataError;
use crate::format::Format;
use crate::format::conll::{self, CONLLU_COLUMNS, Sentence};
use crate::format::json::{self, Object};
use crate::input::Text;
use crate::labels::{self, Spellings};
use crate::source::Source;

const WORDS: [&str; 2] = ["tokens", "words"];
const TAGS: [&str; 3] = ["ner_tags", "tags", "labels"];

/// Not a tag: what Hugging Face's losses leave out.
const IGNORED: &str = "-100";

/// The examples of `text`.
pub(super) fn examples(source: &Source, format: Format, text: &Text) -> Result<Dataset, DataError> {
    let mut rows = Rows {
        text,
        spellings: Spellings::default(),
        examples: Vec::new(),
    };
    match format {
        Format::Conll => rows.sentences(source, conll::conll(text), &[], 1, None)?,
        Format::Conllu => {
            rows.sentences(source, conll::conllu(text), &CONLLU_COLUMNS, 2, Some(4))?
        }
        Format::Json | Format::Jsonl => rows.objects(source)?,
        Format::Tsv | Format::Csv => {
            return Err(source.wrong_format(format));
        }
    }
    rows.dataset(source)
}

/// The rows read so far. Their classes are numbers of spellings.
struct Rows<'t> {
    text: &'t Text,
    spellings: Spellings,
    examples: Vec<Example>,
}

impl<'t> Rows<'t> {
    /// Reads sentences whose columns have `names`; words and tags stand in the columns `word` and
    /// `tag`, counted from 1, if nothing else was asked for. No `tag` is the last column.
    fn sentences(
        &mut self,
        source: &Source,
        sentences: impl Iterator<Item = Result<Sentence<'t>, DataError>>,
        names: &[&str],
        word: usize,
        tag: Option<usize>,
    ) -> Result<(), DataError> {
        let text = self.text;
        let mut columns = None;
        for sentence in sentences {
            let sentence = sentence?;
            let first = &sentence.words[0];
            let width = first.columns.len();
            let find = |asked: &Option<String>, usual: usize, flag| match asked {
                None => Ok(usual - 1),
                Some(asked) => column(text, first.line, asked, names, width, flag),
            };
            let (word, tag) = match columns {
                Some(found) => found,
                None => *columns.insert((
                    find(&source.columns.text, word, "--text_column_name")?,
                    match source.labelled {
                        true => find(
                            &source.columns.label,
                            tag.unwrap_or(width),
                            "--label_column_name",
                        )?,
                        false => 0,
                    },
                )),
            };
            if source.labelled && word == tag {
                let place = text.place(first.line);
                return Err(DataError::NoTagColumn { place });
            }
            let words = sentence.words.iter().map(|row| row.columns[word]);
            let mut example = example(words, first.line);
            example.id = sentence.id.map(str::to_owned);
            if source.labelled {
                let tags = sentence
                    .words
                    .iter()
                    .map(|row| (row.columns[tag].trim(), row.line));
                example.label = Label::Tags(self.numbers(tags)?);
            }
            self.examples.push(example);
        }
        Ok(())
    }

    /// Reads objects with a list of words and one of tags.
    fn objects(&mut self, source: &Source) -> Result<(), DataError> {
        let text = self.text;
        let mut columns = None;
        for object in json::objects(text) {
            let object = object?;
            let find = |asked, usual: &[&str], flag| key(text, &object, asked, usual, flag);
            let (words, tags) = match &columns {
                Some(found) => found,
                None => columns.insert((
                    find(&source.columns.text, &WORDS, "--text_column_name")?,
                    match source.labelled {
                        true => find(&source.columns.label, &TAGS, "--label_column_name")?,
                        false => String::new(),
                    },
                )),
            };
            let words = list(text, &object, words)?;
            let mut example = example(words.iter().map(String::as_str), object.line);
            if let Some(Value::String(id)) = object.fields.get("id") {
                example.id = Some(id.clone());
            }
            if source.labelled {
                let tags = list(text, &object, tags)?;
                if tags.len() != words.len() {
                    return Err(DataError::TagCount {
                        place: text.place(object.line),
                        words: words.len(),
                        tags: tags.len(),
                    });
                }
                let tags = tags.iter().map(|tag| (tag.trim(), object.line));
                example.label = Label::Tags(self.numbers(tags)?);
            }
            self.examples.push(example);
        }
        Ok(())
    }

    /// The numbers of tags that stand on the given lines.
    fn numbers<'s>(
        &mut self,
        tags: impl Iterator<Item = (&'s str, u64)>,
    ) -> Result<Vec<u32>, DataError> {
        tags.map(|(tag, line)| match tag {
            "" => Err(DataError::EmptyTag {
                place: self.text.place(line),
            }),
            IGNORED => Err(DataError::IgnoredTag {
                place: self.text.place(line),
            }),
            tag => Ok(self.spellings.number(tag, line)),
        })
        .collect()
    }

    /// The data set, with the numbers of spellings turned into those of labels.
    fn dataset(self, source: &Source) -> Result<Dataset, DataError> {
        let Rows {
            text,
            spellings,
            mut examples,
        } = self;
        let asked = examples.iter().any(|example| !example.words.is_empty());
        if !asked {
            return Err(DataError::NoRows {
                place: text.place(1),
                unlabelled: 0,
            });
        }
        let (mut names, mut learnt) = (Vec::new(), Vec::new());
        if source.labelled {
            let classes = labels::classes(source, text, spellings)?;
            for example in &mut examples {
                if let Label::Tags(tags) = &mut example.label {
                    for tag in tags {
                        *tag = classes.of_spelling[*tag as usize];
                    }
                }
            }
            (names, learnt) = (classes.names, classes.spellings);
        }
        Ok(Dataset {
            path: source.path.clone(),
            examples,
            labels: names,
            spellings: learnt,
            multi_label: false,
            unlabelled: 0,
            unread: None,
        })
    }
}

/// An example of words, joined by one space.
fn example<'w>(words: impl Iterator<Item = &'w str>, line: u64) -> Example {
    let mut example = Example {
        line,
        ..Example::default()
    };
    for word in words {
        if !example.words.is_empty() {
            example.text.push(' ');
        }
        let start = example.text.len();
        example.text.push_str(word);
        example.words.push(start..example.text.len());
    }
    example
}

/// The index of the column that was asked for, by its name or its number from 1 on.
fn column(
    text: &Text,
    line: u64,
    asked: &str,
    names: &[&str],
    width: usize,
    flag: &'static str,
) -> Result<usize, DataError> {
    let number = asked
        .parse()
        .ok()
        .filter(|number| (1..=width).contains(number));
    let number = number.map(|number: usize| number - 1);
    let found = names.iter().position(|name| *name == asked).or(number);
    found.ok_or_else(|| DataError::ColumnNumber {
        place: text.place(line),
        asked: asked.to_owned(),
        names: names.iter().map(|name| name.to_string()).collect(),
        width,
        flag,
    })
}

/// The key that was asked for, or the first of the usual ones that the object has.
fn key(
    text: &Text,
    object: &Object,
    asked: &Option<String>,
    usual: &[&str],
    flag: &'static str,
) -> Result<String, DataError> {
    let wanted: Vec<String> = match asked {
        Some(name) => vec![name.clone()],
        None => usual.iter().map(|name| name.to_string()).collect(),
    };
    let found = wanted.iter().find(|name| object.fields.contains_key(*name));
    found.cloned().ok_or_else(|| DataError::MissingColumn {
        place: text.place(object.line),
        wanted: wanted.clone(),
        found: object.fields.keys().cloned().collect(),
        flag,
        name: None,
    })
}

/// A list of texts or numbers, as texts.
fn list(text: &Text, object: &Object, column: &str) -> Result<Vec<String>, DataError> {
    let place = || text.place(object.line);
    let column = || column.to_owned();
    let values = match object.fields.get(&column()) {
        Some(Value::Array(values)) => values,
        Some(_) => {
            let (place, column) = (place(), column());
            return Err(DataError::NotAList { place, column });
        }
        None => {
            let (place, column) = (place(), column());
            return Err(DataError::MissingKey { place, column });
        }
    };
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(DataError::NotAList {
            place: place(),
            column: column(),
        }),
    };
    values.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_task::Task;

    fn read(
        path: &str,
        body: &str,
        change: impl FnOnce(&mut Source),
    ) -> Result<Dataset, DataError> {
        let mut source = Source::new(path, Task::TokenClassification);
        change(&mut source);
        let format = Format::of_path(source.path.as_path()).unwrap();
        let text = Text::decode(&source.path, body.as_bytes().to_vec()).unwrap();
        examples(&source, format, &text)
    }

    /// Words with their tags' names, a sentence after the other.
    fn told(dataset: &Dataset) -> Vec<String> {
        let sentence = |example: &Example| {
            let Label::Tags(tags) = &example.label else {
                return example.text.clone();
            };
            assert_eq!(tags.len(), example.words.len());
            let words = example.words.iter().zip(tags);
            let words = words.map(|(word, tag)| {
                format!(
                    "{}/{}",
                    &example.text[word.clone()],
                    dataset.labels[*tag as usize]
                )
            });
            words.collect::<Vec<_>>().join(" ")
        };
        dataset.examples.iter().map(sentence).collect()
    }

    #[test]
    fn a_tag_that_marks_what_is_not_learned_is_refused() {
        let body = "{\"tokens\":[\"a\",\"b\"],\"ner_tags\":[3,-100]}";
        let error = read("a.jsonl", body, |_| ()).unwrap_err().to_string();
        assert!(error.starts_with("a.jsonl:1: the tag -100"), "{error}");
    }

    const CONLL: &str = "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP B-PER\n";

    #[test]
    fn the_three_formats_say_the_same() {
        let row =
            |id, form, upos, xpos| format!("{id}\t{form}\t_\t{upos}\t{xpos}\t_\t_\t_\t_\t_\n");
        let conllu = [
            row("1", "EU", "B-ORG", "NNP"),
            row("2", "rejects", "O", "VBZ"),
            "\n".into(),
            row("1", "Peter", "B-PER", "NNP"),
        ]
        .concat();
        let jsonl = r#"{"tokens":["EU","rejects"],"ner_tags":["B-ORG","O"]}
{"tokens":["Peter"],"ner_tags":["B-PER"]}"#;
        for (path, body) in [
            ("a.conll", CONLL),
            ("a.conllu", &conllu),
            ("a.jsonl", jsonl),
        ] {
            let dataset = read(path, body, |_| {}).unwrap();
            assert_eq!(
                told(&dataset),
                ["EU/B-ORG rejects/O", "Peter/B-PER"],
                "{path}"
            );
            assert_eq!(dataset.labels, ["B-ORG", "B-PER", "O"]);
        }
        let xpos = read("a.conllu", &conllu, |s| {
            s.columns.label = Some("xpos".into())
        });
        assert_eq!(told(&xpos.unwrap()), ["EU/NNP rejects/VBZ", "Peter/NNP"]);
    }

    #[test]
    fn columns_have_numbers_and_ids_stand_for_names() {
        let second = read("a.conll", CONLL, |s| s.columns.label = Some("2".into())).unwrap();
        assert_eq!(told(&second), ["EU/NNP rejects/VBZ", "Peter/NNP"]);
        let turned = read("a.conll", "O a\nB-X b\n", |s| {
            (s.columns.text, s.columns.label) = (Some("2".into()), Some("1".into()));
        });
        assert_eq!(told(&turned.unwrap()), ["a/O b/B-X"]);
        let ids = read("a.json", r#"[{"words":["a","b"],"tags":[0,2]}]"#, |s| {
            s.labels = Some(["O", "B-X", "I-X"].map(str::to_owned).to_vec());
        });
        assert_eq!(told(&ids.unwrap()), ["a/O b/I-X"]);
        let plain = read("a.jsonl", r#"{"tokens":["a b","","c"]}"#, |s| {
            s.labelled = false
        });
        let plain = plain.unwrap();
        assert_eq!(told(&plain), ["a b  c"]);
        assert_eq!(plain.examples[0].words, [0..3, 4..4, 5..6]);
    }

    #[test]
    fn words_without_tags_are_read_where_none_are_wanted() {
        for (path, body) in [("a.conll", "a\nb\n\nc\n"), ("a.conll", "a X\nb Y\n\nc Z\n")] {
            let plain = read(path, body, |s| {
                s.labelled = false;
                s.columns.label = Some("4".into());
            });
            assert_eq!(told(&plain.unwrap()), ["a b", "c"]);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let refused = |path: &str, body: &str, label: Option<&str>| {
            let label = label.map(str::to_owned);
            read(path, body, |s| s.columns.label = label)
                .unwrap_err()
                .to_string()
        };
        let cases = [
            (
                "a.conll",
                "a O\n\nb\n",
                None,
                "a.conll:3: 1 column where there should be 2; is the row cut off?",
            ),
            (
                "a.conll",
                "a\nb\n",
                None,
                "a.conll:1: a word and no tag beside it; say --label_column_name NUMBER",
            ),
            (
                "a.conll",
                "a\t\nb\tO\n",
                None,
                "a.conll:1: a word without a tag",
            ),
            (
                "a.conll",
                "a O\n",
                Some("3"),
                "a.conll:1: no column \"3\"; there are 2, with numbers from 1 on; say --label_column_name NUMBER",
            ),
            (
                "a.conll",
                "\n \n",
                None,
                "a.conll:1: no rows; the file is empty or holds a header alone",
            ),
            (
                "a.conllu",
                "x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n",
                None,
                "a.conllu:1: a word's number expected, found \"x\"",
            ),
            (
                "a.conllu",
                "1\ta\n",
                None,
                "a.conllu:1: 2 columns where there should be 10; is the row cut off?",
            ),
            (
                "a.jsonl",
                "\n{\"tokens\":[\"a\",\"b\"],\"tags\":[\"O\"]}",
                None,
                "a.jsonl:2: 2 words and 1 tag",
            ),
            (
                "a.jsonl",
                "{\"tokens\":\"a\",\"tags\":[\"O\"]}",
                None,
                "a.jsonl:1: \"tokens\" is no list of texts or numbers",
            ),
            (
                "a.jsonl",
                "{\"tokens\":[\"a\"],\"tags\":[null]}",
                None,
                "a.jsonl:1: \"tags\" is no list of texts or numbers",
            ),
            (
                "a.jsonl",
                "{\"tokens\":[\"a\"]}",
                None,
                "a.jsonl:1: no column ner_tags or tags or labels; the columns are tokens; say --label_column_name NAME",
            ),
            (
                "a.tsv",
                "a\tO\n",
                None,
                "a.tsv: token-classification is not read from tsv; the formats are conll, conllu, jsonl, json; say --format conll where each line is a word and its tag",
            ),
        ];
        for (path, body, label, message) in cases {
            assert_eq!(refused(path, body, label), message);
        }
    }
}
