//! Text of the model in the repository.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use saescope::Precision;
use saescope::complete::{Completion, CompletionRequest, EndedBy, complete};
use saescope::generate::{Prompt, Sampling};
use saescope::model::Model;
use saescope::tokenizer::{Bos, Tokenizer};

struct Stories {
    model: Model,
    tokenizer: Tokenizer,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/stories260K")
}

fn open(precision: Precision) -> Stories {
    let model = Model::open(&folder(), precision).unwrap();
    let tokenizer = Tokenizer::of_model(&folder()).unwrap();
    Stories { model, tokenizer }
}

impl Stories {
    /// Continues `prompts` greedily; returns each completion and its text as shown piece by piece.
    fn write(&self, prompts: &[&str], n: usize, stops: &[&str]) -> Vec<(Completion, String)> {
        let prompt = |text: &&str| Prompt {
            tokens: self.tokenizer.encode(text, Bos::Auto).unwrap(),
            seed: 0,
        };
        let prompts: Vec<Prompt> = prompts.iter().map(prompt).collect();
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: n,
            end: self.tokenizer.eos_ids().to_vec(),
            ..Sampling::default()
        };
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut shown = vec![String::new(); prompts.len()];
        let mut show = |prompt: usize, text: &str| {
            shown[prompt].push_str(text);
            ControlFlow::Continue(())
        };
        let request = CompletionRequest {
            prompts: &prompts,
            sampling: &sampling,
            stops: &stops,
        };
        let completions = complete(&self.model, &self.tokenizer, request, &mut (), &mut show);
        completions.unwrap().into_iter().zip(shown).collect()
    }
}

/// The text of this model at temperature 0 in llama2.c's documentation.
#[test]
fn greedy_text_equals_the_published_sample() {
    let published = std::fs::read_to_string(folder().join("greedy.txt")).unwrap();
    let (completion, shown) = open(Precision::F32).write(&[""], 256, &[]).remove(0);
    assert_eq!(completion.text.trim(), published.trim());
    assert_eq!(shown, completion.text);
}

#[test]
fn each_prompt_stops_at_its_own_stop_string() {
    let stories = open(Precision::F32);
    let prompts = ["Once upon a time", "One day, Tim"];
    let whole = stories.write(&prompts, 60, &[]);
    let stopped = stories.write(&prompts, 60, &[". "]);
    for ((whole, _), (stopped, shown)) in whole.iter().zip(&stopped) {
        assert_eq!(Some(stopped.text.as_str()), whole.text.split(". ").next());
        assert_eq!(stopped.ended_by, EndedBy::StopString(". ".to_owned()));
        assert_eq!(shown, &stopped.text);
        assert!(whole.tokens.starts_with(&stopped.tokens));
        assert_eq!(whole.ended_by, EndedBy::Length);
    }
}
