//! Generation: prompts together and alone, seeds, ends of continuations, and refusals.

use std::ops::ControlFlow;

use proptest::prelude::*;
use saescope::Error;
use saescope::generate::{Generated, Prompt, Sampling, StoppedBy, generate};
use saescope::model::Model;

use crate::tiny;

fn prompt(tokens: &[u32], seed: u64) -> Prompt {
    Prompt {
        tokens: tokens.to_vec(),
        seed,
    }
}

fn go_on(_: usize, _: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn run(model: &Model, prompts: &[Prompt], sampling: &Sampling) -> Vec<Generated> {
    generate(model, prompts, sampling, &mut (), &mut go_on).unwrap()
}

#[test]
fn a_prompt_continues_in_the_same_way_alone_and_among_others() {
    for model in tiny::models() {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling {
                temperature,
                max_tokens: 20,
                ..Sampling::default()
            };
            let prompts = [
                prompt(&[1], 3),
                prompt(&[4, 5, 6, 7, 8], 4),
                prompt(&[2, 2], 3),
            ];
            let together = run(&model, &prompts, &sampling);
            for (prompt, among) in prompts.into_iter().zip(together) {
                assert_eq!(run(&model, &[prompt], &sampling), [among]);
            }
        }
    }
}

#[test]
fn equal_seeds_give_equal_texts_and_different_seeds_different_ones() {
    let model = &tiny::models()[1];
    let sampling = Sampling {
        temperature: 1.0,
        max_tokens: 20,
        ..Sampling::default()
    };
    let with = |seed| run(model, &[prompt(&[1, 2], seed)], &sampling);
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn a_continuation_ends_at_its_length_an_end_token_or_on_request() {
    let model = &tiny::models()[0];
    let sampling = Sampling {
        max_tokens: 12,
        ..Sampling::default()
    };
    let plain = &run(model, &[prompt(&[1, 2], 0)], &sampling)[0];
    assert_eq!(
        (plain.tokens.len(), plain.stopped_by),
        (12, StoppedBy::Length)
    );

    let end = plain.tokens[4];
    let first = plain.tokens.iter().position(|&token| token == end).unwrap();
    let ended = Sampling {
        end: vec![end],
        ..sampling
    };
    let ended = &run(model, &[prompt(&[1, 2], 0)], &ended)[0];
    assert_eq!(ended.stopped_by, StoppedBy::EndToken);
    assert_eq!(ended.tokens, plain.tokens[..first]);

    let mut left = 3;
    let mut stop = |_, _| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let stopped = generate(model, &[prompt(&[1, 2], 0)], &sampling, &mut (), &mut stop).unwrap();
    assert_eq!(stopped[0].stopped_by, StoppedBy::Caller);
    assert_eq!(stopped[0].tokens, plain.tokens[..3]);

    let none = Sampling {
        max_tokens: 0,
        ..sampling
    };
    assert!(
        run(model, &[prompt(&[1, 2], 0)], &none)[0]
            .tokens
            .is_empty()
    );
}

#[test]
fn a_continuation_beyond_the_context_is_refused_with_the_limit() {
    let model = &tiny::models()[0];
    let sampling = |max_tokens| Sampling {
        max_tokens,
        ..Sampling::default()
    };
    // 60 tokens and 5 more; the model never reads the last one.
    assert_eq!(
        run(model, &[prompt(&[1; 60], 0)], &sampling(5))[0]
            .tokens
            .len(),
        5
    );
    let found = generate(
        model,
        &[prompt(&[1; 60], 0)],
        &sampling(6),
        &mut (),
        &mut go_on,
    );
    assert!(matches!(
        found,
        Err(Error::ContextOverflow {
            needed: 65,
            limit: 64
        })
    ));
}

#[test]
fn invalid_settings_are_refused() {
    let model = &tiny::models()[0];
    let wrong = [
        Sampling {
            temperature: -1.0,
            ..Sampling::default()
        },
        Sampling {
            temperature: f32::NAN,
            ..Sampling::default()
        },
        Sampling {
            top_k: Some(0),
            ..Sampling::default()
        },
        Sampling {
            top_p: Some(1.5),
            ..Sampling::default()
        },
        Sampling {
            repetition_penalty: 0.0,
            ..Sampling::default()
        },
    ];
    for sampling in wrong {
        let found = generate(model, &[prompt(&[1], 0)], &sampling, &mut (), &mut go_on);
        assert!(matches!(found, Err(Error::Argument(_))), "{sampling:?}");
    }
}

#[test]
fn a_repetition_penalty_makes_repetition_rarer() {
    let model = &tiny::models()[0];
    let distinct = |repetition_penalty| {
        let sampling = Sampling {
            repetition_penalty,
            max_tokens: 40,
            ..Sampling::default()
        };
        let mut tokens = run(model, &[prompt(&[1, 2], 0)], &sampling)
            .remove(0)
            .tokens;
        tokens.sort_unstable();
        tokens.dedup();
        tokens.len()
    };
    assert!(distinct(1.5) > distinct(1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn filters_keep_the_most_likely_token(
        top_k in proptest::option::of(1_usize..60),
        top_p in proptest::option::of(0.0_f32..1.0),
        min_p in proptest::option::of(0.0_f32..1.0),
        temperature in 0.0_f32..3.0,
        seed in any::<u64>(),
    ) {
        let model = &tiny::models()[0];
        let sampling = Sampling { temperature, top_k, top_p, min_p, max_tokens: 3, ..Sampling::default() };
        let found = run(model, &[prompt(&[1, 2], seed)], &sampling);
        prop_assert_eq!(found[0].tokens.len(), 3);
        let strict = Sampling { top_k: Some(1), ..sampling };
        let greedy = run(model, &[prompt(&[1, 2], seed)], &Sampling { max_tokens: 3, ..Sampling::default() });
        prop_assert_eq!(run(model, &[prompt(&[1, 2], seed)], &strict), greedy);
    }
}
