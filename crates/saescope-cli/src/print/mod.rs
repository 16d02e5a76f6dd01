//! What the commands write: text, JSON, tables, and errors.

mod advice;
pub(crate) mod autoencoder;
pub(crate) mod bar;
pub(crate) mod live;
mod terminal;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use saescope::show::text::{multi_line, one_line};
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) use self::advice::{refusal, warnings};
pub(crate) use self::terminal::{
    Terminal, note, raw_stdout, reader_left, stderr_line, stdout, styled_stdout, terminal_width,
};

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    writeln!(raw_stdout(), "{text}")?;
    Ok(())
}

/// An error with its causes in one line. What a cause repeats of its effect is not said twice: all of it,
/// or the name with which it begins.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if let Some((name, rest)) = cause.split_once(": ")
            && text.ends_with(&format!(" {name}"))
        {
            text = format!("{text}: {rest}");
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Text of a token for a table: one line, spaces visible at its ends.
pub(crate) fn visible(text: &str) -> String {
    let shown = one_line(text);
    let spaces_before = shown.len() - shown.trim_start_matches(' ').len();
    let text_end = shown.trim_end_matches(' ').len();
    let inner = if text_end == 0 {
        ""
    } else {
        &shown[spaces_before..text_end]
    };
    let after = shown.len() - text_end.max(spaces_before);
    format!("{}{inner}{}", "·".repeat(spaces_before), "·".repeat(after))
}

/// Texts of tokens for a cell of a table, as far as there is room.
pub(crate) fn token_list(tokens: &[String]) -> String {
    const WIDTH: usize = 40;
    let tokens: Vec<String> = tokens.iter().map(|token| visible(token)).collect();
    cut(&tokens.join(" "), WIDTH)
}

/// A cell of a table.
#[derive(Clone, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// The side to which the cells of a column keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table of cells in columns, two spaces apart.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table whose columns keep to the sides given.
    pub(crate) fn new(columns: Vec<Align>) -> Table {
        Table {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row in bold, for the names of the columns.
    pub(crate) fn header<T: Into<String>>(&mut self, names: impl IntoIterator<Item = T>) {
        let style = Style::new().bold();
        self.rows.push(
            names
                .into_iter()
                .map(|name| Cell {
                    text: one_line(&name.into()),
                    style,
                })
                .collect(),
        );
    }

    /// Adds a row; each cell is one line.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        let shown = |Cell { text, style }: Cell| Cell {
            text: one_line(&text),
            style,
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Writes the table, in several parts one under another when it is wider than `width`; the first
    /// column is repeated in each.
    pub(crate) fn write(
        &self,
        out: &mut Terminal<impl Write>,
        width: Option<usize>,
    ) -> io::Result<()> {
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width_of).collect();
        let mut start = 1.min(widths.len());
        loop {
            let mut end = start;
            let mut used = widths.first().copied().unwrap_or(0);
            while end < widths.len()
                && (end == start || width.is_none_or(|width| used + 2 + widths[end] <= width))
            {
                used += 2 + widths[end];
                end += 1;
            }
            for row in &self.rows {
                self.write_row(out, row, &widths, start..end)?;
            }
            if end >= widths.len() {
                return Ok(());
            }
            writeln!(out)?;
            start = end;
        }
    }

    fn write_row(
        &self,
        out: &mut Terminal<impl Write>,
        row: &[Cell],
        widths: &[usize],
        part: std::ops::Range<usize>,
    ) -> io::Result<()> {
        let shown: Vec<usize> = std::iter::once(0)
            .chain(part)
            .filter(|&c| c < row.len())
            .collect();
        // Blanks at the end of a line are nothing but in the way.
        let end = shown.iter().rposition(|&c| !row[c].text.is_empty());
        let shown = &shown[..end.map_or(0, |last| last + 1)];
        for (place, &column) in shown.iter().enumerate() {
            let Cell { text, style } = &row[column];
            let gap = if place == 0 { "" } else { "  " };
            let pad = " ".repeat(widths[column] - text.width());
            let (before, after) = match self.columns[column] {
                Align::Left if place + 1 == shown.len() => ("", ""),
                Align::Left => ("", pad.as_str()),
                Align::Right => (pad.as_str(), ""),
            };
            write!(out, "{gap}{before}")?;
            out.styled(*style, text)?;
            write!(out, "{after}")?;
        }
        writeln!(out)
    }
}

/// The colour of a probability: the higher, the stronger.
pub(crate) fn probability_style(probability: f32) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match probability {
        p if p >= 0.8 => colour(AnsiColor::Green).bold(),
        p if p >= 0.5 => colour(AnsiColor::Green),
        p if p >= 0.2 => colour(AnsiColor::Yellow),
        _ => Style::new().dimmed(),
    }
}

/// Cuts a text to `width` columns, the last of them an ellipsis where something is cut off.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let kept: String = text.chars().take_while(fits).collect();
    kept + "…"
}

/// Writes two texts in columns of half the width, broken between words.
pub(crate) fn side_by_side(
    out: &mut Terminal<impl Write>,
    width: usize,
    heads: (&str, &str),
    texts: (&str, &str),
) -> io::Result<()> {
    let column = width.saturating_sub(2) / 2;
    let (left, right) = (wrapped(texts.0, column), wrapped(texts.1, column));
    let bold = Style::new().bold();
    let pad = |text: &str| " ".repeat(column.saturating_sub(text.width()) + 2);
    out.styled(bold, heads.0)?;
    write!(out, "{}", pad(heads.0))?;
    out.styled(bold, heads.1)?;
    writeln!(out)?;
    for line in 0..left.len().max(right.len()) {
        let of = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
        let (left, right) = (of(&left), of(&right));
        let line = format!("{left}{}{right}", pad(&left));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Lines of a text that are at most `width` columns wide.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let text = multi_line(text).replace('\t', " ");
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word.to_owned();
            if !line.is_empty() && line.width() + 1 + word.width() > width {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            while word.width() > width {
                let mut used = 0;
                let fits = |c: &char| {
                    used += c.width().unwrap_or(0);
                    used <= width
                };
                let head: String = word.chars().take_while(fits).collect();
                if head.is_empty() {
                    break;
                }
                word = word.split_off(head.len());
                lines.push(head);
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn printed(table: &Table, width: Option<usize>) -> String {
        let mut bytes = Vec::new();
        table.write(&mut Terminal::new(&mut bytes), width).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_line_up_by_width_not_by_bytes() {
        let mut table = Table::new(vec![Align::Left, Align::Right]);
        table.row(vec!["안녕".into(), "1".into()]);
        table.row(vec!["a".into(), "23".into()]);
        assert_eq!(printed(&table, None), "안녕   1\na     23\n");
    }

    #[test]
    fn a_wide_table_is_folded_and_keeps_its_first_column() {
        let mut table = Table::new(vec![Align::Left; 4]);
        table.row(vec!["r".into(), "aaa".into(), "bbb".into(), "ccc".into()]);
        assert_eq!(printed(&table, Some(12)), "r  aaa  bbb\n\nr  ccc\n");
        assert_eq!(printed(&table, Some(1)), "r  aaa\n\nr  bbb\n\nr  ccc\n");
        assert_eq!(printed(&table, None), "r  aaa  bbb  ccc\n");
    }

    #[test]
    fn a_cell_is_one_line_without_commands_to_the_terminal() {
        let mut table = Table::new(vec![Align::Left; 2]);
        table.header(["\u{1b}[2J", "b"]);
        table.row(vec!["a\nb".into(), "\u{202e}".into()]);
        let lines = printed(&table, None);
        let lines = anstream::adapter::strip_str(&lines).to_string();
        assert_eq!(lines, "\\u{1b}[2J  b\na\\nb       \\u{202e}\n");
    }

    #[test]
    fn no_blanks_stand_at_the_end_of_a_line() {
        let mut table = Table::new(vec![Align::Left; 3]);
        table.row(vec!["a".into(), "bbb".into(), "c".into()]);
        table.row(vec!["aaa".into(), "".into(), "".into()]);
        assert_eq!(printed(&table, None), "a    bbb  c\naaa\n");
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = io::Error::other("no such file");
        let error = Err::<(), _>(cause)
            .context("a.json: no such file")
            .context("edits");
        assert_eq!(chain(&error.unwrap_err()), "edits: a.json: no such file");
    }

    #[test]
    fn spaces_and_control_characters_are_seen() {
        assert_eq!(visible(" a b\n"), "·a b\\n");
        assert_eq!(visible("  "), "··");
        assert_eq!(visible("\u{1b}[1m"), "\\u{1b}[1m");
        assert_eq!(visible(""), "");
    }

    #[test]
    fn two_texts_stand_side_by_side() {
        let mut bytes = Vec::new();
        let texts = ("one two three", "abcdefghijk 한국\nend");
        side_by_side(&mut Terminal::new(&mut bytes), 20, ("l", "r"), texts).unwrap();
        let lines = String::from_utf8(bytes).unwrap();
        let lines = anstream::adapter::strip_str(&lines).to_string();
        assert_eq!(
            lines,
            "l          r\none two    abcdefghi\nthree      jk 한국\n           end\n"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("안녕하세요", 6), "안녕…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
