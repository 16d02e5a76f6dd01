//! The product of activations with a weight: its blocks, and the loops over depth, rows and panels.

use std::ops::Range;

use super::operand::{Operand, Packed};
use super::packed::{Panels, Weight, panel_width};
use crate::activation::{self, Activation};
use crate::buffer::{Buffer, Scratch};
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::kernel;
use crate::tile::{Panel, Tile, Tiles, WIDE};

/// The last step of a product, after the bias, while the values are in the first cache.
#[derive(Clone, Copy, Default)]
pub enum Epilogue<'a> {
    /// Nothing.
    #[default]
    Keep,
    /// Apply a non-linearity.
    Activate(Activation),
    /// Add a matrix `[rows, d_out]`.
    Add(&'a Matrix),
}

/// Depth of one pass over a panel: pieces of rows of this length stay in the first cache. The depth
/// sets the order of a sum, so it is the same on every processor.
const DEPTH: usize = 768;

/// Panels of a task: they stay in the second cache during a pass over all rows.
const PANELS_PER_TASK: usize = 4;

impl Weight {
    /// `out = epilogue(x W^T + bias)`: `x` is a matrix `[rows, d_in]` or another [`Operand`],
    /// `bias` is `[d_out]`, and `out` takes the shape `[rows, d_out]`.
    ///
    /// # Panics
    /// When a shape does not fit.
    pub fn product<'a>(
        &self,
        x: impl Into<Operand<'a>>,
        bias: Option<&[f32]>,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) {
        self.product_of(x.into(), bias, epilogue, out);
    }

    fn pack_operand<'a>(&self, x: Operand<'a>) -> Packed<'a> {
        #[cfg(target_arch = "x86_64")]
        if self.rounds() {
            // SAFETY: an `Isa` is only handed out where it is available.
            return unsafe { x.pack_rounded() };
        }
        x.pack(self.isa)
    }

    fn product_of(&self, x: Operand, bias: Option<&[f32]>, epilogue: Epilogue, out: &mut Matrix) {
        assert_eq!(
            x.cols(),
            self.d_in,
            "columns of the left-hand side of a product"
        );
        assert!(
            bias.is_none_or(|bias| bias.len() == self.d_out),
            "length of a bias"
        );
        if let Epilogue::Add(added) = epilogue {
            let shapes = ((added.rows(), added.cols()), (x.rows(), self.d_out));
            assert_eq!(shapes.0, shapes.1, "shape of what is added to a product");
        }
        out.reshape(x.rows(), self.d_out);
        if x.rows() == 0 {
            return;
        }
        let packed = self.pack_operand(x);
        let shared = Shared::new(out.data_mut());
        let gemm = Gemm {
            weight: self,
            left: &packed,
            bias,
            epilogue,
            out: shared,
        };
        let blocks = Blocks::new(x.rows(), self);
        let work = x.rows() * self.d_in * self.d_out;
        parallel::for_each(blocks.len(), work, |index| {
            let (rows, panels) = blocks.get(index);
            // SAFETY: the shapes were checked, the weight's ISA is available, and every block
            // writes its own rows and columns of `out`.
            unsafe {
                match gemm.left {
                    #[cfg(target_arch = "x86_64")]
                    Packed::Rounded(_) => dot_block(&gemm, rows, panels),
                    _ => block(self.isa, &gemm, rows, panels),
                }
            }
        });
    }
}

/// The blocks of rows and panels that the tasks of a product compute.
struct Blocks {
    rows: usize,
    rows_per_block: usize,
    panels: usize,
    panels_per_block: usize,
}

impl Blocks {
    fn new(rows: usize, weight: &Weight) -> Blocks {
        let threads = rayon::current_num_threads();
        let panels = weight.d_out.div_ceil(panel_width(weight.isa));
        // With a few rows there is no reuse to keep in a cache: equal blocks, a few per thread.
        let few = rows <= 16;
        let panels_per_block = if few {
            panels
                .div_ceil(threads * 4)
                .next_multiple_of(WIDE)
                .max(WIDE)
        } else {
            PANELS_PER_TASK
        };
        let groups = panels.div_ceil(panels_per_block);
        // Narrow outputs have too few groups of panels for all threads: the rows are split as well.
        let splits = if few {
            1
        } else {
            (threads * 4).div_ceil(groups.max(1))
        };
        let rows_per_block = rows.div_ceil(splits).next_multiple_of(24);
        Blocks {
            rows,
            rows_per_block,
            panels,
            panels_per_block,
        }
    }

    fn len(&self) -> usize {
        self.rows.div_ceil(self.rows_per_block) * self.panels.div_ceil(self.panels_per_block)
    }

    fn get(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let groups = self.panels.div_ceil(self.panels_per_block);
        let (row, panel) = (index / groups * self.rows_per_block, index % groups);
        let panel = panel * self.panels_per_block;
        (
            row..(row + self.rows_per_block).min(self.rows),
            panel..(panel + self.panels_per_block).min(self.panels),
        )
    }
}

/// The operands of a product, packed.
struct Gemm<'a> {
    weight: &'a Weight,
    left: &'a Packed<'a>,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    out: Shared<f32>,
}

/// A range of the depth of some panels, as tiles read it.
struct Slab {
    /// The first of the panels.
    first: Panel,
    /// Values from one panel to the next.
    stride: usize,
}

impl Slab {
    /// Panel `index` of the slab.
    ///
    /// # Safety
    /// The panel exists.
    #[inline(always)]
    unsafe fn panel(&self, index: usize) -> Panel {
        let offset = index * self.stride;
        // SAFETY: as the caller promises.
        unsafe {
            match self.first {
                Panel::F32(b) => Panel::F32(b.add(offset)),
                Panel::Bf16(b) => Panel::Bf16(b.add(offset)),
                Panel::Bf16Dot(b) => Panel::Bf16Dot(b.add(offset)),
            }
        }
    }
}

impl Gemm<'_> {
    /// A range of the depth of the panels from `first` on, `width` columns each, as the weight
    /// holds it.
    ///
    /// # Safety
    /// Range and panels lie within the weight.
    #[inline(always)]
    unsafe fn slab(&self, first: usize, depth: &Range<usize>, width: usize) -> Slab {
        // SAFETY: as the caller promises.
        unsafe {
            match &self.weight.panels {
                Panels::F32(b) => {
                    let stride = self.weight.d_in * width;
                    let start = first * stride + depth.start * width;
                    Slab {
                        first: Panel::F32(b.as_slice().as_ptr().add(start)),
                        stride,
                    }
                }
                Panels::Bf16(b) => {
                    let stride = self.weight.d_in.next_multiple_of(2) * width;
                    let start = first * stride + depth.start * width;
                    let b = b.as_bf16().as_ptr().add(start);
                    let first = match self.left {
                        #[cfg(target_arch = "x86_64")]
                        Packed::Rounded(_) => Panel::Bf16Dot(b),
                        _ => Panel::Bf16(b),
                    };
                    Slab { first, stride }
                }
            }
        }
    }

    /// The tile of a row, a column and a range of the depth, with the given panel.
    ///
    /// # Safety
    /// Row, column and depth lie within the product.
    #[inline(always)]
    unsafe fn tile(&self, row: usize, column: usize, depth: &Range<usize>, panel: Panel) -> Tile {
        let (d_in, d_out) = (self.weight.d_in, self.weight.d_out);
        let last = depth.end == d_in;
        let null = std::ptr::null();
        // SAFETY: as the caller promises.
        unsafe {
            let at = |x: &Matrix| x.data().as_ptr().add(row * d_in + depth.start);
            let (a, a_stride) = match self.left {
                Packed::Rows(x) => (at(x), d_in),
                Packed::Computed(x) => (at(x), d_in),
                #[cfg(target_arch = "x86_64")]
                Packed::Rounded(values) => {
                    let stride = d_in.next_multiple_of(2);
                    let row = values.as_bf16().as_ptr().add(row * stride + depth.start);
                    (row.cast(), stride)
                }
            };
            let bias = self.bias.filter(|_| last);
            Tile {
                a,
                a_stride,
                panel,
                depth: depth.len(),
                out: self.out.get().add(row * d_out + column),
                out_stride: d_out,
                width: d_out - column,
                accumulate: depth.start > 0,
                bias: bias.map_or(null, |bias| bias.as_ptr().add(column)),
                residual: match self.epilogue {
                    Epilogue::Add(added) if last => added.data().as_ptr().add(row * d_out + column),
                    _ => null,
                },
            }
        }
    }
}

/// The loop over a block for any kind of tile: depth outermost, so that rows stay in the first
/// cache and panels in the second; panels innermost.
macro_rules! block_loop {
    (
        $gemm:ident, $rows:ident, $panels:ident, $isa:ty,
        |$depth:ident| $slab:expr, $run:expr, $run_wide:expr
    ) => {
        let (d_in, width) = ($gemm.weight.d_in, <$isa>::NR);
        for start in (0..d_in).step_by(DEPTH) {
            let $depth = start..(start + DEPTH).min(d_in);
            let slab: Slab = $slab;
            let mut row = $rows.start;
            while row < $rows.end {
                let height = ($rows.end - row).min(<$isa>::MR);
                let mut panel = $panels.start;
                while panel < $panels.end {
                    let right = slab.panel(panel - $panels.start);
                    let mut tile = $gemm.tile(row, panel * width, &$depth, right);
                    let n_panels = if height == 1 && $panels.end - panel >= WIDE {
                        tile.width = tile.width.min(WIDE * width);
                        $run_wide(&tile, slab.stride);
                        WIDE
                    } else {
                        tile.width = tile.width.min(width);
                        $run(height, &tile);
                        1
                    };
                    if let (Epilogue::Activate(activation), true) =
                        ($gemm.epilogue, $depth.end == d_in)
                    {
                        activate::<$isa>(activation, height, &tile);
                    }
                    panel += n_panels;
                }
                row += height;
            }
        }
    };
}

kernel! {
    /// Computes a block of rows and panels.
    ///
    /// # Safety
    /// Both lie within the product, whose weight was packed for `isa`.
    fn block(gemm: &Gemm, rows: Range<usize>, panels: Range<usize>) = block_with
}

/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn block_with<S: Tiles>(gemm: &Gemm, rows: Range<usize>, panels: Range<usize>) {
    let mut expanded = Scratch::new(0);
    // SAFETY: as the caller promises.
    unsafe {
        block_loop!(
            gemm,
            rows,
            panels,
            S,
            |depth| {
                let slab = gemm.slab(panels.start, &depth, S::NR);
                match slab.first {
                    // Widened once for all rows, not again for each tile.
                    Panel::Bf16(b) if rows.len() > S::MR => {
                        widen::<S>(b, slab.stride, panels.len(), depth.len(), &mut expanded)
                    }
                    _ => slab,
                }
            },
            S::run,
            S::run_wide
        );
    }
}

/// Widens panels of bf16, `stride` apart, to f32.
///
/// # Safety
/// There are `n_panels` with `depth` values a column.
#[inline(always)]
unsafe fn widen<S: Tiles>(
    b: *const u16,
    stride: usize,
    n_panels: usize,
    depth: usize,
    expanded: &mut Buffer,
) -> Slab {
    let whole = depth.next_multiple_of(2) * S::NR;
    expanded.renew(n_panels * whole);
    let out = expanded.as_mut_slice().as_mut_ptr();
    for panel in 0..n_panels {
        for k in (0..depth).step_by(2) {
            for column in (0..S::NR).step_by(S::LANES) {
                // SAFETY: the pair `k`, `k + 1` lies in the panel, and a whole pair in `expanded`.
                unsafe {
                    let pairs = b.add(panel * stride + k * S::NR + 2 * column);
                    let out = out.add(panel * whole + k * S::NR + column);
                    S::store(out, S::load_bf16_first(pairs));
                    S::store(out.add(S::NR), S::load_bf16_second(pairs));
                }
            }
        }
    }
    Slab {
        first: Panel::F32(out),
        stride: whole,
    }
}

/// Computes a block of rows and panels with bf16 rows.
///
/// # Safety
/// As for [`block`], and the processor has AVX512_BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn dot_block(gemm: &Gemm, rows: Range<usize>, panels: Range<usize>) {
    use crate::simd::Avx512;
    use crate::tile::dot;
    // SAFETY: as the caller promises.
    unsafe {
        block_loop!(
            gemm,
            rows,
            panels,
            Avx512,
            |depth| gemm.slab(panels.start, &depth, Avx512::NR),
            dot::run,
            dot::run_wide
        );
    }
}

/// Applies the activation to a finished tile.
///
/// # Safety
/// The tile was computed.
#[inline(always)]
unsafe fn activate<S: Tiles>(activation: Activation, height: usize, tile: &Tile) {
    for row in 0..height {
        // SAFETY: the tile has `height` rows of `width` values.
        unsafe {
            let out = tile.out.add(row * tile.out_stride);
            activation::apply_row::<S>(activation, out, out, tile.width);
        }
    }
}
