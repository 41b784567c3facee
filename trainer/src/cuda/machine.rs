//! What a GPU has to be able to do: hold memory, run the kernels, multiply matrices. Everything above speaks of it in
//! these terms, so that the tests can put the host in its place.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::DeviceError;

/// Where something lies in the device's memory.
pub type Address = u64;

/// What matrix products read, and which of the two compilations of the kernels goes with it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// f32.
    Full,
    /// bf16.
    Half,
}

impl Operand {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::Full => 4,
            Self::Half => 2,
        }
    }
}

/// A row-major matrix: its rows lie `stride` numbers apart.
#[derive(Copy, Clone, Debug)]
pub struct Matrix {
    /// Its first number.
    pub at: Address,
    /// From row to row.
    pub stride: usize,
    /// Whether it is stored the other way round: what counts as a row of the factor is a column in memory.
    pub transposed: bool,
}

/// `result = left·right`, or added to what it holds; sums in f32.
#[derive(Copy, Clone, Debug)]
pub struct Product {
    /// Of both factors.
    pub operand: Operand,
    /// `[rows, inner]`
    pub left: Matrix,
    /// `[inner, columns]`
    pub right: Matrix,
    /// `[rows, columns]`, never transposed.
    pub result: Matrix,
    /// Of the result's numbers.
    pub written: Operand,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Columns of the left, rows of the right factor.
    pub inner: usize,
    /// Whether the result is added to.
    pub add: bool,
}

/// A kernel to be run.
#[derive(Copy, Clone, Debug)]
pub struct Launch {
    /// Which compilation.
    pub operand: Operand,
    /// Its name in the source.
    pub kernel: &'static str,
    /// Blocks in each direction, at least one.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Its one argument, a struct.
    pub argument: *const c_void,
    /// Bytes of the argument.
    pub size: usize,
}

/// A device. Whatever is asked of it happens in the order of the asking.
pub trait Machine: Send + Sync {
    /// Memory of `bytes`, of any content.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError>;

    /// Gives memory back that `allocate` gave.
    fn free(&self, at: Address);

    /// Copies from the host.
    ///
    /// # Safety
    /// There is memory for `bytes` at `to`.
    unsafe fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies to the host, after all that was asked for before.
    ///
    /// # Safety
    /// There is memory for `bytes` at `from`.
    unsafe fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Makes bytes zero.
    ///
    /// # Safety
    /// There is memory for `bytes` at `at`.
    unsafe fn clear(&self, at: Address, bytes: usize) -> Result<(), DeviceError>;

    /// Runs a kernel.
    ///
    /// # Safety
    /// The argument is the struct that the kernel takes, and what its addresses point to is as long as the kernel
    /// expects.
    unsafe fn launch(&self, launch: Launch) -> Result<(), DeviceError>;

    /// Multiplies.
    ///
    /// # Safety
    /// The three matrices lie inside the device's memory, the result apart from the factors.
    unsafe fn multiply(&self, product: &Product) -> Result<(), DeviceError>;
}

/// The device's memory, from which buffers are borrowed. What is given back is kept for the next that asks: since all
/// work is done in order, a buffer may be used again before the last work on it is finished.
pub struct Memory {
    machine: Arc<dyn Machine>,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    blocks: Vec<Block>,
    pass: u64,
}

/// Memory that nobody uses, and the pass that used it last.
struct Block {
    at: Address,
    bytes: usize,
    pass: u64,
}

/// Memory on the device, given back when dropped.
pub struct Buffer {
    at: Address,
    bytes: usize,
    home: Arc<Memory>,
}

impl Memory {
    /// Of a device.
    pub fn new(machine: Arc<dyn Machine>) -> Arc<Self> {
        let free = Mutex::default();
        Arc::new(Self { machine, free })
    }

    /// Begins another pass: what only earlier passes used makes room when there is need.
    pub fn begin_pass(&self) {
        self.with(|free| free.pass += 1);
    }

    /// Memory of `bytes`, of any content: the smallest free block that is long enough, but not over twice as long. If
    /// there is none, a new one, and of the free ones that this pass has not used the longest is given up.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Buffer, DeviceError> {
        // Products want their rows aligned, and an empty block has no address.
        let bytes = bytes.max(1).next_multiple_of(256);
        let (found, stale) = self.with(|free| free.take(bytes));
        if let Some(stale) = stale {
            self.machine.free(stale.at);
        }
        let (at, bytes) = match found {
            Some(block) => (block.at, block.bytes),
            None => (self.allocate(bytes)?, bytes),
        };
        let home = self.clone();
        Ok(Buffer { at, bytes, home })
    }

    /// New memory; where there is none, what lies free is given up for it.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        self.machine.allocate(bytes).or_else(|_| {
            for block in self.with(|free| std::mem::take(&mut free.blocks)) {
                self.machine.free(block.at);
            }
            self.machine.allocate(bytes)
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Free) -> R) -> R {
        f(&mut self.free.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Free {
    /// A block that fits; else, where there is one, a block to give up.
    fn take(&mut self, bytes: usize) -> (Option<Block>, Option<Block>) {
        let of = |&i: &usize| self.blocks[i].bytes;
        let all = 0..self.blocks.len();
        let fitting = all.clone().filter(|i| (bytes..=2 * bytes).contains(&of(i)));
        if let Some(best) = fitting.min_by_key(of) {
            return (Some(self.blocks.swap_remove(best)), None);
        }
        let stale = all.filter(|&i| self.blocks[i].pass < self.pass);
        let longest = stale.max_by_key(of);
        (None, longest.map(|i| self.blocks.swap_remove(i)))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for block in self.with(|free| std::mem::take(&mut free.blocks)) {
            self.machine.free(block.at);
        }
    }
}

impl Buffer {
    /// Its first byte.
    pub fn at(&self) -> Address {
        self.at
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If the buffer ends before them.
    pub fn upload(&self, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.check(offset, bytes.len());
        // SAFETY: the buffer's memory reaches from `at` to `at + self.bytes`, and the bytes end inside it.
        unsafe { self.home.machine.upload(self.at + offset as u64, bytes) }
    }

    /// Copies from `offset` to `bytes`.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn download(&self, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.check(offset, bytes.len());
        // SAFETY: as in `upload`.
        unsafe { self.home.machine.download(self.at + offset as u64, bytes) }
    }

    /// Makes all of it zero.
    pub fn clear(&self) -> Result<(), DeviceError> {
        // SAFETY: the buffer's memory has `self.bytes`.
        unsafe { self.home.machine.clear(self.at, self.bytes) }
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "inside the buffer"
        );
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Self { at, bytes, .. } = *self;
        self.home.with(|free| {
            let pass = free.pass;
            free.blocks.push(Block { at, bytes, pass });
        });
    }
}
