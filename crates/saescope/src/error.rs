//! Errors of the library. Each names the thing, the place and the next step.
//!
//! Every variant that concerns a file names it, and the tensor where there is one. Messages are
//! built here once; tests match on the variant, never on the text.

use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// A file is not what its format requires.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The fault and its place.
        reason: String,
    },

    /// A tensor that the format or the model requires is not in the checkpoint.
    #[error("{}: there is no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name as the checkpoint would spell it.
        tensor: String,
    },

    /// A tensor cannot be used.
    #[error("{}: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The fault.
        reason: String,
    },

    /// A tensor holds a value that no weight can have.
    #[error("{}: tensor `{tensor}`: element {index} is {value}, not a finite number", path.display())]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Index of the element in row-major order.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },

    /// A pickle asks for something other than tensors and plain containers. None of it was run.
    #[error(
        "{}: the pickle asks for `{global}`; only tensors and plain containers are read, and nothing was run; \
         {advice}",
        path.display()
    )]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The class or function that the pickle names.
        global: String,
        /// The next step, by what the pickle seems to hold.
        advice: &'static str,
    },

    /// A model that saescope does not know how to run as its makers meant it.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The configuration that asks for it.
        path: PathBuf,
        /// The unsupported thing by name, and what is supported instead.
        reason: String,
    },

    /// A tokenizer cannot be read, or a text cannot be encoded.
    #[error("tokenizer: {0}")]
    Tokenizer(String),

    /// A text for a model whose tokenizer cannot be read.
    #[error("texts need a tokenizer, and the model's cannot be read: {reason}")]
    NoTokenizer {
        /// The failure of its tokenizer.
        reason: String,
    },

    /// A chat template is missing or does not render.
    #[error("chat template: {0}")]
    ChatTemplate(String),

    /// A reference such as `org/name@revision` cannot be resolved.
    #[error("{reference}: {reason}")]
    Hub {
        /// The reference as it was written.
        reference: String,
        /// The cause, and the next step.
        reason: String,
    },

    /// A reference to something that would have to be downloaded while downloads are turned off.
    #[error("{reference}: {reason}, and downloads are turned off")]
    Offline {
        /// The reference.
        reference: String,
        /// The place that lacks it.
        reason: String,
    },

    /// The Hub hands a repository to those alone who show that they may have it.
    #[error("{reference}: {reason}")]
    AccessDenied {
        /// The reference.
        reference: String,
        /// The Hub's answer, and the next step.
        reason: String,
    },

    /// There is no folder for the cache of downloads.
    #[error("there is no home folder to keep downloads in; name a folder for the cache")]
    NoHome,

    /// A site name that no model has.
    #[error(
        "there is no site `{0}`; sites are written like `resid_post.8`, `mlp_out.5`, `embed` or `final_norm`"
    )]
    UnknownSite(String),

    /// A site that this model does not have.
    #[error("site `{site}`: {reason}")]
    Site {
        /// The site as printed.
        site: String,
        /// The reason why this model lacks it.
        reason: String,
    },

    /// Two things that must agree in shape do not.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The thing.
        what: String,
        /// The shape or size it must have.
        expected: String,
        /// The shape or size it has.
        found: String,
    },

    /// An activation that no autoencoder can encode.
    #[error(
        "row {row} of the activation holds {value}; a forward pass that overflowed cannot be encoded"
    )]
    Activation {
        /// The row, counted from 0.
        row: usize,
        /// NaN or an infinity.
        value: f32,
    },

    /// More tokens than the context of a model holds.
    #[error(
        "{needed} tokens do not fit the context of {limit}; shorten the prompt or generate fewer tokens"
    )]
    ContextOverflow {
        /// Tokens that the context would have to hold.
        needed: usize,
        /// The model's limit.
        limit: usize,
    },

    /// A folder holds a run that is neither to be resumed nor replaced.
    #[error("{}: it holds a run already; resume it, replace it, or choose another folder", folder.display())]
    RunExists {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder holds no run that could be resumed.
    #[error("{}: there is no run to resume", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
    },

    /// The disk has too little room.
    #[error(
        "{}: the disk has {:.1} GB left, and the job takes up to {:.1} GB; make room, or choose \
         another folder",
        folder.display(), *free as f64 / 1e9, *needed as f64 / 1e9
    )]
    DiskFull {
        /// The folder to be written.
        folder: PathBuf,
        /// Bytes that the disk has left.
        free: u64,
        /// Bytes that the job takes at most.
        needed: u64,
    },

    /// Training cannot begin or continue.
    #[error("step {step}: {reason}")]
    Training {
        /// Steps that were done before the failure.
        step: u64,
        /// The cause, and the next step.
        reason: String,
    },

    /// A path that is to be written exists already, and something else is in it.
    #[error("{}: {reason}", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
        /// Its content, and the next step.
        reason: String,
    },

    /// A feature that an autoencoder does not have.
    #[error("there is no feature {feature}; the autoencoder has features 0 to {}", d_sae.saturating_sub(1))]
    NoFeature {
        /// The feature that was asked for.
        feature: u32,
        /// Number of features of the autoencoder.
        d_sae: usize,
    },

    /// A position beyond the end of a prompt.
    #[error("prompt {prompt} has no position {position}; its last position is {last}")]
    Position {
        /// The prompt, counted from 0.
        prompt: usize,
        /// The position that was asked for.
        position: usize,
        /// The last position of the prompt.
        last: usize,
    },

    /// Something that must hold at least one thing holds none.
    #[error("{what} is empty")]
    Empty {
        /// The thing that is empty.
        what: String,
    },

    /// Questions of which none can be drawn with the other answer as the matching one.
    #[error(
        "all {questions} questions have `{matching}` as the matching answer, so that they cannot be balanced"
    )]
    Unbalanced {
        /// Number of questions.
        questions: usize,
        /// The matching answer.
        matching: String,
    },

    /// An argument that must be a finite number is NaN or infinite.
    #[error("{what} is not a finite number")]
    NotANumber {
        /// The argument.
        what: String,
    },

    /// A result that is NaN or infinite.
    #[error(
        "{what} is not a finite number: a forward pass overflowed; lower the scale of the edits"
    )]
    Overflow {
        /// The result.
        what: String,
    },

    /// A number that its format cannot hold.
    #[error("{what} of {value} exceeds the range of {format}; choose a wider format")]
    OutOfRange {
        /// The kind of number.
        what: String,
        /// The number.
        value: f32,
        /// The format.
        format: &'static str,
    },

    /// The system refuses resources.
    #[error("{what}: {reason}")]
    System {
        /// The resources that were asked for.
        what: String,
        /// The system's answer.
        reason: String,
    },

    /// A page cannot be filled in.
    #[error("page {name}: {reason}")]
    Page {
        /// Name of the template.
        name: String,
        /// The fault and its place.
        reason: String,
    },

    /// A failure of one part of something larger.
    #[error("{what}: {source}")]
    At {
        /// The part, as a person would name it.
        what: String,
        /// Its failure.
        source: Box<Error>,
    },

    /// An autoencoder whose record names no model.
    #[error("{sae}: the autoencoder does not record which model it belongs to; name the model")]
    NoModel {
        /// Reference of the autoencoder.
        sae: String,
    },

    /// An autoencoder where a model is needed.
    #[error("{sae}: this is an autoencoder, and a model is needed")]
    SaeAsModel {
        /// Reference of the autoencoder.
        sae: String,
    },

    /// A model where an autoencoder is needed.
    #[error("{}: this is a model, and an autoencoder is needed", path.display())]
    ModelAsSae {
        /// File or folder of the model.
        path: PathBuf,
    },

    /// Tensors where edits are needed.
    #[error("{path}: it holds tensors, such as those of a vector, and not edits")]
    TensorsAsEdits {
        /// The file.
        path: PathBuf,
    },

    /// A direction that states no site, and none is given.
    #[error("{path}: tensor `{tensor}`: it is a direction without a site; give one")]
    NoSite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },

    /// Directions by layer, for a model that is not known.
    #[error(
        "{path}: it holds directions by layer, which files count in several ways; the number of the \
          model's layers tells them apart"
    )]
    NoLayerCount {
        /// The file.
        path: PathBuf,
    },

    /// The model that an autoencoder's record names cannot be opened.
    #[error("the model of the autoencoder: {source}")]
    ModelOfSae {
        /// The model's failure.
        source: Box<Error>,
    },

    /// Sequences are longer than the model's context.
    #[error("sequences of {context} tokens are longer than the model's context of {limit}")]
    LongContext {
        /// Tokens of a sequence.
        context: usize,
        /// The most that the model reads.
        limit: usize,
    },

    /// Texts cannot be divided into those to train on and those to evaluate on.
    #[error(
        "{documents} document{} of {available} tokens cannot be split into {tokens} to hold out and the rest: \
         {reason}",
        if *documents == 1 { "" } else { "s" }
    )]
    HeldOut {
        /// Number of the documents.
        documents: usize,
        /// Their tokens.
        available: u64,
        /// Tokens to hold out.
        tokens: u64,
        /// The cause.
        reason: String,
    },

    /// A name that is none of those known.
    #[error(
        "unknown {kind} `{name}`{}; use {}",
        did_you_mean(name, known),
        alternatives(known)
    )]
    UnknownName {
        /// The kind of thing that is named.
        kind: &'static str,
        /// The name as it was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },

    /// An argument is out of its range.
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// True if an argument of the call is wrong, and the same call cannot succeed later: a site, feature
    /// or position that does not exist, an empty set, a number out of range. A command ends with the
    /// exit code of wrong usage, a server answers that the request is bad.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::UnknownSite(_)
            | Error::Site { .. }
            | Error::NoFeature { .. }
            | Error::Position { .. }
            | Error::Empty { .. }
            | Error::Unbalanced { .. }
            | Error::NotANumber { .. }
            | Error::NoModel { .. }
            | Error::SaeAsModel { .. }
            | Error::ModelAsSae { .. }
            | Error::TensorsAsEdits { .. }
            | Error::NoSite { .. }
            | Error::NoLayerCount { .. }
            | Error::LongContext { .. }
            | Error::HeldOut { .. }
            | Error::UnknownName { .. }
            | Error::Argument(_) => true,
            Error::At { source, .. } | Error::ModelOfSae { source } => source.is_usage(),
            _ => false,
        }
    }

    /// Names the part of something larger in which the failure happened.
    pub fn at(self, what: impl Into<String>) -> Error {
        Error::At {
            what: what.into(),
            source: Box::new(self),
        }
    }

    /// Attaches a path to an error of the system.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Error {
        Error::Io {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// A file that breaks its format.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Error {
        Error::Format {
            path: path.as_ref().to_path_buf(),
            reason: reason.into(),
        }
    }

    /// A tensor that cannot be used.
    pub fn tensor(path: impl AsRef<Path>, tensor: &str, reason: impl Into<String>) -> Error {
        Error::Tensor {
            path: path.as_ref().to_path_buf(),
            tensor: tensor.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The member of a closed list whose `name_of` is `name`.
pub(crate) fn by_name<T: Copy>(
    kind: &'static str,
    name: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T> {
    let found = all.iter().copied().find(|&one| name_of(one) == name);
    found.ok_or_else(|| Error::UnknownName {
        kind,
        name: name.to_owned(),
        known: all.iter().map(|&one| name_of(one).to_owned()).collect(),
    })
}

/// A question about the known name that `name` resembles most, if it resembles any.
fn did_you_mean(name: &str, known: &[String]) -> String {
    /// Jaro-Winkler similarity from which a name is taken for a misspelling, as clap takes it.
    const SIMILAR: f64 = 0.8;
    let lower = name.to_lowercase();
    let similarity = |known: &&String| strsim::jaro_winkler(&lower, &known.to_lowercase());
    let nearest = known
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest.filter(|nearest| similarity(nearest) >= SIMILAR) {
        Some(nearest) => format!(" (did you mean `{nearest}`?)"),
        None => String::new(),
    }
}

/// Names as a list that ends with "or".
fn alternatives(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones_and_the_nearest() {
        let refusal = |name: &str| {
            let known = ["last", "max", "mean"].map(str::to_owned).to_vec();
            let kind = "pooling";
            let name = name.to_owned();
            Error::UnknownName { kind, name, known }.to_string()
        };
        let rest = "; use last, max or mean";
        assert_eq!(
            refusal("Meen"),
            format!("unknown pooling `Meen` (did you mean `mean`?){rest}")
        );
        assert_eq!(refusal("zzz"), format!("unknown pooling `zzz`{rest}"));
        let name = |text: &'static str| text;
        assert_eq!(
            by_name("pooling", "max", &["last", "max"], name).unwrap(),
            "max"
        );
        let unknown = by_name("pooling", "min", &["last", "max"], name);
        assert!(unknown.is_err_and(|error| error.is_usage()));
    }

    #[test]
    fn errors_of_arguments_are_usage_wherever_they_happen() {
        let feature = || Error::NoFeature {
            feature: 9,
            d_sae: 8,
        };
        assert!(feature().is_usage());
        assert!(feature().at("run 2").at("the sweep").is_usage());
        let lost = Error::io("a", std::io::ErrorKind::NotFound.into());
        assert!(!lost.at("run 2").is_usage());
    }
}
