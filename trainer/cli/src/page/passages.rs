//! Questions with the answer marked in its passage, beside the right one.

use super::answered::{Answered, is_right, score};
use super::frame::Section;
use super::mistakes::{answer, gold};
use super::text::{Mark, marked, shown};
use berth_data::{Answer, Decision, Label};
use berth_task::Task;
use maud::{Markup, html};

/// How many wrong answers are shown.
const WRONG: usize = 20;
/// How many right ones.
const RIGHT: usize = 5;

/// Passages with marks; nothing for other tasks.
pub fn section(answered: &Answered<'_>) -> Option<Section> {
    if answered.task != Task::QuestionAnswering {
        return None;
    }
    let wrong = answered.mistakes();
    let all = answered.decisions.len();
    let exact = |decision: &&Decision| is_right(decision) == Some(true);
    let right = answered.decisions.iter().filter(exact);
    Some(Section {
        id: "mistakes",
        heading: "Answers in their passages",
        body: html! {
            p { (right.clone().count()) " of " (all) " answers are exactly right. "
                mark.said { "What the model says" } ", " mark.gold { "what is right" } ", "
                mark.gold.said { "both" } "." }
            h3 { "The worst mistakes" }
            ol.answers { @for decision in wrong.into_iter().take(WRONG) { (one(answered, decision)) } }
            @if right.clone().next().is_some() {
                h3 { "Some right answers" }
                ol.answers { @for decision in right.take(RIGHT) { (one(answered, decision)) } }
            }
        },
    })
}

fn one(answered: &Answered<'_>, decision: &Decision) -> Markup {
    let example = answered.example(decision);
    let f1 = score(decision).map_or(0.0, |score| score.f1);
    html! {
        li {
            @if let Some(example) = example {
                p.question { (shown(&example.text)) }
                @if let Some(passage) = &example.pair {
                    p.text { (marked(passage, &marks(decision))) }
                }
            }
            p.verdict {
                span.said { (answer(answered, &decision.answer)) }
                span.gold { (gold(answered, &decision.gold)) }
                span.line { "F1 " (format!("{f1:.2}")) }
                @if let Some(example) = example { span.line { "line " (example.line) } }
            }
        }
    }
}

/// The answer, and every right one.
pub fn marks(decision: &Decision) -> Vec<Mark> {
    let mut marks = Vec::new();
    if let Label::Answers(answers) = &decision.gold {
        let places = answers.iter().filter_map(|gold| {
            let start = gold.start?;
            Some(start..start + gold.text.len())
        });
        marks.extend(places.map(|bytes| Mark {
            bytes,
            class: "gold",
        }));
    }
    marks.extend(mark(&decision.answer, "said"));
    marks
}

/// The part of the passage that an answer is.
pub fn mark(answer: &Answer, class: &'static str) -> Option<Mark> {
    match answer {
        Answer::Span { text, start, .. } if !text.is_empty() => Some(Mark {
            bytes: *start..*start + text.len(),
            class,
        }),
        _ => None,
    }
}
