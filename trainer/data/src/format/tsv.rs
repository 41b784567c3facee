//! Tab-separated lines, read raw: quotes and backslashes are text. Blank lines are no rows.

use std::borrow::Cow;

use super::Row;

/// The rows of `text`. A line ends with `\n` or `\r\n`; the last one need not.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    (1..).zip(text.split('\n')).filter_map(|(line, content)| {
        let content = content.strip_suffix('\r').unwrap_or(content);
        let cells = || content.split('\t').map(Cow::Borrowed).collect();
        (!content.is_empty()).then(|| Row {
            line,
            cells: cells(),
        })
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
}
