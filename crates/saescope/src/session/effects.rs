//! Warnings of edits that change nothing.

use super::Warning;
use crate::steer::{Comparison, Effect, Setting, setting_names};

impl Warning {
    /// Warnings of the settings that changed no logit or no token. Scale 0 is exempt: a sweep has it
    /// because it changes nothing.
    pub fn of_effects(
        settings: &[Setting],
        comparison: &Comparison,
        prompt_tokens: usize,
    ) -> Vec<Warning> {
        let writes = comparison
            .plain
            .iter()
            .any(|text| !text.completion.tokens.is_empty());
        let names = setting_names(settings).into_iter();
        let tried = settings.iter().zip(names).zip(comparison.effects());
        let warnings = tried.filter_map(|((setting, name), effect)| {
            if setting.name.scale == Some(0.0) {
                return None;
            }
            let setting_name = if name.is_empty() {
                "the edits".to_owned()
            } else {
                name
            };
            let omits = |position| setting.edits.iter().all(|e| !e.span.contains(position));
            match effect {
                Effect::Nothing => Some(Warning::NoLogitChanged {
                    setting: setting_name,
                    omits_only_position: prompt_tokens == 1 && omits(0),
                }),
                Effect::Logits if writes => Some(Warning::SameText {
                    setting: setting_name,
                    scale: setting.name.scale,
                }),
                Effect::Logits | Effect::Text => None,
            }
        });
        warnings.collect()
    }
}
