//! Losses over a few columns: rows are few, so this is plain code, with its sums in f64.
//!
//! Cross-entropy of a row of logits `l` with class `c` is `ln Σ exp(l − max l) − (l_c − max l)`; its gradient is
//! `softmax(l) − onehot(c)`. Squared error is `(l − y)²` with gradient `2 (l − y)`. Both are averaged over the rows
//! that count.

/// The class of a row that does not count.
pub const IGNORED: i64 = -100;

/// Mean cross-entropy over the rows whose class is not [`IGNORED`], and its gradient. Without such a row both are 0.
///
/// # Panics
/// If a class is neither a column nor [`IGNORED`].
pub fn cross_entropy(logits: &[f32], classes: &[i64]) -> (f64, Vec<f32>) {
    let columns = logits.len() / classes.len().max(1);
    let counted = classes
        .iter()
        .filter(|&&class| class != IGNORED)
        .count()
        .max(1) as f64;
    let mut gradient = vec![0.0; logits.len()];
    let mut total = 0.0;
    for ((row, out), &class) in logits
        .chunks_exact(columns.max(1))
        .zip(gradient.chunks_exact_mut(columns.max(1)))
        .zip(classes)
    {
        if class == IGNORED {
            continue;
        }
        let class = usize::try_from(class)
            .ok()
            .filter(|&class| class < columns)
            .expect("a class for each row");
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps: Vec<f64> = row.iter().map(|&l| f64::from(l - largest).exp()).collect();
        let sum: f64 = exps.iter().sum();
        total += sum.ln() - f64::from(row[class] - largest);
        for (j, (out, e)) in out.iter_mut().zip(exps).enumerate() {
            *out = ((e / sum - f64::from(u8::from(j == class))) / counted) as f32;
        }
    }
    (total / counted, gradient)
}

/// Mean cross-entropy of the first and of the last row of a span, for logits of two columns: of where spans begin and
/// of where they end. Each column of a sequence, which has the rows from `starts[i]` to `starts[i + 1]`, is one choice
/// among those rows; `spans[i]` has the right ones, counted from the sequence's first row. Their mean is the loss of
/// Hugging Face's `BertForQuestionAnswering`.
///
/// # Panics
/// If a span does not lie in its sequence.
pub fn span_cross_entropy(
    logits: &[f32],
    starts: &[usize],
    spans: &[[usize; 2]],
) -> (f64, Vec<f32>) {
    let choices = (2 * spans.len()).max(1) as f64;
    let mut gradient = vec![0.0; logits.len()];
    let mut total = 0.0;
    for (ends, span) in starts.windows(2).zip(spans) {
        let rows = 2 * ends[0]..2 * ends[1];
        for (column, &right) in span.iter().enumerate() {
            let choice: Vec<f32> = logits[rows.clone()]
                .chunks_exact(2)
                .map(|row| row[column])
                .collect();
            let (loss, slope) = cross_entropy(&choice, &[right as i64]);
            total += loss;
            let out = gradient[rows.clone()].chunks_exact_mut(2);
            for (out, slope) in out.zip(slope) {
                out[column] = (f64::from(slope) / choices) as f32;
            }
        }
    }
    (total / choices, gradient)
}

/// Mean squared error over all elements, and its gradient.
pub fn squared_error(outputs: &[f32], targets: &[f32]) -> (f64, Vec<f32>) {
    let n = targets.len().max(1) as f64;
    let difference = || {
        outputs
            .iter()
            .zip(targets)
            .map(|(x, y)| f64::from(*x) - f64::from(*y))
    };
    (
        difference().map(|d| d * d).sum::<f64>() / n,
        difference().map(|d| (2.0 * d / n) as f32).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, gradient, numbers};

    fn naive(classes: &[i64], logits: &[f64]) -> f64 {
        let columns = logits.len() / classes.len();
        let rows: Vec<f64> = logits
            .chunks(columns)
            .zip(classes)
            .filter(|(_, class)| **class != IGNORED)
            .map(|(row, class)| {
                row.iter().map(|l| l.exp()).sum::<f64>().ln() - row[*class as usize]
            })
            .collect();
        rows.iter().sum::<f64>() / rows.len() as f64
    }

    #[test]
    fn cross_entropy_agrees_with_finite_differences() {
        for (classes, columns) in [
            (vec![0], 1),
            (vec![1], 2),
            (vec![2, IGNORED, 0, 1], 3),
            (vec![16, 3, IGNORED], 17),
        ] {
            let logits: Vec<f32> = numbers(classes.len() * columns, 1)
                .iter()
                .map(|x| 3.0 * x)
                .collect();
            let (loss, slope) = cross_entropy(&logits, &classes);
            assert!(
                (loss - gradient::values(&[&logits], |v| vec![naive(&classes, v[0])])[0]).abs()
                    < 1e-6
            );
            let expected = gradient::differences(&[&logits], 0, |v| naive(&classes, v[0]));
            assert_close("dlogits", &slope, &expected, 1e-6);
        }
        assert_eq!(
            cross_entropy(&[1.0, 2.0], &[IGNORED]),
            (0.0, vec![0.0, 0.0])
        );
        assert!(
            cross_entropy(&[1000.0, -1000.0], &[0]).0 == 0.0,
            "large logits don't overflow"
        );
        assert!(cross_entropy(&[f32::NAN, 0.0], &[1]).0.is_nan());
    }

    #[test]
    fn spans_agree_with_finite_differences() {
        let starts = [0, 1, 4, 21];
        let spans = [[0, 0], [2, 1], [3, 16]];
        let logits: Vec<f32> = numbers(2 * 21, 3).iter().map(|x| 3.0 * x).collect();
        let naive = |logits: &[f64]| {
            let mut sum = 0.0;
            for (i, span) in spans.iter().enumerate() {
                for (column, right) in span.iter().enumerate() {
                    let at = |row: usize| logits[2 * row + column];
                    let all: f64 = (starts[i]..starts[i + 1]).map(|row| at(row).exp()).sum();
                    sum += (all.ln() - at(starts[i] + right)) / 2.0;
                }
            }
            sum / spans.len() as f64
        };
        let (loss, slope) = span_cross_entropy(&logits, &starts, &spans);
        let exact = gradient::values(&[&logits], |v| vec![naive(v[0])])[0];
        assert!((loss - exact).abs() < 1e-6, "{loss} {exact}");
        let expected = gradient::differences(&[&logits], 0, |v| naive(v[0]));
        assert_close("dlogits", &slope, &expected, 1e-6);
    }

    #[test]
    fn squared_error_agrees_with_finite_differences() {
        let (outputs, targets) = (numbers(5, 1), numbers(5, 2));
        let naive = |v: &[&[f64]]| {
            v[0].iter()
                .zip(&targets)
                .map(|(x, y)| (x - f64::from(*y)).powi(2))
                .sum::<f64>()
                / 5.0
        };
        let (loss, slope) = squared_error(&outputs, &targets);
        assert!((loss - gradient::values(&[&outputs], |v| vec![naive(v)])[0]).abs() < 1e-6);
        assert_close(
            "d",
            &slope,
            &gradient::differences(&[&outputs], 0, naive),
            1e-6,
        );
    }
}
