//! Files that no honest writer makes give a typed error that names the file, or success; never a panic.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use saescope::edit::FeatureOp;
use saescope::edit::Span;
use saescope::sae::{FeatureChange, Sae, Splice};
use saescope::{Error, Matrix};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::{CASES, open, path};

/// The weights of a case and the configuration beside them.
fn files(case: &str) -> (PathBuf, Vec<u8>, Option<Vec<u8>>) {
    let opened = path(case);
    let names = [
        "sae_weights.safetensors",
        "sae.safetensors",
        "ae.pt",
        "params.npz",
        "params.safetensors",
        "checkpoints/final.safetensors",
    ];
    let weights = if opened.is_file() {
        opened
    } else {
        let mut paths = names.iter().map(|name| opened.join(name));
        paths.find(|path| path.is_file()).unwrap()
    };
    let folder = weights.parent().unwrap();
    let own = format!(
        "{}_cfg.json",
        weights.file_stem().unwrap().to_string_lossy()
    );
    let configs = [&own, "cfg.json", "config.json", "../hyperparams.json"]
        .map(|name| std::fs::read(folder.join(name)).ok());
    let bytes = std::fs::read(&weights).unwrap();
    (weights, bytes, configs.into_iter().flatten().next())
}

fn read(case: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Result<Sae, Error> {
    let (path, mut weights, config) = files(case);
    damage(&mut weights);
    Sae::from_bytes(&path, weights, config.as_deref())
}

/// The error of a refused file, whose message has to begin with the file's name.
fn refusal(result: Result<Sae, Error>) -> Error {
    let Err(error) = result else {
        panic!("it was opened");
    };
    let text = error.to_string();
    assert!(text.starts_with('/') || text.starts_with("x."), "{text}");
    error
}

/// A tensor of a file made by a test.
type Made = (&'static str, Vec<usize>, Vec<f32>);

fn made(d_in: usize, d_sae: usize) -> Vec<Made> {
    vec![
        ("W_enc", vec![d_in, d_sae], vec![0.5; d_in * d_sae]),
        ("W_dec", vec![d_sae, d_in], vec![0.25; d_in * d_sae]),
        ("b_enc", vec![d_sae], vec![0.1; d_sae]),
        ("b_dec", vec![d_in], vec![0.0; d_in]),
    ]
}

fn serialise(tensors: &[Made], dtype: Dtype) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn config(more: &Value) -> Vec<u8> {
    let mut config = json!({"architecture": "standard", "d_in": 4, "d_sae": 8});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string().into_bytes()
}

fn read_made(tensors: &[Made], more: &Value) -> Result<Sae, Error> {
    let weights = serialise(tensors, Dtype::F32);
    Sae::from_bytes(Path::new("x.safetensors"), weights, Some(&config(more)))
}

#[test]
fn tensors_that_are_missing_unknown_or_of_another_shape_are_named() {
    assert!(read_made(&made(4, 8), &json!({})).is_ok());
    for (at, name) in ["W_enc", "W_dec", "b_enc", "b_dec"].iter().enumerate() {
        let mut tensors = made(4, 8);
        tensors.remove(at);
        match refusal(read_made(&tensors, &json!({}))) {
            Error::MissingTensor { tensor, .. } => assert_eq!(tensor, *name),
            other => panic!("{other}"),
        }
        let mut tensors = made(4, 8);
        tensors[at].1.push(1);
        match refusal(read_made(&tensors, &json!({}))) {
            Error::Tensor { tensor, .. } => assert_eq!(tensor, *name),
            other => panic!("{other}"),
        }
        let mut tensors = made(4, 8);
        tensors[at].2[3] = f32::NAN;
        match refusal(read_made(&tensors, &json!({}))) {
            Error::NotFinite { tensor, index, .. } => {
                assert_eq!((tensor.as_str(), index), (*name, 3))
            }
            other => panic!("{other}"),
        }
    }
    let mut tensors = made(4, 8);
    tensors.push(("W_gate", vec![2], vec![0.0; 2]));
    match refusal(read_made(&tensors, &json!({}))) {
        Error::Tensor { tensor, .. } => assert_eq!(tensor, "W_gate"),
        other => panic!("{other}"),
    }
    let mut tensors = made(4, 8);
    tensors[2] = ("b_enc", vec![7], vec![0.1; 7]);
    assert!(matches!(
        refusal(read_made(&tensors, &json!({}))),
        Error::Tensor { .. }
    ));
}

#[test]
fn weights_of_whole_numbers_are_refused() {
    let weights = serialise(&made(4, 8), Dtype::I32);
    let error = refusal(Sae::from_bytes(
        Path::new("x.safetensors"),
        weights,
        Some(&config(&json!({}))),
    ));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
}

#[test]
fn unknown_and_contradictory_configurations_are_refused_by_key() {
    for (more, key) in [
        (json!({"architecture": "temporal"}), "architecture"),
        (json!({"architecture": 3}), "architecture"),
        (json!({"d_in": 5}), "d_in"),
        (json!({"d_sae": 9}), "d_sae"),
        (json!({"d_in": -4}), "d_in"),
        (json!({"architecture": "topk"}), "k"),
        (json!({"architecture": "topk", "k": 9}), "k"),
        (json!({"architecture": "topk", "k": 0}), "k"),
        (json!({"architecture": "topk", "k": 2.5}), "k"),
        (
            json!({"activation_fn_str": "tanh-relu"}),
            "activation_fn_str",
        ),
        (json!({"activation_fn": "topk"}), "activation_fn_kwargs"),
        (
            json!({"normalize_activations": "covariance_whitening"}),
            "normalize_activations",
        ),
        (
            json!({"apply_b_dec_to_input": "yes"}),
            "apply_b_dec_to_input",
        ),
        (
            json!({"metadata": {"context_size": "long"}}),
            "context_size",
        ),
        (json!({"metadata": {"saescope": {"d_in": "x"}}}), "saescope"),
    ] {
        let error = refusal(read_made(&made(4, 8), &more));
        assert!(error.to_string().contains(key), "{error}");
    }
    let weights = serialise(&made(4, 8), Dtype::F32);
    let path = Path::new("x.safetensors");
    let none = refusal(Sae::from_bytes(path, weights.clone(), None));
    assert!(none.to_string().contains("cfg.json"), "{none}");
    for broken in ["", "[]", "{\"d_in\": 4", "\u{fffd}"] {
        let error = refusal(Sae::from_bytes(
            path,
            weights.clone(),
            Some(broken.as_bytes()),
        ));
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }
}

#[test]
fn a_k_above_the_number_of_features_is_refused_in_every_format() {
    // The number after the key `k` in the pickle.
    let error = refusal(read("openai_v5", |bytes| {
        let key = b"X\x01\x00\x00\x00k";
        let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
        let number = at + bytes[at..].iter().position(|b| *b == b'K').unwrap();
        assert_eq!(bytes[number + 1], 5);
        bytes[number + 1] = 65;
    }));
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let (path, weights, _) = files("sparsify_topk");
    let config = br#"{"num_latents": 64, "k": 65, "d_in": 16}"#;
    let error = refusal(Sae::from_bytes(&path, weights, Some(config)));
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

#[test]
fn unknown_classes_and_activations_are_refused() {
    let (path, weights, _) = files("sparsify_topk");
    for config in [
        &br#"{"activation": "groupmax", "num_latents": 64}"#[..],
        br#"{"num_latents": 63}"#,
        b"{}",
    ] {
        refusal(Sae::from_bytes(&path, weights.clone(), Some(config)));
    }
    let (path, weights, _) = files("dl_topk");
    for config in [&br#"{"trainer": {"dict_class": "Other"}}"#[..], b"{}"] {
        refusal(Sae::from_bytes(&path, weights.clone(), Some(config)));
    }
    refusal(Sae::from_bytes(&path, weights, None));
    let (path, weights, _) = files("gemma_scope_2_res");
    refusal(Sae::from_bytes(
        &path,
        weights,
        Some(br#"{"architecture": "relu"}"#),
    ));
    let model = super::folder().join("../models/gpt2/model.safetensors");
    let error = refusal(Sae::open(&model));
    assert!(matches!(error, Error::ModelAsSae { .. }), "{error}");
    let header = br#"{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let unknown = [&length[..], header, &[0; 4]].concat();
    let message = refusal(Sae::from_bytes(&path, unknown, None)).to_string();
    assert!(
        message.contains("no known kind of autoencoder"),
        "{message}"
    );
    refusal(Sae::open(&super::folder()));
}

#[test]
fn pickles_that_call_functions_are_refused_and_nothing_is_run() {
    for name in ["hostile.pt", "hostile_old.pt", "module.pt"] {
        let error = refusal(Sae::open(&super::folder().join("../torch").join(name)));
        assert!(matches!(error, Error::Pickle { .. }), "{error}");
    }
}

#[test]
fn overlapping_tensors_and_huge_lengths_are_refused() {
    let header = br#"{"W_enc":{"dtype":"F32","shape":[4,8],"data_offsets":[0,128]},"W_dec":{"dtype":"F32","shape":[8,4],"data_offsets":[64,192]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 192]);
    let error = refusal(Sae::from_bytes(
        Path::new("x.safetensors"),
        bytes,
        Some(&config(&json!({}))),
    ));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
    let header =
        br#"{"W_enc":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    let error = refusal(Sae::from_bytes(
        Path::new("x.safetensors"),
        bytes,
        Some(&config(&json!({}))),
    ));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
}

#[test]
fn activations_that_are_not_finite_or_of_another_width_are_refused() {
    let sae = open("openai_v5");
    for value in [f32::NAN, f32::INFINITY] {
        let mut x = Matrix::zeros(3, 16);
        x.row_mut(2)[5] = value;
        match sae.encode(&x) {
            Err(Error::Activation { row, .. }) => assert_eq!(row, 2),
            other => panic!("{other:?}"),
        }
        assert!(sae.written_scale(x.row(2)).is_err());
    }
    let wrong = sae.encode(&Matrix::zeros(1, 15)).unwrap_err();
    assert!(wrong.to_string().contains("resid_post.8"), "{wrong}");
    let missing = sae.direction(64);
    assert!(
        matches!(
            missing,
            Err(Error::NoFeature {
                feature: 64,
                d_sae: 64
            })
        ),
        "{missing:?}"
    );
    assert!(sae.pre_activation(&[0.0; 16], 64).is_err());
    for (feature, value) in [(64, 1.0), (0, f32::NAN)] {
        let change = FeatureChange {
            feature,
            span: Span::All,
            op: FeatureOp::Set(value),
        };
        assert!(Splice::edit(&sae, vec![change]).is_err());
    }
    // A token of zeros has no norm to divide by.
    for case in ["openai_v5", "saelens_constant_norm", "saelens_centred"] {
        let zeros = Matrix::zeros(2, 16);
        let y = open(case).reconstruct(&zeros).unwrap();
        assert!(y.data().iter().all(|y| y.is_finite()), "{case}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_cut_short_anywhere_are_refused_or_read(share in 0.0..1.0_f64) {
        for (case, _) in CASES {
            let (path, weights, config) = files(case);
            let cut = |bytes: &[u8]| bytes[..(bytes.len() as f64 * share) as usize].to_vec();
            // A file with a part missing never opens, whatever the format.
            refusal(Sae::from_bytes(&path, cut(&weights), config.as_deref()));
            if let Some(config) = &config {
                let _ = Sae::from_bytes(&path, weights, Some(&cut(config)));
            }
        }
    }

    #[test]
    fn files_with_a_damaged_byte_are_refused_or_read(at in 0.0..1.0_f64, byte: u8) {
        for (case, _) in CASES {
            let opened = read(case, |bytes| {
                let at = (bytes.len() as f64 * at) as usize;
                bytes[at] = byte;
            });
            if let Ok(sae) = opened {
                let encoded = sae.encode(&Matrix::zeros(1, sae.d_in())).unwrap();
                sae.decode(&encoded);
            }
        }
    }
}
