//! Steering vectors: directions that tell two sets of texts apart, one for each of some sites.
//!
//! Built from pairs of answers ([`question`]) or two sets of texts ([`text`]), kept in files that
//! other tools read, applied as [`Edit`]s, measured by [`evaluate`]. No autoencoder is involved.

pub mod evaluate;
mod file;
mod gather;
mod pca;
pub mod question;
pub mod text;

use std::collections::BTreeMap;

use rayon::prelude::*;
use saescope_kernels::{Matrix, dot};
use serde::{Deserialize, Serialize};

use self::gather::{Rows, Side};
use self::question::Pair;
use crate::edit::{Edit, Op, Span, Unit};
use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::Model;
use crate::site::Site;

/// A steering vector: one direction at each of its sites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector {
    /// By site, a direction as wide as the activation there.
    pub directions: BTreeMap<Site, Vec<f32>>,
    /// What made it.
    pub record: Record,
}

/// What made a vector; a field is left empty where it is not known or does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The model, as it was referred to.
    pub model: Option<String>,
    /// Its family, as `model_type` in a Hugging Face configuration.
    pub model_type: Option<String>,
    /// How the directions were found.
    pub method: Option<Method>,
    /// The files of texts or questions.
    pub dataset: Vec<String>,
    /// Number of positive texts or answers.
    pub positive: usize,
    /// Number of negative texts or answers.
    pub negative: usize,
    /// Which tokens stand for a text.
    pub pooling: Option<Pooling>,
    /// How questions were put.
    pub prompt: Option<question::Style>,
    /// Whether the questions were drawn so that either answer matches equally often.
    pub balanced: bool,
    /// Whether each direction was scaled to length 1.
    pub unit: bool,
    /// The seed with which texts were drawn, where not all were taken.
    pub seed: Option<u64>,
    /// What changed the model while it read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// How the model's weights were kept.
    pub dtype: Option<String>,
    /// Whether texts began with BOS: `auto`, `always` or `never`.
    pub bos: Option<String>,
    /// The version of saescope.
    pub saescope: Option<String>,
}

/// How a direction is found from positive and negative activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The mean of positive minus negative at the answer's letter (contrastive activation addition,
    /// Rimsky et al. 2023).
    Caa,
    /// The mean of the positive texts minus that of the negative.
    Difference,
    /// The first principal component of the paired differences about their mean: the axis along
    /// which differences vary most, as repeng's `pca_diff` (Zou et al. 2023).
    PcaDiff,
    /// The first principal component of both members of every pair about the pair's centre, as
    /// repeng's `pca_center`. It is that of the differences about zero, so that what all
    /// differences share counts.
    PcaCenter,
}

impl Method {
    /// As it is written in files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Method::Caa => "caa",
            Method::Difference => "difference",
            Method::PcaDiff => "pca_diff",
            Method::PcaCenter => "pca_center",
        }
    }
}

/// Which tokens of a text stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The last one.
    Last,
    /// The mean of all but the first ([`pooled_positions`](crate::hook::pooled_positions)).
    Mean,
}

/// Two sets of texts as tokens, and what stands for a text.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// Texts that show what the vector is to stand for.
    pub positive: &'a [Vec<u32>],
    /// Texts that do not; for a method of pairs, each the other half of the text above.
    pub negative: &'a [Vec<u32>],
    /// Which tokens stand for a text.
    pub pooling: Pooling,
}

/// What a vector is built from.
#[derive(Clone, Copy, Debug)]
pub enum Contrast<'a> {
    /// Questions, each with an answer that shows the behaviour and one that does not. What stands
    /// for an answer is the token in which it first differs from the other: the letter.
    Answers(&'a [Pair]),
    /// Two sets of texts.
    Texts(Texts<'a>),
}

impl Vector {
    /// Finds the directions at `sites`, of what `hook` leaves of the activations, in one pass of
    /// `model` over each text. `on_done` receives the number of texts or questions that each batch has
    /// done.
    ///
    /// Means are summed as activations come; PCA holds one difference per pair and site.
    ///
    /// # Errors
    /// When a set is empty, a method of pairs gets sets of unlike size, the model lacks a site, a
    /// text is too long, or the sets do not differ at all.
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
        if positive == 0 || negative == 0 {
            let message = format!("{positive} positive and {negative} negative texts: both needed");
            return Err(Error::Argument(message));
        }
        let directions = match method {
            Method::Caa | Method::Difference => means(model, contrast, sites, hook, on_done)?,
            Method::PcaDiff | Method::PcaCenter if positive != negative => {
                let message = format!(
                    "{} compares pairs, and {positive} positive texts stand against {negative} \
                     negative ones; give as many of both, or use `difference`",
                    method.name()
                );
                return Err(Error::Argument(message));
            }
            Method::PcaDiff | Method::PcaCenter => {
                components(model, contrast, method, sites, hook, on_done)?
            }
        };
        for (site, direction) in sites.iter().zip(&directions) {
            check_direction(*site, direction)?;
        }
        let pooling = match contrast {
            Contrast::Answers(_) => None,
            Contrast::Texts(texts) => Some(texts.pooling),
        };
        Ok(Vector {
            directions: sites.iter().copied().zip(directions).collect(),
            record: Record {
                model_type: Some(model.config().family.to_string()),
                method: Some(method),
                positive,
                negative,
                pooling,
                saescope: Some(env!("CARGO_PKG_VERSION").to_owned()),
                ..Record::default()
            },
        })
    }

    /// Edits that add `scale` times each direction at its site, where `span` says. A direction of a
    /// site that `sites` does not name is left out; all count when it names none.
    pub fn edits(&self, scale: f32, span: &Span, sites: &[Site]) -> Vec<Edit> {
        let chosen = |site: &Site| sites.is_empty() || sites.contains(site);
        let chosen = self.directions.iter().filter(|(site, _)| chosen(site));
        chosen
            .map(|(&site, direction)| addition(site, direction, scale, span))
            .collect()
    }

    /// Whether the vector has a direction at each of `sites`.
    ///
    /// # Errors
    /// Which one it lacks, and which it has.
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

    /// Whether `model` has the sites of this vector and activations of its width there, and is of
    /// its family.
    ///
    /// # Errors
    /// What does not fit, with both sides named.
    pub fn check(&self, model: &Model) -> Result<()> {
        let family = model.config().family.to_string();
        // Other tools write their own names of families, so that only our own are compared.
        if let (Some(made), true) = (&self.record.model_type, self.record.method.is_some())
            && *made != family
        {
            return Err(Error::Argument(format!(
                "the vector was made with a model of the family {made}, and this one is {family}"
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

/// The one place that says how a direction becomes an edit.
fn addition(site: Site, direction: &[f32], scale: f32, span: &Span) -> Edit {
    Edit {
        site,
        span: span.clone(),
        op: Op::Add {
            direction: direction.to_vec(),
            scale,
            unit: Unit::Raw,
        },
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
}

/// For every site the mean of the positive activations minus that of the negative.
fn means(
    model: &Model,
    contrast: Contrast,
    sites: &[Site],
    hook: &mut dyn Hook,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let (positive, negative) = contrast.counts();
    /// What is left of a difference of equal sums, as a share of what is summed, is less than this.
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

/// For every site the first principal component of the paired differences.
fn components(
    model: &Model,
    contrast: Contrast,
    method: Method,
    sites: &[Site],
    hook: &mut dyn Hook,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let (pairs, _) = contrast.counts();
    let mut differences: Vec<Matrix> = vec![Matrix::default(); sites.len()];
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

/// Refuses a direction that steers nothing or breaks everything.
fn check_direction(site: Site, direction: &[f32]) -> Result<()> {
    if direction.iter().any(|x| !x.is_finite()) {
        let what = format!("the direction at {site}");
        return Err(Error::Overflow { what });
    }
    if norm(direction) == 0.0 {
        return Err(Error::Argument(format!(
            "the positive and the negative texts do not differ at {site}; leave that site out"
        )));
    }
    Ok(())
}

/// Length of a direction.
pub fn norm(direction: &[f32]) -> f64 {
    dot(direction, direction).sqrt()
}

#[cfg(test)]
mod tests;
