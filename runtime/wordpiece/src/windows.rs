//! A text that is too long for one input, as windows that overlap.

use core::iter::FusedIterator;
use core::ops::Range;

/// Ranges of pieces, each at most `room` long, that share `stride` pieces with the one before.
///
/// The last window is the first one that reaches the end; even an empty text has one window. These
/// are the windows that `tokenizers` gives as overflowing encodings.
///
/// ```
/// use berth_wordpiece::Windows;
/// let windows = Windows::new(10, 5, 2).unwrap();
/// assert!(windows.eq([0..5, 3..8, 6..10]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    total: usize,
    room: usize,
    stride: usize,
    start: usize,
    done: bool,
}

impl Windows {
    /// Windows over `total` pieces; `None` unless `stride` is less than `room`, which would not
    /// get on.
    pub fn new(total: usize, room: usize, stride: usize) -> Option<Windows> {
        (stride < room).then_some(Windows {
            total,
            room,
            stride,
            start: 0,
            done: false,
        })
    }
}

impl Iterator for Windows {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.done {
            return None;
        }
        let start = self.start;
        let stop = start.saturating_add(self.room).min(self.total);
        self.done = stop == self.total;
        self.start = start + (self.room - self.stride);
        Some(start..stop)
    }
}

impl FusedIterator for Windows {}

/// How an input of a bounded number of pieces is divided between a question and windows of a
/// passage: `[CLS] question [SEP] window [SEP]`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// How many pieces of the question are kept.
    pub question: usize,
    /// The most pieces of a window.
    pub room: usize,
    /// How many pieces neighbouring windows share.
    pub stride: usize,
}

impl Division {
    /// The fewest pieces of an input that has a window: one piece of it, and those that are added.
    pub const FEWEST: usize = 4;

    /// Divides `limit` pieces. `None` if they are fewer than [`FEWEST`](Self::FEWEST).
    ///
    /// The question stays whole up to three quarters of what the added tokens leave, and windows
    /// share `stride` pieces. A question so long that its windows would not get on has windows that
    /// share half of their room instead; there, `tokenizers` refuses to cut.
    pub fn new(limit: usize, question: usize, stride: usize) -> Option<Division> {
        let both = limit.checked_sub(3).filter(|&both| both > 0)?;
        let question = question.min(both - both.div_ceil(4));
        let room = both - question;
        let stride = if stride < room { stride } else { room / 2 };
        Some(Division {
            question,
            room,
            stride,
        })
    }

    /// The windows over a passage of `total` pieces.
    pub fn windows(&self, total: usize) -> Windows {
        Windows {
            total,
            room: self.room,
            stride: self.stride,
            start: 0,
            done: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::iter::once;

    #[test]
    fn short_texts_have_one_window() {
        for total in 0..=7 {
            assert!(
                Windows::new(total, 7, 3).unwrap().eq(once(0..total)),
                "{total}"
            );
        }
    }

    #[test]
    fn windows_cover_everything_and_overlap_by_the_stride() {
        for total in 1..60 {
            for room in 1..9 {
                for stride in 0..room {
                    let mut end = 0;
                    for window in Windows::new(total, room, stride).unwrap() {
                        assert_eq!(
                            window.start,
                            end.max(stride) - stride,
                            "{total} {room} {stride}"
                        );
                        assert!(window.len() == room || window.end == total && window.len() < room);
                        assert!(window.end > end);
                        end = window.end;
                    }
                    assert_eq!(end, total);
                }
            }
        }
    }

    #[test]
    fn a_question_stays_whole_and_windows_always_get_on() {
        let of = |limit, question, stride| {
            let Division {
                question,
                room,
                stride,
            } = Division::new(limit, question, stride)?;
            Some((question, room, stride))
        };
        assert_eq!(of(384, 12, 128), Some((12, 369, 128)));
        assert_eq!(of(384, 252, 128), Some((252, 129, 128)));
        assert_eq!(of(384, 253, 128), Some((253, 128, 64)));
        assert_eq!(of(384, 9999, 128), Some((285, 96, 48)));
        assert_eq!(of(4, 1, 0), Some((0, 1, 0)));
        assert_eq!(of(3, 0, 0), None);
        for limit in Division::FEWEST..40 {
            for question in 0..50 {
                for stride in 0..50 {
                    let division = Division::new(limit, question, stride).unwrap();
                    assert_eq!(division.question + division.room + 3, limit);
                    assert!(division.question <= question && division.room >= 1);
                    assert!(division.stride < division.room);
                    let again = Division::new(limit, division.question, stride);
                    assert_eq!(again.unwrap().windows(99), division.windows(99));
                }
            }
        }
    }

    #[test]
    fn a_stride_that_does_not_get_on_is_refused() {
        assert_eq!(Windows::new(10, 5, 5), None);
        assert_eq!(Windows::new(10, 0, 0), None);
    }
}
