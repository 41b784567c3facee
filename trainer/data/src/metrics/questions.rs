//! Answers to questions: a part of the passage, or none.
//!
//! The windows of a passage are decoded together by the code that the device runs
//! ([`berth_task::SpanDecoder`]); what is chosen is counted as SQuAD's official scripts do
//! ([`squad`](super::squad)).

use berth_task::{Pair, Span, SpanDecoder, SpanRules, Temperature, Window};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Decision};
use super::evaluator::Evaluator;
use super::outcome::{Graded, Outcome, Output};
use super::squad::{Mean, Rules, Score, Threshold, Undecided};
use super::texts::cross_entropy;
use super::{EvaluationError, Figures, Measured};
use crate::dataset::{Example, GoldAnswer, Label};
use crate::encode::{Encoded, Target};

/// How answers are chosen and counted.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct SpanScoring {
    /// How spans are chosen. With a threshold there are questions without an answer, and figures
    /// are those of SQuAD 2.0.
    pub rules: SpanRules,
    /// Whether to take the threshold that gives the best F1 on this very file, instead of the
    /// rules' own.
    pub fit_threshold: bool,
}

impl SpanScoring {
    /// Which of SQuAD's scripts counts.
    pub(super) fn scoring_rules(&self) -> Rules {
        match self.rules.null_score_diff_threshold {
            Some(_) => Rules::V2,
            None if self.fit_threshold => Rules::V2,
            None => Rules::V1,
        }
    }
}

/// What a model says to all questions.
struct Answered {
    /// One for each example that has inputs, in their order.
    questions: Vec<Question>,
    /// Above these odds there is no answer.
    threshold: Option<f32>,
    best: Option<BestThresholds>,
}

/// What a model says to one question.
struct Question {
    example: usize,
    /// Best first, that there is none among them.
    spans: Vec<Span>,
    /// By how much "no answer" exceeds the best span; `None` without a span.
    odds: Option<f32>,
}

/// The thresholds that would have been best.
struct BestThresholds {
    exact: Threshold,
    f1: Threshold,
}

/// The loss over windows, the figures over questions; and the threshold, where it was fitted.
pub(super) fn measure<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
) -> Result<(Measured, Figures), EvaluationError> {
    let answered = Answered::of(evaluator, logits, Temperature::ONE)?;
    let rules = evaluator.spans.scoring_rules();
    let mut scores = Vec::with_capacity(answered.questions.len());
    for question in &answered.questions {
        let answer = text(evaluator, question, answered.chosen(question));
        let gold = gold(evaluator, question.example)?;
        scores.push((Score::of(rules, answer, &texts(gold)), !gold.is_empty()));
    }
    let all = Mean::of(scores.iter().map(|(score, _)| *score));
    let mut metrics = vec![("exact_match", all.exact), ("f1", all.f1)];
    if rules == Rules::V2 {
        let part = |with: bool| {
            Mean::of(
                scores
                    .iter()
                    .filter(|(_, has)| *has == with)
                    .map(|(score, _)| *score),
            )
        };
        let (has, no) = (part(true), part(false));
        metrics.extend([
            ("HasAns_exact", has.exact),
            ("HasAns_f1", has.f1),
            ("HasAns_total", has.total as f64),
            ("NoAns_exact", no.exact),
            ("NoAns_f1", no.f1),
            ("NoAns_total", no.total as f64),
        ]);
    }
    if let Some(best) = &answered.best {
        metrics.extend([
            ("best_exact", best.exact.value),
            ("best_exact_thresh", best.exact.odds),
            ("best_f1", best.f1.value),
            ("best_f1_thresh", best.f1.odds),
        ]);
    }
    let fitted = answered.threshold.filter(|_| evaluator.spans.fit_threshold);
    let fitted = fitted.map(|threshold| ("null_score_diff_threshold", f64::from(threshold)));
    Ok((
        (loss(evaluator.inputs, logits), metrics),
        fitted.into_iter().collect(),
    ))
}

/// What is said to each question.
pub(super) fn decisions<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
    temperature: Temperature,
) -> Result<Vec<Decision>, EvaluationError> {
    let answered = Answered::of(evaluator, logits, temperature)?;
    let decision = |question: &Question| {
        let span = answered.chosen(question);
        Decision {
            example: question.example,
            word: None,
            gold: evaluator.examples[question.example].label.clone(),
            answer: Answer::Span {
                text: text(evaluator, question, span).to_owned(),
                start: span.start as usize,
                probability: span.score,
            },
        }
    };
    Ok(answered.questions.iter().map(decision).collect())
}

/// The files that `run_qa` writes: each question's answer, its best spans, and, where there may be
/// no answer, by how much that exceeds the best span, under these names. Unlike there, a span that
/// stands in several windows is listed once, and a passage without any has the empty answer.
pub(super) fn predictions<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
    [predictions, nbest_predictions, null_odds]: [&'static str; 3],
) -> Result<Vec<(&'static str, Value)>, EvaluationError> {
    let answered = Answered::of(evaluator, logits, Temperature::ONE)?;
    let (mut best, mut lists, mut odds) = (Map::new(), Map::new(), Map::new());
    for question in &answered.questions {
        let id = id(evaluator, question.example);
        let answer = text(evaluator, question, answered.chosen(question));
        best.insert(id.clone(), answer.into());
        lists.insert(id.clone(), n_best(evaluator, question));
        odds.insert(id, question.odds.into());
    }
    let mut files = vec![
        (predictions, Value::Object(best)),
        (nbest_predictions, Value::Object(lists)),
    ];
    if answered.threshold.is_some() {
        files.push((null_odds, Value::Object(odds)));
    }
    Ok(files)
}

/// Empties the answers, in the first of the files, of the questions that are abstained from.
pub(super) fn abstain(
    evaluator: &Evaluator<'_>,
    files: &mut [(&'static str, Value)],
    answers: &[Decision],
) {
    let Some((_, Value::Object(best))) = files.first_mut() else {
        return;
    };
    for decision in answers {
        if decision.answer == Answer::Abstained {
            best.insert(id(evaluator, decision.example), "".into());
        }
    }
}

/// What a question is called in files: its own name, or its number.
fn id(evaluator: &Evaluator<'_>, example: usize) -> String {
    let named = evaluator.examples[example].id.clone();
    named.unwrap_or_else(|| example.to_string())
}

/// Whether a text is the answer, word for word, as SQuAD's scripts compare them.
pub(super) fn is_right(evaluator: &Evaluator<'_>, text: &str, gold: &[GoldAnswer]) -> bool {
    Score::of(evaluator.spans.scoring_rules(), text, &texts(gold)).exact > 0.0
}

/// The starts and the ends of each question's passage, over which scores are taken, the span that is answered, and
/// whether it is right.
pub(super) fn graded<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
) -> Result<Vec<Graded>, EvaluationError> {
    let answered = Answered::of(evaluator, logits, Temperature::ONE)?;
    let mut graded = Vec::new();
    let mut row = 0;
    let inputs = evaluator.inputs.chunk_by(|a, b| a.example == b.example);
    for (inputs, question) in inputs.zip(&answered.questions) {
        let (mut pairs, null) = pooled(inputs, &logits[row..row + inputs.len()]);
        row += inputs.len();
        if answered.threshold.is_some() {
            pairs.extend(null);
        }
        let span = answered.chosen(question);
        let text = text(evaluator, question, span);
        let sides = [0, 1].map(|side| Output {
            logits: pairs.iter().map(|pair| pair[side]).collect(),
            logit: span.logits[side],
        });
        // A passage without pieces says nothing.
        if sides[0].logits.is_empty() {
            continue;
        }
        let right = is_right(evaluator, text, gold(evaluator, question.example)?);
        graded.push(Graded {
            example: question.example,
            outcome: Outcome::Span { sides, right },
        });
    }
    Ok(graded)
}

/// The best logits of each piece of a passage among the windows that hold it; and those of `[CLS]` in the window
/// where their sum is least.
fn pooled<L: AsRef<[f32]>>(inputs: &[Encoded], logits: &[L]) -> (Vec<Pair>, Option<Pair>) {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut null: Option<Pair> = None;
    for (input, logits) in inputs.iter().zip(logits) {
        let (window, _) = logits.as_ref().as_chunks::<2>();
        let begun = pairs.len() - input.shared.min(pairs.len());
        let passage = window.get(input.second..input.ids.len() - 1);
        for (at, &pair) in (begun..).zip(passage.unwrap_or_default()) {
            match pairs.get_mut(at) {
                Some(best) => *best = [best[0].max(pair[0]), best[1].max(pair[1])],
                None => pairs.push(pair),
            }
        }
        let sum = |pair: &Pair| pair[0] + pair[1];
        let cls = window.first().copied();
        null = null
            .into_iter()
            .chain(cls)
            .min_by(|a, b| sum(a).total_cmp(&sum(b)));
    }
    (pairs, null)
}

/// The `n_best_size` best entries of a question by their sums, with a softmax over these. "No answer" is one of them,
/// last among equals, and is kept where it comes later.
fn n_best(evaluator: &Evaluator<'_>, question: &Question) -> Value {
    let sum = |span: &Span| f64::from(span.logits[0]) + f64::from(span.logits[1]);
    let mut spans = question.spans.clone();
    spans.sort_by(|a, b| {
        let by_sum = sum(b).total_cmp(&sum(a));
        by_sum.then(a.is_none().cmp(&b.is_none()))
    });
    let most = evaluator.spans.rules.n_best_size.max(1) as usize;
    let cut = spans.split_off(most.min(spans.len()));
    spans.extend(cut.into_iter().filter(Span::is_none));
    let largest = spans.first().map_or(0.0, sum);
    let weight = |span: &Span| (sum(span) - largest).exp();
    let total: f64 = spans.iter().map(weight).sum();
    let entry = |span: &Span| {
        json!({
            "start_logit": span.logits[0],
            "end_logit": span.logits[1],
            "text": text(evaluator, question, *span),
            "probability": weight(span) / total,
        })
    };
    spans.iter().map(entry).collect()
}

impl Answered {
    /// Decodes the windows of every question, and finds the threshold, for which labels are needed;
    /// without any it is the rules' own, or 0.
    fn of<L: AsRef<[f32]>>(
        evaluator: &Evaluator<'_>,
        logits: &[L],
        temperature: Temperature,
    ) -> Result<Self, EvaluationError> {
        let scoring = evaluator.spans;
        let mut rules = scoring.rules;
        if scoring.scoring_rules() == Rules::V2 {
            rules.null_score_diff_threshold.get_or_insert(0.0);
        }
        let mut questions = Vec::new();
        let mut row = 0;
        for inputs in evaluator.inputs.chunk_by(|a, b| a.example == b.example) {
            let logits = &logits[row..row + inputs.len()];
            questions.push(decode(rules, temperature, inputs, logits, row)?);
            row += inputs.len();
        }
        let mut answered = Answered {
            questions,
            threshold: rules.null_score_diff_threshold,
            best: None,
        };
        let is_labelled = |example: &Example| matches!(example.label, Label::Answers(_));
        if scoring.scoring_rules() == Rules::V2 && evaluator.examples.iter().any(is_labelled) {
            let best = BestThresholds::of(evaluator, &answered.questions)?;
            if scoring.fit_threshold {
                answered.threshold = Some(best.f1.as_f32());
            }
            answered.best = Some(best);
        }
        Ok(answered)
    }

    /// The span that is the answer, or that there is none.
    fn chosen(&self, question: &Question) -> Span {
        let none = match (self.threshold, question.odds) {
            (Some(threshold), Some(odds)) => odds > threshold,
            (_, odds) => odds.is_none(),
        };
        let chosen = question.spans.iter().find(|span| span.is_none() == none);
        // Every question has a span or the entry that there is none; see `SpanDecoder::rank`.
        chosen.or(question.spans.first()).copied().unwrap_or(Span {
            start: 0,
            end: 0,
            logits: [0.0; 2],
            score: 0.0,
        })
    }
}

impl Threshold {
    /// Between the same odds in single precision.
    fn as_f32(&self) -> f32 {
        let near = self.odds as f32;
        if f64::from(near) > self.odds {
            near.next_down()
        } else {
            near
        }
    }
}

impl BestThresholds {
    fn of(evaluator: &Evaluator<'_>, questions: &[Question]) -> Result<Self, EvaluationError> {
        let (mut exact, mut f1) = (Vec::new(), Vec::new());
        for question in questions {
            let span = question.spans.iter().find(|span| !span.is_none());
            let answer = span.map_or("", |span| text(evaluator, question, *span));
            let gold = gold(evaluator, question.example)?;
            // Without a span there is no answer, whatever the threshold.
            let (odds, score) = match question.odds {
                Some(odds) => (f64::from(odds), Score::of(Rules::V2, answer, &texts(gold))),
                None => (f64::INFINITY, Score::default()),
            };
            let undecided = |score| Undecided {
                odds,
                score,
                answerable: !gold.is_empty(),
                answered: !answer.is_empty(),
            };
            exact.push(undecided(score.exact));
            f1.push(undecided(score.f1));
        }
        Ok(BestThresholds {
            exact: Threshold::best(&exact),
            f1: Threshold::best(&f1),
        })
    }
}

/// Decodes the windows of one question; the first of them is number `row` of all.
fn decode<L: AsRef<[f32]>>(
    rules: SpanRules,
    temperature: Temperature,
    inputs: &[Encoded],
    logits: &[L],
    row: usize,
) -> Result<Question, EvaluationError> {
    let longest = inputs.iter().map(|input| input.shared).max().unwrap_or(0);
    let mut shared: Vec<Pair> = vec![[0.0; 2]; longest];
    let mut decoder = SpanDecoder::new(rules).at(temperature);
    for (index, (input, logits)) in inputs.iter().zip(logits).enumerate() {
        let logits = logits.as_ref();
        if logits.len() != 2 * input.ids.len() {
            let (row, outputs) = (row + index, logits.len());
            return Err(EvaluationError::Outputs { row, outputs });
        }
        let window = Window {
            logits,
            passage: input.second..input.ids.len() - 1,
            before: input.shared,
            after: inputs.get(index + 1).map_or(0, |next| next.shared),
        };
        let bytes = |piece: usize| (input.offsets[piece].start, input.offsets[piece].end);
        decoder.window(&window, bytes, &mut shared);
    }
    let mut spans = Default::default();
    decoder.rank(&mut spans);
    Ok(Question {
        example: inputs[0].example,
        spans: spans.to_vec(),
        odds: decoder.null_odds(),
    })
}

/// The mean over the windows whose target is known: the two cross entropies of start and end over
/// all pieces of the window, halved. None where it is known of no window.
fn loss<L: AsRef<[f32]>>(inputs: &[Encoded], logits: &[L]) -> Option<f64> {
    let (mut sum, mut windows) = (0.0, 0);
    for (input, logits) in inputs.iter().zip(logits) {
        let Target::Span(start, end) = input.target else {
            continue;
        };
        for (side, gold) in [(0, start), (1, end)] {
            let own: Vec<f32> = logits
                .as_ref()
                .iter()
                .skip(side)
                .step_by(2)
                .copied()
                .collect();
            sum += cross_entropy(&own, gold as usize) / 2.0;
        }
        windows += 1;
    }
    (windows > 0).then(|| sum / f64::from(windows))
}

fn gold<'e>(
    evaluator: &Evaluator<'e>,
    example: usize,
) -> Result<&'e [GoldAnswer], EvaluationError> {
    match evaluator.examples.get(example) {
        Some(Example {
            label: Label::Answers(answers),
            ..
        }) => Ok(answers),
        _ => Err(EvaluationError::NoLabel { row: example }),
    }
}

pub(super) fn texts(gold: &[GoldAnswer]) -> Vec<&str> {
    gold.iter().map(|gold| gold.text.as_str()).collect()
}

/// The part of the passage that a span is.
fn text<'e>(evaluator: &Evaluator<'e>, question: &Question, span: Span) -> &'e str {
    let example = evaluator.examples.get(question.example);
    let passage = example.and_then(|example| example.pair.as_deref());
    let bytes = span.start as usize..span.end as usize;
    passage
        .and_then(|passage| passage.get(bytes))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_task::Task;

    /// A question on "alpha beta" with logits that answer `beta`, and that there is no answer with
    /// the sum `null`.
    fn example(answers: &[&str]) -> Example {
        let gold = |text: &&str| GoldAnswer {
            text: text.to_string(),
            start: Some(0),
        };
        Example {
            id: Some(format!("q{}", answers.len())),
            text: "which".into(),
            pair: Some("alpha beta".into()),
            label: Label::Answers(answers.iter().map(gold).collect()),
            ..Example::default()
        }
    }

    fn input(example: usize, target: Target) -> Encoded {
        Encoded {
            ids: vec![2, 1, 3, 1, 1, 3],
            second: 3,
            target,
            example,
            offsets: vec![0..0, 0..0, 0..0, 0..5, 6..10, 0..0],
            ..Encoded::default()
        }
    }

    fn logits(null: f32) -> Vec<f32> {
        [
            [null, 0.0],
            [0.0; 2],
            [0.0; 2],
            [1.0, 0.0],
            [3.0, 2.0],
            [0.0; 2],
        ]
        .concat()
    }

    fn evaluator<'e>(
        examples: &'e [Example],
        inputs: &'e [Encoded],
        threshold: Option<f32>,
    ) -> Evaluator<'e> {
        Evaluator {
            task: Task::QuestionAnswering,
            task_name: None,
            labels: &[],
            multi_label: false,
            examples,
            inputs,
            spans: SpanScoring {
                rules: SpanRules {
                    null_score_diff_threshold: threshold,
                    ..SpanRules::default()
                },
                fit_threshold: false,
            },
        }
    }

    fn evaluate(
        threshold: Option<f32>,
        fit: bool,
        nulls: [f32; 2],
    ) -> (super::super::Evaluation, Vec<(&'static str, Value)>) {
        let examples = [example(&["the Beta", "gamma"]), example(&[])];
        let inputs = [input(0, Target::Span(4, 4)), input(1, Target::Span(0, 0))];
        let mut evaluator = evaluator(&examples, &inputs, threshold);
        evaluator.spans.fit_threshold = fit;
        let logits = nulls.map(logits);
        (
            evaluator.evaluate(&logits).unwrap(),
            evaluator.predictions(&logits).unwrap(),
        )
    }

    #[test]
    fn version_one_always_answers() {
        let (of, files) = evaluate(None, false, [0.0, 9.0]);
        assert_eq!(
            (of.get("exact_match"), of.get("f1")),
            (Some(50.0), Some(50.0))
        );
        assert_eq!((of.samples, of.metrics.len(), of.fitted.len()), (2, 2, 0));
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["eval_predictions.json", "eval_nbest_predictions.json"]
        );
        assert_eq!(files[0].1, json!({"q2": "beta", "q0": "beta"}));
        let best = &files[1].1["q2"][0];
        assert_eq!(
            (&best["text"], &best["start_logit"], &best["end_logit"]),
            (&json!("beta"), &json!(3.0), &json!(2.0))
        );
        let sum: f64 = files[1].1["q2"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["probability"].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn version_two_is_silent_above_its_threshold() {
        let (of, files) = evaluate(Some(0.0), false, [0.0, 9.0]);
        assert_eq!(
            (of.get("exact_match"), of.get("NoAns_f1")),
            (Some(100.0), Some(100.0))
        );
        assert_eq!(files[0].1, json!({"q2": "beta", "q0": ""}));
        assert_eq!(
            files[2],
            ("eval_null_odds.json", json!({"q2": -5.0, "q0": 4.0}))
        );
        let (of, _) = evaluate(Some(4.0), false, [0.0, 9.0]);
        assert_eq!(
            (of.get("f1"), of.get("HasAns_f1"), of.get("best_f1")),
            (Some(50.0), Some(100.0), Some(100.0))
        );
        assert_eq!((of.get("best_f1_thresh"), of.fitted.len()), (Some(-5.0), 0));
    }

    /// Sums of 5 and 3, and of `[CLS]` before, between, beside and behind them.
    #[test]
    fn the_n_best_are_cut_with_no_answer_among_them() {
        let examples = [example(&[])];
        let mut evaluator = evaluator(&examples, &[], Some(0.0));
        evaluator.spans.rules.n_best_size = 2;
        let span = |start: u32, end: u32, logits: Pair| Span {
            start,
            end,
            logits,
            score: 0.0,
        };
        for (null, expected) in [
            (6.0, &[("", 6.0), ("beta", 5.0)][..]),
            (4.0, &[("beta", 5.0), ("", 4.0)]),
            (3.0, &[("beta", 5.0), ("alpha beta", 3.0), ("", 3.0)]),
            (1.0, &[("beta", 5.0), ("alpha beta", 3.0), ("", 1.0)]),
        ] {
            let question = Question {
                example: 0,
                spans: vec![
                    span(0, 0, [null, 0.0]),
                    span(6, 10, [3.0, 2.0]),
                    span(0, 10, [1.0, 2.0]),
                ],
                odds: Some(null - 5.0),
            };
            let listed = n_best(&evaluator, &question);
            let listed = listed.as_array().unwrap();
            assert_eq!(listed.len(), expected.len(), "{null}: {listed:?}");
            let total: f64 = expected.iter().map(|(_, sum): &(_, f64)| sum.exp()).sum();
            for (entry, (text, sum)) in listed.iter().zip(expected) {
                assert_eq!(entry["text"], *text, "{null}: {listed:?}");
                let probability = entry["probability"].as_f64().unwrap();
                let apart = (probability - sum.exp() / total).abs();
                assert!(apart < 1e-12, "{null}: {listed:?}");
            }
        }
    }

    #[test]
    fn a_passage_without_pieces_counts_among_the_best_figures_too() {
        for (gold, expected) in [(&["gone"][..], 200.0 / 3.0), (&[][..], 100.0)] {
            let examples = [example(&["beta"]), example(&[]), example(gold)];
            let without = Encoded {
                ids: vec![2, 1, 3, 3],
                offsets: vec![0..0; 4],
                ..input(2, Target::Span(0, 0))
            };
            let inputs = [
                input(0, Target::Span(4, 4)),
                input(1, Target::Span(0, 0)),
                without,
            ];
            let evaluator = evaluator(&examples, &inputs, Some(0.0));
            let logits = [logits(0.0), logits(9.0), vec![0.0; 8]];
            let of = evaluator.evaluate(&logits).unwrap();
            for name in ["exact_match", "f1", "best_exact", "best_f1"] {
                let found = of.get(name).unwrap();
                assert!((found - expected).abs() < 1e-9, "{name}: {found}");
            }
            assert_eq!(of.get("best_f1_thresh"), Some(-5.0));
        }
    }

    #[test]
    fn a_fitted_threshold_is_told_and_used() {
        // The answerable question has the odds 1, the other one 4.
        let (of, files) = evaluate(None, true, [6.0, 9.0]);
        assert_eq!(of.fitted, [("null_score_diff_threshold", 1.0)]);
        assert_eq!(
            (of.get("f1"), of.get("best_f1")),
            (Some(100.0), Some(100.0))
        );
        assert_eq!(files[0].1, json!({"q2": "beta", "q0": ""}));
    }

    #[test]
    fn the_loss_is_that_of_start_and_end_over_the_window() {
        let entropy =
            |row: &[f64], gold: usize| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[gold];
        let start = |null: f64| [null, 0.0, 0.0, 1.0, 3.0, 0.0];
        let end = [0.0, 0.0, 0.0, 0.0, 2.0, 0.0];
        let first = entropy(&start(0.5), 4) + entropy(&end, 4);
        let second = entropy(&start(2.0), 0) + entropy(&end, 0);
        let (of, _) = evaluate(None, false, [0.5, 2.0]);
        let loss = of.loss.unwrap();
        assert!((loss - (first + second) / 4.0).abs() < 1e-9, "{loss}");
    }

    #[test]
    fn no_loss_is_told_where_no_answer_stands_in_its_place() {
        let examples = [example(&["beta"]), example(&["gamma"])];
        let of = |targets: [Target; 2]| {
            let inputs: Vec<_> = (0..).zip(targets).map(|(row, at)| input(row, at)).collect();
            let logits = [logits(0.0), logits(0.0)];
            evaluator(&examples, &inputs, None).evaluate(&logits)
        };
        let lost = of([Target::None, Target::None]).unwrap();
        assert_eq!((lost.get("loss"), lost.get("f1")), (None, Some(50.0)));
        let names: Vec<_> = lost.entries().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["eval_exact_match", "eval_f1"]);
        // Those that stand there are told of.
        let half = of([Target::Span(4, 4), Target::None]).unwrap();
        let both = of([Target::Span(4, 4), Target::Span(4, 4)]).unwrap();
        let [half, both] = [half, both].map(|of| of.get("eval_loss").unwrap());
        assert!((half - both).abs() < 1e-12, "{half} {both}");
    }

    /// Two windows of three pieces, of which they share one; what is shared counts with its best logits.
    #[test]
    fn a_temperature_is_fitted_on_all_pieces_of_a_passage() {
        let graded_of = |answers: &[&str], target, threshold| {
            let mut inputs = [Target::Span(0, 0), target].map(|target| input(0, target));
            inputs[1].shared = 1;
            let examples = [example(answers)];
            let evaluator = evaluator(&examples, &inputs, threshold);
            let graded = graded(&evaluator, &[logits(7.0), logits(-1.0)]).unwrap();
            let [graded] = &graded[..] else {
                panic!("{graded:?}");
            };
            match &graded.outcome {
                Outcome::Span { sides, right } => (sides.clone(), *right),
                other => panic!("{other:?}"),
            }
        };
        let output = |logits: &[f32], logit| Output {
            logits: logits.to_vec(),
            logit,
        };
        let chosen = |starts: &[f32], ends: &[f32], [start, end]: Pair| {
            [output(starts, start), output(ends, end)]
        };
        let (starts, ends) = ([1.0, 3.0, 3.0], [0.0, 2.0, 2.0]);
        let best = chosen(&starts, &ends, [3.0, 2.0]);
        let second = Target::Span(3, 4);
        assert_eq!(
            graded_of(&["beta"], second.clone(), None),
            (best.clone(), true)
        );
        assert_eq!(graded_of(&["else"], second, None), (best, false));
        // `[CLS]` counts where there may be no answer, with its least sum.
        let with = ([1.0, 3.0, 3.0, -1.0], [0.0, 2.0, 2.0, 0.0]);
        let none = Target::Span(0, 0);
        let found = graded_of(&[], none.clone(), Some(0.0));
        assert_eq!(found, (chosen(&with.0, &with.1, [3.0, 2.0]), false));
        let found = graded_of(&[], none, Some(-9.0));
        assert_eq!(found, (chosen(&with.0, &with.1, [-1.0, 0.0]), true));
    }

    /// Three questions of four are answered rightly, with the same logits.
    #[test]
    fn a_temperature_makes_scores_the_share_of_right_answers() {
        let inputs: Vec<Encoded> = (0..8).map(|row| input(row, Target::Span(4, 4))).collect();
        let of = |row: usize| {
            example(&[if row.is_multiple_of(4) {
                "else"
            } else {
                "beta"
            }])
        };
        let examples: Vec<Example> = (0..8).map(of).collect();
        let evaluator = evaluator(&examples, &inputs, None);
        let logits = vec![logits(0.0); 8];
        let fitted = evaluator
            .fit_temperature(&logits, |_| true)
            .unwrap()
            .unwrap();
        let judged = evaluator.judged(&logits, fitted).unwrap();
        assert_eq!(judged.iter().filter(|one| one.right).count(), 6);
        for one in judged {
            assert!((one.score - 0.75).abs() < 1e-3, "{fitted:?}: {}", one.score);
        }
    }

    /// As above, and one more that is wrong and has a probability of 1 at every temperature.
    #[test]
    fn a_wrong_answer_that_is_quite_sure_leaves_the_others_their_temperature() {
        let inputs: Vec<Encoded> = (0..9).map(|row| input(row, Target::Span(4, 4))).collect();
        let wrong = |row: usize| row.is_multiple_of(4);
        let of = |row| example(&[if wrong(row) { "else" } else { "beta" }]);
        let examples: Vec<Example> = (0..9).map(of).collect();
        let evaluator = evaluator(&examples, &inputs, None);
        let mut logits = vec![logits(0.0); 9];
        logits[8].iter_mut().for_each(|logit| *logit *= 1000.0);
        let fitted = evaluator.fit_temperature(&logits, |_| true).unwrap();
        let judged = evaluator.judged(&logits, fitted.unwrap()).unwrap();
        assert!((judged[0].score - 0.75).abs() < 1e-3, "{fitted:?}");
        assert!(judged[8].score > 0.999 && !judged[8].right);
    }
}
