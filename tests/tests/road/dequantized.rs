//! A bundle's int8 weights as plain numbers, for the reference to compute with.
//!
//! What then still differs between the reference and the device is what the device does to
//! activations: the quantization of weights is taken out of the comparison.

use berth_bundle::Bundle;
use berth_kernels::{LANES, Linear, Norm};
use berth_tests::naive::{Bert, Dimensions, Matrix, Named};

/// Inputs of one output that stand side by side in packed weights.
const GROUP: usize = 4;

/// The reference model with a bundle's weights.
pub fn reference(bundle: &Bundle<'_>) -> Bert {
    let shape = bundle.header().shape;
    let mut tensors = Tensors(Named::new());
    tensors.embeddings(bundle);
    for layer in 0..shape.layers as usize {
        tensors.layer(bundle, layer);
    }
    tensors.head(bundle);
    let dimensions = Dimensions {
        layers: shape.layers as usize,
        heads: shape.heads as usize,
        norm_eps: f64::from(shape.norm_eps),
    };
    Bert {
        tensors: tensors.0,
        dimensions,
    }
}

struct Tensors(Named);

impl Tensors {
    fn embeddings(&mut self, bundle: &Bundle<'_>) {
        let from = bundle.embeddings();
        let hidden = bundle.header().shape.hidden as usize;
        let name = |table: &str| format!("bert.embeddings.{table}_embeddings.weight");
        self.0
            .insert(name("word"), rows(from.word, from.word_scale, hidden));
        self.0.insert(
            name("position"),
            rows(from.position, from.position_scale, hidden),
        );
        let types = [from.kind.len() / hidden, hidden];
        self.0
            .insert(name("token_type"), Matrix::from_tensor(&types, from.kind));
        self.norm("bert.embeddings.LayerNorm", from.norm);
    }

    fn layer(&mut self, bundle: &Bundle<'_>, index: usize) {
        let from = bundle.layer(index).int8().expect("a layer in int8");
        let shape = bundle.header().shape;
        let hidden = shape.hidden as usize;
        let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let (weight, bias) = dense(from.qkv);
        let head = f64::from(shape.hidden / shape.heads);
        // The query carries the factor that turns scores into exponents of two.
        let folded = std::f64::consts::LOG2_E / head.sqrt();
        for (third, (part, factor)) in [("query", folded), ("key", 1.0), ("value", 1.0)]
            .iter()
            .enumerate()
        {
            let of = |whole: &Matrix, columns: usize| {
                let part = &whole.data[third * hidden * columns..][..hidden * columns];
                part.iter().map(|x| x / factor).collect::<Vec<_>>()
            };
            let name = name(&format!("attention.self.{part}"));
            let weight = Matrix::new(hidden, hidden, of(&weight, hidden));
            let bias = Matrix::new(1, hidden, of(&bias, 1));
            self.0.insert(format!("{name}.weight"), weight);
            self.0.insert(format!("{name}.bias"), bias);
        }
        self.dense(&name("attention.output.dense"), from.attention_out);
        self.norm(&name("attention.output.LayerNorm"), from.attention_norm);
        self.dense(&name("intermediate.dense"), from.up);
        self.dense(&name("output.dense"), from.down);
        self.norm(&name("output.LayerNorm"), from.output_norm);
    }

    fn head(&mut self, bundle: &Bundle<'_>) {
        let from = bundle.head();
        let outputs = from.bias.len();
        self.dense(
            "bert.pooler.dense",
            from.pooler.expect("a head on the first row"),
        );
        let weight = Matrix::from_tensor(&[outputs, from.weight.len() / outputs], from.weight);
        self.0.insert("classifier.weight".to_owned(), weight);
        let bias = Matrix::from_tensor(&[outputs], from.bias);
        self.0.insert("classifier.bias".to_owned(), bias);
    }

    fn dense(&mut self, name: &str, from: Linear<'_>) {
        let (weight, bias) = dense(from);
        self.0.insert(format!("{name}.weight"), weight);
        self.0.insert(format!("{name}.bias"), bias);
    }

    fn norm(&mut self, name: &str, from: Norm<'_>) {
        let vector = |values: &[f32]| Matrix::from_tensor(&[values.len()], values);
        self.0.insert(format!("{name}.weight"), vector(from.weight));
        self.0.insert(format!("{name}.bias"), vector(from.bias));
    }
}

/// Quantized rows, each with its scale.
fn rows(values: &[i8], scales: &[f32], columns: usize) -> Matrix {
    let scaled = values
        .chunks(columns)
        .zip(scales)
        .flat_map(|(row, scale)| row.iter().map(|q| f64::from(*q) * f64::from(*scale)));
    Matrix::new(scales.len(), columns, scaled.collect())
}

/// Weight and bias of a dense layer, from `packed[output / 16][input / 4][output % 16][input % 4]`.
fn dense(from: Linear<'_>) -> (Matrix, Matrix) {
    let groups = from.inputs.div_ceil(GROUP);
    let mut weight = Matrix::zeros(from.outputs, from.inputs);
    for output in 0..from.outputs {
        for input in 0..from.inputs {
            let group = output / LANES * groups + input / GROUP;
            let q = from.weights[(group * LANES + output % LANES) * GROUP + input % GROUP];
            weight.row_mut(output)[input] = f64::from(q) * f64::from(from.scale[output]);
        }
    }
    (
        weight,
        Matrix::from_tensor(&[from.outputs], &from.bias[..from.outputs]),
    )
}
