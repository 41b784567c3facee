//! `berth tokenize`: the ids, pieces and offsets of a text, as the device sees it.

use super::{print, utf8};
use crate::args::TokenizeArgs;
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_wordpiece::{EncodeError, Piece, Tokenizer};
use serde_json::json;
use std::io::BufRead;
use std::path::Path;

/// Tokenizes the text, or every line of standard input.
pub fn run(args: &TokenizeArgs) -> Result<(), Error> {
    let path = bundle_path(&args.bundle)?;
    let model = berth_runtime::Model::open_verified(&path)?;
    let failed = |error: EncodeError| match error {
        EncodeError::Limit { .. } => Error::Usage(format!("--max_seq_length: {error}")),
        error => Error::Model {
            path: path.clone(),
            what: error.to_string(),
        },
    };
    let tokenizer = model.tokenizer();
    let limit = args.max_seq_length.map(|limit| limit as usize);
    let one = |text: &str, pair: Option<&str>| -> Result<(), Error> {
        let rows = encode(tokenizer, text, pair, limit).map_err(&failed)?;
        print(if args.json {
            as_json(&rows)
        } else {
            as_table(&rows)
        })
    };
    if let Some(text) = &args.text {
        return one(text, args.pair.as_deref());
    }
    let input = Path::new("standard input");
    for (number, line) in (1..).zip(std::io::stdin().lock().split(b'\n')) {
        let line = line.map_err(|source| Error::file(input, source))?;
        let line = utf8(input, number, line)?;
        one(line.strip_suffix('\r').unwrap_or(&line), None)?;
    }
    Ok(())
}

/// A piece and its text.
type Row = (Piece, String);

fn encode(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    pair: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Row>, EncodeError> {
    // A character gives at most a few pieces; what is counted first is what fits afterwards.
    let total = |text: &str| tokenizer.pieces(text, &mut []).total;
    let whole = total(text) + pair.map_or(0, total) + 3;
    let limit = limit.map_or(whole, |limit| limit.min(whole));
    let mut pieces = vec![Piece::default(); 2 * limit];
    let encoding = tokenizer.encode(text, pair, limit, &mut pieces)?;
    pieces.truncate(encoding.len);
    let named = pieces.into_iter().map(|piece| {
        let name = tokenizer.piece_text(piece.id).map(|text| text.to_string());
        (piece, name.unwrap_or_default())
    });
    Ok(named.collect())
}

fn as_json(rows: &[Row]) -> String {
    let ids: Vec<u32> = rows.iter().map(|(piece, _)| piece.id).collect();
    let tokens: Vec<&str> = rows.iter().map(|(_, name)| name.as_str()).collect();
    let offsets: Vec<[u32; 2]> = rows
        .iter()
        .map(|(piece, _)| [piece.start, piece.end])
        .collect();
    json!({"ids": ids, "tokens": tokens, "offsets": offsets}).to_string()
}

fn as_table(rows: &[Row]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(piece, name)| {
            let range = format!("{}..{}", piece.start, piece.end);
            vec![name.clone(), piece.id.to_string(), range]
        })
        .collect();
    show::table(&["piece", "id", "bytes"], &rows).to_string()
}
