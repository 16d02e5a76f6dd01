//! References to autoencoders.

use saescope::sae::Sae;

use crate::hub::locate;

/// The autoencoder that a reference stands for.
pub(crate) fn open_sae(reference: &str) -> anyhow::Result<Sae> {
    Ok(Sae::open(&locate(reference)?)?)
}
