//! Edits documents. A document that was read is written and read again, and stays the same.
#![no_main]

use std::sync::LazyLock;

use saescope::edit::Document;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| TempDir::new().expect("a temporary folder can be made"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("edits.json");
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    match Document::load(&path) {
        Err(error) => {
            let place = path.to_string_lossy();
            assert!(error.to_string().starts_with(&*place), "{error}");
        }
        Ok(document) => {
            document.save(&path).expect("a document can be written");
            let again = Document::load(&path).expect("a written document can be read");
            assert_eq!(document, again);
        }
    }
});
