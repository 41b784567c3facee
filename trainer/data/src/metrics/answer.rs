//! What a model says to what it is asked.

use crate::dataset::Label;

/// One thing that is asked - a label, a number, the tag of a word - and what a model says to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The index of the example.
    pub example: usize,
    /// The index of the word in it, where words are asked about.
    pub word: Option<usize>,
    /// What is right.
    pub gold: Label,
    /// What the model says.
    pub answer: Answer,
}

/// What a model says.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// One of the labels.
    Class {
        /// Its index.
        label: usize,
        /// How probable the model finds it.
        probability: f32,
    },
    /// Those of the labels that are more probable than not.
    Set {
        /// Their indices, in their order.
        labels: Vec<usize>,
        /// How probable the model finds each of all labels.
        probabilities: Vec<f32>,
    },
    /// A number.
    Value(f32),
    /// None, since the best one was not sure enough; [`Answer::unless_below`].
    Abstained,
    /// A part of the passage.
    Span {
        /// Its text; empty where there is no answer.
        text: String,
        /// The byte of the passage that it begins at; 0 where there is no answer.
        start: usize,
        /// The product of the probabilities of its start and its end.
        probability: f32,
    },
}

impl Answer {
    /// How probable the model finds it; none for a number, nor for several labels.
    pub fn probability(&self) -> Option<f32> {
        match self {
            Answer::Class { probability, .. } | Answer::Span { probability, .. } => {
                Some(*probability)
            }
            Answer::Set { .. } | Answer::Value(_) | Answer::Abstained => None,
        }
    }

    /// The answer, or that there is none where its probability is below `min_score`.
    pub fn unless_below(self, min_score: f32) -> Answer {
        match self.probability() {
            Some(probability) if probability < min_score => Answer::Abstained,
            _ => self,
        }
    }
}
