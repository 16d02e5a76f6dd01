//! Names that tell the settings of a recipe apart.

use super::choice::Slot;
use super::{Setting, SettingName};

/// A name for each setting, of the choices in which it differs from others; empty for a single one.
pub fn setting_names(settings: &[Setting]) -> Vec<String> {
    let differ = |same: fn(&SettingName, &SettingName) -> bool| {
        settings
            .windows(2)
            .any(|pair| !same(&pair[0].name, &pair[1].name))
    };
    let features_differ = differ(|a, b| a.features == b.features);
    let slots_differ = differ(|a, b| a.slot == b.slot);
    let scales_differ = differ(|a, b| a.scale == b.scale);
    let name = |SettingName {
                    features,
                    scale,
                    slot,
                    ..
                }: &SettingName| {
        let mut parts = Vec::new();
        if features_differ {
            let features: Vec<String> = features.iter().map(u32::to_string).collect();
            parts.push(features.join("+"));
        }
        if slots_differ {
            let slot = match slot {
                Slot::One => "slot 1",
                Slot::Actual => "slot actual",
            };
            parts.push(slot.to_owned());
        }
        if let (true, Some(scale)) = (scales_differ, scale) {
            parts.push(scale.to_string());
        }
        parts.join(", ")
    };
    settings.iter().map(|setting| name(&setting.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::ScaleUnit;

    fn setting(features: &[u32], scale: f32, slot: Slot) -> Setting {
        Setting {
            name: SettingName {
                features: features.to_vec(),
                scale: Some(scale),
                unit: ScaleUnit::Raw,
                slot,
            },
            edits: Vec::new(),
        }
    }

    #[test]
    fn a_setting_is_named_by_the_choices_in_which_it_differs() {
        let one = setting(&[1], 2.0, Slot::One);
        assert_eq!(setting_names(std::slice::from_ref(&one)), [""]);
        let scales = [one.clone(), setting(&[1], 4.0, Slot::One)];
        assert_eq!(setting_names(&scales), ["2", "4"]);
        let all = [one, setting(&[1, 2], 4.0, Slot::Actual)];
        assert_eq!(setting_names(&all), ["1, slot 1, 2", "1+2, slot actual, 4"]);
    }
}
