//! Checkpoints of training: one safetensors file that holds everything to go on from bit for bit.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::checkpoint::{Checkpoint, NewTensor, Tensor, save_safetensors};
use crate::error::{Error, Result};
use crate::train::{Counters, State, TensorMemory, TrainConfig};

/// The value of `format` in the file's metadata.
const FORMAT: &str = "saescope training state 1";

/// Writes a training state, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn save_state(state: &State, path: &Path) -> Result<()> {
    let tensors = state.tensors();
    let tensors: Vec<NewTensor> = tensors
        .iter()
        .map(|tensor| NewTensor {
            name: &tensor.name,
            shape: &tensor.shape,
            elements: tensor.elements,
        })
        .collect();
    let json =
        |value: serde_json::Result<String>| value.map_err(|e| Error::format(path, e.to_string()));
    let config = json(serde_json::to_string(state.config()))?;
    let counters = json(serde_json::to_string(&state.counters()))?;
    let metadata = BTreeMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("config".to_owned(), config),
        ("counters".to_owned(), counters),
    ]);
    save_safetensors(path, &tensors, &metadata)
}

/// Reads a training state that [`save_state`] wrote.
///
/// # Errors
/// When the file is cut off, or is not a training state.
pub fn load_state(path: &Path) -> Result<State> {
    let file = Checkpoint::open(path)?;
    let metadata = file.metadata().cloned().unwrap_or_default();
    if metadata.get("format").map(String::as_str) != Some(FORMAT) {
        let reason = format!("it is not a `{FORMAT}`; name a checkpoint of a training run");
        return Err(Error::format(path, reason));
    }
    let config: TrainConfig = parse(path, &metadata, "config")?;
    let counters: Counters = parse(path, &metadata, "counters")?;
    let width = |name: &str| -> Result<usize> {
        let tensor = file.tensor(name)?;
        match *tensor.shape() {
            [rows, cols] if rows == config.d_sae && cols > 0 => Ok(cols),
            _ => Err(tensor.error("does not have the shape [d_sae, d] of its configuration")),
        }
    };
    let widths = (width("w_enc")?, width("w_dec")?);
    let mut read = |name: &str, shape: &[usize], memory: TensorMemory| {
        let tensor = sized(&file, name, shape)?;
        match memory {
            TensorMemory::F32(values) => {
                tensor.read(0..tensor.len(), values)?;
                tensor.check_finite(values, 0)
            }
            TensorMemory::I64(values) => {
                values.copy_from_slice(&tensor.to_i64()?);
                Ok(())
            }
        }
    };
    State::restore(config, &counters, widths, &mut read)
}

fn sized<'a>(file: &'a Checkpoint, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
    let tensor = file.tensor(name)?;
    if tensor.shape() != shape {
        let found = tensor.shape();
        return Err(tensor.error(format!("has shape {found:?}; the state needs {shape:?}")));
    }
    Ok(tensor)
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    name: &str,
) -> Result<T> {
    let text = metadata.get(name).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|e| Error::format(path, format!("its `{name}`: {e}")))
}
