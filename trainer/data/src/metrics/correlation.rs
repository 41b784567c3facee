//! Pearson's and Spearman's correlation, as SciPy defines them.

/// The linear correlation of two equally long lists, from -1 to 1.
///
/// Where SciPy says NaN, because one list is constant, too short or holds a NaN, this is 0.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    // The mean of equals may differ from them in its last bit.
    let is_constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if is_constant(x) || is_constant(y) {
        return 0.0;
    }
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect()
    };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (x, y) = (centred(x), centred(y));
    let correlation = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    if correlation.is_finite() {
        correlation.clamp(-1.0, 1.0)
    } else {
        0.0
    }
}

/// The linear correlation of the two lists' ranks, where equals share the mean of their ranks.
pub fn spearmanr(x: &[f64], y: &[f64]) -> f64 {
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return 0.0;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Each value's place in the sorted list, counted from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for equals in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = start as f64 + (equals.len() + 1) as f64 / 2.0;
        equals.iter().for_each(|&index| ranks[index] = mean);
        start += equals.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sequence;

    /// The figures are SciPy 1.17's `pearsonr` and `spearmanr` for the same lists, which have
    /// many ties.
    #[test]
    fn figures_are_those_of_scipy() {
        let (a, b) = (sequence(3, 51, 100), sequence(4, 31, 100));
        let x: Vec<f64> = a.iter().map(|&a| a as f64 / 10.0).collect();
        let y: Vec<f64> = a
            .iter()
            .zip(&b)
            .map(|(&a, &b)| a as f64 / 10.0 * 0.5 + b as f64 / 10.0)
            .collect();
        assert!((pearson(&x, &y) - 0.6448557757925955).abs() < 1e-14);
        assert!((spearmanr(&x, &y) - 0.5779895705667758).abs() < 1e-14);
    }

    #[test]
    fn ranks_of_equals_are_their_mean() {
        assert_eq!(
            ranks(&[2.0, 1.0, 2.0, 5.0, 2.0, 0.0, -0.0]),
            [5.0, 3.0, 5.0, 7.0, 5.0, 1.5, 1.5]
        );
        let any_curve = [1.0, 8.0, 27.0, 64.0];
        assert_eq!(spearmanr(&[1.0, 2.0, 3.0, 4.0], &any_curve), 1.0);
        assert_eq!(spearmanr(&[4.0, 3.0, 2.0, 1.0], &any_curve), -1.0);
    }

    #[test]
    fn rounding_goes_no_further_than_one() {
        let x = [0.1, 0.2, 0.3];
        // The quotient is 1.0000000000000002.
        assert_eq!(pearson(&x, &x.map(|value| value * 7.0)), 1.0);
        assert_eq!(pearson(&x, &x.map(|value| value * -7.0)), -1.0);
    }

    #[test]
    fn without_variation_there_is_no_correlation() {
        for (x, y) in [
            ([1.0; 3], [1.0, 2.0, 3.0]),
            ([1.0, 2.0, f64::NAN], [1.0, 2.0, 3.0]),
            ([0.1; 3], [0.1; 3]),
            ([1.0, 2.0, 4.0], [0.1; 3]),
        ] {
            assert_eq!((pearson(&x, &y), spearmanr(&x, &y)), (0.0, 0.0));
        }
        assert_eq!((pearson(&[], &[]), spearmanr(&[1.0], &[2.0])), (0.0, 0.0));
    }
}
