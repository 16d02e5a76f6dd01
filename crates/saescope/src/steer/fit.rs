//! Whether an autoencoder belongs to a model.

use crate::error::{Error, Result};
use crate::model::{Family, Model};
use crate::sae::Sae;
use crate::site::Site;

/// Refuses an autoencoder that cannot have been trained on `model`: another family, a site that the
/// model lacks, or one of another width. `sae_name` and `model_name` are what to call them.
///
/// # Errors
/// What does not fit, both sides named.
pub fn check_fit(model: &Model, model_name: &str, sae: &Sae, sae_name: &str) -> Result<()> {
    let record = sae.record();
    let family = model.config().family;
    if let Some(made_for) = &record.model
        && let Some(other) = family_called(made_for).filter(|other| *other != family)
    {
        return Err(Error::Argument(format!(
            "the autoencoder {sae_name} was trained on {made_for}, of the family {other}, and \
             {model_name} is of the family {family}; name its own model with --model"
        )));
    }
    let sides = [
        (sae.site()?, sae.d_in(), "reads"),
        (sae.out_site()?, sae.d_out(), "writes"),
    ];
    for (site, width, does) in sides {
        model.check_site(site).map_err(|error| {
            Error::Argument(format!(
                "the autoencoder {sae_name} {does} at {site}, which {model_name} lacks: {error}"
            ))
        })?;
        let found = width_of(model, site);
        if found != Some(width) {
            let found = found.map_or("as wide as a text is long".to_owned(), |w| w.to_string());
            return Err(Error::Shape {
                what: format!("width of {site} in {model_name} for the autoencoder {sae_name}"),
                expected: width.to_string(),
                found,
            });
        }
    }
    Ok(())
}

/// The width of a site; attention patterns have none of their own.
fn width_of(model: &Model, site: Site) -> Option<usize> {
    let config = model.config();
    match site {
        Site::AttnPattern(_) => None,
        Site::AttnZ(_) => Some(config.n_heads * config.d_head),
        Site::MlpAct(_) => Some(config.d_mlp),
        _ => Some(config.d_model),
    }
}

/// The family that a model's name speaks of, where it does.
fn family_called(name: &str) -> Option<Family> {
    let name = name.to_ascii_lowercase();
    let known = [
        ("gpt2", Family::Gpt2),
        ("pythia", Family::GptNeox),
        ("gpt-neox", Family::GptNeox),
        // `gemma-2b` is of the first Gemma.
        ("gemma-2-", Family::Gemma2),
        ("gemma-3-", Family::Gemma3),
        ("qwen2", Family::Qwen2),
        ("qwen3", Family::Qwen3),
        ("mistral", Family::Mistral),
        ("llama", Family::Llama),
        ("smollm", Family::Llama),
    ];
    let mut found = known.iter().filter(|(part, _)| name.contains(part));
    match (found.next(), found.next()) {
        (Some((_, family)), None) => Some(*family),
        // Names such as `DeepSeek-R1-Distill-Qwen-Llama` say nothing.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_speak_of_families() {
        for (name, family) in [
            ("gpt2-small", Some(Family::Gpt2)),
            ("distilgpt2", Some(Family::Gpt2)),
            ("EleutherAI/pythia-70m-deduped", Some(Family::GptNeox)),
            ("google/gemma-2-2b", Some(Family::Gemma2)),
            ("google/gemma-2b", None),
            ("meta-llama/Llama-3.2-1B", Some(Family::Llama)),
            ("tests/data/stories260K", None),
        ] {
            assert_eq!(family_called(name), family, "{name}");
        }
    }
}
