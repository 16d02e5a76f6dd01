//! Sparse autoencoders and transcoders: an activation as a few features out of many, and back.
//!
//! One [`Sae`] represents all of them: the features are `f = gate((norm(x) - b_dec) W_enc + b_enc)`, and
//! the reconstruction is `f W_dec + b_dec` with the norm undone. Other architectures are folded into that
//! form when their files are read. [`Sae::open`] opens files of every maker; only `foreign` knows what
//! they call their tensors. Models are unknown here: an activation comes in as a matrix, and [`Splice`]
//! puts it back through a [`Hook`](crate::hook::Hook).

mod encoded;
mod files;
mod fold;
mod foreign;
mod format;
mod named;
mod norm;
mod open;
mod other;
mod record;
mod source;
mod splice;
mod summary;

use std::path::Path;

use saescope_kernels::{
    Encoder, Epilogue, Gate, Matrix, Precision, Weight, affine_rows, row_norms, subtract_row,
};

pub use encoded::Encoded;
pub(crate) use fold::gated;
pub use named::NamedSae;
pub use norm::InputNorm;
pub use record::{Format, Record, SourceFile};
pub use splice::{FeatureChange, Splice};
pub use summary::{NormSummary, Norms};

use crate::error::{Error, Result};
use crate::site::Site;
use norm::Frame;

/// The parts of an autoencoder.
pub struct Weights {
    /// `[d_sae, d_in]`
    pub w_enc: Matrix,
    /// `[d_sae]`
    pub b_enc: Vec<f32>,
    /// The rule by which pre-activations become activations.
    pub gate: Gate,
    /// `[d_sae, d_out]`, one direction per row.
    pub w_dec: Matrix,
    /// `[d_out]`
    pub b_dec: Vec<f32>,
    /// True if `b_dec` is subtracted from the normalised input.
    pub subtract_b_dec: bool,
    /// The norm that a token goes through first.
    pub input_norm: InputNorm,
    /// True if a token's mean is subtracted before the norm: the autoencoder was trained on a model whose
    /// weights that write to the residual stream were centred, and a raw checkpoint's are not.
    pub centre: bool,
    /// `[d_out, d_in]`, a linear skip connection past the features.
    pub w_skip: Option<Matrix>,
    /// True if it writes another site than it reads; then the norm is not undone.
    pub transcoder: bool,
}

/// A sparse autoencoder or transcoder.
pub struct Sae {
    encoder: Encoder,
    w_dec: Matrix,
    b_dec: Vec<f32>,
    subtract_b_dec: bool,
    input_norm: InputNorm,
    centre: bool,
    w_skip: Option<Weight>,
    transcoder: bool,
    record: Record,
}

impl Sae {
    /// Opens a file or folder of any known format, or the folder of a finished training run. The format
    /// is recognised by the content.
    pub fn open(path: &Path) -> Result<Sae> {
        open::open(path)
    }

    /// True if `path` is an autoencoder and not a model, by its name or the files in it.
    pub fn is_at(path: &Path) -> bool {
        open::is_at(path)
    }

    /// The autoencoders within a folder that is none itself, as paths relative to it: a release or the output
    /// of a run often holds many. Empty for a folder that holds none.
    pub fn members(folder: &Path) -> Vec<std::path::PathBuf> {
        open::members(folder)
    }

    /// Reads an autoencoder from the bytes of its weights and, if its format has one, of its
    /// configuration; errors call it `path`.
    pub fn from_bytes(path: &Path, weights: Vec<u8>, config: Option<&[u8]>) -> Result<Sae> {
        open::from_bytes(path, weights, config)
    }

    /// Builds an autoencoder from its parts. The sizes in `record` are set from the weights.
    ///
    /// # Errors
    /// When the parts do not fit each other.
    pub fn new(weights: Weights, record: Record) -> Result<Sae> {
        weights.check()?;
        let record = Record {
            d_in: weights.w_enc.cols(),
            d_out: weights.w_dec.cols(),
            d_sae: weights.w_enc.rows(),
            ..record
        };
        let w_skip = weights.w_skip.map(|skip| {
            let (d_out, d_in) = (skip.rows(), skip.cols());
            let packed = Weight::pack(d_out, d_in, Precision::F32, |rows, out| {
                out.copy_from_slice(&skip.data()[rows.start * d_in..rows.end * d_in]);
                Ok::<_, std::convert::Infallible>(())
            });
            let Ok(packed) = packed;
            packed
        });
        Ok(Sae {
            encoder: Encoder::new(weights.w_enc, weights.b_enc, weights.gate),
            w_dec: weights.w_dec,
            b_dec: weights.b_dec,
            subtract_b_dec: weights.subtract_b_dec,
            input_norm: weights.input_norm,
            centre: weights.centre,
            w_skip,
            transcoder: weights.transcoder,
            record,
        })
    }

    /// Saves the autoencoder as a folder that SAELens 6 opens: `cfg.json` and `sae_weights.safetensors`.
    ///
    /// # Errors
    /// When the system refuses. Existing files are replaced whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<()> {
        format::save(self, folder)
    }

    /// The model and site that it belongs to, and its origin.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record, for a caller who knows more than the file does.
    pub fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Lets it read, and unless it is a transcoder write, at `site` instead of where it was trained.
    pub fn move_to(&mut self, site: Site) {
        let moves = !self.is_transcoder();
        self.record.site = Some(site);
        if moves {
            self.record.out_site = None;
        }
    }

    /// Fills in the hash of each file of the record that is found at `path`, from which the autoencoder
    /// was opened. Opening omits this: it reads every file, half a second for a gigabyte.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn hash_files(&mut self, path: &Path) -> Result<()> {
        open::hash_files(&mut self.record.files, path)
    }

    /// Width of the activation that it reads.
    pub fn d_in(&self) -> usize {
        self.encoder.weight().cols()
    }

    /// Width of the activation that it writes.
    pub fn d_out(&self) -> usize {
        self.w_dec.cols()
    }

    /// Number of features.
    pub fn d_sae(&self) -> usize {
        self.w_dec.rows()
    }

    /// The site that it reads.
    ///
    /// # Errors
    /// When its file names none.
    pub fn site(&self) -> Result<Site> {
        self.recorded(self.record.site, "reads")
    }

    /// The site that it writes.
    ///
    /// # Errors
    /// When its file names none.
    pub fn out_site(&self) -> Result<Site> {
        if self.transcoder {
            self.recorded(self.record.out_site, "writes")
        } else {
            self.site()
        }
    }

    /// A site of the record, or the error that there is none.
    fn recorded(&self, site: Option<Site>, does: &str) -> Result<Site> {
        site.ok_or_else(|| {
            let notes = self.record.notes.join("; ");
            let notes = if notes.is_empty() {
                notes
            } else {
                format!(" ({notes})")
            };
            Error::Argument(format!(
                "the autoencoder's file does not say which site it {does}{notes}; name the site"
            ))
        })
    }

    /// True if it writes another site than it reads.
    pub fn is_transcoder(&self) -> bool {
        self.transcoder
    }

    /// The norm that a token goes through before it is encoded.
    pub fn input_norm(&self) -> InputNorm {
        self.input_norm
    }

    /// True if a token's mean is subtracted before it is encoded.
    pub fn centres(&self) -> bool {
        self.centre
    }

    /// The rule by which pre-activations become activations.
    pub fn gate(&self) -> &Gate {
        self.encoder.gate()
    }

    /// Encoder weight `[d_sae, d_in]` and bias `[d_sae]`.
    pub fn encoder(&self) -> (&Matrix, &[f32]) {
        (self.encoder.weight(), self.encoder.bias())
    }

    /// Decoder weight `[d_sae, d_out]` and bias `[d_out]`.
    pub fn decoder(&self) -> (&Matrix, &[f32]) {
        (&self.w_dec, &self.b_dec)
    }

    /// The active features of every row of `x`, `[tokens, d_in]`, an activation of the raw model.
    ///
    /// # Errors
    /// When `x` has another width, or a number in it is not finite.
    pub fn encode(&self, x: &Matrix) -> Result<Encoded> {
        self.check_rows(x)?;
        let skip = self.w_skip.as_ref().map(|skip| {
            let mut out = Matrix::default();
            skip.product(x, None, Epilogue::Keep, &mut out);
            out // [tokens, d_out]
        });
        let plain = self.input_norm == InputNorm::None && !self.centre;
        if plain && !self.subtract_b_dec {
            return Ok(Encoded::new(self.encoder.encode(x), Vec::new(), skip));
        }
        let mut x = x.clone();
        let frames = self.enter(&mut x);
        let frames = if plain || self.transcoder {
            Vec::new()
        } else {
            frames
        };
        Ok(Encoded::new(self.encoder.encode(&x), frames, skip))
    }

    /// The reconstruction, `[tokens, d_out]`, in the model's own units.
    pub fn decode(&self, encoded: &Encoded) -> Matrix {
        let mut out = encoded.features.product(&self.w_dec, &self.b_dec);
        if let Some(frames) = encoded.frames() {
            let scales: Vec<f32> = frames.iter().map(|frame| frame.scale).collect();
            let means: Vec<f32> = frames.iter().map(|frame| frame.mean).collect();
            affine_rows(&mut out, &scales, &means);
        }
        if let Some(skip) = encoded.skip() {
            out.add(skip);
        }
        out
    }

    /// `decode(encode(x))`
    pub fn reconstruct(&self, x: &Matrix) -> Result<Matrix> {
        Ok(self.decode(&self.encode(x)?))
    }

    /// The feature's row of the decoder, `[d_out]`.
    ///
    /// # Errors
    /// When there is no such feature.
    pub fn direction(&self, feature: u32) -> Result<&[f32]> {
        Ok(self.w_dec.row(self.checked(feature)?))
    }

    /// The multiple of a feature's direction that one unit of its activation writes on the token whose
    /// activation is `x`, `[d_in]`: under a layer norm, the token's standard deviation.
    pub fn written_scale(&self, x: &[f32]) -> Result<f32> {
        self.check_row(x)?;
        let mut x = Matrix::from_vec(1, x.len(), x.to_vec());
        let frames = self.input_norm.enter(self.centre, &mut x);
        Ok(if self.transcoder {
            1.0
        } else {
            frames[0].scale
        })
    }

    /// A feature's value before the gate on the token whose activation is `x`, `[d_in]`.
    pub fn pre_activation(&self, x: &[f32], feature: u32) -> Result<f32> {
        self.checked(feature)?;
        self.check_row(x)?;
        let mut x = Matrix::from_vec(1, x.len(), x.to_vec());
        self.enter(&mut x);
        Ok(self.encoder.pre_activation(x.row(0), feature))
    }

    /// Norm of every feature's encoder row, `[d_sae]`.
    pub fn encoder_norms(&self) -> Vec<f32> {
        row_norms(self.encoder.weight())
    }

    /// Norm of every feature's direction, `[d_sae]`.
    pub fn decoder_norms(&self) -> Vec<f32> {
        row_norms(&self.w_dec)
    }

    /// Normalises and centres rows in place, as the encoder reads them.
    fn enter(&self, x: &mut Matrix) -> Vec<Frame> {
        let frames = self.input_norm.enter(self.centre, x);
        if self.subtract_b_dec {
            subtract_row(x, &self.b_dec);
        }
        frames
    }

    fn checked(&self, feature: u32) -> Result<usize> {
        let d_sae = self.d_sae();
        if (feature as usize) < d_sae {
            return Ok(feature as usize);
        }
        Err(Error::NoFeature { feature, d_sae })
    }

    fn check_rows(&self, x: &Matrix) -> Result<()> {
        if x.cols() != self.d_in() {
            return Err(self.wrong_width(x.cols()));
        }
        match x.first_not_finite() {
            Some((row, value)) => Err(Error::Activation { row, value }),
            None => Ok(()),
        }
    }

    fn check_row(&self, x: &[f32]) -> Result<()> {
        if x.len() != self.d_in() {
            return Err(self.wrong_width(x.len()));
        }
        match x.iter().find(|x| !x.is_finite()) {
            Some(&value) => Err(Error::Activation { row: 0, value }),
            None => Ok(()),
        }
    }

    fn wrong_width(&self, found: usize) -> Error {
        let site = self
            .record
            .site
            .map_or(String::new(), |s| format!(" at {s}"));
        let model = self.record.model.as_deref();
        let model = model.map_or(String::new(), |m| format!(" of {m}"));
        Error::Shape {
            what: format!("width of an activation for the autoencoder{site}{model}"),
            expected: self.d_in().to_string(),
            found: found.to_string(),
        }
    }
}

impl Weights {
    /// Checks that the parts fit each other.
    fn check(&self) -> Result<()> {
        let (d_sae, d_in) = (self.w_enc.rows(), self.w_enc.cols());
        let d_out = self.w_dec.cols();
        let thresholds = match &self.gate {
            Gate::Above(thresholds) => thresholds.len(),
            _ => d_sae,
        };
        let k = match self.gate {
            Gate::TopK(k) => k.clamp(1, d_sae.max(1)) == k,
            _ => true,
        };
        let skip = self.w_skip.as_ref();
        // A layer norm divides by `d_in - 1`.
        let least = if self.input_norm == InputNorm::LayerNorm {
            2
        } else {
            1
        };
        let scale = !matches!(self.input_norm, InputNorm::Scale(s) if !s.is_normal());
        let fits = [
            ("d_in", d_in >= least),
            ("d_sae", (1..=u32::MAX as usize).contains(&d_sae)),
            ("d_out", d_out >= 1 && (self.transcoder || d_out == d_in)),
            ("the rows of `w_dec`", self.w_dec.rows() == d_sae),
            ("the length of `b_enc`", self.b_enc.len() == d_sae),
            ("the length of `b_dec`", self.b_dec.len() == d_out),
            ("the number of thresholds", thresholds == d_sae),
            ("k", k),
            ("the input scale", scale),
            (
                "a `b_dec` that is subtracted",
                !self.subtract_b_dec || d_out == d_in,
            ),
            (
                "the shape of `w_skip`",
                skip.is_none_or(|skip| (skip.rows(), skip.cols()) == (d_out, d_in)),
            ),
        ];
        match fits.iter().find(|(_, fits)| !fits) {
            None => Ok(()),
            Some((what, _)) => Err(Error::Shape {
                what: format!("{what} of an autoencoder"),
                expected: format!("parts that fit `w_enc` [{d_sae}, {d_in}]"),
                found: format!(
                    "`w_dec` [{}, {d_out}], `b_enc` [{}], `b_dec` [{}], {}",
                    self.w_dec.rows(),
                    self.b_enc.len(),
                    self.b_dec.len(),
                    self.gate_name(),
                ),
            }),
        }
    }

    fn gate_name(&self) -> String {
        match &self.gate {
            Gate::Positive => "ReLU".to_owned(),
            Gate::TopK(k) => format!("TopK of {k}"),
            Gate::Above(thresholds) => format!("JumpReLU of {} thresholds", thresholds.len()),
        }
    }
}
