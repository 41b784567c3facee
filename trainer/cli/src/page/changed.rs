//! The answers that int8 changed.

use super::Compared;
use super::answered::Answered;
use super::frame::Section;
use super::mistakes::{answer, gold, texts};
use super::passages::{mark, marks};
use super::text::{Mark, marked, shown};
use berth_data::{Answer, Decision, Example, Label};
use berth_quantize::Changed;
use berth_task::Task;
use maud::{Markup, html};

/// How many stand open; the others are folded.
const OPEN: usize = 25;
/// How many are shown: a page of many more could hardly be opened.
const MOST: usize = 1000;

/// The first of them in the order of the file, with both answers.
pub fn section(compared: &Compared<'_>) -> Section {
    let comparison = compared.comparison;
    let all = comparison.changed.len();
    let rows = &comparison.changed[..all.min(MOST)];
    let are_sets = rows
        .iter()
        .any(|row| matches!(row.int8, Answer::Set { .. }));
    let changed: Vec<Markup> = decisions(compared, rows)
        .into_iter()
        .zip(rows)
        .map(|(decision, row)| one(compared, decision, row))
        .collect();
    let (first, rest) = changed.split_at(changed.len().min(OPEN));
    Section {
        id: "changed",
        heading: "Answers that changed",
        body: html! {
            @match all {
                0 => p { "None of " (comparison.asked) "." },
                some => p {
                    (some) " of " (comparison.asked) ": f32, int8, and what is right."
                    @if are_sets { " Of several labels those that changed." }
                    @if all > MOST {
                        " Here are the first " (MOST) "; "
                        code { "berth quantize --json" } " prints all."
                    }
                },
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
fn decisions<'a>(compared: &Compared<'a>, rows: &[Changed]) -> Vec<Option<&'a Decision>> {
    let mut pairs = compared.f32.decisions.iter().zip(compared.int8.decisions);
    let mut find = |row: &Changed| {
        let found = pairs.find(|(f32, int8)| f32.answer == row.f32 && int8.answer == row.int8);
        found.map(|(_, int8)| int8)
    };
    rows.iter().map(&mut find).collect()
}

fn one(compared: &Compared<'_>, decision: Option<&Decision>, row: &Changed) -> Markup {
    let answered = &compared.int8;
    let place = decision.and_then(|decision| Some((decision, answered.example(decision)?)));
    let labels = row.labels();
    html! {
        li {
            @match place {
                Some((decision, example)) => (asked(answered.task, decision, example, row)),
                None => p.text { (shown(&row.text)) },
            }
            p.verdict {
                span.f32 { (said(answered, &row.f32, &labels)) }
                span.said { (said(answered, &row.int8, &labels)) }
                span.gold { (right(answered, &row.gold, &labels)) }
                span.line { "line " (row.line) }
            }
        }
    }
}

/// An answer in a few words; of several labels, those that changed.
fn said(answered: &Answered<'_>, said: &Answer, changed: &[usize]) -> Markup {
    match said {
        Answer::Set {
            labels,
            probabilities,
        } => each(
            answered,
            changed,
            |label| labels.contains(&label),
            probabilities,
        ),
        _ => answer(answered, said),
    }
}

/// What is right, in a few words; of several labels, those that changed.
fn right(answered: &Answered<'_>, right: &Label, changed: &[usize]) -> Markup {
    match right {
        Label::Set(labels) => each(
            answered,
            changed,
            |label| labels.contains(&(label as u32)),
            &[],
        ),
        _ => gold(answered, right),
    }
}

/// Labels with commas between them, each with `not` where it is not given. Of those that changed the probability may
/// be as good as one half, and would not tell.
fn each(
    answered: &Answered<'_>,
    labels: &[usize],
    is_given: impl Fn(usize) -> bool,
    probabilities: &[f32],
) -> Markup {
    html! {
        @for (index, &label) in labels.iter().enumerate() {
            @if index > 0 { ", " }
            @if !is_given(label) { "not " }
            (shown(answered.name(label)))
            @if let Some(probability) = probabilities.get(label) {
                " " (format!("{:.1} %", 100.0 * probability))
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
