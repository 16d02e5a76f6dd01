//! Texts with and without edits, and the measurements that compare them.

use std::path::{Path, PathBuf};

use saescope::Precision;
use saescope::edit::{Edit, FeatureOp, Op, Span};
use saescope::generate::Sampling;
use saescope::hook::{Capture, Hook};
use saescope::model::{Model, UNEMBED_ROWS};
use saescope::sae::{NamedSae, Sae};
use saescope::steer::{
    Amount, Comparison, Request, Steer, divergence, feature_edit, losses, perplexity, steer,
};
use saescope::tokenizer::{Bos, Tokenizer};

const SEEDS: [u64; 2] = [4, 5];

fn data(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("tests/data").join(name)
}

struct Stories {
    model: Model,
    tokenizer: Tokenizer,
    named: NamedSae,
    prompt: Vec<u32>,
}

fn stories() -> Stories {
    let folder = data("stories260K");
    let tokenizer = Tokenizer::of_model(&folder).unwrap();
    Stories {
        model: Model::open(&folder, Precision::F32).unwrap(),
        named: NamedSae {
            reference: "sae".to_owned(),
            sae: Sae::open(&data("sae")).unwrap(),
        },
        prompt: tokenizer.encode("Once upon a", Bos::Auto).unwrap(),
        tokenizer,
    }
}

impl Stories {
    fn steer(&self, settings: &[Vec<Edit>], max_tokens: usize) -> Comparison {
        let settings: Vec<&[Edit]> = settings.iter().map(Vec::as_slice).collect();
        let sampling = Sampling {
            temperature: 1.0,
            max_tokens,
            ..Sampling::default()
        };
        let request = Request {
            prompt: &self.prompt,
            settings: &settings,
            saes: &[&self.named],
            sampling: &sampling,
            seeds: &SEEDS,
        };
        steer(&self.model, &self.tokenizer, &request).unwrap()
    }
}

#[test]
fn an_empty_list_of_edits_writes_the_plain_text() {
    let stories = stories();
    let found = stories.steer(&[Vec::new()], 10);
    for ((plain, steered), seed) in found.plain.iter().zip(&found.steered[0]).zip(SEEDS) {
        assert_eq!(plain.completion, steered.text.completion);
        assert_eq!(
            (plain.seed, plain.perplexity),
            (seed, steered.text.perplexity)
        );
        assert!(steered.unchanged);
        assert_eq!((steered.mean().kl, steered.mean().reverse_kl), (0.0, 0.0));
    }
    assert_ne!(found.plain[0].completion, found.plain[1].completion);
}

#[test]
fn the_perplexity_is_of_each_token_given_those_before_it() {
    let stories = stories();
    let plain = &stories.steer(&[], 8).plain[0];
    let mut read = stories.prompt.clone();
    let mut loss = 0.0;
    for &token in &plain.completion.tokens {
        let logits = stories.model.last_logits(&[&read], &mut ()).unwrap();
        let exp = |x: &f32| f64::from(*x).exp();
        let sum: f64 = logits.row(0).iter().map(exp).sum();
        loss -= (exp(&logits.row(0)[token as usize]) / sum).ln();
        read.push(token);
    }
    let expected = (loss / 8.0).exp();
    let found = plain.perplexity.unwrap();
    assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
}

/// Logits are formed for a block of rows at a time, and a long text has several blocks.
#[test]
fn measurements_by_block_equal_those_of_all_logits_at_once() {
    let stories = stories();
    let edits = vec![feature_edit(&stories.named.sae, 61, Amount::Raw(2.0)).unwrap()];
    let found = stories.steer(std::slice::from_ref(&edits), 2 * UNEMBED_ROWS + 9);
    let whole = |tokens: &[u32], hook: &mut dyn Hook| {
        let read = [&stories.prompt[..], &tokens[..tokens.len() - 1]].concat();
        let logits = stories.model.logits(&[&read], hook).unwrap();
        let rows: Vec<usize> = (stories.prompt.len() - 1..logits.rows()).collect();
        logits.select_rows(&rows)
    };
    for steered in &found.steered[0] {
        let tokens = &steered.text.completion.tokens;
        assert!(tokens.len() > UNEMBED_ROWS, "{}", tokens.len());
        let mut steer = Steer::new(&edits, &[]).unwrap();
        let (plain, changed) = (whole(tokens, &mut ()), whole(tokens, &mut steer));
        assert_eq!(steered.divergences, divergence(&plain, &changed));
        let expected = perplexity(&losses(&plain, tokens));
        assert_eq!(steered.text.perplexity, expected);
    }
    for plain in &found.plain {
        let tokens = &plain.completion.tokens;
        let expected = perplexity(&losses(&whole(tokens, &mut ()), tokens));
        assert_eq!(plain.perplexity, expected);
    }
}

#[test]
fn the_shift_and_the_added_multiple_are_those_of_the_edit() {
    let stories = stories();
    let edit = feature_edit(&stories.named.sae, 61, Amount::Norm(0.25)).unwrap();
    let late = Edit {
        span: Span::From(stories.prompt.len()),
        ..feature_edit(&stories.named.sae, 61, Amount::Raw(3.0)).unwrap()
    };
    let set = |activation| {
        let sae = "sae".to_owned();
        let op = Op::Feature {
            sae,
            feature: 42,
            op: FeatureOp::Set(activation),
        };
        vec![Edit::new(edit.site, op)]
    };
    let settings = [vec![edit.clone()], vec![late], set(2.5)];
    let found = stories.steer(&settings, 10);
    for steered in found.steered.iter().flatten() {
        assert!(!steered.unchanged);
        assert_eq!(steered.divergences.len(), 10);
        assert!(steered.mean().kl > 0.0 && steered.mean().reverse_kl > 0.0);
        assert_eq!(steered.shifts.len(), 1);
    }
    let [norm, raw, set] = [0, 1, 2].map(|setting| &found.steered[setting][0]);
    let shift = norm.shifts[0];
    assert!((shift.share - 0.25).abs() < 1e-5, "{shift:?}");
    // Directions of this autoencoder have norm 1, so that a quarter of the norm was added.
    assert!((norm.raw[0] / (0.25 * shift.norm) - 1.0).abs() < 1e-4);
    assert!((raw.raw[0] - 3.0).abs() < 1e-6);
    // Positions before the span are unchanged: the plain model chose the first token.
    assert_eq!(raw.divergences[0].kl, 0.0);
    assert!(raw.divergences[1].kl > 0.0);
    // The feature may have been slightly active before.
    assert!(set.raw[0] > 2.0 && set.raw[0] <= 2.5, "{}", set.raw[0]);
}

#[test]
fn the_edited_site_is_measured_at_every_token_that_was_read() {
    let stories = stories();
    let edit = feature_edit(&stories.named.sae, 61, Amount::Raw(3.0)).unwrap();
    let site = edit.site;
    let steered = &stories.steer(&[vec![edit]], 6).steered[0][0];
    let read = [&stories.prompt[..], &steered.text.completion.tokens[..5]].concat();
    let mut capture = Capture::new([site]);
    stories.model.run(&[&read], &mut capture).unwrap();
    let x = capture.take(site).unwrap();
    let norm = |row| {
        let squares = x.row(row).iter().map(|x| f64::from(x * x));
        squares.sum::<f64>().sqrt()
    };
    let mean = (0..x.rows()).map(norm).sum::<f64>() / x.rows() as f64;
    assert!((steered.shifts[0].norm / mean - 1.0).abs() < 1e-5);
}
