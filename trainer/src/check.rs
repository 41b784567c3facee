//! Looks at examples before anything is computed, so that no run ends in the middle over one of them.

use berth_checkpoint::Config;
use berth_data::{Encoded, Target};
use berth_task::Task;

use crate::error::{ExampleProblem, TrainError};

/// What a model can read.
pub(crate) struct Limits {
    vocabulary: usize,
    positions: usize,
    types: usize,
}

impl Limits {
    /// From config.json.
    pub fn of(config: &Config) -> Self {
        Self {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            types: config.type_vocab_size,
        }
    }

    /// # Errors
    /// The first row that the model can't read.
    pub fn check_inputs(&self, rows: &[Encoded]) -> Result<(), TrainError> {
        first_problem(rows.iter(), |row| self.problem(row))
    }

    fn problem(&self, row: &Encoded) -> Option<ExampleProblem> {
        let length = row.ids.len();
        if length == 0 {
            return Some(ExampleProblem::Empty);
        }
        if length > self.positions {
            return Some(ExampleProblem::TooLong {
                length,
                positions: self.positions,
            });
        }
        if row.second < length && self.types < 2 {
            return Some(ExampleProblem::SecondText);
        }
        let unknown = row.ids.iter().find(|&&id| id as usize >= self.vocabulary);
        unknown.map(|&id| ExampleProblem::UnknownPiece {
            id,
            vocabulary: self.vocabulary,
        })
    }
}

/// # Errors
/// The first row whose target is not of the task's kind, with `outputs` classes.
pub(crate) fn check_targets<'a>(
    task: Task,
    outputs: usize,
    rows: impl IntoIterator<Item = &'a Encoded>,
) -> Result<(), TrainError> {
    let known = |class: u32| (class as usize) < outputs;
    let mut rows = rows.into_iter().peekable();
    // Either each row has one label, or each has any number.
    let sets = rows
        .peek()
        .is_some_and(|row| matches!(row.target, Target::Set(_)));
    first_problem(rows, |row| {
        let inside = |piece: u32| (piece as usize) < row.ids.len();
        let fits = match (task, &row.target) {
            (Task::TextClassification | Task::TextPairClassification, &Target::Class(class)) => {
                !sets && known(class)
            }
            (Task::TextClassification | Task::TextPairClassification, Target::Set(classes)) => {
                sets && classes.iter().all(|&class| known(class))
            }
            (Task::TextPairRegression, Target::Value(value)) => value.is_finite(),
            (Task::TokenClassification, Target::Classes(classes)) => {
                classes.len() == row.ids.len()
                    && classes.iter().flatten().all(|&class| known(class))
            }
            (Task::QuestionAnswering, &Target::Span(first, last)) => first <= last && inside(last),
            _ => false,
        };
        (!fits).then_some(ExampleProblem::Label)
    })
}

fn first_problem<'a>(
    rows: impl Iterator<Item = &'a Encoded>,
    problem: impl Fn(&Encoded) -> Option<ExampleProblem>,
) -> Result<(), TrainError> {
    match rows
        .enumerate()
        .find_map(|(i, row)| Some((i, problem(row)?)))
    {
        Some((i, problem)) => Err(TrainError::Example {
            row: i + 1,
            problem,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ids: &[u32], second: usize, target: Target) -> Encoded {
        Encoded {
            ids: ids.to_vec(),
            second,
            target,
            ..Encoded::default()
        }
    }

    #[test]
    fn each_problem_is_found_and_the_row_named() {
        let limits = Limits {
            vocabulary: 10,
            positions: 3,
            types: 1,
        };
        let good = row(&[1, 9], 2, Target::Class(0));
        limits.check_inputs(std::slice::from_ref(&good)).unwrap();
        for (bad, message) in [
            (row(&[], 0, Target::None), "example 2 is empty"),
            (
                row(&[1; 4], 4, Target::None),
                "example 2 has 4 pieces; the model has 3 positions",
            ),
            (
                row(&[10], 1, Target::None),
                "example 2 has piece 10; the model's vocabulary has 10",
            ),
            (
                row(&[1, 2], 1, Target::None),
                "example 2 has two texts; the model has one token type",
            ),
        ] {
            assert_eq!(
                limits
                    .check_inputs(&[good.clone(), bad])
                    .unwrap_err()
                    .to_string(),
                message
            );
        }
    }

    #[test]
    fn labels_must_be_of_the_tasks_kind() {
        let check = |task, target| check_targets(task, 2, &[row(&[1, 2], 2, target)]).is_ok();
        let text = Task::TextClassification;
        assert!(check(text, Target::Class(1)));
        assert!(!check(text, Target::Class(2)));
        assert!(!check(text, Target::Value(1.0)));
        assert!(!check(text, Target::None));
        assert!(check(text, Target::Set(vec![])) && check(text, Target::Set(vec![0, 1])));
        assert!(!check(text, Target::Set(vec![0, 2])));
        assert!(!check(Task::TokenClassification, Target::Set(vec![0])));
        let mixed = [Target::Set(vec![0]), Target::Class(0)].map(|target| row(&[1], 1, target));
        let error = check_targets(text, 2, &mixed).unwrap_err().to_string();
        assert!(error.starts_with("example 2"), "{error}");
        assert!(check(Task::TextPairRegression, Target::Value(2.5)));
        assert!(!check(Task::TextPairRegression, Target::Value(f32::NAN)));
        let tags = |classes: &[Option<u32>]| {
            check(Task::TokenClassification, Target::Classes(classes.to_vec()))
        };
        assert!(tags(&[None, Some(1)]) && tags(&[None, None]));
        assert!(!tags(&[None, Some(2)]) && !tags(&[Some(1)]));
        assert!(!check(Task::TokenClassification, Target::Class(1)));
        let span = |first, last| check(Task::QuestionAnswering, Target::Span(first, last));
        assert!(span(0, 0) && span(0, 1));
        assert!(!span(1, 0) && !span(1, 2));
    }
}
