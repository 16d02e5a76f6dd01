//! Standard output and standard error of text. Nothing that a file or a model says reaches a terminal as
//! a command: all text is made harmless here, and only this module's own styles pass.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use anstyle::{Ansi256Color, AnsiColor, Style};
use saescope::show::text::{multi_line, one_line};

/// Standard output for JSON and scripts, which are written as they are.
pub(crate) fn raw_stdout() -> impl Write {
    Out(io::stdout().lock())
}

/// Standard output for text.
pub(crate) fn stdout() -> Terminal<impl Write> {
    Terminal(Out(io::stdout().lock()))
}

/// Standard output for tables: colours are left out where nobody would see them, or `NO_COLOR` is set.
pub(crate) fn styled_stdout() -> Terminal<impl Write> {
    Terminal(Out(anstream::stdout().lock()))
}

/// Prints a line on standard error.
pub(crate) fn stderr_line(text: &str) {
    // A terminal that has closed must not end what still has a checkpoint to write.
    let _ = writeln!(io::stderr(), "{}", multi_line(text));
}

/// Formats a line and prints it on standard error.
macro_rules! note {
    ($($part:tt)*) => {
        $crate::print::stderr_line(&format!($($part)*))
    };
}
pub(crate) use note;

/// A writer of text in which control characters are spelled out.
pub(crate) struct Terminal<W>(W);

impl<W: Write> Terminal<W> {
    /// A terminal for tests.
    #[cfg(test)]
    pub(crate) fn new(raw: W) -> Terminal<W> {
        Terminal(raw)
    }

    /// Writes a piece of text in a style.
    pub(crate) fn styled(&mut self, style: Style, text: &str) -> io::Result<()> {
        write!(self.0, "{style}{}{style:#}", multi_line(text))
    }

    /// Writes a stretch of text, in one line, by the activations of its tokens; with numbers where
    /// colours do not reach.
    pub(crate) fn painted(&mut self, text: &str, values: &[f32], strongest: f32) -> io::Result<()> {
        /// Backgrounds from faint to strong.
        const SHADES: [u8; 5] = [230, 222, 214, 208, 202];
        let text = one_line(text);
        let largest = values.iter().copied().fold(0.0, f32::max);
        if largest <= 0.0 {
            return write!(self, "{text}");
        }
        if !coloured() {
            let values: Vec<String> = values.iter().map(|v| format!("{v:.2}")).collect();
            return write!(self, "{text}[{}]", values.join(" "));
        }
        let share = largest / strongest * SHADES.len() as f32;
        let shade = SHADES[(share.ceil() as usize).clamp(1, SHADES.len()) - 1];
        let style = Style::new()
            .bg_color(Some(Ansi256Color(shade).into()))
            .fg_color(Some(AnsiColor::Black.into()));
        self.styled(style, &text)
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Formatted text arrives in pieces that are whole strings.
        let text = multi_line(&String::from_utf8_lossy(bytes));
        self.0.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Standard output that tells its reader's leaving from any other broken pipe.
struct Out<W>(W);

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| mark(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| mark(&error))
    }
}

fn mark(error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, ReaderLeft),
        _ => io::Error::new(error.kind(), format!("standard output: {error}")),
    }
}

#[derive(Debug)]
struct ReaderLeft;

impl fmt::Display for ReaderLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderLeft {}

/// True if the command failed only because its output is no longer read.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    let marked = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        io.and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<ReaderLeft>())
    };
    error.chain().any(marked)
}

/// Columns that a table may take; `None` when nobody watches.
pub(crate) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (width, _) = terminal_size::terminal_size()?;
    Some(usize::from(width.0))
}

/// True if standard output shows colours.
fn coloured() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reader_of_the_output_may_leave() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(reader_left(
            &anyhow::Error::from(mark(&pipe())).context("tokens")
        ));
        assert!(!reader_left(&anyhow::Error::from(pipe())));
    }

    #[test]
    fn no_text_reaches_a_terminal_as_a_command() {
        let mut bytes = Vec::new();
        let mut terminal = Terminal::new(&mut bytes);
        let hostile = "\u{1b}]0;owned\u{7}\r안녕\n";
        write!(terminal, "{hostile}").unwrap();
        terminal.write_all(hostile.as_bytes()).unwrap();
        let bold = Style::new().bold();
        terminal.styled(bold, hostile).unwrap();
        terminal.painted(hostile, &[1.0], 1.0).unwrap();
        let written = String::from_utf8(bytes).unwrap();
        let written = written
            .replace(&bold.to_string(), "")
            .replace(&format!("{bold:#}"), "");
        let shown = "\\u{1b}]0;owned\\u{7}\\r안녕";
        assert_eq!(
            written,
            format!("{shown}\n{shown}\n{shown}\n{shown}\\n[1.00]")
        );
    }
}
