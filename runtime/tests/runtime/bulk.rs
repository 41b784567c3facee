//! Many inputs at once: in their order, with the bits of one at a time.

use std::num::NonZero;

use berth_runtime::QueryError;
use berth_runtime::bulk::{Bulk, Input, WINDOW};

use crate::fixtures::sentiment;
use crate::support::{POSITIONS, Random};

fn inputs(count: usize) -> Vec<Input<Vec<u32>>> {
    let mut random = Random(21);
    let input = |_| {
        let tokens = 1 + random.below(POSITIONS);
        Input {
            ids: (0..tokens).map(|_| random.below(60) as u32).collect(),
            second: random.below(tokens + 1),
        }
    };
    (0..count).map(input).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn results_come_in_order_with_the_same_bits_for_any_number_of_threads() {
    let model = sentiment();
    let mut session = model.session().unwrap();
    let inputs = inputs(2 * WINDOW + 37);
    let one_by_one: Vec<Vec<u32>> = inputs
        .iter()
        .map(|input| bits(session.logits_of(&input.ids, input.second).unwrap()))
        .collect();
    for threads in [1, 2, 3, 8] {
        let mut bulk = Bulk::new(&model, NonZero::new(threads).unwrap()).unwrap();
        for count in [0, 1, 9, WINDOW, inputs.len()] {
            let mut found = Vec::new();
            bulk.logits(inputs[..count].iter().cloned(), |logits| {
                found.push(bits(&logits))
            })
            .unwrap();
            assert_eq!(
                found,
                one_by_one[..count],
                "{threads} threads, {count} inputs"
            );
        }
    }
}

#[test]
fn the_first_input_without_an_answer_is_named_and_those_before_it_are_answered() {
    let mut bulk = Bulk::new(&sentiment(), NonZero::new(3).unwrap()).unwrap();
    let mut inputs = inputs(WINDOW + 300);
    inputs[WINDOW + 100].ids = vec![u32::MAX];
    inputs[WINDOW + 200].ids.clear();
    let mut answered = 0;
    let error = bulk.logits(inputs, |_| answered += 1).unwrap_err();
    assert_eq!((answered, error.index), (WINDOW + 100, WINDOW + 100));
    assert!(matches!(error.source, QueryError::Forward(_)));
    assert!(error.to_string().starts_with("input 1125: "), "{error}");
}
