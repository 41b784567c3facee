//! Tags as JSON.

use std::fmt::{self, Write};

use berth_task::Aggregation;

use super::Notes;
use crate::error::QueryError;
use crate::json;
use crate::tags::{Tag, Tags};

/// A list of all rows.
pub(super) fn write(
    out: &mut String,
    tags: Tags<'_>,
    aggregation: Aggregation,
    min_score: Option<f32>,
) -> Result<(), QueryError> {
    out.push('[');
    for (i, tag) in tags.enumerate() {
        let tag = tag?;
        if i > 0 {
            out.push(',');
        }
        let notes = Notes {
            abstained: min_score.is_some_and(|least| tag.score < least),
            ..Notes::default()
        };
        let written = write_one(out, &tag, aggregation, notes);
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    out.push(']');
    Ok(())
}

fn write_one(
    out: &mut String,
    tag: &Tag<'_>,
    aggregation: Aggregation,
    notes: Notes,
) -> fmt::Result {
    let entity = aggregation == Aggregation::Simple;
    out.write_str(if entity {
        "{\"entity_group\":"
    } else {
        "{\"entity\":"
    })?;
    json::write_string(out, tag.label)?;
    out.write_str(",\"score\":")?;
    json::write_number(out, tag.score)?;
    if !entity {
        write!(out, ",\"index\":{}", tag.index)?;
    }
    out.write_str(",\"word\":")?;
    json::write_string(out, tag.word)?;
    super::write_place(out, &tag.place)?;
    notes.write(out)?;
    out.write_char('}')
}
