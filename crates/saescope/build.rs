//! Packs `assets/demo` for `hub::demo`: every file compressed, and a list of them as Rust.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

fn main() -> Result<(), Box<dyn Error>> {
    let assets = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../assets/demo");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", assets.display());
    let mut files = Vec::new();
    collect(&assets, "", &mut files)?;
    files.sort();
    let mut list = String::new();
    let mut crc = Crc::new();
    for (number, name) in files.iter().enumerate() {
        let bytes = fs::read(assets.join(name))?;
        crc.update(name.as_bytes());
        crc.update(&bytes);
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        fs::write(out.join(format!("{number}.zlib")), packed.finish()?)?;
        list += &format!(
            "({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.zlib\"))),\n"
        );
    }
    let digest = format!("{:08x}", crc.sum());
    let code =
        format!("const DIGEST: &str = {digest:?};\nconst FILES: &[(&str, &[u8])] = &[\n{list}];\n");
    fs::write(out.join("demo.rs"), code)?;
    Ok(())
}

/// Names of all files under `folder`, parts joined by `/`, each after `prefix`.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
