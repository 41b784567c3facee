//! Every answer that int8 changed.

use super::Compared;
use super::frame::Section;
use super::mistakes::{answer, gold};
use super::text::shown;
use berth_quantize::Changed;
use maud::{Markup, html};

/// How many stand open; the others are folded.
const OPEN: usize = 25;

/// All of them, with both answers.
pub fn section(compared: &Compared<'_>) -> Section {
    let comparison = compared.comparison;
    let changed = &comparison.changed;
    let (first, rest) = changed.split_at(changed.len().min(OPEN));
    Section {
        id: "changed",
        heading: "Answers that changed",
        body: html! {
            @match changed.len() {
                0 => p { "None of " (comparison.asked) "." },
                some => p { (some) " of " (comparison.asked) ": f32, int8, and what is right." },
            }
            ol.answers { @for row in first { (one(compared, row)) } }
            @if !rest.is_empty() {
                details {
                    summary { (rest.len()) " more" }
                    ol.answers start=(OPEN + 1) { @for row in rest { (one(compared, row)) } }
                }
            }
        },
    }
}

fn one(compared: &Compared<'_>, row: &Changed) -> Markup {
    let answered = &compared.int8;
    html! {
        li {
            p.text { (shown(&row.text)) }
            p.verdict {
                span.f32 { (answer(answered, &row.f32)) }
                span.said { (answer(answered, &row.int8)) }
                span.gold { (gold(answered, &row.gold)) }
                span.line { "line " (row.line) }
            }
        }
    }
}
