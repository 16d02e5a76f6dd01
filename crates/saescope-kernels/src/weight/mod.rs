//! A weight matrix, packed once when loaded.
//!
//! Packing lays the outputs out in panels (see `tile`), so that products stream through memory
//! whether they have a thousand rows or one. The packed form is the only copy: rows are gathered
//! from it where an embedding is looked up.

mod operand;
mod product;
mod repack;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use half::bf16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::operand::Operand;
pub use self::product::Epilogue;
use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::tile::Tiles;

/// How a weight is kept; products accumulate in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 4 bytes a value.
    #[default]
    F32,
    /// 2 bytes a value, rounded to nearest even when packed. Where the processor multiplies bf16,
    /// activations are rounded as they enter a product; elsewhere they stay f32.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::Bf16];

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Precision, String> {
        let named = |precision: &Precision| precision.name() == name;
        let known = Precision::ALL.into_iter().find(named);
        known.ok_or_else(|| format!("unknown precision `{name}`; use f32 or bf16"))
    }
}

/// A weight `[d_out, d_in]`, of which `x W^T` is taken.
pub struct Weight {
    d_out: usize,
    d_in: usize,
    isa: Isa,
    panels: Panels,
}

enum Panels {
    F32(Buffer),
    /// bf16, two to an f32 of the buffer.
    Bf16(Buffer),
}

/// Columns of a panel on `isa`.
pub(crate) fn panel_width(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => crate::simd::Avx2::NR,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 => crate::simd::Avx512::NR,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => crate::simd::Neon::NR,
        _ => crate::simd::Portable::NR,
    }
}

impl Weight {
    /// Packs a weight `[d_out, d_in]`. `fill` writes the rows of a range of outputs, one after
    /// another, `[range, d_in]`; it is called from several threads, once per range.
    ///
    /// # Errors
    /// An error of `fill`.
    pub fn pack<E: Send>(
        d_out: usize,
        d_in: usize,
        precision: Precision,
        fill: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Weight, E> {
        Weight::pack_for(Isa::current(), (d_out, d_in), precision, fill)
    }

    pub(crate) fn pack_for<E: Send>(
        isa: Isa,
        (d_out, d_in): (usize, usize),
        precision: Precision,
        fill: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Weight, E> {
        let width = panel_width(isa);
        let n_panels = d_out.div_ceil(width);
        let range = |panel: usize| panel * width..((panel + 1) * width).min(d_out);
        let rows = || vec![0.0; width * d_in];
        let panels = match precision {
            Precision::F32 => {
                let mut packed = Buffer::zeros(n_panels * d_in * width);
                let panels = packed.as_mut_slice().par_chunks_mut((d_in * width).max(1));
                panels
                    .enumerate()
                    .try_for_each_init(rows, |rows, (panel, out)| {
                        let rows = &mut rows[..range(panel).len() * d_in];
                        fill(range(panel), rows)?;
                        for (column, row) in rows.chunks_exact(d_in.max(1)).enumerate() {
                            for (out, &value) in out.chunks_exact_mut(width).zip(row) {
                                out[column] = value;
                            }
                        }
                        Ok(())
                    })?;
                Panels::F32(packed)
            }
            Precision::Bf16 => {
                let length = d_in.div_ceil(2) * 2 * width;
                let mut packed = Buffer::zeros(n_panels * length / 2);
                let panels = packed.as_bf16_mut().par_chunks_mut(length.max(1));
                panels
                    .enumerate()
                    .try_for_each_init(rows, |rows, (panel, out)| {
                        let rows = &mut rows[..range(panel).len() * d_in];
                        fill(range(panel), rows)?;
                        for (column, row) in rows.chunks_exact(d_in.max(1)).enumerate() {
                            for (k, &value) in row.iter().enumerate() {
                                out[(k / 2 * width + column) * 2 + k % 2] =
                                    bf16::from_f32(value).to_bits();
                            }
                        }
                        Ok(())
                    })?;
                Panels::Bf16(packed)
            }
        };
        Ok(Weight {
            d_out,
            d_in,
            isa,
            panels,
        })
    }

    /// Number of outputs.
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// Number of inputs.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// How the values are kept.
    pub fn precision(&self) -> Precision {
        match self.panels {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
        }
    }

    /// Whether rows are rounded to bf16 as they enter a product.
    pub fn rounds(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.precision() == Precision::Bf16 && self.isa == Isa::Avx512Bf16;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(values) => values.as_slice().len() * 4,
            Panels::Bf16(values) => values.as_slice().len() * 4,
        }
    }

    /// Copies row `output` to `row`, `[d_in]`.
    pub fn copy_row(&self, output: usize, row: &mut [f32]) {
        assert_eq!(row.len(), self.d_in, "length of a copied row");
        let width = panel_width(self.isa);
        let (panel, column) = (output / width, output % width);
        match &self.panels {
            Panels::F32(values) => {
                let panel = &values.as_slice()[panel * self.d_in * width..][..self.d_in * width];
                for (k, value) in row.iter_mut().enumerate() {
                    *value = panel[k * width + column];
                }
            }
            Panels::Bf16(values) => {
                let length = self.d_in.div_ceil(2) * 2 * width;
                let panel = &values.as_bf16()[panel * length..][..length];
                for (k, value) in row.iter_mut().enumerate() {
                    let bits = panel[(k / 2 * width + column) * 2 + k % 2];
                    *value = bf16::from_bits(bits).to_f32();
                }
            }
        }
    }
}
