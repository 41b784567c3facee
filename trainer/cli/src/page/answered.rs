//! A labelled file and what a model says to it: what is right, and how far off the rest is.

use berth_data::metrics::squad::{Rules, Score};
use berth_data::{Answer, Decision, Evaluator, Example, Label};
use berth_task::Task;
use std::cmp::Ordering;

/// A model's answers beside the right ones.
#[derive(Copy, Clone)]
pub struct Answered<'a> {
    /// What was asked.
    pub task: Task,
    /// The names of the labels; none for numbers and spans.
    pub labels: &'a [String],
    /// The rows.
    pub examples: &'a [Example],
    /// What was said to them, and what is right.
    pub decisions: &'a [Decision],
}

impl<'a> Answered<'a> {
    /// What the evaluator's decisions on its file come to.
    pub fn of(evaluator: &Evaluator<'a>, decisions: &'a [Decision]) -> Self {
        Answered {
            task: evaluator.task,
            labels: evaluator.labels,
            examples: evaluator.examples,
            decisions,
        }
    }

    /// The name of a label.
    pub fn name(&self, label: usize) -> &'a str {
        self.labels.get(label).map_or("?", String::as_str)
    }

    /// The row that something was said to.
    pub fn example(&self, decision: &Decision) -> Option<&'a Example> {
        self.examples.get(decision.example)
    }

    /// Every answer with a probability, and whether it is right.
    pub fn probabilities(&self) -> impl Iterator<Item = (f32, bool)> + '_ {
        self.decisions.iter().flat_map(probabilities)
    }

    /// The wrong answers, the worst first; equals in the order of the file.
    pub fn mistakes(&self) -> Vec<&'a Decision> {
        let mut wrong: Vec<_> = self
            .decisions
            .iter()
            .map(|decision| (error(decision), decision))
            .filter(|(error, _)| *error > 0.0)
            .collect();
        wrong.sort_by(|(a, _), (b, _)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
        wrong.into_iter().map(|(_, decision)| decision).collect()
    }
}

/// How sure an answer is, and whether it is right; of several labels each is told by itself, as one that is
/// given or not.
fn probabilities(decision: &Decision) -> Vec<(f32, bool)> {
    match (&decision.answer, &decision.gold) {
        (Answer::Class { probability, .. } | Answer::Span { probability, .. }, _) => {
            let right = is_right(decision);
            right
                .map(|right| (*probability, right))
                .into_iter()
                .collect()
        }
        (
            Answer::Set {
                labels,
                probabilities,
            },
            Label::Set(gold),
        ) => {
            let each = probabilities
                .iter()
                .enumerate()
                .map(|(label, &probability)| {
                    let right = labels.contains(&label) == gold.contains(&(label as u32));
                    (probability.max(1.0 - probability), right)
                });
            each.collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an answer is right, where answers are right or wrong: a span is where it equals a gold answer
/// by SQuAD's rules.
pub fn is_right(decision: &Decision) -> Option<bool> {
    match (&decision.answer, &decision.gold) {
        (Answer::Class { label, .. }, Label::Class(gold)) => Some(*label == *gold as usize),
        (Answer::Set { labels, .. }, Label::Set(gold)) => Some(
            labels
                .iter()
                .copied()
                .eq(gold.iter().map(|&label| label as usize)),
        ),
        (Answer::Span { .. }, Label::Answers(_)) => score(decision).map(|score| score.exact == 1.0),
        _ => None,
    }
}

/// What an answer to a question is worth.
pub fn score(decision: &Decision) -> Option<Score> {
    let (Answer::Span { text, .. }, Label::Answers(gold)) = (&decision.answer, &decision.gold)
    else {
        return None;
    };
    let gold: Vec<&str> = gold.iter().map(|gold| gold.text.as_str()).collect();
    Some(Score::of(Rules::V2, text, &gold))
}

/// How far off an answer is; 0 where it is right. A wrong label counts as much as it is sure, of several
/// labels each that is wrong, a span by what its F1 lacks as well, a number by its distance.
pub fn error(decision: &Decision) -> f64 {
    match (&decision.answer, &decision.gold) {
        (Answer::Class { label, probability }, Label::Class(gold)) => {
            match *label == *gold as usize {
                true => 0.0,
                false => f64::from(*probability),
            }
        }
        (Answer::Set { .. }, Label::Set(_)) => {
            let wrong = probabilities(decision)
                .into_iter()
                .filter(|(_, right)| !right);
            wrong.map(|(probability, _)| f64::from(probability)).sum()
        }
        (Answer::Value(value), Label::Value(gold)) => (f64::from(*value) - f64::from(*gold)).abs(),
        (Answer::Span { probability, .. }, _) => {
            score(decision).map_or(0.0, |score| (1.0 - score.f1) * f64::from(*probability))
        }
        _ => 0.0,
    }
}
