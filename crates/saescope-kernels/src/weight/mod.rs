//! Weight matrices and their products with activations.
//!
//! Packing lays the outputs out in panels (see `tile`), so that a product streams through memory
//! whether it has a thousand rows or one. The packed form is the only copy of a weight: an
//! embedding is looked up in it too. Which layer a weight belongs to is not known here.

mod operand;
mod packed;
mod product;
mod repack;

pub use operand::Operand;
pub(crate) use packed::panel_width;
pub use packed::{Precision, Weight};
pub use product::Epilogue;
