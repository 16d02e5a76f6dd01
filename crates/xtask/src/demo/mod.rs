//! Makes the files of `assets/demo`, and checks that they are good enough.
//!
//! Both call the command as a user would: `saescope train` makes the autoencoder, `contrast` finds the
//! features that tell the phrases apart, `steer --save` writes the presets.

mod check;
mod measure;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

pub(crate) use check::check;

/// File of the stories, outside the repository: no test needs them.
const CORPUS: &str = "../shared/data/text/stories-en.jsonl";
/// Number of bundled stories.
const STORIES: usize = 300;
/// Number of features in a preset.
const PRESET: usize = 4;
/// Scale of the presets.
const SCALE: &str = "1.5";

/// Writes everything in `assets/demo` except the phrases and the texts about licences, which are written
/// by hand.
pub(crate) fn make(root: &Path, corpus: Option<&str>) -> anyhow::Result<()> {
    let assets = root.join("assets/demo");
    let corpus = root.join(corpus.unwrap_or(CORPUS));
    let model = root.join("tests/data/stories260K");
    std::fs::create_dir_all(assets.join("model"))?;
    for file in ["stories260K.bin", "tok512.bin"] {
        let from = model.join(file);
        std::fs::copy(&from, assets.join("model").join(file))
            .with_context(|| from.display().to_string())?;
    }
    std::fs::write(assets.join("stories.txt"), stories(&corpus)?)?;
    train(root, &corpus)?;
    // Built after the training, so that the program bundles the new autoencoder.
    let program = build(root)?;
    presets(root, &program)
}

/// The first stories, one a line. Empty lines separate them, so that each is a paragraph.
fn stories(corpus: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(corpus).with_context(|| {
        format!(
            "{}: the file of the stories; name another with --corpus",
            corpus.display()
        )
    })?;
    let mut stories = Vec::new();
    for line in text.lines().take(STORIES) {
        let record: Value = serde_json::from_str(line).context("the corpus is not JSON Lines")?;
        let story = record["text"].as_str().context("a record without `text`")?;
        stories.push(story.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    ensure!(stories.len() == STORIES, "the corpus has too few stories");
    Ok(stories.join("\n\n") + "\n")
}

/// Trains the autoencoder. `--threads` is omitted, since no result depends on it.
fn train(root: &Path, corpus: &Path) -> anyhow::Result<()> {
    let program = build(root)?;
    let run = root.join("target/demo");
    let (corpus, folder) = (corpus.display().to_string(), run.display().to_string());
    let settings = "--site resid_post.2 --skip-first --context 256 --recipe topk --d-sae 1024 --k 8 \
                    --batch 1024 --steps 2000 --checkpoint-every 0 --eval-tokens 16384 --seed 0 --force";
    let mut args = vec!["train", "demo", "--corpus", &corpus, "-o", &folder];
    args.extend(settings.split_whitespace());
    run_program(root, &program, &args)?;
    for file in ["cfg.json", "sae_weights.safetensors"] {
        let from = run.join("sae").join(file);
        std::fs::copy(&from, root.join("assets/demo/sae").join(file))
            .with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// Saves the features that tell the phrases apart as two lists of edits, one with the opposite sign.
fn presets(root: &Path, program: &Path) -> anyhow::Result<()> {
    let chosen = measure::chosen(root, program, PRESET)?;
    for (name, sign) in [("angry", 1.0), ("glad", -1.0)] {
        let flags: Vec<String> = chosen
            .iter()
            .map(|(feature, weight)| format!("-f{feature}={:.2}", weight * sign))
            .collect();
        let file = format!("assets/demo/presets/{name}.json");
        let mut args = vec!["steer", "demo", "-p", "Lily was such a", "-n", "1"];
        args.extend(["--unit", "activation", "--scale", SCALE, "--span", "all"]);
        args.extend(["--save", &file]);
        args.extend(flags.iter().map(String::as_str));
        run_program(root, program, &args)?;
    }
    Ok(())
}

/// Builds the command in the release profile; returns its path.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "saescope-cli"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the command does not build");
    Ok(root.join("target/release/saescope"))
}

fn run_program(root: &Path, program: &Path, args: &[&str]) -> anyhow::Result<()> {
    println!("$ saescope {}", args.join(" "));
    let status = Command::new(program).args(args).current_dir(root).status();
    if !status.context("cannot start saescope")?.success() {
        bail!("`saescope {}` failed", args.join(" "));
    }
    Ok(())
}
