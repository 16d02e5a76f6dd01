//! Files of steering vectors: safetensors, control-vector GGUF as llama.cpp and repeng write it, and
//! tensors of torch and numpy.
//!
//! Owns the names of tensors and keys in both formats. Knows no model: a vector is checked against one
//! by [`Vector::check`].

use std::collections::BTreeMap;
use std::path::Path;

use super::{Vector, VectorRecord, bare};
use crate::checkpoint::{Checkpoint, Elements, NewTensor, NewValue, save_gguf, save_safetensors};
use crate::error::{Error, Result};
use crate::site::Site;

/// The key of our own record, in either format.
const RECORD: &str = "saescope.vector";

const ARCHITECTURE: &str = "general.architecture";
const CONTROL_VECTOR: &str = "controlvector";
const MODEL_HINT: &str = "controlvector.model_hint";
const LAYER_COUNT: &str = "controlvector.layer_count";
/// Prefix of the layer in the name of a GGUF's tensor.
const DIRECTION: &str = "direction.";

/// True if a vector is saved in `path` as control-vector GGUF.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gguf")
}

impl Vector {
    /// Reads a vector from safetensors, one tensor per site and named as it, or from a
    /// control-vector GGUF, whose `direction.N` is what llama.cpp adds to the output of block N,
    /// counted from 0: our `resid_post.N`.
    ///
    /// # Errors
    /// When the file is of another kind, or a tensor is not a direction of finite numbers.
    pub fn open(path: &Path) -> Result<Vector> {
        Vector::read(&Checkpoint::open(path)?)
    }

    /// Reads a vector as [`Vector::open`] does, or a direction that states no site and is placed at
    /// `site`: the only tensor of a file of safetensors, torch or numpy, or the one of the site's layer
    /// among one per layer, by name or by row, of a model of `n_layers`.
    ///
    /// # Errors
    /// As for [`Vector::open`]; [`Error::NoSite`] when a direction without a site meets no `site`,
    /// [`Error::NoLayerCount`] when several by layer meet no `n_layers`, and errors for layers that may be
    /// counted otherwise.
    pub fn open_at(path: &Path, site: Option<Site>, n_layers: Option<usize>) -> Result<Vector> {
        Vector::read_at(&Checkpoint::open(path)?, site, n_layers)
    }

    /// Reads a vector from the bytes of a file, as [`Vector::open_at`] does; errors name `path`.
    ///
    /// # Errors
    /// As for [`Vector::open_at`].
    pub fn from_bytes_at(
        path: &Path,
        bytes: Vec<u8>,
        site: Option<Site>,
        n_layers: Option<usize>,
    ) -> Result<Vector> {
        Vector::read_at(&Checkpoint::from_bytes(path, bytes)?, site, n_layers)
    }

    fn read_at(
        checkpoint: &Checkpoint,
        site: Option<Site>,
        n_layers: Option<usize>,
    ) -> Result<Vector> {
        let recorded = checkpoint
            .metadata()
            .is_some_and(|metadata| metadata.contains_key(RECORD));
        if checkpoint.gguf().is_some() || recorded {
            return Vector::read(checkpoint);
        }
        let directions = match bare::named_as_sites(checkpoint)? {
            Some(directions) => directions,
            None => bare::read(checkpoint, bare::Place { site, n_layers })?,
        };
        let record = VectorRecord::default();
        Ok(Vector { directions, record })
    }

    /// Reads a vector from the bytes of a file; errors name `path`.
    ///
    /// # Errors
    /// As for [`Vector::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Vector> {
        Vector::read(&Checkpoint::from_bytes(path, bytes)?)
    }

    fn read(checkpoint: &Checkpoint) -> Result<Vector> {
        let path = checkpoint.path();
        let (site_of, record): (fn(&str) -> Option<Site>, _) = match checkpoint.gguf() {
            Some(metadata) => {
                let architecture = metadata.str(ARCHITECTURE)?.unwrap_or("nothing");
                if architecture != CONTROL_VECTOR {
                    let reason = format!(
                        "its architecture is `{architecture}`; a steering vector in a GGUF has the \
                         architecture `{CONTROL_VECTOR}`"
                    );
                    return Err(Error::format(path, reason));
                }
                let mut record = record(path, metadata.str(RECORD)?)?;
                let hint = metadata.str(MODEL_HINT)?.map(str::to_owned);
                record.model_type = record.model_type.or(hint);
                (site_of_direction, record)
            }
            None => {
                let text = checkpoint
                    .metadata()
                    .and_then(|metadata| metadata.get(RECORD));
                let record = record(path, text.map(String::as_str))?;
                (|name| name.parse().ok(), record)
            }
        };
        let mut directions = BTreeMap::new();
        for tensor in checkpoint.tensors() {
            let site = site_of(tensor.name()).ok_or_else(|| {
                let expected = "the tensors of a steering vector are named as sites such as \
                                `resid_post.8`, or in a GGUF as `direction.8`; others are directions \
                                without a site, which are steered at a site that is given";
                tensor.error(expected)
            })?;
            directions.insert(site, bare::direction(&tensor)?);
        }
        if directions.is_empty() {
            return Err(Error::format(path, "the file holds no direction"));
        }
        Ok(Vector { directions, record })
    }

    /// Writes the vector to `path`: as control-vector GGUF when the name ends in `.gguf`, as
    /// safetensors otherwise.
    ///
    /// # Errors
    /// When the system refuses, or a GGUF has no place for a site: the format knows `resid_post` only,
    /// and llama.cpp refuses layer 0.
    pub fn save(&self, path: &Path) -> Result<()> {
        if is_gguf(path) {
            self.save_gguf(path)
        } else {
            self.save_safetensors(path)
        }
    }

    fn save_safetensors(&self, path: &Path) -> Result<()> {
        let named: Vec<(String, &Vec<f32>)> = self
            .directions
            .iter()
            .map(|(site, direction)| (site.to_string(), direction))
            .collect();
        let metadata = BTreeMap::from([(RECORD.to_owned(), self.record_json(path)?)]);
        save_safetensors(path, &tensors(&named, &shapes(&named)), &metadata)
    }

    fn save_gguf(&self, path: &Path) -> Result<()> {
        let mut named = Vec::with_capacity(self.directions.len());
        for (site, direction) in &self.directions {
            match site {
                Site::ResidPost(layer) if *layer > 0 => {
                    named.push((format!("{DIRECTION}{layer}"), direction));
                }
                _ => {
                    let reason = "a control-vector GGUF holds `resid_post` of layers from 1 on; \
                                  write a `.safetensors` file instead";
                    return Err(Error::Site {
                        site: site.to_string(),
                        reason: reason.to_owned(),
                    });
                }
            }
        }
        let record = self.record_json(path)?;
        let count = u32::try_from(named.len()).unwrap_or(u32::MAX);
        let metadata = [
            (ARCHITECTURE, NewValue::Str(CONTROL_VECTOR)),
            (
                MODEL_HINT,
                NewValue::Str(self.record.model_type.as_deref().unwrap_or("unknown")),
            ),
            (LAYER_COUNT, NewValue::U32(count)),
            (RECORD, NewValue::Str(&record)),
        ];
        save_gguf(path, &metadata, &tensors(&named, &shapes(&named)))
    }

    fn record_json(&self, path: &Path) -> Result<String> {
        serde_json::to_string(&self.record).map_err(|e| Error::format(path, e.to_string()))
    }
}

fn shapes(named: &[(String, &Vec<f32>)]) -> Vec<[usize; 1]> {
    named
        .iter()
        .map(|(_, direction)| [direction.len()])
        .collect()
}

fn tensors<'a>(named: &'a [(String, &Vec<f32>)], shapes: &'a [[usize; 1]]) -> Vec<NewTensor<'a>> {
    let both = named.iter().zip(shapes);
    both.map(|((name, direction), shape)| NewTensor {
        name,
        shape,
        elements: Elements::F32(direction),
    })
    .collect()
}

fn record(path: &Path, text: Option<&str>) -> Result<VectorRecord> {
    let Some(text) = text else {
        return Ok(VectorRecord::default());
    };
    serde_json::from_str(text).map_err(|e| Error::format(path, format!("`{RECORD}`: {e}")))
}

fn site_of_direction(name: &str) -> Option<Site> {
    let layer = name.strip_prefix(DIRECTION)?;
    // The parser of sites refuses `+8` and `08`, which `usize` would accept.
    format!("resid_post.{layer}").parse().ok()
}
