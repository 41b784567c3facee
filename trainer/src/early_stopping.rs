//! Ending a run that gets no better, as `transformers`' `EarlyStoppingCallback` does.
//!
//! An evaluation betters the best one before it when it is better by more than the threshold; as many in a row that
//! don't as the patience has end the run. The count lies in the state, under the name and in the form that
//! `transformers` writes, so that a resumed run goes on counting.

use serde_json::{Value, json};

use crate::recipe::Recipe;
use crate::state::TrainerState;

const CALLBACK: &str = "EarlyStoppingCallback";
const COUNT: &str = "early_stopping_patience_counter";

/// Evaluations in a row, up to the last one, that did not better the best.
pub(crate) fn count(state: &TrainerState) -> u32 {
    let callback = state.stateful_callbacks.get(CALLBACK);
    let count = callback.and_then(|callback| callback["attributes"][COUNT].as_u64());
    count.map_or(0, |count| count.try_into().unwrap_or(u32::MAX))
}

/// Whether the run has come to its early end.
pub(crate) fn has_stopped(recipe: &Recipe, state: &TrainerState) -> bool {
    let patience = recipe.early_stopping_patience;
    patience.is_some_and(|patience| count(state) >= patience)
}

/// Counts an evaluation whose deciding metric is `value`, before the state's best takes it in.
pub(crate) fn count_evaluation(recipe: &Recipe, state: &mut TrainerState, value: f64) {
    let Some(patience) = recipe.early_stopping_patience else {
        return;
    };
    let threshold = recipe.early_stopping_threshold;
    let betters = |best: f64| recipe.is_better(value, best) && (value - best).abs() > threshold;
    let count = if state.best_metric.is_none_or(betters) {
        0
    } else {
        count(state) + 1
    };
    let callback: Value = json!({
        "args": { "early_stopping_patience": patience, "early_stopping_threshold": threshold },
        "attributes": { COUNT: count },
    });
    state.stateful_callbacks.insert(CALLBACK.into(), callback);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts after each of some accuracies, as a run has them.
    fn counts(threshold: f64, values: &[f64]) -> Vec<u32> {
        let recipe = Recipe {
            early_stopping_patience: Some(3),
            early_stopping_threshold: threshold,
            metric_for_best_model: Some("accuracy".into()),
            ..Recipe::default()
        };
        let mut state = TrainerState::default();
        let counts = values.iter().map(|&value| {
            count_evaluation(&recipe, &mut state, value);
            if state.best_metric.is_none_or(|best| value > best) {
                state.best_metric = Some(value);
            }
            assert_eq!(has_stopped(&recipe, &state), count(&state) >= 3);
            count(&state)
        });
        counts.collect()
    }

    #[test]
    fn what_is_no_better_counts_and_what_is_starts_again() {
        assert_eq!(counts(0.0, &[0.5, 0.5, 0.4, 0.6, 0.6]), [0, 1, 2, 0, 1]);
        assert_eq!(counts(0.0, &[0.5, 0.4, 0.3, 0.2]), [0, 1, 2, 3]);
    }

    /// The best moves on all the same, as in `transformers`: three small steps up are no betterment.
    #[test]
    fn a_betterment_below_the_threshold_counts_as_none() {
        assert_eq!(counts(0.1, &[0.5, 0.55, 0.625, 0.75]), [0, 1, 2, 0]);
    }

    #[test]
    fn without_patience_nothing_is_counted() {
        let mut state = TrainerState::default();
        count_evaluation(&Recipe::default(), &mut state, 1.0);
        assert_eq!(state, TrainerState::default());
        assert!(!has_stopped(&Recipe::default(), &state));
    }
}
