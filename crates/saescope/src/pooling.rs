//! Pooling: which tokens stand for a text, and how their rows become one.
//!
//! One vocabulary for features and for steering vectors, so that `mean` means the same wherever it is
//! asked for. The rows themselves are pooled by whoever holds them, sparse or dense.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, by_name};
use crate::hook::pooled_positions;

/// The way in which the rows of a text's tokens become one row.
///
/// The last token is the default: in a causal model it alone has read the whole text, and probes,
/// contrastive activation addition (Rimsky et al. 2023) and repeng all read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The row of the last token.
    #[default]
    Last,
    /// The largest value over the tokens, each component by itself. It suits features, whose
    /// activations are not negative; the components of a residual stream have no such zero.
    Max,
    /// The mean over the tokens.
    Mean,
}

impl Pooling {
    /// Every pooling.
    pub const ALL: [Pooling; 3] = [Pooling::Last, Pooling::Max, Pooling::Mean];

    /// The name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Last => "last",
            Pooling::Max => "max",
            Pooling::Mean => "mean",
        }
    }

    /// True if the first position is omitted unless it is asked for.
    pub fn omits_first(self) -> bool {
        self != Pooling::Last
    }

    /// The positions that are pooled, of a text of `tokens` tokens. [`Pooling::Max`] and
    /// [`Pooling::Mean`] omit the first position ([`pooled_positions`]) unless `count_first` is true.
    pub fn positions(self, tokens: usize, count_first: bool) -> Range<usize> {
        match self {
            Pooling::Last => tokens.saturating_sub(1)..tokens,
            Pooling::Max | Pooling::Mean if count_first => 0..tokens,
            Pooling::Max | Pooling::Mean => pooled_positions(tokens),
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pooling> {
        by_name("pooling", text, &Pooling::ALL, Pooling::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pooling_parses_from_its_name() {
        for pooling in Pooling::ALL {
            assert_eq!(pooling.to_string().parse::<Pooling>().unwrap(), pooling);
            let json = format!("\"{pooling}\"");
            assert_eq!(serde_json::to_string(&pooling).unwrap(), json);
        }
        assert!("all".parse::<Pooling>().is_err());
    }

    #[test]
    fn the_first_position_is_pooled_only_on_request_or_when_it_is_the_only_one() {
        assert_eq!(Pooling::Mean.positions(3, false), 1..3);
        assert_eq!(Pooling::Max.positions(3, true), 0..3);
        assert_eq!(Pooling::Mean.positions(1, false), 0..1);
        assert_eq!(Pooling::Last.positions(3, false), 2..3);
        assert_eq!(Pooling::Last.positions(0, false), 0..0);
    }
}
