//! Reads `null` as NaN: JSON has no number that is not finite, and `serde_json` writes `null` for one.

use serde::{Deserialize, Deserializer};

/// For `#[serde(with)]` of numbers that data without variance can make NaN or infinite.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = Option::<f64>::deserialize(deserializer)?;
    Ok(number.unwrap_or(f64::NAN))
}
