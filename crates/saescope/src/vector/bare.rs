//! Directions in files that do not state their site: tensors of torch and numpy, alone or by layer.
//!
//! Such files leave the site to their reader, who gives it. Layers are counted from 0 by the outputs of
//! blocks. Files that may be counted otherwise, as `hidden_states` are, are refused.

use std::collections::BTreeMap;

use crate::checkpoint::torch::Value;
use crate::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::error::{Error, Result};
use crate::site::Site;

/// The place that a person gives to directions without one.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) site: Option<Site>,
    /// Number of layers of the model, if it is known.
    pub(super) n_layers: Option<usize>,
}

/// Bound of a direction's width; no model comes near it.
const MAX_WIDTH: usize = 1 << 20;
/// Text before the number of a layer in the name of a tensor.
const LAYERS: [&str; 14] = [
    "",
    "layer",
    "layer_",
    "layer.",
    "layers.",
    "vec_layer_",
    "model.layers.",
    "blocks.",
    "direction.",
    "directions.",
    "vector.",
    "vectors.",
    "steering_vector.",
    "steering_vectors.",
];
/// Most rows of a matrix of directions; no model has as many layers.
const MAX_ROWS: usize = 4096;

/// The layer in the name of a tensor.
fn layer_of(name: &str) -> Option<usize> {
    let start = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = &name[start.len()..];
    let plain = number == "0" || !number.starts_with('0');
    (LAYERS.contains(&start) && plain)
        .then(|| number.parse().ok())
        .flatten()
}

/// The directions of a file by site, if its tensors are named as sites.
pub(super) fn named_as_sites(checkpoint: &Checkpoint) -> Result<Option<BTreeMap<Site, Vec<f32>>>> {
    let mut directions = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let Ok(site) = tensor.name().parse() else {
            return Ok(None);
        };
        directions.insert(site, direction(&tensor)?);
    }
    Ok((!directions.is_empty()).then_some(directions))
}

/// The direction at the site of `place`.
pub(super) fn read(checkpoint: &Checkpoint, place: Place) -> Result<BTreeMap<Site, Vec<f32>>> {
    let tensors: Vec<Tensor> = checkpoint.tensors().collect();
    let layers: Option<Vec<usize>> = tensors.iter().map(|t| layer_of(t.name())).collect();
    match (tensors.as_slice(), layers) {
        ([], _) => Err(Error::format(
            checkpoint.path(),
            "the file holds no direction",
        )),
        (_, Some(layers)) => by_layer(checkpoint, &tensors, &layers, place),
        ([tensor], None) => {
            let site = place.of(checkpoint, tensor)?;
            check_layer(checkpoint, tensor, site)?;
            let direction = match squeezed(tensor).as_slice() {
                [_] => whole(tensor)?,
                [rows, width] => {
                    let n_layers = place.layers(checkpoint)?;
                    let row = row_of(tensor, site, *rows, n_layers)?;
                    part(tensor, row, *width)?
                }
                _ => {
                    let shape = tensor.shape();
                    let reason = format!(
                        "a direction has one dimension, or one row per layer, and the shape is {shape:?}; \
                         save the direction alone"
                    );
                    return Err(tensor.error(reason));
                }
            };
            Ok([(site, direction)].into())
        }
        (several, None) => {
            let names: Vec<&str> = several.iter().take(6).map(Tensor::name).collect();
            let more = if several.len() > 6 { ", …" } else { "" };
            let reason = format!(
                "the file holds several tensors, {}{more}, which are not named as layers or sites; save \
                 the direction alone",
                names.join(", ")
            );
            Err(Error::format(checkpoint.path(), reason))
        }
    }
}

impl Place {
    /// The site of a direction that states none.
    fn of(self, checkpoint: &Checkpoint, tensor: &Tensor) -> Result<Site> {
        self.site.ok_or_else(|| Error::NoSite {
            path: checkpoint.path().to_owned(),
            tensor: tensor.name().to_owned(),
        })
    }

    /// The number of layers that tells how a file counts them.
    fn layers(self, checkpoint: &Checkpoint) -> Result<usize> {
        self.n_layers.ok_or_else(|| Error::NoLayerCount {
            path: checkpoint.path().to_owned(),
        })
    }
}

/// The direction of the site's layer out of one tensor per layer.
fn by_layer(
    checkpoint: &Checkpoint,
    tensors: &[Tensor],
    layers: &[usize],
    place: Place,
) -> Result<BTreeMap<Site, Vec<f32>>> {
    let path = checkpoint.path();
    let site = place.of(checkpoint, &tensors[0])?;
    let n_layers = place.layers(checkpoint)?;
    let layer = layer_at(&tensors[0], site)?;
    let mut sorted = layers.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::format(
            path,
            "the file has two directions of one layer",
        ));
    }
    let last = sorted.last().copied().unwrap_or(0);
    if last >= n_layers {
        let reason = format!(
            "the file has a direction of layer {last}, and the model's layers are 0 to {}: its layers \
             are counted in another way, perhaps as `hidden_states`, where 0 is the embedding; save the \
             direction of the site alone",
            n_layers.saturating_sub(1)
        );
        return Err(Error::format(path, reason));
    }
    let found = layers
        .iter()
        .zip(tensors)
        .find(|(other, _)| **other == layer);
    let Some((_, tensor)) = found else {
        let there: Vec<String> = sorted.iter().map(usize::to_string).collect();
        let reason = format!(
            "the file has no direction of layer {layer}, that of the site `{site}`, but of {}",
            there.join(", ")
        );
        return Err(Error::format(path, reason));
    };
    if squeezed(tensor).len() != 1 {
        let shape = tensor.shape();
        let reason = format!("a direction has one dimension, and the shape is {shape:?}");
        return Err(tensor.error(reason));
    }
    Ok([(site, whole(tensor)?)].into())
}

/// The layer of a site, which a choice among layers needs.
fn layer_at(tensor: &Tensor, site: Site) -> Result<usize> {
    site.layer().ok_or_else(|| {
        tensor.error(format!(
            "directions by layer, of which the site `{site}` has none; save the direction alone"
        ))
    })
}

/// Refuses a site of another layer than the one that the file states beside its tensor.
fn check_layer(checkpoint: &Checkpoint, tensor: &Tensor, site: Site) -> Result<()> {
    let stated = ["layer", "layer_idx", "layer_index", "layer_id"]
        .iter()
        .find_map(|key| {
            Some((
                key,
                checkpoint
                    .torch()
                    .and_then(|v| v.get(key))
                    .and_then(Value::as_i64)?,
            ))
        });
    let Some((key, stated)) = stated else {
        return Ok(());
    };
    if site.layer().and_then(|layer| i64::try_from(layer).ok()) == Some(stated) {
        return Ok(());
    }
    Err(tensor.error(format!(
        "the file's `{key}` is {stated}, and the site is `{site}`; give the site of that layer, or save \
         the direction alone"
    )))
}

/// The row of the site's layer in a matrix of directions.
fn row_of(tensor: &Tensor, site: Site, rows: usize, n_layers: usize) -> Result<usize> {
    if rows == n_layers {
        return layer_at(tensor, site);
    }
    let reason = if rows == n_layers + 1 {
        format!(
            "{rows} rows for a model of {n_layers} layers: the first may be the embedding's, as in \
             `hidden_states`, or the last that of the final norm; save the row of the site alone"
        )
    } else {
        format!(
            "{rows} rows are not one per layer of a model of {n_layers}; save the direction of the site alone"
        )
    };
    Err(tensor.error(reason))
}

/// The dimensions that are not 1.
fn squeezed(tensor: &Tensor) -> Vec<usize> {
    let shape = tensor.shape().iter().copied();
    let wide: Vec<usize> = shape.filter(|size| *size != 1).collect();
    if wide.is_empty() { vec![1] } else { wide }
}

/// All elements of a tensor as a direction.
fn whole(tensor: &Tensor) -> Result<Vec<f32>> {
    part(tensor, 0, tensor.len())
}

/// A row of `width` elements as a direction.
fn part(tensor: &Tensor, row: usize, width: usize) -> Result<Vec<f32>> {
    let floats = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];
    if !floats.contains(&tensor.dtype()) {
        let reason = format!(
            "numbers of type {}, not those of a direction",
            tensor.dtype()
        );
        return Err(tensor.error(reason));
    }
    if width == 0 || width > MAX_WIDTH || row >= MAX_ROWS {
        return Err(tensor.error(format!("a direction cannot have the width {width}")));
    }
    let mut direction = vec![0.0; width];
    tensor.read(row * width..(row + 1) * width, &mut direction)?;
    tensor.check_finite(&direction, row * width)?;
    Ok(direction)
}

/// The numbers of a tensor that is one direction.
pub(super) fn direction(tensor: &Tensor) -> Result<Vec<f32>> {
    let &[width] = tensor.shape() else {
        let shape = tensor.shape();
        return Err(tensor.error(format!(
            "a direction has one dimension, and the shape is {shape:?}"
        )));
    };
    part(tensor, 0, width)
}
