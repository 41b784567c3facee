//! What is to have a high probability, and how far a model is from that.

use super::texts::surprise;

/// What an example says about a temperature.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Graded {
    pub(super) example: usize,
    pub(super) outcome: Outcome,
}

/// What has a probability, and is to have a high one.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Outcome {
    /// The output that is right.
    Label(Output),
    /// That the start and the end which were chosen are an answer, or that they are none.
    Span { sides: [Output; 2], right: bool },
}

/// One of the outputs of a softmax.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Output {
    /// All of them.
    pub(super) logits: Vec<f32>,
    /// Its own logit.
    pub(super) logit: f32,
}

/// A span is never surer than this, in natural logarithms.
const SUREST: f64 = 1e-9;

impl Output {
    /// One of `logits` by its number.
    pub(super) fn of(logits: Vec<f32>, number: usize) -> Self {
        let logit = logits[number];
        Output { logits, logit }
    }

    fn surprise(&self, inverse: f64) -> f64 {
        surprise(&self.logits, self.logit, inverse)
    }
}

impl Outcome {
    /// The negative log-likelihood at a temperature, whose `inverse` is given.
    pub(super) fn surprise(&self, inverse: f64) -> f64 {
        match self {
            Outcome::Label(output) => output.surprise(inverse),
            Outcome::Span { sides, right } => {
                let surprise: f64 = sides.iter().map(|side| side.surprise(inverse)).sum();
                match right {
                    true => surprise,
                    false => -(-(-surprise.max(SUREST)).exp_m1()).ln(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_is_quite_sure_and_wrong_is_a_surprise_without_being_infinite() {
        let sure = Output::of(vec![1000.0, 0.0], 0);
        let span = |right| Outcome::Span {
            sides: [sure.clone(), sure.clone()],
            right,
        };
        for inverse in [0.1, 1.0, 10.0] {
            assert_eq!(span(true).surprise(inverse), 0.0);
            let wrong = span(false).surprise(inverse);
            assert!((wrong + SUREST.ln()).abs() < 1e-6, "{wrong}");
        }
    }
}
