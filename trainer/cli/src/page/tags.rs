//! Sentences with the tags of their words, the worst first.

use super::answered::{Answered, error, is_right};
use super::frame::Section;
use super::text::shown;
use berth_data::{Answer, Decision, Label};
use berth_task::{OUTSIDE, Task, entity_type};
use maud::{Markup, html};
use std::cmp::Ordering;

/// How many sentences are shown.
const MOST: usize = 15;
/// Hues of neighbouring labels lie a golden angle apart.
const ANGLE: f64 = 137.508;

/// Coloured words; nothing for other tasks.
pub fn section(answered: &Answered<'_>) -> Option<Section> {
    if answered.task != Task::TokenClassification {
        return None;
    }
    let same = |a: &Decision, b: &Decision| a.example == b.example;
    let mut sentences: Vec<&[Decision]> = answered.decisions.chunk_by(same).collect();
    let weight = |sentence: &[Decision]| sentence.iter().map(error).sum::<f64>();
    sentences.sort_by(|a, b| weight(b).partial_cmp(&weight(a)).unwrap_or(Ordering::Equal));
    let types = types(answered.labels);
    let wrong = answered.mistakes().len();
    Some(Section {
        id: "mistakes",
        heading: "Tags",
        body: html! {
            p { (wrong) " of " (answered.decisions.len()) " words have a wrong tag. The sentences with the most and the "
                "surest mistakes; under a wrong tag, struck through, stands the right one." }
            p.words { @for name in &types { span.word style=(hue(&types, name)) { (shown(name)) } " " } }
            ol.answers {
                @for sentence in sentences.into_iter().take(MOST) { (one(answered, &types, sentence)) }
            }
        },
    })
}

fn one(answered: &Answered<'_>, types: &[&str], sentence: &[Decision]) -> Markup {
    html! {
        li {
            p.words dir="auto" { @for word in sentence { (coloured(answered, types, word)) " " } }
            @if let Some(example) = sentence.first().and_then(|word| answered.example(word)) {
                p.verdict { span.line { "line " (example.line) } }
            }
        }
    }
}

fn coloured(answered: &Answered<'_>, types: &[&str], decision: &Decision) -> Markup {
    let example = answered.example(decision);
    let bytes = decision
        .word
        .zip(example)
        .and_then(|(word, row)| row.words.get(word));
    let text = bytes
        .zip(example)
        .and_then(|(bytes, row)| row.text.get(bytes.clone()));
    let (Answer::Class { label, .. }, Label::Class(gold)) = (&decision.answer, &decision.gold)
    else {
        return html! {};
    };
    let (label, gold) = (answered.name(*label), answered.name(*gold as usize));
    let wrong = is_right(decision) == Some(false);
    let outside = label == OUTSIDE && !wrong;
    html! {
        span.word.wrong[wrong].outside[outside] style=[(label != OUTSIDE).then(|| hue(types, label))] {
            (shown(text.unwrap_or("?")))
            @if wrong { small { s { (shown(label)) } " " (shown(gold)) } }
            @else if !outside { small { (shown(label)) } }
        }
    }
}

/// The kinds that have a colour of their own: tags without what says where an entity begins.
fn types(labels: &[String]) -> Vec<&str> {
    let mut types: Vec<&str> = labels.iter().map(|label| entity_type(label)).collect();
    types.retain(|name| *name != OUTSIDE);
    types.sort_unstable();
    types.dedup();
    types
}

fn hue(types: &[&str], label: &str) -> String {
    let place = types.iter().position(|name| *name == entity_type(label));
    format!("--h:{:.0}", (place.unwrap_or(0) as f64 * ANGLE) % 360.0)
}
