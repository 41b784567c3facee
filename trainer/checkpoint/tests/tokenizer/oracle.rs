//! The real tokenizer, string by string.

use std::env;
use std::time::{Duration, Instant};

use berth_wordpiece::{EncodeError, Piece, Tokenizer, Truncation, Windows};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

use crate::kit::{bert, bert_vocabulary, expected, oracle, pieces, tables_of, uncased};
use crate::strings::{Random, Strings, rich_vocabulary};

/// How many strings an ordinary run compares; `BERTH_STRINGS` sets another number. Of pairs it is a
/// tenth, of passages with windows a twentieth.
const STRINGS: usize = 40_000;

fn number(name: &str, usual: usize) -> usize {
    env::var(name).map_or(usual, |value| value.parse().expect("a number"))
}

/// The normalizers that BERTs have, and some that none has.
fn normalizers() -> [BertNormalizer; 7] {
    [
        uncased(),
        BertNormalizer::new(true, true, None, false),
        BertNormalizer::new(true, true, Some(true), false),
        BertNormalizer::new(true, true, Some(false), true),
        BertNormalizer::new(true, false, None, true),
        BertNormalizer::new(false, true, None, true),
        BertNormalizer::new(false, false, Some(false), false),
    ]
}

/// A vocabulary in which nearly every character is a piece shows every offset; that of BERT shows
/// long matches and unknown words.
fn pairs() -> Vec<(tokenizers::Tokenizer, Vec<u8>)> {
    let rich = rich_vocabulary(&bert_vocabulary());
    let rich = normalizers().map(|normalizer| oracle(&rich, normalizer));
    let bert = oracle(&bert_vocabulary(), uncased());
    let all = rich.into_iter().chain([bert]);
    all.map(|oracle| (tables_of(&oracle), oracle))
        .map(|(tables, oracle)| (oracle, tables))
        .collect()
}

#[track_caller]
fn compare(oracle: &tokenizers::Tokenizer, tokenizer: &Tokenizer, text: &str) {
    let encoding = oracle.encode(text, false).expect("an encoding");
    let (ours, theirs) = (pieces(tokenizer, text), expected(&encoding));
    if ours == theirs {
        return;
    }
    let at = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let normalizer = oracle.get_normalizer();
    panic!(
        "piece {at} of {text:?} ({}): {:?}, but tokenizers has {:?}, {:?}, with {normalizer:?}",
        text.escape_unicode(),
        ours.get(at),
        theirs.get(at),
        encoding.get_tokens().get(at),
    );
}

#[test]
fn random_strings() {
    let pairs = pairs();
    let tokenizers: Vec<_> = pairs
        .iter()
        .map(|(_, tables)| Tokenizer::new(tables).unwrap())
        .collect();
    let mut strings = Strings::new(&bert_vocabulary(), number("BERTH_SEED", 1) as u64);
    let (total, begun) = (number("BERTH_STRINGS", STRINGS), Instant::now());
    let (mut bytes, mut said) = (0, begun);
    for index in 0..total {
        let text = strings.next();
        let which = index % pairs.len();
        compare(&pairs[which].0, &tokenizers[which], &text);
        bytes += text.len();
        if said.elapsed() > Duration::from_secs(30) {
            said = Instant::now();
            println!(
                "{index} of {total} strings, {bytes} bytes, {:.0?}",
                begun.elapsed()
            );
        }
    }
    println!(
        "{total} strings of {bytes} bytes without a difference, {:.1?}",
        begun.elapsed()
    );
}

#[test]
fn every_scalar_value() {
    let scalars: Vec<char> = ('\0'..=char::MAX).collect();
    let rich = rich_vocabulary(&bert_vocabulary());
    let each = number("BERTH_STRINGS", 0) >= scalars.len();
    for normalizer in [normalizers()[0], normalizers()[1]] {
        let oracle = oracle(&rich, normalizer);
        let tables = tables_of(&oracle);
        let tokenizer = Tokenizer::new(&tables).unwrap();
        for block in scalars.chunks(if each { 1 } else { 32 }) {
            let alone: String = block.iter().flat_map(|&c| [c, ' ']).collect();
            compare(&oracle, &tokenizer, &alone);
            let between: String = block.iter().flat_map(|&c| ['a', c, 'b', ' ']).collect();
            compare(&oracle, &tokenizer, &between);
        }
    }
}

#[test]
fn long_texts() {
    let (oracle, tables) = bert();
    let tokenizer = Tokenizer::new(tables).unwrap();
    let word = "uncharacteristically naïve ";
    let texts = [
        String::new(),
        " ".repeat(100_000),
        "a".repeat(100_000),
        "a ".repeat(60_000),
        word.repeat(100_000 / word.len()),
        "[".repeat(100_000),
        "[MASK]".repeat(20_000),
        "\u{301}".repeat(100_000),
        format!("a{}", "\u{301}\u{1D165}\u{327}".repeat(30_000)),
        "\u{1D160}".repeat(50),
        "水".repeat(40_000),
        "각".repeat(40_000),
        "\0".repeat(100_000),
    ];
    for text in texts {
        compare(oracle, &tokenizer, &text);
        let mut out = [Piece::default(); 10];
        let count = tokenizer.pieces(&text, &mut out);
        let all = pieces(&tokenizer, &text);
        assert_eq!((count.kept, count.total), (all.len().min(10), all.len()));
        assert_eq!(out[..count.kept], all[..count.kept]);
    }
}

#[test]
fn a_stream_can_be_read_in_any_portions() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let mut strings = Strings::new(&bert_vocabulary(), 3);
    let mut random = Random(4);
    for _ in 0..500 {
        let text = strings.next();
        let all = pieces(&tokenizer, &text);
        assert!(tokenizer.stream(&text).eq(all.iter().copied()));
        let mut stream = tokenizer.stream(&text);
        let mut read = Vec::new();
        while read.len() < all.len() {
            if random.below(3) == 0 {
                read.extend(stream.next());
            } else {
                let mut out = vec![Piece::default(); random.below(9)];
                let filled = stream.fill(&mut out);
                read.extend(&out[..filled]);
            }
        }
        assert_eq!(read, all);
        assert_eq!(
            (stream.next(), stream.fill(&mut [Piece::default()])),
            (None, 0)
        );
    }
}

fn cutting(max_length: usize, strategy: TruncationStrategy) -> TruncationParams {
    TruncationParams {
        max_length,
        strategy,
        stride: 0,
        direction: TruncationDirection::Right,
    }
}

#[test]
fn pairs_and_truncation() {
    let (oracle, tables) = bert();
    let tokenizer = Tokenizer::new(tables).unwrap();
    // Cut afterwards: told to cut by itself, this version of `tokenizers` stops counting the longer text too early.
    let whole = |text: &str| oracle.encode(text, false).unwrap();
    let mut strings = Strings::new(&bert_vocabulary(), 5);
    let mut random = Random(6);
    let mut refused = 0;
    let total = number("BERTH_STRINGS", 60_000) / 10;
    for _ in 0..total {
        let (text, other) = (strings.next(), strings.next());
        let pair = (random.below(4) > 0).then_some(other.as_str());
        let least = if pair.is_some() { 3 } else { 2 };
        let most = if random.below(2) == 0 { 12 } else { 90 };
        let limit = least + random.below(most);
        let (ours, theirs) = match random.below(2) {
            0 => (Truncation::LongestFirst, TruncationStrategy::LongestFirst),
            _ => (Truncation::OnlySecond, TruncationStrategy::OnlySecond),
        };
        let mut out = vec![Piece::default(); 2 * limit];
        let result = tokenizer.encode_cutting(&text, pair, limit, ours, &mut out);
        if limit == least && ours == Truncation::OnlySecond {
            continue; // tokenizers then cuts both to nothing, where an error is right
        }
        let params = cutting(limit - least, theirs);
        let cut = truncate_encodings(whole(&text), pair.map(whole), &params);
        let (first, second) = match cut {
            Ok(cut) => cut,
            Err(error) => {
                assert_eq!(
                    result,
                    Err(EncodeError::NoRoom),
                    "{text:?} {pair:?} {limit}: {error}"
                );
                refused += 1;
                continue;
            }
        };
        let result = result.unwrap();
        let begins = first.len() + 2;
        let encoding = oracle.post_process(first, second, true).unwrap();
        assert_eq!(
            out[..result.len],
            expected(&encoding),
            "{text:?} {pair:?} {limit} {ours:?}"
        );
        assert_eq!(result.second, begins, "{text:?} {pair:?}");
        let total =
            pieces(&tokenizer, &text).len() + pair.map_or(0, |pair| pieces(&tokenizer, pair).len());
        assert_eq!(result.truncated, total + least - result.len);
    }
    assert!(
        refused > total / 60,
        "only {refused} first texts were too long"
    );
}

/// What `transformers` keeps of the two texts.
#[test]
fn the_longer_text_is_told_by_its_full_length() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    for (first, second, limit, kept) in [
        (20, 12, 10, (4, 3)),
        (12, 20, 10, (3, 4)),
        (20, 20, 10, (3, 4)),
        (20, 12, 9, (3, 3)),
        (12, 20, 9, (3, 3)),
        (20, 4, 10, (4, 3)),
        (4, 20, 10, (3, 4)),
        (20, 2, 10, (5, 2)),
        (2, 20, 10, (2, 5)),
        (0, 20, 10, (0, 7)),
    ] {
        let texts = ["a ".repeat(first), "b ".repeat(second)];
        let mut out = [Piece::default(); 20];
        let encoding = tokenizer.encode(&texts[0], Some(texts[1].as_str()), limit, &mut out);
        let encoding = encoding.unwrap();
        let of_first = encoding.second - 2;
        let of_second = encoding.len - encoding.second - 1;
        assert_eq!(
            (of_first, of_second),
            kept,
            "{first} and {second} into {limit}"
        );
        assert_eq!(encoding.truncated, first + second - of_first - of_second);
    }
}

#[test]
fn windows_of_a_passage() {
    let (oracle, tables) = bert();
    let tokenizer = Tokenizer::new(tables).unwrap();
    let mut strings = Strings::new(&bert_vocabulary(), 7);
    let mut random = Random(8);
    let mut several = 0;
    let total = number("BERTH_STRINGS", 40_000) / 20;
    for _ in 0..total {
        let (question, passage) = (strings.next(), strings.next());
        let [asked, read] =
            [&question, &passage].map(|text| oracle.encode(text.as_str(), false).unwrap());
        let (limit, stride) = (random.below(60), random.below(20));
        let room = limit.saturating_sub(asked.len() + 3);
        let Some(windows) = Windows::new(read.len(), room, stride) else {
            continue;
        };
        let params = TruncationParams {
            stride,
            ..cutting(limit - 3, TruncationStrategy::OnlySecond)
        };
        let (asked, read) = truncate_encodings(asked, Some(read), &params).unwrap();
        let whole = oracle.post_process(asked, read, true).unwrap();
        let theirs: Vec<_> = std::iter::once(&whole)
            .chain(whole.get_overflowing())
            .map(expected)
            .collect();
        let (question, passage) = (pieces(&tokenizer, &question), pieces(&tokenizer, &passage));
        let ours: Vec<_> = windows
            .map(|window| {
                let mut out = vec![Piece::default(); limit];
                let joined = tokenizer
                    .join(&question, Some(&passage[window]), &mut out)
                    .unwrap();
                assert_eq!(joined.second, question.len() + 2);
                out.truncate(joined.len);
                out
            })
            .collect();
        assert_eq!(ours, theirs);
        several += usize::from(ours.len() > 1);
    }
    assert!(
        several > total / 20,
        "only {several} passages had several windows"
    );
}

#[test]
fn words_begin_where_the_pre_tokenizer_splits() {
    let (oracle, tables) = bert();
    let tokenizer = Tokenizer::new(tables).unwrap();
    let mut strings = Strings::new(&bert_vocabulary(), 9);
    for _ in 0..3_000 {
        let text = strings.next();
        let encoding = oracle.encode(text.as_str(), false).unwrap();
        let words = encoding.get_word_ids();
        for (index, piece) in pieces(&tokenizer, &text).iter().enumerate() {
            let begins = index == 0 || words[index] != words[index - 1];
            assert_eq!(
                tokenizer.begins_word(piece.id),
                begins,
                "piece {index} of {text:?}"
            );
        }
    }
}

#[test]
fn small_limits_and_small_memory() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let mut out = [Piece::default(); 8];
    assert_eq!(
        tokenizer.encode("a", None, 1, &mut out),
        Err(EncodeError::Limit { least: 2 })
    );
    assert_eq!(
        tokenizer.encode("a", Some("b"), 2, &mut out),
        Err(EncodeError::Limit { least: 3 })
    );
    assert_eq!(
        tokenizer.encode("a", Some("b"), 6, &mut out),
        Err(EncodeError::Capacity { needed: 9 })
    );
    assert_eq!(
        tokenizer.encode("a", None, usize::MAX, &mut out),
        Err(EncodeError::Capacity { needed: usize::MAX })
    );
    assert_eq!(
        tokenizer.encode("a", None, 2, &mut []),
        Err(EncodeError::Capacity { needed: 2 })
    );
    let one = [Piece::default()];
    assert_eq!(
        tokenizer.join(&one, Some(&one), &mut out[..4]),
        Err(EncodeError::Capacity { needed: 5 })
    );
    let encoding = tokenizer.encode("a b c", None, 2, &mut out).unwrap();
    assert_eq!(
        (encoding.len, encoding.second, encoding.truncated),
        (2, 2, 3)
    );
}
