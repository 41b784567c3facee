//! A bundle's bytes together with everything that borrows from them.
//!
//! This is the one place where a lifetime is made up: the views into the bytes live beside their
//! owner, and leave this file only with the lifetime of a borrow of the whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use berth_bundle::Bundle;
use berth_encoder::Encoder;
use berth_kernels::Isa;
use berth_wordpiece::Tokenizer;
use memmap2::Mmap;

use crate::error::{OpenError, Origin};
use crate::memory::AlignedBytes;

/// How much of a file is read at a time for verification.
const CHUNK: usize = 1 << 16;

/// Where the bytes of a bundle lie. None of these moves or changes its bytes when it is moved.
pub(crate) enum Bytes {
    /// In a file, mapped into memory.
    Mapped(Mmap),
    /// In the program.
    Static(&'static [u8]),
    /// On the heap.
    Owned(AlignedBytes),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// An opened bundle: its header, its tokenizer, its encoder on one instruction set.
pub(crate) struct Network {
    // These three borrow from `bytes`.
    bundle: Bundle<'static>,
    tokenizer: Tokenizer<'static>,
    encoder: Encoder<'static>,
    isa: Isa,
    origin: Origin,
    bytes: Arc<Bytes>,
}

impl Network {
    /// Checks the structure of `bytes` and of the tokenizer's tables in them.
    pub(crate) fn new(bytes: Arc<Bytes>, origin: Origin, isa: Isa) -> Result<Self, OpenError> {
        // SAFETY: `bytes` is kept in the value that is made below, beside what borrows from it, and
        // is never changed there; an `Arc`'s content stays at its address and none of the three
        // owners moves its bytes. Neither the bundle nor the tokenizer nor the encoder leaves
        // this value but by the getters below, which shorten the lifetime to that of `self`.
        // A map's bytes can change under us when somebody writes to the file. The crates that
        // read them treat them as plain numbers, and check whatever is used as an index at the
        // moment when it is read.
        let slice: &'static [u8] = unsafe { &*std::ptr::from_ref(bytes.as_slice()) };
        let bundle = match Bundle::open(slice) {
            Ok(bundle) => bundle,
            Err(source) => return Err(OpenError::Bundle { origin, source }),
        };
        let tokenizer = match Tokenizer::new(bundle.tokenizer()) {
            Ok(tokenizer) => tokenizer,
            Err(source) => return Err(OpenError::Tokenizer { origin, source }),
        };
        let encoder = Encoder::new(&bundle, isa);
        Ok(Network {
            bundle,
            tokenizer,
            encoder,
            isa,
            origin,
            bytes,
        })
    }

    /// The same bytes on another instruction set.
    pub(crate) fn on(&self, isa: Isa) -> Result<Self, OpenError> {
        Network::new(self.bytes.clone(), self.origin.clone(), isa)
    }

    pub(crate) fn bundle(&self) -> &Bundle<'_> {
        &self.bundle
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer<'_> {
        &self.tokenizer
    }

    pub(crate) fn encoder(&self) -> &Encoder<'_> {
        &self.encoder
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Holds every byte against its checksum, where it lies.
    pub(crate) fn verify(&self) -> Result<(), OpenError> {
        self.bundle.verify().map_err(|source| self.damaged(source))
    }

    /// Holds every byte of `file` against the bundle's checksums, by reading it in chunks: pages
    /// of the map that no query needs stay out of memory, and a disk that fails gives an error.
    pub(crate) fn verify_by_reading(&self, mut file: &File, path: &Path) -> Result<(), OpenError> {
        let mut verifier = self.bundle.verifier();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk);
            let count = read.map_err(|source| OpenError::Read {
                path: path.to_owned(),
                source,
            })?;
            if count == 0 {
                return verifier.finish().map_err(|source| self.damaged(source));
            }
            verifier
                .update(&chunk[..count])
                .map_err(|source| self.damaged(source))?;
        }
    }

    fn damaged(&self, source: berth_bundle::VerifyError) -> OpenError {
        OpenError::Damaged {
            origin: self.origin.clone(),
            source,
        }
    }
}
