//! Saved autoencoders are read back bit for bit. `tests/golden/check_saelens_reads.py` opens the same
//! folders with SAELens.

use std::path::Path;

use saescope::Matrix;
use saescope::sae::{InputNorm, Sae};

use super::identities::weights;
use super::{CASES, difference, expected, open, path};

fn bits(matrix: &Matrix) -> Vec<u32> {
    matrix.data().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_case_survives_saving() {
    for (case, _) in CASES {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("saes")
            .join(case);
        let sae = open(case);
        sae.save(&folder).unwrap();
        // Saving overwrites an existing folder too.
        sae.save(&folder).unwrap();
        let again = Sae::open(&folder).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(again.record(), sae.record(), "{case}");
        assert_eq!(again.gate(), sae.gate(), "{case}");
        assert_eq!(again.input_norm(), sae.input_norm(), "{case}");
        assert_eq!(again.centres(), sae.centres(), "{case}");
        assert_eq!(again.is_transcoder(), sae.is_transcoder(), "{case}");
        let x = expected(case, "x");
        let [before, after] = [&sae, &again].map(|sae| sae.encode(&x).unwrap());
        assert_eq!(after.features, before.features, "{case}");
        let [before, after] = [sae.decode(&before), again.decode(&after)];
        assert_eq!(bits(&after), bits(&before), "{case}");
        let parts = |sae: &Sae| [bits(sae.encoder().0), bits(sae.decoder().0)];
        assert!(parts(&again) == parts(&sae), "{case}");
    }
}

#[test]
fn the_hashes_of_source_files_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    for (case, _) in CASES {
        let mut sae = open(case);
        sae.hash_files(&path(case)).unwrap();
        for file in &sae.record().files {
            let digits = file.sha256.as_ref().map(String::len);
            assert_eq!(digits, Some(64), "{case}: {}", file.name);
        }
        sae.save(folder.path()).unwrap();
        let again = Sae::open(folder.path()).unwrap();
        assert_eq!(again.record(), sae.record(), "{case}");
    }
}

#[test]
fn a_constant_input_scale_is_folded_into_the_saved_weights() {
    let (mut record, mut parts) = weights(7);
    parts.input_norm = InputNorm::Scale(0.37);
    record.notes.push("made here".to_owned());
    let sae = Sae::new(parts, record).unwrap();
    let folder = tempfile::tempdir().unwrap();
    sae.save(folder.path()).unwrap();
    let again = Sae::open(folder.path()).unwrap();
    assert_eq!(again.input_norm(), InputNorm::None);
    assert_eq!(again.record(), sae.record());
    let x = Matrix::from_fn(5, 16, |row, col| ((row * 16 + col) as f32).sin() * 4.0);
    let [before, after] = [&sae, &again].map(|sae| sae.reconstruct(&x).unwrap());
    assert!(difference(after.data(), before.data()) < 1e-5);
}

#[test]
fn the_error_names_a_folder_that_cannot_be_created() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open("saelens_standard").save(file.path()).unwrap_err();
    let name = file.path().display().to_string();
    assert!(error.to_string().starts_with(&name), "{error}");
}
