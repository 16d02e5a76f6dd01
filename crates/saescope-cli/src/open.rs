//! The arguments that every command with a model shares.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use saescope::model::Model;
use saescope::tokenizer::{Bos, Tokenizer};

use crate::hub::locate;
use saescope::Storage;

/// A model that only has to be found, for its tokenizer.
#[derive(clap::Args)]
pub(crate) struct TokenizerArgs {
    /// A folder or file, or `org/name[@revision]` on the Hugging Face Hub
    #[arg(value_name = "MODEL")]
    reference: String,
    /// Whether a text begins with the beginning-of-sequence token; `auto` is the tokenizer's habit
    #[arg(long, value_enum, default_value_t = BosArg::Auto)]
    bos: BosArg,
}

/// A model that has to be loaded.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    /// How weights are kept in memory; bf16 takes half of it and is faster
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// The text that a command looks at.
#[derive(clap::Args)]
pub(crate) struct TextArgs {
    /// The text; `-` reads it from standard input
    #[arg(
        short,
        long = "prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    prompt: String,
}

impl TextArgs {
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        prompt(&self.prompt)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dtype {
    F32,
    Bf16,
}

impl Dtype {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
        }
    }

    pub(crate) fn storage(self) -> Storage {
        match self {
            Dtype::F32 => Storage::F32,
            Dtype::Bf16 => Storage::Bf16,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum BosArg {
    Auto,
    Always,
    Never,
}

impl BosArg {
    pub(crate) fn bos(self) -> Bos {
        match self {
            BosArg::Auto => Bos::Auto,
            BosArg::Always => Bos::Always,
            BosArg::Never => Bos::Never,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            BosArg::Auto => "auto",
            BosArg::Always => "always",
            BosArg::Never => "never",
        }
    }
}

/// A model and the tokenizer that goes with it.
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
}

impl Opened {
    /// The model in a file or folder.
    pub(crate) fn at(path: &Path, dtype: Dtype) -> anyhow::Result<Opened> {
        // Reading a tokenizer keeps one thread busy for as long as some models take to load.
        let (tokenizer, model) = rayon::join(
            || Tokenizer::of_model(path),
            || Model::open(path, dtype.storage()),
        );
        Ok(Opened {
            tokenizer: tokenizer?,
            model: model?,
        })
    }
}

impl TokenizerArgs {
    pub(crate) fn open(&self) -> anyhow::Result<Tokenizer> {
        let path = locate(&self.reference)?;
        Ok(Tokenizer::of_model(&path)?)
    }

    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    pub(crate) fn bos(&self) -> Bos {
        self.bos.bos()
    }
}

impl ModelArgs {
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        use_threads(self.threads)?;
        Opened::at(&locate(self.reference())?, self.dtype)
    }

    pub(crate) fn reference(&self) -> &str {
        self.tokenizer.reference()
    }

    pub(crate) fn bos(&self) -> Bos {
        self.tokenizer.bos()
    }

    pub(crate) fn bos_name(&self) -> &'static str {
        self.tokenizer.bos.name()
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(crate) fn threads(&self) -> Option<NonZeroUsize> {
        self.threads
    }
}

/// Uses this many threads, all when it is not said.
pub(crate) fn use_threads(threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    if let Some(threads) = threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
        pool.build_global().context("--threads")?;
    }
    Ok(())
}

/// A prompt as given, or standard input for `-`, less the line break at its end.
pub(crate) fn prompt(given: &str) -> anyhow::Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .context("standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
