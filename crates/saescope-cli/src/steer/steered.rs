//! The model that is steered, and the autoencoder that may name it.

use std::num::NonZeroUsize;

use anyhow::Context as _;
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;

use crate::hub::locate;
use crate::open::{BosArg, Dtype, Opened, use_threads};
use crate::sae::open_sae;

/// An autoencoder that names its model, or a model that does without.
#[derive(clap::Args)]
pub(crate) struct SteeredArgs {
    /// The autoencoder: a file or folder of any format
    #[arg(value_name = "SAE")]
    pub(crate) sae: Option<String>,
    /// The model: a path or `org/name[@revision]` on the Hugging Face Hub [default: the one that the
    /// autoencoder was trained on]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Where the autoencoder reads and writes [default: where its file says]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<Site>,
    /// Whether a text begins with the beginning-of-sequence token; `auto` is the tokenizer's habit
    #[arg(long, value_enum, default_value_t = BosArg::Auto)]
    pub(crate) bos: BosArg,
    /// How weights are kept in memory; bf16 takes half of it and is faster
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub(crate) dtype: Dtype,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl SteeredArgs {
    /// The autoencoder, at the site asked for.
    pub(crate) fn open_sae(&self) -> anyhow::Result<Option<Sae>> {
        let Some(reference) = &self.sae else {
            return Ok(None);
        };
        let mut sae = open_sae(reference)?;
        if let Some(site) = self.site {
            sae.record_mut().site = Some(site);
        }
        Ok(Some(sae))
    }

    /// The model asked for, or else the first of those that the others name, and its reference.
    pub(crate) fn open_model(
        &self,
        sae: Option<&Sae>,
        named: Option<String>,
    ) -> anyhow::Result<(String, Opened)> {
        use_threads(self.threads)?;
        let recorded = sae.and_then(|sae| sae.record().model.clone());
        let given = self.model.clone().or(named);
        let (reference, given) = match (given, recorded) {
            (Some(given), _) => (given, true),
            (None, Some(recorded)) => (recorded, false),
            (None, None) => {
                let what = match &self.sae {
                    Some(sae) => format!("{sae} does not say which model it was trained on"),
                    None => "there is no autoencoder that says which model to run".to_owned(),
                };
                anyhow::bail!("{what}; name the model with --model")
            }
        };
        let path = locate(&reference).with_context(|| {
            if given {
                return "--model".to_owned();
            }
            let sae = self.sae.as_deref().unwrap_or_default();
            format!("{sae} was trained on {reference}; name that model's place with --model")
        })?;
        let tokenizer = Tokenizer::of_model(&path)?;
        let model = Model::open(&path, self.dtype.storage())?;
        Ok((reference, Opened { model, tokenizer }))
    }
}
