//! Folders that should hold a model: the names and contents of up to eight files, each ended by a zero byte.
#![no_main]

use saescope::checkpoint::Checkpoint;
use saescope::tokenizer::Tokenizer;
use tempfile::TempDir;

/// A name that stays in its folder.
fn plain(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (begins && name.len() < 80 && name.chars().all(known)).then_some(name)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(16).collect();
    let mut files = Vec::new();
    for pair in parts.chunks(2) {
        let [name, content] = pair else { continue };
        let Some(name) = plain(name) else { continue };
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a temporary file can be written");
        files.push(path);
    }
    let place = folder.path().to_string_lossy().into_owned();
    let check = |error: saescope::Error| {
        assert!(error.to_string().contains(&*place), "{error}");
    };
    let _ = Checkpoint::open(folder.path()).map_err(check);
    let _ = Tokenizer::of_model(folder.path());
    for path in files {
        let _ = Checkpoint::open(&path).map_err(check);
    }
});
