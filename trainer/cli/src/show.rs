//! What people look at: progress bars on stderr, tables and bars on stdout.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};
use std::fmt::Display;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The bar that was begun last: what is written to stderr beside it would be wiped out when it is drawn anew.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// A line on stderr that stays, above a bar that is drawn there. Where that cannot be written to, a full disk behind it
/// say, the work goes on without.
pub fn note(line: impl Display) {
    let last = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    above(last.and_then(|bar| bar.upgrade()), || {
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// Writes with the bar out of the way.
fn above(bar: Option<ProgressBar>, write: impl FnOnce()) {
    match bar.filter(|bar| !bar.is_finished()) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Points of 100 that were lost; what rounds to none has no sign.
pub fn points(lost: f64) -> String {
    let text = format!("{lost:.2}");
    match text.as_str() {
        "-0.00" => "0.00".to_owned(),
        _ => text,
    }
}

/// A table with a heading; every column after the first is aligned to the right. Where stdout is a terminal, it is no
/// wider than that, as long as a letter of each column fits.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> Table {
    let size = Term::stdout().size_checked();
    table_within(size.map(|(_, columns)| columns), heading, rows)
}

fn table_within(columns: Option<u16>, heading: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    if let Some(columns) = columns {
        table.set_width(columns);
    }
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table of names, how often each occurs, and its share of them all.
pub fn counts(what: &str, names: &[String], counts: &[u64]) -> Table {
    let all = counts.iter().sum::<u64>().max(1);
    let row = |(name, &count): (&String, &u64)| {
        let share = count as f64 / all as f64;
        let cells = [excerpt(name, 40), count.to_string(), percent(share)];
        cells.into_iter().chain([bar(share as f32, 20)]).collect()
    };
    let rows: Vec<Vec<String>> = names.iter().zip(counts).map(row).collect();
    table(&[what, "count", "share", ""], &rows)
}

/// A share between 0 and 1 as a bar of `width` cells.
pub fn bar(share: f32, width: usize) -> String {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let filled = (share * width as f32).round() as usize;
    "█".repeat(filled.min(width)) + &"░".repeat(width - filled.min(width))
}

/// A progress bar over `total` things, drawn on stderr where that is a terminal.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    progress_from(0, total, what)
}

/// The same with some of them done before, which the time that is left is not estimated from.
pub fn progress_from(done: u64, total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_style(style());
    bar.set_prefix(what.to_owned());
    // Before it ticks by itself: from then on a position is a step of the estimate.
    bar.set_position(done);
    bar.reset_eta();
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
    keep_ticking(&bar, 500);
    bar
}

/// On one line in 80 columns.
fn style() -> ProgressStyle {
    let template = "{prefix:>10} {wide_bar} {pos}/{len}  {msg}  {elapsed}, {eta} left";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█▉▊▋▌▍▎▏░")
}

/// Draws a bar anew every so many milliseconds, where a thread can be had for it.
pub fn keep_ticking(bar: &ProgressBar, milliseconds: u64) {
    // The bar would panic.
    let started = thread::Builder::new().spawn(|| ());
    if started.is_ok_and(|started| started.join().is_ok()) {
        bar.enable_steady_tick(Duration::from_millis(milliseconds));
    }
}

/// A word as a shell reads it: as it is, or in quotation marks where it holds more than letters, digits and `_./-`.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    // These mean something between double quotation marks too.
    let is_special = |c: char| "\"$`\\!".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else if text.contains(is_special) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        format!("\"{text}\"")
    }
}

/// A fraction in hundredths, as metrics are quoted.
pub fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// A size in bytes, as people read it.
pub fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// What a file or folder is called, without the way to it.
pub fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A text on one line, a character for each of its own: white space as spaces, and the replacement character
/// for whatever else steers a terminal.
pub fn line(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The first `most` characters of a text on one line, with an ellipsis where it was cut.
pub fn excerpt(text: &str, most: usize) -> String {
    let line = line(text);
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// The sentence or sentences that hold a part of a text, on one line, with the part between `marks`.
pub fn in_sentence(text: &str, part: Range<usize>, marks: [&str; 2]) -> String {
    let ends = |c: char| matches!(c, '.' | '!' | '?' | '\n' | '。' | '！' | '？');
    let (before, after) = (&text[..part.start], &text[part.end..]);
    // A sentence ends where white space follows, or in scripts without any.
    let is_end = |text: &str, at: usize, c: char| {
        let next = text[at + c.len_utf8()..].chars().next();
        ends(c) && (c == '\n' || !c.is_ascii() || next.is_none_or(char::is_whitespace))
    };
    let begin = before
        .char_indices()
        .rev()
        .find(|&(at, c)| is_end(text, at, c));
    let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
    let end = after.char_indices().find(|&(at, c)| is_end(after, at, c));
    let end = end.map_or(text.len(), |(at, c)| part.end + at + c.len_utf8());
    // The marks may steer the terminal, the text may not.
    let [open, close] = marks;
    let before = line(&text[begin..part.start]);
    let after = line(&text[part.end..end]);
    let marked = format!("{before}{open}{}{close}{after}", line(&text[part]));
    marked.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::sync::Arc;

    /// A terminal of 80 columns: what was written to it, and `<` for each line that was cleared.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn add(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, line: &str) -> io::Result<()> {
            self.add(&format!("{line}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            self.add("<")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_keeps_to_a_line_and_gives_way_to_what_is_said() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let bar = ProgressBar::with_draw_target(Some(20_000), target).with_style(style());
        bar.set_prefix("training");
        bar.set_message("loss 0.1234  123456 tokens/s");
        bar.set_position(12_345);
        bar.force_draw();
        let drawn = std::mem::take(&mut *screen.0.lock().unwrap());
        assert!(drawn.contains("12345/20000  loss 0.1234"), "{drawn:?}");
        for line in drawn.split(['\n', '<']) {
            assert!(line.chars().count() <= 80, "{line:?}");
        }
        let said = |bar: &ProgressBar| {
            above(Some(bar.clone()), || screen.add("said").unwrap());
            std::mem::take(&mut *screen.0.lock().unwrap())
        };
        let drawn = said(&bar);
        let (before, behind) = drawn.split_once("said").unwrap();
        assert!(before.contains('<') && !before.contains("training"));
        assert!(behind.contains("training") && !behind.contains('<'));
        bar.finish_and_clear();
        screen.0.lock().unwrap().clear();
        assert_eq!(said(&bar), "said");
    }

    #[test]
    fn a_table_is_no_wider_than_the_terminal() {
        let rows = [vec!["some words in a row".to_owned(), "0.25".to_owned()]];
        let widest = |columns| {
            let table = table_within(columns, &["text", "share"], &rows).to_string();
            table.lines().map(|line| line.chars().count()).max()
        };
        assert!(widest(None) > Some(20));
        assert!(widest(Some(20)) <= Some(20));
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        for (text, expected) in [
            ("berth-quickstart/tiny.berth", "berth-quickstart/tiny.berth"),
            ("", "\"\""),
            ("my model", "\"my model\""),
            ("John 's car; new?", "\"John 's car; new?\""),
            ("50 $ `x`", "'50 $ `x`'"),
            (r#"it's "new"!"#, r#"'it'\''s "new"!'"#),
            (r"a\b", r"'a\b'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }

    #[test]
    fn a_part_is_shown_in_its_sentence() {
        let text = "One is 1.5 wide. Then comes two, at last!\nThree.";
        let shown = |part: &str| {
            let start = text.find(part).unwrap();
            in_sentence(text, start..start + part.len(), ["[", "]"])
        };
        assert_eq!(shown("1.5"), "One is [1.5] wide.");
        assert_eq!(shown("two"), "Then comes [two], at last!");
        assert_eq!(shown("Three."), "[Three.]");
        assert_eq!(
            shown("wide. Then"),
            "One is 1.5 [wide. Then] comes two, at last!"
        );
        assert_eq!(in_sentence("二。三", 0..3, ["[", "]"]), "[二]。");
        assert_eq!(in_sentence("", 0..0, ["", ""]), "");
    }

    #[test]
    fn nothing_but_the_marks_steers_a_terminal() {
        let text = "Not it.\r\nA\u{1b}[31mred\tand the\u{7} \u{1b}]0;x\u{7}answer\u{9b}2J here.";
        let start = text.find("\u{1b}]").unwrap();
        let end = text.find('\u{9b}').unwrap();
        assert_eq!(
            in_sentence(text, start..end, ["\u{1b}[1m", "\u{1b}[0m"]),
            "A\u{fffd}[31mred and the\u{fffd} \u{1b}[1m\u{fffd}]0;x\u{fffd}answer\u{1b}[0m\u{fffd}2J here."
        );
        assert_eq!(line("so\nso\0\u{7f}"), "so so\u{fffd}\u{fffd}");
        assert_eq!(excerpt("\u{1b}[2Jword", 4), "\u{fffd}[2J…");
    }

    #[test]
    fn bars_hold_their_width() {
        for share in [-1.0, 0.0, 0.04, 0.5, 1.0, 7.0, f32::NAN] {
            assert_eq!(bar(share, 20).chars().count(), 20, "{share}");
        }
        assert_eq!(bar(0.5, 4), "██░░");
    }

    #[test]
    fn excerpts_cut_between_characters() {
        assert_eq!(excerpt("naïve\ttext", 3), "naï…");
        assert_eq!(excerpt("a\nb", 3), "a b");
    }
}
