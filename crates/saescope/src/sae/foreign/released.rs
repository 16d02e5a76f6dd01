//! What SAELens' list of releases says of files that do not say it themselves.

use std::path::Path;

use super::whole;
use crate::sae::record::Record;
use crate::site::Site;

/// Releases whose makers loaded the model with centred writing weights.
const CENTRED: [(&str, &str); 3] = [
    ("jbloom", "GPT2-Small-SAEs-Reformatted"),
    ("jbloom", "GPT2-Small-Feature-Splitting-Experiment-Layer-8"),
    MLP_OUT,
];
const MLP_OUT: (&str, &str) = ("tommmcgrath", "gpt2-small-mlp-out-saes");

/// The factors that brought the activations of GPT-2's layers to norm `sqrt(d_in)`, for [`MLP_OUT`].
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

/// Whether the file is of a release that is known to be trained on centred activations.
pub(super) fn centred(path: &Path) -> bool {
    CENTRED.iter().any(|release| is_of(path, *release))
}

/// The constant that the activations were multiplied with, where a release is known to have one.
pub(super) fn scale(path: &Path, record: &Record) -> Option<f64> {
    match record.site {
        Some(Site::MlpOut(layer)) if is_of(path, MLP_OUT) => MLP_OUT_SCALES.get(layer).copied(),
        _ => None,
    }
}

/// Whether a path leads into a release, as the Hub's cache spells it or as a plain copy would.
fn is_of(path: &Path, (owner, name): (&str, &str)) -> bool {
    let path = whole(path);
    let path = path.to_string_lossy();
    path.contains(&format!("{owner}--{name}")) || path.contains(&format!("{owner}/{name}"))
}
