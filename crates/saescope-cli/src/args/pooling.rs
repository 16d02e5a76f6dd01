//! `--first`, beside a pooling that would omit the first position.

use crate::usage::ensure_usage;

/// The fate of the first position where tokens are pooled.
#[derive(clap::Args)]
pub(crate) struct FirstArg {
    /// Count the first position in `max` and `mean` too; it is unlike all others, BOS or not
    #[arg(long)]
    first: bool,
}

impl FirstArg {
    /// True if the first position counts. `omits_first` says if it would be omitted otherwise.
    ///
    /// # Errors
    /// When the flag would change nothing.
    pub(crate) fn counts(&self, omits_first: bool) -> anyhow::Result<bool> {
        ensure_usage!(
            omits_first || !self.first,
            "--first concerns `max` and `mean` only, and neither was chosen"
        );
        Ok(self.first)
    }
}
