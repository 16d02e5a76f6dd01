//! Interventions as data, so that the command line, a saved run and a test hold the same value.

use saescope_kernels::Matrix;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::site::Site;

/// One change to one activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Where.
    pub site: Site,
    /// At which tokens.
    #[serde(default)]
    pub span: Span,
    /// What happens there.
    pub op: Op,
}

/// Absolute token positions, so that a KV cache cannot change what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Span {
    /// Every token, of the prompt and generated.
    #[default]
    All,
    /// Every token from this position on.
    From(usize),
    /// These positions only.
    Only(Vec<usize>),
}

impl Span {
    /// Whether `position` lies in the span.
    pub fn contains(&self, position: usize) -> bool {
        match self {
            Span::All => true,
            Span::From(first) => position >= *first,
            Span::Only(positions) => positions.contains(&position),
        }
    }
}

/// What an edit does to a row `x` of the activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// `x + scale * direction`, the direction as it is, not normalised.
    Add {
        /// `[d]`
        direction: Vec<f32>,
        /// Its multiplier.
        scale: f32,
    },
    /// `x - (x . u) u` for the unit vector `u` along the direction: `x` no longer points that way.
    Ablate {
        /// `[d]`
        direction: Vec<f32>,
    },
}

impl Edit {
    /// Changes the rows of `x` that lie in the span. `x` is `[rows, d]`.
    ///
    /// # Errors
    /// When the direction is not as long as a row of the activation.
    pub fn apply(&self, rows: &Rows, x: &mut Matrix) -> Result<()> {
        let (Op::Add { direction, .. } | Op::Ablate { direction }) = &self.op;
        if direction.len() != x.cols() {
            return Err(Error::Shape {
                what: format!("direction of an edit at {}", self.site),
                expected: x.cols().to_string(),
                found: direction.len().to_string(),
            });
        }
        for (row, position) in rows.positions().enumerate() {
            if self.span.contains(position) {
                self.op.apply(x.row_mut(row));
            }
        }
        Ok(())
    }
}

impl Op {
    fn apply(&self, x: &mut [f32]) {
        match self {
            // Adding zero would turn -0.0 into 0.0; a scale of 0 changes nothing at all.
            Op::Add { scale: 0.0, .. } => {}
            Op::Add { direction, scale } => {
                for (x, d) in x.iter_mut().zip(direction) {
                    *x += scale * d;
                }
            }
            Op::Ablate { direction } => {
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter()
                        .zip(b)
                        .map(|(&a, &b)| f64::from(a) * f64::from(b))
                        .sum()
                };
                let norm = dot(direction, direction);
                if norm > 0.0 {
                    let share = (dot(x, direction) / norm) as f32;
                    for (x, d) in x.iter_mut().zip(direction) {
                        *x -= share * d;
                    }
                }
            }
        }
    }
}

/// Applies edits, in order, wherever they say.
pub struct Steer {
    edits: Vec<Edit>,
}

impl Steer {
    /// A hook that applies `edits`.
    pub fn new(edits: Vec<Edit>) -> Steer {
        Steer { edits }
    }
}

impl Hook for Steer {
    fn wants(&self, site: Site) -> bool {
        self.edits.iter().any(|edit| edit.site == site)
    }

    fn at(&mut self, site: Site, rows: &Rows, mut x: Matrix) -> Result<Matrix> {
        for edit in self.edits.iter().filter(|edit| edit.site == site) {
            edit.apply(rows, &mut x)?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::RowSpan;

    fn rows(start: usize, len: usize) -> Rows {
        Rows::new(vec![RowSpan { start, len }])
    }

    #[test]
    fn adding_scales_the_direction_in_the_span_only() {
        let edit = Edit {
            site: Site::ResidPost(0),
            span: Span::From(6),
            op: Op::Add {
                direction: vec![1.0, -2.0],
                scale: 3.0,
            },
        };
        let mut x = Matrix::from_vec(2, 2, vec![1.0, 1.0, 1.0, 1.0]);
        edit.apply(&rows(5, 2), &mut x).unwrap();
        assert_eq!(x.data(), [1.0, 1.0, 4.0, -5.0]);
    }

    #[test]
    fn ablating_leaves_nothing_along_the_direction() {
        let op = Op::Ablate {
            direction: vec![3.0, 4.0],
        };
        let mut x = [7.0, -1.0];
        op.apply(&mut x);
        assert!((x[0] * 3.0 + x[1] * 4.0).abs() < 1e-5);
    }

    #[test]
    fn a_direction_of_another_width_is_refused() {
        let op = Op::Add {
            direction: vec![1.0; 3],
            scale: 1.0,
        };
        let edit = Edit {
            site: Site::Embed,
            span: Span::All,
            op,
        };
        let mut x = Matrix::zeros(1, 2);
        assert!(matches!(
            edit.apply(&rows(0, 1), &mut x),
            Err(Error::Shape { .. })
        ));
    }

    #[test]
    fn an_edit_survives_json_and_unknown_fields_do_not() {
        let json =
            r#"{"site":"mlp_out.5","span":{"only":[1,4]},"op":{"ablate":{"direction":[1.0]}}}"#;
        let edit: Edit = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&edit).unwrap(), json);
        assert!(serde_json::from_str::<Edit>(&json.replace("span", "spam")).is_err());
    }
}
