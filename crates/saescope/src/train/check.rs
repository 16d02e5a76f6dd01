//! Checks of a configuration before the first step.

use super::{AuxK, DecoderNorm, Input, JumpPenalty, Objective, TrainConfig, Treatment};
use crate::error::{Error, Result};

impl TrainConfig {
    /// Checks the configuration for an autoencoder that maps width `d_in` to width `d_out`.
    ///
    /// # Errors
    /// [`Error::Argument`] with the first field that makes no sense, and what it should be.
    pub fn check(&self, d_in: usize, d_out: usize) -> Result<()> {
        let faults = self
            .shape_fault(d_in, d_out)
            .or_else(|| self.schedule_fault())
            .or_else(|| self.objective_fault())
            .or_else(|| self.dead_fault());
        match faults {
            None => Ok(()),
            Some(reason) => Err(Error::Argument(format!(
                "the training configuration makes no sense: {reason}"
            ))),
        }
    }

    fn shape_fault(&self, d_in: usize, d_out: usize) -> Option<String> {
        let transcoder = self.transcoder.is_some();
        let rows = self.init.decoder_norm;
        first(&[
            (
                d_in == 0 || d_out == 0,
                "the activations have no components",
            ),
            (self.d_sae == 0, "`d_sae` is 0; it must be at least 1"),
            (
                self.d_sae > u32::MAX as usize,
                "`d_sae` does not fit into 32 bits",
            ),
            (self.batch_tokens == 0, "`batch_tokens` is 0"),
            (
                !transcoder && d_in != d_out,
                "an autoencoder reads and writes the same width; set `transcoder`",
            ),
            (
                transcoder && self.init.tied,
                "`init.tied` is for autoencoders; a transcoder's encoder reads another site than its decoder writes",
            ),
            (
                transcoder && self.init.subtract_b_dec,
                "`init.subtract_b_dec` is for autoencoders; a transcoder's decoder bias belongs to its output",
            ),
            (
                self.input == Input::LayerNorm && d_in < 2,
                "`input` is `layer_norm`, which needs a width of at least 2",
            ),
            (
                self.input == Input::LayerNorm && self.transcoder.is_some_and(|t| t.skip),
                "`transcoder.skip` bypasses a layer norm; choose another `input`",
            ),
            (
                !(rows.is_finite() && rows > 0.0),
                "`init.decoder_norm` is not a positive number",
            ),
            (
                self.decoder == DecoderNorm::Unit && rows != 1.0,
                "`init.decoder_norm` must be 1 if `decoder` is `unit`",
            ),
        ])
    }

    fn schedule_fault(&self) -> Option<String> {
        let adam = self.adam;
        let decay = |beta: f32| (0.0..1.0).contains(&beta);
        first(&[
            (self.steps == 0, "`steps` is 0"),
            (self.log_every == 0, "`log_every` is 0"),
            (
                self.lr_warmup_steps.saturating_add(self.lr_decay_steps) > self.steps,
                "`lr_warmup_steps` and `lr_decay_steps` together are more than `steps`",
            ),
            (
                self.sparsity_warmup_steps > self.steps,
                "`sparsity_warmup_steps` is more than `steps`",
            ),
            (
                !(adam.lr.is_finite() && adam.lr > 0.0),
                "`adam.lr` is not a positive number",
            ),
            (
                !(decay(adam.beta1) && decay(adam.beta2)),
                "`adam.beta1` and `adam.beta2` must be at least 0 and less than 1",
            ),
            (
                !(adam.eps.is_finite() && adam.eps > 0.0),
                "`adam.eps` is not a positive number",
            ),
            (
                !positive(adam.bias_lr_factor),
                "`adam.bias_lr_factor` is not a positive number",
            ),
            (
                self.grad_clip.is_some_and(|clip| !positive(clip)),
                "`grad_clip` is not a positive number",
            ),
        ])
    }

    fn objective_fault(&self) -> Option<String> {
        let d_sae = self.d_sae;
        match &self.objective {
            Objective::L1 { coefficient, .. } | Objective::Gated { coefficient, .. } => first(&[(
                !weight(*coefficient),
                "`coefficient` is not a number of at least 0",
            )]),
            Objective::TopK { k, aux } | Objective::BatchTopK { k, aux } => {
                k_fault(*k, d_sae).or_else(|| aux_fault(*aux))
            }
            Objective::Matryoshka { k, prefixes, aux } => k_fault(*k, d_sae)
                .or_else(|| prefix_fault(prefixes, d_sae))
                .or_else(|| aux_fault(*aux)),
            Objective::JumpRelu {
                penalty,
                bandwidth,
                threshold,
                pre_activation,
            } => first(&[
                (
                    !positive(*bandwidth),
                    "`bandwidth` is not a positive number",
                ),
                (
                    !weight(*threshold),
                    "`threshold` is not a number of at least 0",
                ),
                (
                    !weight(*pre_activation),
                    "`pre_activation` is not a number of at least 0",
                ),
                (
                    !makes_sense(*penalty, d_sae),
                    "`penalty` holds a number that is negative or out of range",
                ),
            ]),
        }
    }

    fn dead_fault(&self) -> Option<String> {
        let every = match self.dead.treatment {
            Treatment::None => 1,
            Treatment::Redraw { every, .. } | Treatment::Resample { every, .. } => every,
        };
        first(&[
            (self.dead.window_tokens == 0, "`dead.window_tokens` is 0"),
            (every == 0, "`dead.treatment` has `every` = 0"),
        ])
    }
}

/// The reason of the first fault that is present.
fn first(faults: &[(bool, &str)]) -> Option<String> {
    let fault = faults.iter().find(|(is, _)| *is);
    fault.map(|(_, reason)| (*reason).to_owned())
}

fn positive(value: f32) -> bool {
    value.is_finite() && value > 0.0
}

fn weight(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

fn k_fault(k: usize, d_sae: usize) -> Option<String> {
    let fits = (1..=d_sae).contains(&k);
    (!fits).then(|| format!("`k` is {k}; of {d_sae} features between 1 and all can be active"))
}

fn prefix_fault(prefixes: &[usize], d_sae: usize) -> Option<String> {
    let ascend = prefixes.windows(2).all(|pair| pair[0] < pair[1]);
    let fits = ascend && prefixes.first() > Some(&0) && prefixes.last() == Some(&d_sae);
    (!fits).then(|| {
        format!("`prefixes` are {prefixes:?}; they must ascend from at least 1 and end at {d_sae}")
    })
}

fn aux_fault(aux: Option<AuxK>) -> Option<String> {
    let aux = aux?;
    first(&[
        (aux.k == 0, "`aux.k` is 0"),
        (
            !weight(aux.coefficient),
            "`aux.coefficient` is not a number of at least 0",
        ),
    ])
}

fn makes_sense(penalty: JumpPenalty, d_sae: usize) -> bool {
    match penalty {
        JumpPenalty::Step { coefficient } => weight(coefficient),
        JumpPenalty::Tanh { coefficient, scale } => weight(coefficient) && positive(scale),
        JumpPenalty::Target { coefficient, l0 } => {
            weight(coefficient) && positive(l0) && l0 <= d_sae as f32
        }
    }
}
