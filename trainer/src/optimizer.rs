//! AdamW over all parameters of a model.
//!
//! Two groups: weights decay, biases and layer norms don't. The moments of the dense parameters lie in one flat buffer
//! each, in the order of the names, and those of the embedding tables apart (`moments`): a row of a table that no
//! batch has touched yet has zero moments, and its update is the decay alone. That is exact, and spares memory for
//! most of the vocabulary. The saved state has them all, in the order of the names, those of fixed
//! parameters too.

mod moments;

use std::ops::Range;
use std::sync::Arc;

use berth_checkpoint::save::TensorParts;

use crate::device::{DeviceError, Engine, Numbers};
use crate::kernels::adamw::{Betas, Update};
use crate::kernels::isa::Isa;
use crate::ops::Parameter;
use crate::ops::parameter::Gradient;
use moments::RowMoments;

/// The optimizer and its state.
pub struct AdamW {
    members: Vec<Member>,
    flat: Flat,
    betas: Betas,
    weight_decay: f64,
    steps: u64,
    /// The device that has the gradients and the moments, if it is not the CPU.
    engine: Option<Arc<dyn Engine>>,
}

/// Both moments of the dense parameters.
type Flat = [Vec<f32>; 2];

struct Member {
    parameter: Arc<Parameter>,
    moments: Moments,
    decays: bool,
    /// Its learning rate over the run's; 0 for one that is fixed.
    rate: f64,
    /// What its moments are called in a file.
    names: [String; 2],
}

/// Where a parameter's moments are.
enum Moments {
    /// Here in [`Flat`].
    Dense(Range<usize>),
    /// A table's are here.
    Table(RowMoments),
}

/// What a device calls them.
const MOMENT_NUMBERS: [Numbers; 2] = [Numbers::FirstMoment, Numbers::SecondMoment];

/// What a moment is called in a file, after its parameter's name and a dot.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

impl AdamW {
    /// For parameters in the order of their names.
    pub fn new(parameters: &[Arc<Parameter>], betas: Betas, weight_decay: f64) -> Self {
        let mut end = 0;
        let members = parameters.iter().map(|parameter| {
            let rate = if parameter.is_fixed() { 0.0 } else { 1.0 };
            let moments = match &*parameter.gradient() {
                Gradient::Rows { width, .. } => {
                    Moments::Table(RowMoments::new(parameter.len() / (*width).max(1), *width))
                }
                Gradient::Dense { .. } => {
                    let start = end;
                    end += parameter.len();
                    Moments::Dense(start..end)
                }
                Gradient::Fixed => {
                    let width = parameter.shape().last().map_or(1, |&width| width.max(1));
                    Moments::Table(RowMoments::new(parameter.len() / width, width))
                }
            };
            Member {
                parameter: parameter.clone(),
                moments,
                decays: decays(parameter.name()),
                rate,
                names: MOMENTS.map(|moment| format!("{}.{moment}", parameter.name())),
            }
        });
        let members: Vec<Member> = members.collect();
        Self {
            members,
            flat: [0, 1].map(|_| vec![0.0; end]),
            betas,
            weight_decay,
            steps: 0,
            engine: None,
        }
    }

    /// Works on a device from now on, which has the parameters. The moments here are then those of the last
    /// [`AdamW::fetch`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn move_to(&mut self, engine: Arc<dyn Engine>) -> Result<(), DeviceError> {
        for (place, moment) in self.moments().into_iter().enumerate() {
            let (which, parameter) = (place / self.members.len(), place % self.members.len());
            let values: Vec<f32> = moment.parts.flatten().copied().collect();
            engine.write(MOMENT_NUMBERS[which], parameter, &values)?;
        }
        self.engine = Some(engine);
        Ok(())
    }

    /// Gets the moments from the device that has them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&mut self) -> Result<(), DeviceError> {
        let Some(engine) = self.engine.clone() else {
            return Ok(());
        };
        // In the order in which `restore` asks.
        let both = |i| MOMENT_NUMBERS.map(|numbers| (numbers, i));
        let mut asked = (0..self.members.len()).flat_map(both);
        self.restore(self.steps, |_, _| {
            let (numbers, parameter) = asked.next().expect("two moments a parameter");
            engine.read(numbers, parameter)
        })
    }

    /// Lets each layer learn at `decay` times the rate of the one above it: the head at the full rate, the last of
    /// `layers` at `decay` of it, the embeddings at `decay` to the power of `layers + 1`.
    pub fn slow_lower_layers(&mut self, decay: f64, layers: usize) {
        for member in &mut self.members {
            let below = depth_below_head(member.parameter.name(), layers);
            member.rate *= decay.powi(below as i32);
        }
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The parameters that no op has given a gradient.
    pub fn without_gradient(&self) -> Vec<&str> {
        if let Some(engine) = &self.engine {
            let missing = engine.without_gradient().into_iter();
            return missing.map(|i| self.members[i].parameter.name()).collect();
        }
        let missing = |member: &&Member| !member.parameter.gradient().is_filled();
        self.members
            .iter()
            .filter(missing)
            .map(|member| member.parameter.name())
            .collect()
    }

    /// The L2 norm of all gradients together.
    ///
    /// # Errors
    /// If the device that has them fails.
    pub fn gradient_norm(&self, isa: Isa) -> Result<f64, DeviceError> {
        if let Some(engine) = &self.engine {
            return engine.gradient_norm();
        }
        let squares = self
            .members
            .iter()
            .map(|member| member.parameter.gradient().sum_of_squares(isa));
        Ok(squares.sum::<f64>().sqrt())
    }

    /// Moves every parameter along its gradient times `scale`, and clears the gradients.
    ///
    /// # Errors
    /// Those of candle, if a parameter can't be written to, or of the device that has it.
    pub fn step(&mut self, isa: Isa, learning_rate: f64, scale: f64) -> candle_core::Result<()> {
        self.steps += 1;
        let (betas, steps, weight_decay) = (self.betas, self.steps, self.weight_decay);
        let update = |member: &Member| {
            let decay = if member.decays { weight_decay } else { 0.0 };
            Update::new(
                betas,
                learning_rate * member.rate,
                decay,
                steps,
                scale as f32,
            )
        };
        if let Some(engine) = &self.engine {
            let updates: Vec<Update> = self.members.iter().map(update).collect();
            return engine.step(&updates).map_err(candle_core::Error::wrap);
        }
        for member in &mut self.members {
            member.step(isa, update(member), &mut self.flat)?;
        }
        Ok(())
    }

    /// The moments, all the first before all the second, each with its parameter's shape, to be saved.
    pub fn moments(&self) -> Vec<TensorParts<'_>> {
        let both = (0..MOMENTS.len()).flat_map(|moment| {
            self.members.iter().map(move |member| TensorParts {
                name: &member.names[moment],
                shape: member.parameter.shape(),
                parts: match &member.moments {
                    Moments::Dense(range) => {
                        Box::new(std::iter::once(&self.flat[moment][range.clone()]))
                    }
                    Moments::Table(rows) => Box::new(rows.table(moment)),
                },
            })
        });
        both.collect()
    }

    /// Goes on after `steps` updates with the moments that `load` gives by their name and length.
    ///
    /// # Errors
    /// Those of `load`.
    ///
    /// # Panics
    /// If a moment has another length than asked for.
    pub fn restore<E>(
        &mut self,
        steps: u64,
        mut load: impl FnMut(&str, usize) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        self.steps = steps;
        for member in &mut self.members {
            let len = member.parameter.len();
            let [first, second] = &member.names;
            let (first, second) = (load(first, len)?, load(second, len)?);
            match &mut member.moments {
                Moments::Dense(range) => {
                    self.flat[0][range.clone()].copy_from_slice(&first);
                    self.flat[1][range.clone()].copy_from_slice(&second);
                }
                Moments::Table(rows) => *rows = rows.like([&first, &second]),
            }
        }
        Ok(())
    }
}

impl Member {
    fn step(&mut self, isa: Isa, update: Update, flat: &mut Flat) -> candle_core::Result<()> {
        let Self {
            parameter, moments, ..
        } = self;
        let mut gradient = parameter.gradient();
        match (&*gradient, moments) {
            (
                Gradient::Dense {
                    values,
                    filled: true,
                },
                Moments::Dense(range),
            ) => {
                let [m, v] = flat.each_mut().map(|moment| &mut moment[range.clone()]);
                parameter.update(|p| update.apply(isa, p, values, m, v))?;
            }
            (touched @ Gradient::Rows { rows, .. }, Moments::Table(moments)) => {
                parameter.update(|p| moments.step(isa, update, p, rows, |row| touched.row(row)))?;
            }
            // Nothing has read it, or it is fixed.
            _ => return Ok(()),
        }
        gradient.clear();
        Ok(())
    }
}

/// How many layers lie between a parameter's and the head, its own included: 0 for what is neither a layer's nor the
/// embeddings'.
fn depth_below_head(name: &str, layers: usize) -> usize {
    let layer = name.strip_prefix("bert.encoder.layer.");
    let layer = layer.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match layer {
        Some(layer) => layers.saturating_sub(layer),
        None if name.starts_with("bert.embeddings.") => layers + 1,
        None => 0,
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

    /// Both moments of a parameter, as they are saved.
    fn saved(optimizer: &AdamW, name: &str) -> Vec<Vec<f32>> {
        let of = |moment: &TensorParts<'_>| moment.name.starts_with(name);
        let found = optimizer.moments().into_iter().filter(of);
        found
            .map(|moment| moment.parts.flatten().copied().collect())
            .collect()
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
        let names = ["a.weight", "b.weight"].map(|name| saved(&optimizer, name));
        assert_eq!(names[0], names[1]);
        assert!(names[0].iter().all(|moment| moment.len() == 30));
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let [whole, parts] = [pair(), pair()];
        let mut optimizer = AdamW::new(&whole, BETAS, 0.1);
        run(&whole, &mut optimizer, 0..6);

        let mut first = AdamW::new(&parts, BETAS, 0.1);
        run(&parts, &mut first, 0..3);
        let mut second = AdamW::new(&parts, BETAS, 0.1);
        let load = |name: &str, _: usize| {
            let all = first.moments().into_iter();
            let found = all.filter(|moment| moment.name == name);
            Ok::<_, ()>(
                found
                    .flat_map(|moment| moment.parts)
                    .flatten()
                    .copied()
                    .collect(),
            )
        };
        second.restore(first.steps(), load).unwrap();
        let rows = |optimizer: &AdamW| match &optimizer.members[1].moments {
            Moments::Table(moments) => moments.touched(),
            Moments::Dense(_) => 0,
        };
        assert_eq!([rows(&first), rows(&second)], [4, 4], "of the six rows");
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
    fn lower_layers_learn_more_slowly() {
        let names = [
            "bert.embeddings.LayerNorm.weight",
            "bert.encoder.layer.0.output.dense.bias",
            "bert.encoder.layer.1.output.dense.bias",
            "bert.pooler.dense.bias",
            "classifier.bias",
        ];
        assert_eq!(names.map(|name| depth_below_head(name, 2)), [3, 2, 1, 0, 0]);
        let parameters = names.map(|name| Parameter::dense(name, &[1], vec![0.0]).unwrap());
        let mut optimizer = AdamW::new(&parameters, BETAS, 0.0);
        optimizer.slow_lower_layers(0.5, 2);
        parameters.iter().for_each(|p| p.add_values(&[1.0]));
        optimizer.step(Isa::best(), 0.8, 1.0).unwrap();
        // The first step of Adam is the rate, whatever the gradient's size.
        for (parameter, expected) in parameters.iter().zip([0.1, 0.2, 0.4, 0.8, 0.8]) {
            let moved = -parameter.values()[0];
            assert!(
                (moved - expected).abs() < 1e-6,
                "{}: {moved}",
                parameter.name()
            );
        }
    }

    #[test]
    fn what_is_fixed_neither_moves_nor_counts() {
        let pair = pair();
        let before = pair[1].values().to_vec();
        pair[1].fix();
        let mut optimizer = AdamW::new(&pair, BETAS, 0.1);
        optimizer.slow_lower_layers(0.5, 2);
        pair[0].add_values(&[3.0; 30]);
        pair[1].add_rows([2].into_iter(), |_, values| values.fill(4.0));
        assert!(optimizer.without_gradient().is_empty());
        let norm = optimizer.gradient_norm(Isa::best()).unwrap();
        assert!((norm - (30.0 * 9.0f64).sqrt()).abs() < 1e-5);
        run(&pair, &mut optimizer, 0..3);
        assert_eq!(pair[1].values()[..], before[..]);
        let moments = saved(&optimizer, "b.weight");
        assert_eq!(moments, [vec![0.0; 30], vec![0.0; 30]]);
    }

    #[test]
    fn the_norm_is_of_all_gradients_together() {
        let pair = pair();
        pair[0].add_values(&[3.0; 30]);
        pair[1].add_rows([2].into_iter(), |_, values| values.fill(4.0));
        let norm = AdamW::new(&pair, BETAS, 0.0)
            .gradient_norm(Isa::best())
            .unwrap();
        assert!((norm - (30.0 * 9.0 + 5.0 * 16.0f64).sqrt()).abs() < 1e-5);
    }
}
