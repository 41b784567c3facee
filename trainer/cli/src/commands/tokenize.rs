//! `berth tokenize`: the ids, pieces and offsets of a text, as the device sees it.

use super::{print, utf8};
use crate::args::TokenizeArgs;
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_wordpiece::{EncodeError, Piece, Tokenizer};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;

/// Tokenizes the text, or every line of standard input.
pub fn run(args: &TokenizeArgs) -> Result<(), Error> {
    let path = bundle_path(&args.bundle)?;
    let model = berth_runtime::Model::open_verified(&path)?;
    let failed = |error: EncodeError| match error {
        EncodeError::Limit { .. } => Error::Usage(format!("--max_seq_length: {error}")),
        error => Error::Path {
            path: path.clone(),
            what: error.to_string(),
        },
    };
    let tokenizer = model.tokenizer();
    let limit = args.max_seq_length.map(|limit| limit as usize);
    let one = |text: &str, pair: Option<&str>| -> Result<(), Error> {
        let pieces = encode(tokenizer, text, pair, limit).map_err(&failed)?;
        let tokenized = Tokenized {
            tokenizer,
            pieces: &pieces,
        };
        match args.json {
            true => tokenized
                .write_json(io::stdout().lock())
                .map_err(Error::Output),
            false => print(tokenized.as_table()),
        }
    };
    if let Some(text) = &args.text {
        return one(text, args.pair.as_deref());
    }
    let input = Path::new("standard input");
    for (number, line) in (1..).zip(io::stdin().lock().split(b'\n')) {
        let line = line.map_err(|source| Error::file(input, source))?;
        let line = utf8(input, number, line)?;
        one(line.strip_suffix('\r').unwrap_or(&line), None)?;
    }
    Ok(())
}

fn encode(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    pair: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Piece>, EncodeError> {
    // A character gives at most a few pieces; what is counted first is what fits afterwards.
    let total = |text: &str| tokenizer.pieces(text, &mut []).total;
    let whole = total(text) + pair.map_or(0, total) + 3;
    let limit = limit.map_or(whole, |limit| limit.min(whole));
    let mut pieces = vec![Piece::default(); 2 * limit];
    let encoding = tokenizer.encode(text, pair, limit, &mut pieces)?;
    pieces.truncate(encoding.len);
    Ok(pieces)
}

/// What a text is cut into. A line may be long, and what is told of each of its bytes is longer: as JSON it is written
/// as it is made.
struct Tokenized<'a> {
    tokenizer: &'a Tokenizer<'a>,
    pieces: &'a [Piece],
}

impl Tokenized<'_> {
    /// On one line.
    fn write_json(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    fn as_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .pieces
            .iter()
            .map(|piece| {
                let range = format!("{}..{}", piece.start, piece.end);
                vec![name(self.tokenizer, piece.id), piece.id.to_string(), range]
            })
            .collect();
        show::table(&["piece", "id", "bytes"], &rows).to_string()
    }
}

impl Serialize for Tokenized<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Tokenized { tokenizer, pieces } = *self;
        let ids = || pieces.iter().map(|piece| piece.id);
        let tokens = || pieces.iter().map(move |piece| name(tokenizer, piece.id));
        let offsets = || pieces.iter().map(|piece| [piece.start, piece.end]);
        let mut object = serializer.serialize_struct("Tokenized", 3)?;
        object.serialize_field("ids", &List(ids))?;
        object.serialize_field("tokens", &List(tokens))?;
        object.serialize_field("offsets", &List(offsets))?;
        object.end()
    }
}

/// A list that is made while it is written.
struct List<F>(F);

impl<F, I> Serialize for List<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// The text of a piece; empty where it has none.
fn name(tokenizer: &Tokenizer<'_>, id: u32) -> String {
    let text = tokenizer.piece_text(id);
    text.map(|text| text.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tokens_and_offsets_stand_on_one_line() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/sentiment/sentiment.berth"
        );
        let model = berth_runtime::Model::open(path).unwrap();
        let tokenizer = model.tokenizer();
        let json = |text: &str, pair: Option<&str>| {
            let pieces = encode(tokenizer, text, pair, None).unwrap();
            let tokenized = Tokenized {
                tokenizer,
                pieces: &pieces,
            };
            let mut out = Vec::new();
            tokenized.write_json(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            json(r#""café" \ unaffable"#, None),
            concat!(
                r#"{"ids":[101,1000,7668,1000,1032,14477,20961,3468,102],"#,
                r###""tokens":["[CLS]","\"","cafe","\"","\\","una","##ffa","##ble","[SEP]"],"###,
                r#""offsets":[[0,0],[0,1],[1,6],[6,7],[8,9],[10,13],[13,16],[16,19],[0,0]]}"#,
                "\n"
            )
        );
        assert_eq!(
            json("", Some("a")),
            concat!(
                r#"{"ids":[101,102,1037,102],"tokens":["[CLS]","[SEP]","a","[SEP]"],"#,
                r#""offsets":[[0,0],[0,0],[0,1],[0,0]]}"#,
                "\n"
            )
        );
    }
}
