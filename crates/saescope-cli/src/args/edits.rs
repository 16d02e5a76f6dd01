//! `--edits FILE`, for every command that runs a model.

use std::path::PathBuf;

use anyhow::Context as _;
use saescope::edit::{Document, Edit};
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::steer::Steer;

use crate::args::hub::locate_file;
use crate::args::sae::{open_sae, same_name};

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

    /// The edits and their autoencoders, for a model and what it is called. Warns where they were made
    /// for another.
    pub(crate) fn open(&self, model: &Model, name: &str) -> anyhow::Result<Edits> {
        let Document {
            model: made_for,
            edits,
        } = self.load()?;
        if let Some(made_for) = made_for.filter(|made_for| !same_name(made_for, name)) {
            eprintln!("warning: the edits were made for {made_for}, and are used on {name}");
        }
        let opened = Edits::open(edits, Vec::new(), model);
        match &self.edits {
            Some(path) => opened.with_context(|| format!("--edits {}", path.display())),
            None => opened,
        }
    }
}

impl Edits {
    /// Opens the autoencoders that `edits` name and that are not in `saes`.
    pub(crate) fn open(
        edits: Vec<Edit>,
        mut saes: Vec<(String, Sae)>,
        model: &Model,
    ) -> anyhow::Result<Edits> {
        for (at, edit) in edits.iter().enumerate() {
            let number = || format!("edit {}, at {}", at + 1, edit.site);
            model.check_site(edit.site).with_context(number)?;
            let width = model.width(edit.site);
            edit.check_fits(width).with_context(number)?;
            let Some(name) = edit.sae() else { continue };
            if saes.iter().all(|(known, _)| known != name) {
                let mut sae = open_sae(name).with_context(number)?;
                // The edit says where; the file need not.
                sae.record_mut().site.get_or_insert(edit.site);
                saes.push((name.to_owned(), sae));
            }
        }
        Ok(Edits { edits, saes })
    }

    /// Warns where all of them come behind `site`, at which alone activations are read.
    pub(crate) fn warn_of_later(&self, model: &Model, site: Site) {
        let place = |site: Site| model.sites().position(|other| other == site);
        let edits = &self.edits;
        if !edits.is_empty() && edits.iter().all(|edit| place(edit.site) > place(site)) {
            let at = edits[0].site;
            eprintln!(
                "warning: the edits come behind {site}, as the one at {at} does, and change nothing there"
            );
        }
    }

    pub(crate) fn saes(&self) -> Vec<(&str, &Sae)> {
        let named = self.saes.iter();
        named.map(|(name, sae)| (name.as_str(), sae)).collect()
    }

    pub(crate) fn hook(&self) -> anyhow::Result<Steer<'_>> {
        Ok(Steer::new(&self.edits, &self.saes())?)
    }
}
