//! Compares encoding and decoding with the library that owns the format.

use saescope::sae::{Format, InputNorm, Sae};
use saescope::{Gate, SparseRows};

use super::{CASES, dense, difference, expected, folder, open};

#[test]
fn every_case_encodes_and_decodes_as_its_own_library_does() {
    let mut off = Vec::new();
    for (case, _) in CASES {
        let sae = open(case);
        let [x, acts, y] = ["x", "acts", "y"].map(|name| expected(case, name));
        let encoded = sae.encode(&x).unwrap();
        let decoded = sae.decode(&encoded);
        assert_eq!(
            (decoded.rows(), decoded.cols()),
            (y.rows(), y.cols()),
            "{case}"
        );
        for row in 0..x.rows() {
            let found = dense(&encoded, row, sae.d_sae());
            let active = |values: &[f32]| -> Vec<usize> {
                values
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| **v > 0.0)
                    .map(|(f, _)| f)
                    .collect()
            };
            let features = active(&found) == active(acts.row(row));
            let [acts, y] = [
                difference(&found, acts.row(row)),
                difference(decoded.row(row), y.row(row)),
            ];
            if !features || acts > 1e-5 || y > 1e-5 {
                off.push(format!(
                    "{case} row {row}: same {features}, {acts:.1e}, {y:.1e}"
                ));
            }
        }
    }
    assert!(off.is_empty(), "off:\n{}", off.join("\n"));
}

#[test]
fn every_folder_of_golden_files_is_a_case() {
    let mut folders: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, CASES.map(|(case, _)| case.to_owned()));
}

#[test]
fn the_cases_cover_what_they_were_made_for() {
    for case in [
        "openai_v5_few",
        "saelens_topk_few",
        "dl_topk_few",
        "sparsify_expansion",
    ] {
        let Gate::TopK(k) = *open(case).gate() else {
            panic!("{case} is not a TopK");
        };
        let encoded = open(case).encode(&expected(case, "x")).unwrap();
        let few = |rows: &SparseRows| (0..rows.rows()).any(|row| rows.row(row).0.len() < k);
        assert!(few(&encoded.features), "{case} fills every row");
    }
    let x = expected("openai_v5", "x");
    let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(norm(x.row(1)) > 2900.0);
}

/// Case, format, model, the site that it reads and, for a transcoder, the site that it writes.
const RECORDS: [(&str, Format, &str, &str, &str); 16] = [
    ("openai_v1", Format::Openai, GPT2, "mlp_act.3", ""),
    ("openai_v4", Format::Openai, GPT2, "mlp_out.3", ""),
    ("openai_v5", Format::Openai, GPT2, "resid_post.8", ""),
    ("openai_v5_attn", Format::Openai, GPT2, "attn_out.11", ""),
    ("openai_v5_few", Format::Openai, GPT2, "resid_mid.0", ""),
    ("saelens_topk", Format::Saelens, GPT2, "resid_post.3", ""),
    ("saelens_old_topk", Format::Saelens, GPT2, "attn_z.3", ""),
    (
        "saelens_older_point",
        Format::Saelens,
        GPT2,
        "resid_pre.3",
        "",
    ),
    (
        "saelens_skip_transcoder",
        Format::Saelens,
        GPT2,
        "mlp_norm.3",
        "mlp_out.3",
    ),
    (
        "sparsify_topk",
        Format::Sparsify,
        PYTHIA,
        "resid_post.3",
        "",
    ),
    (
        "sparsify_expansion",
        Format::Sparsify,
        PYTHIA,
        "mlp_out.5",
        "",
    ),
    (
        "sparsify_skip",
        Format::Sparsify,
        PYTHIA,
        "mlp_norm.5",
        "mlp_out.5",
    ),
    (
        "dl_topk",
        Format::DictionaryLearning,
        "EleutherAI/pythia-70m-deduped",
        "resid_post.3",
        "",
    ),
    (
        "gemma_scope_res",
        Format::GemmaScope,
        GEMMA,
        "resid_post.20",
        "",
    ),
    (
        "gemma_scope_transcoder",
        Format::GemmaScope,
        GEMMA,
        "mlp_norm.3",
        "mlp_out.3",
    ),
    (
        "gemma_scope_2_transcoder",
        Format::GemmaScope2,
        "google/gemma-3-270m",
        "mlp_norm.5",
        "mlp_out.5",
    ),
];
const GPT2: &str = "openai-community/gpt2";
const PYTHIA: &str = "EleutherAI/pythia-70m";
const GEMMA: &str = "google/gemma-2-2b";

#[test]
fn records_name_the_model_and_sites_of_an_autoencoder() {
    for (case, format, model, site, out_site) in RECORDS {
        let sae = open(case);
        let record = sae.record();
        assert_eq!(record.format, format, "{case}");
        assert_eq!(record.model.as_deref(), Some(model), "{case}");
        let sites =
            [record.site, record.out_site].map(|s| s.map_or(String::new(), |s| s.to_string()));
        assert_eq!(sites, [site, out_site], "{case}");
        assert_eq!(sae.is_transcoder(), !out_site.is_empty(), "{case}");
        assert!(!record.files.is_empty(), "{case}");
    }
    assert!(open("saelens_centred").centres());
    assert_eq!(open("openai_v5").input_norm(), InputNorm::LayerNorm);
    assert_eq!(open("openai_v1").input_norm(), InputNorm::None);
    assert_eq!(open("saelens_scaler").input_norm(), InputNorm::None);
    assert_eq!(open("saelens_expected_average").record().notes.len(), 1);
}

#[test]
fn releases_whose_files_omit_their_training_are_recognised_by_their_path() {
    let golden = super::path("saelens_expected_average");
    let copies = tempfile::tempdir().unwrap();
    let copy = |release: &str| {
        let folder = copies.path().join(release).join("sae_group");
        std::fs::create_dir_all(&folder).unwrap();
        let config = std::fs::read_to_string(golden.join("cfg.json")).unwrap();
        let config = config.replace("blocks.3.hook_resid_post", "blocks.8.hook_mlp_out");
        std::fs::write(folder.join("cfg.json"), config).unwrap();
        let weights = "sae_weights.safetensors";
        std::fs::copy(golden.join(weights), folder.join(weights)).unwrap();
        Sae::open(&folder).unwrap()
    };
    let known = copy("models--tommmcgrath--gpt2-small-mlp-out-saes/snapshots/1");
    let other = copy("models--someone--else/snapshots/1");
    assert!(known.centres() && !other.centres());
    let ratio = other.decoder_norms()[0] / known.decoder_norms()[0];
    assert!((ratio - 0.912_376_3).abs() < 1e-5, "{ratio}");
}

#[test]
fn pre_activations_agree_with_the_activations_after_the_gate() {
    for case in [
        "openai_v5",
        "saelens_gated",
        "saelens_centred",
        "saelens_constant_norm",
    ] {
        let (sae, x) = (open(case), expected(case, "x"));
        let encoded = sae.encode(&x).unwrap();
        for row in 0..x.rows() {
            for (feature, value) in encoded.features.entries(row) {
                let before = sae.pre_activation(x.row(row), feature).unwrap();
                assert!((before - value).abs() <= 1e-5 * value.abs(), "{case}");
            }
        }
    }
}
