//! Stores that commands read.

use std::path::Path;

use saescope_store::Store;

use crate::print;

/// Opens a store for reading. Warns if its harvest is not complete.
pub(crate) fn open(path: &Path) -> anyhow::Result<Store> {
    let store = Store::open(path)?;
    if !store.is_finished()? {
        print::note!(
            "warning: {}: the harvest is not complete; the same call of `harvest` continues it",
            path.display()
        );
    }
    Ok(store)
}
