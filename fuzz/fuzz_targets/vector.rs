//! Steering vectors: one byte for the name of the file, one for the site that is given, one for the number of
//! layers, then the file.
#![no_main]

use std::path::Path;

use saescope::site::Site;
use saescope::vector::Vector;

const NAMES: [&str; 6] = ["x.safetensors", "x.gguf", "x.pt", "x.npy", "x.npz", "x.bin"];
const SITES: [Option<Site>; 4] = [
    None,
    Some(Site::ResidPost(1)),
    Some(Site::MlpOut(3)),
    Some(Site::Embed),
];

fn check(name: &str, read: saescope::Result<Vector>) {
    match read {
        Err(error) => assert!(error.to_string().starts_with(name), "{error}"),
        Ok(vector) => {
            assert!(!vector.directions.is_empty());
            assert!(vector.directions.values().flatten().all(|x| x.is_finite()));
            vector.summary();
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [name, site, layers, file @ ..] = bytes else {
        return;
    };
    let name = NAMES[usize::from(*name) % NAMES.len()];
    let site = SITES[usize::from(*site) % SITES.len()];
    let n_layers = (*layers > 0).then(|| usize::from(*layers));
    let path = Path::new(name);
    check(name, Vector::from_bytes(path, file.to_vec()));
    check(name, Vector::from_bytes_at(path, file.to_vec(), site, n_layers));
});
