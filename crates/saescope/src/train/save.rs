//! Checkpoints of training: one safetensors file that holds everything to go on from bit for bit.

use std::collections::BTreeMap;
use std::path::Path;

use saescope_kernels::Matrix;
use serde::{Deserialize, Serialize};

use super::activity::FiringCounts;
use super::input::{Affine, InputTransform};
use super::weights::{MatrixMoments, Optimiser, VECTOR_NAMES, Vectors, Weights};
use super::{InputStatistics, State, TrainConfig, dense};
use crate::checkpoint::{Checkpoint, Elements, NewTensor, save_safetensors};
use crate::error::{Error, Result};

/// What the file says it is.
const FORMAT: &str = "saescope training state 1";

/// Numbers beside the tensors. Those that are not whole are kept as their bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    step: u64,
    tokens: u64,
    resampled: u32,
    recent_tokens: i64,
    threshold: Option<u64>,
    share: u64,
    input_scale: u32,
    target_scale: Option<u32>,
    gamma: u64,
    mean_norm: u64,
}

impl State {
    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors = self.tensors();
        let tensors: Vec<NewTensor> = tensors
            .iter()
            .map(|(name, shape, elements)| NewTensor {
                name,
                shape,
                elements: *elements,
            })
            .collect();
        let json = |value: serde_json::Result<String>| {
            value.map_err(|e| Error::format(path, e.to_string()))
        };
        let metadata = BTreeMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            (
                "config".to_owned(),
                json(serde_json::to_string(&self.config))?,
            ),
            (
                "counters".to_owned(),
                json(serde_json::to_string(&self.counters()))?,
            ),
        ]);
        save_safetensors(path, &tensors, &metadata)
    }

    /// Reads what [`State::save`] wrote.
    ///
    /// # Errors
    /// When the file is not whole or no training state.
    pub fn load(path: &Path) -> Result<State> {
        let file = Checkpoint::open(path)?;
        let metadata = file.metadata().cloned().unwrap_or_default();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            let reason = format!("this is no `{FORMAT}`; name a checkpoint of a training run");
            return Err(Error::format(path, reason));
        }
        let config: TrainConfig = parse(path, &metadata, "config")?;
        let counters: Counters = parse(path, &metadata, "counters")?;
        Reader {
            file: &file,
            config: &config,
        }
        .state(&counters)
    }

    /// Whether it may go on under this configuration.
    ///
    /// # Errors
    /// [`Error::Training`] with the first setting that differs.
    pub(super) fn check_config(&self, config: &TrainConfig) -> Result<()> {
        if self.config == *config {
            return Ok(());
        }
        let fields = |config| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (was, is) = (fields(&self.config), fields(config));
        let differs = was
            .iter()
            .find(|&(name, value)| is.get(name) != Some(value));
        let differs = differs.map_or_else(String::new, |(name, value)| {
            let now = is.get(name).unwrap_or(&serde_json::Value::Null);
            format!(": `{name}` was {value} and is {now}")
        });
        Err(Error::Training {
            step: self.step,
            reason: format!("the checkpoint belongs to another configuration{differs}"),
        })
    }

    fn counters(&self) -> Counters {
        let target = self.transform.target.as_ref();
        Counters {
            step: self.step,
            tokens: self.tokens,
            resampled: self.resampled,
            recent_tokens: self.firing.recent_tokens,
            threshold: self.threshold.map(f64::to_bits),
            share: self.share.to_bits(),
            input_scale: self.transform.x.scale.to_bits(),
            target_scale: target.map(|target| target.scale.to_bits()),
            gamma: self.transform.statistics.gamma.to_bits(),
            mean_norm: self.transform.statistics.mean_norm.to_bits(),
        }
    }

    /// Name, shape and elements of all tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>, Elements<'_>)> {
        let mut tensors = Vec::new();
        let large = [
            ("w_enc", self.weights.w_enc(), &self.optimiser.w_enc),
            ("w_dec", &self.weights.w_dec, &self.optimiser.w_dec),
        ];
        for (name, weight, moments) in large {
            for (part, matrix) in [("", weight), (".m", &moments.m), (".v", &moments.v)] {
                let shape = vec![matrix.rows(), matrix.cols()];
                tensors.push((format!("{name}{part}"), shape, Elements::F32(matrix.data())));
            }
        }
        let vectors = [
            ("", &self.weights.vectors),
            (".m", &self.optimiser.m),
            (".v", &self.optimiser.v),
        ];
        for (part, vectors) in vectors {
            for (name, values) in VECTOR_NAMES.iter().zip(vectors.parts()) {
                if !values.is_empty() {
                    let elements = Elements::F32(values);
                    tensors.push((format!("{name}{part}"), vec![values.len()], elements));
                }
            }
        }
        let target = self.transform.target.as_ref();
        let means = [
            ("input.mean", Some(&self.transform.x)),
            ("target.mean", target),
        ];
        for (name, affine) in means {
            if let Some(Affine { mean, .. }) = affine {
                tensors.push((name.to_owned(), vec![mean.len()], Elements::F32(mean)));
            }
        }
        let firing = [
            ("fires.since", &self.firing.since),
            ("fires.recent", &self.firing.recent),
        ];
        for (name, counts) in firing {
            tensors.push((name.to_owned(), vec![counts.len()], Elements::I64(counts)));
        }
        tensors
    }
}

fn parse<T: for<'a> Deserialize<'a>>(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    name: &str,
) -> Result<T> {
    let text = metadata.get(name).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|e| Error::format(path, format!("its `{name}`: {e}")))
}

/// Reads the tensors of a state.
struct Reader<'a> {
    file: &'a Checkpoint,
    config: &'a TrainConfig,
}

impl Reader<'_> {
    fn state(&self, counters: &Counters) -> Result<State> {
        let width = |name: &str| -> Result<usize> {
            let tensor = self.file.tensor(name)?;
            match *tensor.shape() {
                [rows, cols] if rows == self.config.d_sae && cols > 0 => Ok(cols),
                _ => Err(tensor.error("is no [d_sae, d] of its configuration")),
            }
        };
        let (d_in, d_out) = (width("w_enc")?, width("w_dec")?);
        self.config.check(d_in, d_out)?;
        let lengths = self.lengths(d_in, d_out);
        let w_enc = self.matrix("w_enc", d_in)?;
        let w_dec = self.matrix("w_dec", d_out)?;
        let weights = Weights::new(self.config, w_enc, w_dec, self.vectors("", lengths)?);
        let optimiser = Optimiser {
            w_enc: self.moments("w_enc", d_in)?,
            w_dec: self.moments("w_dec", d_out)?,
            m: self.vectors(".m", lengths)?,
            v: self.vectors(".v", lengths)?,
        };
        let counts =
            |name: &str| -> Result<Vec<i64>> { self.sized(name, &[self.config.d_sae])?.to_i64() };
        Ok(State {
            config: self.config.clone(),
            weights,
            optimiser,
            transform: self.transform(counters, d_in, d_out)?,
            firing: FiringCounts {
                since: counts("fires.since")?,
                recent: counts("fires.recent")?,
                recent_tokens: counters.recent_tokens,
            },
            threshold: counters.threshold.map(f64::from_bits),
            guess: 0.0,
            room: dense::DenseWorkspace::new(self.config),
            share: f64::from_bits(counters.share),
            resampled: counters.resampled,
            step: counters.step,
            tokens: counters.tokens,
        })
    }

    fn transform(&self, counters: &Counters, d_in: usize, d_out: usize) -> Result<InputTransform> {
        let affine = |name: &str, d: usize, scale: u32| -> Result<Affine> {
            Ok(Affine {
                mean: self.vector(name, d)?,
                scale: f32::from_bits(scale),
            })
        };
        let target = counters.target_scale;
        Ok(InputTransform {
            x: affine("input.mean", d_in, counters.input_scale)?,
            target: target
                .map(|scale| affine("target.mean", d_out, scale))
                .transpose()?,
            statistics: InputStatistics {
                gamma: f64::from_bits(counters.gamma),
                mean_norm: f64::from_bits(counters.mean_norm),
            },
        })
    }

    /// The lengths of the vectors, in the order of [`VECTOR_NAMES`].
    fn lengths(&self, d_in: usize, d_out: usize) -> [usize; 6] {
        use super::Objective::{Gated, JumpRelu};
        let d_sae = self.config.d_sae;
        let of = |used: bool| if used { d_sae } else { 0 };
        let jump = of(matches!(self.config.objective, JumpRelu { .. }));
        let gated = of(matches!(self.config.objective, Gated { .. }));
        let skip = self
            .config
            .transcoder
            .is_some_and(|transcoder| transcoder.skip);
        let skip = if skip { d_in * d_out } else { 0 };
        [d_sae, d_out, jump, gated, gated, skip]
    }

    fn vectors(&self, part: &str, lengths: [usize; 6]) -> Result<Vectors> {
        let mut vectors = Vectors::default();
        let parts = vectors
            .parts_mut()
            .into_iter()
            .zip(VECTOR_NAMES)
            .zip(lengths);
        for ((values, name), length) in parts.filter(|(_, length)| *length > 0) {
            *values = self.vector(&format!("{name}{part}"), length)?;
        }
        Ok(vectors)
    }

    fn moments(&self, name: &str, cols: usize) -> Result<MatrixMoments> {
        Ok(MatrixMoments {
            m: self.matrix(&format!("{name}.m"), cols)?,
            v: self.matrix(&format!("{name}.v"), cols)?,
        })
    }

    fn matrix(&self, name: &str, cols: usize) -> Result<Matrix> {
        let tensor = self.sized(name, &[self.config.d_sae, cols])?;
        let mut matrix = Matrix::zeros(self.config.d_sae, cols);
        tensor.read(0..tensor.len(), matrix.data_mut())?;
        tensor.check_finite(matrix.data(), 0)?;
        Ok(matrix)
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let tensor = self.sized(name, &[length])?;
        let values = tensor.to_vec()?;
        tensor.check_finite(&values, 0)?;
        Ok(values)
    }

    fn sized(&self, name: &str, shape: &[usize]) -> Result<crate::checkpoint::Tensor<'_>> {
        let tensor = self.file.tensor(name)?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(tensor.error(format!("has shape {found:?}; the state needs {shape:?}")));
        }
        Ok(tensor)
    }
}
