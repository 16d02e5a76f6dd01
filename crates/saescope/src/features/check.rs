//! Checks that a model and an autoencoder belong together.

use crate::error::{Error, Result};
use crate::model::Model;
use crate::sae::Sae;

/// Checks that `sae` can read and write in `model`.
///
/// # Errors
/// When the autoencoder names no site, the model lacks that site, or the site has another width. The
/// message names both.
pub fn check(model: &Model, sae: &Sae) -> Result<()> {
    let family = model.config().family;
    let trained = sae.record().model.as_deref();
    let owner = trained.unwrap_or("a model that it does not name");
    let ends = [(sae.site()?, sae.d_in()), (sae.out_site()?, sae.d_out())];
    for (site, width) in ends {
        let unfit = |reason: String| Error::Site {
            site: site.to_string(),
            reason: format!("{reason}; the autoencoder, {width} wide, belongs to {owner}"),
        };
        model.check_site(site).map_err(|error| match error {
            Error::Site { reason, .. } => unfit(reason),
            other => other,
        })?;
        match model.width(site) {
            Some(found) if found != width => {
                return Err(unfit(format!("the model ({family}) is {found} wide there")));
            }
            _ => {}
        }
    }
    Ok(())
}
