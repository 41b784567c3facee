//! A session: the memory of one thread's queries, and the queries.

use std::fmt;

use berth_task::{Aggregation, Labels, LongTexts, MAX_LABELS, Merge, Score, Task};
use berth_wordpiece::Piece;

use crate::engine::Engine;
use crate::error::{OpenError, QueryError};
use crate::model::Model;
use crate::questions::Passage;
use crate::tags::{Asked, Memory, Tags};
use crate::texts::Reading;
use crate::workers::Threads;

/// Asks a model, one query after the other, in memory that was taken when it was made.
///
/// No query allocates, from the first one on. A text may have any length, none included: one that is
/// beyond the model's positions is read window by window, and nothing of it is cut unless that is
/// [asked for](Self::set_long_texts). Where something is cut all the same - the shorter of two texts, where
/// it takes more than half of an input - the answer says how many word pieces that were.
///
/// Scores are taken at the temperature that the bundle carries.
pub struct Session {
    pub(crate) model: Model,
    pub(crate) engine: Engine,
    /// The tokenizer's pieces, and its scratch behind them.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) ids: Vec<u32>,
    /// For question answering alone.
    pub(crate) passage: Passage,
    scores: Box<heapless::Vec<Score, MAX_LABELS>>,
    /// The labels of a window's pieces.
    tags: Vec<Score>,
    /// Sums up the windows of a long text.
    merge: Merge,
    long_texts: LongTexts,
}

/// The head's raw outputs for one query.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Logits<'s> {
    /// `outputs` values for a head that reads the first row alone, else so many for each token.
    pub values: &'s [f32],
    /// How many word pieces were cut off, 0 as a rule.
    pub truncated: usize,
    /// By how many windows the text was read, 1 as a rule.
    pub windows: usize,
}

/// A label for each output, ranked.
#[derive(Copy, Clone, Debug)]
pub struct Classification<'s> {
    labels: &'s Labels,
    scores: &'s [Score],
    /// How many word pieces were cut off, 0 as a rule.
    pub truncated: usize,
    /// By how many windows the text was read, 1 as a rule.
    pub windows: usize,
}

/// A label and how probable the model finds it, from 0 to 1.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct LabelScore<'s> {
    /// As the training file spelt it.
    pub label: &'s str,
    /// The probability.
    pub score: f32,
}

/// A number for two texts, in the units of the labels that the model was trained with.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Similarity {
    /// The number, not clipped.
    pub score: f32,
    /// How many word pieces were cut off, 0 as a rule.
    pub truncated: usize,
    /// By how many windows the texts were read, 1 as a rule.
    pub windows: usize,
}

impl<'s> Classification<'s> {
    /// Every label, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LabelScore<'s>> + use<'s> {
        let labels = self.labels;
        self.scores.iter().map(move |row| LabelScore {
            label: labels.get(usize::from(row.label)).unwrap_or_default(),
            score: row.score,
        })
    }

    /// The most probable label.
    pub fn best(&self) -> LabelScore<'s> {
        // A bundle without labels has no classification, see `Session::classify_either`.
        self.iter().next().unwrap_or(LabelScore {
            label: "",
            score: 0.0,
        })
    }
}

impl Session {
    pub(crate) fn new(model: &Model, threads: Threads) -> Result<Self, OpenError> {
        let positions = model.positions();
        let passage = match model.header().spans {
            Some(_) => Passage::new(positions),
            None => Passage::default(),
        };
        let mut session = Session {
            engine: Engine::new(model.plan(), threads)?,
            pieces: vec![Piece::default(); 2 * positions],
            ids: vec![0; positions],
            passage,
            scores: Box::default(),
            tags: vec![
                Score {
                    label: 0,
                    score: 0.0
                };
                positions
            ],
            merge: Merge::new(),
            long_texts: LongTexts::default(),
            model: model.clone(),
        };
        // The shortest query touches all weights of the layers and whatever is made on first use.
        // Whether it has an answer is for the caller's own query to say.
        let _ = session.engine.run(&[0], 1);
        Ok(session)
    }

    /// The model that is asked.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What becomes of texts that are longer than the model's positions; windows, where nothing is said.
    /// Texts to be tagged, and passages, are read by windows whatever is said.
    pub fn set_long_texts(&mut self, long_texts: LongTexts) {
        self.long_texts = long_texts;
    }

    /// The most probable label of a text, and all others. Where [any number](Model::multi_label) of them may
    /// go, each has a score of its own, else the scores sum up to 1.
    ///
    /// # Errors
    /// When the model doesn't classify single texts, or as [`logits`](Self::logits).
    pub fn classify(&mut self, text: &str) -> Result<Classification<'_>, QueryError> {
        self.classify_either(text, None)
    }

    /// The most probable label of two texts, and all others.
    ///
    /// # Errors
    /// When the model doesn't classify pairs, or as [`logits`](Self::logits).
    pub fn classify_pair(
        &mut self,
        text: &str,
        pair: &str,
    ) -> Result<Classification<'_>, QueryError> {
        self.classify_either(text, Some(pair))
    }

    /// How alike two texts are, on the scale of the model's labels.
    ///
    /// # Errors
    /// When the model gives no number for pairs, or as [`logits`](Self::logits).
    pub fn similarity(&mut self, text: &str, pair: &str) -> Result<Similarity, QueryError> {
        let task = self.model.header().task;
        if task != Task::TextPairRegression {
            return Err(QueryError::Task(task));
        }
        let logits = self.logits(text, Some(pair))?;
        Ok(Similarity {
            score: logits.values[0],
            truncated: logits.truncated,
            windows: logits.windows,
        })
    }

    /// The tags of a text: entities where the model's labels mark them, else words as BERT's
    /// pre-tokenizer parts them. The rows are the session's until its next query; their words stay the caller's.
    ///
    /// # Errors
    /// When the model doesn't tag; each row may bring an error of [`logits`](Self::logits).
    pub fn tag<'s, 't: 's>(&'s mut self, text: &'t str) -> Result<Tags<'s, 't>, QueryError> {
        let aggregation = Aggregation::usual(self.model.header().labels.iter());
        self.tag_with(text, None, aggregation)
    }

    /// The same, with rows as `aggregation` says, and for words that are given: joined by one space
    /// to `text`, `ends` has the byte behind each.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn tag_with<'s, 't: 's>(
        &'s mut self,
        text: &'t str,
        ends: Option<&'s [u32]>,
        aggregation: Aggregation,
    ) -> Result<Tags<'s, 't>, QueryError> {
        let header = self.model.header();
        if header.task != Task::TokenClassification {
            return Err(QueryError::Task(header.task));
        }
        let memory = Memory {
            tokenizer: self.model.tokenizer(),
            engine: &mut self.engine,
            pieces: &mut self.pieces,
            ids: &mut self.ids,
            tags: &mut self.tags,
            temperature: header.temperature(),
        };
        let asked = Asked {
            text,
            ends,
            aggregation,
        };
        Ok(Tags::new(memory, &header.labels, asked))
    }

    /// The head's outputs for a text, or for two where the model takes two. Where the head answers about
    /// the text as a whole, one that is too long for the model is read by windows, and the outputs are
    /// their mean, as [`Merge`] takes it.
    ///
    /// # Errors
    /// When there is one text too few or too many, or when the bundle is damaged so that its
    /// tokenizer names words that it has no weights for.
    pub fn logits(&mut self, text: &str, pair: Option<&str>) -> Result<Logits<'_>, QueryError> {
        let reading = Reading {
            task: self.model.header().task,
            long_texts: self.long_texts,
            tokenizer: self.model.tokenizer(),
            engine: &mut self.engine,
            pieces: &mut self.pieces,
            ids: &mut self.ids,
            merge: &mut self.merge,
        };
        reading.logits(text, pair)
    }

    /// The head's outputs for tokens that were made elsewhere. Those from `second` on belong to the
    /// second text; without one it is `ids.len()`.
    ///
    /// # Errors
    /// When there is no id or more of them than the model has positions, when an id is not in the
    /// vocabulary, or when `second` is beyond the end.
    pub fn logits_of(&mut self, ids: &[u32], second: usize) -> Result<&[f32], QueryError> {
        self.engine.run(ids, second)
    }

    pub(crate) fn classify_either(
        &mut self,
        text: &str,
        pair: Option<&str>,
    ) -> Result<Classification<'_>, QueryError> {
        let task = self.model.header().task;
        if !matches!(
            task,
            Task::TextClassification | Task::TextPairClassification
        ) {
            return Err(QueryError::Task(task));
        }
        let reading = Reading {
            task,
            long_texts: self.long_texts,
            tokenizer: self.model.tokenizer(),
            engine: &mut self.engine,
            pieces: &mut self.pieces,
            ids: &mut self.ids,
            merge: &mut self.merge,
        };
        let Logits {
            values,
            truncated,
            windows,
        } = reading.logits(text, pair)?;
        let header = self.model.header();
        if self.model.multi_label() {
            berth_task::classify_each(values, &mut self.scores);
        } else {
            berth_task::classify(values, header.temperature(), &mut self.scores);
        }
        Ok(Classification {
            labels: &header.labels,
            scores: &self.scores,
            truncated,
            windows,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.model).finish()
    }
}
