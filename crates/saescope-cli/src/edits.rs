//! `--edits FILE`, for every command that runs a model.

use std::path::PathBuf;

use saescope::edit::{Document, Edit};
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::steer::Steer;

use crate::hub::locate_file;
use crate::sae::open_sae;

#[derive(clap::Args)]
pub(crate) struct EditsArgs {
    /// Edits to apply while the model reads and writes: a JSON document, as `steer --save` writes
    #[arg(long, value_name = "FILE")]
    edits: Option<PathBuf>,
}

/// Edits and the autoencoders that they name.
#[derive(Default)]
pub(crate) struct Edits {
    pub(crate) edits: Vec<Edit>,
    saes: Vec<(String, Sae)>,
}

impl EditsArgs {
    /// What the file holds, nothing without one.
    pub(crate) fn load(&self) -> anyhow::Result<Document> {
        match &self.edits {
            None => Ok(Document::default()),
            Some(path) => Ok(Document::load(&locate_file(path)?)?),
        }
    }

    /// The edits and their autoencoders, for `model`.
    pub(crate) fn open(&self, model: &Model) -> anyhow::Result<Edits> {
        Edits::open(self.load()?.edits, Vec::new(), model)
    }
}

impl Edits {
    /// Opens the autoencoders that `edits` name and that are not in `saes`.
    pub(crate) fn open(
        edits: Vec<Edit>,
        mut saes: Vec<(String, Sae)>,
        model: &Model,
    ) -> anyhow::Result<Edits> {
        for edit in &edits {
            model.check_site(edit.site)?;
            let Some(name) = edit.sae() else { continue };
            if saes.iter().all(|(known, _)| known != name) {
                let mut sae = open_sae(name)?;
                // The edit says where; the file need not.
                sae.record_mut().site.get_or_insert(edit.site);
                saes.push((name.to_owned(), sae));
            }
        }
        Ok(Edits { edits, saes })
    }

    pub(crate) fn saes(&self) -> Vec<(&str, &Sae)> {
        let named = self.saes.iter();
        named.map(|(name, sae)| (name.as_str(), sae)).collect()
    }

    pub(crate) fn hook(&self) -> anyhow::Result<Steer<'_>> {
        Ok(Steer::new(&self.edits, &self.saes())?)
    }
}
