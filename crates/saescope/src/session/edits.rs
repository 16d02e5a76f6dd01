//! Edits and the autoencoders that they name.

use super::{LanguageModel, Session, Warning, same_name};
use crate::edit::{Document, Edit};
use crate::error::Result;
use crate::model::Model;
use crate::sae::NamedSae;
use crate::site::Site;
use crate::steer::Steer;

/// Edits that fit a model, and the autoencoders that they name.
#[derive(Default)]
pub struct Edits {
    /// The edits, in the order in which they are made.
    pub edits: Vec<Edit>,
    saes: Vec<NamedSae>,
}

impl Session {
    /// The edits of a document, their autoencoders opened. Warns where they were made for another
    /// model.
    ///
    /// # Errors
    /// As [`Session::open_edits`].
    pub fn open_document(
        &self,
        document: Document,
        lm: &LanguageModel,
    ) -> Result<(Edits, Option<Warning>)> {
        let warning = Edits::check_made_for(document.model.as_deref(), &lm.reference);
        Ok((
            self.open_edits(document.edits, Vec::new(), &lm.model)?,
            warning,
        ))
    }

    /// Edits of `model`. Opens the autoencoders that they name and that are not in `open`.
    ///
    /// # Errors
    /// When the model lacks a site, a direction is not as wide as the activation, or an autoencoder
    /// cannot be opened. The message has the number of the edit.
    pub fn open_edits(
        &self,
        edits: Vec<Edit>,
        open: Vec<NamedSae>,
        model: &Model,
    ) -> Result<Edits> {
        let mut saes = open;
        for (at, edit) in edits.iter().enumerate() {
            let opened = self.check_edit(edit, &saes, model);
            let opened = opened.map_err(|error| {
                // A vector's label names its file.
                let label = edit.label.iter().map(|label| format!(" ({label})"));
                let label: String = label.collect();
                error.at(format!("edit {}{label}, at {}", at + 1, edit.site))
            });
            saes.extend(opened?);
        }
        Ok(Edits { edits, saes })
    }

    /// The autoencoder that `edit` names, if it is not open yet.
    fn check_edit(
        &self,
        edit: &Edit,
        open: &[NamedSae],
        model: &Model,
    ) -> Result<Option<NamedSae>> {
        model.check_site(edit.site)?;
        edit.check_fits(model.width(edit.site))?;
        let Some(name) = edit.sae() else {
            return Ok(None);
        };
        if open.iter().any(|named| named.reference == name) {
            return Ok(None);
        }
        let mut named = self.open_sae(name)?;
        // The edit has a site; the autoencoder's record need not have one.
        named.sae.record_mut().site.get_or_insert(edit.site);
        Ok(Some(named))
    }
}

impl Edits {
    /// Warns where edits were made for another model than the one that they are used on.
    pub fn check_made_for(made_for: Option<&str>, used_on: &str) -> Option<Warning> {
        let made_for = made_for.filter(|made_for| !same_name(made_for, used_on))?;
        Some(Warning::EditsOfOtherModel {
            made_for: made_for.to_owned(),
            used_on: used_on.to_owned(),
        })
    }

    /// Warns where all edits come after `site`, so that an activation read there cannot change.
    pub fn check_read_at(&self, model: &Model, site: Site) -> Option<Warning> {
        let place = |site: Site| model.sites().position(|other| other == site);
        let first = self.edits.first()?;
        let all_later = self.edits.iter().all(|edit| place(edit.site) > place(site));
        all_later.then_some(Warning::EditsAfterSite {
            read_at: site,
            edited_at: first.site,
        })
    }

    /// The autoencoders with the references that name them.
    pub fn saes(&self) -> Vec<&NamedSae> {
        self.saes.iter().collect()
    }

    /// The hook that makes the edits.
    ///
    /// # Errors
    /// When an edit names a feature that its autoencoder does not have.
    pub fn hook(&self) -> Result<Steer<'_>> {
        Steer::new(&self.edits, &self.saes())
    }
}
