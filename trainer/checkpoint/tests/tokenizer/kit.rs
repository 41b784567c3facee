//! What the tests share: folders with a tokenizer, and pieces in comparable form.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use berth_checkpoint::tokenizer::{reference, tables_from};
use berth_wordpiece::{Piece, Tokenizer};
use flate2::read::GzDecoder;
use tempfile::TempDir;
use tokenizers::normalizers::BertNormalizer;

/// The folder of golden vectors.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizer")
}

/// The vocabulary of bert-base-uncased, a piece a line.
pub fn bert_vocabulary() -> String {
    let file =
        fs::File::open(golden().join("vocab.txt.gz")).expect("the golden vocabulary is there");
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("it is text");
    text
}

/// A folder with a vocab.txt of these lines and nothing else.
pub fn folder(vocabulary: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("vocab.txt"), vocabulary).expect("room on the disk");
    dir
}

/// The real tokenizer over a vocabulary, with a normalizer of its own.
pub fn oracle(vocabulary: &str, normalizer: BertNormalizer) -> tokenizers::Tokenizer {
    let mut oracle = reference(folder(vocabulary).path()).expect("a whole tokenizer");
    oracle
        .with_normalizer(Some(normalizer))
        .expect("no added token is normalized");
    oracle
}

/// The normalizer of bert-base-uncased.
pub fn uncased() -> BertNormalizer {
    BertNormalizer::new(true, true, None, true)
}

/// bert-base-uncased, made once.
pub fn bert() -> &'static (tokenizers::Tokenizer, Vec<u8>) {
    static BERT: OnceLock<(tokenizers::Tokenizer, Vec<u8>)> = OnceLock::new();
    BERT.get_or_init(|| {
        let oracle = oracle(&bert_vocabulary(), uncased());
        let tables = tables_of(&oracle);
        (oracle, tables)
    })
}

pub fn tables_of(oracle: &tokenizers::Tokenizer) -> Vec<u8> {
    tables_from(oracle, Path::new("test")).expect("a BERT tokenizer")
}

/// All pieces of a text.
pub fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<Piece> {
    let mut out = vec![Piece::default(); text.len() * 3 + 1];
    let count = tokenizer.pieces(text, &mut out);
    assert_eq!(
        count.kept, count.total,
        "{text:?} has more pieces than thrice its bytes"
    );
    out.truncate(count.kept);
    out
}

/// What the real tokenizer gives, in our form.
pub fn expected(encoding: &tokenizers::Encoding) -> Vec<Piece> {
    let pieces = encoding.get_ids().iter().zip(encoding.get_offsets());
    pieces
        .map(|(&id, &(start, end))| Piece {
            id,
            start: start as u32,
            end: end as u32,
        })
        .collect()
}
