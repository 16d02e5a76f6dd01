//! The texts on which a feature is strongest.

/// Where a text activates a feature most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Number of the text.
    pub text: usize,
    /// Position in it.
    pub position: usize,
    /// The activation there.
    pub activation: f32,
}

/// The `top` texts that activate a feature most, the strongest first, of equal ones the earlier; each
/// text counts once. `activations` are those of the feature at every token of each text, as
/// [`activations`](super::activations) gives them. First positions do not count: they are unlike all
/// others.
pub fn strongest_texts(activations: &[Vec<f32>], top: usize) -> Vec<Moment> {
    let moment = |(text, values): (usize, &Vec<f32>)| {
        let mut best: Option<Moment> = None;
        for (position, &activation) in values.iter().enumerate().skip(1) {
            if activation > best.map_or(0.0, |best| best.activation) {
                best = Some(Moment {
                    text,
                    position,
                    activation,
                });
            }
        }
        best
    };
    let mut moments: Vec<Moment> = activations.iter().enumerate().filter_map(moment).collect();
    // Stable: of equal ones the earlier text stays first.
    moments.sort_by(|a, b| b.activation.total_cmp(&a.activation));
    moments.truncate(top);
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_counts_once_at_its_strongest_token_and_first_positions_never() {
        let activations = [
            vec![9.0, 1.0, 2.0, 0.0],
            vec![9.0, 0.0],
            vec![0.0, 0.0, 3.0, 3.0],
            vec![0.0, 2.0],
        ];
        let found = strongest_texts(&activations, 3);
        let found: Vec<(usize, usize, f32)> = found
            .iter()
            .map(|m| (m.text, m.position, m.activation))
            .collect();
        assert_eq!(found, [(2, 2, 3.0), (0, 2, 2.0), (3, 1, 2.0)]);
        assert!(strongest_texts(&[vec![5.0]], 3).is_empty());
    }
}
