//! Writes the corpora that fuzzing begins with, a folder for each target, and `uncased.tables`, the
//! tables of bert-base-uncased, into the folder that is named.
//!
//! ```sh
//! cargo run -p berth-fuzz --example seeds -- target/fuzz/corpus
//! ```

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("name a folder")?;
    let folder = Path::new(&folder);
    for (target, inputs) in berth_fuzz::seeds() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), input)?;
        }
    }
    texts(&folder.join("text"))?;
    fs::write(folder.join("uncased.tables"), tables()?)?;
    Ok(())
}

/// The texts of the golden vectors, each behind a limit, a stride, a choice and a place to part it.
fn texts(folder: &Path) -> Result<(), Box<dyn Error>> {
    let golden = fs::read(golden("tricky_bert_base_uncased.json"))?;
    let golden: serde_json::Value = serde_json::from_slice(&golden)?;
    let mut texts = Vec::new();
    strings(&golden, &mut texts);
    for (number, text) in texts.iter().take(500).enumerate() {
        let head = [24, 3, number as u8, (text.len() / 2) as u8];
        let input = [&head[..], text.as_bytes()].concat();
        fs::write(folder.join(format!("golden-{number:03}")), input)?;
    }
    Ok(())
}

/// Every text under the name `input`, wherever it stands.
fn strings(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value {
                    serde_json::Value::String(text) if name == "input" => found.push(text.clone()),
                    value => strings(value, found),
                }
            }
        }
        _ => (),
    }
}

fn tables() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut vocabulary = String::new();
    GzDecoder::new(fs::File::open(golden("vocab.txt.gz"))?).read_to_string(&mut vocabulary)?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("vocab.txt"), vocabulary)?;
    Ok(berth_checkpoint::tokenizer::tables(folder.path())?)
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../golden/tokenizer")
        .join(name)
}
