//! BERT once more, in f64 and in candle's own operations, whose backward pass is candle's: slow, and the judge of the
//! fused ops. Only dropout's masks come from the code under test, as constants.

use std::collections::HashMap;

use berth_checkpoint::Config;
use berth_trainer::batches::Batch;
use berth_trainer::kernels::dropout::Dropout;
use berth_trainer::model::Bert;
use berth_trainer::ops::{Pass, Site};
use candle_core::{D, Device, Result, Tensor, Var};

/// The parameters of a model, in f64, by name.
pub struct Reference {
    pub vars: HashMap<String, Var>,
    config: Config,
}

impl Reference {
    pub fn of(model: &Bert, config: &Config) -> Self {
        let var = |p: &std::sync::Arc<berth_trainer::ops::Parameter>| {
            let values: Vec<f64> = p.values().iter().map(|x| f64::from(*x)).collect();
            let var = Var::from_vec(values, p.shape(), &Device::Cpu).unwrap();
            (p.name().to_owned(), var)
        };
        Self {
            vars: model.parameters().iter().map(var).collect(),
            config: config.clone(),
        }
    }

    /// Logits of a sequence classifier, `[sequences, outputs]`. As in the model, the last layer goes on with the first
    /// row of each sequence after the attention.
    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let config = &self.config;
        let mut x = self.embeddings(batch, pass)?;
        for i in 0..config.num_hidden_layers {
            let at = format!("bert.encoder.layer.{i}");
            let mut context = self.attention(&x, &at, i, pass)?;
            if i + 1 == config.num_hidden_layers {
                let firsts: Vec<u32> = pass
                    .packing
                    .firsts()
                    .iter()
                    .map(|&row| row as u32)
                    .collect();
                let firsts = Tensor::new(firsts, &Device::Cpu)?;
                context = context.index_select(&firsts, 0)?;
                x = x.index_select(&firsts, 0)?;
            }
            let p = config.hidden_dropout_prob;
            let out = self.dense(&context, &format!("{at}.attention.output.dense"))?;
            let out = masked(&out, pass.dropout(p, Site::AttentionOutput(i)))?;
            x = self.norm(&(out + &x)?, &format!("{at}.attention.output.LayerNorm"))?;
            let inner = self
                .dense(&x, &format!("{at}.intermediate.dense"))?
                .gelu_erf()?;
            let out = self.dense(&inner, &format!("{at}.output.dense"))?;
            let out = masked(&out, pass.dropout(p, Site::FeedForwardOutput(i)))?;
            x = self.norm(&(out + &x)?, &format!("{at}.output.LayerNorm"))?;
        }
        let pooled = self.dense(&x, "bert.pooler.dense")?.tanh()?;
        let pooled = masked(
            &pooled,
            pass.dropout(config.head_dropout(), Site::Classifier),
        )?;
        self.dense(&pooled, "classifier")
    }

    /// Mean cross-entropy.
    pub fn loss(&self, logits: &Tensor, classes: &[i64]) -> Result<Tensor> {
        let columns = logits.dims2()?.1;
        let wanted: Vec<f64> = classes
            .iter()
            .flat_map(|&class| (0..columns as i64).map(move |j| f64::from(u8::from(j == class))))
            .collect();
        let wanted = Tensor::from_vec(wanted, logits.shape(), &Device::Cpu)?;
        let total = logits.exp()?.sum(1)?.log()?;
        (total - (logits * wanted)?.sum(1)?)?.mean_all()
    }

    fn embeddings(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let rows = |name: &str, of: fn(&berth_trainer::kernels::embed::Token) -> u32| {
            let indices: Vec<u32> = batch.tokens.iter().map(of).collect();
            let table = &self.vars[&format!("bert.embeddings.{name}.weight")];
            table.index_select(&Tensor::new(indices, &Device::Cpu)?, 0)
        };
        let words = rows("word_embeddings", |t| t.word)?;
        let positions = rows("position_embeddings", |t| t.position)?;
        let kinds = rows("token_type_embeddings", |t| t.kind)?;
        let x = self.norm(
            &((words + positions)? + kinds)?,
            "bert.embeddings.LayerNorm",
        )?;
        masked(
            &x,
            pass.dropout(self.config.hidden_dropout_prob, Site::Embeddings),
        )
    }

    fn attention(&self, x: &Tensor, at: &str, layer: usize, pass: &Pass) -> Result<Tensor> {
        let heads = self.config.num_attention_heads;
        let size = self.config.hidden_size / heads;
        let part = |name: &str| self.dense(x, &format!("{at}.attention.self.{name}"));
        let (q, k, v) = (part("query")?, part("key")?, part("value")?);
        let dropout = pass.dropout(
            self.config.attention_probs_dropout_prob,
            Site::Attention(layer),
        );
        let mut sequences = Vec::new();
        for (index, bounds) in pass.packing.starts().windows(2).enumerate() {
            let (start, n) = (bounds[0], bounds[1] - bounds[0]);
            let mut columns = Vec::new();
            for head in 0..heads {
                let cut = |t: &Tensor| {
                    t.narrow(0, start, n)?
                        .narrow(1, head * size, size)?
                        .contiguous()
                };
                let scores = (cut(&q)?.matmul(&cut(&k)?.t()?)? / (size as f64).sqrt())?;
                let exps = scores.exp()?;
                let p = exps.broadcast_div(&exps.sum_keepdim(1)?)?;
                let mask = if dropout.is_off() {
                    dropout
                } else {
                    dropout.part(index * heads + head)
                };
                columns.push(masked(&p, mask)?.matmul(&cut(&v)?)?);
            }
            sequences.push(Tensor::cat(&columns, 1)?);
        }
        Tensor::cat(&sequences, 0)
    }

    fn dense(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.vars[&format!("{name}.weight")].t()?;
        x.matmul(&weight)?
            .broadcast_add(&self.vars[&format!("{name}.bias")])
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + self.config.layer_norm_eps)?.sqrt()?;
        x.broadcast_div(&deviation)?
            .broadcast_mul(&self.vars[&format!("{name}.weight")])?
            .broadcast_add(&self.vars[&format!("{name}.bias")])
    }
}

/// Times the mask's factors.
fn masked(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    let factors: Vec<f64> = (0..x.elem_count() as u32)
        .map(|i| f64::from(dropout.factor(i)))
        .collect();
    x * Tensor::from_vec(factors, x.shape(), &Device::Cpu)?
}
