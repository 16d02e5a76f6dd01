//! Numbers as text, texts of strangers made harmless, charts and coloured texts as SVG: one form of each
//! for every front end.
//!
//! Knows nothing of models, autoencoders or runs, and writes no file.

pub mod chart;
pub mod number;
pub mod picture;
pub mod text;

/// Escapes a text for SVG and HTML.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}
