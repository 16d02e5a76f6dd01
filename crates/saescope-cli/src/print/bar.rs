//! Progress bars on standard error; none are drawn where that is not a terminal.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use saescope::show::text::one_line;

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
    let bar = ProgressBar::new(total).with_message(one_line(text));
    let count = match counted {
        Counted::Bytes => "{bytes} of {total_bytes}, {bytes_per_sec}".to_owned(),
        Counted::Items(name) => format!("{{pos}} of {{len}} {name}, {{speed}}/s"),
        Counted::Share => "{percent}%".to_owned(),
    };
    let template = format!("{{msg}}  {{bar:30}}  {count}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.with_key("speed", write_speed));
    }
    bar
}

/// Writes the items per second: whole ones, unless they are few.
fn write_speed(state: &ProgressState, out: &mut dyn Write) {
    let decimals = usize::from(state.per_sec() < 100.0);
    // A speed that cannot be written is not worth an error.
    let _ = write!(out, "{:.decimals$}", state.per_sec());
}
