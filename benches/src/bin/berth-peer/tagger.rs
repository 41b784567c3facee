//! A tagging bundle with the encoder of a classifier's: its head is random, since only its cost counts.

use std::error::Error;
use std::path::Path;

use berth_bundle::{AlignedBytes, Bundle, Head, Header, LayerWeights, Writer};
use berth_task::{Labels, Task};

/// As many tags as Universal Dependencies has parts of speech.
const TAGS: usize = 17;

/// Writes to `out` the encoder, the tokenizer and the name of the bundle at `classifier`, with a head
/// that reads every row.
pub fn write(classifier: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = AlignedBytes::copy_of(&std::fs::read(classifier)?);
    let bundle = Bundle::open(&bytes)?;
    let header = bundle.header();
    let mut shape = header.shape;
    shape.outputs = TAGS as u32;
    let names: Vec<String> = (0..TAGS).map(|tag| format!("tag-{tag:02}")).collect();
    let labels = Labels::of(names.iter().map(String::as_str))?;
    let mut tagger = Header::new(shape, Task::TokenClassification, labels, header.max_tokens);
    tagger.provenance = header.provenance.clone();

    let mut writer = Writer::new(tagger)?;
    writer.embeddings(&bundle.embeddings())?;
    for layer in 0..shape.layers as usize {
        match bundle.layer(layer) {
            LayerWeights::Int8(layer) => writer.layer(&layer)?,
            LayerWeights::F32(layer) => writer.layer_f32(&layer)?,
        }
    }
    let weight: Vec<f32> = (0..TAGS * shape.width() as usize).map(scattered).collect();
    writer.head(&Head {
        pooler: None,
        weight: &weight,
        bias: &[0.0; TAGS],
    })?;
    writer.tokenizer(bundle.tokenizer())?;
    writer.training(&[])?;
    writer.write(out)?;
    Ok(())
}

/// Numbers between -0.05 and 0.05 without order (Knuth's multiplicative hash).
fn scattered(index: usize) -> f32 {
    let hash = (index as u32).wrapping_mul(2_654_435_761);
    (f64::from(hash) / f64::from(u32::MAX) * 0.1 - 0.05) as f32
}
