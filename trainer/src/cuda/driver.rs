//! An NVIDIA GPU: memory and launches by the driver, kernels compiled at the start by NVRTC for this very GPU, products
//! by cuBLAS. The three libraries are opened when a GPU is asked for, so that the program builds and starts without them.
//!
//! Everything goes to the default stream of the device's primary context, which works in order.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{result as driver, sys as driver_sys};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};

use super::kernels::{SOURCE, defines};
use super::machine::{Address, Launch, Machine, Matrix, Operand, Product};
use crate::device::{Device, DeviceError};

/// Compute capability from which on cuBLAS multiplies bf16.
const BF16_SINCE: (i32, i32) = (8, 0);

/// Bytes of arguments that a kernel can have.
const MOST_ARGUMENTS: usize = 4096;

/// A GPU with the kernels loaded.
pub struct Gpu {
    context: driver_sys::CUcontext,
    products: Mutex<cublas_sys::cublasHandle_t>,
    modules: HashMap<&'static str, driver_sys::CUmodule>,
    functions: Mutex<HashMap<(&'static str, &'static str), driver_sys::CUfunction>>,
}

// SAFETY: contexts, modules and functions of the driver may be used by any thread that makes the context its own, which
// every call here does first; the cuBLAS handle is used by one thread at a time, which holds the lock of `products`.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

/// That the libraries and a GPU of this number are there.
pub fn check(device: Device) -> Result<(), DeviceError> {
    let Device::Cuda(number) = device else {
        return Ok(());
    };
    let missing = |library, hint| DeviceError::NoLibrary {
        device,
        library,
        hint,
    };
    // SAFETY: opening NVIDIA's libraries runs their initializers, which have no conditions.
    let there = unsafe {
        [
            driver_sys::is_culib_present(),
            nvrtc_sys::is_culib_present(),
            cublas_sys::is_culib_present(),
        ]
    };
    let toolkit = "it comes with the CUDA toolkit, or with the Python package of its name; LD_LIBRARY_PATH may tell where";
    match there {
        [false, ..] => return Err(missing("libcuda", "it comes with the NVIDIA driver")),
        [_, false, _] => return Err(missing("libnvrtc", toolkit)),
        [.., false] => return Err(missing("libcublas", toolkit)),
        _ => {}
    }
    driver::init().map_err(call("cuInit"))?;
    let count = driver::device::get_count().map_err(call("cuDeviceGetCount"))?;
    if i32::from(number) >= count {
        let problem = format!("there are {count} GPUs, counted from 0");
        return Err(DeviceError::Unfit { device, problem });
    }
    check_versions(device)
}

/// That the driver runs what libraries of their versions make: it knows its own major version and older ones.
fn check_versions(device: Device) -> Result<(), DeviceError> {
    let (mut driver, mut nvrtc, mut minor, mut cublas) = (0, 0, 0, 0);
    // SAFETY: the libraries are there, and write to these numbers alone.
    unsafe {
        let version = driver_sys::cuDriverGetVersion(&mut driver);
        version.result().map_err(call("cuDriverGetVersion"))?;
        let version = nvrtc_sys::nvrtcVersion(&mut nvrtc, &mut minor);
        version.result().map_err(call("nvrtcVersion"))?;
        let major = cublas_sys::libraryPropertyType_t::MAJOR_VERSION;
        let version = cublas_sys::cublasGetProperty(major, &mut cublas);
        version.result().map_err(call("cublasGetProperty"))?;
    }
    let (major, minor) = (driver / 1000, driver % 1000 / 10);
    let libraries = [("libnvrtc", nvrtc), ("libcublas", cublas)];
    match libraries.iter().find(|(_, version)| *version > major) {
        None => Ok(()),
        Some((library, version)) => Err(DeviceError::Unfit {
            device,
            problem: format!(
                "the driver is for CUDA {major}.{minor}, and the {library} that was found for CUDA {version}; install a \
                 newer driver, or the libraries of CUDA {major} (nvidia-cuda-nvrtc-cu{major}, nvidia-cublas-cu{major})"
            ),
        }),
    }
}

impl Gpu {
    /// Opens a GPU for a model with heads of `head` columns, for products of `operand` in training.
    pub fn open(device: Device, head: usize, operand: Operand) -> Result<Self, DeviceError> {
        check(device)?;
        let Device::Cuda(number) = device else {
            let problem = "no GPU".to_owned();
            return Err(DeviceError::Unfit { device, problem });
        };
        let handle = driver::device::get(number.into()).map_err(call("cuDeviceGet"))?;
        let capability = capability(handle)?;
        if operand == Operand::Half && capability < BF16_SINCE {
            let problem =
                "bf16 needs a GPU of compute capability 8.0; leave --bf16 out to train in f32"
                    .to_owned();
            return Err(DeviceError::Unfit { device, problem });
        }
        // SAFETY: `handle` is a device that the driver gave.
        let context = unsafe { driver::primary_ctx::retain(handle) }
            .map_err(call("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: the context was just retained, and is until the process ends.
        unsafe { driver::ctx::set_current(context) }.map_err(call("cuCtxSetCurrent"))?;
        let mut modules = HashMap::new();
        // What evaluates and what the heads use is f32.
        let both = [Operand::Full, Operand::Half];
        for operand in both
            .into_iter()
            .take(if operand == Operand::Half { 2 } else { 1 })
        {
            modules.insert(name(operand), load(&compile(capability, operand, head)?)?);
        }
        let products = cublas::create_handle().map_err(call("cublasCreate"))?;
        // Else a library may add the parts of a long sum in bf16, where that is what the result is written in.
        let exact = cublas_sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle was just made.
        let set = unsafe { cublas_sys::cublasSetMathMode(products, exact) };
        set.result().map_err(call("cublasSetMathMode"))?;
        Ok(Self {
            context,
            products: Mutex::new(products),
            modules,
            functions: Mutex::default(),
        })
    }

    fn make_current(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until the process ends.
        unsafe { driver::ctx::set_current(self.context) }.map_err(call("cuCtxSetCurrent"))
    }

    fn function(&self, launch: &Launch) -> Result<driver_sys::CUfunction, DeviceError> {
        let module = name(launch.operand);
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&(module, launch.kernel)) {
            return Ok(*function);
        }
        let unknown = |problem: &str| DeviceError::Call {
            call: launch.kernel,
            problem: problem.to_owned(),
        };
        let loaded = self
            .modules
            .get(module)
            .ok_or_else(|| unknown("no such module"))?;
        let symbol = CString::new(launch.kernel).map_err(|_| unknown("no name"))?;
        // SAFETY: the module is loaded until `self` is dropped.
        let function = unsafe { driver::module::get_function(*loaded, symbol) }
            .map_err(call(launch.kernel))?;
        functions.insert((module, launch.kernel), function);
        Ok(function)
    }
}

impl Machine for Gpu {
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        self.make_current()?;
        // SAFETY: a context is current.
        let got = unsafe { driver::malloc_sync(bytes) };
        got.map_err(|error| match error.0 {
            driver_sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                DeviceError::Memory(bytes.div_ceil(1_000_000))
            }
            _ => call("cuMemAlloc")(error),
        })
    }

    fn free(&self, at: Address) {
        if self.make_current().is_ok() {
            // SAFETY: `allocate` gave the address. Work that still uses it is waited for by the driver. An error here is
            // one of work before, which the next call tells again.
            let _ = unsafe { driver::free_sync(at) };
        }
    }

    unsafe fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.make_current()?;
        // SAFETY: the caller has the room; from memory that is not pinned the copy is staged before this returns.
        unsafe { driver::memcpy_htod_sync(to, bytes) }.map_err(call("cuMemcpyHtoD"))
    }

    unsafe fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.make_current()?;
        // SAFETY: the caller has the memory; the copy waits for the stream's work, and this for the copy.
        unsafe { driver::memcpy_dtoh_sync(bytes, from) }.map_err(call("cuMemcpyDtoH"))
    }

    unsafe fn clear(&self, at: Address, bytes: usize) -> Result<(), DeviceError> {
        self.make_current()?;
        // SAFETY: the caller has the memory.
        unsafe { driver::memset_d8_async(at, 0, bytes, std::ptr::null_mut()) }
            .map_err(call("cuMemsetD8Async"))
    }

    unsafe fn launch(&self, launch: Launch) -> Result<(), DeviceError> {
        self.make_current()?;
        let function = self.function(&launch)?;
        let [x, y, z] = launch.blocks;
        debug_assert!(launch.size <= MOST_ARGUMENTS);
        let mut arguments = [launch.argument.cast_mut()];
        // SAFETY: the function is of a loaded module; its one argument is copied before this returns, and is what the
        // kernel takes, by the caller's promise.
        let launched = unsafe {
            driver::launch_kernel(
                function,
                (x, y, z),
                (launch.threads, 1, 1),
                0,
                std::ptr::null_mut(),
                &mut arguments,
            )
        };
        launched.map_err(call(launch.kernel))
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        self.make_current()?;
        let products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |size: usize| {
            i32::try_from(size).map_err(|_| DeviceError::Call {
                call: "cublasGemmEx",
                problem: format!("a size of {size} is too large"),
            })
        };
        let factor = |matrix: &Matrix| {
            Ok::<_, DeviceError>((matrix.at as *const c_void, size(matrix.stride)?))
        };
        let (left, right, result) = (
            factor(&product.left)?,
            factor(&product.right)?,
            factor(&product.result)?,
        );
        let (one, beta) = (1f32, if product.add { 1f32 } else { 0f32 });
        // cuBLAS has columns where we have rows: what it takes for the first factor is our second, and what is
        // transposed to us is so to it.
        // SAFETY: the sizes are the matrices', by the caller's promise; the scalars are on this stack, which cuBLAS
        // reads before it returns.
        let multiplied = unsafe {
            cublas::gemm_ex(
                *products,
                operation(&product.right),
                operation(&product.left),
                size(product.columns)?,
                size(product.rows)?,
                size(product.inner)?,
                std::ptr::from_ref(&one).cast(),
                right.0,
                kind(product.operand),
                right.1,
                left.0,
                kind(product.operand),
                left.1,
                std::ptr::from_ref(&beta).cast(),
                result.0.cast_mut(),
                kind(product.written),
                result.1,
                // Sums in f32; TF32 only where it is asked for, which it is not.
                cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        multiplied.map_err(call("cublasGemmEx"))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.make_current().is_err() {
            return;
        }
        let products = self
            .products
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // The context stays until the process ends, since the runtime inside cuBLAS may go on using it.
        // SAFETY: handle and modules are the ones that `open` got, and nothing uses them any more. Errors have nobody to
        // go to.
        unsafe {
            let _ = cublas::destroy_handle(*products);
            for module in self.modules.values() {
                let _ = driver::module::unload(*module);
            }
        }
    }
}

fn operation(matrix: &Matrix) -> cublas_sys::cublasOperation_t {
    if matrix.transposed {
        cublas_sys::cublasOperation_t::CUBLAS_OP_T
    } else {
        cublas_sys::cublasOperation_t::CUBLAS_OP_N
    }
}

fn kind(operand: Operand) -> cublas_sys::cudaDataType {
    match operand {
        Operand::Full => cublas_sys::cudaDataType::CUDA_R_32F,
        Operand::Half => cublas_sys::cudaDataType::CUDA_R_16BF,
    }
}

/// What a compilation is called.
fn name(operand: Operand) -> &'static str {
    match operand {
        Operand::Full => "f32",
        Operand::Half => "bf16",
    }
}

fn capability(device: driver_sys::CUdevice) -> Result<(i32, i32), DeviceError> {
    use driver_sys::CUdevice_attribute as Attribute;
    let of = |attribute| {
        // SAFETY: `device` is one that the driver gave.
        let got = unsafe { driver::device::get_attribute(device, attribute) };
        got.map_err(call("cuDeviceGetAttribute"))
    };
    Ok((
        of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// Machine code of all kernels for a GPU of this compute capability.
fn compile(
    (major, minor): (i32, i32),
    operand: Operand,
    head: usize,
) -> Result<Vec<u8>, DeviceError> {
    let source = CString::new(SOURCE).expect("a text without zeros");
    let program =
        nvrtc::create_program(&source, Some(c"berth.cu")).map_err(call("nvrtcCreateProgram"))?;
    let mut options = vec![
        format!("--gpu-architecture=sm_{major}{minor}"),
        "--std=c++17".to_owned(),
    ];
    options.extend(defines(operand, head));
    // SAFETY: the program was just made and is destroyed once, below.
    let compiled = unsafe { nvrtc::compile_program(program, &options) };
    let code = match compiled {
        Ok(()) => machine_code(program),
        Err(_) => {
            let log = log(program);
            let first = log.lines().find(|line| !line.trim().is_empty());
            let first = first.unwrap_or_default();
            Err(DeviceError::Call {
                call: "nvrtcCompileProgram",
                problem: format!(
                    "{first} (for compute capability {major}.{minor}; another libnvrtc may know it)"
                ),
            })
        }
    };
    // SAFETY: as above.
    unsafe { nvrtc::destroy_program(program) }.map_err(call("nvrtcDestroyProgram"))?;
    code
}

fn machine_code(program: nvrtc_sys::nvrtcProgram) -> Result<Vec<u8>, DeviceError> {
    let mut size = 0;
    // SAFETY: the program is compiled; the buffer has the size that NVRTC asks for.
    unsafe {
        let told = nvrtc_sys::nvrtcGetCUBINSize(program, &mut size).result();
        told.map_err(call("nvrtcGetCUBINSize"))?;
        let mut code = vec![0u8; size];
        let got = nvrtc_sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast()).result();
        got.map_err(call("nvrtcGetCUBIN"))?;
        Ok(code)
    }
}

/// What the compiler says.
fn log(program: nvrtc_sys::nvrtcProgram) -> String {
    // SAFETY: the program exists.
    let log = unsafe { nvrtc::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

fn load(code: &[u8]) -> Result<driver_sys::CUmodule, DeviceError> {
    // SAFETY: it is machine code that NVRTC made, and a context is current.
    unsafe { driver::module::load_data(code.as_ptr().cast()) }.map_err(call("cuModuleLoadData"))
}

/// An error of this call.
fn call<E: Debug>(call: &'static str) -> impl FnOnce(E) -> DeviceError {
    move |error| DeviceError::Call {
        call,
        problem: format!("{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs NVRTC, which needs no GPU.
    #[test]
    fn nvrtc_compiles_the_kernels_for_every_head() {
        // SAFETY: opening the library has no conditions.
        if !unsafe { nvrtc_sys::is_culib_present() } {
            let needed = std::env::var_os("BERTH_NEEDS_NVRTC").is_some();
            assert!(!needed, "no libnvrtc where libraries are looked for");
            crate::cuda::tests::say("SKIPPED: no libnvrtc where libraries are looked for");
            return;
        }
        for capability in [(8, 0), (9, 0)] {
            for operand in [Operand::Full, Operand::Half] {
                for head in [8, 32, 64, 128] {
                    let code = compile(capability, operand, head).unwrap();
                    assert_eq!(code[..4], *b"\x7fELF");
                }
            }
        }
        let error = compile((1, 0), Operand::Full, 64).unwrap_err().to_string();
        assert!(error.contains("gpu-architecture"), "{error}");
    }
}
