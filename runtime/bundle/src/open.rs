//! Opening: the structure is checked once, here, and every view relies on it.

use core::fmt;
use core::ops::Range;

use berth_kernels::NUMERICS_VERSION;

use crate::error::OpenError;
use crate::header::{DECISION, Header};
use crate::layout::{Embeddings, Head, LayerWeights, padding, read_layer};
use crate::prefix::{self, Prefix};
use crate::section::{Section, SectionKind};
use crate::selftest::Selftest;
use crate::verify::{Verifier, VerifyError};
use crate::{ALIGNMENT, checksum};

/// An open bundle: the header, copied out, and views into the file's bytes.
#[derive(Clone)]
pub struct Bundle<'a> {
    file: &'a [u8],
    header: Header,
    /// Where the header ends and its padding begins.
    header_end: usize,
}

impl<'a> Bundle<'a> {
    /// Reads the prefix and the header, and checks that the file has the structure that they tell:
    /// known versions, the right length, a shape that the kernels can run, a section of the right
    /// length for everything in it. The content of the sections is not read, but for the scores that decide labels.
    ///
    /// # Errors
    /// Says in what way the bytes are not a bundle that this version can use.
    pub fn open(file: &'a [u8]) -> Result<Self, OpenError> {
        // Nothing lies anywhere.
        if !file.is_empty() && !(file.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
            return Err(OpenError::Misaligned);
        }
        let prefix = Prefix::read(file)?;
        let header = read_header(prefix.header(file), prefix.version)?;
        header.check(prefix.version)?;
        header.check_sections(prefix.version)?;
        let bundle = Bundle {
            file,
            header,
            header_end: prefix::LEN + prefix.header_len as usize,
        };
        let end = bundle.spans().last().map(|(_, span)| span.end);
        if end != Some(prefix.file_len) {
            return Err(OpenError::FileLength);
        }
        let mut decisions = bundle.decisions().unwrap_or_default().iter();
        if decisions.any(|&score| score != DECISION) {
            return Err(bundle.other_decisions());
        }
        Ok(bundle)
    }

    /// Reads every byte and holds it against its checksum.
    ///
    /// # Errors
    /// Names the part of the file that was changed since it was written.
    pub fn verify(&self) -> Result<(), VerifyError> {
        let mut verifier = self.verifier();
        verifier.update(self.file)?;
        verifier.finish()
    }

    /// The same check on bytes that come from elsewhere, piece by piece: for the content of a
    /// mapped file read once by ordinary reads, which report an error where a map would fault.
    pub fn verifier(&self) -> Verifier<'_> {
        Verifier::new(&self.file[..self.header_end], &self.header.sections)
    }

    /// What the bundle says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes the file has.
    pub fn file_len(&self) -> usize {
        self.file.len()
    }

    /// The embedding tables.
    pub fn embeddings(&self) -> Embeddings<'a> {
        Embeddings::read(&self.header.shape, self.section(SectionKind::Embeddings))
    }

    /// The encoder layer `index`, counted from 0.
    ///
    /// # Panics
    /// When `index` is not below the shape's number of layers.
    pub fn layer(&self, index: usize) -> LayerWeights<'a> {
        let shape = &self.header.shape;
        assert!(index < shape.layers as usize, "no such layer");
        // The embeddings come first.
        match self.spans().nth(1 + index) {
            Some((section, span)) if matches!(section.kind, SectionKind::LayerF32(_)) => {
                LayerWeights::F32(read_layer(shape, self.bytes(span)))
            }
            Some((_, span)) => LayerWeights::Int8(read_layer(shape, self.bytes(span))),
            None => unreachable!("opening has seen a section for every layer"),
        }
    }

    /// The pooler, where there is one, and the last dense layer.
    pub fn head(&self) -> Head<'a> {
        let kind = match self.header.has_relu_head() {
            true => SectionKind::HeadRelu,
            false => SectionKind::Head,
        };
        let section = self.section(kind);
        Head::read(&self.header.shape, self.header.task, section)
    }

    /// How the model was trained, as the checkpoint's `training_args.json` has it, or nothing. A
    /// device has no use for it.
    pub fn training(&self) -> &'a [u8] {
        self.section(SectionKind::Training)
    }

    /// The tokenizer's tables, to be checked by who reads them.
    pub fn tokenizer(&self) -> &'a [u8] {
        self.section(SectionKind::Tokenizer)
    }

    /// The inputs with known answers that the bundle carries; `None` where it has none.
    pub fn selftest(&self) -> Option<Selftest<'a>> {
        self.optional(SectionKind::Selftest).map(Selftest::read)
    }

    /// The score above which each label goes, where each is decided by itself: [`DECISION`] for all of them. `None`
    /// where one of all labels is the answer.
    pub fn decisions(&self) -> Option<&'a [f32]> {
        // Sections begin at multiples of 64, and this one has 4 bytes for each output.
        self.optional(SectionKind::Decisions)
            .map(bytemuck::cast_slice)
    }

    /// The model's card in short, for people; empty where there is none. It should be UTF-8, which nobody
    /// has checked.
    pub fn card(&self) -> &'a [u8] {
        self.section(SectionKind::Card)
    }

    /// Every section with its place in the file.
    pub fn spans(&self) -> impl Iterator<Item = (Section, Range<u64>)> {
        let mut end = self.header_end as u64;
        self.header.sections.iter().map(move |&section| {
            let start = end + padding(end);
            end = start + u64::from(section.len);
            (section, start..end)
        })
    }

    /// Why scores are refused: because others than one half were written, or because these were damaged since.
    fn other_decisions(&self) -> OpenError {
        let mut spans = self.spans();
        let found = spans.find(|(section, _)| section.kind == SectionKind::Decisions);
        let whole = |(section, span): (Section, _)| checksum::of(self.bytes(span)) == section.crc;
        match found.is_some_and(whole) {
            true => OpenError::Decisions,
            false => OpenError::DecisionsChecksum,
        }
    }

    /// The bytes of a section, none where it is left out.
    fn section(&self, kind: SectionKind) -> &'a [u8] {
        self.optional(kind).unwrap_or_default()
    }

    /// The bytes of a section, if there is one; `open` has seen that it is inside the file.
    fn optional(&self, kind: SectionKind) -> Option<&'a [u8]> {
        let found = self.spans().find(|(section, _)| section.kind == kind);
        found.map(|(_, span)| self.bytes(span))
    }

    /// The bytes of a span.
    fn bytes(&self, span: Range<u64>) -> &'a [u8] {
        &self.file[span.start as usize..span.end as usize]
    }
}

impl fmt::Debug for Bundle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("file_len", &self.file.len())
            .field("header", &self.header)
            .finish()
    }
}

/// Decodes the header. The numerics version stands first and is looked at alone first, since
/// another version may go on differently.
fn read_header(bytes: &[u8], version: u32) -> Result<Header, OpenError> {
    let numerics = postcard::take_from_bytes::<u16>(bytes);
    let (numerics, _) = numerics.map_err(|_| OpenError::HeaderEncoding)?;
    if numerics != NUMERICS_VERSION {
        return Err(OpenError::Numerics(numerics));
    }
    let (header, rest) = Header::decode(bytes, version).map_err(|_| OpenError::HeaderEncoding)?;
    if !rest.is_empty() {
        return Err(OpenError::HeaderTail);
    }
    Ok(header)
}
