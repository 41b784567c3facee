//! Accuracy, precision, recall, F1 and Matthews correlation, as scikit-learn defines them.
//!
//! With two labels, precision, recall and F1 are those of label 1, as for GLUE's MRPC. With any
//! other number they are the plain mean over the labels that occur among answers or gold labels
//! (`average="macro"`). What would be a division by zero is 0.

/// How often each label was right, was answered, and would have been right.
#[derive(Clone, Debug)]
pub struct Counts {
    correct: Vec<u64>,
    predicted: Vec<u64>,
    gold: Vec<u64>,
}

impl Counts {
    /// Nothing counted yet, for a model with so many labels.
    pub fn new(labels: usize) -> Self {
        let zeros = vec![0; labels];
        Counts {
            correct: zeros.clone(),
            predicted: zeros.clone(),
            gold: zeros,
        }
    }

    /// Counts one answer.
    ///
    /// # Panics
    /// If a label is not below the number of labels.
    pub fn add(&mut self, gold: usize, predicted: usize) {
        self.gold[gold] += 1;
        self.predicted[predicted] += 1;
        self.correct[gold] += u64::from(gold == predicted);
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> f64 {
        ratio(total(&self.correct), total(&self.gold))
    }

    /// Of the answers with a label, the share that are right.
    pub fn precision(&self) -> f64 {
        self.average(|label| ratio(self.correct[label], self.predicted[label]))
    }

    /// Of the rows with a label, the share that got it.
    pub fn recall(&self) -> f64 {
        self.average(|label| ratio(self.correct[label], self.gold[label]))
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        let answers = |label| self.predicted[label] + self.gold[label];
        self.average(|label| ratio(2 * self.correct[label], answers(label)))
    }

    /// The correlation between answers and gold labels, from -1 to 1, for any number of labels
    /// (Gorodkin 2004); 0 where all answers or all gold labels are the same.
    pub fn matthews_correlation(&self) -> f64 {
        let rows = total(&self.gold) as f64;
        let product = |a: &[u64], b: &[u64]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
        };
        let covariance = total(&self.correct) as f64 * rows - product(&self.predicted, &self.gold);
        let predicted = rows * rows - product(&self.predicted, &self.predicted);
        let gold = rows * rows - product(&self.gold, &self.gold);
        if predicted * gold == 0.0 {
            0.0
        } else {
            covariance / (predicted * gold).sqrt()
        }
    }

    /// Label 1's figure, or the mean over the labels that occur.
    fn average(&self, of: impl Fn(usize) -> f64) -> f64 {
        if self.gold.len() == 2 {
            return of(1);
        }
        let occurs = |label: &usize| self.gold[*label] + self.predicted[*label] > 0;
        let labels: Vec<usize> = (0..self.gold.len()).filter(occurs).collect();
        let sum: f64 = labels.iter().map(|&label| of(label)).sum();
        sum / labels.len().max(1) as f64
    }
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sequence;

    /// Answers of which at least every other one is right, labels below `gold` and `predicted`.
    fn counts(rows: usize, labels: usize, gold: usize, predicted: usize) -> Counts {
        let (truth, noise) = (sequence(1, labels, rows), sequence(2, labels, rows));
        let mut counts = Counts::new(labels);
        for (row, (truth, noise)) in truth.into_iter().zip(noise).enumerate() {
            let answer = if row % 2 == 0 { truth } else { noise };
            counts.add(truth % gold, answer % predicted);
        }
        counts
    }

    /// The figures are scikit-learn 1.9's for the same rows: `accuracy_score`, `f1_score`,
    /// `precision_score`, `recall_score` (`average="binary"`, then `"macro"`, `zero_division=0`)
    /// and `matthews_corrcoef`.
    #[test]
    fn figures_are_those_of_scikit_learn() {
        for (counts, expected) in [
            (
                counts(200, 2, 2, 2),
                [
                    0.77,
                    0.7830188679245284,
                    0.7904761904761904,
                    0.7757009345794392,
                    0.5384928125613154,
                ],
            ),
            (
                counts(300, 3, 3, 3),
                [
                    0.6866666666666666,
                    0.6862776066756165,
                    0.6874530362603757,
                    0.6864349700276149,
                    0.5302928587280911,
                ],
            ),
            // Seven labels, of which two never occur and one is never right.
            (
                counts(40, 7, 4, 5),
                [
                    0.375,
                    0.3044289044289044,
                    0.33479853479853483,
                    0.3011965811965812,
                    0.17369594430020066,
                ],
            ),
        ] {
            let found = [
                counts.accuracy(),
                counts.f1(),
                counts.precision(),
                counts.recall(),
                counts.matthews_correlation(),
            ];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-14, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn a_model_that_always_says_the_same_has_no_correlation() {
        let mut counts = Counts::new(2);
        for (gold, rows) in [(0, 3), (1, 7)] {
            (0..rows).for_each(|_| counts.add(gold, 0));
        }
        assert_eq!(counts.accuracy(), 0.3);
        assert_eq!(counts.matthews_correlation(), 0.0);
        assert_eq!(
            (counts.precision(), counts.recall(), counts.f1()),
            (0.0, 0.0, 0.0)
        );
    }
}
