//! The steps of the demo, as calls of other commands.

use std::fmt;

use super::choice::{Choice, MOST};

/// How many steps there are.
pub(super) const STEPS: u32 = 7;

/// The prompt that is steered.
const PROMPT: &str = "Lily was such a";

/// Some calls that show one thing.
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) title: &'static str,
    /// What there is to see.
    pub(super) about: &'static str,
    pub(super) calls: Vec<Call>,
}

/// A call of this program.
pub(super) struct Call {
    pub(super) args: Vec<String>,
}

impl Call {
    fn new(args: &[&str]) -> Call {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Call { args }
    }

    fn and(mut self, args: impl IntoIterator<Item = String>) -> Call {
        self.args.extend(args);
        self
    }
}

/// As it is typed.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("saescope")?;
        for arg in &self.args {
            match arg.contains(' ') {
                true => write!(f, " \"{arg}\"")?,
                false => write!(f, " {arg}")?,
            }
        }
        Ok(())
    }
}

/// The call that says which features tell angry and sad phrases from glad ones.
pub(super) fn contrast() -> Call {
    Call::new(&[
        "contrast",
        "demo",
        "--positive",
        "demo/phrases/angry-sad.txt",
        "--negative",
        "demo/phrases/glad.txt",
        "--pooling",
        "last",
        "--by",
        "difference",
        "--top",
        "8",
    ])
}

/// All steps, with the features of `choice`.
pub(super) fn all(choice: &Choice) -> Vec<Step> {
    vec![
        reads(),
        Step {
            number: 2,
            title: "What tells angry and sad phrases from glad ones",
            about: "Each phrase ends in its feeling. AUROC is the chance that an angry phrase activates the\n\
                    feature more than a glad one; the difference is how far it would have to be turned.",
            calls: vec![contrast()],
        },
        explains(choice),
        steers(choice),
        slot(choice),
        trains(),
        next(),
    ]
}

fn reads() -> Step {
    let (glad, angry) = ("Lily was very happy", "Lily was very angry");
    Step {
        number: 1,
        title: "What a small model has in mind",
        about: "stories260K writes children's stories; its autoencoder takes the state behind its third block\n\
                apart into 1,024 features, of which 8 are active at a token. The strongest at the last one:",
        calls: vec![Call::new(&[
            "features", "demo", "-p", glad, "-p", angry, "--top", "6",
        ])],
    }
}

fn explains(choice: &Choice) -> Step {
    let explain = |rank: usize| {
        let feature = choice.feature(rank).to_string();
        let texts = "demo/stories.txt";
        Call::new(&[
            "feature",
            "demo",
            &feature,
            "--texts",
            texts,
            "--examples",
            "4",
            "--top",
            "5",
        ])
    };
    Step {
        number: 3,
        title: "What the first three of them are",
        about: "The tokens that a feature makes likelier and less likely, its neighbours, and where in 300\n\
                stories it is strongest.",
        calls: (0..3).map(explain).collect(),
    }
}

fn steers(choice: &Choice) -> Step {
    let steer = |n: usize| {
        Call::new(&["steer", "demo", "-p", PROMPT])
            .and(choice.flags(n))
            .and(SWEEP.map(str::to_owned))
    };
    Step {
        number: 4,
        title: "Turn them: one, two, three and four features, until the text breaks",
        about: "Scale 1 turns each feature as far as angry phrases differ from glad ones. Perplexity is that of\n\
                the text under the model as it was: what goes up a little has changed, what explodes is broken.",
        calls: (1..=MOST).map(steer).collect(),
    }
}

const SWEEP: [&str; 9] = [
    "--unit",
    "activation",
    "--sweep",
    "0,0.5,1,1.5,3",
    "--brief",
    "-n",
    "24",
    "--temperature",
    "0",
];

fn slot(choice: &Choice) -> Step {
    let feature = choice.first_up().to_string();
    Step {
        number: 5,
        title: "1 in a feature's slot is not what the feature has in earnest",
        about: "The same feature at 1, and at the activation that it really has on an angry text.",
        calls: vec![Call::new(&[
            "steer",
            "demo",
            "-p",
            PROMPT,
            "-f",
            &feature,
            "--unit",
            "activation",
            "--scale",
            "1",
            "--slot",
            "actual",
            "--reference-prompt",
            "Tim was very sad and angry and upset",
            "-n",
            "24",
            "--temperature",
            "0",
        ])],
    }
}

fn trains() -> Step {
    Step {
        number: 6,
        title: "Train an autoencoder",
        about: "A small one on the same state, for 300 steps. Explained variance goes up, and directions stay\n\
                nearly at right angles: the mean |cosine| of two of them. The demo throws the run away; typed by\n\
                yourself the call leaves it in demo-run, for the calls that it names.",
        calls: vec![Call::new(&[
            "train",
            "demo",
            "--site",
            "resid_post.2",
            "--corpus",
            "demo/stories.txt",
            "--expansion",
            "4",
            "--k",
            "8",
            "--steps",
            "300",
            "--batch",
            "512",
            "--buffer",
            "32768",
            "--log-every",
            "50",
            "-o",
            "demo-run",
        ])],
    }
}

fn next() -> Step {
    Step {
        number: 7,
        title: "The same on a model of your own",
        about: NEXT,
        calls: Vec::new(),
    }
}

const NEXT: &str = "\
SmolLM2 (270 MB), with an autoencoder that you train on your texts:
  saescope train HuggingFaceTB/SmolLM2-135M-Instruct --site resid_post.15 --corpus texts.txt \\
    --skip-first --set input=layer_norm --expansion 16 --k 32 -o smollm2
  saescope features smollm2 -p \"I am so angry\"
Gemma 3 (540 MB; its terms are accepted on the Hub, HF_TOKEN says who you are):
  saescope run google/gemma-3-270m -p \"Once upon a time\"
GPT-2 (550 MB), with OpenAI's autoencoder of 131,072 features (807 MB):
  saescope features openai/v5_128k/resid_post_mlp/8 -p \"I am so angry\"
  saescope contrast openai/v5_128k/resid_post_mlp/8 --positive demo/phrases/angry-sad.txt \\
    --negative demo/phrases/glad.txt
An angry preset for the model of this demo, for any prompt:
  saescope steer demo -p \"The dog was such a\" --edits demo/presets/angry.json";
