//! Lines of bounded length from a stream, in one buffer that is made beforehand; and whole texts, whose lines are
//! counted where they are none.

use std::io::{self, BufRead, ErrorKind};

/// The most bytes that a line of input may have, its ending not counted.
pub const MAX_LINE_BYTES: usize = 1 << 20;

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
/// may lack its ending. A line of more than [`MAX_LINE_BYTES`] is read to its end and thrown away.
pub struct Lines<R> {
    input: R,
    /// Holds the longest line and the `\r` behind it.
    line: Vec<u8>,
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
        line.try_reserve_exact(MAX_LINE_BYTES + 1)?;
        Ok(Lines { input, line })
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
            too_long |= part.len() > MAX_LINE_BYTES + 1 - self.line.len();
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(ended);
            self.input.consume(taken);
        }
        if !started {
            return Ok(None);
        }
        if ended && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if too_long || self.line.len() > MAX_LINE_BYTES {
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(&mut self.line)))
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
