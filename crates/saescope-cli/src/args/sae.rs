//! The arguments that every command with an autoencoder and its model shares.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use saescope::features;
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use saescope::vector::text::{self, Selection};
use serde::Serialize;

use crate::args::hub::{DEMO, locate, locate_file, locate_sae};
use crate::args::model::{LoadArgs, Opened, prompt, use_threads};
use crate::print::cut;
use crate::usage::usage;

/// Which autoencoder.
#[derive(clap::Args)]
pub(crate) struct SaeRef {
    /// A file or folder, `org/name[/FOLDER][@revision]` on the Hugging Face Hub, one of OpenAI's such as
    /// `openai/v5_128k/resid_post_mlp/8`, or `demo` [default: demo]
    #[arg(value_name = "SAE")]
    pub(crate) sae: Option<String>,
}

/// An autoencoder, and the model whose activations it reads.
#[derive(clap::Args)]
pub(crate) struct SaeArgs {
    #[command(flatten)]
    pub(crate) sae: SaeRef,
    /// The model [default: the one that the autoencoder was trained on]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where the autoencoder reads, and writes [default: where its file says]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<Site>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
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

/// A model, and an autoencoder that fits it if one is used.
pub(crate) struct Subject {
    pub(crate) sae: Option<Sae>,
    pub(crate) opened: Opened,
    /// What the model is called.
    pub(crate) model: String,
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

impl SaeRef {
    /// What the autoencoder is called.
    pub(crate) fn reference(&self) -> &str {
        self.sae.as_deref().unwrap_or(DEMO)
    }

    /// Where it lies, downloaded if need be.
    pub(crate) fn locate(&self) -> anyhow::Result<PathBuf> {
        locate_sae(self.reference())
    }
}

impl SaeArgs {
    /// What the autoencoder is called.
    pub(crate) fn reference(&self) -> &str {
        self.sae.reference()
    }

    /// The autoencoder and its model.
    pub(crate) fn open(&self) -> anyhow::Result<OpenedSae> {
        let Subject { sae, opened, model } = self.open_subject(Some(self.reference()), None)?;
        let sae = sae.context("an autoencoder is needed")?;
        let origin = Origin {
            sae: self.reference().to_owned(),
            model,
            site: sae.site()?,
            dtype: self.load.dtype.name(),
            bos: self.load.bos.name(),
        };
        let Opened { model, tokenizer } = opened;
        Ok(OpenedSae {
            sae,
            model,
            tokenizer,
            origin,
        })
    }

    /// The model alone where no autoencoder is given and --model, or else `named`, names one; otherwise
    /// the autoencoder and its model.
    pub(crate) fn open_any(&self, named: Option<&str>) -> anyhow::Result<Subject> {
        let alone = self.sae.sae.is_none() && (self.model.is_some() || named.is_some());
        let named = named.filter(|_| alone);
        self.open_subject((!alone).then(|| self.reference()), named)
    }

    fn open_subject(&self, sae: Option<&str>, named: Option<&str>) -> anyhow::Result<Subject> {
        use_threads(self.load.threads)?;
        // Downloads one after another, each with its bar; then both files at once where it is known
        // which model.
        let sae_at = sae.map(locate_sae).transpose()?;
        let by = match self.model {
            Some(_) => "--model",
            None => "the model of --edits",
        };
        let named = self.model.as_deref().or(named);
        let named_at = named.map(locate).transpose().context(by)?;
        let (opened_sae, opened) = rayon::join(
            || sae_at.map(|path| Sae::open(&path)).transpose(),
            || named_at.map(|path| Opened::at(&path, self.load.dtype)),
        );
        let mut opened_sae = opened_sae?;
        let trained_at = opened_sae.as_ref().and_then(|sae| sae.record().site);
        if let (Some(sae), Some(site)) = (&mut opened_sae, self.site) {
            move_to(sae, site);
        }
        let recorded = match &opened_sae {
            Some(sae) => {
                sae.site().context("--site")?;
                sae.record().model.clone()
            }
            None => None,
        };
        let name = self.reference();
        let Some(model) = named.map(str::to_owned).or(recorded) else {
            usage!(
                "{name}: the autoencoder does not say which model it belongs to; name it with --model"
            );
        };
        let opened = opened.unwrap_or_else(|| Opened::at(&locate(&model)?, self.load.dtype));
        let opened = opened.with_context(|| match named {
            Some(_) => by.to_owned(),
            None => format!("the model of {name}; --model names another"),
        })?;
        if let Some(sae) = &opened_sae {
            features::check(&opened.model, sae)
                .with_context(|| format!("{name} does not fit the model {model}"))?;
            warn_of_model(name, sae, &model);
            warn_of_site(name, trained_at, sae);
        }
        Ok(Subject {
            sae: opened_sae,
            opened,
            model,
        })
    }

    /// The ids of texts. Warns where the autoencoder was trained on texts of another kind.
    pub(crate) fn encode(
        &self,
        (sae, tokenizer): (Option<&Sae>, &Tokenizer),
        texts: &[String],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        let bos = self.load.bos.bos();
        let encode = |text: &String| tokenizer.encode(text, bos);
        let ids: Vec<Vec<u32>> = texts.iter().map(encode).collect::<Result<_, _>>()?;
        let Some(record) = sae.map(Sae::record) else {
            return Ok(ids);
        };
        let begins = |ids: &Vec<u32>| ids.first().copied() == tokenizer.bos();
        if let (Some(trained), Some(_)) = (record.prepend_bos, tokenizer.bos())
            && ids.iter().any(|ids| begins(ids) != trained)
        {
            let (with, flag) = match trained {
                true => ("with", "always"),
                false => ("without", "never"),
            };
            eprintln!(
                "warning: {} was trained on texts {with} a beginning-of-sequence token; --bos {flag} \
                 reads yours so",
                self.reference()
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
                self.reference()
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
            usage!(
                "there is no text; give one with -p TEXT, or a file of them with --prompts FILE"
            );
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

/// The texts of a file: its lines that are not empty, or the `text` of each record of JSON Lines.
pub(crate) fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let selection = Selection {
        text: "text".to_owned(),
        label_field: String::new(),
        label: None,
    };
    Ok(text::read(&locate_file(file)?, &selection)?)
}

/// Refuses a text that is too long for the model, before any is read.
pub(crate) fn check_lengths(
    model: &Model,
    texts: &[String],
    ids: &[Vec<u32>],
) -> anyhow::Result<()> {
    let limit = model.config().n_ctx;
    if let Some((text, ids)) = texts.iter().zip(ids).find(|(_, ids)| ids.len() > limit) {
        bail!(
            "`{}` has {} tokens, and the model's context is {limit}; shorten the text",
            cut(text, 40),
            ids.len()
        );
    }
    Ok(())
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

/// Warns where an autoencoder is used on a model that is not called as the one it was trained on.
pub(crate) fn warn_of_model(name: &str, sae: &Sae, model: &str) {
    if let Some(trained) = sae.record().model.as_deref()
        && !same_name(trained, model)
    {
        eprintln!(
            "warning: {name} was trained on {trained}, and is used on {model}; `saescope info` with the \
             same --model tells how well it fits"
        );
    }
}

/// Warns where an autoencoder reads at another site than the one it was trained at.
pub(crate) fn warn_of_site(name: &str, trained_at: Option<Site>, sae: &Sae) {
    if let (Some(trained), Ok(site)) = (trained_at, sae.site())
        && trained != site
    {
        eprintln!(
            "warning: {name} was trained at {trained}, and is used at {site}; `saescope info` with the \
             same --site tells how well it fits"
        );
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
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let name = |text: &str| {
        let text = text.split('@').next().unwrap_or(text).trim_end_matches('/');
        text.rsplit('/').next().unwrap_or(text).to_ascii_lowercase()
    };
    let (a, b) = (name(a), name(b));
    // A GGUF carries its quantisation in its name.
    a == b || a.starts_with(&b) || b.starts_with(&a)
}
