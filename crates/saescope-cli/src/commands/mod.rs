//! One file or folder for each subcommand: its arguments, one call of the library, what is printed.
//!
//! None imports another; what two of them need is in `args` or `print`.

pub(crate) mod bench;
pub(crate) mod capture;
pub(crate) mod completions;
pub(crate) mod contrast;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod feature;
pub(crate) mod features;
pub(crate) mod harvest;
pub(crate) mod info;
pub(crate) mod lens;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod steer;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod train;
pub(crate) mod vector;
