//! Answers to questions as JSON.

use std::fmt::{self, Write};
use std::num::NonZero;

use berth_task::MAX_SPANS;

use super::Notes;
use crate::json;
use crate::questions::{Answers, SpanAnswer};

/// What one answer takes at most without another allocation, and each further one of a list.
const BYTES: [usize; 2] = [1 << 20, 1 << 12];

/// The bytes to hold the answers that are asked for.
pub(super) fn capacity(top_k: Option<NonZero<usize>>) -> usize {
    BYTES[0] + BYTES[1] * top_k.map_or(1, NonZero::get).min(MAX_SPANS)
}

/// The answer, or a list of as many as are asked for.
pub(super) fn write(
    out: &mut impl Write,
    answers: &Answers<'_, '_>,
    top_k: Option<NonZero<usize>>,
    notes: Notes,
) -> fmt::Result {
    let Some(most) = top_k else {
        return write_one(out, &answers.best(), notes);
    };
    out.write_char('[')?;
    for (i, answer) in answers.iter().take(most.get()).enumerate() {
        if i > 0 {
            out.write_char(',')?;
        }
        write_one(out, &answer, notes)?;
    }
    out.write_char(']')
}

fn write_one(out: &mut impl Write, answer: &SpanAnswer<'_>, notes: Notes) -> fmt::Result {
    out.write_str("{\"answer\":")?;
    json::write_string(out, answer.text)?;
    out.write_str(",\"score\":")?;
    json::write_number(out, answer.score)?;
    super::write_place(out, &answer.place)?;
    notes.write(out)?;
    out.write_char('}')
}
