//! Foreign texts on a page.
//!
//! `<bdi>` keeps a text's direction, and whatever direction marks it leaves open, from what stands around
//! it. Characters that HTML does not have are shown as the replacement character.

use maud::{Markup, html};
use std::borrow::Cow;
use std::ops::Range;

/// Passages up to so many bytes are shown whole.
const WHOLE: usize = 1_500;
/// Of longer ones, so much around each mark.
const AROUND: usize = 300;

/// A part of a text that is marked.
pub struct Mark {
    /// Where; what lies outside of the text is left out.
    pub bytes: Range<usize>,
    /// The name of its style.
    pub class: &'static str,
}

/// A text as it stands.
pub fn shown(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// A text with marks, which may overlap. Of a long one, what stands around the marks.
pub fn marked(text: &str, marks: &[Mark]) -> Markup {
    let parts = parts(text, marks);
    let goes_on = parts.last().is_some_and(|last| last.end < text.len());
    html! {
        bdi {
            @for (index, part) in parts.iter().enumerate() {
                @if index > 0 || part.start > 0 { span.gap { " … " } }
                @for (bytes, classes) in pieces(text, part, marks) {
                    @match classes.is_empty() {
                        true => (plain(&text[bytes])),
                        false => mark class=(classes) { (plain(&text[bytes])) },
                    }
                }
            }
            @if goes_on { span.gap { " …" } }
        }
    }
}

/// The text in characters that HTML has.
pub fn plain(text: &str) -> Cow<'_, str> {
    let foreign = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(foreign) {
        true => Cow::Owned(text.replace(foreign, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// The parts of a text that are shown, in their order.
fn parts(text: &str, marks: &[Mark]) -> Vec<Range<usize>> {
    let end = text.len();
    if end <= WHOLE {
        return std::iter::once(0..end).collect();
    }
    let around = |mark: &Mark| {
        let first = mark.bytes.start.saturating_sub(AROUND).min(end);
        let last = mark.bytes.end.saturating_add(AROUND).min(end);
        text.floor_char_boundary(first)..text.ceil_char_boundary(last)
    };
    let mut wanted: Vec<Range<usize>> = marks.iter().map(around).collect();
    if wanted.is_empty() {
        return std::iter::once(0..text.floor_char_boundary(WHOLE)).collect();
    }
    wanted.sort_by_key(|part| part.start);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for part in wanted {
        match parts.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => parts.push(part),
        }
    }
    parts
}

/// A part, cut wherever a mark begins or ends, with the classes of the marks over each piece.
fn pieces(text: &str, part: &Range<usize>, marks: &[Mark]) -> Vec<(Range<usize>, String)> {
    let ends = marks
        .iter()
        .flat_map(|mark| [mark.bytes.start, mark.bytes.end]);
    let mut cuts: Vec<usize> = ends
        .filter(|cut| part.contains(cut) && text.is_char_boundary(*cut))
        .chain([part.start, part.end])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let classes = |piece: &Range<usize>| {
        let over = marks
            .iter()
            .filter(|mark| mark.bytes.start <= piece.start && piece.end <= mark.bytes.end);
        let mut classes: Vec<&str> = over.map(|mark| mark.class).collect();
        classes.dedup();
        classes.join(" ")
    };
    let pieces = cuts.windows(2).map(|ends| ends[0]..ends[1]);
    pieces
        .map(|piece| (piece.clone(), classes(&piece)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_text() {
        let text = "<script>alert('x')</script> & \"so\"";
        let shown = shown(text).into_string();
        assert!(!shown.contains("<script"), "{shown}");
        assert!(
            shown.contains("&lt;script&gt;") && shown.contains("&amp;"),
            "{shown}"
        );
        let marks = [Mark {
            bytes: 3..9,
            class: "said",
        }];
        let shown = marked(text, &marks).into_string();
        assert_eq!(
            shown,
            "<bdi>&lt;sc<mark class=\"said\">ript&gt;a</mark>lert('x')&lt;/script&gt; &amp; &quot;so&quot;</bdi>"
        );
    }

    #[test]
    fn control_characters_are_replaced() {
        let shown = shown("a\0b\u{7}c\td\ne\u{85}\u{202e}f").into_string();
        assert_eq!(
            shown,
            "<bdi>a\u{fffd}b\u{fffd}c\td\ne\u{fffd}\u{202e}f</bdi>"
        );
    }

    #[test]
    fn marks_may_overlap_and_lie_outside() {
        let mark = |bytes, class| Mark { bytes, class };
        let marks = [mark(2..5, "gold"), mark(4..7, "said"), mark(20..30, "said")];
        let shown = marked("0123456789", &marks).into_string();
        let expected = [
            "<bdi>01<mark class=\"gold\">23</mark><mark class=\"gold said\">4</mark>",
            "<mark class=\"said\">56</mark>789</bdi>",
        ];
        assert_eq!(shown, expected.concat());
        // In the middle of a character nothing is cut.
        assert_eq!(
            marked("né", &[mark(0..2, "gold")]).into_string(),
            "<bdi>né</bdi>"
        );
    }

    #[test]
    fn of_a_long_text_the_marks_are_shown() {
        let text = format!("{}the answer{}", "é".repeat(2_000), " and on".repeat(500));
        let at = text.find("the answer").unwrap();
        let marks = [Mark {
            bytes: at..at + 10,
            class: "gold",
        }];
        let shown = marked(&text, &marks).into_string();
        assert!(shown.len() < 1_000, "{} bytes", shown.len());
        assert!(
            shown.contains("<mark class=\"gold\">the answer</mark>"),
            "{shown}"
        );
        assert_eq!(shown.matches('…').count(), 2, "{shown}");
        let shown = marked(&text, &[]).into_string();
        assert!(
            shown.len() < 1_600 && shown.contains('…'),
            "{}",
            shown.len()
        );
    }
}
