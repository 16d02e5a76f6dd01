//! Goodfire: a state dict with `encoder_linear` and `decoder_linear`, whose model and layer only the name of
//! the file or folder tells, as in `Llama-3.1-8B-Instruct-SAE-l19.pth`.

use saescope_kernels::Gate;

use super::{AutoencoderFiles, Weights, plain, whole};
use crate::error::Result;
use crate::sae::record::{Format, Record};
use crate::site::Site;

const TENSORS: [&str; 4] = [
    "encoder_linear.weight",
    "encoder_linear.bias",
    "decoder_linear.weight",
    "decoder_linear.bias",
];

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
    source.only(&TENSORS)?;
    let weights = plain(&source, TENSORS, Gate::Positive)?;
    let mut record = Record {
        format: Format::Goodfire,
        config: files.config.to_value(),
        ..Record::default()
    };
    let path = whole(source.path());
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    match names.find_map(named) {
        Some((model, layer)) => {
            record.model = Some(model);
            record.site = Some(Site::ResidPost(layer));
        }
        None => record.notes.push(
            "a file of Goodfire names its model and layer only by its name, as in \
             Llama-3.1-8B-Instruct-SAE-l19.pth"
                .to_owned(),
        ),
    }
    Ok((weights, record))
}

/// Model and layer in a name such as `Llama-3.1-8B-Instruct-SAE-l19.pth`.
fn named(name: &str) -> Option<(String, usize)> {
    let (model, layer) = name.split_once("-SAE-l")?;
    let layer = layer.split(|c: char| !c.is_ascii_digit()).next()?;
    // In the Hub's cache, a folder is `models--Goodfire--Llama-…`.
    let model = model.rsplit("--").next()?;
    Some((format!("meta-llama/{model}"), layer.parse().ok()?))
}
