//! Features as rows of a table: sorted, filtered.

use std::fmt;
use std::str::FromStr;

use rusqlite::params_from_iter;
use saescope::{Error, Result};
use serde::Serialize;

use crate::open::{Store, failed};

/// The order of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// By id, ascending.
    #[default]
    Feature,
    /// By density, the densest first.
    Density,
    /// By largest activation, the largest first.
    Max,
    /// By mean activation, the largest first.
    Mean,
}

impl SortBy {
    /// Every value.
    pub const ALL: [SortBy; 4] = [SortBy::Feature, SortBy::Density, SortBy::Max, SortBy::Mean];

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            SortBy::Feature => "feature",
            SortBy::Density => "density",
            SortBy::Max => "max",
            SortBy::Mean => "mean",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            SortBy::Feature => "feature",
            SortBy::Density => "count DESC, feature",
            SortBy::Max => "max DESC, feature",
            SortBy::Mean => "mean DESC, feature",
        }
    }
}

impl fmt::Display for SortBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SortBy {
    type Err = Error;

    fn from_str(name: &str) -> Result<SortBy> {
        let found = SortBy::ALL.into_iter().find(|sort| sort.name() == name);
        found.ok_or_else(|| Error::UnknownName {
            kind: "order of features",
            name: name.to_owned(),
            known: SortBy::ALL.map(|sort| sort.name().to_owned()).to_vec(),
        })
    }
}

/// A number of a feature that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Density,
    Count,
    Max,
    Mean,
}

/// A condition on a number of a feature, such as `density<0.01`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureFilter {
    field: Field,
    comparison: &'static str,
    value: f64,
}

impl FromStr for FeatureFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<FeatureFilter> {
        const COMPARISONS: [&str; 5] = ["<=", ">=", "<", ">", "="];
        const FIELDS: [(&str, Field); 4] = [
            ("density", Field::Density),
            ("count", Field::Count),
            ("max", Field::Max),
            ("mean", Field::Mean),
        ];
        let parsed = COMPARISONS.into_iter().find_map(|comparison| {
            let (field, value) = text.split_once(comparison)?;
            let field = FIELDS.iter().find(|(name, _)| *name == field.trim())?.1;
            let value = value
                .trim()
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())?;
            Some(FeatureFilter {
                field,
                comparison,
                value,
            })
        });
        parsed.ok_or_else(|| {
            Error::Argument(format!(
                "`{text}` is no condition; write density, count, max or mean, one of < <= > >= =, and a number, \
                 as in density<0.01"
            ))
        })
    }
}

/// A feature as a row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureRow {
    /// Id.
    pub feature: u32,
    /// Part of the counted tokens on which it fires.
    pub density: f64,
    /// Number of them.
    pub count: u64,
    /// Largest activation.
    pub max: f64,
    /// Mean of the activations above 0.
    pub mean: f64,
    /// What a user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Tokens on which it fires most.
    pub reads: Vec<String>,
    /// Tokens that it promotes.
    pub promoted: Vec<String>,
}

/// Tokens of a row.
const TOKENS: usize = 5;

impl Store {
    /// Number of features that fulfil all of `filters`.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn count_features(&self, filters: &[FeatureFilter]) -> Result<u64> {
        let (condition, values) = self.condition(filters)?;
        let get = format!("SELECT count(*) FROM features WHERE {condition}");
        let count = self
            .connection
            .query_row(&get, params_from_iter(values), |row| row.get(0));
        count.map_err(failed(&self.path))
    }

    /// Features that fulfil all of `filters`, in order, `limit` of them after the first `skip`.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn features(
        &self,
        filters: &[FeatureFilter],
        sort: SortBy,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<FeatureRow>> {
        let (condition, mut values) = self.condition(filters)?;
        values.extend([limit as f64, skip as f64]);
        let order = sort.sql();
        let get = format!(
            "SELECT feature FROM features WHERE {condition} ORDER BY {order} LIMIT CAST(? AS INTEGER) OFFSET CAST(? AS INTEGER)"
        );
        let found = self.connection.prepare(&get).and_then(|mut get| {
            let rows = get.query_map(params_from_iter(values), |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<u32>>>()
        });
        let found = found.map_err(failed(&self.path))?;
        found.into_iter().map(|feature| self.row(feature)).collect()
    }

    /// A feature as a row of a table.
    ///
    /// # Errors
    /// When there is no such feature, or the store is damaged.
    pub fn row(&self, feature: u32) -> Result<FeatureRow> {
        use rusqlite::OptionalExtension as _;
        let get = "SELECT count, max, mean FROM features WHERE feature = ?";
        let found = self
            .connection
            .prepare_cached(get)
            .and_then(|mut get| {
                let row = get.query_row([feature], |row| {
                    Ok((row.get::<_, u64>(0)?, row.get(1)?, row.get(2)?))
                });
                row.optional()
            })
            .map_err(failed(&self.path))?;
        let (count, max, mean) = found.ok_or_else(|| self.no_feature(feature))?;
        let text = |tokens: Vec<u32>| {
            let tokens = tokens.into_iter().take(TOKENS);
            tokens.map(|token| self.tokens().text(token)).collect()
        };
        let reads = self.context(feature)?.unwrap_or_default().here;
        let promoted = self.feature_role(feature)?.unwrap_or_default().promoted;
        Ok(FeatureRow {
            feature,
            density: count as f64 / self.counts()?.counted.max(1) as f64,
            count,
            max,
            mean,
            label: self.label(feature)?.map(|label| label.label),
            reads: text(reads.into_iter().map(|(token, _)| token).collect()),
            promoted: text(promoted.into_iter().map(|(token, _)| token).collect()),
        })
    }

    /// Conditions as SQL, and their values.
    fn condition(&self, filters: &[FeatureFilter]) -> Result<(String, Vec<f64>)> {
        let tokens = self.counts()?.counted.max(1) as f64;
        let mut condition = "1".to_owned();
        let mut values = Vec::new();
        for filter in filters {
            let (column, value) = match filter.field {
                Field::Density => ("count", filter.value * tokens),
                Field::Count => ("count", filter.value),
                Field::Max => ("max", filter.value),
                Field::Mean => ("mean", filter.value),
            };
            condition.push_str(&format!(" AND {column} {} ?", filter.comparison));
            values.push(value);
        }
        Ok((condition, values))
    }

    /// True if a feature fulfils all of `filters`.
    pub(crate) fn fulfils(&self, feature: u32, filters: &[FeatureFilter]) -> Result<bool> {
        if filters.is_empty() {
            return Ok(true);
        }
        let (condition, mut values) = self.condition(filters)?;
        values.push(f64::from(feature));
        let get = format!("SELECT count(*) FROM features WHERE {condition} AND feature = ?");
        let count: rusqlite::Result<u64> =
            self.connection
                .query_row(&get, params_from_iter(values), |row| row.get(0));
        Ok(count.map_err(failed(&self.path))? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_or_refused_by_name() {
        let filter: FeatureFilter = "density <= 0.01".parse().unwrap();
        assert_eq!((filter.comparison, filter.value), ("<=", 0.01));
        for wrong in [
            "",
            "density",
            "size<3",
            "max>x",
            "max>inf",
            "density<0.1 AND 1",
        ] {
            let refused = wrong.parse::<FeatureFilter>().unwrap_err().to_string();
            assert!(refused.contains("density<0.01"), "{refused}");
        }
    }
}
