//! Tags as JSON.

use std::fmt::{self, Write};

use berth_task::Aggregation;

use super::{Notes, no_room};
use crate::error::QueryError;
use crate::json;
use crate::tags::{Tag, Tags};

/// A list of all rows.
pub(super) fn write(
    out: &mut impl Write,
    tags: Tags<'_, '_>,
    aggregation: Aggregation,
    min_score: Option<f32>,
) -> Result<(), QueryError> {
    out.write_char('[').map_err(no_room)?;
    for (i, tag) in tags.enumerate() {
        let tag = tag?;
        if i > 0 {
            out.write_char(',').map_err(no_room)?;
        }
        let notes = Notes {
            abstained: min_score.is_some_and(|least| tag.score < least),
            ..Notes::default()
        };
        write_one(out, &tag, aggregation, notes).map_err(no_room)?;
    }
    out.write_char(']').map_err(no_room)
}

fn write_one(
    out: &mut impl Write,
    tag: &Tag<'_, '_>,
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
