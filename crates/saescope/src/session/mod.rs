//! Everything that has to be open before a question can be asked: a model with its tokenizer,
//! autoencoders with the model that they read, edits with the autoencoders that they name.
//!
//! A command, a server and a notebook name these by references; a [`Session`] turns references into
//! opened things that fit each other. A warning is a value ([`Warning`]): a command prints it, a server
//! sends it, a notebook raises it. This module reads no environment variable and computes nothing.
//!
//! A pair opened from references, and a text steered by a recipe:
//!
//! ```
//! use saescope::hub::HubOptions;
//! use saescope::generate::Sampling;
//! use saescope::session::{Selection, Session};
//! use saescope::steer::{SteeringRecipe, ReferenceActivations, Request, ScaleUnit, WeightedFeature, steer};
//!
//! # fn main() -> saescope::Result<()> {
//! # let cache = std::env::temp_dir();
//! # let (model, sae) = ("../../tests/data/stories260K", "../../tests/data/sae");
//! let session = Session::new(HubOptions::new(cache));
//! let selection = Selection { saes: &[sae], model: Some(model), site: None };
//! let (lm, sae, warnings) = session.open(&selection)?.into_pair()?;
//! for warning in warnings {
//!     println!("warning: {warning}");
//! }
//! let recipe = SteeringRecipe {
//!     sae: Some(sae.reference.clone()),
//!     features: vec![WeightedFeature { feature: 269, weight: 1.0 }],
//!     scales: vec![2.0, 4.0],
//!     unit: Some(ScaleUnit::Activation),
//!     ..SteeringRecipe::default()
//! };
//! let prompt = lm.encode_one(&"Lily was sad".into())?;
//! let settings = recipe.settings(Some(&sae.sae), &ReferenceActivations::default(), prompt.len())?;
//! let lists: Vec<_> = settings.iter().map(|setting| setting.edits.as_slice()).collect();
//! let request = Request {
//!     prompt: &prompt,
//!     settings: &lists,
//!     saes: &[&sae],
//!     sampling: &Sampling { max_tokens: 12, ..Sampling::default() },
//!     seeds: &[0],
//! };
//! let texts = steer(&lm.model, &lm.tokenizer, &request)?;
//! println!("plain: {}", texts.plain[0].completion.text);
//! # assert_eq!(texts.steered.len(), 2);
//! # Ok(())
//! # }
//! ```

mod edits;
mod effects;
mod language_model;
mod pair;
mod self_test;
mod warning;

use std::path::PathBuf;

use rayon::{ThreadPool, ThreadPoolBuilder};
use saescope_kernels::Precision;

pub use edits::Edits;
pub use language_model::LanguageModel;
pub use pair::{Opened, Selection, begin_with_bos};
pub use self_test::SelfTest;
pub use warning::{Job, Warning};

use crate::error::{Error, Result};
use crate::hub::{HubOptions, Reference};
use crate::sae::{NamedSae, Sae};
use crate::tokenizer::Bos;

/// Settings by which references are resolved and models are opened.
#[derive(Clone)]
pub struct Session {
    /// Caches, tokens and addresses of what is downloaded.
    pub hub: HubOptions,
    /// Precision of a model's weights in memory.
    pub precision: Precision,
    /// The token that texts begin with.
    pub bos: Bos,
}

impl Session {
    /// A session whose models have f32 weights, and whose texts begin as each tokenizer has it.
    pub fn new(hub: HubOptions) -> Session {
        Session {
            hub,
            precision: Precision::F32,
            bos: Bos::Auto,
        }
    }

    /// Path of the model that `reference` names, downloaded if need be.
    ///
    /// # Errors
    /// When nothing has that name, or a download fails.
    pub fn locate_model(&self, reference: &str) -> Result<PathBuf> {
        let parsed = Reference::parse(reference)?;
        parsed
            .resolve(&self.hub)
            .map_err(|error| not_here(&parsed, error))
    }

    /// Path of the autoencoder that `reference` names, downloaded if need be.
    ///
    /// # Errors
    /// As [`Session::locate_model`].
    pub fn locate_sae(&self, reference: &str) -> Result<PathBuf> {
        let parsed = Reference::parse(reference)?;
        parsed
            .resolve_autoencoder(&self.hub)
            .map_err(|error| not_here(&parsed, error))
    }

    /// The model that `reference` names, and its tokenizer.
    ///
    /// # Errors
    /// When there is no such model, the reference names an autoencoder, or a file cannot be read.
    pub fn open_model(&self, reference: &str) -> Result<LanguageModel> {
        let path = self.locate_model(reference)?;
        if Sae::is_at(&path) {
            return Err(Error::SaeAsModel {
                sae: reference.to_owned(),
            });
        }
        LanguageModel::open(reference, &path, self.precision, self.bos)
    }

    /// The autoencoder that `reference` names.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn open_sae(&self, reference: &str) -> Result<NamedSae> {
        let sae = Sae::open(&self.locate_sae(reference)?)?;
        Ok(NamedSae {
            reference: reference.to_owned(),
            sae,
        })
    }
}

/// `org/name` may be a path with a slip in it.
fn not_here(parsed: &Reference, error: Error) -> Error {
    match (parsed, error) {
        (Reference::Hub(_), Error::Hub { reference, reason }) => Error::Hub {
            reference,
            reason: format!("no file or folder here has that name; {reason}"),
        },
        (Reference::Hub(_), Error::Offline { reference, reason }) => Error::Offline {
            reference,
            reason: format!("no file or folder here has that name; {reason}"),
        },
        (_, error) => error,
    }
}

/// A pool of `number` threads; [`ThreadPool::install`] runs what is to use them.
///
/// Results do not depend on the number. Without a pool, work uses rayon's own, one thread for each
/// core.
///
/// # Errors
/// When the system refuses so many threads.
pub fn threads(number: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(number).build();
    pool.map_err(|error| Error::System {
        what: format!("{number} threads"),
        reason: error.to_string(),
    })
}

/// True if two references end in the same name, as `org/gpt2`, `gpt2` and `models/gpt2@main` do. A GGUF
/// has its quantisation in its name, which does not count.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    model_name(a) == model_name(b)
}

fn model_name(reference: &str) -> String {
    let path = reference.split('@').next().unwrap_or(reference);
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    let name = name.to_ascii_lowercase();
    let Some(stem) = name.strip_suffix(".gguf") else {
        return name;
    };
    match stem.rfind(['-', '.']) {
        Some(at) if is_quantisation(&stem[at + 1..]) => stem[..at].to_owned(),
        _ => stem.to_owned(),
    }
}

/// True for `q4_k_m`, `iq2_xs`, `bf16` and the like.
fn is_quantisation(word: &str) -> bool {
    let digits_follow = |prefix: &str| {
        let rest = word.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    ["q", "iq", "tq", "f", "bf", "mxfp"]
        .into_iter()
        .any(digits_follow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_one_model_are_recognised() {
        assert!(same_name("org/gpt2", "models/gpt2@main"));
        assert!(same_name("org/Gemma-3-270m", "gemma-3-270m-q4_k_m.gguf"));
        assert!(same_name(
            "SmolLM2-135M-Instruct",
            "x/SmolLM2-135M-Instruct.Q4_1.gguf"
        ));
        assert!(!same_name("google/gemma-2-2b", "google/gemma-2-2b-it"));
        assert!(!same_name("gpt2", "openai-community/gpt2-medium"));
        assert!(!same_name("org/gpt2", "org/pythia"));
    }
}
