//! What a recipe says against classes of unequal size: weights, label smoothing and the focal loss.
//!
//! They change what is learned from; what is measured, `eval_loss` included, stays plain, so that runs can be compared.

use std::collections::BTreeMap;

use berth_data::{Encoded, Target};
use berth_task::Task;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::kernels::loss::Weighing;
use crate::recipe::Recipe;

/// What the examples of each class weigh; in JSON `"balanced"`, a list, or an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassWeights {
    /// By the counts of the training file.
    Computed(Computed),
    /// In the order of the labels.
    Listed(Vec<f64>),
    /// By label.
    Named(BTreeMap<String, f64>),
}

/// How weights are computed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Computed {
    /// Examples over classes times the class's examples, as scikit-learn has it: each class weighs the same in all.
    Balanced,
}

/// Why a loss can't be weighed so.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Imbalance {
    /// The task has no classes.
    #[error(
        "class_weights, label_smoothing_factor and focal_gamma are for classification and tagging, not for {0}"
    )]
    Task(Task),
    /// Each label is decided by itself.
    #[error(
        "class_weights, label_smoothing_factor and focal_gamma are for rows with one label each, and these may have \
         several"
    )]
    Several,
    /// A label without a weight, or a weight without a label.
    #[error("class_weights: {} weights for {} labels ({})", .weights, .labels.len(), .labels.join(", "))]
    Count {
        /// How many were given.
        weights: usize,
        /// The labels.
        labels: Vec<String>,
    },
    /// No label has this name.
    #[error("class_weights: no label is called `{name}`; there are {}", labels.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The labels.
        labels: Vec<String>,
    },
    /// A number that is no weight.
    #[error("class_weights: {weight} for `{label}`, but a weight is 0 or more")]
    Weight {
        /// The label.
        label: String,
        /// What it was to weigh.
        weight: f64,
    },
    /// All weights are 0.
    #[error("class_weights: every weight is 0, so that there is nothing to learn")]
    Nothing,
}

/// What the recipe says of the loss; none where it is the plain one.
///
/// # Errors
/// If it does not go with the task or the labels.
pub(crate) fn weighing(
    recipe: &Recipe,
    task: Task,
    labels: &[String],
    train: &[Encoded],
) -> Result<Option<Weighing>, Imbalance> {
    let (smoothing, gamma) = (recipe.label_smoothing_factor, recipe.focal_gamma);
    if recipe.class_weights.is_none() && smoothing == 0.0 && gamma == 0.0 {
        return Ok(None);
    }
    if matches!(task, Task::TextPairRegression | Task::QuestionAnswering) {
        return Err(Imbalance::Task(task));
    }
    if train.iter().any(|row| matches!(row.target, Target::Set(_))) {
        return Err(Imbalance::Several);
    }
    let weights = match &recipe.class_weights {
        None => Vec::new(),
        Some(ClassWeights::Computed(Computed::Balanced)) => balanced(labels.len(), train),
        Some(ClassWeights::Listed(weights)) => weights.clone(),
        Some(ClassWeights::Named(weights)) => named(weights, labels)?,
    };
    if recipe.class_weights.is_some() {
        check(&weights, labels)?;
    }
    Ok(Some(Weighing {
        weights,
        smoothing,
        gamma,
    }))
}

/// Examples / (classes that have any · the class's examples); 1 for a class that has none.
fn balanced(labels: usize, train: &[Encoded]) -> Vec<f64> {
    let mut counts = vec![0_u64; labels];
    let mut count = |class: u32| {
        if let Some(count) = counts.get_mut(class as usize) {
            *count += 1;
        }
    };
    for row in train {
        match &row.target {
            Target::Class(class) => count(*class),
            Target::Classes(classes) => classes.iter().flatten().for_each(|&class| count(class)),
            _ => {}
        }
    }
    let present = counts.iter().filter(|&&count| count > 0).count() as f64;
    let all = counts.iter().sum::<u64>() as f64;
    let weight = |count: u64| match count {
        0 => 1.0,
        count => all / (present * count as f64),
    };
    counts.into_iter().map(weight).collect()
}

/// In the labels' order.
fn named(weights: &BTreeMap<String, f64>, labels: &[String]) -> Result<Vec<f64>, Imbalance> {
    if let Some(name) = weights.keys().find(|name| !labels.contains(name)) {
        return Err(Imbalance::Unknown {
            name: name.clone(),
            labels: labels.to_vec(),
        });
    }
    Ok(labels
        .iter()
        .filter_map(|label| weights.get(label).copied())
        .collect())
}

fn check(weights: &[f64], labels: &[String]) -> Result<(), Imbalance> {
    if weights.len() != labels.len() {
        return Err(Imbalance::Count {
            weights: weights.len(),
            labels: labels.to_vec(),
        });
    }
    let wrong = |weight: &f64| !(*weight >= 0.0 && weight.is_finite());
    if let Some((label, &weight)) = labels.iter().zip(weights).find(|(_, w)| wrong(w)) {
        let label = label.clone();
        return Err(Imbalance::Weight { label, weight });
    }
    match weights.iter().all(|&weight| weight == 0.0) {
        true => Err(Imbalance::Nothing),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, task: Task, targets: &[Target]) -> Result<Vec<f64>, String> {
        let recipe = Recipe {
            class_weights: Some(serde_json::from_str(json).unwrap()),
            ..Recipe::default()
        };
        let row = |target: &Target| Encoded {
            target: target.clone(),
            ..Encoded::default()
        };
        let rows: Vec<Encoded> = targets.iter().map(row).collect();
        let labels = ["a", "b", "c"].map(str::to_owned);
        let weighing = weighing(&recipe, task, &labels, &rows);
        weighing
            .map(|weighing| weighing.unwrap().weights)
            .map_err(|error| error.to_string())
    }

    const TASK: Task = Task::TextClassification;

    /// As `sklearn.utils.class_weight.compute_class_weight("balanced", …)`: 4 / (2 · count).
    #[test]
    fn balanced_classes_weigh_the_same_in_all() {
        let rows = [0, 0, 0, 1].map(Target::Class);
        assert_eq!(
            of("\"balanced\"", TASK, &rows),
            Ok(vec![4.0 / 6.0, 2.0, 1.0])
        );
        let tags = [Target::Classes(vec![
            None,
            Some(2),
            Some(2),
            None,
            Some(0),
            Some(1),
        ])];
        let task = Task::TokenClassification;
        assert_eq!(
            of("\"balanced\"", task, &tags),
            Ok(vec![4.0 / 3.0, 4.0 / 3.0, 2.0 / 3.0])
        );
    }

    #[test]
    fn weights_are_given_by_label_or_in_order() {
        let expected = Ok(vec![1.0, 2.5, 0.0]);
        assert_eq!(of("[1, 2.5, 0]", TASK, &[]), expected);
        assert_eq!(of(r#"{"c": 0, "a": 1, "b": 2.5}"#, TASK, &[]), expected);
    }

    #[test]
    fn what_is_no_weight_is_refused_by_its_name() {
        let error = |json| of(json, TASK, &[]).unwrap_err();
        assert_eq!(
            error("[1, 2]"),
            "class_weights: 2 weights for 3 labels (a, b, c)"
        );
        assert_eq!(
            error(r#"{"a": 1, "x": 2}"#),
            "class_weights: no label is called `x`; there are a, b, c"
        );
        assert_eq!(
            error("[1, -2, 0]"),
            "class_weights: -2 for `b`, but a weight is 0 or more"
        );
        assert!(error("[0, 0, 0]").starts_with("class_weights: every weight is 0"));
        let several = of("\"balanced\"", TASK, &[Target::Set(vec![0])]).unwrap_err();
        assert!(several.ends_with("and these may have several"), "{several}");
        let numbers = of("\"balanced\"", Task::TextPairRegression, &[]).unwrap_err();
        assert!(
            numbers.ends_with("not for text-pair-regression"),
            "{numbers}"
        );
    }

    #[test]
    fn a_recipe_that_says_nothing_has_the_plain_loss() {
        let weighing = weighing(&Recipe::default(), Task::QuestionAnswering, &[], &[]);
        assert_eq!(weighing, Ok(None));
    }
}
