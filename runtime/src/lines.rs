//! Lines of bounded length from a stream, in one buffer that is made beforehand; and whole texts, whose lines are
//! counted where they are none.

use std::io::{self, BufRead, ErrorKind};
use std::mem;

/// The most bytes that a line of input may have, its ending not counted.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// The mark that some programs put before a text in UTF-8. It is no part of the text.
const MARK: &str = "\u{feff}";

/// What a line takes before it is known to be too long: the mark, the longest line and its `\r`.
const ROOM: usize = MARK.len() + MAX_LINE_BYTES + 1;

/// A file's text without the byte order mark that may stand at its beginning.
pub fn without_mark(mut text: String) -> String {
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    text
}

/// The text of some bytes.
///
/// # Errors
/// When they are not UTF-8: how many lines end before the first that isn't.
pub fn text_of(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        valid.iter().filter(|&&byte| byte == b'\n').count()
    })
}

/// Takes a stream apart into lines.
///
/// A line ends with `\n` or `\r\n`, which is not part of it; nothing else is trimmed. The last one
/// may lack its ending. Where the stream begins with JSON, a byte order mark before it is passed over. A line of
/// more than [`MAX_LINE_BYTES`] is read to its end and thrown away.
pub struct Lines<R> {
    input: R,
    /// Holds [`ROOM`].
    line: Vec<u8>,
    /// A line has been read.
    begun: bool,
}

/// What stood between two line endings.
#[derive(Debug)]
pub enum Line<'l> {
    /// The line, to be read in place.
    Whole(&'l mut [u8]),
    /// There was more than [`MAX_LINE_BYTES`] of it.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Starts at the place where `input` stands.
    ///
    /// # Errors
    /// When there is no memory for the longest line.
    pub fn new(input: R) -> io::Result<Self> {
        let mut line = Vec::new();
        line.try_reserve_exact(ROOM)?;
        let begun = false;
        Ok(Lines { input, line, begun })
    }

    /// The next line, or `None` at the end of the stream. Allocates nothing.
    ///
    /// # Errors
    /// Whatever the stream fails with.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut too_long = false;
        let mut ended = false;
        let mut started = false;
        while !ended {
            let block = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                block => block?,
            };
            if block.is_empty() {
                break;
            }
            started = true;
            let newline = block.iter().position(|&byte| byte == b'\n');
            ended = newline.is_some();
            let part = &block[..newline.unwrap_or(block.len())];
            too_long |= part.len() > ROOM - self.line.len();
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(ended);
            self.input.consume(taken);
        }
        if !started {
            return Ok(None);
        }
        let first = !mem::replace(&mut self.begun, true);
        let rest = self.line.strip_prefix(MARK.as_bytes());
        let marked = first && rest.is_some_and(|rest| rest.starts_with(b"{"));
        let mark = if marked { MARK.len() } else { 0 };
        if ended && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let line = &mut self.line[mark..];
        if too_long || line.len() > MAX_LINE_BYTES {
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    /// Every line as text, a long one as `None`, read through a buffer of `block` bytes.
    fn lines(input: &[u8], block: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(BufReader::with_capacity(block, input)).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn only_the_ending_is_taken_off() {
        let whole = |line: &str| Some(line.as_bytes().to_vec());
        for block in [1, 2, 3, 64] {
            assert_eq!(lines(b"", block), []);
            assert_eq!(lines(b"\n", block), [whole("")]);
            assert_eq!(lines(b"a", block), [whole("a")]);
            assert_eq!(
                lines(b" a \r\n\r\nb\rc\r\r\n\nlast\r", block),
                [" a ", "", "b\rc\r", "", "last\r"].map(whole)
            );
        }
    }

    #[test]
    fn the_longest_line_is_taken_and_one_byte_more_is_not() {
        for ending in ["\n", "\r\n", ""] {
            let longest = [&vec![b'x'; MAX_LINE_BYTES], ending.as_bytes()].concat();
            assert_eq!(lines(&longest, 8192).len(), 1);
            assert!(
                lines(&longest, 8192)[0]
                    .as_ref()
                    .is_some_and(|l| l.len() == MAX_LINE_BYTES)
            );
            let longer = [b"x", longest.as_slice(), b"next\n"].concat();
            let last = lines(&longer, 8192);
            assert_eq!(last[0], None);
            assert_eq!(last.len(), if ending.is_empty() { 1 } else { 2 });
        }
        let huge = [vec![b'x'; 3 * MAX_LINE_BYTES], b"\nshort\n".to_vec()].concat();
        assert_eq!(lines(&huge, 8192), [None, Some(b"short".to_vec())]);
    }

    #[test]
    fn a_mark_before_json_is_no_part_of_the_stream() {
        let marked = |rest: &[u8]| [MARK.as_bytes(), rest].concat();
        for block in [1, 2, 3, 64] {
            for json in [&b"{\"text\":\"a\"}\r\nb\n"[..], b"{", b"{\n\n"] {
                assert_eq!(lines(&marked(json), block), lines(json, block), "{json:?}");
            }
            // A plain line is taken as it stands, and so is a mark that stands elsewhere.
            for kept in [&b""[..], b"a", b"a\n", b"\xef\xbb\xbf{\n", b" {"] {
                let kept = marked(kept);
                let whole = kept.strip_suffix(b"\n").unwrap_or(&kept);
                assert_eq!(lines(&kept, block), [Some(whole.to_vec())]);
            }
            let later = lines(&[b"a\n", MARK.as_bytes(), b"{"].concat(), block);
            assert_eq!(later[1], Some(marked(b"{")));
            let half = lines(b"\xef\xbb\na", block);
            assert_eq!(half[0].as_deref(), Some(&b"\xef\xbb"[..]));
        }
        for ending in ["\n", "\r\n", ""] {
            let line = |len| [vec![b'{'; len].as_slice(), ending.as_bytes()].concat();
            for len in MAX_LINE_BYTES..MAX_LINE_BYTES + 5 {
                let line = line(len);
                assert_eq!(lines(&marked(&line), 8192), lines(&line, 8192), "{len}");
            }
        }
        // A line that does not fit behind the mark in one piece.
        let long = vec![b'x'; 2 * MAX_LINE_BYTES];
        let mut long = Lines::new(MARK.as_bytes().chain(&long[..])).unwrap();
        assert!(matches!(long.next_line().unwrap(), Some(Line::TooLong)));
        assert!(long.next_line().unwrap().is_none());
        assert_eq!(without_mark("\u{feff}\u{feff}a".into()), "\u{feff}a");
        assert_eq!(without_mark("a\u{feff}".into()), "a\u{feff}");
    }

    #[test]
    fn a_stream_that_fails_says_so_and_an_interruption_is_no_failure() {
        struct Moody(Vec<Result<u8, ErrorKind>>);
        impl Read for Moody {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                match self.0.pop() {
                    Some(Ok(byte)) => {
                        out[0] = byte;
                        Ok(1)
                    }
                    Some(Err(kind)) => Err(kind.into()),
                    None => Ok(0),
                }
            }
        }
        let next = |events: &[Result<u8, ErrorKind>]| {
            let events = events.iter().rev().copied().collect();
            let mut lines = Lines::new(BufReader::new(Moody(events))).unwrap();
            lines
                .next_line()
                .map(|line| format!("{line:?}"))
                .map_err(|e| e.kind())
        };
        let interrupted = next(&[Err(ErrorKind::Interrupted), Ok(b'a'), Ok(b'\n')]);
        assert_eq!(interrupted, Ok("Some(Whole([97]))".into()));
        assert_eq!(
            next(&[Ok(b'a'), Err(ErrorKind::TimedOut)]),
            Err(ErrorKind::TimedOut)
        );
    }
}
