//! The configuration of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest;
use crate::error::Result;
use crate::model::Model;
use crate::sae::SourceFile;
use crate::site::Site;
use crate::train::{InputStatistics, TrainConfig};

/// The configuration of a run: `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version of saescope that began the run.
    pub saescope: String,
    /// The model that provides the activations.
    pub model: ModelOrigin,
    /// The site that is read.
    pub site: Site,
    /// The site that a transcoder reconstructs.
    pub out_site: Option<Site>,
    /// Width of the activations that are read.
    pub d_in: usize,
    /// Width of the activations that are reconstructed.
    pub d_out: usize,
    /// Tokens per sequence.
    pub context: usize,
    /// The texts and their tokenization; empty if activations come from shards.
    pub corpus: Value,
    /// Digest of the tokens in their order.
    pub corpus_digest: String,
    /// The source of activations: the configuration of the stream, or the shards.
    pub activations: Value,
    /// The configuration of the training.
    pub train: TrainConfig,
    /// Statistics of the first batch; none before the first checkpoint.
    pub input: Option<InputStatistics>,
    /// The machine.
    pub machine: Machine,
}

/// The model of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOrigin {
    /// The reference that the user gave.
    pub reference: String,
    /// The files of its weights, each with its SHA-256.
    pub files: Vec<SourceFile>,
    /// The number format of its weights in memory.
    pub dtype: String,
    /// True if its texts begin with BOS.
    pub prepend_bos: bool,
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The instruction set, on which rounding depends.
    pub instruction_set: String,
    /// Number of threads, on which results do not depend.
    pub threads: usize,
}

/// Fields that do not change results.
const NO_DIFFERENCE: [&str; 5] = [
    "model.reference",
    "corpus.files",
    "activations.shards",
    "input",
    "machine.threads",
];

/// A field in which two configurations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The path of the field, as `train.adam.lr`.
    pub field: String,
    /// The value of the first; null if it lacks the field.
    pub ours: Value,
    /// The value of the second.
    pub theirs: Value,
}

impl ModelOrigin {
    /// Describes a model; hashes all its files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(model: &Model, reference: &str, dtype: &str, prepend_bos: bool) -> Result<Self> {
        let files = model.source().files.iter().map(|path| {
            let (hash, bytes) = digest::of_file(path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok(SourceFile {
                name: name.into_owned(),
                bytes,
                sha256: Some(digest::hex(&hash)),
            })
        });
        Ok(ModelOrigin {
            reference: reference.to_owned(),
            files: files.collect::<Result<_>>()?,
            dtype: dtype.to_owned(),
            prepend_bos,
        })
    }
}

impl RunConfig {
    /// Every field in which `other` differs, except those that do not change results: names of files whose
    /// digest is the same, measurements, and the number of threads.
    pub fn differences(&self, other: &RunConfig) -> Vec<Difference> {
        // Both pass through text, since reading a number may change its last bit.
        let value = |config: &RunConfig| -> Value {
            let text = serde_json::to_string(config).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        let mut found = Vec::new();
        collect("", &value(self), &value(other), &mut found);
        found.retain(|difference| {
            let field = difference.field.as_str();
            !NO_DIFFERENCE.contains(&field) && !field.starts_with("input.")
        });
        found
    }
}

impl Difference {
    /// True if a run can still resume, though not bit for bit.
    pub fn is_tolerable(&self) -> bool {
        matches!(&*self.field, "saescope" | "machine.instruction_set")
    }
}

fn collect(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    if let (Value::Object(a), Value::Object(b)) = (ours, theirs) {
        let only_theirs = b.keys().filter(|key| !a.contains_key(*key));
        for key in a.keys().chain(only_theirs) {
            let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
            let field = match at {
                "" => key.clone(),
                at => format!("{at}.{key}"),
            };
            let (ours, theirs) = (of(a).unwrap_or_default(), of(b).unwrap_or_default());
            collect(&field, &ours, &theirs, found);
        }
    } else if ours != theirs {
        found.push(Difference {
            field: at.to_owned(),
            ours: ours.clone(),
            theirs: theirs.clone(),
        });
    }
}
