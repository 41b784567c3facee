//! The embeddings: `y = dropout(norm(word[id] + position[p] + kind[k]))`, a row for each token.
//!
//! The tables' gradients have only the rows that the batch's tokens take.

use std::sync::Arc;

use candle_core::{Result, bail};

use super::{LayerNorm, Parameter, Pass, Site};
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
    /// Checks that every token's rows are there.
    ///
    /// # Errors
    /// Naming the first token that asks for a row that its table does not have.
    pub(crate) fn check(&self, tokens: &[Token]) -> Result<()> {
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
        Ok(())
    }

    /// `y`, and the sum that the norm reads, which the backward pass needs; a row for each token in both.
    pub(super) fn forward(&self, tokens: &[Token], pass: &Pass) -> (Buffer, Buffer) {
        let len = tokens.len() * self.norm.weight.len();
        let (mut sum, mut y) = (pass.workspace.take(len), pass.workspace.take(len));
        let tables = Tables {
            word: &self.word.values(),
            position: &self.position.values(),
            kind: &self.kind.values(),
        };
        let dropout = self.mask(pass);
        self.norm
            .with(|norm| embed::forward(pass.isa, tables, norm, dropout, tokens, &mut sum, &mut y));
        (y, sum)
    }

    /// `y` once more, from the sum that was kept.
    pub(super) fn again(&self, sum: &[f32], pass: &Pass) -> Buffer {
        let mut y = pass.workspace.take(sum.len());
        let dropout = self.mask(pass);
        self.norm
            .with(|norm| embed::again(pass.isa, norm, dropout, sum, &mut y));
        y
    }

    /// Adds to the parameters' gradients, from that of `y`.
    pub(super) fn backward(&self, tokens: &[Token], dy: Buffer, sum: Buffer, pass: &Pass) {
        let width = self.norm.weight.len();
        let mut dsum = pass.workspace.take(sum.len());
        let dropout = self.mask(pass);
        let sums = self
            .norm
            .with(|norm| embed::backward(pass.isa, norm, dropout, &sum, &dy, &mut dsum));
        self.norm.weight.add_values(sums.part(0));
        self.norm.bias.add_values(sums.part(1));
        let scatter = |table: &Parameter, row: fn(&Token) -> u32| {
            table.add_rows(tokens.iter().map(row), |places, values| {
                embed::scatter(pass.isa, width, places, &dsum, values)
            });
        };
        rayon::join(
            || scatter(&self.word, |token| token.word),
            || {
                scatter(&self.position, |token| token.position);
                scatter(&self.kind, |token| token.kind);
            },
        );
    }

    fn mask(&self, pass: &Pass) -> Dropout {
        pass.row_dropout(self.dropout, Site::Embeddings, self.norm.weight.len())
    }
}
