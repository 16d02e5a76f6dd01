//! Files and folders that a command is to write.

use std::io::Write as _;
use std::path::Path;

use anyhow::bail;
use saescope::checkpoint::save_whole;

use crate::print;
use crate::usage::ensure_usage;

/// The format of a file to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Safetensors,
    /// GGUF if the name ends so, else safetensors.
    Vector,
    Json,
    Svg,
    Html,
    /// The store of a harvest.
    Store,
}

/// Ends of names that promise a format which is not written under them.
const PROMISES: [&str; 44] = [
    "safetensors",
    "gguf",
    "npy",
    "npz",
    "pt",
    "pth",
    "bin",
    "ckpt",
    "pkl",
    "pickle",
    "h5",
    "hdf5",
    "onnx",
    "mat",
    "json",
    "jsonl",
    "yaml",
    "yml",
    "toml",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "feather",
    "xlsx",
    "txt",
    "md",
    "html",
    "htm",
    "svg",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "bmp",
    "tif",
    "tiff",
    "pdf",
    "eps",
    "ps",
    "zip",
    "gz",
    "zst",
];

impl Written {
    /// Its name, and the ends of names under which it is written.
    fn of(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Written::Safetensors => ("safetensors", &["safetensors"]),
            Written::Vector => (
                "safetensors or, with `.gguf`, a control vector",
                &["safetensors", "gguf"],
            ),
            Written::Json => ("JSON", &["json", "txt"]),
            Written::Svg => ("SVG", &["svg"]),
            Written::Html => ("HTML", &["html", "htm"]),
            Written::Store => ("a SQLite database", &["db", "sqlite", "sqlite3"]),
        }
    }
}

/// Says before the work what would otherwise be said after it.
pub(crate) fn check_output(path: &Path, written: Written) -> anyhow::Result<()> {
    let (format, own) = written.of();
    if let Some(end) = promise(path) {
        ensure_usage!(
            own.contains(&end.as_str()),
            "{}: the file is written as {format}; name it so, as in `{}`",
            path.display(),
            path.with_extension(own[0]).display()
        );
    }
    // Renaming a finished file over a device or a pipe would put the file in its place.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        bail!(
            "{}: not a regular file; name a file to write",
            path.display()
        );
    }
    let folder = path.parent().unwrap_or(path);
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        bail!(
            "{}: the folder does not exist; create it first",
            folder.display()
        );
    }
    Ok(())
}

/// Refuses a folder to write whose name promises a file.
pub(crate) fn check_folder(path: &Path) -> anyhow::Result<()> {
    ensure_usage!(
        promise(path).is_none(),
        "{}: a folder is written, and this is the name of a file; name it without the end, as in `{}`",
        path.display(),
        path.with_extension("").display()
    );
    Ok(())
}

/// The end of a name, if it promises a format.
fn promise(path: &Path) -> Option<String> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    PROMISES.contains(&end.as_str()).then_some(end)
}

/// Writes a picture, whole or not at all, and says so unless the command prints JSON.
pub(crate) fn save_svg(path: &Path, svg: &str, json: bool) -> anyhow::Result<()> {
    save_whole(path, |file| file.write_all(svg.as_bytes()))?;
    if !json {
        print::note!("written to {}", path.display());
    }
    Ok(())
}
