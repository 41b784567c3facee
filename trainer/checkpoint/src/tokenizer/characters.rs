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
const BLOCK: usize = 512;

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
    // Surrogates have entries too, which nothing looks at.
    let mut entries = vec![Kind::Letter as u32; 0x11_0000];
    for (index, c) in ('\0'..=char::MAX).enumerate() {
        if !answers.is_plain(index, c) {
            entries[c as usize] = sequences.entry(c, answers.items(index, c)?);
        }
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

/// What was answered, for every scalar value in order. `None` stands for the character itself.
struct Answers {
    /// After cleaning and setting Chinese characters apart.
    cleaned: Vec<Option<String>>,
    /// After stripping and lowering alone.
    lowered: Vec<Option<String>>,
    /// After everything.
    whole: Vec<Option<String>>,
    /// How it is split.
    kinds: Vec<Kind>,
    /// The ranks of combining classes; `None` where nothing is decomposed.
    ranks: Option<[u8; 256]>,
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
        let cleaned = normalize_each(clean, &scalars)?;
        let whole = normalize_each(normalizer, &scalars)?;
        // Where cleaning does nothing, everything is stripping and lowering.
        let mut lowered = whole.clone();
        let (at, changed): (Vec<usize>, Vec<char>) = scalars
            .iter()
            .copied()
            .enumerate()
            .filter(|&(index, _)| cleaned[index].is_some())
            .unzip();
        for (index, answer) in at.into_iter().zip(normalize_each(lower, &changed)?) {
            lowered[index] = answer;
        }
        let kinds = kinds(pre_tokenizer, &scalars)?;
        let ranks = strip_accents.unwrap_or(lowercase).then(|| ranks(&scalars));
        Ok(Answers {
            cleaned,
            lowered,
            whole,
            kinds,
            ranks,
        })
    }

    /// The items of `c`, the `index`th scalar value, none of them left out that matters.
    fn items(&self, index: usize, c: char) -> Result<Vec<Item>, Odd> {
        let mut items = Vec::new();
        let itself = c.to_string();
        for source in self.cleaned[index].as_ref().unwrap_or(&itself).chars() {
            let mut added = false;
            let mut part = |part: char| {
                self.push_items(part, added, &mut items);
                added = true;
            };
            match self.ranks {
                Some(_) => decompose_canonical(source, part),
                None => part(source),
            }
        }
        let stays = items.iter().filter(|item| item.kind != Kind::Stripped);
        let together: String = stays
            .filter_map(|item| char::from_u32(item.value))
            .collect();
        let whole = self.whole[index].as_ref().unwrap_or(&itself);
        let orderly = |item: &Item| {
            item.rank == 0
                || item.rank <= Item::MAX_RANK && matches!(item.kind, Kind::Letter | Kind::Stripped)
        };
        if together != *whole
            || items.len() > usize::from(Item::MAX_RANK)
            || !items.iter().all(orderly)
        {
            return Err(odd(c, whole));
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
        let rank = self.ranks.map_or(0, |ranks| {
            ranks[usize::from(canonical_combining_class(part))]
        });
        let mut push = |kind, added, value| {
            items.push(Item {
                kind,
                rank,
                added,
                value,
            })
        };
        match self.lowered[position(part)].as_deref() {
            None => push(self.kinds[position(part)], added, part as u32),
            Some("") => push(Kind::Stripped, added, 0),
            Some(lowered) => {
                for (index, c) in lowered.chars().enumerate() {
                    push(self.kinds[position(c)], added || index > 0, c as u32);
                }
            }
        }
    }

    /// Whether `c` is a plain letter that nothing changes: most scalar values are.
    fn is_plain(&self, index: usize, c: char) -> bool {
        let unchanged = self.cleaned[index].is_none() && self.whole[index].is_none();
        unchanged && self.kinds[index] == Kind::Letter && canonical_combining_class(c) == 0
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

/// Normalizes each of `chars` by itself; `None` for those that stay as they are.
fn normalize_each(normalizer: BertNormalizer, chars: &[char]) -> Result<Vec<Option<String>>, Odd> {
    let mut all = Vec::with_capacity(chars.len());
    for block in chars.chunks(BLOCK) {
        let text: String = block.iter().collect();
        if normalize(normalizer, &text)? == text {
            all.extend(block.iter().map(|_| None));
            continue;
        }
        let text: String = block.iter().flat_map(|&c| [c, SEPARATOR]).collect();
        let normalized = normalize(normalizer, &text)?;
        let parts: Vec<&str> = normalized.split_terminator(SEPARATOR).collect();
        if parts.len() == block.len() {
            let owned =
                |(part, c): (&str, &char)| (!part.chars().eq([*c])).then(|| part.to_owned());
            all.extend(parts.into_iter().zip(block).map(owned));
        } else {
            for c in block.iter().map(char::to_string) {
                let normalized = normalize(normalizer, &c)?;
                all.push((normalized != c).then_some(normalized));
            }
        }
    }
    Ok(all)
}

fn normalize(normalizer: BertNormalizer, text: &str) -> Result<String, Odd> {
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

/// Numbers the combining classes that occur, from 1 on; 0 stays 0.
fn ranks(scalars: &[char]) -> [u8; 256] {
    let mut ranks = [0; 256];
    for &c in scalars {
        ranks[usize::from(canonical_combining_class(c))] = 1;
    }
    ranks[0] = 0;
    let occurring = ranks.iter_mut().filter(|rank| **rank > 0);
    occurring.zip(1..).for_each(|(rank, number)| *rank = number);
    ranks
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
