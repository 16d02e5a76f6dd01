//! From changes of a recipe to configurations, one for each combination of a sweep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JumpPenalty, Objective, Recipe, TrainConfig, Transcoder};
use crate::error::{Error, Result};

/// Default number of features for each component of what is read.
const EXPANSION: f64 = 8.0;
/// Default number of steps.
const STEPS: u64 = 1000;

/// Changes of a recipe. A field without a value keeps the recipe's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// The configuration to start from.
    pub recipe: Recipe,
    /// Features for each component of what is read, 8 by default.
    pub expansion: Option<f64>,
    /// Number of features, in place of `expansion`.
    pub d_sae: Option<usize>,
    /// Active features of a token, for the recipes that fix or aim at their number.
    pub k: Option<usize>,
    /// The learning rate.
    pub lr: Option<f32>,
    /// Weight of the sparsity penalty, for the recipes that have one.
    pub coefficient: Option<f32>,
    /// Steps, 1000 by default.
    pub steps: Option<u64>,
    /// Tokens to train on, in place of `steps`.
    pub tokens: Option<u64>,
    /// Tokens of a step.
    pub batch_tokens: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Steps between two lines of metrics.
    pub log_every: Option<u64>,
    /// Steps between two checkpoints; 0 for none but the last.
    pub checkpoint_every: Option<u64>,
    /// Other fields of the configuration.
    pub set: Vec<Assignment>,
}

/// A value for a field of the configuration, written `adam.beta2=0.99`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Path of the field.
    pub field: String,
    /// Its value.
    pub value: Value,
}

/// One dimension of a sweep, written `k=16,32,64`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// A field of [`Choice`] or of the configuration.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
}

/// An autoencoder to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The values that tell it from the others of a sweep, fit for a folder's name; empty for the only
    /// one.
    pub name: String,
    /// Its configuration.
    pub config: TrainConfig,
}

/// Widths of the activations that are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Width of what is read.
    pub d_in: usize,
    /// Width of what is written.
    pub d_out: usize,
}

/// Fields that other fields follow from: a [`Choice`] sets them, never an [`Assignment`].
const DETERMINING: [&str; 3] = ["steps", "batch_tokens", "d_sae"];

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        match text.split_once('=') {
            Some((field, value)) if !field.is_empty() => Ok(Assignment {
                field: field.to_owned(),
                value: value_of(value),
            }),
            _ => Err("expected FIELD=VALUE, such as `adam.beta2=0.99`".to_owned()),
        }
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, self.value)
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Axis, String> {
        match text.split_once('=') {
            Some((name, values))
                if !name.is_empty() && values.split(',').all(|v| !v.is_empty()) =>
            {
                Ok(Axis {
                    name: name.to_owned(),
                    values: values.split(',').map(str::to_owned).collect(),
                })
            }
            _ => Err("expected NAME=VALUE,…, such as `k=16,32,64`".to_owned()),
        }
    }
}

/// The text as JSON, or as a string where it is not JSON.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// One setting for each combination of the values of `axes`, the last axis changing first; one without
/// axes.
///
/// # Errors
/// When a field or a value does not exist, a recipe lacks what is set, a configuration makes no sense,
/// or two settings are the same.
pub fn settings(
    choice: &Choice,
    axes: &[Axis],
    widths: Widths,
    transcoder: Option<Transcoder>,
) -> Result<Vec<Setting>> {
    let mut choices = vec![(String::new(), choice.clone())];
    for axis in axes {
        let mut combined = Vec::new();
        for (name, choice) in &choices {
            for value in &axis.values {
                let mut choice = choice.clone();
                choice
                    .vary(&axis.name, value)
                    .map_err(|error| error.at("sweep"))?;
                combined.push((joined(name, &axis.name, value), choice));
            }
        }
        choices = combined;
    }
    let mut settings: Vec<Setting> = Vec::new();
    for (name, choice) in choices {
        let config = choice.config(widths, transcoder);
        let config = config.map_err(|error| {
            if name.is_empty() {
                error
            } else {
                error.at(name.clone())
            }
        })?;
        if settings.iter().any(|other| other.name == name) {
            return Err(argument(format!("sweep: {name} occurs twice")));
        }
        settings.push(Setting { name, config });
    }
    Ok(settings)
}

impl Choice {
    /// The configuration for activations of the given widths.
    ///
    /// # Errors
    /// As [`settings`].
    pub fn config(&self, widths: Widths, transcoder: Option<Transcoder>) -> Result<TrainConfig> {
        for Assignment { field, .. } in &self.set {
            if DETERMINING.contains(&field.as_str()) {
                return Err(argument(format!(
                    "set {field}: other fields follow from it; use the option of its own"
                )));
            }
        }
        let d_in = widths.d_in;
        let d_sae = self.d_sae.unwrap_or_else(|| {
            let expansion = self.expansion.unwrap_or(EXPANSION);
            (expansion * d_in as f64).round() as usize
        });
        let usual_batch = TrainConfig::recipe(self.recipe, d_in, d_sae, 1).batch_tokens;
        let batch = self.batch_tokens.unwrap_or(usual_batch);
        if batch == 0 {
            return Err(argument(
                "batch: a step needs at least one token".to_owned(),
            ));
        }
        let steps = match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) => tokens.div_ceil(batch as u64),
            (None, None) => STEPS,
        };
        let mut config = TrainConfig::recipe(self.recipe, d_in, d_sae, steps);
        config.batch_tokens = batch;
        // The recipe counts the window in its own batches.
        let window = config.dead.window_tokens as f64 * batch as f64 / usual_batch as f64;
        config.dead.window_tokens = window as u64;
        config.seed = self.seed;
        config.log_every = self.log_every.unwrap_or(config.log_every);
        config.checkpoint_every = self.checkpoint_every.unwrap_or(config.checkpoint_every);
        config.adam.lr = self.lr.unwrap_or(config.adam.lr);
        if let Some(k) = self.k {
            set_k(&mut config, k, self.recipe)?;
        }
        if let Some(coefficient) = self.coefficient {
            set_coefficient(&mut config, coefficient, self.recipe)?;
        }
        if let Some(transcoder) = transcoder {
            config = config.transcode(transcoder);
        }
        let config = assigned(config, &self.set)?;
        config.check(widths.d_in, widths.d_out)?;
        Ok(config)
    }

    /// Takes one value of an axis of a sweep.
    fn vary(&mut self, name: &str, value: &str) -> Result<()> {
        fn parsed<T: FromStr>(name: &str, value: &str) -> Result<T> {
            let parsed = value.parse().ok();
            parsed.ok_or_else(|| argument(format!("`{value}` is not a value of `{name}`")))
        }
        match name {
            "expansion" => (self.expansion, self.d_sae) = (Some(parsed(name, value)?), None),
            "d_sae" | "d-sae" => (self.d_sae, self.expansion) = (Some(parsed(name, value)?), None),
            "k" => self.k = Some(parsed(name, value)?),
            "lr" => self.lr = Some(parsed(name, value)?),
            "coefficient" | "l1" => self.coefficient = Some(parsed(name, value)?),
            "recipe" => self.recipe = value.parse()?,
            // One stream feeds all of them.
            "steps" | "tokens" | "batch" | "batch_tokens" => {
                return Err(argument(format!(
                    "`{name}` is the same for all, since they share one stream of activations"
                )));
            }
            field => self.set.push(Assignment {
                field: field.to_owned(),
                value: value_of(value),
            }),
        }
        Ok(())
    }
}

fn argument(message: String) -> Error {
    Error::Argument(message)
}

/// The name of a setting with one more value.
fn joined(before: &str, name: &str, value: &str) -> String {
    let plain = |text: &str| -> String {
        let keep = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        text.chars()
            .map(|c| if keep(c) { c } else { '_' })
            .collect()
    };
    let own = format!("{}-{}", plain(name), plain(value));
    match before {
        "" => own,
        before => format!("{before}_{own}"),
    }
}

fn set_k(config: &mut TrainConfig, wanted: usize, recipe: Recipe) -> Result<()> {
    match &mut config.objective {
        Objective::TopK { k, .. }
        | Objective::BatchTopK { k, .. }
        | Objective::Matryoshka { k, .. } => *k = wanted,
        Objective::JumpRelu {
            penalty: JumpPenalty::Target { l0, .. },
            ..
        } => *l0 = wanted as f32,
        _ => {
            return Err(argument(format!(
                "k: the recipe {recipe} has no number of active features; its coefficient decides it"
            )));
        }
    }
    Ok(())
}

fn set_coefficient(config: &mut TrainConfig, wanted: f32, recipe: Recipe) -> Result<()> {
    match &mut config.objective {
        Objective::L1 { coefficient, .. } | Objective::Gated { coefficient, .. } => {
            *coefficient = wanted;
        }
        Objective::JumpRelu { penalty, .. } => match penalty {
            JumpPenalty::Step { coefficient }
            | JumpPenalty::Tanh { coefficient, .. }
            | JumpPenalty::Target { coefficient, .. } => *coefficient = wanted,
        },
        _ => {
            return Err(argument(format!(
                "coefficient: the recipe {recipe} has no sparsity penalty; its k decides how many \
                 features are active"
            )));
        }
    }
    Ok(())
}

/// The configuration with some of its fields set.
fn assigned(config: TrainConfig, assignments: &[Assignment]) -> Result<TrainConfig> {
    let mut config = config;
    for assignment in assignments {
        let failed = |reason: String| argument(format!("set {assignment}: {reason}"));
        let mut value = serde_json::to_value(&config).map_err(|e| failed(e.to_string()))?;
        *place(&mut value, &assignment.field).map_err(failed)? = assignment.value.clone();
        // After each, so that the value that does not fit is named.
        config = serde_json::from_value(value).map_err(|e| failed(e.to_string()))?;
    }
    Ok(config)
}

/// The field at a path, or why there is none.
fn place<'a>(value: &'a mut Value, field: &str) -> Result<&'a mut Value, String> {
    let mut at = value;
    for key in field.split('.') {
        let known: Vec<String> = match &*at {
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        at = match at.get_mut(key) {
            Some(inner) => inner,
            None if known.is_empty() => {
                return Err(format!(
                    "`{key}` is not part of an object; set the whole field"
                ));
            }
            None => {
                return Err(format!(
                    "there is no `{key}`; there is {}",
                    known.join(", ")
                ));
            }
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Input, Treatment};

    const WIDTHS: Widths = Widths {
        d_in: 64,
        d_out: 64,
    };

    fn one(choice: &Choice) -> TrainConfig {
        choice.config(WIDTHS, None).unwrap()
    }

    fn sweep(axes: &[&str]) -> Result<Vec<Setting>> {
        let axes: Vec<Axis> = axes.iter().map(|axis| axis.parse().unwrap()).collect();
        settings(&Choice::default(), &axes, WIDTHS, None)
    }

    fn set(text: &str) -> Choice {
        Choice {
            set: vec![text.parse().unwrap()],
            ..Choice::default()
        }
    }

    fn refused(choice: &Choice) -> String {
        choice.config(WIDTHS, None).unwrap_err().to_string()
    }

    #[test]
    fn a_choice_changes_what_the_recipe_says() {
        let config = one(&Choice {
            expansion: Some(2.0),
            k: Some(7),
            lr: Some(0.5),
            batch_tokens: Some(512),
            tokens: Some(10_000),
            ..Choice::default()
        });
        assert_eq!(
            (config.d_sae, config.batch_tokens, config.steps),
            (128, 512, 20)
        );
        assert!(matches!(config.objective, Objective::TopK { k: 7, .. }));
        assert_eq!(config.adam.lr, 0.5);
        let l1 = one(&Choice {
            recipe: Recipe::L1,
            coefficient: Some(3.0),
            ..Choice::default()
        });
        assert!(matches!(l1.objective, Objective::L1 { coefficient, .. } if coefficient == 3.0));
        let jump = one(&Choice {
            recipe: Recipe::JumpRelu,
            k: Some(9),
            ..Choice::default()
        });
        let target = |penalty| matches!(penalty, JumpPenalty::Target { l0, .. } if l0 == 9.0);
        assert!(matches!(jump.objective, Objective::JumpRelu { penalty, .. } if target(penalty)));
    }

    #[test]
    fn every_recipe_makes_sense_unchanged() {
        for recipe in Recipe::ALL {
            assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), recipe);
            for steps in [1, 7, 1000] {
                one(&Choice {
                    recipe,
                    steps: Some(steps),
                    batch_tokens: Some(64),
                    ..Choice::default()
                });
            }
        }
    }

    #[test]
    fn any_field_can_be_set_by_its_path() {
        assert_eq!(one(&set("adam.beta2=0.5")).adam.beta2, 0.5);
        assert_eq!(one(&set("input=layer_norm")).input, Input::LayerNorm);
        let config = one(&set("objective.top_k.aux=null"));
        assert!(matches!(
            config.objective,
            Objective::TopK { aux: None, .. }
        ));
        let config = one(&set(
            "dead.treatment={\"resample\": {\"every\": 5, \"times\": 2}}",
        ));
        assert_eq!(
            config.dead.treatment,
            Treatment::Resample { every: 5, times: 2 }
        );
    }

    #[test]
    fn an_unknown_field_or_value_is_refused_with_the_known_ones() {
        assert!(
            refused(&set("adam.beta3=1"))
                .contains("there is lr, beta1, beta2, eps, bias_lr_factor")
        );
        assert!(refused(&set("adam.beta2=no")).contains("adam.beta2"));
        assert!(refused(&set("seed.x=1")).contains("not part of an object"));
        assert!(refused(&set("steps=3")).contains("follow from it"));
        assert!(
            "steps"
                .parse::<Assignment>()
                .unwrap_err()
                .contains("expected")
        );
        let l1_with_k = Choice {
            recipe: Recipe::L1,
            k: Some(3),
            ..Choice::default()
        };
        assert!(refused(&l1_with_k).contains("coefficient decides it"));
        let top_k_with_coefficient = Choice {
            coefficient: Some(3.0),
            ..Choice::default()
        };
        assert!(refused(&top_k_with_coefficient).contains("its k decides"));
        let too_many = Choice {
            k: Some(100_000),
            ..Choice::default()
        };
        assert!(refused(&too_many).contains('k'));
        let no_batch = Choice {
            batch_tokens: Some(0),
            ..Choice::default()
        };
        assert!(refused(&no_batch).contains("batch"));
    }

    #[test]
    fn a_sweep_has_every_combination_once() {
        let all = sweep(&["expansion=2,4", "k=3,5"]).unwrap();
        let names: Vec<&str> = all.iter().map(|setting| setting.name.as_str()).collect();
        let expected = [
            "expansion-2_k-3",
            "expansion-2_k-5",
            "expansion-4_k-3",
            "expansion-4_k-5",
        ];
        assert_eq!(names, expected);
        assert_eq!(all[2].config.d_sae, 256);
        assert!(matches!(
            all[3].config.objective,
            Objective::TopK { k: 5, .. }
        ));
        assert_eq!(sweep(&["adam.lr=0.1,0.2"]).unwrap()[1].config.adam.lr, 0.2);
        let refused = |axis: &str| sweep(&[axis]).unwrap_err().to_string();
        assert!(refused("k=3,3").contains("twice"));
        assert!(refused("batch=1,2").contains("share one stream"));
        assert!(refused("recipe=best").contains("unknown recipe"));
        assert!("k=".parse::<Axis>().unwrap_err().contains("expected"));
    }
}
