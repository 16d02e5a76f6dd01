//! Which layers see a window of tokens only.

use super::keys::Keys;
use crate::error::Result;

/// The window of a model, and the layers that have it.
pub(super) struct Windows {
    pub(super) window: Option<usize>,
    pub(super) slides: Slides,
}

/// Which layers are of the kind that has a window.
pub(super) enum Slides {
    Never,
    Always,
    /// Those from this one on (Qwen).
    From(usize),
    /// All but every n-th (Gemma).
    ExceptEvery(usize),
    Listed(Vec<bool>),
}

impl Windows {
    pub(super) const NONE: Windows = Windows {
        window: None,
        slides: Slides::Never,
    };

    /// Whether `layer` is of the kind that has a window.
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

    /// Reads `layer_types`, which takes precedence where a family alternates.
    pub(super) fn listed(mut self, keys: &mut Keys, n_layers: usize) -> Result<Windows> {
        let Some(types): Option<Vec<String>> = keys.get("layer_types")? else {
            return Ok(self);
        };
        if types.len() != n_layers {
            let what = format!("names {} layers of {n_layers}", types.len());
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
                let what = format!("has \"{name}\" for layer {layer}, where this model has none");
                return Err(keys.unsupported("layer_types", &what));
            }
            listed.push(slides);
        }
        self.slides = Slides::Listed(listed);
        Ok(self)
    }
}
