//! Measurements of the bundled model, taken from the JSON that the command prints.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// Phrases on which features are chosen. The held-out phrases have other subjects.
pub(super) const GLAD: &str = "demo/phrases/glad.txt";
pub(super) const ANGRY: &str = "demo/phrases/angry-sad.txt";

/// The `n` features whose means differ most between the two sets of phrases, each with the difference.
pub(super) fn chosen(root: &Path, program: &Path, n: usize) -> anyhow::Result<Vec<(u64, f64)>> {
    let top = n.to_string();
    let choice = ["--pooling", "last", "--by", "difference", "--top", &top];
    let args = [
        &["contrast", "demo", "--positive", ANGRY, "--negative", GLAD][..],
        &choice,
    ]
    .concat();
    let found = json(root, program, &args)?;
    let features = found["features"].as_array().context("no features")?;
    let one = |f: &Value| Some((f["feature"].as_u64()?, f["difference"].as_f64()?));
    features
        .iter()
        .map(one)
        .collect::<Option<_>>()
        .context("a feature without a difference")
}

/// The score of each phrase in a file: the sum of the chosen features' activations at its last token, each
/// with the sign of its difference.
pub(super) fn scores(
    root: &Path,
    program: &Path,
    file: &str,
    chosen: &[(u64, f64)],
) -> anyhow::Result<Vec<f64>> {
    let args = [
        "features",
        "demo",
        "--prompts",
        file,
        "--position",
        "last",
        "--top",
        "1024",
    ];
    let found = json(root, program, &args)?;
    let mut scores = Vec::new();
    for row in found.as_array().context("no rows")? {
        let active = row["features"].as_array().context("no features")?;
        let activation = |feature: u64| {
            let entry = active.iter().find(|f| f["feature"] == feature);
            entry.and_then(|f| f["activation"].as_f64()).unwrap_or(0.0)
        };
        let parts = chosen
            .iter()
            .map(|&(f, weight)| weight.signum() * activation(f));
        scores.push(parts.sum());
    }
    Ok(scores)
}

/// The probability that a value of `positive` is larger than one of `negative`; ties count half.
pub(super) fn auroc(positive: &[f64], negative: &[f64]) -> f64 {
    let win = |p: &f64, n: &f64| match p.total_cmp(n) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let all = positive
        .iter()
        .flat_map(|p| negative.iter().map(move |n| win(p, n)));
    all.sum::<f64>() / (positive.len() * negative.len()) as f64
}

/// The output of the command with `--json`.
pub(super) fn json(root: &Path, program: &Path, args: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program)
        .args(args)
        .arg("--json")
        .current_dir(root)
        .output();
    let output = output.context("cannot start saescope")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`saescope {}` failed: {error}", args.join(" "));
    }
    serde_json::from_slice(&output.stdout).with_context(|| args.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs_and_halves_of_ties() {
        assert_eq!(auroc(&[2.0, 1.0], &[1.0, 0.0]), 3.5 / 4.0);
        assert_eq!(auroc(&[0.0], &[0.0]), 0.5);
    }
}
