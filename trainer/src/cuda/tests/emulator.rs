//! A [`Machine`] that is the host: the kernels' own source, compiled as C++ between `emulator.cpp`, which has CUDA's
//! threads, and `emulator_end.cpp`. Memory is the host's, filled with NaNs and with a guard behind each block.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::say;
use crate::cuda::kernels::{SOURCE, defines};
use crate::cuda::machine::{Address, Launch, Machine, Matrix, Operand, Product};
use crate::device::DeviceError;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// `emulator_launch`
type Run = unsafe extern "C" fn(*const c_char, *const u32, u32, *const c_void, usize, bool) -> bool;

/// Bytes behind each block that nobody may write to.
const GUARD: usize = 256;
/// What memory is filled with: as f32 and as bf16 a NaN.
const RUBBISH: u8 = 0xff;

/// The kernels for operands of each kind, and memory.
pub struct Emulator {
    head: usize,
    blocks: Mutex<HashMap<Address, Vec<u128>>>,
    descending: AtomicBool,
}

/// Compiled kernels. Their shared memory is static: one launch at a time.
#[derive(Clone)]
struct Library(Arc<Mutex<Run>>);

impl Emulator {
    /// For heads of `head` columns; none, and a line that says so, where there is no C++ compiler.
    ///
    /// # Panics
    /// If there is none, and `BERTH_NEEDS_CXX` is set.
    pub fn new(head: usize) -> Option<Arc<Self>> {
        library(Operand::Full, head)?;
        Some(Arc::new(Self {
            head,
            blocks: Mutex::default(),
            descending: AtomicBool::new(false),
        }))
    }

    /// Lets the threads of a block take their turns in the other order.
    pub fn reverse(&self) {
        self.descending.fetch_xor(true, Ordering::Relaxed);
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<Address, Vec<u128>>) -> R) -> R {
        f(&mut self.blocks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Panics
    /// If the bytes do not lie in a block, or its guard was written to.
    fn check(&self, at: Address, bytes: usize) {
        self.with(|blocks| {
            let inside = |(first, block): (&Address, &Vec<u128>)| {
                *first <= at && at + bytes as u64 <= first + (16 * block.len() - GUARD) as u64
            };
            assert!(
                blocks.iter().any(inside),
                "{bytes} bytes inside the device's memory"
            );
        });
    }
}

fn check_guard(block: &[u128]) {
    let guard = &block[block.len() - GUARD / 16..];
    assert!(
        guard.iter().all(|&word| word == u128::MAX),
        "written beyond a block"
    );
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.with(|blocks| blocks.values().for_each(|block| check_guard(block)));
    }
}

impl Machine for Emulator {
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let block = vec![u128::from_ne_bytes([RUBBISH; 16]); (bytes + GUARD).div_ceil(16)];
        let at = block.as_ptr() as Address;
        self.with(|blocks| blocks.insert(at, block));
        Ok(at)
    }

    fn free(&self, at: Address) {
        let block = self.with(|blocks| blocks.remove(&at)).expect("a block");
        check_guard(&block);
    }

    unsafe fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.check(to, bytes.len());
        // SAFETY: the bytes lie in a block, which lives.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.check(from, bytes.len());
        // SAFETY: the bytes lie in a block, which lives.
        unsafe {
            std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len())
        };
        Ok(())
    }

    unsafe fn clear(&self, at: Address, bytes: usize) -> Result<(), DeviceError> {
        self.check(at, bytes);
        // SAFETY: the bytes lie in a block, which lives.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    unsafe fn launch(&self, launch: Launch) -> Result<(), DeviceError> {
        let library =
            library(launch.operand, self.head).expect("a compiler, as for the other operand");
        let run = library.0.lock();
        let run = run.unwrap_or_else(PoisonError::into_inner);
        let name = CString::new(launch.kernel).expect("a name");
        let descending = self.descending.load(Ordering::Relaxed);
        // SAFETY: the caller's promise for the kernel; the rest lives until it returns.
        let ran = unsafe {
            run(
                name.as_ptr(),
                launch.blocks.as_ptr(),
                launch.threads,
                launch.argument,
                launch.size,
                descending,
            )
        };
        assert!(
            ran,
            "a kernel {} with an argument of {} bytes",
            launch.kernel, launch.size
        );
        Ok(())
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        let Product {
            rows,
            columns,
            inner,
            ..
        } = *product;
        let left = self.factor(&product.left, product.operand, rows, inner);
        let right = self.factor(&product.right, product.operand, inner, columns);
        self.check_matrix(&product.result, product.written, [rows, columns]);
        for i in 0..rows {
            for j in 0..columns {
                let at = product.result.at
                    + ((i * product.result.stride + j) * product.written.size()) as u64;
                let sum = (0..inner)
                    .map(|k| f64::from(left[i * inner + k]) * f64::from(right[k * columns + j]));
                let sum = sum.sum::<f64>() as f32;
                // SAFETY: it was checked that the result lies in a block.
                unsafe {
                    let before = if product.add {
                        get(at, product.written)
                    } else {
                        0.0
                    };
                    put(at, product.written, before + sum);
                }
            }
        }
        Ok(())
    }
}

impl Emulator {
    fn check_matrix(&self, matrix: &Matrix, operand: Operand, [rows, columns]: [usize; 2]) {
        assert!(columns <= matrix.stride);
        let numbers = (rows - 1) * matrix.stride + columns;
        self.check(matrix.at, numbers * operand.size());
    }

    /// The numbers of a factor, without gaps.
    fn factor(&self, matrix: &Matrix, operand: Operand, rows: usize, columns: usize) -> Vec<f32> {
        let number = |n: usize| {
            let (i, j) = (n / columns, n % columns);
            let place = match matrix.transposed {
                true => j * matrix.stride + i,
                false => i * matrix.stride + j,
            };
            // SAFETY: below it was checked that the whole matrix lies in a block.
            unsafe { get(matrix.at + (place * operand.size()) as u64, operand) }
        };
        let stored = if matrix.transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        self.check_matrix(matrix, operand, stored);
        (0..rows * columns).map(number).collect()
    }
}

/// # Safety
/// There is a number at the address.
unsafe fn get(at: Address, operand: Operand) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match operand {
            Operand::Full => *(at as *const f32),
            Operand::Half => f32::from_bits(u32::from(*(at as *const u16)) << 16),
        }
    }
}

/// # Safety
/// There is room for a number at the address.
unsafe fn put(at: Address, operand: Operand, x: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match operand {
            Operand::Full => *(at as *mut f32) = x,
            Operand::Half => *(at as *mut u16) = to_bf16(x),
        }
    }
}

/// Rounded to nearest, ties to even.
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// By operand and columns of a head; none where there is no compiler.
type Compiled = HashMap<(u8, usize), Option<Library>>;

/// The kernels for this operand and head, compiled once.
fn library(operand: Operand, head: usize) -> Option<Library> {
    static COMPILED: OnceLock<Mutex<Compiled>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(Mutex::default);
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = compiled.entry((operand as u8, head));
    entry.or_insert_with(|| compile(operand, head)).clone()
}

fn compile(operand: Operand, head: usize) -> Option<Library> {
    let dir = tempfile::tempdir().expect("a folder");
    let (source, object) = (
        dir.path().join("kernels.cpp"),
        dir.path().join("kernels.so"),
    );
    let text = [
        include_str!("emulator.cpp"),
        SOURCE,
        include_str!("emulator_end.cpp"),
    ]
    .concat();
    std::fs::write(&source, text).expect("the source");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let compiled = Command::new(&compiler)
        .args([
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-shared",
            "-ffp-contract=off",
            "-fsanitize=alignment,bounds,shift",
            "-fsanitize-undefined-trap-on-error",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-Wno-unknown-pragmas", "-Wno-unused-parameter"])
        .args(defines(operand, head))
        .arg("-o")
        .args([&object, &source])
        .output();
    let output = match compiled {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let needed = std::env::var_os("BERTH_NEEDS_CXX").is_some();
            assert!(
                !needed,
                "no C++ compiler {compiler}, and BERTH_NEEDS_CXX is set"
            );
            say(&format!(
                "SKIPPED: no C++ compiler {compiler}, so the CUDA kernels are not run"
            ));
            return None;
        }
        other => other.expect("the compiler"),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = CString::new(object.into_os_string().into_encoded_bytes()).expect("a path");
    // SAFETY: the library was just made from the source above; it is never closed, and the symbol is the function of
    // that type in emulator_end.cpp.
    let run = unsafe {
        const NOW: c_int = 2;
        let library = dlopen(file.as_ptr(), NOW);
        assert!(!library.is_null(), "{:?}", CStr::from_ptr(dlerror()));
        let run = dlsym(library, c"emulator_launch".as_ptr());
        assert!(!run.is_null());
        std::mem::transmute::<*mut c_void, Run>(run)
    };
    Some(Library(Arc::new(Mutex::new(run))))
}
