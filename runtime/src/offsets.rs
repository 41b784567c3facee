//! Places in a text, counted in bytes, in code points and in UTF-16 units.

use std::ops::Range;

/// A place in a text, in the three ways in which languages count.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct Offset {
    /// Bytes of UTF-8, as Rust and Go count.
    pub byte: usize,
    /// Code points, as Python counts.
    pub char: usize,
    /// Units of UTF-16, as Java and JavaScript count.
    pub utf16: usize,
}

/// Counts places of one text. Ranges whose beginnings never go back cost one walk over the text.
pub(crate) struct Ruler<'t> {
    text: &'t str,
    at: Offset,
}

impl<'t> Ruler<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let at = Offset::default();
        Ruler { text, at }
    }

    /// Beginning and end of a range of bytes, and what stands in it.
    pub(crate) fn measure(&mut self, bytes: Range<usize>) -> (Offset, Offset, &'t str) {
        if bytes.start < self.at.byte {
            self.at = Offset::default();
        }
        self.at = self.forward(self.at, bytes.start);
        let end = self.forward(self.at, bytes.end);
        (self.at, end, self.text.get(bytes).unwrap_or_default())
    }

    fn forward(&self, from: Offset, to: usize) -> Offset {
        let passed = self.text.get(from.byte..to).unwrap_or_default();
        passed.chars().fold(from, |at, c| Offset {
            byte: at.byte + c.len_utf8(),
            char: at.char + 1,
            utf16: at.utf16 + c.len_utf16(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_a_mixed_text_is_cut_out_in_all_three_counts() {
        let text = "aé😀 北京 e\u{301}x";
        let chars: Vec<char> = text.chars().collect();
        let units: Vec<u16> = text.encode_utf16().collect();
        let places: Vec<usize> = (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        let mut ruler = Ruler::new(text);
        for &start in &places {
            for &end in places.iter().filter(|&&end| end >= start) {
                let (from, to, part) = ruler.measure(start..end);
                assert_eq!(part, &text[from.byte..to.byte]);
                assert_eq!(part, chars[from.char..to.char].iter().collect::<String>());
                assert_eq!(
                    part,
                    String::from_utf16(&units[from.utf16..to.utf16]).unwrap()
                );
            }
        }
        assert_eq!(ruler.measure(1..3), Ruler::new(text).measure(1..3));
    }
}
