//! Files of steering vectors: round trips, files of other tools, and damaged files.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use saescope::Error;
use saescope::checkpoint::{Elements, NewTensor, NewValue, save_gguf, save_safetensors};
use saescope::site::Site;
use saescope::vector::text::{self, Selection};
use saescope::vector::{Method, Vector, VectorRecord, question};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/vectors/control.gguf")
}

fn vector(sites: &[Site]) -> Vector {
    let direction = |n: usize| (0..7).map(|i| (i * n) as f32 - 3.25).collect();
    Vector {
        directions: sites
            .iter()
            .enumerate()
            .map(|(n, &site)| (site, direction(n)))
            .collect(),
        record: VectorRecord {
            model: Some("org/name".to_owned()),
            model_type: Some("llama".to_owned()),
            method: Some(Method::PcaDiff),
            dataset: vec!["a.jsonl (joy)".to_owned(), "b.txt".to_owned()],
            positive: 3,
            negative: 3,
            seed: Some(7),
            ..VectorRecord::default()
        },
    }
}

/// Python's `gguf` wrote the file; `tests/golden/make_vectors.py` has the formula.
#[test]
fn a_control_vector_of_another_writer_is_read() {
    let vector = Vector::open(&golden()).unwrap();
    assert_eq!(vector.record.model_type.as_deref(), Some("llama"));
    let layers = [1, 2, 4];
    let sites: Vec<Site> = vector.directions.keys().copied().collect();
    assert_eq!(sites, layers.map(Site::ResidPost));
    for layer in layers {
        let expected: Vec<f32> = (0..64)
            .map(|i| ((i * (layer + 3)) % 17) as f32 / 4.0 - 2.0)
            .collect();
        assert_eq!(vector.directions[&Site::ResidPost(layer)], expected);
    }
}

#[test]
fn a_vector_survives_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [Site::ResidPost(1), Site::ResidPost(12)];
    for (name, sites) in [
        ("a.gguf", &layers[..]),
        (
            "a.safetensors",
            &[Site::Embed, Site::ResidPost(0), Site::MlpAct(3)],
        ),
    ] {
        let path = folder.path().join(name);
        let vector = vector(sites);
        vector.save(&path).unwrap();
        assert_eq!(Vector::open(&path).unwrap(), vector, "{name}");
    }
}

/// Byte for byte as Python's `gguf` writes them, except our own key, which comes last.
#[test]
fn a_gguf_has_the_keys_that_llama_cpp_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    Vector::open(&golden()).unwrap().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let theirs = std::fs::read(golden()).unwrap();
    let keys = |bytes: &[u8]| {
        let at = bytes.windows(9).position(|w| w == b"direction").unwrap();
        bytes[24..at - 8].to_vec()
    };
    let (ours, theirs) = (keys(&bytes), keys(&theirs));
    let own = ours
        .windows(15)
        .position(|w| w == b"saescope.vector")
        .unwrap();
    assert_eq!(ours[..own - 8], theirs);
}

#[test]
fn a_gguf_refuses_layer_0_and_other_sites() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    for site in [Site::ResidPost(0), Site::MlpOut(3), Site::Embed] {
        let refused = vector(&[site]).save(&path);
        assert!(matches!(refused, Err(Error::Site { .. })), "{refused:?}");
    }
    assert!(!path.exists());
}

#[test]
fn files_of_other_kinds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let shape = [2];
    let tensor = |name: &'static str, elements: &'static [f32]| NewTensor {
        name,
        shape: &shape,
        elements: Elements::F32(elements),
    };
    let control = [("general.architecture", NewValue::Str("controlvector"))];
    let of_model = [("general.architecture", NewValue::Str("llama"))];
    save_gguf(&path, &of_model, &[tensor("direction.1", &[1.0, 2.0])]).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::Format { .. })));
    save_gguf(&path, &control, &[]).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::Format { .. })));
    for name in [
        "direction.+1",
        "direction.01",
        "direction.-1",
        "direction.",
        "token_embd.weight",
    ] {
        save_gguf(&path, &control, &[tensor(name, &[1.0, 2.0])]).unwrap();
        assert!(
            matches!(Vector::open(&path), Err(Error::Tensor { .. })),
            "{name}"
        );
    }
    save_gguf(&path, &control, &[tensor("direction.1", &[1.0, f32::NAN])]).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::NotFinite { .. })));

    let path = folder.path().join("a.safetensors");
    let matrix = NewTensor {
        shape: &[1, 2],
        ..tensor("resid_post.1", &[1.0, 2.0])
    };
    save_safetensors(&path, &[matrix], &[].into()).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::Tensor { .. })));
    save_safetensors(&path, &[tensor("w_enc", &[1.0, 2.0])], &[].into()).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::Tensor { .. })));
    let record = (
        "saescope.vector".to_owned(),
        "{\"method\":\"magic\"}".to_owned(),
    );
    let one = [tensor("resid_post.1", &[1.0, 2.0])];
    save_safetensors(&path, &one, &[record].into()).unwrap();
    assert!(matches!(Vector::open(&path), Err(Error::Format { .. })));
}

#[test]
fn questions_and_texts_that_cannot_be_read_name_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let labelled = |label: Option<&str>| Selection {
        text: "text".to_owned(),
        label_field: "emotions".to_owned(),
        label: label.map(str::to_owned),
    };
    for content in ["", "[]", "{}", "[{\"question\": \"a\"}]"] {
        std::fs::write(&path, content).unwrap();
        assert!(
            matches!(question::read(&path), Err(Error::Format { .. })),
            "{content}"
        );
    }
    std::fs::write(
        &path,
        "{\"text\": \"a\", \"emotions\": [\"joy\"]}\nno JSON\n",
    )
    .unwrap();
    let error = text::read(&path, &labelled(Some("joy")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.jsonl") && error.contains("line 2"),
        "{error}"
    );
    std::fs::write(&path, "{\"text\": \"a\", \"emotions\": [\"joy\"]}\n").unwrap();
    assert_eq!(text::read(&path, &labelled(None)).unwrap(), ["a"]);
    let none = text::read(&path, &labelled(Some("anger")));
    assert!(matches!(none, Err(Error::Format { .. })), "{none:?}");
    let lines = folder.path().join("a.txt");
    std::fs::write(&lines, "one\n\n  \ntwo\n").unwrap();
    assert_eq!(text::read(&lines, &labelled(None)).unwrap(), ["one", "two"]);
    assert!(text::read(&lines, &labelled(Some("joy"))).is_err());
}

#[test]
fn a_direction_without_a_site_is_placed_at_the_one_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let bare = NewTensor {
        name: "vector",
        shape: &[2],
        elements: Elements::F32(&[1.0, 2.0]),
    };
    save_safetensors(&path, &[bare], &[].into()).unwrap();
    let placed = Vector::open_at(&path, Some(Site::MlpOut(3)), None).unwrap();
    assert_eq!(
        placed.directions,
        [(Site::MlpOut(3), vec![1.0, 2.0])].into()
    );
    let refused = Vector::open_at(&path, None, Some(6));
    assert!(matches!(refused, Err(Error::NoSite { .. })), "{refused:?}");
    let refused = Vector::open(&path);
    assert!(matches!(refused, Err(Error::Tensor { .. })), "{refused:?}");
    // A site of the file's own stays.
    vector(&[Site::ResidPost(1), Site::Embed])
        .save(&path)
        .unwrap();
    let mut named = Vector::open_at(&path, Some(Site::MlpOut(3)), Some(6)).unwrap();
    assert_eq!(named, Vector::open(&path).unwrap());
    assert!(matches!(
        named.retain(&[Site::MlpOut(3)]),
        Err(Error::Site { .. })
    ));
    named.retain(&[]).unwrap();
    assert_eq!(named.directions.len(), 2);
    named.retain(&[Site::Embed]).unwrap();
    assert!(named.directions.keys().eq([&Site::Embed]));
}

/// Opens a file of `tests/golden/make_torch_vectors.py` for a model of six layers.
fn of_torch(name: &str, site: Option<Site>) -> saescope::Result<Vector> {
    let path = golden().with_file_name("torch").join(name);
    Vector::open_at(&path, site, Some(6))
}

#[test]
fn directions_of_torch_and_numpy_are_read_at_the_site_given() {
    for name in [
        "one.pt",
        "half_row.pt",
        "parameter.pt",
        "in_a_dict.pt",
        "by_number.pt",
        "by_text.pt",
        "in_a_list.pt",
        "rows.pt",
        "old.bin",
        "one.npy",
        "half.npy",
        "big.npy",
        "rows.npy",
        "fortran.npy",
        "by_layer.npz",
        "only.npz",
        "compressed.npz",
    ] {
        for site in [Site::ResidPost(3), Site::AttnOut(3)] {
            let vector = of_torch(name, Some(site)).unwrap_or_else(|e| panic!("{e}"));
            let expected = [(site, vec![3.0, 4.0, 5.0, 6.0])].into();
            assert_eq!(vector.directions, expected, "{name}");
        }
    }
    let sites = of_torch("by_site.pt", None).unwrap();
    assert!(sites.directions.keys().eq(&[1, 3].map(Site::ResidPost)));
    let same = Vector::open(&golden().with_file_name("torch").join("by_site.pt"));
    assert_eq!(same.unwrap(), sites);
}

#[test]
fn directions_whose_layer_is_not_certain_are_refused_with_the_next_step() {
    let cases = [
        ("hidden_states.pt", "`hidden_states`"),
        ("hidden_states_by_number.pt", "`hidden_states`"),
        ("several.pt", "direction, mean"),
        ("positions.pt", "[6, 5, 4]"),
        ("whole_numbers.pt", "I64"),
        ("not_finite.pt", "NaN"),
        ("objects.npy", "Python objects"),
    ];
    for (name, part) in cases {
        let error = of_torch(name, Some(Site::ResidPost(3))).unwrap_err();
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    let at = |name: &str, site| of_torch(name, Some(site)).unwrap_err().to_string();
    let error = at("by_number.pt", Site::ResidPost(2));
    assert!(
        error.contains("no direction of layer 2") && error.contains("1, 3"),
        "{error}"
    );
    let error = at("in_a_dict.pt", Site::ResidPost(2));
    assert!(error.contains("`layer` is 3"), "{error}");
    let error = at("rows.pt", Site::Embed);
    assert!(error.contains("`embed`"), "{error}");
    for name in ["one.pt", "by_number.pt", "rows.npy", "by_layer.npz"] {
        let refused = of_torch(name, None);
        assert!(
            matches!(refused, Err(Error::NoSite { .. })),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_direction_alone_needs_no_number_of_layers_and_several_by_layer_do() {
    let open = |name: &str| {
        let path = golden().with_file_name("torch").join(name);
        Vector::open_at(&path, Some(Site::ResidPost(3)), None)
    };
    for name in ["one.pt", "in_a_dict.pt", "old.bin", "big.npy", "only.npz"] {
        let vector = open(name).unwrap();
        assert_eq!(vector.directions[&Site::ResidPost(3)].len(), 4, "{name}");
    }
    for name in ["by_number.pt", "in_a_list.pt", "rows.npy", "by_layer.npz"] {
        let refused = open(name);
        assert!(
            matches!(refused, Err(Error::NoLayerCount { .. })),
            "{name}: {refused:?}"
        );
    }
}

proptest! {
    /// Reading returns a typed error or a vector of finite directions.
    #[test]
    fn damaged_files_never_panic(gguf in any::<bool>(), at in 0_usize..2000, byte in any::<u8>(), cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if gguf { "a.gguf" } else { "a.safetensors" });
        vector(&[Site::ResidPost(1), Site::ResidPost(2)]).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(vector) = Vector::from_bytes(&path, bytes) {
            prop_assert!(vector.directions.values().flatten().all(|x| x.is_finite()));
        }
    }
}
