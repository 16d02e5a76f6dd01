//! Operations on the rows of a matrix: copies, changes in place, sums in f64, squared errors.
//!
//! A sum over a row runs in f64 and in the order of the columns, and f32 arithmetic is rounded
//! after every operation: results have the same bits on every processor and for any number of
//! threads. What the rows mean (tokens, features, gradients) is not known here.

pub(crate) mod changes;
mod copies;
mod errors;
mod normalise;
mod sums;

pub use changes::{
    add_direction, affine_rows, centre_and_scale, project_out, scale_columns, scale_rows,
    subtract_row,
};
pub use copies::{add_gathered_rows, copy_rows, gather_rows, scatter_rows};
pub(crate) use errors::error_of_row;
pub use errors::{PositiveRows, positive_rows, relu_backward, squared_error};
pub use normalise::{
    centre_rows, centre_rows_in_f32, divide_rows_by_rms, scale_rows_to_norm, standardise_rows,
};
pub use sums::{RowSet, row_dots, row_norms, row_stds, squared_row_distances, squared_row_norms};
