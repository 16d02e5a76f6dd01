//! Facts about released autoencoders that their files omit, from SAELens' list of releases and circuit-tracer.

use std::path::Path;

use super::whole;
use crate::sae::record::Record;
use crate::site::Site;

/// A repository of autoencoders on the Hugging Face Hub.
struct Release {
    owner: &'static str,
    name: &'static str,
}

/// Releases whose makers loaded the model with centred writing weights.
const CENTRED: [Release; 3] = [
    Release {
        owner: "jbloom",
        name: "GPT2-Small-SAEs-Reformatted",
    },
    Release {
        owner: "jbloom",
        name: "GPT2-Small-Feature-Splitting-Experiment-Layer-8",
    },
    MLP_OUT,
];
const MLP_OUT: Release = Release {
    owner: "tommmcgrath",
    name: "gpt2-small-mlp-out-saes",
};

/// TopK transcoders without their `k`, which only circuit-tracer's code has.
const CRV: Release = Release {
    owner: "facebook",
    name: "crv-8b-instruct-transcoders",
};

/// The factors of [`MLP_OUT`] that brought the activations of GPT-2's layers to norm `sqrt(d_in)`.
const MLP_OUT_SCALES: [f64; 12] = [
    1.049_317_3,
    2.369_398_4,
    1.641_193_5,
    1.895_852_2,
    1.816_734_8,
    1.550_234_5,
    1.323_774_3,
    1.104_290_5,
    0.912_376_28,
    0.695_533_56,
    0.361_972_89,
    0.285_154_87,
];

/// True if the file is from a release that is known to be trained on centred activations.
pub(super) fn centred(path: &Path) -> bool {
    CENTRED.iter().any(|release| release.has(path))
}

/// The constant by which a release is known to have multiplied its activations, if any.
pub(super) fn scale(path: &Path, record: &Record) -> Option<f64> {
    match record.site {
        Some(Site::MlpOut(layer)) if MLP_OUT.has(path) => MLP_OUT_SCALES.get(layer).copied(),
        _ => None,
    }
}

/// The `k` of a release whose files do not tell it.
pub(super) fn k(path: &Path) -> Option<usize> {
    CRV.has(path).then_some(128)
}

impl Release {
    /// True if a path leads into the release, in the Hub's cache or in a plain copy.
    fn has(&self, path: &Path) -> bool {
        let path = whole(path);
        let path = path.to_string_lossy();
        let Release { owner, name } = self;
        path.contains(&format!("{owner}--{name}")) || path.contains(&format!("{owner}/{name}"))
    }
}
