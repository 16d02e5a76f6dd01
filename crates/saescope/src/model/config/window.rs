//! The layers whose attention sees only a window of tokens.

use super::keys::Keys;
use crate::error::Result;

/// The window of a model and the layers that have it.
pub(super) struct Windows {
    /// Number of tokens of the window; `None` if no layer has one.
    pub(super) window: Option<usize>,
    pub(super) slides: Slides,
}

/// The layers of the kind that may have a window.
pub(super) enum Slides {
    Never,
    Always,
    /// This layer and all after it (Qwen).
    From(usize),
    /// All but every n-th layer (Gemma).
    ExceptEvery(usize),
    /// The layers marked true.
    Listed(Vec<bool>),
}

impl Windows {
    pub(super) const NONE: Windows = Windows {
        window: None,
        slides: Slides::Never,
    };

    /// True if `layer` is of the kind that may have a window.
    pub(super) fn slides(&self, layer: usize) -> bool {
        match &self.slides {
            Slides::Never => false,
            Slides::Always => true,
            Slides::From(first) => layer >= *first,
            Slides::ExceptEvery(n) => !(layer + 1).is_multiple_of(*n),
            Slides::Listed(slides) => slides[layer],
        }
    }

    /// The window of `layer`.
    pub(super) fn at(&self, layer: usize) -> Option<usize> {
        self.window.filter(|_| self.slides(layer))
    }

    /// Reads `layer_types`, which takes precedence if the family alternates.
    pub(super) fn listed(mut self, keys: &mut Keys, n_layers: usize) -> Result<Windows> {
        let Some(types): Option<Vec<String>> = keys.get("layer_types")? else {
            return Ok(self);
        };
        if types.len() != n_layers {
            let what = format!("lists {} layers, but the model has {n_layers}", types.len());
            return Err(keys.wrong("layer_types", &what));
        }
        let mut listed = Vec::with_capacity(types.len());
        for (layer, name) in types.iter().enumerate() {
            let slides = match name.as_str() {
                "full_attention" => false,
                "sliding_attention" => true,
                other => {
                    let what = format!(
                        "has \"{other}\"; supported are full_attention and sliding_attention"
                    );
                    return Err(keys.unsupported("layer_types", &what));
                }
            };
            let window = self.window.filter(|_| slides);
            let alternates = matches!(self.slides, Slides::From(_) | Slides::ExceptEvery(_));
            if window != self.at(layer) && !alternates || slides && window.is_none() {
                let what = format!("has \"{name}\" for layer {layer}, which this family does not");
                return Err(keys.unsupported("layer_types", &what));
            }
            listed.push(slides);
        }
        self.slides = Slides::Listed(listed);
        Ok(self)
    }
}
