//! A training state as data: a configuration, counters and named tensors, from which training goes on
//! bit for bit. `runs` keeps them in a file.

use saescope_kernels::Matrix;
use serde::{Deserialize, Serialize};

use super::activity::FiringCounts;
use super::dense::DenseWorkspace;
use super::input::{Affine, InputStatistics, InputTransform};
use super::state::{Learner, Setup, State};
use super::weights::{MatrixMoments, Optimiser, VECTOR_NAMES, Vectors, Weights};
use super::{Objective, TrainConfig};
use crate::checkpoint::Elements;
use crate::error::{Error, Result};

/// The numbers of a state beside its tensors. Those that are not whole are kept as their bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counters {
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

/// A tensor of a state.
pub(crate) struct StateTensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) elements: Elements<'a>,
}

/// The memory into which a tensor of a state is read.
pub(crate) enum TensorMemory<'a> {
    F32(&'a mut [f32]),
    I64(&'a mut [i64]),
}

/// Reads the tensor of a name and a shape into memory of that size.
pub(crate) type ReadTensor<'a> = dyn FnMut(&str, &[usize], TensorMemory<'_>) -> Result<()> + 'a;

impl State {
    /// Everything that is not a tensor and no part of the configuration.
    pub(crate) fn counters(&self) -> Counters {
        let State { setup, learner } = self;
        let InputTransform {
            x,
            target,
            statistics,
        } = &setup.transform;
        Counters {
            step: learner.step,
            tokens: learner.tokens,
            resampled: learner.resampled,
            recent_tokens: learner.firing.recent_tokens,
            threshold: learner.threshold.map(f64::to_bits),
            share: learner.share.to_bits(),
            input_scale: x.scale.to_bits(),
            target_scale: target.as_ref().map(|target| target.scale.to_bits()),
            gamma: statistics.gamma.to_bits(),
            mean_norm: statistics.mean_norm.to_bits(),
        }
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> Vec<StateTensor<'_>> {
        let State { setup, learner } = self;
        let (weights, optimiser) = (&learner.weights, &learner.optimiser);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, elements| {
            tensors.push(StateTensor {
                name,
                shape,
                elements,
            });
        };
        let matrices = [
            ("w_enc", weights.w_enc(), &optimiser.w_enc),
            ("w_dec", &weights.w_dec, &optimiser.w_dec),
        ];
        for (name, weight, moments) in matrices {
            for (part, matrix) in [("", weight), (".m", &moments.m), (".v", &moments.v)] {
                let shape = vec![matrix.rows(), matrix.cols()];
                add(format!("{name}{part}"), shape, Elements::F32(matrix.data()));
            }
        }
        let vectors = [
            ("", &weights.vectors),
            (".m", &optimiser.m),
            (".v", &optimiser.v),
        ];
        for (part, vectors) in vectors {
            for (name, values) in VECTOR_NAMES.iter().zip(vectors.parts()) {
                if !values.is_empty() {
                    let elements = Elements::F32(values);
                    add(format!("{name}{part}"), vec![values.len()], elements);
                }
            }
        }
        let means = [
            ("input.mean", Some(&setup.transform.x)),
            ("target.mean", setup.transform.target.as_ref()),
        ];
        for (name, affine) in means {
            if let Some(Affine { mean, .. }) = affine {
                add(name.to_owned(), vec![mean.len()], Elements::F32(mean));
            }
        }
        let counts = [
            ("fires.since", &learner.firing.since),
            ("fires.recent", &learner.firing.recent),
        ];
        for (name, counts) in counts {
            add(name.to_owned(), vec![counts.len()], Elements::I64(counts));
        }
        tensors
    }

    /// The state of a configuration with these counters, whose tensors `read` provides. It reads
    /// activations of `widths.0` and reconstructs activations of `widths.1` components.
    ///
    /// # Errors
    /// When the configuration makes no sense for these widths, or a tensor cannot be read.
    pub(crate) fn restore(
        config: TrainConfig,
        counters: &Counters,
        widths: (usize, usize),
        read: &mut ReadTensor,
    ) -> Result<State> {
        let (d_in, d_out) = widths;
        config.check(d_in, d_out)?;
        let mut reader = Reader {
            config: &config,
            d_in,
            d_out,
            read,
        };
        let (weights, optimiser) = (reader.weights()?, reader.optimiser()?);
        let transform = reader.transform(counters)?;
        let firing = reader.firing(counters)?;
        Ok(State {
            learner: Learner {
                weights,
                optimiser,
                firing,
                threshold: counters.threshold.map(f64::from_bits),
                guess: 0.0,
                workspace: DenseWorkspace::new(&config),
                share: f64::from_bits(counters.share),
                resampled: counters.resampled,
                step: counters.step,
                tokens: counters.tokens,
            },
            setup: Setup { config, transform },
        })
    }

    /// Checks that training may go on from this state under `config`.
    ///
    /// # Errors
    /// [`Error::Training`] with the first field that differs.
    pub(super) fn check_config(&self, config: &TrainConfig) -> Result<()> {
        let ours = self.config();
        if ours == config {
            return Ok(());
        }
        let fields = |config| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (before, now) = (fields(ours), fields(config));
        let mut fields = before.iter();
        let difference = fields.find(|&(name, value)| now.get(name) != Some(value));
        let difference = difference.map_or_else(String::new, |(name, value)| {
            let now = now.get(name).unwrap_or(&serde_json::Value::Null);
            format!(": `{name}` was {value} and is {now}")
        });
        Err(Error::Training {
            step: self.step(),
            reason: format!("the checkpoint belongs to another configuration{difference}"),
        })
    }
}

/// Reads the parts of a state.
struct Reader<'a, 'r> {
    config: &'a TrainConfig,
    d_in: usize,
    d_out: usize,
    read: &'a mut ReadTensor<'r>,
}

impl Reader<'_, '_> {
    fn weights(&mut self) -> Result<Weights> {
        let w_enc = self.matrix("w_enc", self.d_in)?;
        let w_dec = self.matrix("w_dec", self.d_out)?;
        Ok(Weights::new(self.config, w_enc, w_dec, self.vectors("")?))
    }

    fn optimiser(&mut self) -> Result<Optimiser> {
        Ok(Optimiser {
            w_enc: self.moments("w_enc", self.d_in)?,
            w_dec: self.moments("w_dec", self.d_out)?,
            m: self.vectors(".m")?,
            v: self.vectors(".v")?,
        })
    }

    fn transform(&mut self, counters: &Counters) -> Result<InputTransform> {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let mut affine = |name: &str, d: usize, scale: u32| -> Result<Affine> {
            Ok(Affine {
                mean: self.vector(name, d)?,
                scale: f32::from_bits(scale),
            })
        };
        Ok(InputTransform {
            x: affine("input.mean", d_in, counters.input_scale)?,
            target: counters
                .target_scale
                .map(|scale| affine("target.mean", d_out, scale))
                .transpose()?,
            statistics: InputStatistics {
                gamma: f64::from_bits(counters.gamma),
                mean_norm: f64::from_bits(counters.mean_norm),
            },
        })
    }

    fn firing(&mut self, counters: &Counters) -> Result<FiringCounts> {
        let mut firing = FiringCounts::new(self.config.d_sae);
        firing.recent_tokens = counters.recent_tokens;
        let counts = [
            ("fires.since", &mut firing.since),
            ("fires.recent", &mut firing.recent),
        ];
        for (name, counts) in counts {
            (self.read)(name, &[counts.len()], TensorMemory::I64(counts))?;
        }
        Ok(firing)
    }

    /// The lengths of the vectors, in the order of [`VECTOR_NAMES`]; 0 for those that the objective lacks.
    fn lengths(&self) -> [usize; 6] {
        let (config, d_sae) = (self.config, self.config.d_sae);
        let of = |used: bool| if used { d_sae } else { 0 };
        let jump = of(matches!(config.objective, Objective::JumpRelu { .. }));
        let gated = of(matches!(config.objective, Objective::Gated { .. }));
        let skip = config.transcoder.is_some_and(|transcoder| transcoder.skip);
        let skip = if skip { self.d_in * self.d_out } else { 0 };
        [d_sae, self.d_out, jump, gated, gated, skip]
    }

    fn vectors(&mut self, part: &str) -> Result<Vectors> {
        let mut vectors = Vectors::default();
        let lengths = self.lengths();
        let parts = vectors.parts_mut().into_iter().zip(VECTOR_NAMES);
        for ((values, name), length) in parts.zip(lengths).filter(|(_, length)| *length > 0) {
            *values = self.vector(&format!("{name}{part}"), length)?;
        }
        Ok(vectors)
    }

    fn moments(&mut self, name: &str, cols: usize) -> Result<MatrixMoments> {
        Ok(MatrixMoments {
            m: self.matrix(&format!("{name}.m"), cols)?,
            v: self.matrix(&format!("{name}.v"), cols)?,
        })
    }

    fn matrix(&mut self, name: &str, cols: usize) -> Result<Matrix> {
        let rows = self.config.d_sae;
        let mut matrix = Matrix::zeros(rows, cols);
        (self.read)(name, &[rows, cols], TensorMemory::F32(matrix.data_mut()))?;
        Ok(matrix)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; length];
        (self.read)(name, &[length], TensorMemory::F32(&mut values))?;
        Ok(values)
    }
}
