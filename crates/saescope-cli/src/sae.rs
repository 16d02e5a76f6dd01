//! The arguments that every command with an autoencoder and its model shares.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use saescope::features;
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::hub::{locate, locate_sae};
use crate::open::{BosArg, Dtype, Opened, prompt, use_threads};
use crate::output::cut;

/// An autoencoder, and the model whose activations it reads.
#[derive(clap::Args)]
pub(crate) struct SaeArgs {
    /// A file or folder, `org/name[/FOLDER][@revision]` on the Hugging Face Hub, or one of OpenAI's such
    /// as `openai/v5_128k/resid_post_mlp/8`
    #[arg(value_name = "SAE")]
    sae: String,
    /// The model [default: the one that the autoencoder was trained on]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where the autoencoder reads [default: where its file says]
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    /// Whether a text begins with the beginning-of-sequence token; `auto` is the tokenizer's habit
    #[arg(long, value_enum, default_value_t = BosArg::Auto)]
    bos: BosArg,
    /// How the model's weights are kept in memory; bf16 takes half of it and is faster
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// The texts that a command looks at.
#[derive(clap::Args)]
pub(crate) struct PromptsArgs {
    /// A text; `-` reads it from standard input. May be given several times
    #[arg(
        short,
        long = "prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    prompt: Vec<String>,
    /// A file with a text on each line
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

/// An autoencoder and a model that fit each other.
pub(crate) struct OpenedSae {
    pub(crate) sae: Sae,
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
    /// What made an output, to be written with it.
    pub(crate) origin: Origin,
}

/// What made an output.
#[derive(Clone, Serialize)]
pub(crate) struct Origin {
    pub(crate) sae: String,
    pub(crate) model: String,
    pub(crate) site: Site,
    pub(crate) dtype: &'static str,
    pub(crate) bos: &'static str,
}

impl SaeArgs {
    pub(crate) fn open(&self) -> anyhow::Result<OpenedSae> {
        use_threads(self.threads)?;
        // Downloads one after another, each with its bar; then both files at once where it is known
        // which model.
        let sae_at = locate_sae(&self.sae)?;
        let named_at = self.model.as_deref().map(locate).transpose();
        let named_at = named_at.context("--model")?;
        let (sae, named) = rayon::join(
            || Sae::open(&sae_at),
            || named_at.map(|path| Opened::at(&path, self.dtype)),
        );
        let mut sae = sae?;
        if let Some(site) = self.site {
            move_to(&mut sae, site);
        }
        let site = sae.site().context("--site")?;
        let Some(reference) = self.model.clone().or_else(|| sae.record().model.clone()) else {
            bail!(
                "{}: the autoencoder does not say which model it belongs to; name it with --model",
                self.sae
            );
        };
        let opened = named.unwrap_or_else(|| Opened::at(&locate(&reference)?, self.dtype));
        let Opened { model, tokenizer } = opened.with_context(|| match self.model {
            Some(_) => "--model".to_owned(),
            None => format!("the model of {}; --model names another", self.sae),
        })?;
        features::check(&model, &sae)
            .with_context(|| format!("{} does not fit the model {reference}", self.sae))?;
        if let Some(trained) = sae.record().model.as_deref()
            && self.model.is_some()
            && !same_name(trained, &reference)
        {
            eprintln!(
                "warning: {} was trained on {trained}, and is used on {reference}; `saescope info` \
                 with the same --model tells how well it fits",
                self.sae
            );
        }
        let origin = Origin {
            sae: self.sae.clone(),
            model: reference,
            site,
            dtype: self.dtype.name(),
            bos: self.bos.name(),
        };
        Ok(OpenedSae {
            sae,
            model,
            tokenizer,
            origin,
        })
    }

    /// The ids of texts. Warns where the autoencoder was trained on texts of another kind.
    pub(crate) fn encode(
        &self,
        opened: &OpenedSae,
        texts: &[String],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        let bos = self.bos.bos();
        let encode = |text: &String| opened.tokenizer.encode(text, bos);
        let ids: Vec<Vec<u32>> = texts.iter().map(encode).collect::<Result<_, _>>()?;
        let record = opened.sae.record();
        let begins = |ids: &Vec<u32>| ids.first().copied() == opened.tokenizer.bos();
        if let (Some(trained), Some(_)) = (record.prepend_bos, opened.tokenizer.bos())
            && ids.iter().any(|ids| begins(ids) != trained)
        {
            let (with, flag) = match trained {
                true => ("with", "always"),
                false => ("without", "never"),
            };
            eprintln!(
                "warning: {} was trained on texts {with} a beginning-of-sequence token; --bos {flag} \
                 reads yours so",
                self.sae
            );
        }
        if let Some(context) = record.context
            && let Some((text, ids)) = texts.iter().zip(&ids).find(|(_, ids)| ids.len() > context)
        {
            eprintln!(
                "warning: `{}` has {} tokens, and {} was trained on texts of {context}; what lies \
                 behind them it has not seen",
                cut(text, 40),
                ids.len(),
                self.sae
            );
        }
        Ok(ids)
    }
}

impl PromptsArgs {
    /// The texts, of which there has to be one.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<String>> {
        let texts = self.read_any()?;
        if texts.is_empty() {
            bail!("there is no text; give one with -p TEXT, or a file of them with --prompts FILE");
        }
        Ok(texts)
    }

    /// The texts, if there are any.
    pub(crate) fn read_any(&self) -> anyhow::Result<Vec<String>> {
        let given = self.prompt.iter().map(|given| prompt(given));
        let mut texts: Vec<String> = given.collect::<anyhow::Result<_>>()?;
        if let Some(file) = &self.prompts {
            texts.extend(lines(file)?);
        }
        Ok(texts)
    }
}

/// The lines of a file that are not empty.
pub(crate) fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("{}: there is no text in it", file.display());
    }
    Ok(lines)
}

pub(crate) fn open_sae(reference: &str) -> anyhow::Result<Sae> {
    Ok(Sae::open(&locate_sae(reference)?)?)
}

/// Lets an autoencoder read, and unless it is a transcoder write, at `site`.
pub(crate) fn move_to(sae: &mut Sae, site: Site) {
    let moves = !sae.is_transcoder();
    let record = sae.record_mut();
    record.site = Some(site);
    if moves {
        record.out_site = None;
    }
}

/// Ids as the library takes them.
pub(crate) fn slices(ids: &[Vec<u32>]) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}

/// The text of every token; tokens that only together make a character all have that character.
pub(crate) fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let pieces = tokenizer.readable_pieces(ids);
    let each = pieces
        .iter()
        .flat_map(|p| p.tokens.clone().map(|_| p.text.clone()));
    each.collect()
}

/// Whether two references end in the same name: `org/gpt2`, `gpt2` and `models/gpt2` do.
fn same_name(a: &str, b: &str) -> bool {
    let name = |text: &str| {
        let text = text.split('@').next().unwrap_or(text).trim_end_matches('/');
        text.rsplit('/').next().unwrap_or(text).to_ascii_lowercase()
    };
    let (a, b) = (name(a), name(b));
    // A GGUF carries its quantisation in its name.
    a == b || a.starts_with(&b) || b.starts_with(&a)
}
