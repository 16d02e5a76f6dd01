//! Interventions as data, so that the command line, a saved file and a test hold the same value.
//!
//! An [`Edit`] adds or removes a direction, or changes a feature of an autoencoder. A direction is
//! applied to rows here, by a [`DirectionEdit`]; a feature needs its autoencoder, which this module does
//! not know, and is changed by [`Splice`](crate::sae::Splice).

use std::io::Write as _;
use std::path::Path;

use saescope_kernels::{
    Matrix, RowSet, add_direction, dot, norm, project_out, row_stds, squared_row_norms,
};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{holds_tensors, save_whole};
use crate::error::{Error, Result};
use crate::hook::Rows;
use crate::site::Site;
use crate::stand_in;

/// One change to one activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The site of the activation.
    pub site: Site,
    /// The tokens that are changed.
    #[serde(default)]
    pub span: Span,
    /// The change.
    pub op: Op,
    /// A name for people; it changes nothing.
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
    /// True if `position` lies in the span.
    pub fn contains(&self, position: usize) -> bool {
        match self {
            Span::All => true,
            Span::From(first) => position >= *first,
            Span::Only(positions) => positions.contains(&position),
        }
    }
}

/// The change that an edit makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "OpDocument", into = "OpDocument")]
pub enum Op {
    /// A direction is added to every token, or removed from it.
    Direction(DirectionOp),
    /// The activation of a feature changes. The error term, which the autoencoder does not reconstruct,
    /// stays.
    Feature {
        /// Reference of the autoencoder.
        sae: String,
        /// Id of the feature.
        feature: u32,
        /// The change to its activation.
        op: FeatureOp,
    },
}

/// The change that a direction makes to a row `x` of an activation.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectionOp {
    /// Adds a multiple of the direction.
    Add {
        /// `[d]`
        direction: Vec<f32>,
        /// The multiplier.
        scale: f32,
        /// The unit of the multiplier.
        unit: Unit,
    },
    /// `x - (x . u) u` for the unit vector `u` along the direction: `x` no longer points that way.
    Ablate {
        /// `[d]`
        direction: Vec<f32>,
    },
}

/// A change to the activation of one feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureOp {
    /// The activation becomes this, active before or not; 0 ablates the feature.
    Set(f32),
    /// The activation is multiplied by this; a feature that is not active stays so.
    Multiply(f32),
}

impl FeatureOp {
    /// The activation after the change.
    pub fn apply(self, activation: f32) -> f32 {
        match self {
            FeatureOp::Set(value) => value,
            FeatureOp::Multiply(factor) => factor * activation,
        }
    }

    /// True if the number of the change is finite.
    pub fn is_finite(self) -> bool {
        let (FeatureOp::Set(number) | FeatureOp::Multiply(number)) = self;
        number.is_finite()
    }
}

impl From<DirectionOp> for Op {
    fn from(op: DirectionOp) -> Op {
        Op::Direction(op)
    }
}

/// The form of an [`Op`] in a document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum OpDocument {
    Add {
        direction: Vec<f32>,
        scale: f32,
        #[serde(default)]
        unit: Unit,
    },
    Ablate {
        direction: Vec<f32>,
    },
    Set {
        sae: String,
        feature: u32,
        activation: f32,
    },
    Multiply {
        sae: String,
        feature: u32,
        factor: f32,
    },
}

impl From<OpDocument> for Op {
    fn from(document: OpDocument) -> Op {
        let feature = |sae, feature, op| Op::Feature { sae, feature, op };
        match document {
            OpDocument::Add {
                direction,
                scale,
                unit,
            } => Op::Direction(DirectionOp::Add {
                direction,
                scale,
                unit,
            }),
            OpDocument::Ablate { direction } => Op::Direction(DirectionOp::Ablate { direction }),
            OpDocument::Set {
                sae,
                feature: id,
                activation,
            } => feature(sae, id, FeatureOp::Set(activation)),
            OpDocument::Multiply {
                sae,
                feature: id,
                factor,
            } => feature(sae, id, FeatureOp::Multiply(factor)),
        }
    }
}

impl From<Op> for OpDocument {
    fn from(op: Op) -> OpDocument {
        match op {
            Op::Direction(DirectionOp::Add {
                direction,
                scale,
                unit,
            }) => OpDocument::Add {
                direction,
                scale,
                unit,
            },
            Op::Direction(DirectionOp::Ablate { direction }) => OpDocument::Ablate { direction },
            Op::Feature {
                sae,
                feature,
                op: FeatureOp::Set(activation),
            } => OpDocument::Set {
                sae,
                feature,
                activation,
            },
            Op::Feature {
                sae,
                feature,
                op: FeatureOp::Multiply(factor),
            } => OpDocument::Multiply {
                sae,
                feature,
                factor,
            },
        }
    }
}

/// The unit of an added direction's multiplier. The standard deviation and the norm are those of the
/// token as the model computed it, before any edit at the same site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The direction as it is: `x + scale * direction`.
    #[default]
    Raw,
    /// The token's unbiased standard deviation: `x + scale * std(x) * direction`. A feature with that
    /// activation writes this under OpenAI's layer norm (Gao et al. 2024).
    Std,
    /// The norm of the token: `x + scale * |x| * direction / |direction|`.
    Norm,
}

impl Unit {
    /// The multiple of `direction` that a scale of 1 adds to a token `x`.
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
                let norm = norm(direction);
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
    pub fn new(site: Site, op: impl Into<Op>) -> Edit {
        Edit {
            site,
            span: Span::All,
            op: op.into(),
            label: None,
        }
    }

    /// The reference of the autoencoder that the edit needs, if any.
    pub fn sae(&self) -> Option<&str> {
        match &self.op {
            Op::Feature { sae, .. } => Some(sae),
            Op::Direction(_) => None,
        }
    }

    /// Checks that a direction is as wide as the activation that it changes, if that width is known.
    ///
    /// # Errors
    /// When the two differ.
    pub fn check_fits(&self, width: Option<usize>) -> Result<()> {
        match (&self.op, width) {
            (Op::Direction(op), Some(width)) => op.check_fits(self.site, width),
            _ => Ok(()),
        }
    }

    /// Checks that every number of the edit is finite.
    ///
    /// # Errors
    /// When one is not; the message names it.
    pub fn check(&self) -> Result<()> {
        let broken = match &self.op {
            Op::Direction(op) => op.not_finite(),
            Op::Feature { op, .. } if op.is_finite() => None,
            Op::Feature {
                op: FeatureOp::Set(_),
                ..
            } => Some("activation"),
            Op::Feature {
                op: FeatureOp::Multiply(_),
                ..
            } => Some("factor"),
        };
        match broken {
            None => Ok(()),
            Some(name) => Err(Error::NotANumber {
                what: format!("the {name} of an edit at {}", self.site),
            }),
        }
    }
}

/// An edit of a direction, its numbers checked: the form that is applied to rows.
#[derive(Clone, Debug)]
pub struct DirectionEdit {
    site: Site,
    span: Span,
    op: DirectionOp,
}

impl DirectionEdit {
    /// The direction of `edit`, ready to be applied.
    ///
    /// # Errors
    /// When a number in the edit is not finite, or it changes a feature, for which its autoencoder is
    /// needed ([`Steer`](crate::steer::Steer)).
    pub fn new(edit: &Edit) -> Result<DirectionEdit> {
        edit.check()?;
        match &edit.op {
            Op::Direction(op) => Ok(DirectionEdit {
                site: edit.site,
                span: edit.span.clone(),
                op: op.clone(),
            }),
            Op::Feature { sae, feature, .. } => Err(Error::Argument(format!(
                "an edit at {} changes feature {feature} of {sae}, and needs that autoencoder",
                edit.site
            ))),
        }
    }

    /// The site of the activation that is changed.
    pub fn site(&self) -> Site {
        self.site
    }

    /// Changes the rows of `x` that lie in the span; `original` holds the same rows before any edit at
    /// this site. Both are `[rows, d]`.
    ///
    /// # Errors
    /// When the direction is not as long as a row.
    pub fn apply(&self, rows: &Rows, original: &Matrix, x: &mut Matrix) -> Result<()> {
        self.op.check_fits(self.site, x.cols())?;
        let edited: Vec<usize> = rows
            .positions()
            .enumerate()
            .filter(|&(_, position)| self.span.contains(position))
            .map(|(row, _)| row)
            .collect();
        self.op.apply(&edited, original, x);
        Ok(())
    }
}

impl DirectionOp {
    fn direction(&self) -> &[f32] {
        let (DirectionOp::Add { direction, .. } | DirectionOp::Ablate { direction }) = self;
        direction
    }

    /// The name of a number that is not finite.
    fn not_finite(&self) -> Option<&'static str> {
        if matches!(self, DirectionOp::Add { scale, .. } if !scale.is_finite()) {
            return Some("scale");
        }
        let finite = self.direction().iter().all(|x| x.is_finite());
        (!finite).then_some("direction")
    }

    fn check_fits(&self, site: Site, width: usize) -> Result<()> {
        let found = self.direction().len();
        if found == width {
            return Ok(());
        }
        Err(Error::Shape {
            what: format!("direction of an edit at {site}"),
            expected: width.to_string(),
            found: found.to_string(),
        })
    }

    fn apply(&self, rows: &[usize], original: &Matrix, x: &mut Matrix) {
        match self {
            // Adding zero would turn -0.0 into 0.0; a scale of 0 changes nothing at all.
            DirectionOp::Add { scale: 0.0, .. } => {}
            DirectionOp::Add {
                direction,
                scale,
                unit,
            } => {
                let sizes = unit.sizes(original, rows, direction).into_iter();
                let factors: Vec<f32> = sizes.map(|size| scale * size).collect();
                add_direction(x, rows, &factors, direction);
            }
            DirectionOp::Ablate { direction } => project_out(x, rows, direction),
        }
    }
}

/// The coefficient of `direction` in `x`, by projection; 0 for a direction of zeros.
pub(crate) fn share(x: &[f32], direction: &[f32]) -> f32 {
    let norm = dot(direction, direction);
    if norm > 0.0 {
        (dot(x, direction) / norm) as f32
    } else {
        0.0
    }
}

/// The content of an edits file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Reference of the model that the edits were made for.
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
        Document::parse(path, &bytes)
    }

    /// The edits in the bytes of a document; errors call it `path`.
    ///
    /// # Errors
    /// As [`Document::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Document> {
        if holds_tensors(bytes) {
            let path = path.to_owned();
            return Err(Error::TensorsAsEdits { path });
        }
        stand_in::check_text(path, bytes)?;
        let list = bytes.trim_ascii_start().starts_with(b"[");
        let read = if list {
            serde_json::from_slice(bytes).map(|edits| Document { model: None, edits })
        } else {
            serde_json::from_slice(bytes)
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
    /// When the system refuses; a file at `path` is then unchanged.
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

    fn add(direction: Vec<f32>, scale: f32, unit: Unit) -> DirectionOp {
        DirectionOp::Add {
            direction,
            scale,
            unit,
        }
    }

    /// `x` after an edit at every token.
    fn after(op: DirectionOp, x: &[f32]) -> Vec<f32> {
        let mut x = Matrix::from_vec(1, x.len(), x.to_vec());
        apply(&Edit::new(Site::ResidPost(0), op), 0, &mut x).unwrap();
        x.data().to_vec()
    }

    /// Applies an edit to rows whose positions begin at `start`.
    fn apply(edit: &Edit, start: usize, x: &mut Matrix) -> Result<()> {
        let rows = rows(start, x.rows());
        DirectionEdit::new(edit)?.apply(&rows, &x.clone(), x)
    }

    #[test]
    fn adding_scales_the_direction_in_the_span_only() {
        let edit = Edit {
            span: Span::From(6),
            ..Edit::new(Site::ResidPost(0), add(vec![1.0, -2.0], 3.0, Unit::Raw))
        };
        let mut x = Matrix::from_vec(2, 2, vec![1.0, 1.0, 1.0, 1.0]);
        apply(&edit, 5, &mut x).unwrap();
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
        let x = after(DirectionOp::Ablate { direction }, &[7.0, -1.0]);
        assert!((x[0] * 3.0 + x[1] * 4.0).abs() < 1e-5);
    }

    #[test]
    fn a_direction_of_another_width_or_with_a_number_that_is_not_finite_is_refused() {
        let apply = |op| apply(&Edit::new(Site::Embed, op), 0, &mut Matrix::zeros(1, 2));
        let wide = apply(add(vec![1.0; 3], 1.0, Unit::Raw));
        assert!(matches!(wide, Err(Error::Shape { .. })));
        let direction = vec![1.0, f32::NAN];
        let broken = apply(DirectionOp::Ablate { direction });
        assert!(matches!(broken, Err(Error::NotANumber { .. })));
    }

    #[test]
    fn a_change_of_a_feature_is_not_applied_without_its_autoencoder() {
        let op = Op::Feature {
            sae: "a/b".to_owned(),
            feature: 7,
            op: FeatureOp::Set(0.0),
        };
        let refused = DirectionEdit::new(&Edit::new(Site::Embed, op)).unwrap_err();
        assert!(matches!(&refused, Error::Argument(text) if text.contains("a/b")));
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
    fn a_saved_document_and_a_bare_list_are_read_back() {
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
