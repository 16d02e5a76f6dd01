//! How far a vector moves a model from one answer to the other.

use serde::Serialize;

use super::Vector;
use super::gather::{batches, read_into_cache};
use super::question::Pair;
use crate::edit::Span;
use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::{Cache, Model};
use crate::plot::{Chart, Line};
use crate::site::Site;
use crate::steer::Steer;

/// At which tokens a vector is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// At those behind the question, as CAA does.
    Answer,
    /// At every token.
    All,
}

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// The questions.
    pub pairs: &'a [Pair],
    /// Sites of the vector, each tried alone.
    pub sites: &'a [Site],
    /// Multipliers of the direction; 0 leaves the model as it is.
    pub multipliers: &'a [f32],
    /// Where the vector is added.
    pub positions: Positions,
}

/// What came out at one site with one multiplier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Where the vector was added.
    pub site: Site,
    /// Times this.
    pub multiplier: f32,
    /// Mean over the questions of the logit of the matching letter minus that of the other, where
    /// the letter comes. The softmax's sum cancels: it is the difference of the log-probabilities too.
    pub logit_difference: f64,
    /// Mean of the probability of the matching letter, of the two.
    pub probability: f64,
    /// Share of the questions in which the matching letter is the likelier one.
    pub preferred: f64,
}

/// Tries every site with every multiplier on every question: sites in the order given, for each the
/// multipliers in the order given. `on_done` receives the number of questions tried.
///
/// What stands before the first token that is steered is read once for all of them. `hook` belongs to
/// the model: what it changes is changed in every pass, and before the vector is added.
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
    let mut settings = Vec::new();
    for &site in trial.sites {
        settings.extend(
            trial
                .multipliers
                .iter()
                .map(|&multiplier| (site, multiplier)),
        );
    }
    let mut sums = vec![Sums::default(); settings.len()];
    for range in batches(trial.pairs.iter().map(|pair| pair.shared.len())) {
        let pairs = &trial.pairs[range];
        let mut batch = Batch::read(model, pairs, trial.positions, hook)?;
        // Nothing times a direction is the same at every site.
        let mut unsteered = None;
        for (&(site, multiplier), sums) in settings.iter().zip(&mut sums) {
            // What is in the cache is what is not steered, so that every row of the pass is.
            let edits = vector.edits(multiplier, &Span::All, &[site]);
            let found = match unsteered {
                Some(found) if multiplier == 0.0 => found,
                _ => {
                    let mut steer = Steer::new(&edits, &[])?;
                    batch.answer(model, &mut (&mut *hook, &mut steer))?
                }
            };
            if multiplier == 0.0 {
                unsteered = Some(found);
            }
            sums.add(found);
        }
        on_done(pairs.len());
    }
    let count = trial.pairs.len() as f64;
    let outcome = |((site, multiplier), sums): ((Site, f32), Sums)| Outcome {
        site,
        multiplier,
        logit_difference: sums.difference / count,
        probability: sums.probability / count,
        preferred: sums.preferred as f64 / count,
    };
    Ok(settings.into_iter().zip(sums).map(outcome).collect())
}

/// Whether the outcomes at `site`, taken by rising multiplier, only ever rise.
pub fn rises(outcomes: &[Outcome], site: Site) -> bool {
    let of_site = by_multiplier(outcomes, site);
    let mut steps = of_site.windows(2);
    of_site.len() > 1 && steps.all(|step| step[0] < step[1])
}

/// The logit differences at `site` by rising multiplier.
fn by_multiplier(outcomes: &[Outcome], site: Site) -> Vec<f64> {
    let mut of_site: Vec<&Outcome> = outcomes.iter().filter(|o| o.site == site).collect();
    of_site.sort_by(|a, b| a.multiplier.total_cmp(&b.multiplier));
    of_site.iter().map(|o| o.logit_difference).collect()
}

/// The site whose vector does most: of those at which the difference rises with every multiplier, or of
/// all where there is none such, the one at which it rises most from the lowest to the highest. `None`
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

/// The logit differences of an evaluation: over the multipliers when it tried one site, else
/// over the layers, a line for each multiplier.
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
        Line { name, points }
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
        lines,
    }
}

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

/// Questions whose beginnings the model has read.
struct Batch<'a> {
    cache: Cache,
    pairs: &'a [Pair],
    /// Where in each question steering begins.
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

    /// Reads the rest of every question under `hook` and adds up what the model would answer.
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
    fn one_site_is_drawn_over_multipliers_and_several_over_layers() {
        let outcome = |layer, multiplier| Outcome {
            site: Site::ResidPost(layer),
            multiplier,
            logit_difference: f64::from(multiplier) * layer as f64,
            probability: 0.5,
            preferred: 0.5,
        };
        let one = chart("t", &[outcome(2, 1.0), outcome(2, -1.0)]);
        assert_eq!(one.x, "multiplier");
        assert_eq!(one.lines[0].points, [(-1.0, -2.0), (1.0, 2.0)]);
        let two = chart("t", &[outcome(1, 1.0), outcome(2, 1.0)]);
        assert_eq!(two.x, "layer");
        assert_eq!(two.lines[0].points, [(1.0, 1.0), (2.0, 2.0)]);
    }
}
