//! Which features the demo turns up, and how far.

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Features that tell angry and sad texts from glad ones, those that tell most first.
pub(super) struct Choice {
    features: Vec<(u64, f64)>,
}

/// How many features are turned up together at most.
pub(super) const MOST: usize = 4;

impl Choice {
    /// Of what `contrast --by difference --json` prints: each feature with the difference of its means,
    /// which is how far it is to be turned to make one set's texts the other's. A feature's sign says
    /// whether it is turned up or down.
    pub(super) fn of(contrast: &Value) -> anyhow::Result<Choice> {
        let listed = contrast["features"].as_array().context("no features")?;
        ensure!(listed.len() >= MOST, "too few features tell the sets apart");
        let one = |entry: &Value| {
            let feature = entry["feature"].as_u64()?;
            Some((feature, entry["difference"].as_f64()?))
        };
        let features = listed.iter().take(MOST).map(one).collect::<Option<_>>();
        Ok(Choice {
            features: features.context("a feature has no difference")?,
        })
    }

    /// The feature of that rank, from 0.
    pub(super) fn feature(&self, rank: usize) -> u64 {
        self.features[rank].0
    }

    /// The first that is turned up.
    pub(super) fn first_up(&self) -> u64 {
        let up = self.features.iter().find(|(_, weight)| *weight > 0.0);
        up.map_or(self.feature(0), |(feature, _)| *feature)
    }

    /// The first `n` as `steer` takes them.
    pub(super) fn flags(&self, n: usize) -> Vec<String> {
        let first = self.features.iter().take(n);
        first
            .flat_map(|(feature, weight)| ["-f".to_owned(), format!("{feature}={weight:.2}")])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_keep_their_rank_and_are_weighted_by_their_difference() {
        let entry =
            |feature: u64, difference: f64| json!({ "feature": feature, "difference": difference });
        let listed = [
            entry(7, -0.75),
            entry(3, 0.5),
            entry(9, 0.25),
            entry(4, 0.125),
        ];
        let choice = Choice::of(&json!({ "features": listed })).unwrap();
        assert_eq!(choice.flags(2), ["-f", "7=-0.75", "-f", "3=0.50"]);
        assert_eq!((choice.feature(0), choice.first_up()), (7, 3));
        assert!(Choice::of(&json!({ "features": listed[..3] })).is_err());
    }
}
