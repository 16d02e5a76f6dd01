//! The evaluation on held-out texts, as a table.

use serde::Serialize;

use crate::runs::{HeldOutNumbers, HeldOutQuality};

/// A number, its name and its number of decimals.
type Number = (fn(&HeldOutQuality) -> Option<f64>, &'static str, usize);

/// The numbers of an evaluation that are shown.
const ROWS: [Number; 19] = [
    (|q| q.tokens, "tokens", 0),
    (|q| q.explained_variance, "explained variance", 4),
    (|q| q.l0, "active features of a token (L0)", 2),
    (|q| q.mse, "mean squared error", 5),
    (|q| q.cosine, "cosine of activation and reconstruction", 4),
    (|q| q.norm_ratio, "norm of the reconstruction, relative", 4),
    (
        |q| q.ce_without_sae,
        "cross-entropy of the model, nats a token",
        4,
    ),
    (
        |q| q.ce_with_sae,
        "… with the reconstruction in its place",
        4,
    ),
    (|q| q.ce_with_zero_ablation, "… with zeros in its place", 4),
    (
        |q| q.ce_with_mean_ablation,
        "… with the mean in its place",
        4,
    ),
    (|q| q.ce_increase, "cost of the reconstruction", 4),
    (
        |q| q.ce_recovered,
        "share of the cost of zeros that is recovered",
        4,
    ),
    (
        |q| q.kl_with_sae,
        "divergence (KL) with the reconstruction",
        4,
    ),
    (|q| q.kl_with_zero_ablation, "divergence (KL) with zeros", 4),
    (|q| q.dead, "features that were never active", 0),
    (
        |q| q.dense,
        "features active on more than a tenth of the tokens",
        0,
    ),
    (|q| q.decoder_mean, "mean |cosine| of two decoder rows", 4),
    (|q| q.decoder_max, "largest |cosine| of two decoder rows", 4),
    (|q| q.encoder_mean, "mean |cosine| of two encoder rows", 4),
];

/// A row of the table.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    values: Vec<String>,
}

/// The evaluation as a table, without rows if there is no evaluation.
#[derive(Default, Serialize)]
pub(super) struct HeldOut {
    /// True if only activations were evaluated, which cannot show what the model predicts.
    without_texts: bool,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl HeldOut {
    pub(super) fn of(evaluation: &HeldOutNumbers) -> HeldOut {
        if !evaluation.is_measured {
            return HeldOut::default();
        }
        let without_texts = !evaluation.on_texts;
        let parts = [&evaluation.all, &evaluation.without_first];
        let rows = ROWS.iter().filter_map(|&(number, name, digits)| {
            let shown = parts.map(|part| Some(format!("{:.digits$}", number(part)?)));
            shown[0].as_ref()?;
            Some(Row {
                name,
                values: if without_texts {
                    shown.into_iter().flatten().collect()
                } else {
                    shown.map(Option::unwrap_or_default).to_vec()
                },
            })
        });
        HeldOut {
            without_texts,
            columns: if without_texts {
                vec!["all tokens"]
            } else {
                vec!["all positions", "without the first"]
            },
            rows: rows.collect(),
        }
    }
}
