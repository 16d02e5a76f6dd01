//! Everything that made a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest;
use crate::error::Result;
use crate::model::Model;
use crate::sae::SourceFile;
use crate::site::Site;
use crate::train::{InputStatistics, TrainConfig};

/// Everything that made a run: `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version of saescope that made it.
    pub saescope: String,
    /// The model whose activations it learnt.
    pub model: ModelOrigin,
    /// Where activations are read.
    pub site: Site,
    /// Where a transcoder writes.
    pub out_site: Option<Site>,
    /// Width of what is read.
    pub d_in: usize,
    /// Width of what is written.
    pub d_out: usize,
    /// Tokens of a text.
    pub context: usize,
    /// The texts and how they become tokens, or the shards that holds their activations.
    pub corpus: Value,
    /// Identifies the tokens in their order.
    pub corpus_digest: String,
    /// How activations are drawn: buffer, seed, tokens left out.
    pub activations: Value,
    /// How the autoencoder is trained.
    pub train: TrainConfig,
    /// What the first batch's activations were like; nothing before the first checkpoint.
    pub input: Option<InputStatistics>,
    /// What computed it.
    pub machine: Machine,
}

/// A model as a run names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOrigin {
    /// What the user called it.
    pub reference: String,
    /// Its weights' files with the SHA-256 of each.
    pub files: Vec<SourceFile>,
    /// How its weights are kept in memory.
    pub dtype: String,
    /// Whether its texts begin with BOS.
    pub prepend_bos: bool,
}

/// What computed a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The instruction set; another rounds otherwise.
    pub instruction_set: String,
    /// Threads, on which results do not depend.
    pub threads: usize,
}

/// Fields that change no result.
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
    /// The field's name with those it stands in, as `train.adam.lr`.
    pub field: String,
    /// What the first has there; null where it has no such field.
    pub ours: Value,
    /// What the second has.
    pub theirs: Value,
}

impl ModelOrigin {
    /// What a run has to know of a model: its files are read to the end.
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
    /// Every field in which `other` differs, but for what changes no result: names of files whose digest
    /// is the same, what is measured, and the number of threads.
    pub fn differences(&self, other: &RunConfig) -> Vec<Difference> {
        // Through text, as a file has it: reading a number may change its last bit.
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
    /// Whether a run can go on all the same, if not bit for bit.
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
