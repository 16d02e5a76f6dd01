//! What a feature does on a prompt, found by changing it.

use super::{check, strongest};
use crate::distribution::Distributions;
use crate::edit::{FeatureOp, Span};
use crate::error::Result;
use crate::hook::Hook;
use crate::model::Model;
use crate::sae::{FeatureChange, Sae, Splice};

/// What is done to a feature, at every token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intervention {
    /// Its activation becomes 0.
    Ablated,
    /// Its activation is doubled.
    Doubled,
    /// Its activation becomes this.
    Injected(f32),
}

impl Intervention {
    fn op(self) -> FeatureOp {
        match self {
            Intervention::Ablated => FeatureOp::Set(0.0),
            Intervention::Doubled => FeatureOp::Multiply(2.0),
            Intervention::Injected(activation) => FeatureOp::Set(activation),
        }
    }
}

/// A token whose probability changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Its id.
    pub token: u32,
    /// Its probability in the model as it is.
    pub before: f32,
    /// Its probability with the feature changed.
    pub after: f32,
}

/// What one intervention does to what comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// What was done.
    pub intervention: Intervention,
    /// `KL(before || after)` of the next token's distribution, in nats.
    pub kl: f64,
    /// Tokens that become likelier, by how much, the most first.
    pub risers: Vec<Shift>,
    /// Tokens that become less likely, the most first.
    pub fallers: Vec<Shift>,
}

/// What a feature does on one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Its activation at every token of the prompt.
    pub activations: Vec<f32>,
    /// What one unit of activation writes at the last token, in multiples of its direction.
    pub written_scale: f32,
    /// Each intervention: ablated, doubled, injected.
    pub changes: Vec<Changed>,
}

/// What is asked about a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Which.
    pub feature: u32,
    /// The activation that is injected; without one the largest that any feature has at the prompt's
    /// last token.
    pub inject: Option<f32>,
    /// How many tokens are listed that rise, and that fall.
    pub top: usize,
}

/// What the feature of `probe` does to the token that follows each of `prompts`, when it is ablated,
/// doubled, and injected everywhere. What the autoencoder does not reconstruct stays
/// ([`Splice::edit`]). `hook` sees, and may change, every pass before the feature does.
///
/// # Errors
/// When there is no such feature, the model does not fit the autoencoder, or a prompt is empty or
/// too long.
pub fn effects(
    model: &Model,
    sae: &Sae,
    prompts: &[&[u32]],
    probe: Probe,
    hook: &mut dyn Hook,
) -> Result<Vec<Effect>> {
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
            Ok(compare(intervention, &plain, &changed, top))
        };
        let injected = Intervention::Injected(inject.unwrap_or(strongest));
        let interventions = [Intervention::Ablated, Intervention::Doubled, injected];
        Ok(Effect {
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

/// The only rows of both, one with the other.
fn compare(
    intervention: Intervention,
    before: &Distributions,
    after: &Distributions,
    top: usize,
) -> Changed {
    let probability = |of: &Distributions, token| (-of.loss(0, token)).exp() as f32;
    let shifts = (0..).take(before.d_vocab()).map(|token| Shift {
        token,
        before: probability(before, token),
        after: probability(after, token),
    });
    let by = |shift: &Shift| shift.after - shift.before;
    let (up, down): (Vec<Shift>, Vec<Shift>) =
        shifts.filter(|s| by(s) != 0.0).partition(|s| by(s) > 0.0);
    Changed {
        intervention,
        kl: before.kl(after)[0],
        risers: strongest(up, top, |s| (by(s), s.token)),
        fallers: strongest(down, top, |s| (-by(s), s.token)),
    }
}
