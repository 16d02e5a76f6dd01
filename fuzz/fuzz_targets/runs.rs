//! The folder of a training run. Zero bytes separate its `config.json`, `metrics.jsonl`, `eval.json`
//! and, as the rest, one checkpoint. A run that opens can be described, compared and reported.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use saescope::runs::SavedRun;
use tempfile::TempDir;

/// Step in the name of the checkpoint.
const STEP: u64 = 2;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| TempDir::new().expect("a temporary folder can be made"));

/// Writes the files of a run; a file without bytes is absent.
fn write(folder: &Path, bytes: &[u8]) {
    let checkpoint = format!("checkpoints/step-{STEP}.safetensors");
    let names = ["config.json", "metrics.jsonl", "eval.json", &checkpoint];
    std::fs::create_dir_all(folder.join("checkpoints")).expect("a folder can be made");
    let mut parts = bytes.splitn(names.len(), |byte| *byte == 0);
    for name in names {
        let path = folder.join(name);
        match parts.next().unwrap_or_default() {
            [] => drop(std::fs::remove_file(path)),
            part => std::fs::write(path, part).expect("a temporary file can be written"),
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = FOLDER.path();
    write(folder, bytes);
    let place = folder.to_string_lossy();
    match SavedRun::open(folder) {
        Err(error) => assert!(error.to_string().contains(&*place), "{error}"),
        Ok(run) => {
            let _ = run.check(&run.config);
            let _ = run.write_report();
            for step in run.checkpoints().expect("the folder can be read") {
                let _ = run.state(step);
            }
        }
    }
});
