//! Entities in a sentence's tags, counted as `seqeval` counts them by default.
//!
//! A tag is a prefix and a type, `B-PER`. An entity is a run of tags of one type that are not outside;
//! it ends before `B`, before another type, and before what is outside. So an `I-PER` that nothing
//! began begins an entity itself, and the tags may be IOB1, IOB2 or IOBES alike. An entity counts as
//! found where an answer has the same beginning, end and type. (Ramshaw and Marcus 1995; the rules are
//! those of the CoNLL-2000 evaluation script.)

/// Counts over the sentences of a file, all types together (micro average).
#[derive(Clone, Default, Debug)]
pub struct EntityCounts {
    correct: u64,
    predicted: u64,
    gold: u64,
}

/// A type, and the first and the last word that have it.
type Entity<'t> = (&'t str, usize, usize);

impl EntityCounts {
    /// Counts a sentence: the right tag and the answered one of each word.
    pub fn add(&mut self, gold: &[&str], predicted: &[&str]) {
        let (gold, predicted) = (entities(gold), entities(predicted));
        self.gold += gold.len() as u64;
        self.predicted += predicted.len() as u64;
        self.correct += gold.iter().filter(|one| predicted.contains(one)).count() as u64;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &EntityCounts) {
        self.gold += other.gold;
        self.predicted += other.predicted;
        self.correct += other.correct;
    }

    /// Of the entities that were answered, the share that is right; 0 where there is none.
    pub fn precision(&self) -> f64 {
        ratio(self.correct, self.predicted)
    }

    /// Of the entities there are, the share that was found; 0 where there is none.
    pub fn recall(&self) -> f64 {
        ratio(self.correct, self.gold)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.correct, self.predicted + self.gold)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// The entities of a sentence, in order.
fn entities<'t>(tags: &[&'t str]) -> Vec<Entity<'t>> {
    let mut entities = Vec::new();
    let mut begun = 0;
    let mut before = Tag::OUTSIDE;
    let end = std::iter::once(Tag::OUTSIDE);
    for (word, tag) in tags.iter().map(|tag| Tag::of(tag)).chain(end).enumerate() {
        if before.ends_before(tag) {
            entities.push((before.kind, begun, word - 1));
        }
        if tag.begins_after(before) {
            begun = word;
        }
        before = tag;
    }
    entities
}

/// A tag taken apart: `B-PER` is `B` and `PER`.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Tag<'t> {
    prefix: char,
    kind: &'t str,
}

impl<'t> Tag<'t> {
    const OUTSIDE: Tag<'static> = Tag {
        prefix: 'O',
        kind: "_",
    };

    /// The first character is the prefix; the type is what stands behind the first dash after it, or
    /// all that is after it where there is no dash.
    fn of(tag: &'t str) -> Self {
        let mut rest = tag.chars();
        let prefix = rest.next().unwrap_or('O');
        let rest = rest.as_str();
        let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
        let kind = if kind.is_empty() { "_" } else { kind };
        Tag { prefix, kind }
    }

    fn is_outside(self) -> bool {
        matches!(self.prefix, 'O' | '.')
    }

    /// Whether an entity that `self` belongs to is over before `next`.
    fn ends_before(self, next: Tag<'_>) -> bool {
        match (self.prefix, next.prefix) {
            ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
            _ => !self.is_outside() && self.kind != next.kind,
        }
    }

    /// Whether `self` is the beginning of an entity, behind `before`.
    fn begins_after(self, before: Tag<'_>) -> bool {
        match (before.prefix, self.prefix) {
            (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
            _ => !self.is_outside() && self.kind != before.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sequence;

    /// The numbers of entities that are right, were answered, and are both, of seqeval 1.2.2.
    #[test]
    fn odd_tags_are_counted_as_seqeval_counts_them() {
        for (gold, predicted, expected) in [
            ("B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", (2, 2, 2)),
            ("B-PER I-PER O B-LOC", "B-PER O O I-LOC", (2, 2, 1)),
            ("O I-PER I-PER O", "O B-PER I-PER O", (1, 1, 1)),
            ("B-PER I-LOC O", "B-PER B-LOC O", (2, 2, 2)),
            ("B-PER B-PER I-PER", "B-PER I-PER I-PER", (2, 1, 0)),
            ("O O O", "O O O", (0, 0, 0)),
            ("O O O", "B-PER O O", (0, 1, 0)),
            ("B-PER O", "O O", (1, 0, 0)),
            ("B-PER | I-PER O", "B-PER | I-PER O", (2, 2, 2)),
            ("S-PER B-LOC E-LOC O", "S-PER B-LOC E-LOC O", (2, 2, 2)),
            (
                "B-LOC I-LOC E-LOC | S-PER S-PER",
                "B-LOC E-LOC E-LOC | B-PER S-PER",
                (3, 4, 2),
            ),
            (
                "B-creative-work I-creative-work O",
                "B-creative-work I-creative O",
                (1, 2, 0),
            ),
            ("PER O", "B-PER O", (1, 1, 0)),
            ("I-PER E-PER I-PER", "B-PER E-PER B-PER", (2, 2, 2)),
            ("E-PER O E-PER", "I-PER O B-PER", (2, 2, 2)),
        ] {
            let mut counts = EntityCounts::default();
            for (gold, predicted) in gold.split(" | ").zip(predicted.split(" | ")) {
                let tags = |text: &'static str| text.split(' ').collect::<Vec<_>>();
                counts.add(&tags(gold), &tags(predicted));
            }
            let found = (counts.gold, counts.predicted, counts.correct);
            assert_eq!(found, expected, "{gold} / {predicted}");
        }
    }

    /// The figures are those of seqeval 1.2.2 (`precision_score`, `recall_score`, `f1_score`) for the
    /// same 300 sentences of ten words with tags without any order.
    #[test]
    fn figures_are_those_of_seqeval() {
        const TAGS: [&str; 7] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-LOC", "S-PER"];
        let (truth, noise) = (sequence(1, 7, 3000), sequence(2, 7, 3000));
        let answer = |i: usize| match i.is_multiple_of(2) || noise[i] < 3 {
            true => TAGS[truth[i]],
            false => TAGS[noise[i]],
        };
        let gold: Vec<&str> = truth.iter().map(|&tag| TAGS[tag]).collect();
        let predicted: Vec<&str> = (0..3000).map(answer).collect();
        let mut counts = EntityCounts::default();
        for (gold, predicted) in gold.chunks(10).zip(predicted.chunks(10)) {
            counts.add(gold, predicted);
        }
        assert_eq!(
            (counts.gold, counts.predicted, counts.correct),
            (2244, 2354, 1690)
        );
        for (found, expected) in [
            (counts.precision(), 0.7179269328802039),
            (counts.recall(), 0.7531194295900179),
            (counts.f1(), 0.7351022183558069),
        ] {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }
}
