//! The files of a repository that an autoencoder needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names of weights, the most preferred first, and whether these weights need a configuration.
const WEIGHTS: [(&str, bool); 6] = [
    ("sae_weights.safetensors", true),
    ("sae.safetensors", true),
    ("ae.pt", true),
    ("params.npz", false),
    ("params.safetensors", true),
    ("checkpoints/final.safetensors", true),
];
/// Small files beside the weights, taken where there are any; the first four are configurations.
const CONFIGURATION: [&str; 5] = [
    "cfg.json",
    "config.json",
    "hyperparams.json",
    "config.yaml",
    "activation_scaler.json",
];

/// Chooses from the `names` of a repository's files those of the autoencoder at `inner`, a folder or
/// its weights, or of the one in the repository's own folder. The last one holds the weights.
pub(super) fn needed(names: &BTreeSet<String>, inner: Option<&str>) -> Result<Vec<String>, String> {
    let inner = inner.unwrap_or_default();
    let weights = if names.contains(inner) {
        Some(inner.to_owned())
    } else {
        let known = WEIGHTS.iter().map(|(name, _)| within(inner, name));
        known.into_iter().find(|name| names.contains(name))
    };
    let Some(weights) = weights else {
        return Err(missing(names, inner));
    };
    let folder = parent(&weights);
    let mut files: Vec<String> = CONFIGURATION
        .iter()
        .map(|name| within(folder, name))
        .collect();
    files.push(own_configuration(&weights));
    // sparsify, dictionary_learning and Llama Scope keep the configuration of a run one folder above.
    if !folder.is_empty() {
        files.push(within(parent(folder), "config.json"));
        files.push(within(parent(folder), "hyperparams.json"));
    }
    files.retain(|name| names.contains(name) && *name != weights);
    files.push(weights);
    Ok(files)
}

/// Path of the autoencoder at `inner` in a `snapshot` of the cache, if no file of it is missing.
pub(super) fn complete(snapshot: &Path, inner: Option<&str>) -> Option<PathBuf> {
    let place = inner.map_or_else(|| snapshot.to_path_buf(), |inner| snapshot.join(inner));
    let configured = |folder: &Path| {
        CONFIGURATION[..4]
            .iter()
            .any(|name| folder.join(name).is_file())
    };
    if place.is_file() {
        let name = place.file_name()?.to_str()?;
        let known = WEIGHTS.iter().find(|(weights, _)| *weights == name);
        let own = place.with_file_name(own_configuration(name)).is_file();
        // Goodfire's files have no configuration.
        let alone = known.map_or(name.ends_with(".pth"), |(_, configured)| !configured);
        let folder = place.parent()?;
        let above = folder.join("../hyperparams.json").is_file();
        let alone = alone || own || above || configured(folder);
        return alone.then_some(place);
    }
    let mut known = WEIGHTS.iter();
    let (_, needs) = known.find(|(name, _)| place.join(name).is_file())?;
    (!needs || configured(&place)).then_some(place)
}

/// Reason for refusing `inner`, which names the folders of the repository that hold autoencoders.
fn missing(names: &BTreeSet<String>, inner: &str) -> String {
    const SHOWN: usize = 12;
    let near = |name: &&String| inner.is_empty() || name.starts_with(&format!("{inner}/"));
    let all: Vec<&str> = names
        .iter()
        .filter_map(|name| member(name, names))
        .collect();
    let within: Vec<&str> = names
        .iter()
        .filter(near)
        .filter_map(|name| member(name, names))
        .collect();
    let shown = if within.is_empty() { &all } else { &within };
    if shown.is_empty() {
        let known: Vec<&str> = WEIGHTS.iter().map(|(name, _)| *name).collect();
        return format!(
            "the repository has no autoencoder: none of {}",
            known.join(", ")
        );
    }
    let more = match shown.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let place = if inner.is_empty() {
        "its own folder"
    } else {
        inner
    };
    format!(
        "{place} holds no autoencoder; name one that does, as in org/name/{}; there are {}{more}",
        shown[0],
        shown[..shown.len().min(SHOWN)].join(", ")
    )
}

/// The name of the autoencoder whose weights are the file `name`: its folder, or the file itself where a
/// folder holds the files of many.
fn member<'a>(name: &'a str, names: &BTreeSet<String>) -> Option<&'a str> {
    let known = WEIGHTS.iter().find_map(|(weights, _)| {
        let folder = name.strip_suffix(weights)?;
        folder.strip_suffix('/').or(folder.is_empty().then_some(""))
    });
    if known.is_some() {
        return known;
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    let layer = file.starts_with("layer_") && file.ends_with(".safetensors");
    let pickle = file.ends_with(".pt") && names.contains(&own_configuration(name));
    (layer || pickle || file.ends_with(".sae.pt") || file.ends_with(".pth")).then_some(name)
}

/// The configuration that belongs to one file of weights alone: `a_cfg.json` to `a.pt`.
fn own_configuration(weights: &str) -> String {
    let stem = weights.rsplit_once('.').map_or(weights, |(stem, _)| stem);
    format!("{stem}_cfg.json")
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn within(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str], inner: Option<&str>) -> Result<Vec<String>, String> {
        needed(&names.iter().map(|&name| name.to_owned()).collect(), inner)
    }

    #[test]
    fn only_needed_files_of_the_named_folder_are_chosen() {
        let names = [
            "README.md",
            "config.json",
            "layer_8/cfg.json",
            "layer_8/examples.safetensors",
            "layer_8/sae_weights.safetensors",
            "layer_8/sparsity.safetensors",
            "layer_9/cfg.json",
            "layer_9/sae_weights.safetensors",
        ];
        let chosen = [
            "layer_8/cfg.json",
            "config.json",
            "layer_8/sae_weights.safetensors",
        ];
        for inner in ["layer_8", "layer_8/sae_weights.safetensors"] {
            assert_eq!(choose(&names, Some(inner)).unwrap(), chosen);
        }
        for inner in [None, Some("layer_7")] {
            let refused = choose(&names, inner).unwrap_err();
            assert!(
                refused.ends_with("as in org/name/layer_8; there are layer_8, layer_9"),
                "{refused}"
            );
        }
    }

    #[test]
    fn folders_within_the_named_one_are_proposed() {
        let names = [
            "a/16k/l0_9/params.npz",
            "a/16k/l0_70/params.npz",
            "b/params.npz",
        ];
        let refused = choose(&names, Some("a")).unwrap_err();
        assert!(
            refused.contains("a/16k/l0_70, a/16k/l0_9") && !refused.contains("b"),
            "{refused}"
        );
        assert!(
            choose(&["model.safetensors"], None)
                .unwrap_err()
                .contains("no autoencoder")
        );
    }

    #[test]
    fn files_of_many_layers_bring_the_configuration_that_they_share() {
        let names = ["config.json", "layer0.sae.pt", "layer1.sae.pt"];
        let refused = choose(&names, None).unwrap_err();
        assert!(
            refused.ends_with("there are layer0.sae.pt, layer1.sae.pt"),
            "{refused}"
        );
        let chosen = choose(&names, Some("layer1.sae.pt")).unwrap();
        assert_eq!(chosen, ["config.json", "layer1.sae.pt"]);
        let names = ["config.yaml", "layer_0.safetensors", "layer_1.safetensors"];
        let chosen = choose(&names, Some("layer_1.safetensors")).unwrap();
        assert_eq!(chosen, ["config.yaml", "layer_1.safetensors"]);
        let names = ["a.pt", "a_cfg.json", "b.pt", "b_cfg.json"];
        assert!(
            choose(&names, None)
                .unwrap_err()
                .ends_with("there are a.pt, b.pt")
        );
        assert_eq!(
            choose(&names, Some("b.pt")).unwrap(),
            ["b_cfg.json", "b.pt"]
        );
        let names = ["L8R/hyperparams.json", "L8R/checkpoints/final.safetensors"];
        assert!(choose(&names, None).unwrap_err().ends_with("there are L8R"));
        assert_eq!(choose(&names, Some("L8R")).unwrap(), names);
    }

    #[test]
    fn weights_without_their_configuration_are_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        assert_eq!(complete(folder.path(), None), None);
        touch("sae_weights.safetensors");
        assert_eq!(complete(folder.path(), None), None);
        assert_eq!(
            complete(folder.path(), Some("sae_weights.safetensors")),
            None
        );
        touch("cfg.json");
        assert_eq!(complete(folder.path(), None).unwrap(), folder.path());
        assert!(
            complete(folder.path(), Some("sae_weights.safetensors"))
                .unwrap()
                .is_file()
        );
    }
}
