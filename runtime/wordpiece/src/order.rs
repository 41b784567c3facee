//! Canonical ordering: marks behind a letter, in the order that decomposition gives them.
//!
//! Decomposition sorts each run of marks by combining class, stably. Most marks are accents that
//! are stripped afterwards, so the order of a run matters only where one of its marks stays: notes
//! of music, tone marks of Hangul, marks that the tokenizer's tables are too old to know. Then the
//! run is gone through once for each class that occurs in it, which needs no memory and is linear
//! in its length, since there are at most 63 classes.
//!
//! Offsets follow `tokenizers`, which gives the sources out in their own order: the first sorted
//! mark takes the first source character of the run, whichever it came from, and so on. Only marks
//! that decomposition added take no source; they share the one that was given out before.

use crate::layout::{Item, Kind};
use crate::words::{Source, Spot, Step, Word, Words};

impl Words<'_, '_> {
    /// Adds the marks that stay of the run around `spot` to `word`; gives the place after the run.
    #[cold]
    pub(crate) fn push_ordered(&self, word: &mut Word, spot: Spot) -> Spot {
        let (begin, mut source) = self.run_begin(spot);
        let mut ranks = 0_u64;
        let mut end = begin;
        while let Some(step) = self.step_in_run(end) {
            ranks |= 1 << step.item.rank;
            end = step.next;
        }
        let mut unclaimed = begin;
        while ranks != 0 {
            let rank = ranks.trailing_zeros() as u8;
            ranks &= ranks - 1;
            let mut at = begin;
            while let Some(step) = self.step_in_run(at) {
                at = step.next;
                if step.item.rank != rank {
                    continue;
                }
                if !step.item.added {
                    source = self.claim(&mut unclaimed).unwrap_or(source);
                }
                if step.item.kind == Kind::Letter {
                    word.push(step.becomes, source, self.tokenizer.word_chars());
                }
            }
        }
        end
    }

    /// Where the run that holds `spot` begins, and the source of what stands before it.
    fn run_begin(&self, spot: Spot) -> (Spot, Source) {
        let mut at = spot.at;
        loop {
            let mut last = None;
            let mut here = Spot { at, item: 0 };
            while let Some(step) = self.step(here).filter(|_| here.at == at && here != spot) {
                here = step.next;
                if is_starter(step.item) {
                    last = Some((step.next, step.source));
                }
            }
            if let Some(found) = last {
                return found;
            }
            match self.char_before(at) {
                Some(before) => at -= before.len_utf8(),
                None => {
                    return (
                        Spot {
                            at: self.segment_start(),
                            item: 0,
                        },
                        Source::default(),
                    );
                }
            }
        }
    }

    /// The mark at `spot`, or the next one behind characters that are gone; `None` behind the run.
    fn step_in_run(&self, mut spot: Spot) -> Option<Step> {
        loop {
            let step = self.step(spot)?;
            if step.item.kind != Kind::Gone {
                return (!is_starter(step.item)).then_some(step);
            }
            spot = step.next;
        }
    }

    /// The source of the next mark at or after `spot` that has one of its own.
    fn claim(&self, spot: &mut Spot) -> Option<Source> {
        loop {
            let step = self.step_in_run(*spot)?;
            *spot = step.next;
            if !step.item.added {
                return Some(step.source);
            }
        }
    }
}

/// Whether marks are not moved across this.
fn is_starter(item: Item) -> bool {
    item.rank == 0 && item.kind != Kind::Gone
}
