//! The effect of a feature on a prompt, measured by changing the feature.

use serde::Serialize;

use super::{check, strongest};
use crate::distribution::Distributions;
use crate::edit::{FeatureOp, Span};
use crate::error::Result;
use crate::hook::Hook;
use crate::model::Model;
use crate::sae::{FeatureChange, Sae, Splice};
use crate::tokenizer::Tokenizer;

/// One of the three changes, made at every token, by which an effect is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(
    tag = "intervention",
    content = "activation",
    rename_all = "snake_case"
)]
pub enum Intervention {
    /// The activation becomes 0.
    Ablated,
    /// The activation is doubled.
    Doubled,
    /// The activation becomes this.
    Injected(f32),
}

impl Intervention {
    /// The change to the feature's activation.
    pub fn op(self) -> FeatureOp {
        match self {
            Intervention::Ablated => FeatureOp::Set(0.0),
            Intervention::Doubled => FeatureOp::Multiply(2.0),
            Intervention::Injected(activation) => FeatureOp::Set(activation),
        }
    }
}

/// A token whose probability changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenShift {
    /// Id of the token.
    pub token: u32,
    /// Text of the token.
    pub piece: String,
    /// Its probability in the unchanged model.
    pub before: f32,
    /// Its probability with the feature changed.
    pub after: f32,
}

/// The effect of one intervention on the next token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InterventionEffect {
    /// The intervention.
    #[serde(flatten)]
    pub intervention: Intervention,
    /// `KL(before || after)` of the next token's distribution, in nats.
    pub kl: f64,
    /// The tokens whose probability rises most, by the difference, the largest first.
    pub risers: Vec<TokenShift>,
    /// The tokens whose probability falls most, the largest fall first.
    pub fallers: Vec<TokenShift>,
}

/// The effect of a feature on one prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureEffect {
    /// Its activation at every token of the prompt.
    pub activations: Vec<f32>,
    /// The multiple of its direction that one unit of activation writes at the last token.
    pub written_scale: f32,
    /// The effect of each intervention: ablated, doubled, injected.
    pub changes: Vec<InterventionEffect>,
}

/// A feature, and how its effect is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Id of the feature.
    pub feature: u32,
    /// The activation that is injected; none injects the largest that any feature has at the prompt's
    /// last token.
    pub inject: Option<f32>,
    /// Number of tokens in each list.
    pub top: usize,
}

/// The effect of a feature on the token that follows each of `prompts`, when the feature is ablated,
/// doubled, and injected at every token. The error term stays ([`Splice::edit`]). `hook` sees, and may
/// change, every pass before the feature does.
///
/// # Errors
/// When there is no such feature, the model does not fit the autoencoder, or a prompt is empty or
/// too long.
pub fn effects(
    model: &Model,
    tokenizer: &Tokenizer,
    sae: &Sae,
    prompts: &[&[u32]],
    probe: Probe,
    hook: &mut dyn Hook,
) -> Result<Vec<FeatureEffect>> {
    let Probe {
        feature,
        inject,
        top,
    } = probe;
    sae.direction(feature)?;
    check(model, sae)?;
    let each = prompts.iter().map(|prompt| {
        let encoded = sae.encode(&model.activations(&[prompt], sae.site()?, hook)?)?;
        let last = encoded.rows().saturating_sub(1);
        let (_, values) = encoded.features.row(last);
        let strongest = values.iter().copied().fold(0.0, f32::max);
        let logits = model.last_logits(&[prompt], hook)?; // [1, d_vocab]
        let plain = Distributions::new(&logits);
        let change = |intervention: Intervention| {
            let change = FeatureChange {
                feature,
                span: Span::All,
                op: intervention.op(),
            };
            let mut splice = Splice::edit(sae, vec![change])?;
            let logits = model.last_logits(&[prompt], &mut (&mut *hook, &mut splice))?; // [1, d_vocab]
            let changed = Distributions::new(&logits);
            let shifts = Shifts::between(&plain, &changed, top);
            Ok(InterventionEffect {
                intervention,
                kl: plain.kl(&changed)[0],
                risers: texts(tokenizer, shifts.risers),
                fallers: texts(tokenizer, shifts.fallers),
            })
        };
        let injected = Intervention::Injected(inject.unwrap_or(strongest));
        let interventions = [Intervention::Ablated, Intervention::Doubled, injected];
        Ok(FeatureEffect {
            activations: (0..encoded.rows())
                .map(|row| encoded.features.value(row, feature))
                .collect(),
            written_scale: encoded.written_scale(last),
            changes: interventions
                .into_iter()
                .map(change)
                .collect::<Result<_>>()?,
        })
    });
    each.collect()
}

/// A token's probability before and after a change.
#[derive(Clone, Copy)]
struct Shift {
    token: u32,
    before: f32,
    after: f32,
}

/// The tokens whose probability changes most.
struct Shifts {
    risers: Vec<Shift>,
    fallers: Vec<Shift>,
}

impl Shifts {
    /// The `top` shifts in either direction between the only rows of two distributions.
    fn between(before: &Distributions, after: &Distributions, top: usize) -> Shifts {
        let probability = |of: &Distributions, token| (-of.loss(0, token)).exp() as f32;
        let by = |shift: &Shift| shift.after - shift.before;
        let (up, down): (Vec<Shift>, Vec<Shift>) = (0..)
            .take(before.d_vocab())
            .map(|token| Shift {
                token,
                before: probability(before, token),
                after: probability(after, token),
            })
            .filter(|shift| by(shift) != 0.0)
            .partition(|shift| by(shift) > 0.0);
        Shifts {
            risers: strongest(up, top, |shift| (by(shift), shift.token)),
            fallers: strongest(down, top, |shift| (-by(shift), shift.token)),
        }
    }
}

/// The shifts with the texts of their tokens.
fn texts(tokenizer: &Tokenizer, shifts: Vec<Shift>) -> Vec<TokenShift> {
    let with_text = |shift: Shift| TokenShift {
        token: shift.token,
        piece: tokenizer.token_text(shift.token),
        before: shift.before,
        after: shift.after,
    };
    shifts.into_iter().map(with_text).collect()
}
