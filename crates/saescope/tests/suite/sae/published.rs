//! Published collections, and what their files leave open or contradict.

use std::path::{Path, PathBuf};

use saescope::Gate;
use saescope::sae::{Format, Sae};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::{expected, open, path};

const CASES: [(&str, Format, &str, &str, &str); 8] = [
    (
        "qwen_scope",
        Format::QwenScope,
        "Qwen/Qwen3-1.7B-Base",
        "resid_post.2",
        "",
    ),
    (
        "goodfire",
        Format::Goodfire,
        "meta-llama/Llama-3.1-8B-Instruct",
        "resid_post.19",
        "",
    ),
    (
        "attention_out",
        Format::AttentionOut,
        "openai-community/gpt2",
        "attn_z.2",
        "",
    ),
    (
        "circuit_tracer",
        Format::CircuitTracer,
        "Qwen/Qwen3-0.6B",
        "mlp_norm.2",
        "mlp_out.2",
    ),
    (
        "llama_scope",
        Format::Llamascopium,
        LLAMA,
        "resid_post.8",
        "",
    ),
    (
        "llama_scope_transcoder",
        Format::Llamascopium,
        LLAMA,
        "mlp_norm.8",
        "mlp_out.8",
    ),
    ("llamascopium", Format::Llamascopium, "", "resid_post.3", ""),
    (
        "dl_april",
        Format::DictionaryLearning,
        "EleutherAI/pythia-70m-deduped",
        "resid_post.3",
        "",
    ),
];
const LLAMA: &str = "meta-llama/Llama-3.1-8B";

#[test]
fn published_files_name_their_model_and_sites() {
    for (case, format, model, site, out_site) in CASES {
        let sae = open(case);
        let record = sae.record();
        assert_eq!(record.format, format, "{case}");
        assert_eq!(record.model.as_deref().unwrap_or_default(), model, "{case}");
        let sites =
            [record.site, record.out_site].map(|s| s.map_or(String::new(), |s| s.to_string()));
        assert_eq!(sites, [site, out_site], "{case}");
    }
    let notes = |case| open(case).record().notes.join("; ");
    assert!(notes("dl_april").contains("load_dictionary"));
    assert!(!notes("dl_new").contains("load_dictionary"));
    assert!(notes("llama_scope").contains("norm 1"));
}

/// A copy of a case's files in a folder of its own, whose configuration is changed.
fn changed(case: &str, config: &str, change: impl FnOnce(&mut Value)) -> Result<Sae, String> {
    let folder = tempfile::tempdir().unwrap();
    let opened = path(case);
    let (from, name) = if opened.is_dir() {
        (opened, None)
    } else {
        (opened.parent().unwrap().to_owned(), opened.file_name())
    };
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_file() {
            std::fs::copy(&entry, folder.path().join(entry.file_name().unwrap())).unwrap();
        }
    }
    let at = folder.path().join(config);
    let text = std::fs::read_to_string(&at).unwrap().replace("NaN", "null");
    let mut value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    std::fs::write(&at, value.to_string()).unwrap();
    let opened = name.map_or(folder.path().to_owned(), |name| folder.path().join(name));
    Sae::open(&opened).map_err(|error| error.to_string())
}

fn refused(result: Result<Sae, String>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("opened, without a word of {parts:?}");
    };
    for part in parts {
        assert!(error.contains(part), "{error} has no {part}");
    }
}

#[test]
fn a_configuration_that_the_tensors_contradict_is_refused_with_both_sides() {
    let class = |name: &str| {
        let name = name.to_owned();
        move |config: &mut Value| config["trainer"]["dict_class"] = name.into()
    };
    let refuse = |case, name: &str, parts: &[&str]| {
        refused(changed(case, "config.json", class(name)), parts);
    };
    refuse(
        "dl_april",
        "AutoEncoderNew",
        &["AutoEncoderNew", "belong to AutoEncoder"],
    );
    refuse("dl_new", "AutoEncoder", &["belong to AutoEncoderNew"]);
    refuse("dl_gated", "AutoEncoder", &["belong to GatedAutoEncoder"]);
    refuse(
        "dl_jumprelu",
        "AutoEncoder",
        &["belong to JumpReluAutoEncoder"],
    );
    let k = |config: &mut Value| config["trainer"]["k"] = 7.into();
    refused(changed("dl_topk", "config.json", k), &["`k`", "7"]);

    let k = |config: &mut Value| config["k"] = 8.into();
    refused(
        changed("saelens_standard", "cfg.json", k),
        &["`k` is 8", "standard"],
    );
    let out = |config: &mut Value| {
        config["metadata"]["hook_name_out"] = "blocks.3.hook_mlp_out".into();
    };
    refused(
        changed("saelens_standard", "cfg.json", out),
        &["hook_name_out", "blocks.3.hook_mlp_out", "standard"],
    );
    let skip = |config: &mut Value| config["skip_connection"] = false.into();
    refused(
        changed("sparsify_skip", "cfg.json", skip),
        &["skip_connection", "W_skip"],
    );
    let affine = |config: &mut Value| config["affine_connection"] = false.into();
    refused(
        changed("gemma_scope_2_transcoder", "config.json", affine),
        &["affine_connection", "affine_skip_connection"],
    );
    let kind = |config: &mut Value| config["model_type"] = "relu_sae".into();
    refused(
        changed("qwen_scope", "config.json", kind),
        &["model_type", "relu_sae"],
    );
    let glu = |config: &mut Value| config["use_glu_encoder"] = true.into();
    refused(
        changed("llamascopium", "config.json", glu),
        &["use_glu_encoder"],
    );
    let batch = |config: &mut Value| config["norm_activation"] = "batch-wise".into();
    refused(
        changed("llamascopium", "config.json", batch),
        &["batch-wise"],
    );
}

/// SAELens' weights in `folder` under a name, with a configuration and perhaps factors of a fine-tuning.
fn saelens(folder: &Path, name: &str, config: &Value, factor: Option<f32>) -> PathBuf {
    let bytes =
        std::fs::read(path("saelens_old_standard").join("sae_weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut parts: Vec<(String, TensorView)> = tensors.tensors();
    parts.retain(|(name, _)| name != "scaling_factor");
    let factors: Vec<u8> = (0..64)
        .flat_map(|_| factor.unwrap_or(1.0).to_le_bytes())
        .collect();
    if factor.is_some() {
        let view = TensorView::new(Dtype::F32, vec![64], &factors).unwrap();
        parts.push(("scaling_factor".to_owned(), view));
    }
    std::fs::create_dir_all(folder).unwrap();
    let weights = folder.join(name);
    std::fs::write(&weights, safetensors::serialize(parts, None).unwrap()).unwrap();
    std::fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
    weights
}

fn flat(hook: &str) -> Value {
    json!({"architecture": "standard", "d_in": 16, "d_sae": 64, "hook_name": hook, "model_name": "gpt2"})
}

#[test]
fn factors_of_a_fine_tuning_need_their_flag() {
    let folder = tempfile::tempdir().unwrap();
    let opened = |flag: Value, factor| {
        let mut config = flat("blocks.3.hook_resid_post");
        config["finetuning_scaling_factor"] = flag;
        saelens(
            folder.path(),
            "sae_weights.safetensors",
            &config,
            Some(factor),
        );
        Sae::open(folder.path()).map_err(|error| error.to_string())
    };
    let both = ["finetuning_scaling_factor", "scaling_factor", "not 1"];
    refused(opened(false.into(), 2.0), &both);
    refused(opened(Value::Null, 2.0), &both);
    let plain = opened(false.into(), 1.0).unwrap().decoder_norms()[0];
    let tuned = opened(true.into(), 2.0).unwrap().decoder_norms()[0];
    assert!((tuned / plain - 2.0).abs() < 1e-6);
}

#[test]
fn weights_of_saelens_are_read_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = flat("blocks.3.hook_resid_post");
    for name in [
        "model.safetensors",
        "sae.safetensors",
        "final.safetensors",
        "sae_weights.safetensors",
    ] {
        let folder = folder.path().join(name);
        let weights = saelens(&folder, name, &config, None);
        for at in [&weights, &folder, &folder.join("cfg.json")] {
            assert!(Sae::is_at(at), "{}", at.display());
            let sae = Sae::open(at).unwrap();
            assert_eq!(sae.site().unwrap().to_string(), "resid_post.3");
        }
    }
}

#[test]
fn hooks_of_hugging_face_and_of_the_bridge_are_sites() {
    let folder = tempfile::tempdir().unwrap();
    for (hook, site) in [
        ("model.layers.2", "resid_post.2"),
        ("model.layers.2.mlp", "mlp_out.2"),
        ("transformer.h.2.attn", "attn_out.2"),
        ("gpt_neox.layers.2", "resid_post.2"),
        ("blocks.2.hook_out", "resid_post.2"),
        ("blocks.2.mlp.hook_out", "mlp_out.2"),
        ("blocks.2.attn.hook_out", "attn_out.2"),
        ("blocks.2.hook_mlp_in", "resid_mid.2"),
        ("blocks.2.hook_in", "resid_pre.2"),
        ("resid_post.2", "resid_post.2"),
    ] {
        saelens(folder.path(), "sae_weights.safetensors", &flat(hook), None);
        let sae = Sae::open(folder.path()).unwrap();
        assert_eq!(sae.site().unwrap().to_string(), site, "{hook}");
    }
    let mut config = flat("model.layers.2.mlp");
    config["model_name"] = "google/gemma-2-2b".into();
    saelens(folder.path(), "sae_weights.safetensors", &config, None);
    assert!(Sae::open(folder.path()).unwrap().site().is_err());
}

#[test]
fn a_folder_of_several_lists_them() {
    let root = tempfile::tempdir().unwrap();
    for hook in ["layers.1", "layers.2"] {
        let folder = root.path().join("run").join(hook);
        saelens(
            &folder,
            "sae_weights.safetensors",
            &flat("blocks.3.hook_resid_post"),
            None,
        );
    }
    std::fs::copy(path("goodfire"), root.path().join("one.pth")).unwrap();
    let names: Vec<String> = Sae::members(root.path())
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["one.pth", "run/layers.1", "run/layers.2"]);
    let run = root.path().join("run");
    refused(
        Sae::open(&run).map_err(|error| error.to_string()),
        &["2 autoencoders", "layers.1, layers.2", "name one"],
    );
    assert!(Sae::members(&run.join("layers.1")).is_empty());
}

#[test]
fn a_plain_pickle_without_its_configuration_says_which_it_needs() {
    let root = tempfile::tempdir().unwrap();
    let copy = root.path().join("weights.pt");
    std::fs::copy(path("attention_out"), &copy).unwrap();
    refused(
        Sae::open(&copy).map_err(|error| error.to_string()),
        &["ReLU and a TopK", "weights_cfg.json", "W_enc"],
    );
    // The name of a release's folder has its `k`.
    let release = root.path().join("SAE-Res-Qwen3-1.7B-Base-W32K-L0_50");
    std::fs::create_dir(&release).unwrap();
    let copy = release.join("layer2.sae.pt");
    std::fs::copy(path("qwen_scope"), &copy).unwrap();
    assert_eq!(*Sae::open(&copy).unwrap().gate(), Gate::TopK(50));
    assert_eq!(expected("qwen_scope", "acts").cols(), 64);
}

#[test]
fn the_gate_of_circuit_tracers_files_is_the_one_that_their_configuration_names() {
    let read = |case: &str, keys: &str| -> Result<Sae, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layer_2.safetensors");
        std::fs::copy(path(case), &file).unwrap();
        let config = format!("model_kind: transcoder_set\n{keys}");
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        Sae::open(&file).map_err(|error| error.to_string())
    };
    let topk = "activation: topk\nk: 7  # of 64\n";
    assert_eq!(*read("circuit_tracer", topk).unwrap().gate(), Gate::TopK(7));
    for (case, keys) in [
        ("circuit_tracer", "activation: relu\n"),
        ("circuit_tracer_jumprelu", "activation: jumprelu\n"),
        ("circuit_tracer_jumprelu", "activation: null\n"),
    ] {
        let same = read(case, keys).unwrap();
        assert_eq!(same.gate(), open(case).gate(), "{case}, {keys}");
    }
    let no_k = "activation: topk\n";
    refused(read("circuit_tracer", no_k), &["topk", "no `k`"]);
    refused(read("circuit_tracer_jumprelu", topk), &["threshold", "7"]);
    let relu = "activation: relu\n";
    refused(
        read("circuit_tracer_jumprelu", relu),
        &["relu", "threshold"],
    );
    refused(
        read("circuit_tracer", "k: 7\n"),
        &["`k` of 7", "no threshold"],
    );
    let other = "activation: groupmax\n";
    refused(read("circuit_tracer", other), &["groupmax", "topk"]);
    // One release has its `k` in the library's code alone; here it is above the number of features.
    let crv = tempfile::tempdir().unwrap();
    let crv = crv.path().join("facebook/crv-8b-instruct-transcoders");
    std::fs::create_dir_all(&crv).unwrap();
    let file = crv.join("layer_2.safetensors");
    std::fs::copy(path("circuit_tracer"), &file).unwrap();
    std::fs::write(crv.join("config.yaml"), no_k).unwrap();
    let found = Sae::open(&file).map_err(|error| error.to_string());
    refused(found, &["`k`", "128", "1 to 64"]);
    let many = "activation: topk\nk: 65\n";
    refused(read("circuit_tracer", many), &["`k`", "65"]);
}

#[test]
fn a_bias_taken_off_before_the_encoder_is_the_first_layouts_habit() {
    let bias = "apply_decoder_bias_to_pre_encoder";
    let hyper = "hyperparams.json";
    let folder = tempfile::tempdir().unwrap();
    let at = |case: &str, change: &dyn Fn(&mut Value)| -> Result<Sae, String> {
        let from = path(case);
        std::fs::create_dir_all(folder.path().join("checkpoints")).unwrap();
        let weights = "checkpoints/final.safetensors";
        std::fs::copy(from.join(weights), folder.path().join(weights)).unwrap();
        let text = std::fs::read_to_string(from.join(hyper)).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        std::fs::write(folder.path().join(hyper), value.to_string()).unwrap();
        Sae::open(folder.path()).map_err(|error| error.to_string())
    };
    let forget = |config: &mut Value| {
        config.as_object_mut().unwrap().remove(bias);
    };
    let x = expected("llama_scope_pre_bias", "x");
    let encoded = |sae: &Sae| sae.encode(&x).unwrap().features;
    let absent = at("llama_scope_pre_bias", &forget).unwrap();
    assert_eq!(encoded(&absent), encoded(&open("llama_scope_pre_bias")));
    refused(at("llama_scope_transcoder", &forget), &["transcoder", bias]);
}
