//! AdamW over all parameters of a model.
//!
//! Two groups: weights decay, biases and layer norms don't. The moments of all parameters lie in one flat buffer
//! each, in the order of the names. A row of an embedding table that no batch has touched yet has zero moments, and
//! its update is the decay alone; that is exact, and spares reading and writing most of the vocabulary.

use std::ops::Range;
use std::sync::Arc;

use crate::kernels::adamw::{Betas, RowGradient, Update};
use crate::kernels::isa::Isa;
use crate::ops::Parameter;
use crate::ops::parameter::Gradient;

/// The optimizer and its state.
pub struct AdamW {
    members: Vec<Member>,
    first: Vec<f32>,
    second: Vec<f32>,
    betas: Betas,
    weight_decay: f64,
    steps: u64,
}

struct Member {
    parameter: Arc<Parameter>,
    /// Its place in the moments.
    range: Range<usize>,
    decays: bool,
    /// Of a table, the rows that have had a gradient.
    touched: Vec<bool>,
}

/// What a moment is called in a file, after its parameter's name and a dot.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

impl AdamW {
    /// For parameters in the order of their names.
    pub fn new(parameters: &[Arc<Parameter>], betas: Betas, weight_decay: f64) -> Self {
        let mut end = 0;
        let members = parameters.iter().map(|parameter| {
            let start = end;
            end += parameter.len();
            let rows = match &*parameter.gradient() {
                Gradient::Rows { .. } => parameter.shape()[0],
                Gradient::Dense { .. } => 0,
            };
            Member {
                parameter: parameter.clone(),
                range: start..end,
                decays: decays(parameter.name()),
                touched: vec![false; rows],
            }
        });
        let members: Vec<Member> = members.collect();
        Self {
            members,
            first: vec![0.0; end],
            second: vec![0.0; end],
            betas,
            weight_decay,
            steps: 0,
        }
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The parameters that no op has given a gradient.
    pub fn without_gradient(&self) -> Vec<&str> {
        let missing = |member: &&Member| !member.parameter.gradient().is_filled();
        self.members
            .iter()
            .filter(missing)
            .map(|member| member.parameter.name())
            .collect()
    }

    /// The L2 norm of all gradients together.
    pub fn gradient_norm(&self, isa: Isa) -> f64 {
        let squares = self
            .members
            .iter()
            .map(|member| member.parameter.gradient().sum_of_squares(isa));
        squares.sum::<f64>().sqrt()
    }

    /// Moves every parameter along its gradient times `scale`, and clears the gradients.
    ///
    /// # Errors
    /// Those of candle, if a parameter can't be written to.
    pub fn step(&mut self, isa: Isa, learning_rate: f64, scale: f64) -> candle_core::Result<()> {
        self.steps += 1;
        for member in &mut self.members {
            let decay = if member.decays {
                self.weight_decay
            } else {
                0.0
            };
            let update = Update::new(self.betas, learning_rate, decay, self.steps, scale as f32);
            let (m, v) = (
                &mut self.first[member.range.clone()],
                &mut self.second[member.range.clone()],
            );
            member.step(isa, update, m, v)?;
        }
        Ok(())
    }

    /// The moments, each with a name, its parameter's shape and its numbers, to be saved.
    pub fn moments(&self) -> Vec<(String, &[usize], &[f32])> {
        let both = MOMENTS.into_iter().zip([&self.first, &self.second]);
        both.flat_map(|(moment, values)| {
            self.members.iter().map(
                move |Member {
                          parameter, range, ..
                      }| {
                    let name = format!("{}.{moment}", parameter.name());
                    (name, parameter.shape(), &values[range.clone()])
                },
            )
        })
        .collect()
    }

    /// Goes on after `steps` updates with the moments that `load` writes into the place it is given, by name.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn restore<E>(
        &mut self,
        steps: u64,
        load: impl Fn(&str, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.steps = steps;
        for Member {
            parameter,
            range,
            touched,
            ..
        } in &mut self.members
        {
            let name = |moment| format!("{}.{moment}", parameter.name());
            load(&name(MOMENTS[0]), &mut self.first[range.clone()])?;
            load(&name(MOMENTS[1]), &mut self.second[range.clone()])?;
            let width = range.len() / touched.len().max(1);
            for (row, touched) in touched.iter_mut().enumerate() {
                let moments = range.start + row * width..range.start + (row + 1) * width;
                let zero = |moment: &[f32]| moment[moments.clone()].iter().all(|&x| x == 0.0);
                *touched = !(zero(&self.first) && zero(&self.second));
            }
        }
        Ok(())
    }
}

impl Member {
    fn step(
        &mut self,
        isa: Isa,
        update: Update,
        m: &mut [f32],
        v: &mut [f32],
    ) -> candle_core::Result<()> {
        let mut gradient = self.parameter.gradient();
        match &*gradient {
            Gradient::Dense { filled: false, .. } => return Ok(()),
            Gradient::Dense { values, .. } => self
                .parameter
                .update(|p| update.apply(isa, p, values, m, v))?,
            Gradient::Rows {
                width,
                rows,
                slots,
                values,
            } => {
                rows.iter()
                    .for_each(|&row| self.touched[row as usize] = true);
                let gradient = |row: usize| match slots.get(&(row as u32)) {
                    _ if !self.touched[row] => RowGradient::NeverAny,
                    Some(&slot) => RowGradient::Some(&values[slot as usize * width..][..*width]),
                    None => RowGradient::Zero,
                };
                self.parameter
                    .update(|p| update.apply_rows(isa, *width, p, m, v, gradient))?;
            }
        }
        gradient.clear();
        Ok(())
    }
}

/// Whether a parameter is pulled towards zero.
fn decays(name: &str) -> bool {
    !(name.ends_with("bias") || name.contains("LayerNorm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gemm::Write;
    use crate::kernels::testing::numbers;

    const BETAS: Betas = Betas {
        first: 0.9,
        second: 0.999,
        eps: 1e-8,
    };

    /// The same numbers as a table, whose rows are updated one by one, and as a dense weight.
    fn pair() -> [Arc<Parameter>; 2] {
        let data = numbers(6 * 5, 1);
        [
            Parameter::dense("a.weight", &[6, 5], data.clone()).unwrap(),
            Parameter::table("b.weight", &[6, 5], data).unwrap(),
        ]
    }

    /// Gives both parameters the same gradient: `rows` from `numbers(seed)`, the others zero.
    fn add(pair: &[Arc<Parameter>; 2], rows: &[u32], seed: u64) {
        let values = numbers(rows.len() * 5, seed);
        let mut all = [0.0; 30];
        for (row, values) in rows.iter().zip(values.chunks(5)) {
            all[*row as usize * 5..][..5]
                .iter_mut()
                .zip(values)
                .for_each(|(sum, x)| *sum += x);
        }
        pair[0].add_values(&all);
        pair[1].add_rows(rows.iter().copied(), |places, sums| {
            for (place, values) in places.iter().zip(values.chunks(5)) {
                sums[*place as usize * 5..][..5]
                    .iter_mut()
                    .zip(values)
                    .for_each(|(sum, x)| *sum += x);
            }
        });
    }

    fn run(pair: &[Arc<Parameter>; 2], optimizer: &mut AdamW, steps: std::ops::Range<u64>) {
        for step in steps {
            add(pair, &[[1, 3, 1], [3, 5, 0]][step as usize % 2], step);
            optimizer.step(Isa::best(), 1e-2, 0.7).unwrap();
        }
    }

    #[test]
    fn updating_touched_rows_only_is_exact() {
        let pair = pair();
        let mut optimizer = AdamW::new(&pair, BETAS, 0.1);
        run(&pair, &mut optimizer, 0..6);
        assert_eq!(pair[0].values()[..], pair[1].values()[..]);
        let moments = optimizer.moments();
        assert_eq!(moments[0].0, "a.weight.exp_avg");
        assert_eq!(moments[0].2, moments[1].2);
        assert_eq!(moments[2].2, moments[3].2);
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let [whole, parts] = [pair(), pair()];
        let mut optimizer = AdamW::new(&whole, BETAS, 0.1);
        run(&whole, &mut optimizer, 0..6);

        let mut first = AdamW::new(&parts, BETAS, 0.1);
        run(&parts, &mut first, 0..3);
        let mut second = AdamW::new(&parts, BETAS, 0.1);
        let load = |name: &str, place: &mut [f32]| {
            let moments = first.moments();
            let (.., values) = moments.iter().find(|(found, ..)| found == name).ok_or(())?;
            place.copy_from_slice(values);
            Ok::<(), ()>(())
        };
        second.restore(first.steps(), load).unwrap();
        run(&parts, &mut second, 3..6);
        for (a, b) in whole.iter().zip(&parts) {
            assert_eq!(a.values()[..], b.values()[..]);
        }
    }

    #[test]
    fn biases_and_norms_do_not_decay() {
        assert!(decays("classifier.weight") && decays("bert.embeddings.word_embeddings.weight"));
        assert!(!decays("classifier.bias") && !decays("bert.embeddings.LayerNorm.weight"));
        let names = ["x.weight", "x.bias"];
        let parameters = names.map(|name| Parameter::dense(name, &[1], vec![1.0]).unwrap());
        let mut optimizer = AdamW::new(&parameters, BETAS, 0.5);
        assert_eq!(optimizer.without_gradient(), names);
        parameters.iter().for_each(|p| {
            p.add_gradient(|g, write| {
                assert_eq!(write, Write::Over);
                g.fill(0.0);
            })
        });
        assert!(optimizer.without_gradient().is_empty());
        optimizer.step(Isa::best(), 0.1, 1.0).unwrap();
        assert_eq!(parameters.each_ref().map(|p| p.values()[0]), [0.95, 1.0]);
    }

    #[test]
    fn the_norm_is_of_all_gradients_together() {
        let pair = pair();
        pair[0].add_values(&[3.0; 30]);
        pair[1].add_rows([2].into_iter(), |_, values| values.fill(4.0));
        let norm = AdamW::new(&pair, BETAS, 0.0).gradient_norm(Isa::best());
        assert!((norm - (30.0 * 9.0 + 5.0 * 16.0f64).sqrt()).abs() < 1e-5);
    }
}
