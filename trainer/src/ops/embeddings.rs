//! The embeddings: `y = dropout(norm(word[id] + position[p] + kind[k]))`, a row for each token.
//!
//! The word table is the op's argument, so that candle's graph has a variable to begin with. The tables' gradients
//! have only the rows that the batch's tokens take.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{LayerNorm, Parameter, Pass, Saved, Site, read, slice};
use crate::kernels::dropout::Dropout;
use crate::kernels::embed::{self, Tables, Token};
use crate::kernels::workspace::Buffer;

/// The embeddings' parameters.
pub struct Embeddings {
    /// `word_embeddings.weight`, `[vocabulary, hidden]`
    pub word: Arc<Parameter>,
    /// `position_embeddings.weight`, `[positions, hidden]`
    pub position: Arc<Parameter>,
    /// `token_type_embeddings.weight`, `[types, hidden]`
    pub kind: Arc<Parameter>,
    /// `LayerNorm`
    pub norm: LayerNorm,
    /// Probability of dropout.
    pub dropout: f64,
}

impl Embeddings {
    /// `[tokens, hidden]`
    ///
    /// # Errors
    /// If a token asks for a row that its table does not have.
    pub fn forward(self: &Arc<Self>, tokens: Vec<Token>, pass: &Pass) -> Result<Tensor> {
        let tables = [
            (&self.word, "word"),
            (&self.position, "position"),
            (&self.kind, "token type"),
        ];
        for (place, token) in tokens.iter().enumerate() {
            for ((table, name), row) in tables.iter().zip([token.word, token.position, token.kind])
            {
                let rows = table.shape()[0];
                if row as usize >= rows {
                    bail!(
                        "token {place} of the batch has {name} {row}, but the table has {rows} rows"
                    );
                }
            }
        }
        let dropout = pass.dropout(self.dropout, Site::Embeddings);
        let op = Op {
            weights: self.clone(),
            tokens,
            pass: pass.clone(),
            dropout,
            sum: Saved::empty(),
        };
        self.word.tensor(pass.masks.is_some()).apply_op1(op)
    }
}

struct Op {
    weights: Arc<Embeddings>,
    tokens: Vec<Token>,
    pass: Pass,
    dropout: Dropout,
    sum: Saved<Buffer>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "embeddings"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self {
            weights,
            tokens,
            pass,
            ..
        } = self;
        let width = weights.norm.weight.len();
        let mut sum = pass.workspace.take(tokens.len() * width);
        let mut y = vec![0.0; tokens.len() * width];
        let word = slice(storage, layout)?;
        let tables = Tables {
            word,
            position: &weights.position.values(),
            kind: &weights.kind.values(),
        };
        weights.norm.with(|norm| {
            embed::forward(
                pass.isa,
                tables,
                norm,
                self.dropout,
                tokens,
                &mut sum,
                &mut y,
            )
        });
        self.sum.put(sum);
        Ok((CpuStorage::F32(y), (tokens.len(), width).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Self {
            weights,
            tokens,
            pass,
            ..
        } = self;
        let width = weights.norm.weight.len();
        let sum = self.sum.take()?;
        let mut dsum = pass.workspace.take(sum.len());
        let sums = read(dy, |dy| {
            Ok(weights
                .norm
                .with(|norm| embed::backward(pass.isa, norm, self.dropout, &sum, dy, &mut dsum)))
        })?;
        weights.norm.weight.add_values(sums.part(0));
        weights.norm.bias.add_values(sums.part(1));
        let scatter = |table: &Parameter, row: fn(&Token) -> u32| {
            table.add_rows(tokens.iter().map(row), |places, values| {
                embed::scatter(pass.isa, width, places, &dsum, values)
            });
        };
        rayon::join(
            || scatter(&weights.word, |token| token.word),
            || {
                scatter(&weights.position, |token| token.position);
                scatter(&weights.kind, |token| token.kind);
            },
        );
        Ok(None)
    }
}
