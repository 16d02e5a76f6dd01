//! A model in numbers and names: what its checkpoint and its configuration say of it.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{Config, Model, Positions};
use crate::site::Site;

/// The facts of a model, as they are shown to users.
#[derive(Clone, Debug, Serialize)]
pub struct ModelSummary<'a> {
    /// The family.
    pub family: String,
    /// Format of the checkpoint.
    pub format: String,
    /// The files that hold its weights.
    pub files: Vec<String>,
    /// The licence that the makers state, if any.
    pub licence: Option<String>,
    /// Number of parameters.
    pub parameters: usize,
    /// Its sizes.
    pub shapes: Shapes<'a>,
    /// The kind of positions: `learned` or `rotary`.
    pub positions: &'static str,
    /// The distinct rotary positions.
    pub rope: Vec<RotarySummary>,
    /// The windows of attention, in tokens, each with its number of layers.
    pub windows: BTreeMap<usize, usize>,
    /// True if the unembedding is the embedding.
    pub tied_unembedding: bool,
    /// True if attention and MLP of a layer read the same residual stream.
    pub parallel_residual: bool,
    /// The sites in the order of the forward pass.
    pub sites: Vec<Site>,
    /// Bytes that the weights take in the files.
    pub stored_bytes: u64,
}

/// The sizes of a model, which serialise by their names.
#[derive(Clone, Copy, Debug)]
pub struct Shapes<'a>(&'a Config);

impl Deref for Shapes<'_> {
    type Target = Config;

    fn deref(&self) -> &Config {
        self.0
    }
}

impl Serialize for Shapes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sizes = [
            ("n_layers", self.n_layers()),
            ("n_ctx", self.n_ctx),
            ("d_vocab", self.d_vocab),
            ("d_model", self.d_model),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("d_head", self.d_head),
            ("d_mlp", self.d_mlp),
        ];
        let mut shapes = serializer.serialize_struct("Shapes", sizes.len() + 1)?;
        for (name, size) in sizes {
            shapes.serialize_field(name, &size)?;
        }
        shapes.serialize_field("gated_mlp", &self.mlp.gated)?;
        shapes.end()
    }
}

/// The rotary positions of some layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RotarySummary {
    /// Base of the frequencies.
    pub base: f64,
    /// Components of a head that are rotated.
    pub d_rot: usize,
    /// Name of the scaling, if there is one.
    pub scaling: Option<&'static str>,
    /// The divisor of the slowest frequency.
    pub factor: Option<f64>,
    /// Number of layers that have them.
    pub n_layers: usize,
}

/// The kinds of site of a model, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteKinds {
    /// The sites outside layers.
    pub outside: Vec<String>,
    /// The kinds of site that a layer has, without its number.
    pub in_layers: Vec<String>,
}

impl Model {
    /// The facts of the model.
    pub fn summary(&self) -> ModelSummary<'_> {
        let (config, source) = (self.config(), self.source());
        let files = source.files.iter().map(|file| file.display().to_string());
        ModelSummary {
            family: config.family.to_string(),
            format: source.format.clone(),
            files: files.collect(),
            licence: source.licence.clone(),
            parameters: self.n_params(),
            shapes: Shapes(config),
            positions: match config.positions {
                Positions::Learned => "learned",
                Positions::Rotary { .. } => "rotary",
            },
            rope: rotations(config),
            windows: windows(config),
            tied_unembedding: source.tied,
            parallel_residual: config.parallel_residual,
            sites: self.sites().collect(),
            stored_bytes: source.bytes,
        }
    }
}

impl ModelSummary<'_> {
    /// The kinds of site that the model has, in the order of the forward pass.
    pub fn site_kinds(&self) -> SiteKinds {
        let (in_layers, outside): (Vec<Site>, Vec<Site>) =
            self.sites.iter().partition(|site| site.layer().is_some());
        let mut kinds: Vec<String> = Vec::new();
        for site in in_layers {
            let name = site.to_string();
            let kind = name.split('.').next().unwrap_or(&name);
            if !kinds.iter().any(|known| known == kind) {
                kinds.push(kind.to_owned());
            }
        }
        SiteKinds {
            outside: outside.iter().map(Site::to_string).collect(),
            in_layers: kinds,
        }
    }
}

/// The distinct rotary positions, each with its number of layers.
fn rotations(config: &Config) -> Vec<RotarySummary> {
    let mut rotations: Vec<RotarySummary> = Vec::new();
    for rope in config.layers.iter().filter_map(|layer| layer.rope.as_ref()) {
        let (scaling, factor) = rope.scaling.summary().unzip();
        let same = |known: &&mut RotarySummary| {
            known.base == rope.base && known.scaling == scaling && known.factor == factor
        };
        match rotations.iter_mut().find(same) {
            Some(known) => known.n_layers += 1,
            None => rotations.push(RotarySummary {
                base: rope.base,
                d_rot: config.positions.d_rot(),
                scaling,
                factor,
                n_layers: 1,
            }),
        }
    }
    rotations
}

/// The windows, in tokens, each with its number of layers.
fn windows(config: &Config) -> BTreeMap<usize, usize> {
    let mut windows = BTreeMap::new();
    for window in config.layers.iter().filter_map(|layer| layer.window) {
        *windows.entry(window).or_default() += 1;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base, scaling with its factor, number of layers.
    type Row = (f64, Option<(&'static str, f64)>, usize);

    fn golden(model: &str) -> Vec<Row> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/models");
        let path = std::path::Path::new(path).join(model);
        let model = Model::open(&path, saescope_kernels::Precision::F32).unwrap();
        let row = |row: RotarySummary| (row.base, row.scaling.zip(row.factor), row.n_layers);
        model.summary().rope.into_iter().map(row).collect()
    }

    #[test]
    fn layers_with_equal_rotary_positions_are_listed_once() {
        assert_eq!(golden("gpt2"), []);
        let llama3 = (1000.0, Some(("llama3", 8.0)), 2);
        assert_eq!(golden("llama_gqa_llama3"), [llama3]);
        // Scaling stretches the layers without a window only.
        let [local, global] = golden("gemma3_linear_v5")[..] else {
            panic!("expected two rotations");
        };
        assert_eq!((local.0, local.1), (10_000.0, None));
        assert_eq!((global.0, global.1), (1000.0, Some(("linear", 8.0))));
    }
}
