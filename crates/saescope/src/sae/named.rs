//! An autoencoder with its name.

use super::Sae;

/// An autoencoder and the reference that named it.
pub struct NamedSae {
    /// Reference that named it; edits of its features use the same.
    pub reference: String,
    /// The autoencoder.
    pub sae: Sae,
}

impl NamedSae {
    /// The autoencoder among `saes` that `reference` names.
    pub(crate) fn find<'a>(saes: &[&'a NamedSae], reference: &str) -> Option<&'a Sae> {
        let found = saes.iter().find(|named| named.reference == reference);
        found.map(|named| &named.sae)
    }
}
