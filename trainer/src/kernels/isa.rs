//! The one place that chooses the instruction set.
//!
//! The kernels of this folder are plain Rust that the compiler vectorizes. Each is written once, as a function that
//! takes the kind of [`Arithmetic`] first, and the `kernel!` macro compiles it three times: for AVX-512, for AVX2 with FMA,
//! and for whatever the target offers by itself (on AArch64 that is NEON with fused multiply-add). An [`Isa`] picks
//! among the three; one can only be had where its instructions exist, which is what makes the calls sound.
//!
//! Training needs the same bits from the same machine, not from every machine, so fused multiply-add is welcome here.

use std::sync::OnceLock;

/// What the compiled kernels may use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Tier {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// A proof that this machine has the instructions of one tier.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Isa(Tier);

impl Isa {
    /// The widest tier that this machine has.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().remove(0))
    }

    /// Every tier that this machine has, widest first; the last one is portable.
    pub fn available() -> Vec<Self> {
        let mut tiers = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("fma")
            {
                tiers.push(Self(Tier::Avx512));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                tiers.push(Self(Tier::Avx2));
            }
        }
        tiers.push(Self(Tier::Portable));
        tiers
    }

    /// The tier's name, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => "avx2",
            Tier::Portable => "portable",
        }
    }
}

/// How a kernel multiplies and adds: in one instruction where there is one.
///
/// Without hardware support `f32::mul_add` is a slow library call, so the portable x86 build rounds twice instead.
pub trait Arithmetic: Copy {
    /// `a * b + c`
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32;
}

/// Multiplication and addition with one rounding.
#[derive(Copy, Clone)]
pub struct Fused;

/// Multiplication and addition, each rounded.
#[derive(Copy, Clone)]
pub struct Separate;

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Separate {
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// The arithmetic of the portable tier.
#[cfg(any(target_arch = "aarch64", target_feature = "fma"))]
pub(crate) const NATIVE: Fused = Fused;
/// The arithmetic of the portable tier.
#[cfg(not(any(target_arch = "aarch64", target_feature = "fma")))]
pub(crate) const NATIVE: Separate = Separate;

impl Isa {
    /// The tier as the `kernel!` macro asks for it: 2 AVX-512, 1 AVX2, 0 portable.
    #[inline]
    pub(crate) fn level(self) -> u8 {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => 2,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => 1,
            Tier::Portable => 0,
        }
    }
}

/// Compiles `body(arithmetic, arguments)` for every tier and defines `name(isa, arguments)`, which calls the
/// one that `isa` stands for. The body must be `#[inline(always)]`, or the instructions don't reach it.
macro_rules! kernel {
    ($(#[$about:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$about])*
        $vis fn $name(isa: $crate::kernels::isa::Isa, $($arg: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
                fn avx512($($arg: $kind),*) $(-> $result)? {
                    $body($crate::kernels::isa::Fused, $($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $kind),*) $(-> $result)? {
                    $body($crate::kernels::isa::Fused, $($arg),*)
                }
                match isa.level() {
                    // SAFETY: an `Isa` of this level is made only where the features of `avx512` were detected.
                    2 => return unsafe { avx512($($arg),*) },
                    // SAFETY: an `Isa` of this level is made only where the features of `avx2` were detected.
                    1 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            $body($crate::kernels::isa::NATIVE, $($arg),*)
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
mod tests {
    use super::Isa;

    #[test]
    fn the_portable_tier_is_always_there_and_the_best_is_the_first() {
        let all = Isa::available();
        assert_eq!(all.last().map(|isa| isa.name()), Some("portable"));
        assert_eq!(Isa::best(), all[0]);
    }
}
