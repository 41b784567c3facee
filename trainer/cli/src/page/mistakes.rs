//! The worst mistakes on whole texts: the wrong labels that the model was surest of, the numbers that are
//! farthest off.

use super::answered::Answered;
use super::frame::Section;
use super::text::shown;
use berth_data::{Answer, Decision, Example, Label};
use berth_task::Task;
use maud::{Markup, html};

/// How many are shown.
const MOST: usize = 40;

/// A list of texts; nothing for words and passages, which have their own.
pub fn section(answered: &Answered<'_>) -> Option<Section> {
    if matches!(
        answered.task,
        Task::TokenClassification | Task::QuestionAnswering
    ) {
        return None;
    }
    let mistakes = answered.mistakes();
    let (all, asked) = (mistakes.len(), answered.decisions.len());
    let body = html! {
        @match answered.task {
            Task::TextPairRegression => p { "The numbers that are farthest from the right ones." },
            _ => p { (all) " of " (asked) " answers are wrong; those first that the model was surest of." },
        }
        ol.answers { @for decision in mistakes.into_iter().take(MOST) { (one(answered, decision)) } }
    };
    Some(Section {
        id: "mistakes",
        heading: "The worst mistakes",
        body,
    })
}

fn one(answered: &Answered<'_>, decision: &Decision) -> Markup {
    html! {
        li {
            @if let Some(example) = answered.example(decision) { (texts(example)) }
            p.verdict {
                span.said { (answer(answered, &decision.answer)) }
                span.gold { (gold(answered, &decision.gold)) }
                @if let Some(example) = answered.example(decision) { span.line { "line " (example.line) } }
            }
        }
    }
}

/// The text or the texts of a row.
pub fn texts(example: &Example) -> Markup {
    html! {
        p.text { (shown(&example.text)) }
        @if let Some(pair) = &example.pair { p.text.pair { (shown(pair)) } }
    }
}

/// An answer in a few words.
pub fn answer(answered: &Answered<'_>, answer: &Answer) -> Markup {
    match answer {
        Answer::Class { label, probability } => html! {
            (shown(answered.name(*label))) " " (format!("{:.1} %", 100.0 * probability))
        },
        Answer::Set {
            labels,
            probabilities,
        } => {
            let named = labels.iter().map(|&label| {
                let probability = probabilities.get(label).copied().unwrap_or_default();
                html! { (shown(answered.name(label))) " " (format!("{:.1} %", 100.0 * probability)) }
            });
            list(named)
        }
        Answer::Value(value) => html! { (format!("{value:.3}")) },
        Answer::Abstained => html! { "no answer" },
        Answer::Span {
            text, probability, ..
        } => html! {
            @match text.as_str() { "" => "no answer", text => (shown(text)) }
            " (" (format!("{:.1} %", 100.0 * probability)) ")"
        },
    }
}

/// What is right, in a few words.
pub fn gold(answered: &Answered<'_>, gold: &Label) -> Markup {
    match gold {
        Label::Class(label) => shown(answered.name(*label as usize)),
        Label::Set(labels) => list(
            labels
                .iter()
                .map(|&label| shown(answered.name(label as usize))),
        ),
        Label::Value(value) => html! { (format!("{value:.3}")) },
        Label::Answers(answers) => match answers.first() {
            Some(first) => shown(&first.text),
            None => html! { "no answer" },
        },
        _ => html! { "unknown" },
    }
}

/// Labels with commas between them.
fn list(labels: impl Iterator<Item = Markup>) -> Markup {
    let labels: Vec<Markup> = labels.collect();
    html! {
        @if labels.is_empty() { "none" }
        @for (index, label) in labels.iter().enumerate() {
            @if index > 0 { ", " }
            (label)
        }
    }
}
