//! What a core can do at most: loops of nothing but independent instructions, in registers.

use std::time::Instant;

/// An instruction that multiplies and adds.
#[derive(Copy, Clone)]
pub struct Peak {
    /// Its name.
    pub name: &'static str,
    /// How many products one call of `run` computes.
    pub products: u64,
    /// The loop.
    pub run: fn(),
}

/// How often a loop goes round in one call.
const TURNS: u64 = 10_000;

/// How often [`Peak::measure`] times a call.
const CALLS: usize = 200;

impl Peak {
    /// Billions of multiplications and additions a second, the fastest of many calls.
    pub fn measure(&self) -> f64 {
        let seconds = (0..CALLS).map(|_| {
            let start = Instant::now();
            (self.run)();
            start.elapsed().as_secs_f64()
        });
        2e-9 * self.products as f64 / seconds.fold(f64::INFINITY, f64::min)
    }
}

/// The instructions that this machine has, of those that BERT's matrix products are made of.
pub fn all() -> Vec<Peak> {
    #[cfg(target_arch = "x86_64")]
    return x86::all();
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::{Peak, TURNS};

    /// Those that the machine has.
    pub(super) fn all() -> Vec<Peak> {
        let avx512 = is_x86_feature_detected!("avx512f");
        let all = [
            (
                "vpdpbusd",
                16 * 64,
                vpdpbusd as fn(),
                avx512 && is_x86_feature_detected!("avx512vnni"),
            ),
            (
                "vdpbf16ps",
                16 * 32,
                vdpbf16ps,
                avx512 && is_x86_feature_detected!("avx512bf16"),
            ),
            ("vfmadd231ps", 16 * 16, vfmadd231ps, avx512),
            (
                "vfmadd231ps, 256 bit",
                12 * 8,
                vfmadd231ps_256,
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            ),
            (
                "vpmaddwd and vpaddd",
                12 * 16,
                vpmaddwd,
                is_x86_feature_detected!("avx2"),
            ),
        ];
        let here = all.into_iter().filter(|peak| peak.3);
        here.map(|(name, products, run, _)| Peak {
            name,
            products: products * TURNS,
            run,
        })
        .collect()
    }

    /// A loop over one instruction on registers 0 to 15, with registers 30 and 31 as its inputs.
    macro_rules! sixteen_chains {
        ($name:ident, $instruction:literal) => {
            fn $name() {
                sixteen_chains!($instruction: "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"
                    "zmm8" "zmm9" "zmm10" "zmm11" "zmm12" "zmm13" "zmm14" "zmm15")
            }
        };
        ($instruction:literal: $($register:tt)*) => {
            // SAFETY: `all` names this function only where the instruction exists. It changes no
            // register but those that are given up here.
            unsafe {
                asm!(
                    "vpxord zmm30, zmm30, zmm30",
                    "vpxord zmm31, zmm31, zmm31",
                    $(concat!("vpxord ", $register, ", ", $register, ", ", $register),)*
                    "2:",
                    $(concat!($instruction, " ", $register, ", zmm30, zmm31"),)*
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) TURNS => _,
                    out("zmm30") _,
                    out("zmm31") _,
                    $(out($register) _,)*
                    options(nomem, nostack),
                )
            }
        };
    }

    sixteen_chains!(vpdpbusd, "vpdpbusd");
    sixteen_chains!(vdpbf16ps, "vdpbf16ps");
    sixteen_chains!(vfmadd231ps, "vfmadd231ps");

    /// Twelve chains of 8 products.
    fn vfmadd231ps_256() {
        macro_rules! chains {
            ($($register:tt)*) => {
                asm!(
                    $(concat!("vxorps ", $register, ", ", $register, ", ", $register),)*
                    "vxorps ymm14, ymm14, ymm14",
                    "vxorps ymm15, ymm15, ymm15",
                    "2:",
                    $(concat!("vfmadd231ps ", $register, ", ymm14, ymm15"),)*
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) TURNS => _,
                    out("ymm14") _,
                    out("ymm15") _,
                    $(out($register) _,)*
                    options(nomem, nostack),
                )
            };
        }
        // SAFETY: as above.
        unsafe {
            chains!("ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm8" "ymm9" "ymm10"
                "ymm11");
        }
    }

    /// Twelve chains of 16 products, each added up by a second instruction.
    fn vpmaddwd() {
        macro_rules! chains {
            ($($register:tt)*) => {
                asm!(
                    "2:",
                    $(
                        "vpmaddwd ymm12, ymm14, ymm15",
                        concat!("vpaddd ", $register, ", ", $register, ", ymm12"),
                    )*
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) TURNS => _,
                    out("ymm12") _,
                    $(out($register) _,)*
                    options(nomem, nostack),
                )
            };
        }
        // SAFETY: as above; the inputs may be anything.
        unsafe {
            chains!("ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm8" "ymm9" "ymm10"
                "ymm11");
        }
    }
}
