//! Folders that hold something else than a checkpoint: adapters, parts, other programs' formats.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Most entries of a folder that are looked at.
const MOST: usize = 4096;
/// Most names in a message.
const SHOWN: usize = 6;

/// Names and ends of names of other programs' weights, what they are, and the next step.
const FOREIGN: [(&str, &str); 15] = [
    (".onnx", "ONNX"),
    (".onnx_data", "ONNX"),
    ("tf_model.h5", "TensorFlow"),
    (".ckpt.index", "TensorFlow"),
    ("saved_model.pb", "TensorFlow"),
    ("flax_model.msgpack", "Flax"),
    (".orbax-checkpoint", "Orbax"),
    ("rust_model.ot", "rust-bert"),
    ("openvino_model.xml", "OpenVINO"),
    (".mlmodel", "Core ML"),
    (".mlpackage", "Core ML"),
    (".tflite", "TensorFlow Lite"),
    (".engine", "TensorRT"),
    (".nemo", "NeMo"),
    (".distcp", "torch.distributed.checkpoint"),
];

/// The reason why a folder without a checkpoint is none, by what lies in it; none if nothing is recognised.
pub(crate) fn reason(folder: &Path) -> Option<String> {
    let names = names(folder);
    adapter(folder)
        .or_else(|| shards_without_index(&names))
        .or_else(|| pieces(&names))
        .or_else(|| unfinished(&names))
        .or_else(|| metas_own(&names))
        .or_else(|| deepspeed(&names))
        .or_else(|| foreign(folder, &names))
        .or_else(|| other_names(&names))
        .or_else(|| within(folder))
}

/// The names of a folder's entries, sorted.
fn names(folder: &Path) -> Vec<String> {
    let Ok(listing) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = listing
        .take(MOST)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The first names of a list, and the number of those left out.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The reason for the folder of an adapter, which changes a model that lies elsewhere.
pub(crate) fn adapter(folder: &Path) -> Option<String> {
    let adapter = adapter_name(folder)?;
    let merge = if adapter.starts_with("an adapter (LORA") || adapter.starts_with("an adapter (of")
    {
        "merge it into that model first (`merge_and_unload` of peft), save the result and name that"
    } else {
        "saescope reads whole models; save one that holds the adapter's change, if its method allows"
    };
    Some(format!("the folder holds {adapter}, not a model; {merge}"))
}

/// An adapter by its kind and its model: "an adapter (LORA of `gpt2`)"; none in a folder without one.
pub(crate) fn adapter_name(folder: &Path) -> Option<String> {
    let bytes = std::fs::read(folder.join("adapter_config.json")).ok()?;
    let config: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let kind = text("peft_type").map_or(String::new(), |kind| format!("{kind} "));
    let base = match text("base_model_name_or_path").filter(|base| !base.is_empty()) {
        Some(base) => format!("of `{base}`"),
        None => "of a model that its adapter_config.json does not name".to_owned(),
    };
    Some(format!("an adapter ({kind}{base})"))
}

/// One name of a numbered series: `model-00002-of-00005.gguf`.
struct Part<'a> {
    stem: &'a str,
    number: usize,
    count: usize,
}

/// Splits a name into what stands before `-NUMBER-of-COUNT`, and both numbers.
fn part<'a>(name: &'a str, end: &str) -> Option<Part<'a>> {
    let (rest, count) = name.strip_suffix(end)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.len() >= 2;
    if !digits(number) || !digits(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then_some(Part {
        stem,
        number,
        count,
    })
}

/// Names of the parts of each series that end with `end`, by stem and count.
fn series<'a>(names: &'a [String], end: &str) -> BTreeMap<(&'a str, usize), Vec<(usize, &'a str)>> {
    let mut series: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for name in names {
        if let Some(part) = part(name, end) {
            let found = series.entry((part.stem, part.count)).or_default();
            found.push((part.number, name.as_str()));
        }
    }
    series
}

/// The numbers of a series that are not there, in words; empty if all are.
fn missing(found: &[(usize, &str)], count: usize) -> String {
    const MOST_NUMBERS: usize = 10_000;
    let lost: Vec<String> = (1..=count.min(MOST_NUMBERS))
        .filter(|number| found.iter().all(|(there, _)| there != number))
        .map(|number| number.to_string())
        .collect();
    if lost.is_empty() {
        return String::new();
    }
    format!("; of {count} parts these are missing: {}", listed(&lost))
}

/// The reason for GGUF files of which `files`, in one folder, are the parts of a split model.
pub(crate) fn gguf_parts(files: &[PathBuf]) -> Option<String> {
    let names: Vec<String> = files
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    let series = series(&names, ".gguf");
    let ((stem, count), found) = series.iter().next()?;
    let parts: Vec<&str> = found.iter().map(|(_, name)| *name).collect();
    let whole: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| part(name, ".gguf").is_none())
        .collect();
    let others = match (series.len(), whole.as_slice()) {
        (_, [_, ..]) => format!("; or name a whole file: {}", listed(&whole)),
        (1, _) => String::new(),
        (more, _) => format!("; {} other models lie here in parts too", more - 1),
    };
    let lost = missing(found, *count);
    let first = parts.first().copied().unwrap_or_default();
    let step = if lost.is_empty() {
        format!("merge them with `llama-gguf-split --merge {first} {stem}.gguf` and name that file")
    } else {
        "download those, then merge all with `llama-gguf-split --merge`".to_owned()
    };
    Some(format!(
        "the folder holds {} parts of a split GGUF, {}{lost}; {step}{others}",
        parts.len(),
        listed(&parts)
    ))
}

/// The reason for shards whose index is not there.
fn shards_without_index(names: &[String]) -> Option<String> {
    for (end, index) in [
        (".safetensors", "model.safetensors.index.json"),
        (".bin", "pytorch_model.bin.index.json"),
    ] {
        let series = series(names, end);
        let Some(((_, count), found)) = series.iter().next() else {
            continue;
        };
        let parts: Vec<&str> = found.iter().map(|(_, name)| *name).collect();
        return Some(format!(
            "the folder holds shards of a checkpoint, {}, without their index{}; download {index} \
             and every shard",
            listed(&parts),
            missing(found, *count)
        ));
    }
    None
}

/// The reason for files cut into pieces that belong together byte by byte.
fn pieces(names: &[String]) -> Option<String> {
    let is_piece = |name: &&String| {
        let marks = [
            ".gguf-split-",
            ".gguf.part",
            ".safetensors.part",
            ".bin.part",
        ];
        marks.iter().any(|mark| name.contains(mark))
    };
    let pieces: Vec<&String> = names.iter().filter(is_piece).collect();
    let first = pieces.first()?;
    let end = [".gguf", ".safetensors", ".bin"]
        .iter()
        .find_map(|end| Some(first.find(end)? + end.len()))?;
    let whole = &first[..end];
    Some(format!(
        "the folder holds a file in pieces, {}; join them in this order, as in \
         `cat PIECES > {whole}`",
        listed(&pieces)
    ))
}

fn unfinished(names: &[String]) -> Option<String> {
    let unfinished: Vec<&String> = names
        .iter()
        .filter(|name| super::unfinished_name(name).is_some())
        .collect();
    let listed = (!unfinished.is_empty()).then(|| listed(&unfinished))?;
    Some(format!(
        "the folder holds a download that has not finished, {listed}; let it finish, or download again"
    ))
}

fn metas_own(names: &[String]) -> Option<String> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let weights = names
        .iter()
        .find(|name| name.starts_with("consolidated."))?;
    let params = if has("params.json") {
        " and params.json"
    } else {
        ""
    };
    Some(format!(
        "the folder holds {weights}{params}, the layout of the model's makers; take the version for \
         Hugging Face, with config.json and model.safetensors"
    ))
}

fn deepspeed(names: &[String]) -> Option<String> {
    let is_script = |name: &String| name == "zero_to_fp32.py";
    names.iter().find(|name| is_script(name))?;
    Some(
        "the folder holds a checkpoint of DeepSpeed in one part per process; run its zero_to_fp32.py \
         and name the result"
            .to_owned(),
    )
}

fn foreign(folder: &Path, names: &[String]) -> Option<String> {
    let onnx = folder.join("onnx");
    let inner = if onnx.is_dir() {
        self::names(&onnx)
    } else {
        Vec::new()
    };
    let all = names.iter().chain(&inner);
    let mut found: Vec<(&str, &str)> = Vec::new();
    for name in all {
        let known = FOREIGN.iter().find(|(end, _)| name.ends_with(end));
        if let Some((_, program)) = known
            && !found.iter().any(|(_, other)| other == program)
        {
            found.push((name, program));
        }
    }
    if found.is_empty() {
        return None;
    }
    let found: Vec<String> = found
        .iter()
        .map(|(name, program)| format!("{name} ({program})"))
        .collect();
    Some(format!(
        "the folder holds weights of other programs alone: {}; download the model's safetensors, or \
         convert it: saescope reads safetensors, pytorch_model.bin, GGUF and llama2.c's",
        found.join(", ")
    ))
}

/// The reason for weights under names that a folder is not searched for.
fn other_names(names: &[String]) -> Option<String> {
    let is_weights = |name: &&String| {
        let ends = [".safetensors", ".pt", ".pth", ".ckpt", ".npz"];
        ends.iter().any(|end| name.ends_with(end))
    };
    let found: Vec<&String> = names.iter().filter(is_weights).collect();
    let first = found.first()?;
    Some(format!(
        "the folder holds no checkpoint under a known name but {}; name the file, as in FOLDER/{first}",
        listed(&found)
    ))
}

/// The reason for a folder whose folders hold models, such as the Hub's cache or a run's checkpoints.
fn within(folder: &Path) -> Option<String> {
    let mut found = Vec::new();
    let mut seen = 0;
    collect(folder, folder, 0, &mut seen, &mut found);
    let first = found.first()?;
    let (what, them) = match found.len() {
        1 => ("a model".to_owned(), "it"),
        many => (format!("{many} models"), "one"),
    };
    Some(format!(
        "the folder holds {what} within: {}; name {them}, as in FOLDER/{first}",
        listed(&found)
    ))
}

fn collect(root: &Path, folder: &Path, depth: usize, seen: &mut usize, found: &mut Vec<String>) {
    const DEPTH: usize = 3;
    for name in names(folder) {
        *seen += 1;
        let path = folder.join(&name);
        if *seen > MOST || !path.is_dir() || name.starts_with('.') {
            continue;
        }
        let holds = |name: &str| path.join(name).is_file();
        let weights = [
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ];
        if holds("config.json") && weights.iter().any(|name| holds(name)) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push(relative.display().to_string());
        } else if depth < DEPTH {
            collect(root, &path, depth + 1, seen, found);
        }
    }
}
