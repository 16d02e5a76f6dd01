//! Options of the Hub from the environment variables that its own Python client reads.
//!
//! The caller looks variables up and passes the lookup in: a command reads its environment, a server
//! its configuration, a test a table.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{ENDPOINT, HubOptions};
use crate::error::{Error, Result};

impl HubOptions {
    /// The options that variables ask for: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_HUB_OFFLINE` and `XDG_CACHE_HOME`. An empty variable counts as unset. `home` is the user's
    /// home folder, which is used where no variable names a cache.
    ///
    /// # Errors
    /// [`Error::NoHome`] when neither `home` nor a variable names a folder.
    pub fn from_variables(
        home: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<HubOptions> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let text =
            |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let user_cache = || folder("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
        let hf_home = folder("HF_HOME")
            .or_else(|| Some(user_cache()?.join("huggingface")))
            .ok_or(Error::NoHome)?;
        let stored = || std::fs::read_to_string(hf_home.join("token")).ok();
        let token = text("HF_TOKEN").or_else(stored);
        let token = token.as_deref().map(str::trim);
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Ok(HubOptions {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: token.filter(|token| !token.is_empty()).map(str::to_owned),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            storage_cache: hf_home.join("saescope"),
            ..HubOptions::new(folder("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> HubOptions {
        let home = Some(PathBuf::from("/u"));
        HubOptions::from_variables(home, |name| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| value.into())
        })
        .unwrap()
    }

    #[test]
    fn the_cache_is_where_the_python_client_has_it() {
        let home = ("HF_HOME", "/h");
        let cache = |variables: &[(&str, &str)]| with(variables).cache;
        assert_eq!(cache(&[]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[home]), Path::new("/h/hub"));
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "")]), Path::new("/h/hub"));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(with(&[home]).storage_cache, Path::new("/h/saescope"));
    }

    #[test]
    fn without_a_home_folder_a_variable_has_to_name_the_cache() {
        let none = HubOptions::from_variables(None, |_| None);
        assert!(matches!(none, Err(Error::NoHome)));
        let named = |name: &str| (name == "HF_HOME").then(|| "/h".into());
        let options = HubOptions::from_variables(None, named).unwrap();
        assert_eq!(options.cache, Path::new("/h/hub"));
    }

    #[test]
    fn every_spelling_of_the_python_client_turns_downloads_off() {
        for (value, offline) in [
            ("1", true),
            ("YES", true),
            ("true", true),
            ("0", false),
            ("", false),
        ] {
            let options = with(&[("HF_HUB_OFFLINE", value)]);
            assert_eq!(options.offline, offline, "{value}");
        }
    }

    #[test]
    fn the_token_of_the_environment_comes_before_the_stored_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "stored\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(with(&[home]).token.as_deref(), Some("stored"));
        assert_eq!(
            with(&[home, ("HF_TOKEN", "given")]).token.as_deref(),
            Some("given")
        );
        assert_eq!(with(&[("HF_HOME", "/nonexistent")]).token, None);
    }

    #[test]
    fn the_endpoint_can_be_a_mirror() {
        let mirror = "https://mirror.example";
        assert_eq!(with(&[("HF_ENDPOINT", mirror)]).endpoint, mirror);
        assert_eq!(with(&[]).endpoint, ENDPOINT);
    }
}
