//! The evaluation as a table.

use serde::Serialize;
use serde_json::Value;

/// What is shown of an evaluation, and with how many digits.
const ROWS: [(&str, &str, usize); 17] = [
    ("tokens", "tokens", 0),
    ("explained_variance", "explained variance", 4),
    ("l0", "active features of a token (L0)", 2),
    ("mse", "mean squared error", 5),
    ("cosine", "cosine of activation and reconstruction", 4),
    ("norm_ratio", "norm of the reconstruction, relative", 4),
    ("ce_without_sae", "cross-entropy of the model", 4),
    ("ce_with_sae", "… with the reconstruction in its place", 4),
    ("ce_with_zero_ablation", "… with zeros in its place", 4),
    ("ce_with_mean_ablation", "… with the mean in its place", 4),
    (
        "ce_recovered",
        "share of the loss by zeros that comes back",
        4,
    ),
    ("kl_with_sae", "divergence (KL) with the reconstruction", 4),
    ("kl_with_zero_ablation", "divergence (KL) with zeros", 4),
    ("dead", "features not active once", 0),
    (
        "dense",
        "features active on more than a tenth of the tokens",
        0,
    ),
    ("off_diag_mean", "mean |cosine| of two decoder rows", 4),
    ("off_diag_max", "largest |cosine| of two decoder rows", 4),
];

/// A row of the table.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    values: Vec<String>,
}

/// The evaluation as a table; no rows where there is none.
#[derive(Default, Serialize)]
pub(super) struct HeldOut {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl HeldOut {
    pub(super) fn of(evaluation: Option<&Value>) -> HeldOut {
        let Some(evaluation) = evaluation else {
            return HeldOut::default();
        };
        let rows = ROWS.iter().filter_map(|&(key, name, digits)| {
            let value = evaluation.get(key)?.as_f64()?;
            Some(Row {
                name,
                values: vec![format!("{value:.digits$}")],
            })
        });
        HeldOut {
            columns: vec!["all tokens"],
            rows: rows.collect(),
        }
    }
}
