//! Warnings: doubts that do not keep anything from being computed.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::site::Site;

/// A doubt that a person should know of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "warning")]
#[non_exhaustive]
pub enum Warning {
    /// An autoencoder is used on a model of another name than the one it was trained on.
    OtherModel {
        /// Reference of the autoencoder.
        sae: String,
        /// The model that its record names.
        trained_on: String,
        /// The model that it is used on.
        used_on: String,
    },
    /// An autoencoder is used at another site than the one it was trained at.
    OtherSite {
        /// Reference of the autoencoder.
        sae: String,
        /// The site that its record names.
        trained_at: Site,
        /// The site that it is used at.
        used_at: Site,
    },
    /// Texts begin in another way than those that an autoencoder was trained on.
    Bos {
        /// Reference of the autoencoder.
        sae: String,
        /// True if it was trained on texts that begin with the beginning-of-sequence token.
        trained_with: bool,
    },
    /// A text is longer than those that an autoencoder was trained on.
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
    EditsOfOtherModel {
        /// The model that their document names.
        made_for: String,
        /// The model that they are used on.
        used_on: String,
    },
    /// All edits come after the only site that is read, so that they change nothing there.
    EditsAfterSite {
        /// The site that is read.
        read_at: Site,
        /// The site of the first edit.
        edited_at: Site,
    },
    /// An edit in proportion to the token meets a first position that is many times as long as the
    /// others.
    LongFirstPosition {
        /// The site of the edit.
        site: Site,
        /// Norm of the first position over the median norm of the others.
        times: f64,
    },
    /// The corpus has fewer tokens than were asked for; all of them are read.
    ShortCorpus {
        /// Tokens of the corpus.
        tokens: u64,
    },
    /// Shards hold activations of a model of another name than the one that is trained on.
    ShardsOfOtherModel {
        /// Folder of the shards.
        shards: PathBuf,
        /// The model that their manifest names.
        captured_from: String,
        /// The model that the run will record.
        recorded_as: String,
    },
    /// A resumed run differs from its beginning in a way that changes the last bits of its results.
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
    LittleMemory {
        /// Bytes that the machine has left.
        free: u64,
        /// Bytes that the job needs, as predicted.
        needed: u64,
    },
    /// The tokens of texts cannot be kept for the next time.
    NoCorpusCache {
        /// The folder that was to keep them.
        folder: PathBuf,
        /// The system's answer.
        reason: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::OtherModel {
                sae,
                trained_on,
                used_on,
            } => write!(
                f,
                "{sae} was trained on {trained_on} and is used on {used_on}"
            ),
            Warning::OtherSite {
                sae,
                trained_at,
                used_at,
            } => write!(
                f,
                "{sae} was trained at {trained_at} and is used at {used_at}"
            ),
            Warning::Bos { sae, trained_with } => {
                let with = if *trained_with { "with" } else { "without" };
                write!(
                    f,
                    "{sae} was trained on texts {with} a beginning-of-sequence token; these are not"
                )
            }
            Warning::LongText {
                sae,
                text,
                tokens,
                context,
            } => {
                match text {
                    Some(text) => write!(f, "`{text}` has {tokens} tokens")?,
                    None => write!(f, "the texts have up to {tokens} tokens")?,
                }
                write!(
                    f,
                    ", and {sae} was trained on texts of {context}; it has seen nothing like what comes after"
                )
            }
            Warning::EditsOfOtherModel { made_for, used_on } => {
                write!(
                    f,
                    "the edits were made for {made_for} and are used on {used_on}"
                )
            }
            Warning::EditsAfterSite { read_at, edited_at } => write!(
                f,
                "all edits come after {read_at}, the first at {edited_at}; they change nothing there"
            ),
            Warning::LongFirstPosition { site, times } => write!(
                f,
                "the first position is {times:.0} times as long as the others at {site}, and an edit in \
                 proportion to it is as large"
            ),
            Warning::ShortCorpus { tokens } => {
                write!(
                    f,
                    "the corpus has {tokens} tokens, and all of them are read"
                )
            }
            Warning::ShardsOfOtherModel {
                shards,
                captured_from,
                recorded_as,
            } => write!(
                f,
                "{}: the activations are those of {captured_from}, and the autoencoder will record \
                 {recorded_as} as its model",
                shards.display()
            ),
            Warning::NotBitForBit {
                run,
                field,
                began_with,
                is_now,
            } => write!(
                f,
                "{}: `{field}` was {began_with} and is {is_now} now; the run goes on, but not bit for bit",
                run.display()
            ),
            Warning::LittleMemory { free, needed } => write!(
                f,
                "the machine has {:.1} GB of memory left, and the job needs about {:.1} GB more",
                *free as f64 / 1e9,
                *needed as f64 / 1e9
            ),
            Warning::NoCorpusCache { folder, reason } => write!(
                f,
                "the tokens of texts are not kept for the next time: {}: {reason}",
                folder.display()
            ),
        }
    }
}
