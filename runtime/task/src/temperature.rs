//! How sure a model is to sound: the number that logits are divided by before they become probabilities.
//!
//! A network that was trained to the end is surer than it is right. Dividing all its logits by one
//! number, fitted on rows that it has not learnt from, brings its probabilities near the share of
//! answers that are right ([Guo, Pleiss, Sun and Weinberger 2017][guo]). Above 1 it makes scores more even,
//! below 1 less. The order of the logits stays, and with it every answer: only scores change.
//!
//! [guo]: https://proceedings.mlr.press/v70/guo17a.html

/// A finite number from [`LEAST`](Self::LEAST) to [`MOST`](Self::MOST).
#[derive(Copy, Clone, PartialEq, PartialOrd, Debug)]
pub struct Temperature(f32);

impl Temperature {
    /// Logits stay as they are, to the bit.
    pub const ONE: Temperature = Temperature(1.0);

    /// The smallest, at which nearly every best label has the probability 1.
    pub const LEAST: f32 = 0.01;

    /// The largest, at which nearly all labels are equally probable.
    pub const MOST: f32 = 100.0;

    /// `None` for what is out of range or not a number.
    pub fn new(value: f32) -> Option<Self> {
        (Self::LEAST..=Self::MOST)
            .contains(&value)
            .then_some(Temperature(value))
    }

    /// The number.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Default for Temperature {
    fn default() -> Self {
        Temperature::ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_divided_by_is_one() {
        for value in [0.01, 0.5, 1.0, 100.0] {
            assert_eq!(Temperature::new(value).map(Temperature::get), Some(value));
        }
        let odd = [
            0.0,
            -1.0,
            0.009,
            100.1,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        for value in odd {
            assert_eq!(Temperature::new(value), None, "{value}");
        }
        assert_eq!(Temperature::default(), Temperature::ONE);
    }
}
