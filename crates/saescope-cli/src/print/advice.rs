//! Flags that answer what the library warns of or refuses: it names fields and knows no flag.

use saescope::Error;
use saescope::session::{Job, Warning};
use saescope::tokenizer::Bos;

use super::note;

/// Prints warnings on standard error.
pub(crate) fn warnings<'a>(all: impl IntoIterator<Item = &'a Warning>) {
    for warning in all {
        match answer(warning) {
            Some(advice) => note!("warning: {warning}; {advice}"),
            None => note!("warning: {warning}"),
        }
    }
}

fn answer(warning: &Warning) -> Option<String> {
    let advice = match warning {
        Warning::OtherModel { .. } => {
            "`saescope info` with the same --model shows how well it fits".to_owned()
        }
        Warning::OtherSite { .. } => {
            "`saescope info` with the same --site shows how well it fits".to_owned()
        }
        Warning::Bos { remedy, .. } => match remedy {
            Some(Bos::Always) => "--bos always adds it".to_owned(),
            Some(Bos::Never) => "--bos never omits it".to_owned(),
            _ => return None,
        },
        Warning::LongText {
            text: None,
            context,
            ..
        } => format!("--context {context} cuts them to what it knows"),
        Warning::LongFirstPosition { .. } => "--span 1.. omits it".to_owned(),
        Warning::NoLogitChanged {
            omits_only_position: true,
            ..
        } => "--span all edits it".to_owned(),
        Warning::SameText { scale: Some(_), .. } => "try a larger --scale".to_owned(),
        Warning::LittleMemory {
            job: Job::Training, ..
        } => "fewer features, a smaller --batch or --buffer need less".to_owned(),
        Warning::LittleMemory {
            job: Job::Capture, ..
        } => "fewer --tokens need less".to_owned(),
        _ => return None,
    };
    Some(advice)
}

/// An error with its causes in one line, and the flags that may mend it.
pub(crate) fn refusal(error: &anyhow::Error) -> String {
    let message = super::chain(error);
    let library = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>());
    std::iter::successors(library, |&error| part(error))
        .filter_map(mend)
        .fold(message, |text, advice| format!("{text}; {advice}"))
}

/// The failure of a part that an error is about. Boxed, it is hidden in the chain of causes.
fn part(error: &Error) -> Option<&Error> {
    match error {
        Error::At { source, .. } | Error::ModelOfSae { source } => Some(source),
        _ => None,
    }
}

/// The flag or the variable that mends an error.
fn mend(error: &Error) -> Option<&'static str> {
    let advice = match error {
        Error::NoTokenizer { .. } => "--ids takes token ids in place of a text",
        Error::SaeAsModel { .. } => "`saescope info` names the model that it was trained on",
        Error::ModelAsSae { .. } => "--model takes a model, beside an autoencoder or alone",
        Error::TensorsAsEdits { .. } => {
            "`saescope vector edits VECTOR --scale S -o EDITS` writes a vector's"
        }
        Error::NoSite { .. } => "--site names it",
        Error::NoLayerCount { .. } => "--layers gives it",
        Error::LongContext { .. } => "a smaller --context cuts them shorter",
        Error::HeldOut { .. } => {
            "--eval-tokens 0 trains on all of it, --eval-corpus evaluates on other texts"
        }
        Error::OutOfRange { .. } => "--shard-dtype bf16 or f32 holds it",
        Error::NoModel { .. } => "--model names it",
        Error::ModelOfSae { .. } => "--model names another",
        Error::RunExists { .. } => {
            "--resume continues it, --force replaces it, -o names another folder"
        }
        Error::DiskFull { .. } => "fewer features, or fewer tokens of shards, take less",
        Error::NoRun { .. } => "omit --resume to begin one",
        Error::Offline { .. } => "unset HF_HUB_OFFLINE to download it",
        Error::Unbalanced { .. } => "--unbalanced takes the questions as they come",
        Error::NoHome => "HF_HOME names it",
        Error::AccessDenied { .. } => "HF_TOKEN holds the token",
        _ => return None,
    };
    Some(advice)
}
