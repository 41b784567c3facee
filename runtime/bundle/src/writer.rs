//! Writes what the reader reads.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::vec::Vec;

use berth_kernels::NUMERICS_VERSION;
use heapless::Vec as Bounded;
use thiserror::Error;

use crate::aligned::AlignedBytes;
use crate::calibration::Calibration;
use crate::error::OpenError;
use crate::header::{DECISION, Header, MAX_CARD_BYTES, MAX_METRICS, Metric};
use crate::layout::{self, AnyLinear, Arrays, Embeddings, Head, Layer, LayerF32, padding};
use crate::prefix::{self, Prefix};
use crate::section::{Section, SectionKind};
use crate::selftest::{self, Golden};
use crate::version::FORMAT_VERSION;
use crate::{atomic, checksum};

/// Takes the parts of a model in the order of the file and writes the bundle.
///
/// The same parts give the same bytes.
pub struct Writer {
    header: Header,
    /// The content of the sections that the header's table names so far.
    contents: Vec<Vec<u8>>,
}

impl Writer {
    /// Begins a bundle of the present numerics; the section table of `header` is filled on the way.
    ///
    /// # Errors
    /// When a reader would refuse the header.
    pub fn new(mut header: Header) -> Result<Self, WriteError> {
        header.numerics = NUMERICS_VERSION;
        header.sections.clear();
        header.check(FORMAT_VERSION).map_err(WriteError::Refused)?;
        Ok(Writer {
            header,
            contents: Vec::new(),
        })
    }

    /// What the bundle will say about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Sets the figures that the bundle carries. They may be known only after its parts have been
    /// measured.
    pub fn set_metrics(&mut self, metrics: Bounded<Metric, MAX_METRICS>) {
        self.header.metrics = metrics;
    }

    /// Sets how scores are calibrated, or that they are not. With it a bundle is of format version 3.
    ///
    /// # Errors
    /// When a reader would refuse it; nothing has changed then.
    pub fn set_calibration(&mut self, calibration: Option<Calibration>) -> Result<(), WriteError> {
        let before = core::mem::replace(&mut self.header.calibration, calibration);
        self.header.check(FORMAT_VERSION).map_err(|error| {
            self.header.calibration = before;
            WriteError::Refused(error)
        })
    }

    /// Adds the embeddings, the first section.
    ///
    /// # Errors
    /// When an array is not as long as the shape asks, or it is another section's turn.
    pub fn embeddings(&mut self, embeddings: &Embeddings<'_>) -> Result<(), WriteError> {
        let mut gather = Gather::new(SectionKind::Embeddings);
        layout::embeddings(&self.header.shape, &mut { *embeddings }, &mut gather);
        self.push(SectionKind::Embeddings, gather.finish()?)
    }

    /// Adds the next layer.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub fn layer(&mut self, layer: &Layer<'_>) -> Result<(), WriteError> {
        self.any_layer(layer, SectionKind::Layer)
    }

    /// Adds the next layer, to be run in floats.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub fn layer_f32(&mut self, layer: &LayerF32<'_>) -> Result<(), WriteError> {
        self.any_layer(layer, SectionKind::LayerF32)
    }

    fn any_layer<'a, L: AnyLinear<'a>>(
        &mut self,
        layer: &Layer<'a, L>,
        kind: fn(u16) -> SectionKind,
    ) -> Result<(), WriteError> {
        let index = self.contents.len().saturating_sub(1);
        let kind = kind(index as u16);
        let mut gather = Gather::new(kind);
        layout::layer(&self.header.shape, &mut { *layer }, &mut gather);
        self.push(kind, gather.finish()?)
    }

    /// Adds the head, behind the last layer.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings), and when it has a pooler that its task doesn't have, or
    /// the other way round.
    pub fn head(&mut self, head: &Head<'_>) -> Result<(), WriteError> {
        self.any_head(head, SectionKind::Head)
    }

    /// Adds a head whose pooler ReLU follows and not tanh. With it a bundle is of format version 3.
    ///
    /// # Errors
    /// As [`head`](Self::head), and when it has no pooler.
    pub fn head_relu(&mut self, head: &Head<'_>) -> Result<(), WriteError> {
        match head.pooler {
            Some(_) => self.any_head(head, SectionKind::HeadRelu),
            None => Err(WriteError::Pooler),
        }
    }

    fn any_head(&mut self, head: &Head<'_>, kind: SectionKind) -> Result<(), WriteError> {
        if head.pooler.is_some() != self.header.task.reads_first_row_only() {
            return Err(WriteError::Pooler);
        }
        let mut gather = Gather::new(kind);
        layout::head(&self.header.shape, &mut { *head }, &mut gather);
        self.push(kind, gather.finish()?)
    }

    /// Adds the tokenizer's tables, behind the head.
    ///
    /// # Errors
    /// When it is another section's turn.
    pub fn tokenizer(&mut self, tables: &[u8]) -> Result<(), WriteError> {
        self.push(SectionKind::Tokenizer, tables.to_vec())
    }

    /// Adds what the workstation wants to remember of the training, the last section that every bundle has: the text
    /// of `training_args.json`, or nothing.
    ///
    /// # Errors
    /// When it is another section's turn.
    pub fn training(&mut self, json: &[u8]) -> Result<(), WriteError> {
        self.push(SectionKind::Training, json.to_vec())
    }

    /// Adds inputs with their answers, behind all others. A bundle may do without; with them it is of
    /// format version 2.
    ///
    /// # Errors
    /// When it is another section's turn.
    pub fn selftest(&mut self, inputs: &[Golden<'_>]) -> Result<(), WriteError> {
        self.push(SectionKind::Selftest, selftest::encode(inputs))
    }

    /// Adds the model's card in short, for people, behind all others. A bundle may do without; with it it
    /// is of format version 3.
    ///
    /// # Errors
    /// When it is longer than [`MAX_CARD_BYTES`], or it is another section's turn.
    pub fn card(&mut self, text: &str) -> Result<(), WriteError> {
        if text.len() > MAX_CARD_BYTES {
            return Err(WriteError::Card(text.len()));
        }
        self.push(SectionKind::Card, text.as_bytes().to_vec())
    }

    /// Adds that each label is decided by itself, above a score of [`DECISION`], right behind `training`.
    /// With it a bundle is of format version 4.
    ///
    /// # Errors
    /// When the task is another than classification, or it is another section's turn.
    pub fn decisions(&mut self) -> Result<(), WriteError> {
        if !SectionKind::Decisions.goes_with(self.header.task) {
            return Err(WriteError::Refused(OpenError::SectionTable));
        }
        let scores = std::vec![DECISION; self.header.shape.outputs as usize];
        let content = bytemuck::cast_slice(&scores).to_vec();
        self.push(SectionKind::Decisions, content)
    }

    /// The bundle in memory, as the reader takes it.
    ///
    /// # Errors
    /// When a section is missing.
    pub fn to_bytes(&self) -> Result<AlignedBytes, WriteError> {
        let head = self.encode_head()?;
        let len = self.file_len(head.len() as u64) as usize;
        Ok(AlignedBytes::filled(len, |mut bytes| {
            let written = self.emit(&head, &mut bytes);
            written.expect("memory for every byte");
        }))
    }

    /// Writes the bundle to `path`, replacing a file that is there. The file appears whole, when
    /// all of it has reached the disk, or not at all. Returns how many bytes it has.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes), and what the file system says.
    pub fn write(&self, path: &Path) -> Result<u64, WriteError> {
        self.stage(path)?.commit()
    }

    /// Writes the bundle beside `path`, without that name yet: what else has to go before can go when nothing that is
    /// likely to fail is left.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn stage(&self, path: &Path) -> Result<Staged, WriteError> {
        let head = self.encode_head()?;
        let file = atomic::Staged::write(path, |file| self.emit(&head, file));
        Ok(Staged {
            file: file.map_err(|source| failed(path, source))?,
            path: path.to_path_buf(),
            bytes: self.file_len(head.len() as u64),
        })
    }

    /// Adds a section and its entry in the table, where it is its turn.
    fn push(&mut self, kind: SectionKind, content: Vec<u8>) -> Result<(), WriteError> {
        let expected = self.next_section();
        let last = self.header.sections.last().map(|section| section.kind);
        let place = |kind| {
            SectionKind::OPTIONAL
                .iter()
                .position(|&other| Some(other) == kind)
        };
        let optional = expected.is_none() && place(Some(kind)) > place(last);
        let due = expected.is_some_and(|expected| kind.fits(expected));
        if !due && !optional {
            return Err(WriteError::Order { kind, expected });
        }
        let len = u32::try_from(content.len()).map_err(|_| WriteError::TooLong(kind))?;
        let crc = checksum::of(&content);
        let pushed = self.header.sections.push(Section { kind, len, crc });
        pushed.expect("the table has room for every section of a checked shape");
        self.contents.push(content);
        Ok(())
    }

    /// The section whose turn it is; `None` when all are there that have to be.
    fn next_section(&self) -> Option<SectionKind> {
        self.header.shape.sections().nth(self.contents.len())
    }

    /// The prefix and the header.
    fn encode_head(&self) -> Result<Vec<u8>, WriteError> {
        if let Some(next) = self.next_section() {
            return Err(WriteError::Missing(next));
        }
        // What was right when it was set may not go with a section that came later.
        self.header
            .check(FORMAT_VERSION)
            .map_err(WriteError::Refused)?;
        let header = self.header.encode();
        let file_len = self.file_len((prefix::LEN + header.len()) as u64);
        let mut encoded = Vec::from(Prefix::encode(self.header.version(), &header, file_len));
        encoded.extend_from_slice(&header);
        Ok(encoded)
    }

    /// Where the last section ends, in a file whose header ends at `header_end`.
    fn file_len(&self, header_end: u64) -> u64 {
        let contents = self.contents.iter().map(|content| content.len() as u64);
        contents.fold(header_end, |end, len| end + padding(end) + len)
    }

    /// Writes the head and the sections, with the padding before each.
    fn emit(&self, head: &[u8], out: &mut dyn Write) -> io::Result<()> {
        out.write_all(head)?;
        let mut end = head.len() as u64;
        for content in &self.contents {
            let zeros = padding(end);
            out.write_all(&[0; crate::ALIGNMENT][..zeros as usize])?;
            out.write_all(content)?;
            end += zeros + content.len() as u64;
        }
        Ok(())
    }
}

/// A bundle that has reached the disk, and has yet to get its name. Dropped before that it is gone, and a file that has
/// the name untouched.
#[derive(Debug)]
pub struct Staged {
    file: atomic::Staged,
    path: PathBuf,
    bytes: u64,
}

impl Staged {
    /// Gives the bundle its name, replacing a file that has it. Returns how many bytes it has.
    ///
    /// # Errors
    /// What the file system says.
    pub fn commit(self) -> Result<u64, WriteError> {
        let Staged { file, path, bytes } = self;
        file.commit().map_err(|source| failed(&path, source))?;
        Ok(bytes)
    }
}

fn failed(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Copies the arrays of a section one behind the other, each padded to the alignment.
struct Gather {
    kind: SectionKind,
    bytes: Vec<u8>,
    /// Arrays and dimensions that have been seen.
    seen: usize,
    /// The first that is not as the shape asks.
    error: Option<WriteError>,
}

impl Gather {
    fn new(kind: SectionKind) -> Self {
        Gather {
            kind,
            bytes: Vec::new(),
            seen: 0,
            error: None,
        }
    }

    fn finish(self) -> Result<Vec<u8>, WriteError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.bytes),
        }
    }

    fn compare(&mut self, found: usize, expected: u64) {
        self.seen += 1;
        if found as u64 != expected && self.error.is_none() {
            self.error = Some(WriteError::Array {
                kind: self.kind,
                place: self.seen,
                found,
                expected,
            });
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let zeros = padding(self.bytes.len() as u64) as usize;
        self.bytes.resize(self.bytes.len() + zeros, 0);
    }
}

impl<'a> Arrays<'a> for Gather {
    fn integers(&mut self, array: &mut &'a [i8], count: u64) {
        self.compare(array.len(), count);
        self.append(bytemuck::cast_slice(array));
    }

    fn floats(&mut self, array: &mut &'a [f32], count: u64) {
        self.compare(array.len(), count);
        self.append(bytemuck::cast_slice(array));
    }

    fn dimension(&mut self, field: &mut usize, size: u64) {
        self.compare(*field, size);
    }
}

/// Why a bundle was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A reader would refuse it.
    #[error("no device would open this bundle: {0}")]
    Refused(OpenError),
    /// An array or a dimension of a section is not what the shape asks for.
    #[error(
        "section \"{kind}\": array or dimension {place} in the order of the file is {found}, \
         and the shape asks for {expected}"
    )]
    Array {
        /// The section.
        kind: SectionKind,
        /// Which of its arrays and dimensions, counted from 1.
        place: usize,
        /// How long it is.
        found: usize,
        /// How long it should be.
        expected: u64,
    },
    /// There is a pooler for a task without one, or none for a task that has one.
    #[error("a pooler belongs to the tasks that read the first row alone, and to no other")]
    Pooler,
    /// It was another section's turn.
    #[error("section \"{kind}\" comes out of turn")]
    Order {
        /// The section that came.
        kind: SectionKind,
        /// The one whose turn it was; none when all were there.
        expected: Option<SectionKind>,
    },
    /// This section has not been added.
    #[error("section \"{0}\" is missing")]
    Missing(SectionKind),
    /// This section has 4 GiB or more.
    #[error("section \"{0}\" is too long: a section has less than 4 GiB")]
    TooLong(SectionKind),
    /// A card of so many bytes.
    #[error("a card of {0} bytes is too long: it has at most {MAX_CARD_BYTES}")]
    Card(usize),
    /// The file system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
