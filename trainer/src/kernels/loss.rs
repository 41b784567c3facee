//! Losses over a few columns: rows are few, so this is plain code, with its sums in f64.
//!
//! Cross-entropy of a row of logits `l` with class `c` is `ln Σ exp(l − max l) − (l_c − max l)`; its gradient is
//! `softmax(l) − onehot(c)`. Squared error is `(l − y)²` with gradient `2 (l − y)`. Both are averaged over the rows
//! that count. Binary cross-entropy of a logit `l` whose label goes (y = 1) or not (y = 0) is `max(l, 0) − l y +
//! ln(1 + exp(−|l|))` with gradient `1 / (1 + exp(−l)) − y`, averaged over all logits, as PyTorch's
//! `BCEWithLogitsLoss` does.
//!
//! Against imbalance, [`weighed_cross_entropy`] has class weights w, label smoothing ε and the focal γ in one: with
//! C classes and the target `q_c = (1 − ε) [c = y] + ε / C`, a row's loss is `Σ_c q_c w_c (1 − p_c)^γ (−ln p_c)`, and
//! the rows' sum is divided by the sum of their `w_y`. For γ = 0 it is PyTorch's `CrossEntropyLoss(weight,
//! label_smoothing)`, for ε = 0 the focal loss of Lin et al. (2017). With
//! `g(p) = γ p (1 − p)^(γ−1) ln p − (1 − p)^γ` and `a_c = q_c w_c g(p_c)`, the gradient is `a_j − p_j Σ_c a_c`.

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

/// What the rows and classes of a cross-entropy weigh.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighing {
    /// A weight for each class, none below 0; empty where all are 1.
    pub weights: Vec<f64>,
    /// ε, at least 0 and below 1.
    pub smoothing: f64,
    /// γ, at least 0.
    pub gamma: f64,
}

impl Weighing {
    /// That of a class.
    pub fn weight(&self, class: usize) -> f64 {
        self.weights.get(class).copied().unwrap_or(1.0)
    }

    /// The loss of one class with the log-probability `log`, and g(p).
    fn term(&self, log: f64) -> (f64, f64) {
        let (p, rest) = (log.exp(), -log.exp_m1());
        let focus = rest.powf(self.gamma);
        // ln p / (1 − p) goes to −1 where p goes to 1.
        let ratio = if rest > 0.0 { log / rest } else { -1.0 };
        (-focus * log, focus * (self.gamma * p * ratio - 1.0))
    }
}

/// The weighted mean cross-entropy over the rows whose class is not [`IGNORED`], as the module's head has it, and its
/// gradient. Where those rows weigh nothing together, both are 0.
///
/// Of a part of a batch or an update it is the part's share, with `whole` as what all rows weigh together: the shares
/// add up to the mean. A part whose classes all weigh 0 has one as well where labels are smoothed.
///
/// # Panics
/// If a class is neither a column nor [`IGNORED`].
pub fn weighed_cross_entropy(
    logits: &[f32],
    classes: &[i64],
    weighing: &Weighing,
    whole: Option<f64>,
) -> (f64, Vec<f32>) {
    let columns = (logits.len() / classes.len().max(1)).max(1);
    let class = |class: i64| {
        let known = usize::try_from(class).ok().filter(|&known| known < columns);
        (class != IGNORED).then(|| known.expect("a class for each row"))
    };
    let counted = classes.iter().filter_map(|&row| class(row));
    let own = || counted.map(|class| weighing.weight(class)).sum();
    let mass = whole.unwrap_or_else(own);
    let mut gradient = vec![0.0; logits.len()];
    let mut total = 0.0;
    if mass == 0.0 {
        return (total, gradient);
    }
    let even = weighing.smoothing / columns as f64;
    let rows = logits.chunks_exact(columns);
    for ((row, out), right) in rows.zip(gradient.chunks_exact_mut(columns)).zip(classes) {
        let Some(right) = class(*right) else {
            continue;
        };
        let logs = log_softmax(row);
        let parts = logs.iter().enumerate().map(|(c, &log)| {
            let target = even + f64::from(u8::from(c == right)) * (1.0 - weighing.smoothing);
            let share = target * weighing.weight(c) / mass;
            let (loss, slope) = weighing.term(log);
            (share * loss, share * slope)
        });
        let (losses, slopes): (Vec<f64>, Vec<f64>) = parts.unzip();
        total += losses.iter().sum::<f64>();
        let all: f64 = slopes.iter().sum();
        for ((out, slope), log) in out.iter_mut().zip(slopes).zip(logs) {
            *out = (slope - log.exp() * all) as f32;
        }
    }
    (total, gradient)
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = row.iter().map(|&l| f64::from(l) - f64::from(largest));
    let sum: f64 = shifted.clone().map(f64::exp).sum();
    shifted.map(|l| l - sum.ln()).collect()
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

/// Mean binary cross-entropy over all logits, and its gradient; `sets` has the classes that go with each row.
///
/// # Panics
/// If there are no rows, or a class is no column.
pub fn binary_cross_entropy(logits: &[f32], sets: &[Vec<u32>]) -> (f64, Vec<f32>) {
    let columns = logits.len() / sets.len();
    let count = logits.len() as f64;
    let mut targets = vec![0.0; logits.len()];
    for (row, set) in targets.chunks_exact_mut(columns).zip(sets) {
        set.iter().for_each(|&class| row[class as usize] = 1.0);
    }
    let mut total = 0.0;
    let slope = |(&logit, target): (&f32, f64)| {
        let logit = f64::from(logit);
        let rest = (-logit.abs()).exp();
        total += logit.max(0.0) - logit * target + rest.ln_1p();
        let large = 1.0 / (1.0 + rest);
        let probability = if logit >= 0.0 { large } else { rest * large };
        ((probability - target) / count) as f32
    };
    let gradient = logits.iter().zip(targets).map(slope).collect();
    (total / count, gradient)
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

    /// The head's formula, written down once more.
    fn naive_weighed(classes: &[i64], weighing: &Weighing, logits: &[f64]) -> f64 {
        let columns = logits.len() / classes.len();
        let weight = |c: usize| weighing.weights.get(c).map_or(1.0, |w| *w);
        let (mut sum, mut mass) = (0.0, 0.0);
        for (row, &class) in logits.chunks(columns).zip(classes) {
            if class == IGNORED {
                continue;
            }
            let all: f64 = row.iter().map(|l| l.exp()).sum();
            mass += weight(class as usize);
            for (c, l) in row.iter().enumerate() {
                let p = l.exp() / all;
                let hit = if c == class as usize {
                    1.0 - weighing.smoothing
                } else {
                    0.0
                };
                let target = hit + weighing.smoothing / columns as f64;
                sum -= target * weight(c) * (1.0 - p).powf(weighing.gamma) * p.ln();
            }
        }
        sum / mass
    }

    #[test]
    fn weighed_cross_entropy_agrees_with_finite_differences() {
        let classes = [2, IGNORED, 0, 1, 1];
        let logits: Vec<f32> = numbers(15, 4).iter().map(|x| 2.0 * x).collect();
        for weights in [vec![], vec![0.5, 2.0, 1.25], vec![0.0, 1.0, 3.0]] {
            for (smoothing, gamma) in [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.2, 0.5), (0.3, 1.0)] {
                let weighing = Weighing {
                    weights: weights.clone(),
                    smoothing,
                    gamma,
                };
                let naive = |logits: &[f64]| naive_weighed(&classes, &weighing, logits);
                let (loss, slope) = weighed_cross_entropy(&logits, &classes, &weighing, None);
                let exact = gradient::values(&[&logits], |v| vec![naive(v[0])])[0];
                assert!((loss - exact).abs() < 1e-9, "{weighing:?}: {loss} {exact}");
                let expected = gradient::differences(&[&logits], 0, |v| naive(v[0]));
                assert_close("dlogits", &slope, &expected, 1e-6);
            }
        }
    }

    /// The figures are those of PyTorch 2 in f64: `CrossEntropyLoss(weight, label_smoothing)` and its gradient by
    /// autograd.
    #[test]
    fn weighed_cross_entropy_is_that_of_pytorch() {
        let logits = [
            0.5, -1.25, 2.0, 1.5, 0.25, -0.75, -2.0, 0.5, 0.125, 0.0, 3.0, -1.0,
        ];
        let classes = [2, 1, IGNORED, 0];
        let of = |weights: &[f64], smoothing| {
            let weighing = Weighing {
                weights: weights.to_vec(),
                smoothing,
                gamma: 0.0,
            };
            weighed_cross_entropy(&logits, &classes, &weighing, None)
        };
        let weights = [0.5, 2.0, 1.25];
        assert!((of(&weights, 0.0).0 - 1.329_350_573_218_854_2).abs() < 1e-12);
        assert!((of(&[], 0.1).0 - 1.654_170_609_866_673_3).abs() < 1e-12);
        let (loss, slope) = of(&weights, 0.1);
        assert!((loss - 1.386_832_576_883_636).abs() < 1e-12);
        let expected = [
            0.054495616258,
            -0.007535531002,
            -0.046960085256,
            0.36435493068,
            -0.392114987726,
            0.027760057046,
            0.0,
            0.0,
            0.0,
            -0.117297175649,
            0.12577895351,
            -0.008481777861,
        ];
        assert_close("dlogits", &slope, &expected, 1e-6);
    }

    #[test]
    fn without_weights_it_is_the_plain_cross_entropy() {
        let plain = Weighing {
            weights: vec![],
            smoothing: 0.0,
            gamma: 0.0,
        };
        let (logits, classes) = (numbers(12, 5), [1, IGNORED, 2, 0]);
        let (loss, slope) = cross_entropy(&logits, &classes);
        let (weighed, weighed_slope) = weighed_cross_entropy(&logits, &classes, &plain, None);
        assert!((loss - weighed).abs() < 1e-6);
        let slope: Vec<f64> = slope.into_iter().map(f64::from).collect();
        assert_close("dlogits", &weighed_slope, &slope, 1e-6);
    }

    /// The last part has classes of weight 0 alone; smoothed labels still ask it for something.
    #[test]
    fn parts_of_a_batch_add_up_to_it() {
        let weighing = Weighing {
            weights: vec![2.0, 0.0, 0.5],
            smoothing: 0.1,
            gamma: 0.0,
        };
        let (logits, classes) = (numbers(15, 7), [0, IGNORED, 2, 1, 1]);
        let (loss, slope) = weighed_cross_entropy(&logits, &classes, &weighing, None);
        let part = |rows: std::ops::Range<usize>| {
            let logits = &logits[3 * rows.start..3 * rows.end];
            weighed_cross_entropy(logits, &classes[rows], &weighing, Some(2.5))
        };
        let [(first, begun), (last, ended)] = [part(0..3), part(3..5)];
        assert!((first + last - loss).abs() < 1e-12 && last > 0.0);
        assert_eq!([begun, ended].concat(), slope);
    }

    #[test]
    fn extreme_logits_and_weightless_rows_have_finite_losses() {
        for gamma in [0.0, 0.5, 2.0] {
            let weighing = Weighing {
                weights: vec![1.0, 0.0],
                smoothing: 0.1,
                gamma,
            };
            for class in [0, 1, IGNORED] {
                let (loss, slope) =
                    weighed_cross_entropy(&[900.0, -900.0], &[class], &weighing, None);
                assert!(
                    loss.is_finite() && slope.iter().all(|x| x.is_finite()),
                    "{gamma}"
                );
                if class != 0 {
                    assert_eq!((loss, slope), (0.0, vec![0.0, 0.0]));
                }
            }
        }
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
    fn binary_cross_entropy_agrees_with_finite_differences() {
        for (sets, columns) in [
            (vec![vec![0]], 1),
            (vec![vec![], vec![0, 1]], 2),
            (vec![vec![2], vec![], vec![0, 1, 2], vec![1]], 3),
            (vec![vec![16, 3, 0]; 3], 17),
        ] {
            let logits: Vec<f32> = numbers(sets.len() * columns, 6)
                .iter()
                .map(|x| 3.0 * x)
                .collect();
            let naive = |logits: &[f64]| {
                let each = logits.iter().enumerate().map(|(at, l)| {
                    let p = 1.0 / (1.0 + (-l).exp());
                    let goes = sets[at / columns].contains(&((at % columns) as u32));
                    if goes { -p.ln() } else { -(1.0 - p).ln() }
                });
                each.sum::<f64>() / logits.len() as f64
            };
            let (loss, slope) = binary_cross_entropy(&logits, &sets);
            let exact = gradient::values(&[&logits], |v| vec![naive(v[0])])[0];
            assert!((loss - exact).abs() < 1e-9, "{loss} {exact}");
            let expected = gradient::differences(&[&logits], 0, |v| naive(v[0]));
            assert_close("dlogits", &slope, &expected, 1e-6);
        }
    }

    /// The figures are those of PyTorch 2 in f64: `BCEWithLogitsLoss` and its gradient by autograd.
    #[test]
    fn binary_cross_entropy_is_that_of_pytorch() {
        let logits = [0.5, -1.25, 2.0, 1.5, 0.25, -0.75];
        let (loss, slope) = binary_cross_entropy(&logits, &[vec![0, 2], vec![]]);
        assert!((loss - 0.6278596300908247).abs() < 1e-12, "{loss}");
        let expected = [
            -0.0629234447996909,
            0.03711668980421814,
            -0.01986715367035295,
            0.1362624126989406,
            0.09369608348096635,
            0.05347021680410117,
        ];
        assert_close("dlogits", &slope, &expected, 1e-7);
        let (loss, slope) = binary_cross_entropy(&[900.0, -900.0], &[vec![0]]);
        assert_eq!(
            (loss, slope),
            (0.0, vec![0.0, 0.0]),
            "large logits don't overflow"
        );
        let (loss, slope) = binary_cross_entropy(&[900.0, -900.0], &[vec![1]]);
        assert_eq!((loss, slope), (900.0, vec![0.5, -0.5]));
        assert!(binary_cross_entropy(&[f32::NAN], &[vec![0]]).0.is_nan());
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
