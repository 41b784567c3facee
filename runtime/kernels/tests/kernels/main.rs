//! Every public kernel on every tier of this machine, held against a plain oracle bit for bit.
//!
//! The oracle is `NUMERICS.md` written down once more in scalar Rust, without a thought for speed.
//! Shapes stand around the sizes of the tiles, and a good part of the values at the extremes.

mod attention;
mod cases;
mod floats;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod guard;
mod halves;
mod input;
mod linear;
mod oracle;
mod polynomials;
mod rows;

use berth_kernels::{Isa, Tier};

/// Fails unless the two slices have the same bits.
#[track_caller]
fn assert_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits();
        assert!(same, "{what}, number {i}: {found:e} for {expected:e}");
    }
}

#[test]
fn the_tiers_of_this_machine_are_all_found() {
    let tiers: Vec<Tier> = Isa::available().map(Isa::tier).collect();
    assert_eq!(tiers.last(), Some(&Tier::Portable));
    assert_eq!(tiers.first(), Some(&Isa::best().tier()));
    #[cfg(target_arch = "x86_64")]
    {
        let here = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
        assert_eq!(tiers.contains(&Tier::Avx512Vnni), here);
        let here = is_x86_feature_detected!("avx2");
        assert_eq!(tiers.contains(&Tier::Avx2), here);
    }
    #[cfg(target_arch = "aarch64")]
    {
        let here = std::arch::is_aarch64_feature_detected!("i8mm");
        assert_eq!(tiers.contains(&Tier::I8mm), here);
        let here = std::arch::is_aarch64_feature_detected!("dotprod");
        assert_eq!(tiers.contains(&Tier::Dotprod), here);
        assert!(tiers.contains(&Tier::Neon));
    }
    for tier in Tier::ALL {
        assert_eq!(Isa::with(tier).is_some(), tiers.contains(&tier));
        assert_eq!(tier.to_string().parse(), Ok(tier));
    }
    assert_eq!("avx512".parse(), Ok(Tier::Avx512Vnni));
    let error = "sse2".parse::<Tier>().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("avx2, i8mm, dotprod, neon, portable")
    );
}
