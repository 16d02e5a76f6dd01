//! Real models compared with `transformers` on the same GGUF files, and the sense of their texts.
//!
//! `tests/golden/make_real.py` made the expected numbers.

use std::ops::ControlFlow;

use saescope::chat::{ChatTemplate, Message};
use saescope::checkpoint::Checkpoint;
use saescope::generate::{Prompt, Sampling, generate};
use saescope::model::Model;
use saescope::tokenizer::{Bos, Tokenizer};
use saescope::{Matrix, Precision};
use serde::Deserialize;

use crate::{model, repository};

/// The values that `transformers` computed for a model.
#[derive(Deserialize)]
struct Expected {
    file: String,
    prompts: Vec<ExpectedPrompt>,
    wikitext: Wikitext,
}

#[derive(Deserialize)]
struct ExpectedPrompt {
    prompt: String,
    ids: Vec<u32>,
    top: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    id: u32,
    logit: f32,
}

/// Mean negative log-likelihood of the tokens from `first` on, each given all tokens before it.
#[derive(Deserialize)]
struct Wikitext {
    ids: Vec<u32>,
    nll: f64,
    first: usize,
}

fn expected(name: &str) -> Expected {
    serde_json::from_slice(&repository(&format!("golden/real/{name}.json"))).unwrap()
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest
        + logits
            .iter()
            .map(|&x| (f64::from(x) - largest).exp())
            .sum::<f64>()
            .ln()
}

fn strongest(logits: &[f32], n: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| {
        logits[b as usize]
            .total_cmp(&logits[a as usize])
            .then(a.cmp(&b))
    });
    ids.truncate(n);
    ids
}

/// Checks that the five most likely tokens after each of 20 prompts are the expected ones, with logits
/// close to the expected ones.
fn check_prompts(model: &Model, tokenizer: &Tokenizer, expected: &Expected) {
    assert_eq!(expected.prompts.len(), 20);
    for ExpectedPrompt { prompt, ids, top } in &expected.prompts {
        assert_eq!(
            tokenizer.encode(prompt, Bos::Auto).unwrap(),
            *ids,
            "{prompt}"
        );
        let logits = model.last_logits(&[ids], &mut ()).unwrap();
        let mut found = strongest(logits.row(0), 5);
        let mut wanted: Vec<u32> = top.iter().map(|top| top.id).collect();
        // Neighbouring logits may be closer than two implementations agree, so the order is free.
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{prompt}");
        for top in top {
            let found = logits.row(0)[top.id as usize];
            assert!(
                (found - top.logit).abs() < 2e-2,
                "{prompt}: {found} for {}",
                top.logit
            );
        }
    }
}

fn mean_nll(logits: &Matrix, wikitext: &Wikitext) -> f64 {
    let scored = wikitext.first..wikitext.ids.len();
    let count = scored.len() as f64;
    let nll = scored.map(|at| {
        let before = logits.row(at - 1);
        log_sum_exp(before) - f64::from(before[wikitext.ids[at] as usize])
    });
    nll.sum::<f64>() / count
}

/// Checks the mean negative log-likelihood within a relative tolerance.
fn check_nll(model: &Model, expected: &Expected, tolerance: f64) {
    let logits = model.logits(&[&expected.wikitext.ids], &mut ()).unwrap();
    let found = mean_nll(&logits, &expected.wikitext);
    let wanted = expected.wikitext.nll;
    println!(
        "{}: NLL {found:.6}, transformers {wanted:.6}",
        expected.file
    );
    assert!(
        (found / wanted - 1.0).abs() < tolerance,
        "{found} for {wanted}"
    );
}

fn open(name: &str, precision: Precision) -> (Model, Tokenizer, Expected) {
    let expected = expected(name);
    let path = model(&expected.file);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(checkpoint.gguf().unwrap()).unwrap();
    (Model::open(&path, precision).unwrap(), tokenizer, expected)
}

fn greedy(model: &Model, tokens: Vec<u32>, end: &[u32], max_tokens: usize) -> Vec<u32> {
    let sampling = Sampling {
        max_tokens,
        end: end.to_vec(),
        ..Sampling::default()
    };
    let prompt = Prompt { tokens, seed: 0 };
    let go_on = &mut |_, _| ControlFlow::Continue(());
    generate(model, &[prompt], &sampling, &mut (), go_on)
        .unwrap()
        .remove(0)
        .tokens
}

#[test]
fn smollm2_predicts_what_transformers_predicts() {
    let (model, tokenizer, expected) = open("smollm2", Precision::F32);
    check_prompts(&model, &tokenizer, &expected);
    check_nll(&model, &expected, 5e-3);
}

#[test]
fn gemma3_predicts_what_transformers_predicts() {
    let (model, tokenizer, expected) = open("gemma3", Precision::F32);
    check_prompts(&model, &tokenizer, &expected);
    check_nll(&model, &expected, 5e-3);
}

#[test]
fn bf16_weights_hardly_lower_the_likelihood() {
    for name in ["smollm2", "gemma3"] {
        let (model, _, expected) = open(name, Precision::Bf16);
        check_nll(&model, &expected, 1e-2);
    }
}

#[test]
fn smollm2_knows_the_capital_of_france_in_a_chat() {
    let (model, tokenizer, _) = open("smollm2", Precision::F32);
    let template = ChatTemplate::of(&tokenizer).unwrap();
    let asked = [Message::new("user", "What is the capital of France?")];
    let tokens = tokenizer
        .encode_raw(&template.render_prompt(&asked).unwrap())
        .unwrap();
    let answer = tokenizer.decode(&greedy(&model, tokens, tokenizer.eos_ids(), 40));
    println!("{answer}");
    assert!(answer.contains("Paris"), "{answer}");
}

#[test]
fn gemma3_continues_a_korean_sentence_in_korean() {
    let (model, tokenizer, _) = open("gemma3", Precision::F32);
    let tokens = tokenizer
        .encode("오늘은 날씨가 좋아서 친구와 함께", Bos::Auto)
        .unwrap();
    let text = tokenizer.decode(&greedy(&model, tokens, tokenizer.eos_ids(), 24));
    println!("{text}");
    let hangul = text.chars().filter(|c| ('가'..='힣').contains(c)).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    assert!(letters > 10 && hangul * 10 > letters * 9, "{text}");
}

#[test]
fn a_cached_continuation_of_a_real_model_equals_the_recomputed_one() {
    let (model, tokenizer, _) = open("gemma3", Precision::F32);
    let prompt = tokenizer
        .encode("The windows of the old house", Bos::Auto)
        .unwrap();
    let cached = greedy(&model, prompt.clone(), &[], 12);
    let mut all = prompt.clone();
    for _ in 0..12 {
        let logits = model.last_logits(&[&all], &mut ()).unwrap();
        all.push(strongest(logits.row(0), 1)[0]);
    }
    assert_eq!(cached, all[prompt.len()..]);
}
