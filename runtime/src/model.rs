//! A bundle opened for use, shared by as many sessions as there are threads.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_bundle::{Bundle, Header};
use berth_kernels::{Isa, Tier};
use berth_wordpiece::Tokenizer;
use memmap2::Mmap;

use crate::engine::Plan;
use crate::error::{ISA_VARIABLE, OpenError, Origin};
use crate::memory::AlignedBytes;
use crate::network::{Bytes, Network};
use crate::session::Session;
use crate::workers::Threads;

/// A model that can be asked, through [`session`](Self::session)s. A clone is the same model.
///
/// Nothing of the weights is copied or repacked: the kernels read them where the file is mapped.
/// The kernels are those of the best instruction set of the machine, or of the one that the
/// environment variable `BERTH_ISA` names (`avx2`, `portable`, …); the answers are the same bits.
#[derive(Clone)]
pub struct Model {
    plan: Plan,
}

impl Model {
    /// Maps the file into memory and checks its structure and its header, in well under a
    /// millisecond. The weights are not read; what damage does to them only changes the answers.
    ///
    /// The file must not be changed or cut while the model is used; a new version should come as a
    /// new file, moved to the old one's name.
    ///
    /// # Errors
    /// When the file can't be read, is not a bundle that this version can use, or when `BERTH_ISA`
    /// names an instruction set that this machine lacks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let (network, _) = map(path.as_ref())?;
        Model::of(network)
    }

    /// As [`open`](Self::open), and holds every byte of the file against its checksum. For this the
    /// file is read once from its beginning to its end, in chunks.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a byte has changed since the bundle was written.
    pub fn open_verified(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let (network, file) = map(path)?;
        network.verify_by_reading(&file, path)?;
        Model::of(network)
    }

    /// Uses a bundle that is part of the program or lies in flash.
    ///
    /// Its address must be a multiple of 64, which
    /// [`include_bundle!`](crate::include_bundle) sees to.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the address is not such a multiple.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, OpenError> {
        Model::in_memory(Bytes::Static(bytes))
    }

    /// Uses a copy of a bundle in memory, such as one that is to be measured before it is written.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        let copy = AlignedBytes::copy_of(bytes);
        let failed = |_| OpenError::Memory {
            origin: Origin::Memory,
            bytes: bytes.len(),
        };
        Model::in_memory(Bytes::Owned(copy.map_err(failed)?))
    }

    /// The same model on another instruction set; the bytes are shared.
    ///
    /// # Errors
    /// None that [`open`](Self::open) has not met before, but for a mapped file that was changed.
    pub fn on(&self, isa: Isa) -> Result<Self, OpenError> {
        Model::of(self.network().on(isa)?)
    }

    /// Makes a session: takes all the memory that queries need, and runs one.
    ///
    /// # Errors
    /// When there is not so much memory as queries are calculated in, or the bundle asks for more than
    /// [`MAX_SCRATCH_BYTES`](crate::MAX_SCRATCH_BYTES). The rest, some words for each position and what tract
    /// takes for its plan, is asked of the program's allocator, which ends the program where it has none.
    pub fn session(&self) -> Result<Session, OpenError> {
        self.session_with(Threads(1))
    }

    /// The same with more threads to share each query. They are started here, sleep between queries, and
    /// end with the session.
    ///
    /// # Errors
    /// As [`session`](Self::session), and when there can't be so many threads.
    pub fn session_with(&self, threads: Threads) -> Result<Session, OpenError> {
        Session::new(self, threads)
    }

    /// Holds every byte against its checksum, where it lies.
    ///
    /// # Errors
    /// When a byte has changed since the bundle was written.
    pub fn verify(&self) -> Result<(), OpenError> {
        self.network().verify()
    }

    /// What the bundle says about itself.
    pub fn header(&self) -> &Header {
        self.bundle().header()
    }

    /// Whether any number of labels may go with a text, each with a score of its own.
    pub fn multi_label(&self) -> bool {
        self.bundle().decisions().is_some()
    }

    /// The bundle: its weights and where they lie.
    pub fn bundle(&self) -> &Bundle<'_> {
        self.network().bundle()
    }

    /// The bundle's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer<'_> {
        self.network().tokenizer()
    }

    /// The most tokens that the model reads at once, special tokens included. A longer text is read by
    /// windows, unless [`Session::set_long_texts`] says that it is cut.
    pub fn positions(&self) -> usize {
        self.header().shape.positions as usize
    }

    /// The bytes that the encoder of one session calculates in.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch_bytes_for(Threads(1))
    }

    /// The same for a session with more threads.
    pub fn scratch_bytes_for(&self, threads: Threads) -> usize {
        berth_encoder::scratch_bytes_for(self.header(), self.positions(), threads.0)
    }

    /// The instruction set that the kernels run on.
    pub fn isa(&self) -> Isa {
        self.network().isa()
    }

    /// Where the bundle comes from.
    pub fn origin(&self) -> &Origin {
        self.network().origin()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    fn network(&self) -> &Network {
        self.plan.network()
    }

    fn in_memory(bytes: Bytes) -> Result<Self, OpenError> {
        Model::of(Network::new(
            Arc::new(bytes),
            Origin::Memory,
            choose_isa()?,
        )?)
    }

    fn of(network: Network) -> Result<Self, OpenError> {
        let plan = Plan::new(Arc::new(network))?;
        Ok(Model { plan })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({}, {})", self.origin(), self.isa().tier())
    }
}

/// Maps the bundle at `path`.
fn map(path: &Path) -> Result<(Network, File), OpenError> {
    let isa = choose_isa()?;
    let failed = |source| OpenError::Read {
        path: path.to_owned(),
        source,
    };
    // Before it is opened, since a pipe would be waited for.
    let found = fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Err(failed(Error::from(ErrorKind::IsADirectory)));
    }
    if !found.is_file() {
        let what = "is no regular file, as a bundle has to be";
        return Err(failed(Error::new(ErrorKind::InvalidInput, what)));
    }
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the map is only read. That nobody changes the file meanwhile is asked of the caller of
    // `Model::open`; `Network::new` says what holds if somebody does all the same.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    let origin = Origin::File(PathBuf::from(path));
    let network = Network::new(Arc::new(Bytes::Mapped(map)), origin, isa)?;
    Ok((network, file))
}

/// The instruction set that the environment asks for, or else the best.
fn choose_isa() -> Result<Isa, OpenError> {
    let Some(asked) = env::var_os(ISA_VARIABLE).filter(|asked| !asked.is_empty()) else {
        return Ok(Isa::best());
    };
    let tier = asked.to_str().and_then(|name| name.parse::<Tier>().ok());
    let isa = tier.and_then(Isa::with);
    isa.ok_or_else(|| OpenError::Isa {
        asked: asked.to_string_lossy().into(),
    })
}
