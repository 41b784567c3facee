//! What becomes of every scalar value, found out by asking a normalizer and a pre-tokenizer.
//!
//! BERT's normalizer is run in three stages, of which each answers one question: cleaned alone, to
//! see what is taken away first and what is set apart by spaces; decomposed, to see which marks
//! take part in canonical ordering; and at last lowered and stripped. Put together again, the
//! stages must give what the whole normalizer gives, or the tokenizer is refused.

use std::collections::HashMap;

use berth_wordpiece::layout::{Item, Kind, PAGE, hangul_letter, hangul_letters};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use super::Odd;

/// A character that stays as it is under every setting, used to keep others apart.
const SEPARATOR: char = '\u{13000}';

/// How many characters are asked about at once.
const BLOCK: usize = 1024;

/// Three sections of the tables.
pub(super) struct Characters {
    pub pages: Vec<u8>,
    pub entries: Vec<u8>,
    pub items: Vec<u8>,
}

/// Asks about all scalar values.
pub(super) fn ask(
    normalizer: BertNormalizer,
    pre_tokenizer: &impl PreTokenizer,
) -> Result<Characters, Odd> {
    let answers = Answers::collect(normalizer, pre_tokenizer)?;
    let mut sequences = Sequences::default();
    let mut entries = vec![Kind::Gone as u32; 0x11_0000];
    for (index, c) in ('\0'..=char::MAX).enumerate() {
        entries[c as usize] = sequences.entry(c, answers.items(index, c)?);
    }
    let (pages, entries) = in_pages(&entries);
    Ok(Characters {
        pages: pages.iter().flat_map(|page| page.to_le_bytes()).collect(),
        entries: entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect(),
        items: sequences
            .items
            .iter()
            .flat_map(|item| item.to_le_bytes())
            .collect(),
    })
}

/// What was answered, for every scalar value in order.
struct Answers {
    /// After cleaning and setting Chinese characters apart.
    cleaned: Vec<String>,
    /// After stripping and lowering alone.
    lowered: Vec<String>,
    /// After everything.
    whole: Vec<String>,
    /// How it is split.
    kinds: Vec<Kind>,
    /// The ranks of combining classes; empty where nothing is decomposed.
    ranks: HashMap<u8, u8>,
}

impl Answers {
    fn collect(
        normalizer: BertNormalizer,
        pre_tokenizer: &impl PreTokenizer,
    ) -> Result<Answers, Odd> {
        let scalars: Vec<char> = ('\0'..=char::MAX).collect();
        let BertNormalizer {
            clean_text,
            handle_chinese_chars,
            strip_accents,
            lowercase,
            ..
        } = normalizer;
        let clean = BertNormalizer::new(clean_text, handle_chinese_chars, Some(false), false);
        let lower = BertNormalizer::new(false, false, strip_accents, lowercase);
        let strips = strip_accents.unwrap_or(lowercase);
        Ok(Answers {
            cleaned: normalize_each(clean, &scalars)?,
            lowered: normalize_each(lower, &scalars)?,
            whole: normalize_each(normalizer, &scalars)?,
            kinds: kinds(pre_tokenizer, &scalars)?,
            ranks: if strips {
                ranks(&scalars)
            } else {
                HashMap::new()
            },
        })
    }

    /// The items of `c`, the `index`th scalar value, none of them left out that matters.
    fn items(&self, index: usize, c: char) -> Result<Vec<Item>, Odd> {
        let mut items = Vec::new();
        for source in self.cleaned[index].chars() {
            let mut added = false;
            let mut part = |part: char| {
                self.push_items(part, added, &mut items);
                added = true;
            };
            if self.ranks.is_empty() {
                part(source);
            } else {
                decompose_canonical(source, part);
            }
        }
        let together: String = items
            .iter()
            .filter_map(|item| char::from_u32(item.value).filter(|_| item.kind != Kind::Stripped))
            .collect();
        let orderly =
            |item: &Item| item.rank == 0 || matches!(item.kind, Kind::Letter | Kind::Stripped);
        if together != self.whole[index] || !items.iter().all(orderly) {
            return Err(odd(c, &self.whole[index]));
        }
        // A mark without a source of its own that doesn't stay moves nothing.
        items.retain(|item| !(item.kind == Kind::Stripped && item.added && item.rank > 0));
        if let [
            Item {
                kind: Kind::Space, ..
            },
            middle,
            Item {
                kind: Kind::Space, ..
            },
        ] = items[..]
        {
            items = vec![Item {
                kind: Kind::Alone,
                ..middle
            }];
        }
        Ok(items)
    }

    /// What a decomposed character becomes.
    fn push_items(&self, part: char, added: bool, items: &mut Vec<Item>) {
        let rank = self
            .ranks
            .get(&canonical_combining_class(part))
            .copied()
            .unwrap_or(0);
        let lowered = &self.lowered[position(part)];
        if lowered.is_empty() {
            items.push(Item {
                kind: Kind::Stripped,
                rank,
                added,
                value: 0,
            });
        }
        for (index, c) in lowered.chars().enumerate() {
            items.push(Item {
                kind: self.kinds[position(c)],
                rank,
                added: added || index > 0,
                value: c as u32,
            });
        }
    }
}

/// Items of characters that become several, each sequence once.
#[derive(Default)]
struct Sequences {
    items: Vec<u32>,
    places: HashMap<Vec<u32>, u32>,
}

impl Sequences {
    /// The entry of `c`.
    fn entry(&mut self, c: char, items: Vec<Item>) -> u32 {
        match items[..] {
            [] => Kind::Gone as u32,
            [item] => {
                let same = item.value == c as u32 || item.kind == Kind::Space;
                Item {
                    value: if same { 0 } else { item.value },
                    ..item
                }
                .pack()
            }
            _ if is_hangul(c, &items) => Kind::Hangul as u32,
            _ => {
                let packed: Vec<u32> = items.iter().map(|item| item.pack()).collect();
                let next = self.items.len() as u32;
                let value = *self.places.entry(packed).or_insert_with_key(|packed| {
                    self.items.extend(packed);
                    next
                });
                Item {
                    kind: Kind::Sequence,
                    rank: items.len() as u8,
                    added: false,
                    value,
                }
                .pack()
            }
        }
    }
}

/// Whether `items` are the letters of the Hangul syllable `c`, as arithmetic gives them.
fn is_hangul(c: char, items: &[Item]) -> bool {
    let letter = |(index, item): (usize, &Item)| {
        *item
            == Item {
                kind: Kind::Letter,
                rank: 0,
                added: index > 0,
                value: hangul_letter(c, index),
            }
    };
    ('가'..='힣').contains(&c)
        && items.len() == hangul_letters(c)
        && items.iter().enumerate().all(letter)
}

/// Normalizes each of `chars` by itself.
fn normalize_each(normalizer: BertNormalizer, chars: &[char]) -> Result<Vec<String>, Odd> {
    let mut all = Vec::with_capacity(chars.len());
    for block in chars.chunks(BLOCK) {
        let text: String = block.iter().flat_map(|&c| [c, SEPARATOR]).collect();
        let normalized = normalize(normalizer, text)?;
        let mut parts: Vec<&str> = normalized.split(SEPARATOR).collect();
        parts.pop();
        if parts.len() == block.len() {
            all.extend(parts.into_iter().map(str::to_owned));
        } else {
            for &c in block {
                all.push(normalize(normalizer, c.to_string())?);
            }
        }
    }
    Ok(all)
}

fn normalize(normalizer: BertNormalizer, text: String) -> Result<String, Odd> {
    let mut normalized = NormalizedString::from(text);
    normalizer
        .normalize(&mut normalized)
        .map_err(|error| failed("normalizer", &*error))?;
    Ok(normalized.get().to_owned())
}

/// How each of `chars` is split from the letters around it.
fn kinds(pre_tokenizer: &impl PreTokenizer, chars: &[char]) -> Result<Vec<Kind>, Odd> {
    let mut all = Vec::with_capacity(chars.len());
    for block in chars.chunks(BLOCK) {
        push_kinds(pre_tokenizer, block, &mut all)?;
    }
    Ok(all)
}

/// Asks about a whole block; halves it where it has anything but letters.
fn push_kinds(
    pre_tokenizer: &impl PreTokenizer,
    block: &[char],
    all: &mut Vec<Kind>,
) -> Result<(), Odd> {
    let text: String = std::iter::once('a')
        .chain(block.iter().copied())
        .chain(['a'])
        .collect();
    let mut split = PreTokenizedString::from(text);
    pre_tokenizer
        .pre_tokenize(&mut split)
        .map_err(|error| failed("pre-tokenizer", &*error))?;
    let words = split
        .get_splits(OffsetReferential::Original, OffsetType::Byte)
        .len();
    match (words, block) {
        (1, _) => all.extend(block.iter().map(|_| Kind::Letter)),
        (2, [_]) => all.push(Kind::Space),
        (_, [_]) => all.push(Kind::Alone),
        _ => {
            let (left, right) = block.split_at(block.len() / 2);
            push_kinds(pre_tokenizer, left, all)?;
            push_kinds(pre_tokenizer, right, all)?;
        }
    }
    Ok(())
}

/// Numbers the combining classes that occur, from 1 on.
fn ranks(scalars: &[char]) -> HashMap<u8, u8> {
    let mut classes: Vec<u8> = scalars
        .iter()
        .map(|&c| canonical_combining_class(c))
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let marks = classes.into_iter().filter(|&class| class > 0);
    marks.zip(1..=Item::MAX_RANK).collect()
}

/// Shares equal pages.
fn in_pages(entries: &[u32]) -> (Vec<u16>, Vec<u32>) {
    let mut numbers = HashMap::new();
    let mut pages = Vec::new();
    let mut kept = Vec::new();
    for page in entries.chunks(PAGE) {
        let next = numbers.len() as u16;
        let number = *numbers.entry(page).or_insert_with(|| {
            kept.extend(page);
            next
        });
        pages.push(number);
    }
    (pages, kept)
}

/// The number of a scalar value among all, surrogates left out.
fn position(c: char) -> usize {
    let c = c as usize;
    if c < 0xD800 { c } else { c - 0x800 }
}

fn odd(c: char, whole: &str) -> Odd {
    Odd {
        part: "normalizer",
        found: format!("one that makes {whole:?} of U+{:04X}", c as u32),
        wanted: "a decomposition followed by stripping and lowering",
    }
}

fn failed(part: &'static str, error: &dyn std::error::Error) -> Odd {
    Odd {
        part,
        found: format!("failing: {error}"),
        wanted: "one that takes every character",
    }
}
