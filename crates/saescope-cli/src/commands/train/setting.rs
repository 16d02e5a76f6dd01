//! From arguments to configurations: a recipe, the flags over it, `--set` over those, once for each
//! combination of a sweep.

use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use saescope::train::{JumpPenalty, Objective, Recipe, TrainConfig, Transcoder};
use serde_json::Value;

/// Features for each component of what is read, unless told otherwise.
const EXPANSION: f64 = 8.0;
/// Steps, unless told otherwise.
const STEPS: u64 = 1000;

/// How an autoencoder is trained.
#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
pub(crate) struct SettingArgs {
    /// The configuration to start from; docs/training.md describes each
    #[arg(long, value_enum, default_value_t = RecipeArg::Topk)]
    recipe: RecipeArg,
    /// Features for each component of what is read [default: 8]
    #[arg(long, value_name = "N", conflicts_with = "d_sae")]
    expansion: Option<f64>,
    /// Number of features
    #[arg(long, value_name = "N")]
    d_sae: Option<usize>,
    /// Active features of a token, for the recipes that fix or aim at their number
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// The learning rate
    #[arg(long, value_name = "X")]
    lr: Option<f32>,
    /// Weight of the sparsity penalty, for the recipes that have one
    #[arg(long, visible_alias = "l1", value_name = "X")]
    coefficient: Option<f32>,
    /// Steps [default: 1000]
    #[arg(long, value_name = "N", conflicts_with = "tokens")]
    steps: Option<u64>,
    /// Tokens to train on, instead of steps
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Tokens of a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Seed of everything that chance decides
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps between two lines of metrics [default: a hundredth of all]
    #[arg(long, value_name = "N")]
    log_every: Option<u64>,
    /// Steps between two checkpoints; 0 for none but the last [default: a tenth of all]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Any other field of the configuration, as `adam.beta2=0.99`. May be given several times; the
    /// report lists all fields
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<Assignment>,
    /// Train one autoencoder for each combination, all from one stream of activations: such as
    /// `expansion=2,4,8 k=16,32`. A flag's name or a field of the configuration
    #[arg(long, value_name = "NAME=VALUE,…", num_args = 1..)]
    sweep: Vec<Axis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RecipeArg {
    Article,
    L1,
    Topk,
    Batchtopk,
    Matryoshka,
    Jumprelu,
    Gated,
}

impl RecipeArg {
    pub(crate) fn recipe(self) -> Recipe {
        match self {
            RecipeArg::Article => Recipe::Article,
            RecipeArg::L1 => Recipe::L1,
            RecipeArg::Topk => Recipe::TopK,
            RecipeArg::Batchtopk => Recipe::BatchTopK,
            RecipeArg::Matryoshka => Recipe::Matryoshka,
            RecipeArg::Jumprelu => Recipe::JumpRelu,
            RecipeArg::Gated => Recipe::Gated,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            RecipeArg::Article => "article",
            RecipeArg::L1 => "l1",
            RecipeArg::Topk => "topk",
            RecipeArg::Batchtopk => "batchtopk",
            RecipeArg::Matryoshka => "matryoshka",
            RecipeArg::Jumprelu => "jumprelu",
            RecipeArg::Gated => "gated",
        }
    }
}

/// Fields that other fields are worked out from, and the flags for them.
const OF_FLAGS: [(&str, &str); 3] = [
    ("steps", "--steps"),
    ("batch_tokens", "--batch"),
    ("d_sae", "--d-sae"),
];

/// `FIELD=VALUE`
#[derive(Clone, Debug, PartialEq)]
struct Assignment {
    field: String,
    value: Value,
}

/// `NAME=VALUE,…`
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    name: String,
    values: Vec<String>,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        match text.split_once('=') {
            Some((field, value)) if !field.is_empty() => Ok(Assignment {
                field: field.to_owned(),
                value: value_of(value),
            }),
            _ => Err("it is written like `adam.beta2=0.99`".to_owned()),
        }
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
            _ => Err("it is written like `k=16,32,64`".to_owned()),
        }
    }
}

/// JSON where it is any, else a text.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// What the flags say, one combination of a sweep.
#[derive(Clone)]
struct Choice {
    recipe: RecipeArg,
    expansion: Option<f64>,
    d_sae: Option<usize>,
    k: Option<usize>,
    lr: Option<f32>,
    coefficient: Option<f32>,
    set: Vec<Assignment>,
}

/// An autoencoder to be trained.
pub(crate) struct Setting {
    /// What tells it from the others of a sweep; empty where it is the only one.
    pub(crate) name: String,
    pub(crate) config: TrainConfig,
}

impl SettingArgs {
    pub(crate) fn recipe(&self) -> RecipeArg {
        self.recipe
    }

    pub(crate) fn is_sweep(&self) -> bool {
        !self.sweep.is_empty()
    }

    /// The configurations for activations of width `d_in` that become such of width `d_out`.
    pub(crate) fn settings(
        &self,
        (d_in, d_out): (usize, usize),
        transcoder: Option<Transcoder>,
    ) -> anyhow::Result<Vec<Setting>> {
        let mut choices = vec![(String::new(), self.choice())];
        for axis in &self.sweep {
            let mut combined = Vec::new();
            for (name, choice) in &choices {
                for value in &axis.values {
                    let mut choice = choice.clone();
                    choice.vary(&axis.name, value).context("--sweep")?;
                    combined.push((joined(name, &axis.name, value), choice));
                }
            }
            choices = combined;
        }
        let mut settings: Vec<Setting> = Vec::new();
        for (name, choice) in choices {
            let config = self.config(&choice, d_in, transcoder);
            let config = config.and_then(|config| {
                config.check(d_in, d_out)?;
                Ok(config)
            });
            let config = match name.is_empty() {
                true => config?,
                false => config.with_context(|| name.clone())?,
            };
            ensure!(
                settings.iter().all(|other| other.name != name),
                "--sweep: {name} is asked for twice"
            );
            settings.push(Setting { name, config });
        }
        Ok(settings)
    }

    fn choice(&self) -> Choice {
        Choice {
            recipe: self.recipe,
            expansion: self.expansion,
            d_sae: self.d_sae,
            k: self.k,
            lr: self.lr,
            coefficient: self.coefficient,
            set: self.set.clone(),
        }
    }

    fn config(
        &self,
        choice: &Choice,
        d_in: usize,
        transcoder: Option<Transcoder>,
    ) -> anyhow::Result<TrainConfig> {
        for Assignment { field, .. } in &self.set {
            if let Some((_, flag)) = OF_FLAGS.iter().find(|(of, _)| of == field) {
                bail!("--set {field}: {flag} says it, and what follows from it");
            }
        }
        let d_sae = match (choice.d_sae, choice.expansion) {
            (Some(d_sae), _) => d_sae,
            (None, expansion) => (expansion.unwrap_or(EXPANSION) * d_in as f64).round() as usize,
        };
        let recipe = choice.recipe.recipe();
        let usual = TrainConfig::recipe(recipe, d_in, d_sae, 1).batch_tokens;
        let batch = self.batch.unwrap_or(usual);
        ensure!(batch > 0, "--batch: a step needs at least one token");
        let steps = match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) => tokens.div_ceil(batch as u64),
            (None, None) => STEPS,
        };
        let mut config = TrainConfig::recipe(recipe, d_in, d_sae, steps);
        config.batch_tokens = batch;
        // The recipe counts in its own batches.
        let window = config.dead.window_tokens as f64 * batch as f64 / usual as f64;
        config.dead.window_tokens = window as u64;
        config.seed = self.seed;
        config.log_every = self.log_every.unwrap_or(config.log_every);
        config.checkpoint_every = self.checkpoint_every.unwrap_or(config.checkpoint_every);
        config.adam.lr = choice.lr.unwrap_or(config.adam.lr);
        if let Some(k) = choice.k {
            set_k(&mut config, k, choice.recipe)?;
        }
        if let Some(coefficient) = choice.coefficient {
            set_coefficient(&mut config, coefficient, choice.recipe)?;
        }
        if let Some(transcoder) = transcoder {
            config = config.transcode(transcoder);
        }
        assigned(config, &choice.set)
    }
}

impl Choice {
    /// Takes one value of an axis of a sweep.
    fn vary(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        fn parsed<T: FromStr>(name: &str, value: &str) -> anyhow::Result<T> {
            let parsed = value.parse().ok();
            parsed.with_context(|| format!("`{value}` is no value of `{name}`"))
        }
        match name {
            "expansion" => (self.expansion, self.d_sae) = (Some(parsed(name, value)?), None),
            "d_sae" | "d-sae" => (self.d_sae, self.expansion) = (Some(parsed(name, value)?), None),
            "k" => self.k = Some(parsed(name, value)?),
            "lr" => self.lr = Some(parsed(name, value)?),
            "coefficient" | "l1" => self.coefficient = Some(parsed(name, value)?),
            "recipe" => {
                let recipe = <RecipeArg as clap::ValueEnum>::from_str(value, false);
                self.recipe = recipe.map_err(|_| anyhow::anyhow!("`{value}` is no recipe"))?;
            }
            // One stream feeds all of them.
            "steps" | "tokens" | "batch" | "batch_tokens" => {
                bail!("`{name}` is the same for all, since they share one stream of activations")
            }
            field => self.set.push(Assignment {
                field: field.to_owned(),
                value: value_of(value),
            }),
        }
        Ok(())
    }
}

/// A folder's name: what differs.
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

fn set_k(config: &mut TrainConfig, wanted: usize, recipe: RecipeArg) -> anyhow::Result<()> {
    match &mut config.objective {
        Objective::TopK { k, .. }
        | Objective::BatchTopK { k, .. }
        | Objective::Matryoshka { k, .. } => *k = wanted,
        Objective::JumpRelu {
            penalty: JumpPenalty::Target { l0, .. },
            ..
        } => *l0 = wanted as f32,
        _ => bail!(
            "--k: the recipe {} has no number of active features; its --coefficient decides it",
            recipe.name()
        ),
    }
    Ok(())
}

fn set_coefficient(config: &mut TrainConfig, wanted: f32, recipe: RecipeArg) -> anyhow::Result<()> {
    match &mut config.objective {
        Objective::L1 { coefficient, .. } | Objective::Gated { coefficient, .. } => {
            *coefficient = wanted;
        }
        Objective::JumpRelu { penalty, .. } => match penalty {
            JumpPenalty::Step { coefficient }
            | JumpPenalty::Tanh { coefficient, .. }
            | JumpPenalty::Target { coefficient, .. } => *coefficient = wanted,
        },
        _ => bail!(
            "--coefficient: the recipe {} has no sparsity penalty; its --k decides how many features \
             are active",
            recipe.name()
        ),
    }
    Ok(())
}

/// The configuration with some of its fields set.
fn assigned(config: TrainConfig, assignments: &[Assignment]) -> anyhow::Result<TrainConfig> {
    if assignments.is_empty() {
        return Ok(config);
    }
    let mut value = serde_json::to_value(&config)?;
    for Assignment { field, value: new } in assignments {
        *place(&mut value, field).with_context(|| format!("--set {field}"))? = new.clone();
        // After each, so that what does not fit is named.
        let fits = serde_json::from_value::<TrainConfig>(value.clone());
        fits.with_context(|| format!("--set {field}={new}"))?;
    }
    Ok(serde_json::from_value(value)?)
}

/// Where in a configuration a field is.
fn place<'a>(value: &'a mut Value, field: &str) -> anyhow::Result<&'a mut Value> {
    let mut at = value;
    for key in field.split('.') {
        let known: Vec<String> = match &*at {
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        at = match at.get_mut(key) {
            Some(inner) => inner,
            None if known.is_empty() => bail!("`{key}` is part of no object; set the whole field"),
            None => bail!("there is no `{key}`; there is {}", known.join(", ")),
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        setting: SettingArgs,
    }

    fn settings(args: &[&str]) -> anyhow::Result<Vec<Setting>> {
        let all = std::iter::once("train").chain(args.iter().copied());
        Cli::try_parse_from(all)?.setting.settings((64, 64), None)
    }

    fn one(args: &[&str]) -> TrainConfig {
        settings(args).unwrap().remove(0).config
    }

    fn refused(args: &[&str]) -> String {
        format!("{:#}", settings(args).err().unwrap())
    }

    #[test]
    fn flags_change_what_the_recipe_says() {
        let config = one(&[
            "--expansion",
            "2",
            "--k",
            "7",
            "--lr",
            "0.5",
            "--batch",
            "512",
        ]);
        assert_eq!((config.d_sae, config.batch_tokens), (128, 512));
        assert!(matches!(config.objective, Objective::TopK { k: 7, .. }));
        assert_eq!(config.adam.lr, 0.5);
        let config = one(&["--tokens", "10000", "--batch", "512"]);
        assert_eq!(config.steps, 20);
        let config = one(&["--recipe", "l1", "--l1", "3"]);
        assert!(
            matches!(config.objective, Objective::L1 { coefficient, .. } if coefficient == 3.0)
        );
        let config = one(&["--recipe", "jumprelu", "--k", "9"]);
        let target = |penalty| matches!(penalty, JumpPenalty::Target { l0, .. } if l0 == 9.0);
        assert!(matches!(config.objective, Objective::JumpRelu { penalty, .. } if target(penalty)));
    }

    #[test]
    fn every_recipe_makes_sense_as_it_is() {
        for recipe in <RecipeArg as clap::ValueEnum>::value_variants() {
            for steps in ["1", "7", "1000"] {
                one(&["--recipe", recipe.name(), "--steps", steps, "--batch", "64"]);
            }
        }
    }

    #[test]
    fn any_field_can_be_set_by_its_path() {
        let config = one(&[
            "--set",
            "adam.beta2=0.5",
            "--set",
            "input=layer_norm",
            "--set",
            "objective.top_k.aux=null",
            "--set",
            "dead.treatment={\"resample\": {\"every\": 5, \"times\": 2}}",
        ]);
        assert_eq!(config.adam.beta2, 0.5);
        assert_eq!(config.input, saescope::train::Input::LayerNorm);
        assert!(matches!(
            config.objective,
            Objective::TopK { aux: None, .. }
        ));
        let resample = saescope::train::Treatment::Resample { every: 5, times: 2 };
        assert_eq!(config.dead.treatment, resample);
    }

    #[test]
    fn what_is_no_field_or_no_value_is_refused_with_what_there_is() {
        assert!(refused(&["--set", "adam.beta3=1"]).contains("there is lr, beta1, beta2, eps"));
        assert!(refused(&["--set", "adam.beta2=no"]).contains("adam.beta2"));
        assert!(refused(&["--set", "steps.x=1"]).contains("part of no object"));
        assert!(refused(&["--set", "steps"]).contains("written like"));
        assert!(refused(&["--recipe", "l1", "--k", "3"]).contains("--coefficient decides it"));
        assert!(refused(&["--coefficient", "3"]).contains("its --k decides"));
        assert!(refused(&["--k", "100000"]).contains("k"));
        assert!(refused(&["--batch", "0"]).contains("--batch"));
    }

    #[test]
    fn a_sweep_has_every_combination_once() {
        let all = settings(&["--sweep", "expansion=2,4", "k=3,5"]).unwrap();
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
        let fields = settings(&["--sweep", "adam.lr=0.1,0.2"]).unwrap();
        assert_eq!(fields[1].config.adam.lr, 0.2);
        assert!(refused(&["--sweep", "k=3,3"]).contains("twice"));
        assert!(refused(&["--sweep", "batch=1,2"]).contains("share one stream"));
        assert!(refused(&["--sweep", "k="]).contains("written like"));
        assert!(refused(&["--sweep", "recipe=best"]).contains("no recipe"));
    }
}
