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
    fn a_stride_that_does_not_get_on_is_refused() {
        assert_eq!(Windows::new(10, 5, 5), None);
        assert_eq!(Windows::new(10, 0, 0), None);
    }
}
