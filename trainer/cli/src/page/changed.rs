//! Every answer that int8 changed.

use super::Compared;
use super::frame::Section;
use super::mistakes::{answer, gold, texts};
use super::passages::{mark, marks};
use super::text::{Mark, marked, shown};
use berth_data::{Decision, Example};
use berth_quantize::Changed;
use berth_task::Task;
use maud::{Markup, html};

/// How many stand open; the others are folded.
const OPEN: usize = 25;

/// All of them, with both answers.
pub fn section(compared: &Compared<'_>) -> Section {
    let comparison = compared.comparison;
    let changed: Vec<Markup> = decisions(compared)
        .into_iter()
        .zip(&comparison.changed)
        .map(|(decision, row)| one(compared, decision, row))
        .collect();
    let (first, rest) = changed.split_at(changed.len().min(OPEN));
    Section {
        id: "changed",
        heading: "Answers that changed",
        body: html! {
            @match changed.len() {
                0 => p { "None of " (comparison.asked) "." },
                some => p { (some) " of " (comparison.asked) ": f32, int8, and what is right." },
            }
            ol.answers { @for row in first { (row) } }
            @if !rest.is_empty() {
                details {
                    summary { (rest.len()) " more" }
                    ol.answers start=(OPEN + 1) { @for row in rest { (row) } }
                }
            }
        },
    }
}

/// What int8 said where it said something else, as far as it is found again.
fn decisions<'a>(compared: &Compared<'a>) -> Vec<Option<&'a Decision>> {
    let mut pairs = compared.f32.decisions.iter().zip(compared.int8.decisions);
    let mut find = |row: &Changed| {
        let found = pairs.find(|(f32, int8)| f32.answer == row.f32 && int8.answer == row.int8);
        found.map(|(_, int8)| int8)
    };
    let changed = compared.comparison.changed.iter();
    changed.map(&mut find).collect()
}

fn one(compared: &Compared<'_>, decision: Option<&Decision>, row: &Changed) -> Markup {
    let answered = &compared.int8;
    let place = decision.and_then(|decision| Some((decision, answered.example(decision)?)));
    html! {
        li {
            @match place {
                Some((decision, example)) => (asked(answered.task, decision, example, row)),
                None => p.text { (shown(&row.text)) },
            }
            p.verdict {
                span.f32 { (answer(answered, &row.f32)) }
                span.said { (answer(answered, &row.int8)) }
                span.gold { (gold(answered, &row.gold)) }
                span.line { "line " (row.line) }
            }
        }
    }
}

/// What was asked about, where it stands: the word in its sentence, the answers in their passage.
fn asked(task: Task, decision: &Decision, example: &Example, row: &Changed) -> Markup {
    match (task, &example.pair) {
        (Task::TokenClassification, _) => {
            let word = decision.word.and_then(|word| example.words.get(word));
            let mark = word.map(|word| Mark {
                bytes: word.clone(),
                class: "asked",
            });
            html! { p.text { (marked(&example.text, mark.as_slice())) } }
        }
        (Task::QuestionAnswering, Some(passage)) => {
            let mut marks = marks(decision);
            marks.extend(mark(&row.f32, "f32"));
            html! {
                p.question { (shown(&example.text)) }
                p.text { (marked(passage, &marks)) }
            }
        }
        _ => texts(example),
    }
}
