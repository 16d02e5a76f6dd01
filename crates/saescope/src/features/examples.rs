//! Examples of a feature: the texts on which it is strongest.

use std::ops::Range;

use serde::Serialize;

use crate::tokenizer::Tokenizer;

/// An excerpt of a text around the token on which a feature is strongest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Number of the text.
    pub text: usize,
    /// Position of the token.
    pub position: usize,
    /// The activation there.
    pub activation: f32,
    /// The excerpt.
    pub around: Vec<ExamplePiece>,
    /// True if the text has tokens before the excerpt.
    #[serde(skip)]
    pub cut_before: bool,
    /// True if the text has tokens after the excerpt.
    #[serde(skip)]
    pub cut_after: bool,
}

/// A readable piece of an excerpt: a token, or several that only together make a character.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExamplePiece {
    /// The text.
    pub text: String,
    /// The activations of its tokens.
    pub activations: Vec<f32>,
}

/// The `top` texts that activate a feature most, the strongest first, of equal ones the earlier; each
/// text counts once. `activations` holds those of the feature at every token of each of `texts`, as
/// [`activations`](super::activations) returns them. First positions are omitted: they are unlike all
/// others.
pub fn examples(
    tokenizer: &Tokenizer,
    texts: &[&[u32]],
    activations: &[Vec<f32>],
    top: usize,
) -> Vec<Example> {
    let peaks = strongest_tokens(activations, top);
    peaks
        .into_iter()
        .map(|peak| {
            let (ids, activations) = (texts[peak.text], &activations[peak.text]);
            let first = usize::from(tokenizer.bos() == Some(ids[0]));
            let shown = around(peak.position, first..ids.len());
            let pieces = tokenizer.readable_pieces(ids).into_iter();
            let pieces =
                pieces.filter(|p| p.tokens.start >= shown.start && p.tokens.end <= shown.end);
            Example {
                text: peak.text,
                position: peak.position,
                activation: peak.activation,
                cut_before: shown.start > first,
                cut_after: shown.end < ids.len(),
                around: pieces
                    .map(|p| ExamplePiece {
                        activations: activations[p.tokens].to_vec(),
                        text: p.text,
                    })
                    .collect(),
            }
        })
        .collect()
}

/// The tokens of `text` in the excerpt around `position`: about a line.
fn around(position: usize, text: Range<usize>) -> Range<usize> {
    const BEFORE: usize = 24;
    const AFTER: usize = 12;
    position.saturating_sub(BEFORE).max(text.start)..(position + 1 + AFTER).min(text.end)
}

/// The token of a text on which a feature is strongest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct StrongestToken {
    text: usize,
    position: usize,
    activation: f32,
}

fn strongest_tokens(activations: &[Vec<f32>], top: usize) -> Vec<StrongestToken> {
    let of_text = |(text, values): (usize, &Vec<f32>)| {
        let mut best: Option<StrongestToken> = None;
        for (position, &activation) in values.iter().enumerate().skip(1) {
            if activation > best.map_or(0.0, |best| best.activation) {
                best = Some(StrongestToken {
                    text,
                    position,
                    activation,
                });
            }
        }
        best
    };
    let mut tokens: Vec<StrongestToken> =
        activations.iter().enumerate().filter_map(of_text).collect();
    // The sort is stable: of equal ones the earlier text stays first.
    tokens.sort_by(|a, b| b.activation.total_cmp(&a.activation));
    tokens.truncate(top);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_counts_once_at_its_strongest_token_and_first_positions_never_count() {
        let activations = [
            vec![9.0, 1.0, 2.0, 0.0],
            vec![9.0, 0.0],
            vec![0.0, 0.0, 3.0, 3.0],
            vec![0.0, 2.0],
        ];
        let found = strongest_tokens(&activations, 3);
        let found: Vec<(usize, usize, f32)> = found
            .iter()
            .map(|token| (token.text, token.position, token.activation))
            .collect();
        assert_eq!(found, [(2, 2, 3.0), (0, 2, 2.0), (3, 1, 2.0)]);
        assert!(strongest_tokens(&[vec![5.0]], 3).is_empty());
    }

    #[test]
    fn an_excerpt_stays_within_its_text() {
        assert_eq!(around(3, 1..100), 1..16);
        assert_eq!(around(50, 1..55), 26..55);
    }
}
