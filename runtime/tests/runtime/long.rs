//! Texts that are longer than the model, held against windows cut by hand; and the bundle's temperature.

use berth_bundle::{Calibration, Threshold};
use berth_runtime::{Model, Session, inspect};
use berth_task::{Aggregation, LongTexts, Merge, Task, Temperature, argmax, softmax, tag};

use crate::questions::window_by_window;
use crate::support::{self, POSITIONS, Random, WORDS};

fn session(task: Task, labels: &[&str]) -> Session {
    let bundle = support::bundle(task, labels);
    Model::from_bytes(&bundle).unwrap().session().unwrap()
}

fn words(random: &mut Random, count: usize) -> String {
    let words = (0..count).map(|_| WORDS[random.below(WORDS.len())]);
    words.collect::<Vec<_>>().join(" ")
}

fn ids(session: &Session, text: &str) -> Vec<u32> {
    let pieces = session.model().tokenizer().stream(text);
    pieces.map(|piece| piece.id).collect()
}

/// The outputs of every window of the longer text, and how many of its pieces are new, as the rule says
/// it: half of the room for the shorter text at most, a quarter of what is left shared by neighbours.
fn windows(session: &mut Session, text: &str, pair: Option<&str>) -> Vec<(Vec<f32>, usize)> {
    let (cls, sep) = {
        let tokenizer = session.model().tokenizer();
        (tokenizer.cls(), tokenizer.sep())
    };
    let first = ids(session, text);
    let second = pair.map(|pair| ids(session, pair));
    let room = POSITIONS - if pair.is_some() { 3 } else { 2 };
    let of_second = second
        .as_ref()
        .is_some_and(|second| second.len() >= first.len());
    let (long, other) = match &second {
        Some(second) if of_second => (second, Some(&first)),
        second => (&first, second.as_ref()),
    };
    let other = other.map(|other| &other[..other.len().min(room / 2)]);
    let room = room - other.map_or(0, <[u32]>::len);
    let (mut start, mut reached) = (0, 0);
    let mut outputs = Vec::new();
    while reached < long.len() {
        let end = (start + room).min(long.len());
        let window = &long[start..end];
        let (input, types) = match other {
            None => ([&[cls], window, &[sep]].concat(), window.len() + 2),
            Some(other) if of_second => {
                let input = [&[cls], other, &[sep], window, &[sep]].concat();
                (input, other.len() + 2)
            }
            Some(other) => {
                let input = [&[cls], window, &[sep], other, &[sep]].concat();
                (input, window.len() + 2)
            }
        };
        let logits = session.logits_of(&input, types).unwrap().to_vec();
        outputs.push((logits, end - reached));
        reached = end;
        start += room - room / 4;
    }
    outputs
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn a_long_text_has_the_mean_of_its_windows() {
    let mut random = Random(41);
    for (task, labels) in [
        (Task::TextClassification, &["a", "b", "c"][..]),
        (Task::TextPairClassification, &["a", "b"]),
        (Task::TextPairRegression, &[]),
    ] {
        let mut session = session(task, labels);
        for round in 0..60 {
            let most = [200, 40, 400][round % 3];
            let [text, pair] = [0; 2].map(|_| {
                let count = random.below(most);
                words(&mut random, count)
            });
            let pair = task.takes_pair().then_some(pair.as_str());
            let all = [Some(text.as_str()), pair];
            let pieces = all.map(|text| text.map_or(0, |text| ids(&session, text).len()));
            let long = pieces[0] + pieces[1] > POSITIONS - if pair.is_some() { 3 } else { 2 };
            let (expected, count) = if long {
                let windows = windows(&mut session, &text, pair);
                let mut merge = Merge::new();
                for (logits, own) in &windows {
                    merge.add(logits, *own);
                }
                (merge.logits().to_vec(), windows.len())
            } else {
                session.set_long_texts(LongTexts::Cut);
                let whole = session.logits(&text, pair).unwrap().values.to_vec();
                session.set_long_texts(LongTexts::Windows);
                (whole, 1)
            };
            let found = session.logits(&text, pair).unwrap();
            assert_eq!(bits(found.values), bits(&expected), "{task}, {pieces:?}");
            assert_eq!(found.windows, count, "{task}, {pieces:?}");
            let room = (POSITIONS - 3) / 2;
            let cut = match pair {
                Some(_) if long => pieces[0].min(pieces[1]).saturating_sub(room),
                _ => 0,
            };
            assert_eq!(found.truncated, cut, "{task}, {pieces:?}");
        }
    }
}

/// A text of one part again and again says what the part says, wherever windows begin; the mean keeps that.
#[test]
fn more_of_the_same_changes_no_answer_beyond_the_windows_own_differences() {
    let mut session = session(Task::TextClassification, &["a", "b"]);
    let part = "the plot is not good ";
    let long = part.repeat(100);
    let windows = windows(&mut session, &long, None);
    let answer = session.logits(&long, None).unwrap().values.to_vec();
    for (label, &logit) in answer.iter().enumerate() {
        let all = windows.iter().map(|(logits, _)| logits[label]);
        let least = all.clone().fold(f32::INFINITY, f32::min);
        let most = all.fold(f32::NEG_INFINITY, f32::max);
        assert!(
            least - 1e-5 <= logit && logit <= most + 1e-5,
            "{least} {logit} {most}"
        );
    }
}

fn at_temperature(task: Task, labels: &[&str], temperature: f32) -> Model {
    let mut writer = support::writer(task, labels, |_| ());
    let threshold = Threshold {
        min_score: 0.5,
        answered: 90,
        right: 81,
    };
    let calibration = Calibration {
        temperature,
        answers: 100,
        error_before: 0.125,
        error_after: 0.0625,
        error_held_out: 0.09375,
        thresholds: [threshold].into_iter().collect(),
    };
    writer.set_calibration(Some(calibration)).unwrap();
    writer.card("# a card\n\x1b[31mwith colours\x07\n").unwrap();
    Model::from_bytes(&writer.to_bytes().unwrap()).unwrap()
}

#[test]
fn classes_are_scored_at_the_temperature_of_the_bundle_and_stay() {
    let texts = support::texts();
    let temperature = Temperature::new(2.5).unwrap();
    let classes = (Task::TextClassification, &["a", "b", "c"][..]);
    let mut plain = session(classes.0, classes.1);
    let mut cooled = at_temperature(classes.0, classes.1, 2.5).session().unwrap();
    for text in &texts {
        let logits = plain.logits(text, None).unwrap().values.to_vec();
        let mut expected = [0.0; 3];
        softmax(&logits, temperature, &mut expected);
        let found = cooled.classify(text).unwrap();
        let best = found.best();
        assert_eq!(best.label, classes.1[argmax(&logits)]);
        assert_eq!(best.score.to_bits(), expected[argmax(&logits)].to_bits());
        let order: Vec<_> = found.iter().map(|row| row.label).collect();
        let before: Vec<String> = plain
            .classify(text)
            .unwrap()
            .iter()
            .map(|row| row.label.into())
            .collect();
        assert_eq!(order, before);
    }
}

#[test]
fn tags_are_scored_at_the_temperature_of_the_bundle_and_stay() {
    let texts = support::texts();
    let temperature = Temperature::new(2.5).unwrap();
    let tags = (Task::TokenClassification, &["O", "B-X", "I-X"][..]);
    let mut plain = session(tags.0, tags.1);
    let mut cooled = at_temperature(tags.0, tags.1, 2.5).session().unwrap();
    let told = |session: &mut Session, text: &str, aggregation: Aggregation| {
        let rows = session.tag_with(text, None, aggregation).unwrap();
        let rows = rows.map(|row| row.unwrap());
        rows.map(|row| (row.label.to_owned(), row.score))
            .collect::<Vec<_>>()
    };
    for text in &texts[..texts.len() - 2] {
        let warm = told(&mut plain, text, Aggregation::First);
        let cool = told(&mut cooled, text, Aggregation::First);
        for (warm, cool) in warm.iter().zip(cool) {
            assert_eq!(warm.0, cool.0);
            assert!(cool.1 <= warm.1, "{warm:?} {cool:?}");
        }
        let pieces = ids(&plain, text);
        if pieces.len() > POSITIONS - 2 {
            continue;
        }
        let tokenizer = plain.model().tokenizer();
        let input = [&[tokenizer.cls()], &pieces[..], &[tokenizer.sep()]].concat();
        let logits = plain.logits_of(&input, input.len()).unwrap();
        let rows = logits.chunks_exact(tags.1.len()).skip(1);
        let expected: Vec<_> = rows
            .take(pieces.len())
            .map(|row| tag(row, temperature))
            .map(|tag| (tags.1[usize::from(tag.label)].to_owned(), tag.score))
            .collect();
        assert_eq!(told(&mut cooled, text, Aggregation::None), expected);
    }
}

#[test]
fn spans_are_scored_at_the_temperature_of_the_bundle_and_stay() {
    let texts = support::texts();
    let temperature = Temperature::new(2.5).unwrap();
    let mut plain = session(Task::QuestionAnswering, &[]);
    let mut cooled = at_temperature(Task::QuestionAnswering, &[], 2.5)
        .session()
        .unwrap();
    for text in &texts[..texts.len() - 2] {
        let before: Vec<_> = plain
            .answer("good?", text)
            .unwrap()
            .iter()
            .map(|a| a.place)
            .collect();
        let answers = cooled.answer("good?", text).unwrap();
        let after: Vec<_> = answers.iter().map(|answer| answer.place).collect();
        assert_eq!(before, after);
        let scores: Vec<f32> = answers.iter().map(|answer| answer.score).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        let (spans, _) = window_by_window(&mut plain, temperature, "good?", text);
        let expected: Vec<f32> = spans.iter().map(|span| span.score).collect();
        assert_eq!(bits(&scores), bits(&expected), "{text}");
    }
}

#[test]
fn calibration_and_card_are_inspected_without_what_a_terminal_obeys() {
    let model = at_temperature(Task::TextClassification, &["a", "b"], 2.5);
    let told = inspect(&model).to_string();
    for line in [
        "temperature  2.5, fitted on 100 answers\n",
        "calibration  error 0.1250 before, 0.0625 with it, 0.0938 on rows it was not fitted on\n",
        "  from 0.5     90.00 % answered,  90.00 % of these right\n",
        "\n# a card\n[31mwith colours\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}
