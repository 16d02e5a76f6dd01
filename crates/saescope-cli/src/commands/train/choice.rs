//! Flags that choose how an autoencoder is trained.

use saescope::train::{Assignment, Axis, Choice, Recipe};

use crate::args::value::one_of;
use crate::usage::usage;

/// Arguments of the training's configuration.
#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
pub(super) struct ChoiceArgs {
    /// The configuration to start from; docs/training.md describes each
    #[arg(long, default_value_t, value_parser = one_of::<Recipe>(Recipe::ALL.map(Recipe::name)))]
    recipe: Recipe,
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
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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

/// Fields that other fields follow from, and their own flags.
const FLAGS: [(&str, &str); 3] = [
    ("steps", "--steps"),
    ("batch_tokens", "--batch"),
    ("d_sae", "--d-sae"),
];

impl ChoiceArgs {
    /// Refuses `--set` of a field that has a flag and that other fields follow from.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for Assignment { field, .. } in &self.set {
            if let Some((_, flag)) = FLAGS.iter().find(|(of, _)| of == field) {
                usage!("--set {field}: use {flag}, from which other fields follow");
            }
        }
        Ok(())
    }

    pub(super) fn choice(&self) -> Choice {
        Choice {
            recipe: self.recipe,
            expansion: self.expansion,
            d_sae: self.d_sae,
            k: self.k,
            lr: self.lr,
            coefficient: self.coefficient,
            steps: self.steps,
            tokens: self.tokens,
            batch_tokens: self.batch,
            seed: self.seed,
            log_every: self.log_every,
            checkpoint_every: self.checkpoint_every,
            set: self.set.clone(),
        }
    }

    pub(super) fn sweep(&self) -> &[Axis] {
        &self.sweep
    }
}
