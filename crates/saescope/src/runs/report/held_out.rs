//! The evaluation on held-out texts, as a table.

use serde::Serialize;
use serde_json::Value;

/// The numbers of an evaluation that are shown: path, name, number of decimals.
const ROWS: [(&str, &str, usize); 19] = [
    ("tokens", "tokens", 0),
    ("explained_variance", "explained variance", 4),
    ("l0", "active features of a token (L0)", 2),
    ("mse", "mean squared error", 5),
    ("cosine", "cosine of activation and reconstruction", 4),
    ("norm_ratio", "norm of the reconstruction, relative", 4),
    (
        "ce_without_sae",
        "cross-entropy of the model, nats a token",
        4,
    ),
    ("ce_with_sae", "… with the reconstruction in its place", 4),
    ("ce_with_zero_ablation", "… with zeros in its place", 4),
    ("ce_with_mean_ablation", "… with the mean in its place", 4),
    ("ce_increase", "cost of the reconstruction", 4),
    (
        "ce_recovered",
        "share of the cost of zeros that is recovered",
        4,
    ),
    ("kl_with_sae", "divergence (KL) with the reconstruction", 4),
    ("kl_with_zero_ablation", "divergence (KL) with zeros", 4),
    ("dead", "features that were never active", 0),
    (
        "dense",
        "features active on more than a tenth of the tokens",
        0,
    ),
    ("decoder.mean", "mean |cosine| of two decoder rows", 4),
    ("decoder.max", "largest |cosine| of two decoder rows", 4),
    ("encoder.mean", "mean |cosine| of two encoder rows", 4),
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
    pub(super) fn of(evaluation: Option<&Value>) -> HeldOut {
        let Some(evaluation) = evaluation else {
            return HeldOut::default();
        };
        let without_texts = evaluation.get("ce_with_sae").is_none();
        let parts = [Some(evaluation), evaluation.get("without_first")];
        let rows = ROWS.iter().filter_map(|&(path, name, digits)| {
            let shown = parts.map(|part| Some(format!("{:.digits$}", number(part?, path)?)));
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

/// The number at a path of keys that are joined by dots.
fn number(value: &Value, path: &str) -> Option<f64> {
    let found = path.split('.').try_fold(value, |at, key| at.get(key));
    found.and_then(Value::as_f64)
}
