//! The arguments that every command with a model shares.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use saescope::Precision;
use saescope::session::{LanguageModel, Session};
use saescope::tokenizer::{Bos, Text};

use crate::args::hub::{self, DEMO};
use crate::args::stdin;
use crate::args::value::one_of;
use crate::usage::usage;

/// Which model.
#[derive(clap::Args)]
pub(crate) struct ModelRef {
    /// A folder or file, `org/name[@revision]` on the Hugging Face Hub, or `demo` [default: demo]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
}

/// Arguments of tokenization.
#[derive(clap::Args)]
pub(crate) struct BosArgs {
    /// Begin texts with the beginning-of-sequence token; `auto` does as the tokenizer does
    #[arg(long, value_parser = one_of::<Bos>(Bos::ALL.map(Bos::name)), default_value_t)]
    bos: Bos,
}

/// Arguments of loading a model.
#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) bos: BosArgs,
    /// Number format of weights in memory; bf16 takes half the memory and is faster
    #[arg(long, value_parser = precision(), default_value_t)]
    pub(crate) dtype: Precision,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = threads())]
    pub(crate) threads: Option<u16>,
}

/// A model that has to be loaded.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

/// The text that a command looks at.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("text").required(true).args(["prompt", "ids"])))]
pub(crate) struct TextArgs {
    /// The text; `-` reads it from standard input
    #[arg(
        short,
        long = "prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,
    /// The ids of its tokens in place of the text, such as 464,2068, as they are unless --bos always
    /// adds BOS; `-` reads them from standard input
    #[arg(long, value_name = "IDS")]
    ids: Option<String>,
}

impl TextArgs {
    pub(crate) fn read(&self) -> anyhow::Result<Text> {
        match (&self.prompt, &self.ids) {
            (Some(given), _) => prompt(given).map(Text::from),
            (None, given) => ids(given.as_deref().unwrap_or_default()),
        }
    }
}

impl BosArgs {
    pub(crate) fn bos(&self) -> Bos {
        self.bos
    }

    pub(crate) fn name(&self) -> &'static str {
        self.bos.name()
    }
}

impl ModelRef {
    /// The reference of the model.
    pub(crate) fn reference(&self) -> &str {
        self.model.as_deref().unwrap_or(DEMO)
    }

    /// The path of the model, downloaded if needed.
    pub(crate) fn locate(&self) -> anyhow::Result<PathBuf> {
        Ok(hub::session()?.locate_model(self.reference())?)
    }
}

impl LoadArgs {
    /// The session that opens models so.
    pub(crate) fn session(&self) -> anyhow::Result<Session> {
        Ok(Session {
            precision: self.dtype,
            bos: self.bos.bos(),
            ..hub::session()?
        })
    }
}

impl ModelArgs {
    pub(crate) fn open(&self) -> anyhow::Result<LanguageModel> {
        Ok(self.load.session()?.open_model(self.reference())?)
    }

    pub(crate) fn reference(&self) -> &str {
        self.model.reference()
    }

    pub(crate) fn bos(&self) -> Bos {
        self.load.bos.bos()
    }

    pub(crate) fn bos_name(&self) -> &'static str {
        self.load.bos.name()
    }

    pub(crate) fn dtype(&self) -> Precision {
        self.load.dtype
    }
}

/// Names of precisions.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of(Precision::ALL.map(Precision::name))
}

/// Numbers of threads that no system refuses.
pub(crate) fn threads() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=1024)
}

/// The last word of `[REFERENCE] LAST`, which clap takes for the reference if it is the only one.
///
/// Ends the program as wrong usage where it cannot be read; `what` says what was expected.
pub(crate) fn last_of<T: FromStr>(
    reference: &mut Option<String>,
    last: Option<T>,
    what: &str,
) -> T {
    last.unwrap_or_else(|| {
        let Some(alone) = reference.take() else {
            let message = format!("missing the {what}, the last argument\n");
            clap::Error::raw(ErrorKind::MissingRequiredArgument, message).exit()
        };
        alone.parse().unwrap_or_else(|_| {
            let message = format!("`{alone}` is not a {what}; give that as the last argument\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).exit()
        })
    })
}

/// A number that is neither infinite nor none.
pub(crate) fn finite(text: &str) -> Result<f32, String> {
    let number = text.trim().parse().ok();
    let finite = number.filter(|number: &f32| number.is_finite());
    finite.ok_or_else(|| "expected a finite number".to_owned())
}

/// A count of something that there has to be.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok();
    let positive = number.filter(|&number: &usize| number > 0);
    positive.ok_or_else(|| "expected a whole number from 1 on".to_owned())
}

/// A prompt as given, or standard input for `-`, less the line break at its end.
pub(crate) fn prompt(given: &str) -> anyhow::Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    stdin::read_text("the prompt")
}

/// Token ids with commas or spaces between them, or in a list of JSON's; `-` reads them from standard input.
pub(crate) fn ids(given: &str) -> anyhow::Result<Text> {
    let given = match given {
        "-" => stdin::read_text("--ids")?,
        _ => given.to_owned(),
    };
    let list = given.trim();
    let within = |list: &str| Some(list.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    let list = within(list).unwrap_or_else(|| list.to_owned());
    if list.trim().is_empty() {
        usage!("--ids: there is none; give token ids such as 464,2068");
    }
    let parts: Vec<&str> = list.split(',').collect();
    if let Some(at) = parts.iter().position(|part| part.trim().is_empty()) {
        usage!(
            "--ids: there is no number at place {}, beside a comma; give whole numbers such as 464,2068",
            at + 1
        );
    }
    let words = parts.into_iter().flat_map(str::split_whitespace);
    let ids: Result<Vec<u32>, &str> = words.map(|word| word.parse().map_err(|_| word)).collect();
    match ids {
        Ok(ids) => Ok(Text::Ids(ids)),
        Err(word) => {
            usage!("--ids: `{word}` is not a token id; give whole numbers such as 464,2068")
        }
    }
}
