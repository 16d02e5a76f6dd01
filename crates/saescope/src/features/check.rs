//! Checks that a model and an autoencoder belong together.

use crate::error::{Error, Result};
use crate::model::{Family, Model};
use crate::sae::Sae;

/// Parts of model names, each with the families that such a model may be read as; the first part that
/// a name contains counts. GGUF files call Mistral's models Llama.
const FAMILIES: [(&str, &[Family]); 9] = [
    ("gpt2", &[Family::Gpt2]),
    ("pythia", &[Family::GptNeox]),
    ("gpt-neox", &[Family::GptNeox]),
    ("gemma-2-", &[Family::Gemma2]),
    ("gemma-3-", &[Family::Gemma3]),
    ("qwen2", &[Family::Qwen2]),
    ("qwen3", &[Family::Qwen3]),
    ("mistral-7b", &[Family::Mistral, Family::Llama]),
    ("llama-3", &[Family::Llama]),
];

/// Checks that `sae` can read and write in `model`.
///
/// # Errors
/// When the autoencoder names no site, the model lacks that site, the site has another width, or the
/// model is of another family than the one that the autoencoder was trained on. The message names both.
pub fn check(model: &Model, sae: &Sae) -> Result<()> {
    let family = model.config().family;
    let trained = sae.record().model.as_deref();
    let owner = trained.unwrap_or("a model that it does not name");
    let ends = [(sae.site()?, sae.d_in()), (sae.out_site()?, sae.d_out())];
    for (site, width) in ends {
        let unfit = |reason: String| Error::Site {
            site: site.to_string(),
            reason: format!("{reason}; the autoencoder, {width} wide, belongs to {owner}"),
        };
        model.check_site(site).map_err(|error| match error {
            Error::Site { reason, .. } => unfit(reason),
            other => other,
        })?;
        match model.width(site) {
            Some(found) if found != width => {
                return Err(unfit(format!("the model ({family}) is {found} wide there")));
            }
            _ => {}
        }
    }
    let name = trained.unwrap_or_default().to_ascii_lowercase();
    match FAMILIES.iter().find(|(part, _)| name.contains(part)) {
        Some((_, families)) if !families.contains(&family) => Err(Error::Argument(format!(
            "the model is of the family {family}, and the autoencoder belongs to {owner}"
        ))),
        _ => Ok(()),
    }
}
