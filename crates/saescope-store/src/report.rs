//! The evidence of a feature as it is shown, and as it serialises.

use saescope::harvest::{Bar, FeatureRole, Moments};
use serde::Serialize;

use crate::user::FeatureLabel;

/// Tokens that are shown before and after an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Before.
    pub before: u32,
    /// After.
    pub after: u32,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            before: 24,
            after: 12,
        }
    }
}

/// What is shown of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Examples of the strongest activations.
    pub top: usize,
    /// Examples of each other group.
    pub per_group: usize,
    /// Entries of lists of tokens, features and classes.
    pub list: usize,
    /// Tokens around an example.
    pub window: Window,
}

impl Default for ReportOptions {
    fn default() -> ReportOptions {
        ReportOptions {
            top: 20,
            per_group: 5,
            list: 10,
            window: Window::default(),
        }
    }
}

/// A place in the corpus with the activations around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The text of each token; together they are `text`. Of several tokens that make one character, the first
    /// has it.
    pub tokens: Vec<String>,
    /// The activation on each token.
    pub activations: Vec<f32>,
    /// Place of the token that was chosen, in `tokens`.
    pub peak: usize,
    /// The activation there.
    pub activation: f32,
    /// File of the corpus.
    pub source: String,
    /// Number of the line, row or record in it.
    pub number: u64,
    /// Labels of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Number of the sequence.
    pub sequence: u32,
    /// Position of the chosen token in the sequence.
    pub position: u32,
    /// Number of examples that have the same tokens up to the chosen one and are not shown; among the strongest
    /// alone.
    pub folded: usize,
}

impl Example {
    /// Its readable pieces, each with the activations of its tokens: of several tokens that make one
    /// character, the first has the text and the others have none.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let text = self.tokens.get(at)?;
            let start = at;
            let more = self.tokens[start + 1..].iter();
            at += 1 + more.take_while(|token| token.is_empty()).count();
            Some((text.as_str(), &self.activations[start..at]))
        })
    }
}

/// A part of the activations, with examples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Part of all activations that lie between.
    pub contains: f64,
    /// Random examples.
    pub examples: Vec<Example>,
}

/// A token in a list of logits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleToken {
    /// Id.
    pub token: u32,
    /// Text.
    pub piece: String,
    /// Change of its logit by one unit of the direction.
    pub effect: f32,
}

/// A token that a feature prefers, at, before or after the positions on which it fires.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextToken {
    /// Id.
    pub token: u32,
    /// Text.
    pub piece: String,
    /// Part of the feature's firings that have the token there.
    pub recall: f64,
    /// Part of the places of the token on which the feature fires; estimated where the feature has more firings
    /// than the sample.
    pub precision: f64,
    /// Pointwise mutual information in nats: how much more often both occur together than by chance.
    pub pmi: f64,
}

/// Tokens that a feature prefers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contexts {
    /// Random firings that were counted.
    pub sample: u32,
    /// True if these are all firings, so that nothing is estimated.
    pub exact: bool,
    /// The token itself.
    pub here: Vec<ContextToken>,
    /// The token before.
    pub before: Vec<ContextToken>,
    /// The token that follows.
    pub next: Vec<ContextToken>,
}

/// A feature with a similar direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similar {
    /// Id.
    pub feature: u32,
    /// Cosine of the two directions.
    pub cosine: f32,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A feature that fires on the same tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coactive {
    /// Id.
    pub feature: u32,
    /// Tokens on which both fire.
    pub both: u32,
    /// Tokens on which it fires.
    pub fires: u32,
    /// `both` as a part of the tokens on which either fires.
    pub jaccard: f64,
    /// Pointwise mutual information in nats.
    pub pmi: f64,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The separation of the texts of a class from the other texts with labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassEffect {
    /// Name.
    pub class: String,
    /// Texts of the class.
    pub texts: u64,
    /// Mean over its texts of the largest activation on each.
    pub mean: f64,
    /// The same over the others.
    pub mean_rest: f64,
    /// Part of its texts on which the feature fires.
    pub fires: f64,
    /// Probability that a random text of the class activates the feature more than a random other one.
    pub auroc: f64,
}

/// Activations at positions that are left out of everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LeftOut {
    /// Number.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f32,
}

/// The evidence of a feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureReport {
    /// Id.
    pub feature: u32,
    /// What a user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<FeatureLabel>,
    /// Part of the counted tokens on which it fires.
    pub density: f64,
    /// Number of them.
    pub count: u64,
    /// Counted tokens.
    pub tokens: u64,
    /// Largest activation.
    pub max: f32,
    /// Mean of the activations above 0.
    pub mean: f64,
    /// Mean of their squares.
    pub mean_square: f64,
    /// Activations below which 10, 25, 50, 75, 90 and 99 per cent lie.
    pub quantiles: Vec<(f64, f64)>,
    /// True if it never fires.
    pub dead: bool,
    /// True if it fires on more than a tenth of the tokens.
    pub dense: bool,
    /// Activations at beginnings of sequences and positions of extreme norm.
    pub left_out: LeftOut,
    /// Histogram of the activations.
    pub histogram: Vec<Bar>,
    /// Norms of its encoder row and of its direction, its bias, and the cosine of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Tokens that its direction promotes.
    pub promoted: Vec<RoleToken>,
    /// Tokens that its direction suppresses.
    pub suppressed: Vec<RoleToken>,
    /// Tokens that it prefers.
    pub contexts: Contexts,
    /// Features with similar directions.
    pub nearest: Vec<Similar>,
    /// Features that fire on the same tokens.
    pub coactive: Vec<Coactive>,
    /// Classes, the best separated first.
    pub classes: Vec<ClassEffect>,
    /// The strongest examples.
    pub top: Vec<Example>,
    /// Random examples.
    pub random: Vec<Example>,
    /// Tenths of the activations by rank.
    pub deciles: Vec<Group>,
    /// Five bands of equal width from 0 to the maximum.
    pub intervals: Vec<Group>,
    /// Random indexed texts on which it does not fire.
    pub silent: Vec<Example>,
}

/// A feature's weights in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Norm of its encoder row.
    pub encoder_norm: f32,
    /// Norm of its direction.
    pub decoder_norm: f32,
    /// Its bias in the encoder.
    pub encoder_bias: f32,
    /// Cosine between encoder row and direction; none if their widths differ.
    pub cosine: Option<f32>,
}

impl Weights {
    pub(crate) fn of(role: &FeatureRole) -> Weights {
        Weights {
            encoder_norm: role.encoder_norm,
            decoder_norm: role.decoder_norm,
            encoder_bias: role.encoder_bias,
            cosine: (!role.cosine.is_nan()).then_some(role.cosine),
        }
    }
}

impl LeftOut {
    pub(crate) fn of(moments: &Moments) -> LeftOut {
        LeftOut {
            count: moments.count,
            mean: moments.mean(),
            max: moments.max,
        }
    }
}
