//! The features that the demo turns, and their weights.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Number of features that the demo turns together at most.
pub const MAX_TURNED: usize = 4;

/// A feature, and the difference of its mean activations on two sets of texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnedFeature {
    /// Number of the feature.
    pub feature: u32,
    /// The difference: the activation by which the feature is turned to move texts from one set to the
    /// other. A negative one turns it down.
    pub difference: f64,
}

/// The features that differ most between angry or sad texts and glad ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    features: Vec<TurnedFeature>,
}

impl Choice {
    /// The first [`MAX_TURNED`] of some features, which come in order of their difference.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn new(mut features: Vec<TurnedFeature>) -> Result<Choice> {
        if features.len() < MAX_TURNED {
            let message = format!("too few features tell the sets apart: {}", features.len());
            return Err(Error::Argument(message));
        }
        features.truncate(MAX_TURNED);
        Ok(Choice { features })
    }

    /// The feature of a rank, from 0 to [`MAX_TURNED`] - 1.
    pub(super) fn feature(&self, rank: usize) -> u32 {
        self.features[rank].feature
    }

    /// The first feature that is turned up.
    pub(super) fn first_up(&self) -> u32 {
        let up = self.features.iter().find(|turned| turned.difference > 0.0);
        up.unwrap_or(&self.features[0]).feature
    }

    /// The first `n` features as arguments of `steer`.
    pub(super) fn flags(&self, n: usize) -> Vec<String> {
        let mut flags = Vec::with_capacity(2 * n);
        for turned in self.features.iter().take(n) {
            flags.push("-f".to_owned());
            flags.push(format!("{}={:.2}", turned.feature, turned.difference));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_keep_their_rank_and_are_weighted_by_their_difference() {
        let turned = |(feature, difference)| TurnedFeature {
            feature,
            difference,
        };
        let all = [(7, -0.75), (3, 0.5), (9, 0.25), (4, 0.125), (5, 0.1)].map(turned);
        let choice = Choice::new(all.to_vec()).unwrap();
        assert_eq!(choice.flags(2), ["-f", "7=-0.75", "-f", "3=0.50"]);
        assert_eq!(choice.flags(9).len(), 2 * MAX_TURNED);
        assert_eq!((choice.feature(0), choice.first_up()), (7, 3));
        assert!(Choice::new(all[..3].to_vec()).is_err());
    }
}
