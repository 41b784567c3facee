//! The one place that chooses an instruction set.

use core::fmt;
use core::str::FromStr;

use crate::simd::Kernel;
use crate::tiers;

/// The instruction sets that there is a kernel for, the fastest first.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum Tier {
    /// x86-64 with AVX-512 and its four-way int8 dot product.
    Avx512Vnni,
    /// x86-64 with AVX2.
    Avx2,
    /// AArch64 with the int8 matrix product of Armv8.6.
    I8mm,
    /// AArch64 with the int8 dot product of Armv8.2.
    Dotprod,
    /// AArch64 with nothing but what every such machine has.
    Neon,
    /// Plain Rust, for every machine.
    Portable,
}

impl Tier {
    /// Every tier, the fastest first.
    pub const ALL: [Tier; 6] = [
        Tier::Avx512Vnni,
        Tier::Avx2,
        Tier::I8mm,
        Tier::Dotprod,
        Tier::Neon,
        Tier::Portable,
    ];

    /// The name in the environment variable `BERTH_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Avx512Vnni => "avx512vnni",
            Tier::Avx2 => "avx2",
            Tier::I8mm => "i8mm",
            Tier::Dotprod => "dotprod",
            Tier::Neon => "neon",
            Tier::Portable => "portable",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        if name == "avx512" {
            return Ok(Tier::Avx512Vnni);
        }
        let found = Tier::ALL.into_iter().find(|tier| tier.name() == name);
        found.ok_or(UnknownTier)
    }
}

/// A name that is none of [`Tier::ALL`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct UnknownTier;

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an instruction set; there are")?;
        for (i, tier) in Tier::ALL.into_iter().enumerate() {
            let separator = if i == 0 { " " } else { ", " };
            write!(f, "{separator}{tier}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownTier {}

/// An instruction set that this machine has: who holds one may run its kernels.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Isa(Tier);

impl Isa {
    /// The fastest that this machine has; without the feature `std` the fastest that the program was compiled for.
    pub fn best() -> Isa {
        Isa::available().next().unwrap_or(Isa::portable())
    }

    /// The given one, if this machine has it, or without the feature `std` if the program was compiled for it.
    pub fn with(tier: Tier) -> Option<Isa> {
        is_here(tier).then_some(Isa(tier))
    }

    /// The one that every machine has.
    pub fn portable() -> Isa {
        Isa(Tier::Portable)
    }

    /// Which one this is.
    pub fn tier(self) -> Tier {
        self.0
    }

    /// All that this machine has, the fastest first; the last is [`portable`](Isa::portable). Without the feature `std`
    /// the machine is not asked: it is those that the program was compiled for.
    pub fn available() -> impl Iterator<Item = Isa> {
        Tier::ALL.into_iter().filter_map(Isa::with)
    }

    /// Runs an algorithm with this tier's instructions.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        let tier = match self.0 {
            // In all but their products of bytes the tiers of AArch64 are one.
            Tier::I8mm | Tier::Dotprod if !K::PRODUCTS => Tier::Neon,
            tier => tier,
        };
        match tier {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `is_here` found what `run` asks for, or this `Isa` would not exist.
            Tier::Avx512Vnni if may_be(Tier::Avx512Vnni) => unsafe { tiers::avx512::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Tier::Avx2 if may_be(Tier::Avx2) => unsafe { tiers::avx2::run(kernel) },
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            // SAFETY: as above.
            Tier::I8mm if may_be(Tier::I8mm) => unsafe { tiers::i8mm::run(kernel) },
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            // SAFETY: as above.
            Tier::Dotprod if may_be(Tier::Dotprod) => unsafe { tiers::dotprod::run(kernel) },
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Tier::Neon if may_be(Tier::Neon) => tiers::neon::run(kernel),
            _ => tiers::portable::run(kernel),
        }
    }
}

/// Whether every named feature is there: asked of the machine with the standard library, and of
/// the compiler's target without it.
#[cfg(any(
    target_arch = "x86_64",
    all(
        target_arch = "aarch64",
        target_feature = "neon",
        target_endian = "little"
    )
))]
macro_rules! have_all {
    ($($feature:tt)*) => {
        true $(&& {
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            let here = std::arch::is_x86_feature_detected!($feature);
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            let here = std::arch::is_aarch64_feature_detected!($feature);
            #[cfg(not(feature = "std"))]
            let here = cfg!(target_feature = $feature);
            here
        })*
    };
}

/// Whether an [`Isa`] of a tier can exist. Without the standard library this is known when the program is
/// compiled, and no other tier's kernels are in it.
#[cfg(any(
    target_arch = "x86_64",
    all(
        target_arch = "aarch64",
        target_feature = "neon",
        target_endian = "little"
    )
))]
#[inline(always)]
fn may_be(tier: Tier) -> bool {
    cfg!(feature = "std") || is_here(tier)
}

/// Whether this machine has all instructions of a tier.
#[inline]
fn is_here(tier: Tier) -> bool {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Vnni => {
            have_all!("avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512vnni")
        }
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => have_all!("avx2" "f16c"),
        #[cfg(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_endian = "little"
        ))]
        Tier::I8mm => have_all!("i8mm"),
        #[cfg(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_endian = "little"
        ))]
        Tier::Dotprod => have_all!("dotprod"),
        #[cfg(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_endian = "little"
        ))]
        Tier::Neon => true,
        tier => tier == Tier::Portable,
    }
}
