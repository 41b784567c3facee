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
        (stride < room).then(|| Windows::over(total, room, stride))
    }

    /// The same for a stride that has to be less than the room.
    fn over(total: usize, room: usize, stride: usize) -> Windows {
        assert!(stride < room, "a stride less than the room");
        Windows {
            total,
            room,
            stride,
            start: 0,
            done: false,
        }
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
        self.start = start.saturating_add(self.room - self.stride);
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
    /// How many pieces neighbouring windows share; less than `room`.
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
    ///
    /// # Panics
    /// When the fields were set so that `stride` is not less than `room`, which would not get on.
    pub fn windows(&self, total: usize) -> Windows {
        Windows::over(total, self.room, self.stride)
    }
}

/// How one text or two that are longer than an input are divided: windows of the longer text, each
/// beside as much of the other one as is kept.
///
/// ```text
/// [CLS] window [SEP]    [CLS] window [SEP] other [SEP]    [CLS] other [SEP] window [SEP]
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TextDivision {
    /// Whether the windows are the second text's.
    pub of_second: bool,
    /// How many pieces of the other text are kept; 0 without one.
    pub kept: usize,
    /// The most pieces of a window.
    pub room: usize,
    /// How many pieces neighbouring windows share; less than `room`.
    pub stride: usize,
}

impl TextDivision {
    /// Divides texts of so many pieces into inputs of `limit`. `None` if they fit into one, or if an
    /// input has no place for a piece.
    ///
    /// The shorter text stays whole up to half of what the added tokens leave; of two that are equally
    /// long the second has the windows. Neighbours share a quarter of their room.
    pub fn new(limit: usize, first: usize, second: Option<usize>) -> Option<TextDivision> {
        let added = if second.is_some() { 3 } else { 2 };
        let both = limit.checked_sub(added).filter(|&both| both > 0)?;
        if first.saturating_add(second.unwrap_or(0)) <= both {
            return None;
        }
        let of_second = second.is_some_and(|second| second >= first);
        let other = match second {
            Some(second) => first.min(second),
            None => 0,
        };
        let kept = other.min(both / 2);
        let room = both - kept;
        Some(TextDivision {
            of_second,
            kept,
            room,
            stride: room / 4,
        })
    }

    /// The windows over the longer text, of `total` pieces.
    ///
    /// # Panics
    /// When the fields were set so that `stride` is not less than `room`, which would not get on.
    pub fn windows(&self, total: usize) -> Windows {
        Windows::over(total, self.room, self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::iter::once;

    #[test]
    fn the_longer_text_has_windows_beside_the_shorter_one() {
        let of = |limit, first, second| {
            let TextDivision {
                of_second,
                kept,
                room,
                stride,
            } = TextDivision::new(limit, first, second)?;
            Some((of_second, kept, room, stride))
        };
        assert_eq!(of(512, 510, None), None);
        assert_eq!(of(512, 511, None), Some((false, 0, 510, 127)));
        assert_eq!(of(512, 9, Some(500)), None);
        assert_eq!(of(512, 9, Some(501)), Some((true, 9, 500, 125)));
        assert_eq!(of(512, 501, Some(9)), Some((false, 9, 500, 125)));
        assert_eq!(of(512, 300, Some(300)), Some((true, 254, 255, 63)));
        assert_eq!(of(4, 1, Some(9)), Some((true, 0, 1, 0)));
        assert_eq!(of(3, 9, None), Some((false, 0, 1, 0)));
        assert_eq!(
            (of(2, 9, None), of(3, 9, Some(9)), of(0, 9, None)),
            (None, None, None)
        );
        for limit in 0..40 {
            for first in 0..50 {
                for second in (0..50).map(Some).chain([None]) {
                    let Some(division) = TextDivision::new(limit, first, second) else {
                        continue;
                    };
                    let added = if second.is_some() { 3 } else { 2 };
                    assert_eq!(division.kept + division.room + added, limit);
                    assert!(division.stride < division.room);
                    let longer = first.max(second.unwrap_or(0));
                    let mut reached = 0;
                    for window in division.windows(longer) {
                        assert!(window.start <= reached && window.end > reached);
                        reached = window.end;
                    }
                    assert_eq!(reached, longer);
                }
            }
        }
    }

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

    #[test]
    #[should_panic(expected = "a stride less than the room")]
    fn a_division_set_so_that_its_windows_do_not_get_on_has_none() {
        let mut division = Division::new(384, 12, 128).unwrap();
        (division.room, division.stride) = (0, 0);
        division.windows(10);
    }

    #[test]
    #[should_panic(expected = "a stride less than the room")]
    fn a_division_of_texts_set_so_that_its_windows_do_not_get_on_has_none() {
        let mut division = TextDivision::new(512, 511, None).unwrap();
        division.stride = division.room;
        division.windows(511);
    }

    #[test]
    fn as_many_pieces_as_can_be_counted_are_divided() {
        const MOST: usize = usize::MAX;
        let windows = Windows::new(MOST, MOST - 1, 0).unwrap();
        assert!(windows.eq([0..MOST - 1, MOST - 1..MOST]));
        let windows = Windows::new(MOST, MOST - 1, 1).unwrap();
        assert!(windows.eq([0..MOST - 1, MOST - 2..MOST]));
        for (first, second) in [(MOST, 1), (1, MOST), (MOST, MOST)] {
            let division = TextDivision::new(10, first, Some(second)).unwrap();
            assert_eq!(division.of_second, second == MOST);
            let next = division.windows(MOST).nth(1).unwrap();
            assert_eq!(next.start, division.room - division.stride);
        }
    }
}
