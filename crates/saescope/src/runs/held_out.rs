//! The numbers of a run's evaluation on held-out data, by the names that `eval.json` gives them.

use serde_json::Value;

use super::SavedRun;

/// The evaluation of a run on held-out data; every number is missing until it is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeldOutNumbers {
    /// True if the run was evaluated.
    pub is_measured: bool,
    /// True if texts were read, which show what the model predicts; activations alone do not.
    pub on_texts: bool,
    /// The numbers of all positions.
    pub all: HeldOutQuality,
    /// The numbers without the first position of every text.
    pub without_first: HeldOutQuality,
}

/// The numbers of an evaluation over some positions. `crate::eval` defines them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeldOutQuality {
    /// Tokens that were read.
    pub tokens: Option<f64>,
    /// Explained variance.
    pub explained_variance: Option<f64>,
    /// Mean number of active features of a token.
    pub l0: Option<f64>,
    /// Mean squared error.
    pub mse: Option<f64>,
    /// Mean cosine of activation and reconstruction.
    pub cosine: Option<f64>,
    /// Norm of the reconstruction over that of the activation.
    pub norm_ratio: Option<f64>,
    /// Cross-entropy of the model, in nats per token, as the next three.
    pub ce_without_sae: Option<f64>,
    /// Cross-entropy with the reconstruction in place.
    pub ce_with_sae: Option<f64>,
    /// Cross-entropy with zeros in place.
    pub ce_with_zero_ablation: Option<f64>,
    /// Cross-entropy with the mean in place.
    pub ce_with_mean_ablation: Option<f64>,
    /// Increase of cross-entropy with the reconstruction in place.
    pub ce_increase: Option<f64>,
    /// Share of the cross-entropy lost to zeros that the reconstruction recovers.
    pub ce_recovered: Option<f64>,
    /// Divergence of the predictions with the reconstruction in place.
    pub kl_with_sae: Option<f64>,
    /// Divergence of the predictions with zeros in place.
    pub kl_with_zero_ablation: Option<f64>,
    /// Features that were never active.
    pub dead: Option<f64>,
    /// Features active on more than a tenth of the tokens.
    pub dense: Option<f64>,
    /// Mean |cosine| of two decoder rows.
    pub decoder_mean: Option<f64>,
    /// Largest |cosine| of two decoder rows.
    pub decoder_max: Option<f64>,
    /// Mean |cosine| of two encoder rows.
    pub encoder_mean: Option<f64>,
}

impl SavedRun {
    /// The numbers of its evaluation on held-out data.
    pub fn held_out(&self) -> HeldOutNumbers {
        HeldOutNumbers::of(self.evaluation.as_ref())
    }
}

impl HeldOutNumbers {
    pub(super) fn of(evaluation: Option<&Value>) -> HeldOutNumbers {
        let Some(evaluation) = evaluation else {
            return HeldOutNumbers::default();
        };
        let without_first = evaluation.get("without_first");
        HeldOutNumbers {
            is_measured: true,
            on_texts: evaluation.get("ce_with_sae").is_some(),
            all: HeldOutQuality::of(evaluation),
            without_first: without_first.map(HeldOutQuality::of).unwrap_or_default(),
        }
    }

    /// Cross-entropy with the reconstruction in place less that without.
    pub fn ce_increase(&self) -> Option<f64> {
        Some(self.all.ce_with_sae? - self.all.ce_without_sae?)
    }
}

impl HeldOutQuality {
    fn of(value: &Value) -> HeldOutQuality {
        let number = |key: &str| value.get(key)?.as_f64();
        let of = |part: &str, key: &str| value.get(part)?.get(key)?.as_f64();
        HeldOutQuality {
            tokens: number("tokens"),
            explained_variance: number("explained_variance"),
            l0: number("l0"),
            mse: number("mse"),
            cosine: number("cosine"),
            norm_ratio: number("norm_ratio"),
            ce_without_sae: number("ce_without_sae"),
            ce_with_sae: number("ce_with_sae"),
            ce_with_zero_ablation: number("ce_with_zero_ablation"),
            ce_with_mean_ablation: number("ce_with_mean_ablation"),
            ce_increase: number("ce_increase"),
            ce_recovered: number("ce_recovered"),
            kl_with_sae: number("kl_with_sae"),
            kl_with_zero_ablation: number("kl_with_zero_ablation"),
            dead: number("dead"),
            dense: number("dense"),
            decoder_mean: of("decoder", "mean"),
            decoder_max: of("decoder", "max"),
            encoder_mean: of("encoder", "mean"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_they_were_measured() {
        assert_eq!(HeldOutNumbers::of(None), HeldOutNumbers::default());
        let rows = HeldOutNumbers::of(Some(&serde_json::json!({ "l0": 3, "mse": null })));
        assert_eq!((rows.all.l0, rows.all.mse), (Some(3.0), None));
        assert!(rows.is_measured && !rows.on_texts && rows.ce_increase().is_none());
        let texts = HeldOutNumbers::of(Some(&serde_json::json!({
            "ce_with_sae": 2.5, "ce_without_sae": 2.0, "decoder": { "mean": 0.25 },
            "without_first": { "l0": 4.0 },
        })));
        assert_eq!(texts.ce_increase(), Some(0.5));
        assert_eq!(texts.all.decoder_mean, Some(0.25));
        assert!(texts.on_texts && texts.without_first.l0 == Some(4.0));
    }
}
