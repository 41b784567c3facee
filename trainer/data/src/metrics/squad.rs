//! Exact match and F1 of answers, as SQuAD's official scripts of versions 1.1 and 2.0 count them.
//!
//! Both look at texts alone: lower-cased, without ASCII punctuation, without the words *a*, *an*
//! and *the*, white space made one. A question's score is the best over its gold answers; the
//! figures are means over all questions, from 0 to 100. In version 2.0 a question without gold
//! answers is one whose right answer is the empty text, and an answer is dropped where the odds
//! that there is none exceed a threshold.
//!
//! Rajpurkar et al., *SQuAD: 100,000+ Questions for Machine Comprehension of Text* (2016);
//! Rajpurkar, Jia and Liang, *Know What You Don't Know* (2018).

use std::collections::HashMap;
use unicode_normalization_alignments::char::is_combining_mark;

/// Which of the two scripts counts.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Rules {
    /// Every question has an answer.
    #[default]
    V1,
    /// There are questions that the passage does not answer.
    V2,
}

/// What an answer is worth.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Score {
    /// 1 where it equals a gold answer, else 0.
    pub exact: f64,
    /// The harmonic mean of precision and recall over words.
    pub f1: f64,
}

/// Means over questions, from 0 to 100.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Mean {
    /// Exact match.
    pub exact: f64,
    /// F1.
    pub f1: f64,
    /// How many questions.
    pub total: usize,
}

/// The threshold on the odds against an answer that serves best on a set of questions.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Threshold {
    /// What the metric comes to, from 0 to 100.
    pub value: f64,
    /// Above these odds there is no answer.
    pub odds: f64,
}

impl Score {
    /// The best score of `answer` among the gold ones.
    pub fn of<G: AsRef<str>>(rules: Rules, answer: &str, gold: &[G]) -> Self {
        let answer = normalize(answer);
        let mut best: Option<Score> = None;
        for gold in gold {
            let gold = normalize(gold.as_ref());
            // Version 2.0 passes over gold answers of which nothing is left.
            if rules == Rules::V2 && gold.is_empty() {
                continue;
            }
            let score = Score::against(rules, &answer, &gold);
            let so_far = best.unwrap_or_default();
            best = Some(Score {
                exact: so_far.exact.max(score.exact),
                f1: so_far.f1.max(score.f1),
            });
        }
        match (rules, best) {
            (_, Some(best)) => best,
            (Rules::V1, None) => Score::default(),
            (Rules::V2, None) => Score::against(rules, &answer, ""),
        }
    }

    /// Of two normalized texts.
    fn against(rules: Rules, answer: &str, gold: &str) -> Self {
        let exact = f64::from(u8::from(answer == gold));
        let empty = answer.is_empty() || gold.is_empty();
        let f1 = match rules {
            Rules::V2 if empty => exact,
            _ => overlap(answer, gold),
        };
        Score { exact, f1 }
    }
}

impl Mean {
    /// The mean of scores; 0 where there are none.
    pub fn of(scores: impl IntoIterator<Item = Score>) -> Self {
        let mut mean = Mean::default();
        for score in scores {
            mean.exact += score.exact;
            mean.f1 += score.f1;
            mean.total += 1;
        }
        let scale = 100.0 / mean.total.max(1) as f64;
        mean.exact *= scale;
        mean.f1 *= scale;
        mean
    }
}

/// A question of version 2.0 while the best threshold is looked for.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Undecided {
    /// How much speaks against an answer; odds and probabilities alike.
    pub odds: f64,
    /// What the answer is worth, should it be given.
    pub score: f64,
    /// Whether the passage answers the question.
    pub answerable: bool,
    /// Whether the model has an answer that isn't empty.
    pub answered: bool,
}

impl Threshold {
    /// The threshold with the highest sum of scores: answers are given in the order of the odds
    /// against them, and each of an answerable question gains its score, while each of another
    /// loses the point that silence would have had. Answers with the same odds are given together.
    ///
    /// Where no answer is worth giving, it is the largest number below all odds, but at most the 0
    /// of the official script, whose odds are probabilities.
    pub fn best(questions: &[Undecided]) -> Self {
        let mut order: Vec<&Undecided> = questions.iter().collect();
        order.sort_by(|a, b| a.odds.total_cmp(&b.odds));
        let silent = questions.iter().filter(|question| !question.answerable);
        let mut sum = silent.count() as f64;
        let lowest = order.first().map_or(0.0, |first| first.odds.next_down());
        let (mut best, mut odds) = (sum, lowest.min(0.0));
        for equal in order.chunk_by(|a, b| a.odds == b.odds) {
            for question in equal {
                sum += match (question.answerable, question.answered) {
                    (true, _) => question.score,
                    (false, true) => -1.0,
                    (false, false) => 0.0,
                };
            }
            if sum > best {
                (best, odds) = (sum, equal[0].odds);
            }
        }
        let value = 100.0 * best / questions.len().max(1) as f64;
        Threshold { value, odds }
    }
}

/// The text that two answers are compared by.
pub fn normalize(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let mut words = String::with_capacity(kept.len());
    let mut rest = kept.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        words.push_str(match word {
            "a" | "an" | "the" => " ",
            word => word,
        });
        let end = behind.find(is_of_word).unwrap_or(behind.len());
        let (between, behind) = behind.split_at(end);
        words.push_str(between);
        rest = behind;
    }
    tokens(&words).collect::<Vec<_>>().join(" ")
}

/// Whether Python's `\w` has it, the underscore aside, which is punctuation: letters and numbers, but neither the marks
/// nor the letters in rings and squares that Unicode calls alphabetic too.
fn is_of_word(c: char) -> bool {
    let is_framed = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    c.is_alphanumeric() && !is_framed && !is_combining_mark(c)
}

/// What stands between white space, as Python's `str.split` sees it.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    text.split(space).filter(|token| !token.is_empty())
}

/// F1 over the words of two normalized texts; 0 where they share none.
fn overlap(answer: &str, gold: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for token in tokens(gold) {
        *left.entry(token).or_default() += 1;
    }
    let (mut same, mut given) = (0, 0);
    for token in tokens(answer) {
        given += 1;
        if let Some(count) = left.get_mut(token).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = f64::from(same) / f64::from(given);
    let recall = f64::from(same) / tokens(gold).count() as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_without_case_punctuation_articles_and_spacing() {
        for (text, expected) in [
            ("The  Denver\tBroncos!", "denver broncos"),
            ("a.n. an\u{a0}apple", "apple"),
            ("\"Levi's\" U.S. $40", "levis us 40"),
            ("–the–a–theme", "– – –theme"),
            ("a\u{1c}b_c", "bc"),
            ("aⓐ Ⓐa", "ⓐ ⓐ"),
            ("a\u{93e} कि an", "\u{93e} कि"),
            ("the\u{345} an\u{301} x", "\u{345} \u{301} x"),
            ("a² aⅷ aㅏ", "a² aⅷ aㅏ"),
            ("THE", ""),
            ("Über A", "über"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("", ""),
        ] {
            assert_eq!(normalize(text), expected, "{text:?}");
        }
    }

    /// Worked by hand from the definition.
    #[test]
    fn a_score_is_the_best_over_the_gold_answers() {
        let of = |answer, gold: &[&str]| {
            let score = Score::of(Rules::V1, answer, gold);
            (score.exact, score.f1)
        };
        assert_eq!(
            of("the Broncos", &["Denver Broncos", "broncos."]),
            (1.0, 1.0)
        );
        // One shared word of one given and two gold.
        let f1 = 2.0 * 1.0 * 0.5 / (1.0 + 0.5);
        assert_eq!(of("Broncos", &["Denver Broncos", "Panthers"]), (0.0, f1));
        // A word that is said twice counts twice only where the gold answer has it twice.
        let f1 = 2.0 * (2.0 / 3.0) * 1.0 / (2.0 / 3.0 + 1.0);
        assert_eq!(of("ha ha ha", &["ha ha"]), (0.0, f1));
        assert_eq!(of("x", &["y"]), (0.0, 0.0));
        assert_eq!(of("x", &[]), (0.0, 0.0));
        assert_eq!(of("", &["x"]), (0.0, 0.0));
    }

    /// The two scripts part where nothing is left of a text.
    #[test]
    fn empty_texts_are_worth_what_each_script_says() {
        let of = |rules, answer, gold: &[&str]| {
            let score = Score::of(rules, answer, gold);
            (score.exact, score.f1)
        };
        assert_eq!(of(Rules::V1, "a", &["the"]), (1.0, 0.0));
        assert_eq!(of(Rules::V2, "a", &["the"]), (1.0, 1.0));
        assert_eq!(of(Rules::V2, "x", &["the"]), (0.0, 0.0));
        assert_eq!(of(Rules::V2, "", &[]), (1.0, 1.0));
        assert_eq!(of(Rules::V2, "x", &[]), (0.0, 0.0));
        assert_eq!(of(Rules::V2, "x", &["the", "x"]), (1.0, 1.0));
        assert_eq!(of(Rules::V2, "", &["the", "x"]), (0.0, 0.0));
    }

    #[test]
    fn means_are_hundredths() {
        let scores = [(1.0, 1.0), (0.0, 0.5), (0.0, 0.0), (0.0, 0.5)];
        let mean = Mean::of(scores.map(|(exact, f1)| Score { exact, f1 }));
        assert_eq!(
            mean,
            Mean {
                exact: 25.0,
                f1: 50.0,
                total: 4
            }
        );
        assert_eq!(Mean::of([]), Mean::default());
    }

    fn undecided(odds: f64, score: f64, answerable: bool) -> Undecided {
        Undecided {
            odds,
            score,
            answerable,
            answered: true,
        }
    }

    #[test]
    fn the_best_threshold_gives_the_most_points() {
        // Silence everywhere: 2 points of 5. Up to -1.0: 1 + 2. Up to 0.5: less. Up to 2.0: 1 + 0.75 + 1 = 2.75.
        let questions = [
            undecided(2.0, 0.75, true),
            undecided(-3.0, 0.25, true),
            undecided(0.5, 0.0, false),
            undecided(-1.0, 0.75, true),
            undecided(3.0, 0.0, false),
        ];
        assert_eq!(
            Threshold::best(&questions),
            Threshold {
                value: 60.0,
                odds: -1.0
            }
        );
        let silent = Undecided {
            answered: false,
            ..questions[2]
        };
        let questions = [
            questions[0],
            questions[1],
            silent,
            questions[3],
            questions[4],
        ];
        assert_eq!(
            Threshold::best(&questions),
            Threshold {
                value: 75.0,
                odds: 2.0
            }
        );
    }

    #[test]
    fn no_threshold_parts_answers_with_the_same_odds() {
        let questions = [
            undecided(1.0, 1.0, true),
            undecided(1.0, 0.0, false),
            undecided(2.0, 0.5, true),
        ];
        let best = Threshold::best(&questions);
        assert_eq!((best.value, best.odds), (50.0, 2.0));
        assert_eq!(Threshold::best(&questions[..2]).value, 50.0);
    }

    #[test]
    fn where_no_answer_is_worth_giving_the_threshold_is_below_all_odds() {
        let questions = [undecided(-4.0, 0.0, false), undecided(1.0, 1.0, true)];
        let best = Threshold::best(&questions);
        assert_eq!(best.value, 50.0);
        assert!(best.odds < -4.0);
        let probable = [undecided(0.25, 0.0, false)];
        assert_eq!(
            Threshold::best(&probable),
            Threshold {
                value: 100.0,
                odds: 0.0
            }
        );
        assert_eq!(
            Threshold::best(&[]),
            Threshold {
                value: 0.0,
                odds: 0.0
            }
        );
    }
}
