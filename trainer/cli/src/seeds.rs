//! What several runs that differ in nothing but their seed came to: mean and standard deviation of each figure.

use serde_json::{Map, Value};

/// Puts the figures of the runs together, in the order of the runs: for each `NAME` its mean, `NAME_std` (of a
/// sample: the squares are divided by n − 1; null for one run) and `NAME_each`. Where a run has no number, as for a
/// correlation with nothing, mean and deviation are null. Counts, and epochs, that are the same in all stand alone.
pub fn summary(runs: &[Map<String, Value>]) -> Map<String, Value> {
    let mut summary = Map::new();
    for (name, first) in runs.first().into_iter().flatten() {
        let each: Vec<&Value> = runs.iter().filter_map(|run| run.get(name)).collect();
        let is_figure = |value: &&Value| value.is_number() || value.is_null();
        if each.len() < runs.len() || !each.iter().all(is_figure) {
            continue;
        }
        let counts = !first.is_f64() || name == "epoch";
        if counts && each.iter().all(|value| *value == first) {
            summary.insert(name.clone(), first.clone());
            continue;
        }
        let numbers: Option<Vec<f64>> = each.iter().map(|value| value.as_f64()).collect();
        let (mean, deviation) = numbers.map_or((None, None), |numbers| spread(&numbers));
        summary.insert(name.clone(), mean.into());
        summary.insert(format!("{name}_std"), deviation.into());
        summary.insert(format!("{name}_each"), each.into_iter().cloned().collect());
    }
    summary
}

/// A summary as rows for people: name, mean, deviation and the runs' own.
pub fn rows(summary: &Map<String, Value>) -> Vec<Vec<String>> {
    let figures = summary.iter().filter_map(|(name, mean)| {
        let deviation = summary.get(&format!("{name}_std"))?;
        let each = summary.get(&format!("{name}_each"))?.as_array()?;
        let each: Vec<String> = each.iter().map(short).collect();
        let middle = match deviation.is_null() {
            true => short(mean),
            false => format!("{} ± {}", short(mean), short(deviation)),
        };
        Some(vec![name.clone(), middle, each.join("  ")])
    });
    figures.collect()
}

fn short(value: &Value) -> String {
    value
        .as_f64()
        .map_or("–".to_owned(), |number| format!("{number:.4}"))
}

/// Mean and standard deviation.
fn spread(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    (Some(mean), deviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn runs(runs: &[Value]) -> Map<String, Value> {
        let runs: Vec<_> = runs
            .iter()
            .map(|run| run.as_object().unwrap().clone())
            .collect();
        summary(&runs)
    }

    /// The deviation of 0.25, 0.75 and 0.5 is `statistics.stdev`'s.
    #[test]
    fn each_figure_has_mean_deviation_and_all_its_values() {
        let run = |accuracy: f64| json!({"epoch": 3.0, "eval_accuracy": accuracy, "eval_samples": 8, "note": "x"});
        let all = runs(&[run(0.25), run(0.75), run(0.5)]);
        let expected = json!({
            "epoch": 3.0,
            "eval_accuracy": 0.5,
            "eval_accuracy_std": 0.25,
            "eval_accuracy_each": [0.25, 0.75, 0.5],
            "eval_samples": 8,
        });
        assert_eq!(Value::Object(all.clone()), expected);
        assert_eq!(
            rows(&all),
            [["eval_accuracy", "0.5000 ± 0.2500", "0.2500  0.7500  0.5000"]]
        );
        let one = runs(&[run(0.25)]);
        assert_eq!(one["eval_accuracy_std"], Value::Null);
        assert_eq!(rows(&one), [["eval_accuracy", "0.2500", "0.2500"]]);
    }

    #[test]
    fn a_run_without_a_number_leaves_no_mean() {
        let all = runs(&[json!({"eval_pearson": 0.5}), json!({"eval_pearson": null})]);
        assert_eq!(
            Value::Object(all.clone()),
            json!({"eval_pearson": null, "eval_pearson_std": null, "eval_pearson_each": [0.5, null]})
        );
        assert_eq!(rows(&all), [["eval_pearson", "–", "0.5000  –"]]);
        assert!(runs(&[json!({"a": 1.0}), json!({})]).is_empty());
    }
}
