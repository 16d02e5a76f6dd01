//! `--edits FILE`, for every command that runs a model.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saescope::edit::Document;
use saescope::session::{Edits, LanguageModel};

use crate::args::hub::{self, locate_file};
use crate::args::stdin;
use crate::print;

#[derive(clap::Args)]
pub(crate) struct EditsArgs {
    /// Edits to apply while the model reads and writes: a JSON document, as `steer --save` and `vector
    /// edits` write; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    edits: Option<PathBuf>,
}

impl EditsArgs {
    /// The edits of the file, none without one.
    pub(crate) fn load(&self) -> anyhow::Result<Document> {
        match &self.edits {
            None => Ok(Document::default()),
            Some(path) if path.as_os_str() == "-" => {
                let bytes = stdin::read("--edits")?;
                Ok(Document::parse(Path::new("standard input"), &bytes)?)
            }
            Some(path) => Ok(Document::load(&locate_file(path)?)?),
        }
    }

    /// The edits and their autoencoders. Warns where they were made for another model.
    pub(crate) fn open(&self, lm: &LanguageModel) -> anyhow::Result<Edits> {
        let opened = hub::session()?.open_document(self.load()?, lm);
        let (edits, warning) = match &self.edits {
            Some(path) => opened.with_context(|| format!("--edits {}", path.display()))?,
            None => opened?,
        };
        print::warnings(warning.as_ref());
        Ok(edits)
    }
}
