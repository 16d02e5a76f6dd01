//! Contrastive activation addition moves a real model's answers in the expected direction.

use std::path::Path;

use saescope::Precision;
use saescope::model::Model;
use saescope::site::Site;
use saescope::tokenizer::{Bos, Tokenizer};
use saescope::vector::evaluate::{Positions, Trial, evaluate};
use saescope::vector::question::{self, Pair, Style};
use saescope::vector::{Contrast, Method, Vector};

use crate::{model, repository_path};

/// Some questions of a file, balanced by letter.
fn pairs(tokenizer: &Tokenizer, file: &Path, count: usize) -> Vec<Pair> {
    let questions = question::balanced(question::read(file).unwrap(), Some(count), 0).unwrap();
    let pair = |q: &question::Question| q.pair(tokenizer, Style::of(tokenizer), Bos::Auto);
    questions.iter().map(|q| pair(q).unwrap()).collect()
}

#[test]
fn a_refusal_vector_moves_smollm2_towards_refusing_and_away() {
    let path = model("SmolLM2-135M-Instruct.Q4_1.gguf");
    let tokenizer = Tokenizer::of_model(&path).unwrap();
    let model = Model::open(&path, Precision::F32).unwrap();
    let from = repository_path("data/caa/generate/refusal.json");
    let on = repository_path("data/caa/test/refusal.json");
    let site = [Site::ResidPost(19)];
    let made_from = pairs(&tokenizer, &from, 120);
    let answers = Contrast::Answers(&made_from);
    let vector = Vector::build(&model, answers, Method::Caa, &site, &mut (), &mut |_| {}).unwrap();
    let trial = Trial {
        pairs: &pairs(&tokenizer, &on, 50),
        sites: &site,
        multipliers: &[-1.0, 0.0, 1.0],
        positions: Positions::Answer,
    };
    let outcomes = evaluate(&model, &vector, &trial, &mut (), &mut |_| {}).unwrap();
    let found: Vec<f64> = outcomes.iter().map(|o| o.logit_difference).collect();
    println!("mean logit difference at -1, 0, 1: {found:?}");
    assert!(found[0] < found[1] && found[1] < found[2], "{found:?}");
}
