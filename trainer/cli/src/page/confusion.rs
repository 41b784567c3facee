//! Which labels are taken for which, and how well each is found.

use super::answered::Answered;
use super::frame::{Section, table};
use super::text::shown;
use berth_data::{Answer, Label};
use maud::{Markup, html};

/// Labels that have rows of their own; the rarer ones share one.
const MOST: usize = 24;

/// How often each label was answered where another was right.
struct Confusion<'a> {
    names: Vec<&'a str>,
    /// A row for each right label, a column for each answer.
    counts: Vec<Vec<u64>>,
    /// How often each of them was answered where it was right; of labels that were put together, how often the very one.
    right: Vec<u64>,
}

/// The matrix and the figures of each label, or these alone where a row has several; nothing where answers
/// are no labels.
pub fn section(answered: &Answered<'_>) -> Option<Section> {
    let Some(confusion) = Confusion::of(answered) else {
        return of_sets(answered);
    };
    Some(Section {
        id: "labels",
        heading: "Labels",
        body: html! {
            p { "A row for each right label, a column for each answer; the colour is the share of the row." }
            (confusion.matrix())
            (confusion.each())
        },
    })
}

/// The figures of labels of which a row may have several.
fn of_sets(answered: &Answered<'_>) -> Option<Section> {
    let mut figures = vec![Figures::default(); answered.labels.len()];
    let mut any = false;
    for decision in answered.decisions {
        let (Label::Set(gold), Answer::Set { labels, .. }) = (&decision.gold, &decision.answer)
        else {
            continue;
        };
        any = true;
        for (label, figures) in figures.iter_mut().enumerate() {
            let (gold, answer) = (gold.contains(&(label as u32)), labels.contains(&label));
            figures.gold += u64::from(gold);
            figures.answered += u64::from(answer);
            figures.right += u64::from(gold && answer);
        }
    }
    let names = answered.labels.iter().map(String::as_str);
    any.then(|| Section {
        id: "labels",
        heading: "Labels",
        body: each(names.zip(figures)),
    })
}

/// How often a label was right, was answered, and would have been right.
#[derive(Copy, Clone, Default)]
struct Figures {
    right: u64,
    answered: u64,
    gold: u64,
}

/// Precision, recall and F1 of each label.
fn each<'n>(labels: impl Iterator<Item = (&'n str, Figures)>) -> Markup {
    let row = |(name, of): (&str, Figures)| {
        let shares = [
            share(of.right, of.answered),
            share(of.right, of.gold),
            share(2 * of.right, of.gold + of.answered),
        ];
        let shares = shares.map(|share| html! { (share) });
        let (name, gold) = (shown(name), html! { (of.gold) });
        [name].into_iter().chain(shares).chain([gold]).collect()
    };
    let rows: Vec<Vec<Markup>> = labels.map(row).collect();
    table(&["label", "precision", "recall", "F1", "rows"], &rows)
}

impl<'a> Confusion<'a> {
    fn of(answered: &Answered<'a>) -> Option<Self> {
        let all = answered.labels.len();
        let mut counts = vec![vec![0; all]; all];
        for decision in answered.decisions {
            let (Label::Class(gold), Answer::Class { label, .. }) =
                (&decision.gold, &decision.answer)
            else {
                continue;
            };
            *counts.get_mut(*gold as usize)?.get_mut(*label)? += 1;
        }
        let names = answered.labels.iter().map(String::as_str).collect();
        let right = (0..all).map(|label| counts[label][label]).collect();
        let whole = Confusion {
            names,
            counts,
            right,
        };
        match whole.total() {
            0 => None,
            _ if all > MOST => Some(whole.with_others()),
            _ => Some(whole),
        }
    }

    fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// The most frequent labels in their order, and the others as one.
    fn with_others(self) -> Self {
        let frequency = |label: usize| -> u64 { self.counts[label].iter().sum() };
        let mut kept: Vec<usize> = (0..self.names.len()).collect();
        kept.sort_by_key(|&label| std::cmp::Reverse(frequency(label)));
        kept.truncate(MOST - 1);
        kept.sort_unstable();
        let place = |label: usize| kept.binary_search(&label).unwrap_or(kept.len());
        let mut counts = vec![vec![0; MOST]; MOST];
        let mut right = vec![0; MOST];
        for (gold, row) in self.counts.iter().enumerate() {
            right[place(gold)] += self.right[gold];
            for (answer, count) in row.iter().enumerate() {
                counts[place(gold)][place(answer)] += count;
            }
        }
        let names = kept.iter().map(|&label| self.names[label]);
        Confusion {
            names: names.chain(["(others)"]).collect(),
            counts,
            right,
        }
    }

    fn matrix(&self) -> Markup {
        let many = (self.names.len() > 4).then_some("many");
        html! {
            div.wide {
                table.confusion.(many.unwrap_or_default()) {
                    thead { tr { th { "right ╲ answer" } @for name in &self.names { th { span { (shown(name)) } } } } }
                    tbody {
                        @for (gold, row) in self.counts.iter().enumerate() {
                            tr { th { (shown(self.names[gold])) } (self.cells(gold, row)) }
                        }
                    }
                }
            }
        }
    }

    fn cells(&self, gold: usize, row: &[u64]) -> Markup {
        let all = row.iter().sum::<u64>().max(1) as f64;
        let percent = |count: u64| (100.0 * count as f64 / all).round();
        html! {
            @for (answer, &count) in row.iter().enumerate() {
                td class=(self.class(gold, answer)) style={ "--p:" (percent(count)) "%" } {
                    @if count > 0 { (count) }
                }
            }
        }
    }

    /// What a cell counts: right answers, wrong ones, or both, where labels were put together.
    fn class(&self, gold: usize, answer: usize) -> &'static str {
        match (gold == answer, self.right[gold] == self.counts[gold][gold]) {
            (true, true) => "hit",
            (false, _) => "miss",
            (true, false) => "mixed",
        }
    }

    /// The figures of each label.
    fn each(&self) -> Markup {
        let figures = |label: usize| Figures {
            right: self.right[label],
            answered: self.counts.iter().map(|row| row[label]).sum(),
            gold: self.counts[label].iter().sum(),
        };
        each(
            (0..)
                .zip(&self.names)
                .map(|(label, name)| (*name, figures(label))),
        )
    }
}

/// A share; nothing where there is nothing to share.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.3}", part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two labels that are rare are taken for one another, and are among the others.
    #[test]
    fn labels_that_are_put_together_keep_what_was_right() {
        let all = MOST + 2;
        let names: Vec<String> = (0..all).map(|label| format!("label {label}")).collect();
        let mut counts = vec![vec![0; all]; all];
        for (label, row) in counts.iter_mut().enumerate() {
            row[label] = if label < MOST - 1 { 10 } else { 1 };
        }
        counts[all - 1][all - 2] = 1;
        let right = (0..all).map(|label| counts[label][label]).collect();
        let whole = Confusion {
            names: names.iter().map(String::as_str).collect(),
            counts,
            right,
        };
        let merged = whole.with_others();
        let last = MOST - 1;
        assert_eq!((merged.names.len(), merged.names[last]), (MOST, "(others)"));
        assert_eq!((merged.counts[last][last], merged.right[last]), (4, 3));
        let classes =
            [(last, last), (0, 0), (0, last)].map(|(gold, answer)| merged.class(gold, answer));
        assert_eq!(classes, ["mixed", "hit", "miss"]);
    }
}
