//! Measures how far a vector moves a model from one answer of a question to the other.
//!
//! Knows questions as tokens only; files and formats of questions are in [`question`](super::question).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::Vector;
use super::gather::read_into_cache;
use super::question::Pair;
use crate::edit::Span;
use crate::error::{Error, Result, by_name};
use crate::hook::Hook;
use crate::model::{Cache, Model, PASS_TOKENS, TextBatches};
use crate::show::chart::{Chart, Series};
use crate::site::Site;
use crate::steer::Steer;

/// Tokens to which a vector is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// The tokens after the question, as in CAA (Rimsky et al. 2023).
    #[default]
    Answer,
    /// Every token, the first included.
    All,
}

impl Positions {
    /// Every choice.
    pub const ALL: [Positions; 2] = [Positions::Answer, Positions::All];

    /// Its name in JSON and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Positions::Answer => "answer",
            Positions::All => "all",
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Positions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Positions> {
        by_name("positions", text, &Positions::ALL, Positions::name)
    }
}

/// Questions, sites and multipliers to try.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// The questions.
    pub pairs: &'a [Pair],
    /// Sites of the vector, each tried alone.
    pub sites: &'a [Site],
    /// Multipliers of the direction; 0 leaves the model as it is.
    pub multipliers: &'a [f32],
    /// Tokens to which the vector is added.
    pub positions: Positions,
}

/// Answers at one site with one multiplier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Site at which the vector was added.
    pub site: Site,
    /// Multiplier of the direction.
    pub multiplier: f32,
    /// Mean over the questions of the logit of the matching letter minus that of the other, at the
    /// position of the letter. The softmax's sum cancels, so that it is the mean difference of
    /// log-probabilities too.
    pub logit_difference: f64,
    /// Mean probability of the matching letter, given that the answer is one of the two.
    pub probability: f64,
    /// Share of the questions in which the matching letter is the likelier one.
    pub preferred: f64,
}

/// Outcomes of a trial, as reports show them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Every site with every multiplier.
    pub outcomes: Vec<Outcome>,
    /// Sites at which every larger multiplier gives a larger logit difference.
    pub rises: Vec<Site>,
    /// The best site on other questions, if those were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenSite>,
}

/// The best site on questions that are not reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenSite {
    /// The site.
    pub site: Site,
    /// Number of the questions.
    pub n_questions: usize,
    /// Outcomes on them.
    pub outcomes: Vec<Outcome>,
}

impl Evaluation {
    /// An evaluation from the outcomes at `sites`, and the choice of a site if there was one.
    pub fn new(sites: &[Site], outcomes: Vec<Outcome>, chosen: Option<ChosenSite>) -> Evaluation {
        let rising = sites.iter().copied().filter(|&site| rises(&outcomes, site));
        Evaluation {
            rises: rising.collect(),
            outcomes,
            chosen,
        }
    }
}

impl ChosenSite {
    /// The best site of some outcomes on `n_questions` questions.
    ///
    /// # Errors
    /// When there are no outcomes.
    pub fn of(outcomes: Vec<Outcome>, n_questions: usize) -> Result<ChosenSite> {
        let site = best_site(&outcomes).ok_or_else(|| {
            let message = "the vector has no direction to choose from";
            Error::Argument(message.to_owned())
        })?;
        Ok(ChosenSite {
            site,
            n_questions,
            outcomes,
        })
    }
}

/// Tries every site with every multiplier on every question: sites in the order given, for each the
/// multipliers in the order given. `on_done` receives the number of questions of each batch.
///
/// The tokens before the first steered one are read once for all sites and multipliers. `hook` belongs
/// to the model: its changes apply to every pass, and come before the vector.
///
/// # Errors
/// When the vector lacks a site or does not fit the model, or a question is too long.
pub fn evaluate(
    model: &Model,
    vector: &Vector,
    trial: &Trial,
    hook: &mut dyn Hook,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<Outcome>> {
    vector.check(model)?;
    vector.check_sites(trial.sites)?;
    if trial.pairs.is_empty() {
        return Err(Error::Empty {
            what: "the set of questions".to_owned(),
        });
    }
    let mut tried = Vec::new();
    for &site in trial.sites {
        for &multiplier in trial.multipliers {
            let sums = Sums::default();
            tried.push(Tried {
                site,
                multiplier,
                sums,
            });
        }
    }
    let questions = trial.pairs.iter().map(|pair| pair.shared.as_slice());
    for batch in TextBatches::new(questions, PASS_TOKENS) {
        let pairs = &trial.pairs[batch.numbers()];
        let mut batch = Batch::read(model, pairs, trial.positions, hook)?;
        // A multiplier of 0 gives the same answers at every site.
        let mut unsteered = None;
        for tried in &mut tried {
            // The cache holds the tokens that are not steered, so that every row of the pass is steered.
            let edits = vector.edits(tried.multiplier, &Span::All, &[tried.site]);
            let found = match unsteered {
                Some(found) if tried.multiplier == 0.0 => found,
                _ => {
                    let mut steer = Steer::new(&edits, &[])?;
                    batch.answer(model, &mut (&mut *hook, &mut steer))?
                }
            };
            if tried.multiplier == 0.0 {
                unsteered = Some(found);
            }
            tried.sums.add(found);
        }
        on_done(pairs.len());
    }
    let count = trial.pairs.len() as f64;
    let outcome = |tried: Tried| Outcome {
        site: tried.site,
        multiplier: tried.multiplier,
        logit_difference: tried.sums.difference / count,
        probability: tried.sums.probability / count,
        preferred: tried.sums.preferred as f64 / count,
    };
    Ok(tried.into_iter().map(outcome).collect())
}

/// True if every larger multiplier gives a larger logit difference at `site`, and there are several.
pub fn rises(outcomes: &[Outcome], site: Site) -> bool {
    let of_site = by_multiplier(outcomes, site);
    let mut steps = of_site.windows(2);
    of_site.len() > 1 && steps.all(|step| step[0] < step[1])
}

/// The logit differences at `site`, in order of the multipliers.
fn by_multiplier(outcomes: &[Outcome], site: Site) -> Vec<f64> {
    let mut of_site: Vec<&Outcome> = outcomes.iter().filter(|o| o.site == site).collect();
    of_site.sort_by(|a, b| a.multiplier.total_cmp(&b.multiplier));
    of_site.iter().map(|o| o.logit_difference).collect()
}

/// The site with the largest rise of the logit difference from the lowest multiplier to the highest,
/// among the sites where it rises with every multiplier, or among all if there is no such site. `None`
/// without outcomes.
pub fn best_site(outcomes: &[Outcome]) -> Option<Site> {
    let mut sites: Vec<Site> = outcomes.iter().map(|o| o.site).collect();
    sites.dedup();
    let rise = |site: Site| {
        let of_site = by_multiplier(outcomes, site);
        let ends = of_site.last().zip(of_site.first());
        ends.map_or(0.0, |(last, first)| last - first)
    };
    let better = |a: &Site, b: &Site| {
        let key = |site: Site| (rises(outcomes, site), rise(site));
        let (a, b) = (key(*a), key(*b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    sites.into_iter().max_by(better)
}

/// Chart of the logit differences of an evaluation: over the multipliers if it tried one site, else
/// over the layers, with a line for each multiplier.
pub fn chart(title: &str, outcomes: &[Outcome]) -> Chart {
    let mut sites: Vec<Site> = outcomes.iter().map(|o| o.site).collect();
    sites.dedup();
    let mut multipliers: Vec<f32> = outcomes.iter().map(|o| o.multiplier).collect();
    multipliers.sort_by(f32::total_cmp);
    multipliers.dedup();
    let layer = |o: &Outcome| o.site.layer().unwrap_or(0) as f64;
    let line = |name: String, points: &mut dyn Iterator<Item = (f64, f64)>| {
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series::new(name, points)
    };
    let all = outcomes.iter();
    let (x, lines) = if let [site] = &sites[..] {
        let mut points = all.map(|o| (f64::from(o.multiplier), o.logit_difference));
        ("multiplier", vec![line(site.to_string(), &mut points)])
    } else {
        let lines = multipliers.iter().rev().map(|&multiplier| {
            let of_it = outcomes.iter().filter(|o| o.multiplier == multiplier);
            let mut points = of_it.map(|o| (layer(o), o.logit_difference));
            line(format!("multiplier {multiplier}"), &mut points)
        });
        ("layer", lines.collect())
    };
    Chart {
        title: title.to_owned(),
        x: x.to_owned(),
        y: "mean logit difference".to_owned(),
        series: lines,
    }
}

/// A site and a multiplier, with the sums so far.
struct Tried {
    site: Site,
    multiplier: f32,
    sums: Sums,
}

/// Sums over questions.
#[derive(Clone, Copy, Default)]
struct Sums {
    difference: f64,
    probability: f64,
    preferred: usize,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.difference += other.difference;
        self.probability += other.probability;
        self.preferred += other.preferred;
    }
}

/// Questions whose unsteered tokens are in the cache.
struct Batch<'a> {
    cache: Cache,
    pairs: &'a [Pair],
    /// Position in each question at which steering begins.
    starts: Vec<usize>,
}

impl Batch<'_> {
    fn read<'a>(
        model: &Model,
        pairs: &'a [Pair],
        positions: Positions,
        hook: &mut dyn Hook,
    ) -> Result<Batch<'a>> {
        let start = |pair: &Pair| match positions {
            Positions::Answer => pair.instruction,
            Positions::All => 0,
        };
        let starts: Vec<usize> = pairs.iter().map(start).collect();
        let both = pairs.iter().zip(&starts);
        let before: Vec<&[u32]> = both.map(|(pair, &start)| &pair.shared[..start]).collect();
        let longest = pairs.iter().map(|pair| pair.shared.len()).max();
        let cache = read_into_cache(model, &before, longest.unwrap_or(0), hook)?;
        Ok(Batch {
            cache,
            pairs,
            starts,
        })
    }

    /// Reads the rest of every question under `hook` and sums the answers.
    fn answer(&mut self, model: &Model, hook: &mut dyn Hook) -> Result<Sums> {
        let mut sums = Sums::default();
        let both = self.pairs.iter().zip(&self.starts);
        let rest: Vec<(usize, &[u32])> = both
            .map(|(pair, &start)| &pair.shared[start..])
            .enumerate()
            .collect();
        let logits = model.extend(&mut self.cache, &rest, hook)?; // [pairs, d_vocab]
        for (slot, pair) in self.pairs.iter().enumerate() {
            let of = |token: u32| f64::from(logits.row(slot)[token as usize]);
            let difference = of(pair.matching) - of(pair.other);
            sums.difference += difference;
            sums.probability += 1.0 / (1.0 + (-difference).exp());
            sums.preferred += usize::from(difference > 0.0);
            self.cache.truncate(slot, self.starts[slot]);
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_site_is_charted_over_multipliers_and_several_over_layers() {
        let outcome = |layer, multiplier| Outcome {
            site: Site::ResidPost(layer),
            multiplier,
            logit_difference: f64::from(multiplier) * layer as f64,
            probability: 0.5,
            preferred: 0.5,
        };
        let one = chart("t", &[outcome(2, 1.0), outcome(2, -1.0)]);
        assert_eq!(one.x, "multiplier");
        assert_eq!(one.series[0].points, [(-1.0, -2.0), (1.0, 2.0)]);
        let two = chart("t", &[outcome(1, 1.0), outcome(2, 1.0)]);
        assert_eq!(two.x, "layer");
        assert_eq!(two.series[0].points, [(1.0, 1.0), (2.0, 2.0)]);
    }
}
