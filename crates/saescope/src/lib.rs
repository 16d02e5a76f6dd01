//! Open a language model up: see its activations, change them, and watch the output change.
//!
//! Modules stand in the order in which data flows; each imports only what stands before it.
//!
//! The example opens a model and its autoencoder, reads the features that a text activates, and turns the
//! strongest one up:
//!
//! ```
//! use std::path::Path;
//!
//! use saescope::features::{self, Reading};
//! use saescope::generate::Sampling;
//! use saescope::model::Model;
//! use saescope::sae::Sae;
//! use saescope::steer::{Amount, Request, feature_edit, steer};
//! use saescope::tokenizer::{Bos, Tokenizer};
//! use saescope::{Result, Precision};
//!
//! # fn main() -> Result<()> {
//! # let (model, sae) = ("../../tests/data/stories260K", "../../tests/data/sae");
//! let (model, sae) = (Path::new(model), Path::new(sae)); // files or folders
//! let tokenizer = Tokenizer::of_model(model)?;
//! let model = Model::open(model, Precision::F32)?;
//! let sae = Sae::open(sae)?;
//!
//! let ids = tokenizer.encode("Lily was sad", Bos::Auto)?;
//! let found = features::features(&model, &sae, &[&ids], Reading::default(), 3, &mut ())?; // no hook
//! let strongest = found[0].features[0]; // at the last token
//! println!("feature {}: {}", strongest.feature, strongest.activation);
//!
//! let edit = feature_edit(&sae, strongest.feature, Amount::Activation(4.0))?;
//! let request = Request {
//!     prompt: &ids,
//!     settings: &[&[edit]],
//!     saes: &[],
//!     sampling: &Sampling { max_tokens: 12, ..Sampling::default() },
//!     seeds: &[0],
//! };
//! let texts = steer(&model, &tokenizer, &request)?;
//! println!("plain:{}", texts.plain[0].completion.text);
//! println!("steered:{}", texts.steered[0][0].text.completion.text);
//! # assert_eq!(strongest.feature, 269);
//! # assert!(texts.steered[0][0].mean().kl > 0.0);
//! # Ok(())
//! # }
//! ```

// A library prints nothing and reads no environment variable; tests may do both.
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod error;

pub mod show;

mod digest;
mod null_as_nan;
pub mod resources;
mod run_folder;
mod shuffle;
mod stand_in;

pub mod checkpoint;
pub mod tokenizer;

pub mod chat;

pub mod corpus;

pub mod hub;

pub mod site;

pub mod hook;

pub mod pooling;

pub mod edit;

pub mod origin;

pub mod model;

pub mod sae;

pub mod density;
pub mod direction;
pub mod distribution;
mod variance;

pub mod activations;

pub mod train;

pub mod runs;

pub mod generate;

pub mod complete;
pub mod lens;

pub mod features;

pub mod harvest;

pub mod eval;

pub mod steer;

pub mod vector;

pub mod demo;

pub mod session;

pub mod jobs;

pub use saescope_kernels::{
    Activation, Encoder, Gate, Isa, Matrix, Precision, SparseRows, norm, peak_gflops,
};

pub use error::{Error, Result};
