//! What several of these tests begin with.

use berth_bundle::{AlignedBytes, Bundle};
use berth_runtime::Model;
use berth_task::Task;

use crate::support;

/// The bytes of a model that tells `negative` from `positive`, at random.
pub fn sentiment_bytes() -> Vec<u8> {
    support::bundle(Task::TextClassification, &["negative", "positive"])
}

/// That model.
pub fn sentiment() -> Model {
    Model::from_bytes(&sentiment_bytes()).unwrap()
}

/// Where the section number `index` begins in a bundle.
pub fn section(bytes: &[u8], index: usize) -> usize {
    let bytes = AlignedBytes::copy_of(bytes);
    let (_, span) = Bundle::open(&bytes).unwrap().spans().nth(index).unwrap();
    span.start as usize
}
