//! What a set of tensors is known by: a SHA-256 over their names and the bits of their numbers.
//!
//! An exported file carries this of its checkpoint's tensors. When it comes back in, the same digest
//! proves that the numbers in it are still those of that checkpoint, and the bundle may say so.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Keys of what a file says about where it comes from.
pub(super) const NAME: &str = "berth.model";
pub(super) const WEIGHTS: &str = "berth.weights_sha256";
pub(super) const TENSORS: &str = "berth.tensors_sha256";

/// A digest in the making. The order in which tensors are added does not matter.
#[derive(Default, Debug)]
pub(super) struct Digest(BTreeMap<String, [u8; 32]>);

impl Digest {
    /// Adds a tensor.
    pub fn add(&mut self, name: &str, data: &[f32]) {
        let mut hasher = Sha256::new();
        for part in data.chunks(1 << 12) {
            let bytes: Vec<u8> = part
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            hasher.update(&bytes);
        }
        self.0.insert(name.to_owned(), hasher.finalize().into());
    }

    /// The digest of all.
    pub fn finish(self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (name, digest) in self.0 {
            hasher.update(name);
            hasher.update([0]);
            hasher.update(digest);
        }
        hasher.finalize().into()
    }
}
