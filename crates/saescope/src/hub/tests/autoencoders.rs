//! Autoencoders, from repositories and from OpenAI's storage.

use super::*;

const SAES: [(&str, &[u8]); 6] = [
    ("README.md", b"not needed"),
    ("layer_8/cfg.json", b"{\"d_in\": 8}"),
    ("layer_8/examples.safetensors", b"a gigabyte of examples"),
    ("layer_8/sae_weights.safetensors", b"01234567"),
    ("layer_9/cfg.json", b"{}"),
    ("layer_9/sae_weights.safetensors", b"9"),
];
const STORED: &str = "sparse-autoencoder/gpt2-small/resid_post_mlp_v5_128k/autoencoders/8.pt";
const NAME: &str = "openai/v5_128k/resid_post_mlp/8";

fn storage(hub: &FakeHub) -> HubOptions {
    HubOptions {
        storage: hub.endpoint.clone(),
        storage_cache: hub.cache.path().join("saescope"),
        ..hub.options()
    }
}

fn autoencoder(text: &str, options: &HubOptions) -> Result<PathBuf> {
    Reference::parse(text).unwrap().resolve_autoencoder(options)
}

#[test]
fn only_the_files_that_an_autoencoder_needs_are_downloaded_and_only_once() {
    let hub = FakeHub::new(&SAES);
    let folder = autoencoder("org/name/layer_8", &hub.options()).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["cfg.json", "sae_weights.safetensors"]);
    assert!(!folder.join("../layer_9").exists());
    hub.log();
    let offline = HubOptions {
        offline: true,
        ..hub.options()
    };
    assert_eq!(
        autoencoder("org/name/layer_8@main", &offline).unwrap(),
        folder
    );
    assert_eq!(
        autoencoder("org/name/layer_8", &hub.options()).unwrap(),
        folder
    );
    assert!(hub.log().is_empty());
    offline_reason(autoencoder("org/name/layer_9", &offline));
}

#[test]
fn a_repository_of_several_names_them() {
    let hub = FakeHub::new(&SAES);
    for name in ["org/name", "org/name/layer_7"] {
        let refused = reason(autoencoder(name, &hub.options()));
        assert!(refused.contains("layer_8, layer_9"), "{refused}");
    }
}

#[test]
fn a_file_of_the_storage_is_kept_beside_the_cache_and_downloaded_once() {
    let hub = FakeHub::new(&[(STORED, b"weights")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let report = move |progress: &Progress| {
        watched
            .lock()
            .unwrap()
            .push((progress.done, progress.total))
    };
    let options = HubOptions {
        progress: Some(Arc::new(report)),
        ..storage(&hub)
    };
    let file = autoencoder(NAME, &options).unwrap();
    assert_eq!(file, hub.cache.path().join("saescope/openai").join(STORED));
    assert_eq!(std::fs::read(&file).unwrap(), b"weights");
    // The size is known before anything arrives.
    assert_eq!(seen.lock().unwrap().first(), Some(&(0, 7)));
    assert_eq!(hub.log(), [STORED]);
    assert_eq!(autoencoder(NAME, &options).unwrap(), file);
    assert!(hub.log().is_empty());
}

#[test]
fn a_broken_download_resumes_where_it_broke() {
    let weights: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let hub = FakeHub::new(&[(STORED, &weights)]);
    hub.set(|state| (state.cut_after, state.cuts) = (Some(150_000), 2));
    let file = autoencoder(NAME, &storage(&hub)).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), weights);
    let asked: Vec<String> = hub.log();
    let whole: Vec<&str> = asked
        .iter()
        .filter_map(|line| line.strip_prefix(STORED))
        .collect();
    assert_eq!(whole, ["", " bytes=150000-", " bytes=300000-"]);
}

#[test]
fn a_part_of_an_earlier_call_is_not_downloaded_again() {
    let hub = FakeHub::new(&[(STORED, b"0123456789")]);
    let file = storage(&hub).storage_cache.join("openai").join(STORED);
    // A beginning, a complete part that was not renamed, and a part that is too long.
    for (held, asked) in [
        ("01234", vec![" bytes=5-"]),
        ("0123456789", vec![" bytes=10-"]),
        ("0123456789ab", vec![" bytes=12-", ""]),
    ] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file.with_extension("pt.part"), held).unwrap();
        assert_eq!(autoencoder(NAME, &storage(&hub)).unwrap(), file);
        assert_eq!(std::fs::read(&file).unwrap(), b"0123456789");
        let log = hub.log();
        let found: Vec<&str> = log
            .iter()
            .filter_map(|line| line.strip_prefix(STORED))
            .collect();
        assert_eq!(found, asked);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn refusals_of_the_storage_name_the_next_step() {
    let hub = FakeHub::new(&[(STORED, b"0123456789")]);
    let other = "openai/v5_128k/resid_post_mlp/9";
    let refused = reason(autoencoder(other, &storage(&hub)));
    assert!(
        refused.contains("404") && refused.contains("local file"),
        "{refused}"
    );

    hub.set(|state| (state.cut_after, state.cuts) = (Some(0), 1000));
    assert!(reason(autoencoder(NAME, &storage(&hub))).contains("resumes"));
    let offline = HubOptions {
        offline: true,
        ..storage(&hub)
    };
    assert!(offline_reason(autoencoder(NAME, &offline)).contains("8.pt"));
    hub.set(|state| state.cuts = 0);
    assert!(autoencoder(NAME, &storage(&hub)).is_ok());

    let model = Reference::parse(NAME).unwrap().resolve(&storage(&hub));
    assert!(reason(model).contains("openai-community/gpt2"));
}

#[test]
fn autoencoders_of_openai_are_distinguished_from_its_repositories() {
    for (text, file) in [
        (NAME, STORED),
        (
            "openai/v1/mlp_post_act/0",
            "sparse-autoencoder/gpt2-small/mlp_post_act/autoencoders/0.pt",
        ),
        (
            "openai/v4/resid_delta_mlp/11",
            "sparse-autoencoder/gpt2-small/resid_delta_mlp_v4/autoencoders/11.pt",
        ),
    ] {
        let Reference::OpenAi(reference) = Reference::parse(text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(reference.to_string(), text);
        let path = reference.resolve(&HubOptions {
            offline: true,
            storage_cache: "/c".into(),
            ..HubOptions::new("/h/hub")
        });
        assert!(offline_reason(path).contains(&format!("/c/openai/{file}")));
    }
    for text in [
        "openai/v5_128k",
        "openai/v5_128k/resid_post_mlp",
        "openai/v5_128k/resid_post_mlp/12",
        "openai/v5_128k/mlp_post_act/3",
        "openai/v1/resid_post_mlp/3",
    ] {
        let refused = reason(Reference::parse(text).map(|_| PathBuf::new()));
        assert!(refused.contains("0 to 11"), "{refused}");
    }
    assert!(matches!(
        Reference::parse("openai/gpt-oss-20b"),
        Ok(Reference::Hub(_))
    ));
}
