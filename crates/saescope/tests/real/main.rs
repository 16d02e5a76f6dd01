//! Checks of real models, which are too large for the repository.
//!
//! `scripts/fetch-models` fetches them; a missing model is a failure. `cargo test` omits this target:
//! `cargo test -p saescope --test real` runs it.

mod eval;
mod models;
mod tokenizers;
mod vectors;

use std::path::PathBuf;

/// The path of a file in the folder of test models.
fn model(file: &str) -> PathBuf {
    let folder = std::env::var_os("SAESCOPE_TEST_MODELS").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("HOME is set");
            PathBuf::from(home).join(".cache/saescope/test-models")
        },
        PathBuf::from,
    );
    let path = folder.join(file);
    assert!(
        path.is_file(),
        "{} is missing: run scripts/fetch-models",
        path.display()
    );
    path
}

/// The path of a file in the repository's `tests` folder.
fn repository_path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests")
        .join(path)
}

/// The content of a file in the repository's `tests` folder.
fn repository(path: &str) -> Vec<u8> {
    let path = repository_path(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
