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
}

/// The matrix and the figures of each label; nothing where answers are no labels.
pub fn section(answered: &Answered<'_>) -> Option<Section> {
    let confusion = Confusion::of(answered)?;
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
        let whole = Confusion { names, counts };
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
        for (gold, row) in self.counts.iter().enumerate() {
            for (answer, count) in row.iter().enumerate() {
                counts[place(gold)][place(answer)] += count;
            }
        }
        let names = kept.iter().map(|&label| self.names[label]);
        Confusion {
            names: names.chain(["(others)"]).collect(),
            counts,
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
                td class=(if answer == gold { "hit" } else { "miss" }) style={ "--p:" (percent(count)) "%" } {
                    @if count > 0 { (count) }
                }
            }
        }
    }

    /// Precision, recall and F1 of each label.
    fn each(&self) -> Markup {
        let row = |label: usize| {
            let right = self.counts[label][label];
            let gold: u64 = self.counts[label].iter().sum();
            let answered: u64 = self.counts.iter().map(|row| row[label]).sum();
            let shares = [
                share(right, answered),
                share(right, gold),
                share(2 * right, gold + answered),
            ];
            let name = shown(self.names[label]);
            let shares = shares.map(|share| html! { (share) });
            [name]
                .into_iter()
                .chain(shares)
                .chain([html! { (gold) }])
                .collect()
        };
        let rows: Vec<Vec<Markup>> = (0..self.names.len()).map(row).collect();
        table(&["label", "precision", "recall", "F1", "rows"], &rows)
    }
}

/// A share; nothing where there is nothing to share.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.3}", part as f64 / whole as f64),
    }
}
