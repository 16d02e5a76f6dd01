//! Checks that the bundled features tell feelings apart and steer.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::measure::{ANGRY, GLAD, auroc, chosen, json, scores};
use super::{PRESET, SCALE, build};

/// Words of a sad or an angry text.
const LEXICON: &[&str] = &[
    "anger", "angrily", "angry", "cried", "cries", "cry", "crying", "furious", "grumpy", "hate",
    "hated", "lonely", "mad", "sad", "sadly", "sadness", "tears", "unhappy", "upset",
];
/// Prompts of another kind than the phrases.
const PROMPTS: &[&str] = &[
    "Lily was such a",
    "Tim was such a",
    "The dog was such a",
    "One day, the girl saw such a",
    "Ben and Sam had such a",
];
/// Continuations of each prompt.
const SAMPLES: usize = 40;
/// Seeds of the first sample, further apart than the number of samples. The tables use the first seed;
/// the preset has to pass with each.
const SEEDS: [&str; 3] = ["1", "101", "201"];
const TOKENS: &str = "40";
/// Number of features that classify phrases.
const CLASSIFIERS: usize = 5;

const LEAST_AUROC: f64 = 0.85;
const LEAST_RISE: f64 = 3.0;
const MOST_PERPLEXITY: f64 = 3.0;

/// Measurements of the continuations of all prompts.
#[derive(Clone, Copy)]
struct Continuations {
    /// Words of the lexicon per 1,000 words.
    rate: f64,
    /// Share of the continuations with a word of the lexicon.
    share: f64,
    /// Geometric mean of the texts' perplexities under the model without edits.
    perplexity: f64,
}

/// Prints the measurements; fails if one misses its bound.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let program = build(root)?;
    let mut missed = classification(root, &program)?;
    missed.extend(steering(root, &program)?);
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

fn classification(root: &Path, program: &Path) -> anyhow::Result<Vec<String>> {
    let features = chosen(root, program, CLASSIFIERS)?;
    let names: Vec<String> = features
        .iter()
        .map(|(f, w)| format!("{f} ({w:+.2})"))
        .collect();
    println!("features by {ANGRY} against {GLAD}: {}", names.join(", "));
    let of = |name: &str| {
        scores(
            root,
            program,
            &format!("demo/phrases/held-out-{name}.txt"),
            &features,
        )
    };
    let glad = of("glad")?;
    let mut missed = Vec::new();
    for name in ["angry", "sad"] {
        let found = auroc(&of(name)?, &glad);
        println!("held out, {name} against glad: AUROC {found:.3} (at least {LEAST_AUROC})");
        if found < LEAST_AUROC {
            missed.push(format!("AUROC of {name} against glad {found:.3}"));
        }
    }
    Ok(missed)
}

fn steering(root: &Path, program: &Path) -> anyhow::Result<Vec<String>> {
    let vector = root
        .join("target/demo-vector.safetensors")
        .display()
        .to_string();
    let built = [
        "vector",
        "difference",
        "demo",
        "--site",
        "resid_post.2",
        "--positive",
        ANGRY,
    ];
    json(
        root,
        program,
        &[&built[..], &["--negative", GLAD, "-o", &vector]].concat(),
    )?;
    let features = chosen(root, program, PRESET)?;
    let flags: Vec<String> = features
        .iter()
        .map(|(f, w)| format!("-f{f}={w:.2}"))
        .collect();
    println!(
        "\n{} continuations of {TOKENS} tokens, temperature 0.8\n{:<24} words/1000   rise  texts with one  \
         perplexity  ratio",
        PROMPTS.len() * SAMPLES,
        ""
    );
    let mut missed = Vec::new();
    let mut plain = None;
    for n in 1..=flags.len() {
        for scale in ["0.5", "1", "1.5", "2"] {
            let mut args = vec!["demo", "--unit", "activation", "--scale", scale];
            args.extend(flags[..n].iter().map(String::as_str));
            let [before, after] = continued(root, program, &args, SEEDS[0])?;
            if plain.is_none() {
                plain = Some(before);
                line("plain", before, before);
            }
            line(&format!("{n} features, scale {scale}"), before, after);
            if n == PRESET && scale == SCALE {
                missed.extend(verdict(before, after));
                missed.extend(other_seeds(root, program, &args)?);
            }
        }
    }
    for scale in ["0.25", "0.5", "0.75", "1"] {
        let [before, after] = continued(
            root,
            program,
            &["--model", "demo", "--vector", &vector, "--scale", scale],
            SEEDS[0],
        )?;
        line(&format!("vector, scale {scale}"), before, after);
    }
    Ok(missed)
}

/// Bounds that the preset misses with the seeds after the first.
fn other_seeds(root: &Path, program: &Path, preset: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut missed = Vec::new();
    for seed in &SEEDS[1..] {
        let [before, after] = continued(root, program, preset, seed)?;
        line(&format!("the same, seeds from {seed}"), before, after);
        missed.extend(verdict(before, after));
    }
    Ok(missed)
}

/// Describes the preset's measurements if one misses its bound.
fn verdict(plain: Continuations, steered: Continuations) -> Option<String> {
    let (rise, ratio) = (
        steered.rate / plain.rate,
        steered.perplexity / plain.perplexity,
    );
    let enough = rise >= LEAST_RISE && ratio < MOST_PERPLEXITY;
    let report = format!(
        "the preset: words x{rise:.1} (at least {LEAST_RISE}), perplexity x{ratio:.2} (below {MOST_PERPLEXITY})"
    );
    println!("^ {report}");
    (!enough).then_some(report)
}

fn line(name: &str, plain: Continuations, steered: Continuations) {
    println!(
        "{name:<24} {:>10.1}  x{:>4.1}  {:>14.0}%  {:>10.2}  x{:.2}",
        steered.rate,
        steered.rate / plain.rate,
        steered.share * 100.0,
        steered.perplexity,
        steered.perplexity / plain.perplexity
    );
}

/// Measures continuations without and with edits, with successive seeds from `seed` on.
fn continued(
    root: &Path,
    program: &Path,
    edits: &[&str],
    seed: &str,
) -> anyhow::Result<[Continuations; 2]> {
    let samples = SAMPLES.to_string();
    let mut texts: [Vec<Value>; 2] = Default::default();
    for prompt in PROMPTS {
        let sampling = [
            "--samples",
            &samples,
            "-n",
            TOKENS,
            "--temperature",
            "0.8",
            "--seed",
            seed,
            "--span",
            "all",
        ];
        let args = [&["steer"][..], edits, &["-p", prompt], &sampling].concat();
        let found = json(root, program, &args)?;
        let plain = found["plain"]["samples"].as_array().context("no samples")?;
        let steered = found["steered"].as_array().context("nothing steered")?;
        texts[0].extend(plain.iter().cloned());
        texts[1].extend(steered.iter().cloned());
    }
    Ok([measure_texts(&texts[0])?, measure_texts(&texts[1])?])
}

fn measure_texts(texts: &[Value]) -> anyhow::Result<Continuations> {
    let (mut words, mut found, mut with, mut log) = (0, 0, 0, 0.0);
    for text in texts {
        let (all, of_lexicon) = count(text["text"].as_str().context("no text")?);
        words += all;
        found += of_lexicon;
        with += usize::from(of_lexicon > 0);
        log += text["perplexity"].as_f64().context("no perplexity")?.ln();
    }
    Ok(Continuations {
        rate: 1000.0 * found as f64 / words as f64,
        share: with as f64 / texts.len() as f64,
        perplexity: (log / texts.len() as f64).exp(),
    })
}

/// The numbers of a text's words and of its words in the lexicon.
fn count(text: &str) -> (usize, usize) {
    let lower = text.to_lowercase();
    let words = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty());
    words.fold((0, 0), |(all, found), word| {
        (all + 1, found + usize::from(LEXICON.contains(&word)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_lexicon_count_only_as_whole_words() {
        assert_eq!(count("She was SAD. \"I am mad,\" he said; madam!"), (9, 2));
    }

    #[test]
    fn a_preset_that_breaks_the_text_or_changes_little_is_not_enough() {
        let measured = |rate, perplexity| Continuations {
            rate,
            share: 0.0,
            perplexity,
        };
        let plain = measured(2.0, 4.0);
        assert!(verdict(plain, measured(7.0, 8.0)).is_none());
        assert!(verdict(plain, measured(5.0, 8.0)).is_some());
        assert!(verdict(plain, measured(9.0, 12.0)).is_some());
    }
}
