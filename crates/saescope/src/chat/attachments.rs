//! Tools and documents that a chat template may put into the text beside the turns.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::stand_in;

/// The lists that `apply_chat_template` of transformers takes beside the turns. A template sees a list that
/// is not given as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Tools that the model may call: objects, most of them JSON schemas of functions.
    pub tools: Option<Value>,
    /// Documents that the model may quote: objects, most of them with a title and a text.
    pub documents: Option<Value>,
}

impl Attachments {
    /// The lists by the names that templates know them by.
    pub(super) fn named(&self) -> [(&'static str, Option<&Value>); 2] {
        [
            ("tools", self.tools.as_ref()),
            ("documents", self.documents.as_ref()),
        ]
    }
}

/// Reads a list of tools or of documents: a JSON array of objects.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub fn read_list(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    stand_in::check_text(path, &bytes)?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::format(path, format!("not JSON: {error}")))?;
    check_list(&value).map_err(|reason| Error::format(path, reason))?;
    Ok(value)
}

/// Refuses what is not a list of objects.
pub(crate) fn check_list(value: &Value) -> Result<(), String> {
    let Some(items) = value.as_array() else {
        return Err("not a list of objects, such as [{\"type\": \"function\", …}]".to_owned());
    };
    match items.iter().position(|item| !item.is_object()) {
        None => Ok(()),
        Some(at) => Err(format!("item {at} of the list is not an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_objects_are_read_and_other_files_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tools.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_list(&path)
        };
        assert_eq!(read("[{\"b\": 1, \"a\": 2}]").unwrap()[0]["a"], 2);
        assert_eq!(read("[]").unwrap(), Value::Array(Vec::new()));
        for (text, reason) in [
            ("{\"type\": \"function\"}", "not a list of objects"),
            ("[{}, \"a\"]", "item 1"),
            ("[{}", "not JSON"),
            ("", "empty file"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains(reason) && error.contains("tools.json"),
                "{error}"
            );
        }
    }
}
