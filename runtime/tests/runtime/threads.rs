//! Threads that share a query: what they must not change, and how they come and go.

use std::thread;
use std::time::Duration;

use berth_runtime::{MAX_THREADS, Model, OpenError, Session, Threads};
use berth_task::Task;

use crate::fixtures::sentiment;
use crate::support::{self, POSITIONS, Random};

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits_at_every_length() {
    let mut random = Random(41);
    for (task, labels) in [
        (Task::TextClassification, &["a", "b"][..]),
        (Task::TokenClassification, &["O", "B", "I"]),
    ] {
        let model = Model::from_bytes(&support::bundle(task, labels)).unwrap();
        let mut alone = model.session().unwrap();
        let mut teams: Vec<Session> = [1, 2, 3, 4, MAX_THREADS]
            .map(|threads| model.session_with(Threads(threads)).unwrap())
            .into();
        let vocabulary = model.header().shape.vocab_size as usize;
        for tokens in (1..=POSITIONS).rev().chain(1..=POSITIONS) {
            let id = |_| random.below(vocabulary) as u32;
            let ids: Vec<u32> = (0..tokens).map(id).collect();
            let expected = bits(alone.logits_of(&ids, tokens).unwrap());
            for (number, team) in teams.iter_mut().enumerate() {
                let found = bits(team.logits_of(&ids, tokens).unwrap());
                assert_eq!(found, expected, "{task}, {tokens} tokens, team {number}");
            }
        }
    }
}

#[test]
fn numbers_of_threads_that_cannot_be_are_refused() {
    let model = sentiment();
    for asked in [0, MAX_THREADS + 1, usize::MAX] {
        let refused = model.session_with(Threads(asked)).unwrap_err();
        assert!(matches!(refused, OpenError::Threads { asked: a } if a == asked));
        assert!(refused.to_string().ends_with("it can have 1 to 16"));
    }
    let one = model.scratch_bytes();
    assert!(model.scratch_bytes_for(Threads(2)) > one);
    assert_eq!(model.scratch_bytes_for(Threads(1)), one);
}

#[test]
fn sessions_with_threads_come_and_go() {
    let model = sentiment();
    let text = "a gripping film";
    let ask = |session: &mut Session| bits(session.logits(text, None).unwrap().values);
    let expected = ask(&mut model.session().unwrap());
    // Never asked.
    drop(model.session_with(Threads(4)).unwrap());
    for round in 0..20 {
        let mut session = model.session_with(Threads(1 + round % 4)).unwrap();
        assert_eq!(ask(&mut session), expected);
        if round % 5 == 0 {
            // Long enough for every thread to fall asleep.
            thread::sleep(Duration::from_millis(3));
            assert_eq!(ask(&mut session), expected);
        }
        // Moved to another thread, asked there and dropped there.
        let moved = thread::spawn(move || ask(&mut session));
        assert_eq!(moved.join().unwrap(), expected.clone());
    }
}

#[test]
fn many_sessions_with_threads_don_t_meet() {
    let model = sentiment();
    let answers = |mut session: Session| -> Vec<u32> {
        let texts = support::texts();
        let logits = |text: &String| bits(session.logits(text, None).unwrap().values);
        texts.iter().flat_map(logits).collect()
    };
    let expected = answers(model.session().unwrap());
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| answers(model.session_with(Threads(3)).unwrap())))
            .collect();
        for session in sessions {
            assert_eq!(session.join().unwrap(), expected);
        }
    });
    let mut side_by_side: Vec<Session> = (0..12)
        .map(|_| model.session_with(Threads(2)).unwrap())
        .collect();
    let text = "a gripping film";
    let first = bits(side_by_side[0].logits(text, None).unwrap().values);
    for session in &mut side_by_side {
        assert_eq!(bits(session.logits(text, None).unwrap().values), first);
    }
}
