//! Interventions as data, so that the command line, a saved file and a test hold the same value.

use std::io::Write as _;
use std::path::Path;

use saescope_kernels::{
    Matrix, RowSet, add_direction, dot, project_out, row_stds, squared_row_norms,
};
use serde::{Deserialize, Serialize};

use crate::checkpoint::save_whole;
use crate::error::{Error, Result};
use crate::hook::Rows;
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
    /// What people call it; it changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
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
    /// Adds a multiple of the direction.
    Add {
        /// `[d]`
        direction: Vec<f32>,
        /// Its multiplier.
        scale: f32,
        /// What the multiplier counts.
        #[serde(default)]
        unit: Unit,
    },
    /// `x - (x . u) u` for the unit vector `u` along the direction: `x` no longer points that way.
    Ablate {
        /// `[d]`
        direction: Vec<f32>,
    },
    /// Gives a feature of an autoencoder this activation, active before or not; 0 ablates it. What
    /// the autoencoder does not reconstruct stays.
    Set {
        /// Reference of the autoencoder.
        sae: String,
        /// Which feature.
        feature: u32,
        /// What its activation becomes.
        activation: f32,
    },
    /// Multiplies the activation of a feature; where it is not active, nothing changes.
    Multiply {
        /// Reference of the autoencoder.
        sae: String,
        /// Which feature.
        feature: u32,
        /// What its activation is multiplied with.
        factor: f32,
    },
}

/// What the multiplier of an added direction counts. The standard deviation and the norm are those
/// of the token as the model computed it, before any edit at the same site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The direction as it is: `x + scale * direction`.
    #[default]
    Raw,
    /// The token's unbiased standard deviation: `x + scale * std(x) * direction`, what a feature
    /// with that activation writes under OpenAI's layer norm (Gao et al. 2024).
    Std,
    /// The norm of the token: `x + scale * |x| * direction / |direction|`.
    Norm,
}

impl Unit {
    /// What is to be multiplied with `direction` where the scale is 1, on a token `x`.
    pub fn size(self, x: &[f32], direction: &[f32]) -> f32 {
        let x = Matrix::from_vec(1, x.len(), x.to_vec());
        self.sizes(&x, &[0], direction)[0]
    }

    /// The same for rows of `x`, `[tokens, d]`.
    fn sizes(self, x: &Matrix, rows: &[usize], direction: &[f32]) -> Vec<f32> {
        let set = RowSet::Only(rows);
        match self {
            Unit::Raw => vec![1.0; rows.len()],
            Unit::Std if x.cols() < 2 => vec![0.0; rows.len()],
            Unit::Std => row_stds(x, set).iter().map(|&std| std as f32).collect(),
            Unit::Norm => {
                let norm = dot(direction, direction).sqrt();
                if norm > 0.0 {
                    let squares = squared_row_norms(x, set).into_iter();
                    squares
                        .map(|square| (square.sqrt() / norm) as f32)
                        .collect()
                } else {
                    vec![0.0; rows.len()]
                }
            }
        }
    }
}

impl Edit {
    /// An edit of every token.
    pub fn new(site: Site, op: Op) -> Edit {
        Edit {
            site,
            span: Span::All,
            op,
            label: None,
        }
    }

    /// The autoencoder that it needs, by reference.
    pub fn sae(&self) -> Option<&str> {
        match &self.op {
            Op::Set { sae, .. } | Op::Multiply { sae, .. } => Some(sae),
            Op::Add { .. } | Op::Ablate { .. } => None,
        }
    }

    /// Changes the rows of `x` that lie in the span; `original` are the same rows before any edit at
    /// this site. Both are `[rows, d]`. An edit of a feature needs its autoencoder and is left to
    /// [`Steer`](crate::steer::Steer).
    ///
    /// # Errors
    /// When the direction is not as long as a row, or a number in the edit is not finite.
    pub fn apply(&self, rows: &Rows, original: &Matrix, x: &mut Matrix) -> Result<()> {
        if self.sae().is_some() {
            return Ok(());
        }
        self.check()?;
        self.check_fits(Some(x.cols()))?;
        let inside = rows.positions().enumerate();
        let inside = inside.filter(|&(_, position)| self.span.contains(position));
        let inside: Vec<usize> = inside.map(|(row, _)| row).collect();
        self.op.apply(&inside, original, x);
        Ok(())
    }

    /// Whether a direction is as wide as the activation that it changes, where that has a width.
    ///
    /// # Errors
    /// Which is not.
    pub fn check_fits(&self, width: Option<usize>) -> Result<()> {
        let (Op::Add { direction, .. } | Op::Ablate { direction }) = &self.op else {
            return Ok(());
        };
        match width.filter(|&width| width != direction.len()) {
            None => Ok(()),
            Some(width) => Err(Error::Shape {
                what: format!("direction of an edit at {}", self.site),
                expected: width.to_string(),
                found: direction.len().to_string(),
            }),
        }
    }

    /// Whether every number in it is one.
    ///
    /// # Errors
    /// Which is not.
    pub fn check(&self) -> Result<()> {
        let finite = |direction: &[f32]| direction.iter().all(|x| x.is_finite());
        let what = match &self.op {
            Op::Add { scale, .. } if !scale.is_finite() => "scale",
            Op::Set { activation, .. } if !activation.is_finite() => "activation",
            Op::Multiply { factor, .. } if !factor.is_finite() => "factor",
            Op::Add { direction, .. } | Op::Ablate { direction } if !finite(direction) => {
                "direction"
            }
            _ => return Ok(()),
        };
        let message = format!("the {what} of an edit at {} is not finite", self.site);
        Err(Error::Argument(message))
    }
}

impl Op {
    fn apply(&self, rows: &[usize], original: &Matrix, x: &mut Matrix) {
        match self {
            // Adding zero would turn -0.0 into 0.0; a scale of 0 changes nothing at all.
            Op::Add { scale: 0.0, .. } | Op::Set { .. } | Op::Multiply { .. } => {}
            Op::Add {
                direction,
                scale,
                unit,
            } => {
                let sizes = unit.sizes(original, rows, direction).into_iter();
                let factors: Vec<f32> = sizes.map(|size| scale * size).collect();
                add_direction(x, rows, &factors, direction);
            }
            Op::Ablate { direction } => project_out(x, rows, direction),
        }
    }
}

/// The multiple of `direction` that `x` holds; 0 of a direction of zeros.
pub(crate) fn share(x: &[f32], direction: &[f32]) -> f32 {
    let norm = dot(direction, direction);
    if norm > 0.0 {
        (dot(x, direction) / norm) as f32
    } else {
        0.0
    }
}

/// Steering settings as a file holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Reference of the model that they were made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The edits, in the order in which they are made.
    pub edits: Vec<Edit>,
}

impl Document {
    /// Reads a document, or a bare list of edits.
    ///
    /// # Errors
    /// When the file cannot be read, holds something else, or a number that is not finite.
    pub fn load(path: &Path) -> Result<Document> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let list = bytes.trim_ascii_start().starts_with(b"[");
        let read = if list {
            serde_json::from_slice(&bytes).map(|edits| Document { model: None, edits })
        } else {
            serde_json::from_slice(&bytes)
        };
        let document = read.map_err(|e| {
            let reason = format!(
                "{e}; expected edits such as {{\"edits\": [{{\"site\": \"resid_post.2\", \"op\": \
                 {{\"add\": {{\"direction\": [0.1, …], \"scale\": 4}}}}}}]}}"
            );
            Error::format(path, reason)
        })?;
        for edit in &document.edits {
            edit.check()
                .map_err(|e| Error::format(path, e.to_string()))?;
        }
        Ok(document)
    }

    /// Writes the document, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses; what was at `path` is there still.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.map_err(|e| Error::format(path, e.to_string()))?;
        text.push(b'\n');
        save_whole(path, |file| file.write_all(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::RowSpan;

    fn rows(start: usize, len: usize) -> Rows {
        Rows::new(vec![RowSpan { start, len }])
    }

    fn add(direction: Vec<f32>, scale: f32, unit: Unit) -> Op {
        Op::Add {
            direction,
            scale,
            unit,
        }
    }

    /// `x` after an edit at every token.
    fn after(op: Op, x: &[f32]) -> Vec<f32> {
        let before = Matrix::from_vec(1, x.len(), x.to_vec());
        let mut x = before.clone();
        let edit = Edit::new(Site::ResidPost(0), op);
        edit.apply(&rows(0, 1), &before, &mut x).unwrap();
        x.data().to_vec()
    }

    #[test]
    fn adding_scales_the_direction_in_the_span_only() {
        let edit = Edit {
            span: Span::From(6),
            ..Edit::new(Site::ResidPost(0), add(vec![1.0, -2.0], 3.0, Unit::Raw))
        };
        let before = Matrix::from_vec(2, 2, vec![1.0, 1.0, 1.0, 1.0]);
        let mut x = before.clone();
        edit.apply(&rows(5, 2), &before, &mut x).unwrap();
        assert_eq!(x.data(), [1.0, 1.0, 4.0, -5.0]);
    }

    #[test]
    fn units_measure_the_token() {
        // Standard deviation sqrt((9 + 9) / 1) of [1, 7], norm 5 of [3, 4].
        let std = after(add(vec![1.0, 0.0], 2.0, Unit::Std), &[1.0, 7.0]);
        assert!((std[0] - (1.0 + 2.0 * 18.0_f32.sqrt())).abs() < 1e-5);
        let norm = after(add(vec![0.0, -8.0], 0.5, Unit::Norm), &[3.0, 4.0]);
        assert_eq!(norm, [3.0, 4.0 - 2.5]);
        assert_eq!(
            after(add(vec![0.0; 2], 1.0, Unit::Norm), &[3.0, 4.0]),
            [3.0, 4.0]
        );
    }

    #[test]
    fn ablating_leaves_nothing_along_the_direction() {
        let direction = vec![3.0, 4.0];
        let x = after(Op::Ablate { direction }, &[7.0, -1.0]);
        assert!((x[0] * 3.0 + x[1] * 4.0).abs() < 1e-5);
    }

    #[test]
    fn a_direction_of_another_width_or_without_numbers_is_refused() {
        let apply = |op| {
            let before = Matrix::zeros(1, 2);
            Edit::new(Site::Embed, op).apply(&rows(0, 1), &before, &mut before.clone())
        };
        let wide = apply(add(vec![1.0; 3], 1.0, Unit::Raw));
        assert!(matches!(wide, Err(Error::Shape { .. })));
        let direction = vec![1.0, f32::NAN];
        let broken = apply(Op::Ablate { direction });
        assert!(matches!(broken, Err(Error::Argument(_))));
    }

    #[test]
    fn every_edit_survives_json_and_unknown_fields_do_not() {
        for json in [
            r#"{"site":"mlp_out.5","span":{"only":[1,4]},"op":{"ablate":{"direction":[1.0]}}}"#,
            r#"{"site":"embed","span":"all","op":{"add":{"direction":[1.0],"scale":2.0,"unit":"std"}},"label":"kind"}"#,
            r#"{"site":"embed","span":{"from":3},"op":{"set":{"sae":"a/b","feature":7,"activation":0.0}}}"#,
            r#"{"site":"embed","span":"all","op":{"multiply":{"sae":"a/b","feature":7,"factor":2.0}}}"#,
        ] {
            let edit: Edit = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&edit).unwrap(), json);
            for known in ["span", "direction", "feature", "label", "unit"] {
                let unknown = json.replace(&format!("{known}\""), &format!("{known}s\""));
                let read = serde_json::from_str::<Edit>(&unknown);
                assert!(unknown == json || read.is_err(), "{unknown}");
            }
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_saved_and_so_is_a_bare_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edits.json");
        let edits = vec![Edit::new(
            Site::Embed,
            add(vec![0.1, -2.0], 3.5, Unit::Norm),
        )];
        let document = Document {
            model: Some("a/b".to_owned()),
            edits: edits.clone(),
        };
        document.save(&path).unwrap();
        assert_eq!(Document::load(&path).unwrap(), document);
        std::fs::write(&path, serde_json::to_string(&edits).unwrap()).unwrap();
        let model = None;
        assert_eq!(Document::load(&path).unwrap(), Document { model, edits });
    }

    #[test]
    fn broken_documents_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edits.json");
        let add = |scale: &str| {
            format!(r#"[{{"site":"embed","op":{{"add":{{"direction":[1.0],"scale":{scale}}}}}}}]"#)
        };
        for text in ["", "{}", "[1]", r#"{"edits":[],"edit":[]}"#, &add("1e99")] {
            std::fs::write(&path, text).unwrap();
            let read = Document::load(&path);
            assert!(
                matches!(read, Err(Error::Format { .. })),
                "{text}: {read:?}"
            );
        }
        std::fs::write(&path, add("1e9")).unwrap();
        Document::load(&path).unwrap();
    }
}
