//! CoNLL and CoNLL-U: a word a line, its columns beside it, a blank line behind each sentence.
//!
//! CoNLL's columns are parted by tabs or, in a line without a tab, by spaces; how many there are is
//! said by the file's first word. A line `-DOCSTART-` parts documents, and with them sentences; there are no
//! comments, since `#` may be a word. CoNLL-U always has the ten columns of Universal Dependencies,
//! parted by tabs; comments begin with `#`, and ranges of words (`1-2`) and empty nodes (`1.1`) are
//! passed over, as they are no words of the sentence.

use std::iter::Peekable;

use crate::error::DataError;
use crate::input::Text;

/// The columns of CoNLL-U, as Universal Dependencies names them.
pub(crate) const CONLLU_COLUMNS: [&str; 10] = [
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
];

/// A sentence: a word a row, never none.
pub(crate) struct Sentence<'t> {
    /// `sent_id` of CoNLL-U.
    pub(crate) id: Option<&'t str>,
    pub(crate) words: Vec<WordRow<'t>>,
}

/// A word's columns, and the line that they stand on.
pub(crate) struct WordRow<'t> {
    pub(crate) line: u64,
    pub(crate) columns: Vec<&'t str>,
}

/// The sentences of a CoNLL file.
pub(crate) fn conll(text: &Text) -> impl Iterator<Item = Result<Sentence<'_>, DataError>> {
    let mut width = None;
    sentences(text, move |line, content, sentence| {
        let columns: Vec<&str> = match content.contains('\t') {
            true => content.split('\t').collect(),
            false => content.split_ascii_whitespace().collect(),
        };
        if columns
            .first()
            .is_some_and(|first| first.trim() == "-DOCSTART-")
        {
            return Ok(Line::Parts);
        }
        let expected = *width.get_or_insert(columns.len());
        push(text, line, columns, expected, sentence)?;
        Ok(Line::Inside)
    })
}

/// What a line that is not blank is.
enum Line {
    /// A part of a sentence, or passed over.
    Inside,
    /// What stands between sentences.
    Parts,
}

/// The sentences of a CoNLL-U file.
pub(crate) fn conllu(text: &Text) -> impl Iterator<Item = Result<Sentence<'_>, DataError>> {
    sentences(text, |line, content, sentence| {
        if let Some(comment) = content.strip_prefix('#') {
            let id = comment.trim_start().strip_prefix("sent_id");
            let id = id.and_then(|rest| rest.trim_start().strip_prefix('='));
            sentence.id = id.map(str::trim).or(sentence.id);
            return Ok(Line::Inside);
        }
        let columns: Vec<&str> = content.split('\t').collect();
        let words = content.split_ascii_whitespace().count();
        if columns.len() == 1 && words == CONLLU_COLUMNS.len() {
            let place = text.place(line);
            return Err(DataError::NoTabs { place });
        }
        let id = columns[0].trim();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts = id.split_once('-').or(id.split_once('.'));
        if parts.is_some_and(|(from, to)| is_number(from) && is_number(to)) {
            return Ok(Line::Inside);
        }
        push(text, line, columns, CONLLU_COLUMNS.len(), sentence)?;
        match is_number(id) {
            true => Ok(Line::Inside),
            false => Err(DataError::WordNumber {
                place: text.place(line),
                found: id.to_owned(),
            }),
        }
    })
}

/// Adds a word to the sentence.
fn push<'t>(
    text: &Text,
    line: u64,
    columns: Vec<&'t str>,
    expected: usize,
    sentence: &mut Sentence<'t>,
) -> Result<(), DataError> {
    if columns.len() != expected {
        return Err(DataError::ColumnCount {
            place: text.place(line),
            expected,
            found: columns.len(),
        });
    }
    sentence.words.push(WordRow { line, columns });
    Ok(())
}

/// Parts a text at its blank lines; `take` puts each other line into the sentence.
fn sentences<'t>(
    text: &'t Text,
    take: impl FnMut(u64, &'t str, &mut Sentence<'t>) -> Result<Line, DataError>,
) -> impl Iterator<Item = Result<Sentence<'t>, DataError>> {
    let lines = (1..).zip(text.body.lines());
    Sentences {
        lines: lines.peekable(),
        take,
        failed: false,
    }
}

struct Sentences<L: Iterator, T> {
    lines: Peekable<L>,
    take: T,
    failed: bool,
}

impl<'t, L, T> Iterator for Sentences<L, T>
where
    L: Iterator<Item = (u64, &'t str)>,
    T: FnMut(u64, &'t str, &mut Sentence<'t>) -> Result<Line, DataError>,
{
    type Item = Result<Sentence<'t>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut sentence = Sentence {
            id: None,
            words: Vec::new(),
        };
        while !self.failed
            && let Some((line, content)) = self.lines.next()
        {
            let taken = match content.trim().is_empty() {
                true => Ok(Line::Parts),
                false => (self.take)(line, content, &mut sentence),
            };
            match taken {
                Ok(Line::Inside) => {}
                Ok(Line::Parts) if sentence.words.is_empty() => {}
                Ok(Line::Parts) => break,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        (!sentence.words.is_empty()).then_some(Ok(sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn text(body: &str) -> Text {
        Text::decode(Path::new("f"), body.as_bytes().to_vec()).unwrap()
    }

    type Told = Vec<(Option<String>, Vec<(u64, String)>)>;

    fn told<'t>(sentences: impl Iterator<Item = Result<Sentence<'t>, DataError>>) -> Told {
        let word = |row: &WordRow<'_>| (row.line, row.columns.join("|"));
        sentences
            .map(|sentence| sentence.unwrap())
            .map(|one| {
                (
                    one.id.map(str::to_owned),
                    one.words.iter().map(word).collect(),
                )
            })
            .collect()
    }

    fn words(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter()
            .map(|(line, row)| (*line, row.to_string()))
            .collect()
    }

    #[test]
    fn blank_lines_part_sentences_and_documents_are_passed_over() {
        let body = "-DOCSTART- -X- O O\r\n\r\nEU NNP I-NP B-ORG\r\n# SYM O O \n\n  \n\nGerman JJ I-NP B-MISC";
        assert_eq!(
            told(conll(&text(body))),
            [
                (None, words(&[(3, "EU|NNP|I-NP|B-ORG"), (4, "#|SYM|O|O")])),
                (None, words(&[(8, "German|JJ|I-NP|B-MISC")])),
            ]
        );
        let close = text("EU O\nrejects O\n-DOCSTART- O\nPeter O\n");
        assert_eq!(
            told(conll(&close)),
            [
                (None, words(&[(1, "EU|O"), (2, "rejects|O")])),
                (None, words(&[(4, "Peter|O")])),
            ]
        );
        let tabs = text("New York\tB-LOC\n\t\nx\tO\n");
        let found = told(conll(&tabs));
        assert_eq!(found[0].1, words(&[(1, "New York|B-LOC")]));
        assert_eq!(found[1].1, words(&[(3, "x|O")]));
        assert!(told(conll(&text("\n\n \n"))).is_empty());
    }

    #[test]
    fn ranges_and_empty_nodes_are_no_words() {
        let row = |id: &str, form: &str| format!("{id}\t{form}\t_\tX\t_\t_\t_\t_\t_\t_\n");
        let body = [
            "# sent_id = a-1\n# text = don't\n",
            &row("1-2", "don't"),
            &row("1", "do"),
            &row("2", "n't"),
            &row("2.1", "go"),
            "\n",
            &row("1", "#"),
        ]
        .concat();
        let found = told(conllu(&text(&body)));
        assert_eq!(found[0].0.as_deref(), Some("a-1"));
        let forms: Vec<_> = found.iter().map(|one| one.1.len()).collect();
        assert_eq!(forms, [2, 1]);
        assert_eq!(found[1].1[0].0, 8);
    }

    #[test]
    fn a_line_of_another_width_ends_the_reading() {
        let text = text("a O\nb\n\nc O\n");
        let mut found = conll(&text);
        let error = found.next().unwrap().err().unwrap().to_string();
        assert_eq!(
            error,
            "f:2: 1 column where there should be 2; is the row cut off?"
        );
        assert!(found.next().is_none());
    }
}
