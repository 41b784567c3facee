//! Where a part of a text stands, counted in the three ways that languages count.

use std::ops::Range;

/// The beginning and the end of a part of a text; the end is the place after its last character.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Place {
    /// Code points, as Python counts.
    pub start: usize,
    /// Code points.
    pub end: usize,
    /// Bytes of UTF-8, as Rust and C count.
    pub start_byte: usize,
    /// Bytes of UTF-8.
    pub end_byte: usize,
    /// Units of UTF-16, as JavaScript and Java count.
    pub start_utf16: usize,
    /// Units of UTF-16.
    pub end_utf16: usize,
}

impl Place {
    /// Where the bytes from `start` to `end` of `text` stand. Bytes inside a character count as its
    /// beginning, and bytes behind the text as its end.
    pub fn of(text: &str, start: usize, end: usize) -> Self {
        Ruler::new(text).measure(start..end)
    }
}

/// Finds places in one text. Parts whose beginnings never go back cost one walk over the text.
pub(crate) struct Ruler<'t> {
    text: &'t str,
    /// Of the empty part at the last beginning.
    at: Place,
}

impl<'t> Ruler<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let at = Place::default();
        Ruler { text, at }
    }

    /// As [`Place::of`].
    pub(crate) fn measure(&mut self, bytes: Range<usize>) -> Place {
        let start_byte = self.text.floor_char_boundary(bytes.start);
        let end_byte = self.text.floor_char_boundary(bytes.end.max(start_byte));
        if start_byte < self.at.start_byte {
            self.at = Place::default();
        }
        let (chars, utf16) = units(&self.text[self.at.start_byte..start_byte]);
        let (start, start_utf16) = (self.at.start + chars, self.at.start_utf16 + utf16);
        let (chars, utf16) = units(&self.text[start_byte..end_byte]);
        self.at = Place {
            start,
            start_byte,
            start_utf16,
            ..Place::default()
        };
        Place {
            end: start + chars,
            end_byte,
            end_utf16: start_utf16 + utf16,
            ..self.at
        }
    }
}

/// The code points of a text and its units of UTF-16: a unit for each byte that begins a character,
/// and one more where it begins one of four bytes.
fn units(text: &str) -> (usize, usize) {
    let begins = |byte: &u8| byte & 0xC0 != 0x80;
    let chars = text.bytes().filter(|byte| begins(byte)).count();
    let long = text.bytes().filter(|byte| *byte >= 0xF0).count();
    (chars, chars + long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_counts_cut_the_same_part() {
        let text = "a é 日本 👩‍👩 \u{301}x مرحبا";
        let boundaries: Vec<usize> = (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        let chars: Vec<char> = text.chars().collect();
        let utf16: Vec<u16> = text.encode_utf16().collect();
        let mut ruler = Ruler::new(text);
        for &start in &boundaries {
            for &end in boundaries.iter().filter(|&&end| end >= start) {
                let place = Place::of(text, start, end);
                assert_eq!(ruler.measure(start..end), place);
                let part = &text[start..end];
                assert_eq!((place.start_byte, place.end_byte), (start, end));
                assert_eq!(
                    chars[place.start..place.end].iter().collect::<String>(),
                    part
                );
                let units = &utf16[place.start_utf16..place.end_utf16];
                assert_eq!(String::from_utf16(units).unwrap(), part);
            }
        }
    }

    #[test]
    fn a_beginning_before_the_last_one_is_found_too() {
        let text = "日本 é";
        let mut ruler = Ruler::new(text);
        for bytes in [7..9, 0..3, 3..9, 3..6] {
            let place = Place::of(text, bytes.start, bytes.end);
            assert_eq!(ruler.measure(bytes), place);
        }
    }

    #[test]
    fn bytes_that_begin_no_character_do_not_cut_one() {
        let place = Place::of("é日", 1, 4);
        assert_eq!((place.start_byte, place.end_byte), (0, 2));
        assert_eq!(
            Place::of("é", 9, 3),
            Place {
                start: 1,
                end: 1,
                start_byte: 2,
                end_byte: 2,
                start_utf16: 1,
                end_utf16: 1
            }
        );
        assert_eq!(Place::of("", 0, 0), Place::default());
    }
}
