//! How far a difference between two models can be told from chance: the paired bootstrap.
//!
//! The examples of the file are drawn again and again, as many as there are, with replacement; each draw
//! is given to both models, and the difference of their metrics is noted. 95 % of these differences lie
//! in the interval. Both models answer the same draw, so what makes an example hard for both cancels
//! out. [Efron and Tibshirani 1993, chapter 13; for pairs Koehn 2004]
//!
//! Where fewer than ten answers changed, it promises too much: in simulations it held the true loss in 71 to
//! 78 of 100 files. What can be said then is in [`Comparison::caution`](crate::Comparison::caution).

use berth_data::Units;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// How many draws are made. The ends of the interval are the 50th smallest and the 50th largest.
pub(crate) const RESAMPLES: usize = 2_000;

/// What share of the differences lies in the interval.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Where the draws begin; the same for every file, so that the same answers give the same interval.
const SEED: u64 = 1;

/// The ends of the interval of `metric(a) - metric(b)`.
///
/// # Panics
/// When the two are not about the same number of examples, or about none.
pub(crate) fn difference(a: &Units, b: &Units) -> [f64; 2] {
    assert_eq!(a.len(), b.len(), "the same examples");
    assert!(!a.is_empty(), "no example to draw");
    let examples = a.len();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut draw = vec![0; examples];
    let mut differences: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            draw.iter_mut()
                .for_each(|index| *index = random.random_range(0..examples));
            a.metric(&draw) - b.metric(&draw)
        })
        .collect();
    differences.sort_by(f64::total_cmp);
    let tail = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64).round() as usize;
    [differences[tail - 1], differences[RESAMPLES - tail]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_data::{Encoded, Evaluator, Target};
    use berth_task::Task;

    /// A file of `rows` texts of class 0, of which a model gets all but the first `wrong` right.
    fn units(rows: usize, wrong: usize) -> Units {
        let input = |example| Encoded {
            target: Target::Class(0),
            example,
            ..Encoded::default()
        };
        let inputs: Vec<_> = (0..rows).map(input).collect();
        let evaluator = Evaluator {
            task: Task::TextClassification,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples: &[],
            inputs: &inputs,
            spans: Default::default(),
        };
        let logits = |row: usize| if row < wrong { [0.0, 1.0] } else { [1.0, 0.0] };
        let logits: Vec<_> = (0..rows).map(logits).collect();
        evaluator.units(&logits).unwrap()
    }

    #[test]
    fn models_that_say_the_same_differ_in_no_draw() {
        assert_eq!(difference(&units(50, 7), &units(50, 7)), [0.0, 0.0]);
    }

    /// Where the models differ in k of n examples, always to the same side, the difference of a draw is
    /// binomial: mean k / n, variance k / n (1 - k / n) / n.
    #[test]
    fn the_interval_is_that_of_the_binomial() {
        let (rows, changed) = (1_000, 100);
        let [low, high] = difference(&units(rows, 0), &units(rows, changed));
        let share = changed as f64 / rows as f64;
        let half = 1.96 * (share * (1.0 - share) / rows as f64).sqrt();
        // The ends of 2,000 draws scatter by some 4 % of the width, and steps are 1 / 1,000.
        assert!((low - (share - half)).abs() < 0.002, "{low}");
        assert!((high - (share + half)).abs() < 0.002, "{high}");
    }

    #[test]
    fn one_answer_more_or_less_is_no_difference_that_can_be_told() {
        let [low, high] = difference(&units(200, 10), &units(200, 11));
        assert!(low <= 0.0 && high > 0.0, "{low} {high}");
    }

    #[test]
    fn the_same_answers_give_the_same_interval() {
        let once = difference(&units(300, 3), &units(300, 9));
        assert_eq!(once, difference(&units(300, 3), &units(300, 9)));
    }
}
