//! Progress bars on standard error; none are drawn where that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The quantity that a bar counts.
#[derive(Clone, Copy)]
pub(crate) enum Counted {
    /// Bytes, with their speed.
    Bytes,
    /// Items of this name, with their speed.
    Items(&'static str),
    /// A share of the work, as a percentage.
    Share,
}

/// A bar after `text`, for `total` of what it counts; [`ProgressBar::set_length`] changes the total.
pub(crate) fn bar(text: &str, counted: Counted, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(text.to_owned());
    let count = match counted {
        Counted::Bytes => "{bytes} of {total_bytes}, {bytes_per_sec}".to_owned(),
        Counted::Items(name) => format!("{{pos}} of {{len}} {name}, {{per_sec}}"),
        Counted::Share => "{percent}%".to_owned(),
    };
    let template = format!("{{msg}}  {{bar:30}}  {count}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
