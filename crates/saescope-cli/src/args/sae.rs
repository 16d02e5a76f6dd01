//! The arguments that every command with an autoencoder and its model shares.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saescope::origin::Origin;
use saescope::sae::NamedSae;
use saescope::session::{LanguageModel, Selection, Warning};
use saescope::site::Site;
use saescope::tokenizer::Text;
use saescope::vector::text;

use crate::args::hub::{self, DEMO, locate_file};
use crate::args::model::{LoadArgs, ids, prompt};
use crate::print;
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
    /// The site that the autoencoder reads and writes [default: the one in its file]
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
    /// The ids of a text's tokens in place of it, such as 464,2068, as they are unless --bos always adds
    /// BOS; `-` reads them from standard input. May be given several times
    #[arg(long, value_name = "IDS")]
    ids: Vec<String>,
    /// A file with a text on each line
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

/// An autoencoder and a model that fit each other.
pub(crate) struct OpenedSae {
    pub(crate) sae: NamedSae,
    pub(crate) lm: LanguageModel,
    /// The origin of an output, written with it.
    pub(crate) origin: Origin,
}

/// A model, and an autoencoder that fits it if one is used.
pub(crate) struct Subject {
    pub(crate) sae: Option<NamedSae>,
    pub(crate) lm: LanguageModel,
    /// Ways in which they may not belong together, which concern whoever uses the autoencoder.
    pub(crate) warnings: Vec<Warning>,
}

impl SaeRef {
    /// The reference of the autoencoder.
    pub(crate) fn reference(&self) -> &str {
        self.sae.as_deref().unwrap_or(DEMO)
    }

    /// The path of the autoencoder, downloaded if needed.
    pub(crate) fn locate(&self) -> anyhow::Result<PathBuf> {
        Ok(hub::session()?.locate_sae(self.reference())?)
    }
}

impl SaeArgs {
    /// The reference of the autoencoder.
    pub(crate) fn reference(&self) -> &str {
        self.sae.reference()
    }

    /// The autoencoder and its model.
    pub(crate) fn open(&self) -> anyhow::Result<OpenedSae> {
        let Subject { sae, lm, warnings } =
            self.open_subject(Some(self.reference()), self.model.as_deref())?;
        print::warnings(&warnings);
        let sae = sae.context("an autoencoder is needed")?;
        let origin = Origin {
            sae: Some(self.reference().to_owned()),
            site: Some(sae.sae.site()?),
            ..lm.origin()
        };
        Ok(OpenedSae { sae, lm, origin })
    }

    /// The model alone where no autoencoder is named and --model, or else `document`, names one;
    /// otherwise the autoencoder and its model.
    pub(crate) fn open_any(&self, document: Option<&str>) -> anyhow::Result<Subject> {
        let model = self.model.as_deref();
        if self.sae.sae.is_none() && (model.is_some() || document.is_some()) {
            self.open_subject(None, model.or(document))
        } else {
            self.open_subject(Some(self.reference()), model)
        }
    }

    fn open_subject(&self, sae: Option<&str>, model: Option<&str>) -> anyhow::Result<Subject> {
        let saes: Vec<&str> = sae.into_iter().collect();
        let selection = Selection {
            saes: &saes,
            model,
            site: self.site,
        };
        let opened = self.load.session()?.open(&selection)?;
        Ok(Subject {
            sae: opened.saes.into_iter().next(),
            lm: opened.lm,
            warnings: opened.warnings,
        })
    }
}

/// Texts and the ids of their tokens.
pub(crate) struct Encoded {
    pub(crate) texts: Vec<String>,
    pub(crate) ids: Vec<Vec<u32>>,
}

/// The ids of texts. Warns where the autoencoder was trained on texts of another kind.
pub(crate) fn encode(
    lm: &LanguageModel,
    sae: Option<&NamedSae>,
    texts: &[Text],
) -> anyhow::Result<Encoded> {
    let ids = lm.encode(texts)?;
    if let Some(sae) = sae {
        print::warnings(&sae.check_texts(lm, texts, &ids));
    }
    let written = texts
        .iter()
        .map(|text| lm.tokenizer.written(text).into_owned());
    let texts = written.collect();
    Ok(Encoded { texts, ids })
}

impl PromptsArgs {
    /// The texts, of which there has to be one.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<Text>> {
        let texts = self.read_any()?;
        if texts.is_empty() {
            usage!(
                "there is no text; give one with -p TEXT, or a file of them with --prompts FILE"
            );
        }
        Ok(texts)
    }

    /// The texts, if there are any.
    pub(crate) fn read_any(&self) -> anyhow::Result<Vec<Text>> {
        let given = self.prompt.iter().chain(&self.ids);
        if given.filter(|given| *given == "-").count() > 1 {
            usage!("only one text can be `-`, standard input");
        }
        let given = self
            .prompt
            .iter()
            .map(|given| prompt(given).map(Text::from));
        let given = given.chain(self.ids.iter().map(|given| ids(given)));
        let mut texts: Vec<Text> = given.collect::<anyhow::Result<_>>()?;
        if let Some(file) = &self.prompts {
            texts.extend(lines("--prompts", file)?.into_iter().map(Text::from));
        }
        Ok(texts)
    }
}

/// The texts of a file: its lines that are not empty, or the `text` of each of its records.
/// `flag` names the file.
pub(crate) fn lines(flag: &'static str, file: &Path) -> anyhow::Result<Vec<String>> {
    text::read_all(&locate_file(file)?).context(flag)
}

/// Ids as the library takes them.
pub(crate) fn slices(ids: &[Vec<u32>]) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}
