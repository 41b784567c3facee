//! Tab-separated lines, read raw: quotes and backslashes are text. Blank lines are no rows, but between rows of a
//! single column, where they are empty texts.

use std::borrow::Cow;

use super::Row;
use crate::input::newlines;

/// The rows of `text`. A line ends with `\n` or `\r\n`; the last one need not.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    let last = 1 + newlines(text.trim_end_matches(['\r', '\n']).as_bytes());
    // Whether the rows so far have one column; none before the first.
    let mut single = None;
    let lines = (1..).zip(text.split('\n'));
    lines.filter_map(move |(line, content)| {
        let content = content.strip_suffix('\r').unwrap_or(content);
        let blank = content.is_empty();
        if blank && (single != Some(true) || line > last) {
            return None;
        }
        single.get_or_insert(!content.contains('\t'));
        let cells = content.split('\t').map(Cow::Borrowed).collect();
        Some(Row { line, cells })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_tabs_and_nowhere_else() {
        let text = "a\tb\r\n\n\"x\t y\"\\ \u{2028}\n\r\n\t\nlast\rone";
        let rows: Vec<_> = rows(text)
            .map(|row| (row.line, row.cells.join("|")))
            .collect();
        let expected = [
            (1, "a|b"),
            (3, "\"x| y\"\\ \u{2028}"),
            (5, "|"),
            (6, "last\rone"),
        ];
        assert_eq!(rows, expected.map(|(line, cells)| (line, cells.to_owned())));
    }

    #[test]
    fn a_blank_line_between_rows_of_one_column_is_an_empty_text() {
        let rows = |text: &str| -> Vec<(u64, String)> {
            let row = |row: Row| (row.line, row.cells.join("|"));
            rows(text).map(row).collect()
        };
        let owned = |rows: &[(u64, &str)]| -> Vec<(u64, String)> {
            rows.iter()
                .map(|(line, cells)| (*line, cells.to_string()))
                .collect()
        };
        let expected = owned(&[(2, "text"), (3, "a"), (4, ""), (5, "b")]);
        for text in ["\ntext\na\n\nb", "\r\ntext\r\na\r\n\r\nb\r\n\r\n"] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
        assert_eq!(rows("text\n\n\n"), owned(&[(1, "text")]));
        assert_eq!(rows("\n\r\n"), []);
    }
}
