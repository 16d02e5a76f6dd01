//! Steering vectors: directions that tell two sets of texts apart, one for each of some sites.
//!
//! A [`Vector`] is built from pairs of answers ([`question`]) or two sets of texts ([`text`]), saved in
//! files that other tools read, applied as [`Edit`]s and measured by [`evaluate`]. It knows no
//! autoencoder.

mod bare;
pub mod evaluate;
mod file;
mod gather;
mod pca;
pub mod question;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use saescope_kernels::{Matrix, norm};
use serde::{Deserialize, Serialize};

pub(crate) use self::file::is_gguf;
use self::gather::{Rows, Side};
use self::question::Pair;
use crate::edit::{DirectionOp, Document, Edit, Span, Unit};
use crate::error::{Error, Result, by_name};
use crate::hook::Hook;
use crate::model::Model;
use crate::pooling::Pooling;
use crate::site::Site;

/// A steering vector: one direction at each of its sites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector {
    /// The direction at each site, as wide as the activation there.
    pub directions: BTreeMap<Site, Vec<f32>>,
    /// Origin of the directions.
    pub record: VectorRecord,
}

/// Origin of a vector. A field that is not known or does not apply is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VectorRecord {
    /// Reference of the model.
    pub model: Option<String>,
    /// Family of the model, as `model_type` in a Hugging Face configuration.
    pub model_type: Option<String>,
    /// Method by which the directions were found.
    pub method: Option<Method>,
    /// The files of texts or questions.
    pub dataset: Vec<String>,
    /// Number of positive texts or answers.
    pub positive: usize,
    /// Number of negative texts or answers.
    pub negative: usize,
    /// Pooling of the tokens of a text.
    pub pooling: Option<Pooling>,
    /// True if the mean of a text's tokens counts the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// Format in which questions were put.
    pub prompt: Option<question::Style>,
    /// True if the questions were drawn so that either answer matches equally often.
    pub balanced: bool,
    /// True if each direction was scaled to length 1.
    pub unit: bool,
    /// Seed of the draw; `None` if all texts were taken.
    pub seed: Option<u64>,
    /// Edits under which the model read the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// Precision of the model's weights: `f32` or `bf16`.
    pub dtype: Option<String>,
    /// Use of the beginning-of-sequence token: `auto`, `always` or `never`.
    pub bos: Option<String>,
    /// The version of saescope.
    pub saescope: Option<String>,
}

/// Method by which a direction is found from positive and negative activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The mean of positive minus negative at the answer's letter (contrastive activation addition,
    /// Rimsky et al. 2023).
    Caa,
    /// The mean of the positive texts minus that of the negative.
    Difference,
    /// The first principal component of the paired differences about their mean: the axis along
    /// which differences vary most, as in repeng's `pca_diff` (Zou et al. 2023).
    PcaDiff,
    /// The first principal component of both members of every pair about the pair's centre, as in
    /// repeng's `pca_center`. It equals the component of the differences about zero, so that a
    /// part that all differences share counts.
    PcaCenter,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 4] = [
        Method::Caa,
        Method::Difference,
        Method::PcaDiff,
        Method::PcaCenter,
    ];

    /// Its name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Method::Caa => "caa",
            Method::Difference => "difference",
            Method::PcaDiff => "pca_diff",
            Method::PcaCenter => "pca_center",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Method> {
        by_name("method", text, &Method::ALL, Method::name)
    }
}

/// Two sets of texts as tokens, and the pooling of a text.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// Texts that show the behaviour or style of the vector.
    pub positive: &'a [Vec<u32>],
    /// Texts that do not; for a method of pairs, text `i` is the other half of positive text `i`.
    pub negative: &'a [Vec<u32>],
    /// Pooling of a text's tokens: `last` or `mean`.
    pub pooling: Pooling,
    /// True if the mean counts the first position.
    pub count_first: bool,
}

/// The contrast from which a vector is built.
#[derive(Clone, Copy, Debug)]
pub enum Contrast<'a> {
    /// Questions, each with an answer that shows the behaviour and one that does not. An answer is
    /// represented by the token in which it first differs from the other: the letter.
    Answers(&'a [Pair]),
    /// Two sets of texts.
    Texts(Texts<'a>),
}

/// A vector without its numbers, as reports show it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// Origin of the directions.
    pub record: &'a VectorRecord,
    /// The directions.
    pub sites: Vec<DirectionSummary>,
}

/// A direction without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DirectionSummary {
    /// Its site.
    pub site: Site,
    /// Number of its components.
    pub width: usize,
    /// Its length.
    pub norm: f64,
}

impl Vector {
    /// Finds the directions at `sites` in one pass of `model` over each text, from activations as
    /// `hook` leaves them. `on_done` receives the number of texts or questions of each batch.
    ///
    /// Means are summed batch by batch; PCA holds one difference per pair and site.
    ///
    /// # Errors
    /// When a set is empty, a method of pairs gets sets of different sizes, the pooling is `max`, the
    /// model lacks a site, a text is too long, or the sets do not differ at all.
    pub fn build(
        model: &Model,
        contrast: Contrast,
        method: Method,
        sites: &[Site],
        hook: &mut dyn Hook,
        on_done: &mut dyn FnMut(usize),
    ) -> Result<Vector> {
        for &site in sites {
            model.check_site(site)?;
        }
        let (positive, negative) = contrast.counts();
        if let Some(site) = sites.iter().find(|&&site| model.width(site).is_none()) {
            return Err(Error::Site {
                site: site.to_string(),
                reason: "its width depends on the text, so that it has no direction".to_owned(),
            });
        }
        contrast.check()?;
        let directions = match method {
            Method::Caa | Method::Difference => means(model, contrast, sites, hook, on_done)?,
            Method::PcaDiff | Method::PcaCenter => {
                check_pairs(method, positive, negative)?;
                components(model, contrast, method, sites, hook, on_done)?
            }
        };
        for (site, direction) in sites.iter().zip(&directions) {
            check_direction(*site, direction, method)?;
        }
        let texts = match contrast {
            Contrast::Answers(_) => None,
            Contrast::Texts(texts) => Some(texts),
        };
        Ok(Vector {
            directions: sites.iter().copied().zip(directions).collect(),
            record: VectorRecord {
                model_type: Some(model.config().family.to_string()),
                method: Some(method),
                positive,
                negative,
                pooling: texts.map(|texts| texts.pooling),
                first: texts.is_some_and(|t| t.pooling != Pooling::Last && t.count_first),
                saescope: Some(env!("CARGO_PKG_VERSION").to_owned()),
                ..VectorRecord::default()
            },
        })
    }

    /// Edits that add `scale` times each direction at its site, at the positions of `span`. Sites that
    /// `sites` does not name are omitted; if it names none, all count.
    pub fn edits(&self, scale: f32, span: &Span, sites: &[Site]) -> Vec<Edit> {
        let chosen = |site: &Site| sites.is_empty() || sites.contains(site);
        let chosen = self.directions.iter().filter(|(site, _)| chosen(site));
        chosen
            .map(|(&site, direction)| addition(site, direction, scale, span))
            .collect()
    }

    /// The same edits as a document, with the model that the vector was made for.
    pub fn document(&self, scale: f32, span: &Span, sites: &[Site]) -> Document {
        Document {
            model: self.record.model.clone(),
            edits: self.edits(scale, span, sites),
        }
    }

    /// Checks that the vector has a direction at each of `sites`.
    ///
    /// # Errors
    /// When it lacks one; the message names those that it has.
    pub fn check_sites(&self, sites: &[Site]) -> Result<()> {
        let lacks = |site: &&Site| !self.directions.contains_key(site);
        let Some(site) = sites.iter().find(lacks) else {
            return Ok(());
        };
        let held: Vec<String> = self.directions.keys().map(Site::to_string).collect();
        Err(Error::Site {
            site: site.to_string(),
            reason: format!("the vector has {}", held.join(", ")),
        })
    }

    /// The vector without its numbers.
    pub fn summary(&self) -> Summary<'_> {
        let summary = |(&site, direction): (&Site, &Vec<f32>)| DirectionSummary {
            site,
            width: direction.len(),
            norm: norm(direction),
        };
        Summary {
            record: &self.record,
            sites: self.directions.iter().map(summary).collect(),
        }
    }

    /// Removes the directions of all sites but `sites`; keeps all if it names none.
    ///
    /// # Errors
    /// As for [`Vector::check_sites`].
    pub fn retain(&mut self, sites: &[Site]) -> Result<()> {
        self.check_sites(sites)?;
        if !sites.is_empty() {
            self.directions.retain(|site, _| sites.contains(site));
        }
        Ok(())
    }

    /// Scales every direction to length 1.
    pub fn normalise(&mut self) {
        for direction in self.directions.values_mut() {
            let length = norm(direction);
            if length > 0.0 {
                let scaled = |x: &mut f32| *x = (f64::from(*x) / length) as f32;
                direction.iter_mut().for_each(scaled);
            }
        }
        self.record.unit = true;
    }

    /// Checks that `model` is of the vector's family and has its sites, with activations of its width.
    ///
    /// # Errors
    /// When it does not; the message names both sides.
    pub fn check(&self, model: &Model) -> Result<()> {
        let family = model.config().family.to_string();
        // Other tools have their own names of families, so that only ours are compared.
        if let (Some(made), true) = (&self.record.model_type, self.record.method.is_some())
            && *made != family
        {
            return Err(Error::Argument(format!(
                "the vector was made with a model of the family {made}, and this model is of the family \
                 {family}"
            )));
        }
        for (&site, direction) in &self.directions {
            model.check_site(site)?;
            let width = model.width(site);
            if width.is_some_and(|width| width != direction.len()) {
                return Err(Error::Shape {
                    what: format!("direction of the vector at {site}"),
                    expected: width.unwrap_or_default().to_string(),
                    found: direction.len().to_string(),
                });
            }
        }
        Ok(())
    }
}

/// An edit that adds `scale` times a direction.
fn addition(site: Site, direction: &[f32], scale: f32, span: &Span) -> Edit {
    Edit {
        site,
        span: span.clone(),
        op: DirectionOp::Add {
            direction: direction.to_vec(),
            scale,
            unit: Unit::Raw,
        }
        .into(),
        label: None,
    }
}

impl Contrast<'_> {
    /// Numbers of positive and negative texts.
    fn counts(&self) -> (usize, usize) {
        match self {
            Contrast::Answers(pairs) => (pairs.len(), pairs.len()),
            Contrast::Texts(texts) => (texts.positive.len(), texts.negative.len()),
        }
    }

    /// Refuses an empty set, and a pooling that no direction can be built with.
    fn check(&self) -> Result<()> {
        let (positive, negative) = self.counts();
        if positive == 0 || negative == 0 {
            let message = format!(
                "both sets need texts, and there are {positive} positive and {negative} negative ones"
            );
            return Err(Error::Argument(message));
        }
        if matches!(self, Contrast::Texts(texts) if texts.pooling == Pooling::Max) {
            let message = "a direction cannot be built with the pooling `max`: the components of an \
                           activation have no zero from which a maximum could start; use last or mean";
            return Err(Error::Argument(message.to_owned()));
        }
        Ok(())
    }
}

/// For every site, the mean of the positive activations minus the mean of the negative ones.
fn means(
    model: &Model,
    contrast: Contrast,
    sites: &[Site],
    hook: &mut dyn Hook,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let (positive, negative) = contrast.counts();
    /// Bound of the rounding error of a difference of equal sums, relative to the summed activations.
    const ROUNDING: f64 = 1e-9;
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); sites.len()];
    let mut squares = vec![0.0; sites.len()];
    let mut add = |rows: Rows| {
        let sum = &mut sums[rows.site];
        sum.resize(rows.matrix.cols(), 0.0);
        let weight = match rows.side {
            Side::Positive => 1.0 / positive as f64,
            Side::Negative => -1.0 / negative as f64,
        };
        for row in 0..rows.matrix.rows() {
            for (sum, x) in sum.iter_mut().zip(rows.matrix.row(row)) {
                *sum += weight * f64::from(*x);
            }
            squares[rows.site] += weight.abs() * norm(rows.matrix.row(row)).powi(2);
        }
    };
    gather::gather(model, contrast, sites, hook, &mut add, on_done)?;
    let rounded = |(sum, squares): (Vec<f64>, f64)| {
        let length = sum.iter().map(|x| x * x).sum::<f64>();
        let is_rounding = length <= ROUNDING * ROUNDING * squares;
        let value = |x: f64| if is_rounding { 0.0 } else { x as f32 };
        sum.into_iter().map(value).collect()
    };
    Ok(sums.into_iter().zip(squares).map(rounded).collect())
}

/// For every site, the first principal component of the paired differences.
fn components(
    model: &Model,
    contrast: Contrast,
    method: Method,
    sites: &[Site],
    hook: &mut dyn Hook,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let (pairs, _) = contrast.counts();
    let mut differences: Vec<Matrix> = vec![Matrix::default(); sites.len()]; // [pairs, d] by site
    let mut add = |rows: Rows| {
        let all = &mut differences[rows.site];
        if all.rows() == 0 {
            *all = Matrix::zeros(pairs, rows.matrix.cols());
        }
        for row in 0..rows.matrix.rows() {
            let difference = all.row_mut(rows.first + row).iter_mut();
            for (difference, x) in difference.zip(rows.matrix.row(row)) {
                match rows.side {
                    Side::Positive => *difference += x,
                    Side::Negative => *difference -= x,
                }
            }
        }
    };
    gather::gather(model, contrast, sites, hook, &mut add, on_done)?;
    let of_site =
        |differences: &Matrix| pca::first_component(differences, method == Method::PcaDiff);
    Ok(differences.par_iter().map(of_site).collect())
}

/// Refuses sets of texts that are no pairs, and too few pairs for the method.
fn check_pairs(method: Method, positive: usize, negative: usize) -> Result<()> {
    let name = method.name();
    if positive != negative {
        return Err(Error::Argument(format!(
            "{name} compares pairs, and there are {positive} positive and {negative} negative texts; give \
             as many of both, or use the method `difference`"
        )));
    }
    if method == Method::PcaDiff && positive < 2 {
        return Err(Error::Argument(format!(
            "{name} is the direction in which differences vary, and there is one pair; give two or more, or \
             use the method `{}`",
            Method::PcaCenter.name()
        )));
    }
    Ok(())
}

/// Refuses a direction that is zero or not finite.
fn check_direction(site: Site, direction: &[f32], method: Method) -> Result<()> {
    if direction.iter().any(|x| !x.is_finite()) {
        let what = format!("the direction at {site}");
        return Err(Error::Overflow { what });
    }
    if norm(direction) == 0.0 {
        let reason = match method {
            Method::PcaDiff => "all pairs differ in the same way",
            _ => "the positive and the negative texts do not differ",
        };
        return Err(Error::Argument(format!(
            "{reason} at {site}; omit that site"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
