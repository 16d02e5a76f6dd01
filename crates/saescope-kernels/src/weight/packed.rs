//! `Weight`: a matrix laid out in panels when it is loaded, as f32 or bf16.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use half::bf16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};
use crate::tile::Tiles;

/// The precision of a weight. Products accumulate in f32 in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 4 bytes a value.
    #[default]
    F32,
    /// 2 bytes a value, rounded to nearest even when packed. If the processor multiplies bf16, a
    /// product rounds its activations as well; otherwise they stay f32.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::Bf16];

    /// The name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
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

/// A weight `[d_out, d_in]`, packed for products `x W^T`.
pub struct Weight {
    pub(super) d_out: usize,
    pub(super) d_in: usize,
    pub(super) isa: Isa,
    pub(super) panels: Panels,
}

/// The values of a weight, panel after panel.
pub(super) enum Panels {
    F32(Buffer),
    /// bf16, two to an f32 of the buffer.
    Bf16(Buffer),
}

/// Number of columns of a panel on `isa`.
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
    /// Packs a weight `[d_out, d_in]`. `fill` writes the rows of a range of outputs,
    /// `[range, d_in]`; it is called from several threads, once per range.
    ///
    /// # Errors
    /// The first error of `fill`.
    pub fn pack<E: Send>(
        d_out: usize,
        d_in: usize,
        precision: Precision,
        fill: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Weight, E> {
        Weight::pack_for(Isa::current(), d_out, d_in, precision, fill)
    }

    pub(crate) fn pack_for<E: Send>(
        isa: Isa,
        d_out: usize,
        d_in: usize,
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

    /// Precision of the values.
    pub fn precision(&self) -> Precision {
        match self.panels {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
        }
    }

    /// True if products round their rows to bf16.
    pub fn rounds(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.precision() == Precision::Bf16 && self.isa == Isa::Avx512Bf16;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Bytes of the packed values.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(values) => values.as_slice().len() * 4,
            Panels::Bf16(values) => values.as_slice().len() * 4,
        }
    }

    /// `out` takes the shape `[outputs, d_in]` and becomes the rows of these outputs, as an
    /// embedding is looked up.
    ///
    /// # Panics
    /// When an output does not exist.
    pub fn gather_rows(&self, outputs: &[u32], out: &mut Matrix) {
        out.reshape(outputs.len(), self.d_in);
        let (d_in, shared) = (self.d_in, Shared::new(out.data_mut()));
        by_rows(outputs.len(), d_in, |at| {
            // SAFETY: each row belongs to one task.
            let row = unsafe { std::slice::from_raw_parts_mut(shared.get().add(at * d_in), d_in) };
            self.copy_row(outputs[at] as usize, row);
        });
    }

    /// Copies row `output` to `row`, `[d_in]`.
    ///
    /// # Panics
    /// When there is no such output, or `row` has another length.
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
