//! Warnings: doubts that do not keep anything from being computed.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::show::number::bytes;
use crate::site::Site;
use crate::steer::LongFirstPosition;
use crate::tokenizer::Bos;

/// A doubt that a person should know of.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "warning")]
#[non_exhaustive]
pub enum Warning {
    /// An autoencoder is used on a model of another name than the one it was trained on.
    #[error("{sae} was trained on {trained_on} and is used on {used_on}")]
    OtherModel {
        /// Reference of the autoencoder.
        sae: String,
        /// The model that its record names.
        trained_on: String,
        /// The model that it is used on.
        used_on: String,
    },
    /// An autoencoder is used at another site than the one it was trained at.
    #[error("{sae} was trained at {trained_at} and is used at {used_at}")]
    OtherSite {
        /// Reference of the autoencoder.
        sae: String,
        /// The site that its record names.
        trained_at: Site,
        /// The site that it is used at.
        used_at: Site,
    },
    /// Texts begin in another way than those that an autoencoder was trained on.
    #[error(
        "{sae} was trained on texts that {} with a beginning-of-sequence token; some of these {}",
        if *trained_with { "begin" } else { "do not begin" },
        if *trained_with { "do not" } else { "do" }
    )]
    Bos {
        /// Reference of the autoencoder.
        sae: String,
        /// True if it was trained on texts that begin with the beginning-of-sequence token.
        trained_with: bool,
        /// The use of that token with which these would begin so too, where there is one.
        remedy: Option<Bos>,
    },
    /// A text is longer than those that an autoencoder was trained on.
    #[error(
        "{} {tokens} tokens, and {sae} was trained on texts of {context}; later positions are outside its \
         training data",
        long(text.as_deref())
    )]
    LongText {
        /// Reference of the autoencoder.
        sae: String,
        /// The beginning of the text, if it is not one of a corpus.
        text: Option<String>,
        /// Its tokens.
        tokens: usize,
        /// Tokens of the texts that the autoencoder was trained on.
        context: usize,
    },
    /// Edits are used on a model of another name than the one they were made for.
    #[error("the edits were made for {made_for} and are used on {used_on}")]
    EditsOfOtherModel {
        /// The model that their document names.
        made_for: String,
        /// The model that they are used on.
        used_on: String,
    },
    /// All edits come after the only site that is read, so that they change nothing there.
    #[error("all edits come after {read_at}, the first at {edited_at}; they change nothing there")]
    EditsAfterSite {
        /// The site that is read.
        read_at: Site,
        /// The site of the first edit.
        edited_at: Site,
    },
    /// An edit in proportion to the token meets a first position that is many times as long as the
    /// others.
    #[error(
        "the norm of the first position at {site} is {times:.0} times the median of the others, and the edit \
         grows with it"
    )]
    LongFirstPosition {
        /// The site of the edit.
        site: Site,
        /// Norm of the first position over the median norm of the others.
        times: f64,
    },
    /// Texts are longer than an autoencoder and its model can read, and are read up to there.
    #[error("texts are cut to {context} tokens (longer ones: {texts})")]
    CutTexts {
        /// Number of these texts.
        texts: usize,
        /// Tokens that are read of each.
        context: usize,
    },
    /// Edits that changed no logit.
    #[error(
        "{setting}: no logit changed{}",
        if *omits_only_position { "; the span omits the only position of the prompt" } else { "" }
    )]
    NoLogitChanged {
        /// The choices that tell the edits from others.
        setting: String,
        /// True if the prompt has one position, and the edits omit it.
        omits_only_position: bool,
    },
    /// Edits that changed logits, but no token of a text.
    #[error("{setting}: the text is the same")]
    SameText {
        /// The choices that tell the edits from others.
        setting: String,
        /// The scale of the edits, if they have one.
        scale: Option<f32>,
    },
    /// A tokenizer makes ids that the model does not know.
    #[error(
        "the tokenizer has {tokenizer} tokens, and the model's vocabulary has {model}; a text with one of \
         the others is refused, and the tokenizer may be that of another model"
    )]
    LargeTokenizer {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Ids that the model knows.
        model: usize,
    },
    /// A vector omits a site that the format of its file cannot hold.
    #[error("{site} is omitted: {reason}")]
    OmittedSite {
        /// The site.
        site: Site,
        /// The cause.
        reason: &'static str,
    },
    /// The corpus has fewer tokens than were asked for; all of them are read.
    #[error("the corpus has {tokens} tokens, and all of them are read")]
    ShortCorpus {
        /// Tokens of the corpus.
        tokens: u64,
    },
    /// Shards hold activations of a model of another name than the one that is trained on.
    #[error(
        "{}: the activations are those of {captured_from}, and the autoencoder will record {recorded_as} as \
         its model",
        shards.display()
    )]
    ShardsOfOtherModel {
        /// Folder of the shards.
        shards: PathBuf,
        /// The model that their manifest names.
        captured_from: String,
        /// The model that the run will record.
        recorded_as: String,
    },
    /// A resumed run differs from its beginning in a way that changes the last bits of its results.
    #[error(
        "{}: `{field}` was {began_with} and is {is_now} now; the run continues, but not bit for bit",
        run.display()
    )]
    NotBitForBit {
        /// Folder of the run.
        run: PathBuf,
        /// The field that differs.
        field: String,
        /// Its value when the run began.
        began_with: String,
        /// Its value now.
        is_now: String,
    },
    /// A job may need more memory than the machine has left.
    #[error(
        "the machine has {} of memory left, and {job} needs about {} more",
        bytes(*free),
        bytes(*needed)
    )]
    LittleMemory {
        /// The job.
        job: Job,
        /// Bytes that the machine has left.
        free: u64,
        /// Bytes that the job needs, as predicted.
        needed: u64,
    },
    /// The tokens of texts cannot be kept for the next time.
    #[error("the tokens of texts are not kept for the next time: {}: {reason}", folder.display())]
    NoCorpusCache {
        /// The folder that was to keep them.
        folder: PathBuf,
        /// The system's answer.
        reason: String,
    },
}

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Training autoencoders.
    Training,
    /// Capturing activations as shards.
    Capture,
    /// Harvesting evidence of features.
    Harvest,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Job::Training => "the training",
            Job::Capture => "the capture",
            Job::Harvest => "the harvest",
        })
    }
}

impl From<LongFirstPosition> for Warning {
    fn from(long: LongFirstPosition) -> Warning {
        Warning::LongFirstPosition {
            site: long.site,
            times: long.times,
        }
    }
}

/// The texts that are too long: one of them, or all of a corpus.
fn long(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("`{text}` has"),
        None => "the texts have up to".to_owned(),
    }
}
