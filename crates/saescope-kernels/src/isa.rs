//! The instruction set that the kernels use, detected once when the program runs.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for. Later ones are faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// Plain Rust, any processor.
    Portable = 1,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
    /// 512-bit vectors with products of pairs of bf16 and of 16-bit integers; processors have both
    /// or neither.
    Avx512Bf16,
}

const ALL: [Isa; 5] = [
    Isa::Portable,
    Isa::Neon,
    Isa::Avx2,
    Isa::Avx512,
    Isa::Avx512Bf16,
];

/// The `Isa` in use as a number; 0 until it is detected.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl Isa {
    /// The instruction set in use: the fastest of this machine unless [`Isa::force`] chose another.
    pub fn current() -> Isa {
        let known = CURRENT.load(Ordering::Relaxed);
        if let Some(isa) = ALL.into_iter().find(|isa| *isa as u8 == known) {
            return isa;
        }
        let fastest = Isa::available().into_iter().max().unwrap_or(Isa::Portable);
        CURRENT.store(fastest as u8, Ordering::Relaxed);
        fastest
    }

    /// Uses `isa` from now on, to test or measure a fallback; returns false, with no effect, if the
    /// machine lacks it. Weights and caches keep the instruction set that they were packed for, so
    /// call this before making any.
    pub fn force(isa: Isa) -> bool {
        let available = isa.is_available();
        if available {
            CURRENT.store(isa as u8, Ordering::Relaxed);
        }
        available
    }

    /// The instruction sets that this machine has.
    pub fn available() -> Vec<Isa> {
        ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => {
                Isa::Avx512.is_available()
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        })
    }
}

impl std::str::FromStr for Isa {
    type Err = String;

    fn from_str(name: &str) -> Result<Isa, String> {
        ALL.into_iter()
            .find(|isa| isa.to_string() == name)
            .ok_or_else(|| {
                let names: Vec<String> = ALL.iter().map(Isa::to_string).collect();
                format!(
                    "unknown instruction set `{name}`; use one of {}",
                    names.join(", ")
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_instruction_set_is_available_and_names_round_trip() {
        assert!(Isa::available().contains(&Isa::current()));
        for isa in ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
    }
}
