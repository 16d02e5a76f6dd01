//! What a run's numbers mean, in plain words. docs/training.md lists the thresholds.

use std::fmt;

use serde::Serialize;

use super::line::Line;
use super::saved::SavedRun;
use crate::train::{JumpPenalty, Objective, TrainConfig};

/// Explained variance below which a reconstruction says little, and below which it is poor.
const EXPLAINED: (f64, f64) = (0.5, 0.7);
/// Share of dead features above which many are wasted, and above which most are.
const DEAD: (f64, f64) = (0.5, 0.1);
/// Share of features, active on more than a tenth of the tokens, above which they are too many.
const DENSE: f64 = 0.01;
/// Where so many features are active on a token that a tenth of the tokens is nothing unusual.
const DENSE_L0_SHARE: f64 = 0.03;
/// How far L0 may be from what was asked for: above the first it is another autoencoder.
const OFF_TARGET: (f64, f64) = (1.0, 0.2);
/// Share of the features active on a token above which nothing is sparse, and above which little is.
const ACTIVE: (f64, f64) = (0.2, 0.1);
/// Share of the cross-entropy lost to ablation that has to come back.
const RECOVERED: (f64, f64) = (0.5, 0.9);
/// Times that a feature has been active on average, below which most have not been learnt.
const TIMES_ACTIVE: f64 = 1000.0;
/// How much better the last tenth of the lines is where a run has not converged.
const STILL_FALLING: f64 = 0.02;
/// Lines below which nothing is said about convergence.
const ENOUGH_LINES: usize = 20;
/// Multiple of what random directions have, above which decoder rows point the same ways.
const CROWDED: f64 = 3.0;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Remark,
    /// The autoencoder is of little use like this.
    Bad,
}

/// One thing that the numbers show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What is the case.
    pub says: String,
    /// What can be done about it.
    pub advice: Option<String>,
}

/// What a run's numbers mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// That of its worst finding.
    pub level: Level,
    /// All of it in one sentence.
    pub says: String,
    /// What the numbers show, worst first.
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
    fn good(says: String) -> Finding {
        Finding {
            level: Level::Good,
            says,
            advice: None,
        }
    }

    fn new(level: Level, says: String, advice: &str) -> Finding {
        Finding {
            level,
            says,
            advice: Some(advice.to_owned()),
        }
    }
}

/// What the verdict looks at: held-out texts where they were measured, else the last log steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Numbers {
    explained_variance: f64,
    l0: f64,
    recovered: Option<f64>,
    ce_increase: Option<f64>,
}

impl Numbers {
    fn of(run: &SavedRun, last: &Line) -> Numbers {
        let measured = |key: &str| run.evaluation.as_ref()?.get(key)?.as_f64();
        let increase = |with: f64| Some(with - measured("ce_without_sae")?);
        Numbers {
            explained_variance: measured("explained_variance")
                .unwrap_or(last.metrics.explained_variance),
            l0: measured("l0").unwrap_or(last.metrics.l0),
            recovered: measured("ce_recovered"),
            ce_increase: measured("ce_with_sae").and_then(increase),
        }
    }
}

/// What the numbers of a run mean.
pub fn verdict(run: &SavedRun) -> Verdict {
    let Some(last) = run.lines.last() else {
        return Verdict {
            level: Level::Bad,
            says: "Nothing can be said: no step was logged.".to_owned(),
            findings: Vec::new(),
        };
    };
    let config = &run.config.train;
    let numbers = Numbers::of(run, last);
    let mut findings = vec![explained(numbers.explained_variance)];
    findings.extend(recovered(&numbers));
    findings.extend(sparsity(config, &numbers));
    findings.extend(dead(config, last));
    findings.extend(dense(config, last));
    findings.extend(seen(config, last));
    findings.extend(converged(&run.lines));
    findings.extend(crowded(run, last));
    // Stable: of equal weight, the order above is that of importance.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let level = findings.first().map_or(Level::Good, |worst| worst.level);
    let says = match level {
        Level::Good => "A sound autoencoder.",
        Level::Remark => "Usable; read the remarks before you rely on it.",
        Level::Bad => "Not fit for use as it is.",
    };
    Verdict {
        level,
        says: says.to_owned(),
        findings,
    }
}

fn explained(explained: f64) -> Finding {
    let share = percent(explained);
    if explained < 0.0 {
        let says = format!(
            "The reconstruction is worse than the mean of all tokens: its FVU is {:.2}.",
            1.0 - explained
        );
        return Finding::new(
            Level::Bad,
            says,
            "Train for more steps; where that does not help, lower `--lr`, or make every token as long as \
             the others with `--set input=layer_norm`.",
        );
    }
    let says = format!("The reconstruction explains {share} of the variance.");
    let advice = "More features, more active ones or more tokens explain more.";
    match explained {
        e if e < EXPLAINED.0 => Finding::new(Level::Bad, says, advice),
        e if e < EXPLAINED.1 => Finding::new(Level::Remark, says, advice),
        _ => Finding::good(says),
    }
}

fn recovered(numbers: &Numbers) -> Option<Finding> {
    let (recovered, increase) = (numbers.recovered?, numbers.ce_increase?);
    let says = format!(
        "With the reconstruction in its place the model loses {increase:.3} nats a token; {} of what \
         zeros there would cost comes back.",
        percent(recovered)
    );
    let advice = "What is missing matters to the model; see explained variance.";
    Some(match recovered {
        r if r < RECOVERED.0 => Finding::new(Level::Bad, says, advice),
        r if r < RECOVERED.1 => Finding::new(Level::Remark, says, advice),
        _ => Finding::good(says),
    })
}

/// L0 that the configuration asks for; an L1 penalty asks for none.
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

fn sparsity(config: &TrainConfig, numbers: &Numbers) -> Option<Finding> {
    let l0 = numbers.l0;
    if l0 < 1.0 {
        let advice = match target_l0(config) {
            Some(_) => {
                "The training has failed: a lower learning rate or clipped gradients may help."
            }
            None => "The coefficient of the penalty decides it: smaller for more active features.",
        };
        let says = format!("Less than one feature is active on a token ({l0:.2}).");
        return Some(Finding::new(Level::Bad, says, advice));
    }
    if let Some(target) = target_l0(config) {
        let off = (l0 / target - 1.0).abs();
        let says = format!("{l0:.1} features are active on a token; {target} were asked for.");
        let advice = "The threshold has not settled yet; more steps let it.";
        return Some(graded(off, OFF_TARGET, says, advice));
    }
    let share = l0 / config.d_sae as f64;
    let says = format!(
        "{l0:.1} features are active on a token, {} of all.",
        percent(share)
    );
    let says = match share > ACTIVE.1 {
        true => says + " That is not sparse.",
        false => says,
    };
    let advice = "The coefficient of the penalty decides it: larger for fewer active features.";
    Some(graded(share, ACTIVE, says, advice))
}

/// Bad above the first limit, a remark above the second.
fn graded(number: f64, limits: (f64, f64), says: String, advice: &str) -> Finding {
    match number {
        number if number > limits.0 => Finding::new(Level::Bad, says, advice),
        number if number > limits.1 => Finding::new(Level::Remark, says, advice),
        _ => Finding::good(says),
    }
}

fn dead(config: &TrainConfig, last: &Line) -> Option<Finding> {
    let window = config.dead.window_tokens;
    if last.metrics.tokens < window {
        let says = format!(
            "Too few tokens ({}) to say which features are dead: that takes {window} without activation.",
            last.metrics.tokens
        );
        return Some(Finding::new(
            Level::Remark,
            says,
            "Train on more tokens, or lower `dead.window_tokens`.",
        ));
    }
    let share = last.metrics.dead as f64 / config.d_sae as f64;
    let says = format!(
        "{} features ({}) were not active in the last {window} tokens.",
        last.metrics.dead,
        percent(share)
    );
    let advice =
        "An auxiliary loss (`--recipe topk`), resampling, or fewer features keep them alive.";
    Some(graded(share, DEAD, says, advice))
}

fn dense(config: &TrainConfig, last: &Line) -> Option<Finding> {
    if last.metrics.l0 / config.d_sae as f64 > DENSE_L0_SHARE {
        return None;
    }
    let share = last.metrics.dense as f64 / config.d_sae as f64;
    let says = format!(
        "{} features ({}) are active on more than a tenth of the tokens.",
        last.metrics.dense,
        percent(share)
    );
    Some(match share > DENSE {
        true => Finding::new(
            Level::Remark,
            says,
            "They rarely have one meaning; a stronger penalty or a smaller k makes them fewer.",
        ),
        false => Finding::good(says),
    })
}

/// How often a feature had the occasion to be learnt.
fn seen(config: &TrainConfig, last: &Line) -> Option<Finding> {
    let times = last.metrics.tokens as f64 * last.metrics.l0 / config.d_sae as f64;
    (times < TIMES_ACTIVE).then(|| {
        let says = format!(
            "A feature was active {times:.0} times on average, which is little to learn a meaning from."
        );
        Finding::new(Level::Remark, says, "Train on more tokens, or fewer features.")
    })
}

/// Whether the end of the run is still better than what came shortly before.
fn converged(lines: &[Line]) -> Option<Finding> {
    if lines.len() < ENOUGH_LINES {
        return None;
    }
    let tenth = lines.len() / 10;
    let mean = |lines: &[Line]| {
        let losses = lines.iter().map(|line| line.metrics.loss_reconstruction);
        losses.sum::<f64>() / lines.len() as f64
    };
    let before = mean(&lines[lines.len() - 2 * tenth..lines.len() - tenth]);
    let after = mean(&lines[lines.len() - tenth..]);
    let falls = 1.0 - after / before;
    (falls > STILL_FALLING).then(|| {
        let says = format!(
            "The error was still falling at the end, by {} over the last tenth of the steps.",
            percent(falls)
        );
        Finding::new(Level::Remark, says, "More steps would help.")
    })
}

/// Whether decoder rows are more alike than directions drawn at random, whose mean |cosine| in `d`
/// dimensions is `sqrt(2 / (pi d))`.
fn crowded(run: &SavedRun, last: &Line) -> Option<Finding> {
    let d_out = run.config.d_out as f64;
    let random = (2.0 / (std::f64::consts::PI * d_out)).sqrt();
    let mean = last.metrics.off_diag_mean;
    let says = format!(
        "Two decoder directions have a cosine of {mean:.4} on average; random ones would have {random:.4}."
    );
    Some(match mean > CROWDED * random {
        true => Finding::new(
            Level::Remark,
            says,
            "Many features share a direction: centre the input with `--set input=centre_and_scale`.",
        ),
        false => Finding::good(says),
    })
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p != 0.0 && p.abs() < 1.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}
