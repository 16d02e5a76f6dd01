//! The verdict on a run: its numbers in plain words. docs/training.md lists the thresholds.

use std::fmt;

use serde::Serialize;

use super::advice::Advice;
use super::line::MetricsLine;
use super::saved::SavedRun;
use crate::show::number::percent;
use crate::train::{JumpPenalty, Objective, TrainConfig};

/// A number is bad beyond the first limit, and remarkable beyond the second.
#[derive(Clone, Copy)]
struct Limits {
    bad: f64,
    remark: f64,
}

/// Lower limits of explained variance.
const EXPLAINED: Limits = Limits {
    bad: 0.5,
    remark: 0.7,
};
/// Upper limits of the share of dead features.
const DEAD: Limits = Limits {
    bad: 0.5,
    remark: 0.1,
};
/// Upper limit of the share of features that are active on more than a tenth of the tokens.
const DENSE: f64 = 0.01;
/// Share of features active on a token from which being active on a tenth of the tokens is normal.
const DENSE_L0_SHARE: f64 = 0.03;
/// Upper limits of the relative distance of L0 from its target.
const OFF_TARGET: Limits = Limits {
    bad: 1.0,
    remark: 0.2,
};
/// Upper limits of the share of features that are active on a token.
const ACTIVE: Limits = Limits {
    bad: 0.2,
    remark: 0.1,
};
/// Lower limits of the share of the cross-entropy lost to ablation that is recovered.
const RECOVERED: Limits = Limits {
    bad: 0.5,
    remark: 0.9,
};
/// Mean number of activations of a feature below which most features have not been learnt.
const TIMES_ACTIVE: f64 = 1000.0;
/// Relative fall of the error over the last tenth of the lines above which a run has not converged.
const STILL_FALLING: f64 = 0.02;
/// Number of lines below which convergence is not judged.
const ENOUGH_LINES: usize = 20;
/// Multiple of the mean |cosine| of random directions above which decoder rows crowd together.
const CROWDED: f64 = 3.0;

/// The weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to complain about.
    Good,
    /// Worth knowing.
    Remark,
    /// The autoencoder is of little use like this.
    Bad,
}

/// One finding in the numbers of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Its weight.
    pub level: Level,
    /// The finding as a sentence.
    pub text: String,
    /// Advice on what to change.
    pub advice: Option<Advice>,
}

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The level of its worst finding.
    pub level: Level,
    /// The verdict in one sentence.
    pub text: String,
    /// All findings, worst first.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Good => "good",
            Level::Remark => "remark",
            Level::Bad => "bad",
        })
    }
}

impl Finding {
    fn good(text: String) -> Finding {
        Finding {
            level: Level::Good,
            text,
            advice: None,
        }
    }

    fn new(level: Level, text: String, advice: Advice) -> Finding {
        Finding {
            level,
            text,
            advice: Some(advice),
        }
    }
}

/// The numbers that are judged: of held-out texts if they were measured, else of the last line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Numbers {
    explained_variance: f64,
    l0: f64,
    recovered: Option<f64>,
    ce_increase: Option<f64>,
}

impl Numbers {
    fn of(run: &SavedRun, last: &MetricsLine) -> Numbers {
        let (measured, metrics) = (run.held_out(), &last.metrics);
        let all = &measured.all;
        Numbers {
            explained_variance: all.explained_variance.unwrap_or(metrics.explained_variance),
            l0: all.l0.unwrap_or(metrics.l0),
            recovered: all.ce_recovered,
            ce_increase: measured.ce_increase(),
        }
    }
}

/// Judges a run.
pub fn verdict(run: &SavedRun) -> Verdict {
    let Some(last) = run.lines.last() else {
        return Verdict {
            level: Level::Bad,
            text: "There is no verdict: no step was logged.".to_owned(),
            findings: Vec::new(),
        };
    };
    let config = &run.config.train;
    let numbers = Numbers::of(run, last);
    let mut findings = vec![explained(numbers.explained_variance)];
    findings.extend(recovered(&numbers));
    findings.push(sparsity(config, &numbers));
    findings.push(dead(config, last));
    findings.extend(dense(config, last));
    findings.extend(practice(config, last));
    findings.extend(converged(&run.lines));
    findings.push(crowded(run, last));
    // The sort is stable: among equal levels, the order above is the order of importance.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let level = findings.first().map_or(Level::Good, |worst| worst.level);
    let text = match level {
        Level::Good => "A sound autoencoder.",
        Level::Remark => "Usable; read the remarks before you rely on it.",
        Level::Bad => "Not fit for use as it is.",
    };
    Verdict {
        level,
        text: text.to_owned(),
        findings,
    }
}

fn explained(explained: f64) -> Finding {
    if explained.is_nan() {
        let text = "The activations have no variance to explain.".to_owned();
        return Finding::new(Level::Bad, text, Advice::TrainOnOtherData);
    }
    if explained < 0.0 {
        let fvu = 1.0 - explained;
        let text = format!(
            "The reconstruction is worse than the mean of all tokens: its FVU is {fvu:.2}."
        );
        return Finding::new(Level::Bad, text, Advice::StabiliseOrNormalise);
    }
    let share = percent(explained);
    let text = format!("The reconstruction explains {share} of the variance.");
    below(explained, EXPLAINED, text, Advice::EnlargeOrTrainMore)
}

/// The cost of the reconstruction in the model's predictions.
fn recovered(numbers: &Numbers) -> Option<Finding> {
    let (recovered, increase) = (numbers.recovered?, numbers.ce_increase?);
    let share = percent(recovered);
    let text = format!(
        "With the reconstruction in its place the model loses {increase:.3} nats per token; {share} of the \
         loss with zeros there is recovered."
    );
    let finding = below(recovered, RECOVERED, text, Advice::SeeExplainedVariance);
    Some(finding)
}

/// The L0 that the configuration aims at; L1 penalties have no target.
fn target_l0(config: &TrainConfig) -> Option<f64> {
    match &config.objective {
        Objective::TopK { k, .. }
        | Objective::BatchTopK { k, .. }
        | Objective::Matryoshka { k, .. } => Some(*k as f64),
        Objective::JumpRelu {
            penalty: JumpPenalty::Target { l0, .. },
            ..
        } => Some(f64::from(*l0)),
        _ => None,
    }
}

fn sparsity(config: &TrainConfig, numbers: &Numbers) -> Finding {
    let (l0, target) = (numbers.l0, target_l0(config));
    if l0 < 1.0 {
        let advice = match target {
            Some(_) => Advice::Stabilise,
            None => Advice::WeakenPenalty,
        };
        let text = format!("Less than one feature is active on a token ({l0:.2}).");
        return Finding::new(Level::Bad, text, advice);
    }
    if let Some(target) = target {
        let off = (l0 / target - 1.0).abs();
        let text = format!("{l0:.1} features are active on a token; the target is {target}.");
        let advice = match config.objective {
            // TopK has no threshold: of the k largest, those that are not above 0 are inactive.
            Objective::TopK { .. } => Advice::SmallerK,
            _ => Advice::LetThresholdSettle,
        };
        return above(off, OFF_TARGET, text, advice);
    }
    let share = l0 / config.d_sae as f64;
    let of_all = percent(share);
    let mut text = format!("{l0:.1} features are active on a token, {of_all} of all.");
    if share > ACTIVE.remark {
        text += " That is not sparse.";
    }
    above(share, ACTIVE, text, Advice::StrengthenPenalty)
}

/// A finding on a number that should be small.
fn above(number: f64, limits: Limits, text: String, advice: Advice) -> Finding {
    match number {
        number if number > limits.bad => Finding::new(Level::Bad, text, advice),
        number if number > limits.remark => Finding::new(Level::Remark, text, advice),
        _ => Finding::good(text),
    }
}

/// A finding on a number that should be large.
fn below(number: f64, limits: Limits, text: String, advice: Advice) -> Finding {
    match number {
        number if number < limits.bad => Finding::new(Level::Bad, text, advice),
        number if number < limits.remark => Finding::new(Level::Remark, text, advice),
        _ => Finding::good(text),
    }
}

fn dead(config: &TrainConfig, last: &MetricsLine) -> Finding {
    let window = config.dead.window_tokens;
    let MetricsLine { metrics, .. } = last;
    if metrics.tokens < window {
        let text = format!(
            "There are too few tokens ({}) to count dead features, which have {window} without activation.",
            metrics.tokens
        );
        return Finding::new(Level::Remark, text, Advice::TrainMoreOrShortenWindow);
    }
    let share = metrics.dead as f64 / config.d_sae as f64;
    let text = format!(
        "{} features ({}) were not active in the last {window} tokens.",
        metrics.dead,
        percent(share)
    );
    above(share, DEAD, text, Advice::KeepFeaturesAlive)
}

fn dense(config: &TrainConfig, last: &MetricsLine) -> Option<Finding> {
    let d_sae = config.d_sae as f64;
    if last.metrics.l0 / d_sae > DENSE_L0_SHARE {
        return None;
    }
    let share = last.metrics.dense as f64 / d_sae;
    let text = format!(
        "{} features ({}) are active on more than a tenth of the tokens.",
        last.metrics.dense,
        percent(share)
    );
    Some(if share > DENSE {
        Finding::new(Level::Remark, text, Advice::FewerDenseFeatures)
    } else {
        Finding::good(text)
    })
}

/// The number of activations from which a feature could be learnt.
fn practice(config: &TrainConfig, last: &MetricsLine) -> Option<Finding> {
    let times = last.metrics.tokens as f64 * last.metrics.l0 / config.d_sae as f64;
    (times < TIMES_ACTIVE).then(|| {
        let text = format!(
            "A feature was active {times:.0} times on average, which is little to learn a meaning from."
        );
        Finding::new(Level::Remark, text, Advice::TrainMoreOrFewerFeatures)
    })
}

/// A remark if the error was still falling at the end of the run.
fn converged(lines: &[MetricsLine]) -> Option<Finding> {
    if lines.len() < ENOUGH_LINES {
        return None;
    }
    let tenth = lines.len() / 10;
    let mean = |lines: &[MetricsLine]| {
        let losses = lines.iter().map(|line| line.metrics.loss_reconstruction);
        losses.sum::<f64>() / lines.len() as f64
    };
    let before = mean(&lines[lines.len() - 2 * tenth..lines.len() - tenth]);
    let after = mean(&lines[lines.len() - tenth..]);
    let fall = 1.0 - after / before;
    (fall > STILL_FALLING).then(|| {
        let text = format!(
            "The error was still falling at the end, by {} over the last tenth of the steps.",
            percent(fall)
        );
        Finding::new(Level::Remark, text, Advice::MoreSteps)
    })
}

/// Compares the mean |cosine| of decoder rows with that of random directions, which is
/// `sqrt(2 / (pi d))` in `d` dimensions.
fn crowded(run: &SavedRun, last: &MetricsLine) -> Finding {
    let d_out = run.config.d_out as f64;
    let random = (2.0 / (std::f64::consts::PI * d_out)).sqrt();
    let mean = last.metrics.off_diag_mean;
    let text = format!(
        "Two decoder directions have a cosine of {mean:.4} on average; random ones would have {random:.4}."
    );
    if mean > CROWDED * random {
        Finding::new(Level::Remark, text, Advice::CentreInput)
    } else {
        Finding::good(text)
    }
}
