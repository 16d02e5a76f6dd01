//! The steps of the demo.

use std::fmt;

use serde::Serialize;

use super::choice::{Choice, MAX_TURNED};

/// Number of steps.
pub const STEPS: u32 = 7;

/// The prompt of the steered texts.
const PROMPT: &str = "Lily was such a";

/// Calls that show one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its number, from 1.
    #[serde(rename = "step")]
    pub number: u32,
    /// Its title.
    pub title: &'static str,
    /// Explanation of the output, in lines of a terminal's width.
    pub about: &'static str,
    /// The calls, in order.
    pub calls: Vec<Call>,
}

/// A call of the command `saescope`; prints as it is typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The arguments after the name of the command.
    pub args: Vec<String>,
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

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("saescope")?;
        for arg in &self.args {
            if arg.contains(' ') {
                write!(f, " \"{arg}\"")?;
            } else {
                write!(f, " {arg}")?;
            }
        }
        Ok(())
    }
}

/// The call that ranks the features by how well they tell angry and sad phrases from glad ones.
pub fn contrast() -> Call {
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

/// The steps, with the features of `choice`.
pub fn steps(choice: &Choice) -> Vec<Step> {
    vec![
        reads(),
        Step {
            number: 2,
            title: "Which features tell angry and sad phrases from glad ones",
            about: "Each phrase ends in its feeling. AUROC is the probability that an angry phrase activates\n\
                    the feature more than a glad one; the difference is the amount by which to turn it.",
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
        title: "Which features a phrase activates",
        about: "stories260K writes children's stories. Its autoencoder splits the state after the third block\n\
                into 1,024 features, 8 of which are active at each token. The strongest at the last token:",
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
        title: "Look at the first three of these features",
        about: "The tokens that each feature makes more and less likely, the features of similar direction,\n\
                and the places in 300 stories where it is strongest.",
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
        title: "Turn one, two, three and four of them, until the text breaks",
        about: "Scale 1 turns each feature as far as angry phrases differ from glad ones. Perplexity is that of\n\
                the text under the model without edits: a small rise is a changed text, a huge one a broken text.",
        calls: (1..=MAX_TURNED).map(steer).collect(),
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
        title: "An activation of 1 is not a typical activation",
        about: "The same feature at 1, and at its largest activation on an angry text.",
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
        about: "A small autoencoder of the same state, trained for 300 steps. Explained variance rises, and\n\
                directions stay nearly orthogonal, as the mean |cosine| of two of them shows. The demo deletes the\n\
                run; if you type the call yourself, the run stays in demo-run, for the calls that it names.",
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
Gemma 3 (540 MB; accept its terms on the Hub and set HF_TOKEN):
  saescope run google/gemma-3-270m -p \"Once upon a time\"
GPT-2 (550 MB), with OpenAI's autoencoder of 131,072 features (807 MB):
  saescope features openai/v5_128k/resid_post_mlp/8 -p \"I am so angry\"
  saescope contrast openai/v5_128k/resid_post_mlp/8 --positive demo/phrases/angry-sad.txt \\
    --negative demo/phrases/glad.txt
A preset that makes the model of this demo angry, for any prompt:
  saescope steer demo -p \"The dog was such a\" --edits demo/presets/angry.json";
