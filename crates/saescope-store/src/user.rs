//! What a user writes: labels, notes and lists.

use rusqlite::{OptionalExtension as _, params};
use saescope::{Error, Result};
use serde::Serialize;

use crate::open::{Store, failed};

/// What a user calls a feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureLabel {
    /// The feature.
    pub feature: u32,
    /// The name.
    pub label: String,
    /// More words about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Time of the last change, UTC.
    pub written: String,
}

/// A list of features.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureList {
    /// Its name.
    pub name: String,
    /// Words about it.
    pub description: String,
    /// Its features, in the order in which they were added.
    pub features: Vec<u32>,
    /// Time of the last change, UTC.
    pub written: String,
}

/// Adds a feature to the end of a list, unless it is there: the feature, the name of the list.
pub(crate) const ADD_TO_LIST: &str = "INSERT OR IGNORE INTO list_features (list, place, feature)
    SELECT list, (SELECT coalesce(max(place) + 1, 0) FROM list_features AS f WHERE f.list = lists.list), ?
    FROM lists WHERE name = ?";
/// The present time as SQL, UTC.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')";
/// Most bytes of a label, a name, a note or a description.
const MAX_TEXT: usize = 1 << 14;

impl Store {
    /// What a user calls a feature.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn label(&self, feature: u32) -> Result<Option<FeatureLabel>> {
        let get = "SELECT feature, label, note, written FROM labels WHERE feature = ?";
        let found = self
            .connection
            .prepare_cached(get)
            .and_then(|mut get| get.query_row([feature], label).optional());
        found.map_err(failed(&self.path))
    }

    /// All labels, by feature.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn labels(&self) -> Result<Vec<FeatureLabel>> {
        let get = "SELECT feature, label, note, written FROM labels ORDER BY feature";
        let found = self
            .connection
            .prepare(get)
            .and_then(|mut get| get.query_map([], label)?.collect());
        found.map_err(failed(&self.path))
    }

    /// Calls a feature by a name; a note that is not given stays as it is.
    ///
    /// # Errors
    /// When there is no such feature, the text is empty or very long, or the store cannot be written.
    pub fn set_label(&mut self, feature: u32, label: &str, note: Option<&str>) -> Result<()> {
        self.row(feature)?;
        check_text("label", label)?;
        note.map_or(Ok(()), |note| check_text("note", note))?;
        let put = format!(
            "INSERT INTO labels (feature, label, note, written) VALUES (?, ?, ?, {NOW})
             ON CONFLICT (feature) DO UPDATE SET label = excluded.label,
               note = coalesce(excluded.note, note), written = excluded.written"
        );
        let done = self.connection.execute(&put, params![feature, label, note]);
        done.map(|_| ()).map_err(failed(&self.path))
    }

    /// Takes the name of a feature away; false if it had none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remove_label(&mut self, feature: u32) -> Result<bool> {
        let done = self
            .connection
            .execute("DELETE FROM labels WHERE feature = ?", [feature]);
        Ok(done.map_err(failed(&self.path))? > 0)
    }

    /// All lists, by name.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn lists(&self) -> Result<Vec<FeatureList>> {
        let names = self.names_of_lists()?;
        names.iter().map(|name| self.list(name)).collect()
    }

    fn names_of_lists(&self) -> Result<Vec<String>> {
        let get = "SELECT name FROM lists ORDER BY name";
        let names = self
            .connection
            .prepare_cached(get)
            .and_then(|mut get| get.query_map([], |row| row.get(0))?.collect());
        names.map_err(failed(&self.path))
    }

    /// A list.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn list(&self, name: &str) -> Result<FeatureList> {
        let get = "SELECT list, description, written FROM lists WHERE name = ?";
        let found = self.connection.query_row(get, [name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
        });
        let found = found.optional().map_err(failed(&self.path))?;
        let Some((list, description, written)) = found else {
            return Err(Error::UnknownName {
                kind: "list",
                name: name.to_owned(),
                known: self.names_of_lists()?,
            });
        };
        let get = "SELECT feature FROM list_features WHERE list = ? ORDER BY place";
        let features = self.connection.prepare(get).and_then(|mut get| {
            let rows = get.query_map([list], |row| row.get(0))?;
            rows.collect()
        });
        Ok(FeatureList {
            name: name.to_owned(),
            description,
            features: features.map_err(failed(&self.path))?,
            written,
        })
    }

    /// Makes a list, or describes one anew, and adds features that it lacks.
    ///
    /// # Errors
    /// When there is no such feature, a text is empty or very long, or the store cannot be written.
    pub fn add_to_list(
        &mut self,
        name: &str,
        description: Option<&str>,
        features: &[u32],
    ) -> Result<()> {
        check_text("name of a list", name)?;
        description.map_or(Ok(()), |text| check_text("description", text))?;
        features
            .iter()
            .try_for_each(|&feature| self.row(feature).map(|_| ()))?;
        let path = &self.path;
        let transaction = self.connection.transaction().map_err(failed(path))?;
        let done = (|| {
            let put = format!(
                "INSERT INTO lists (name, description, written) VALUES (?1, coalesce(?2, ''), {NOW})
                 ON CONFLICT (name) DO UPDATE SET description = coalesce(?2, description),
                   written = excluded.written"
            );
            transaction.execute(&put, params![name, description])?;
            for feature in features {
                transaction.execute(ADD_TO_LIST, params![feature, name])?;
            }
            Ok(())
        })();
        done.map_err(failed(path))?;
        transaction.commit().map_err(failed(path))
    }

    /// Takes features off a list, or the whole list away where none is named.
    ///
    /// # Errors
    /// When there is no such list, or the store cannot be written.
    pub fn remove_from_list(&mut self, name: &str, features: &[u32]) -> Result<()> {
        self.list(name)?;
        let path = &self.path;
        let transaction = self.connection.transaction().map_err(failed(path))?;
        let done = (|| {
            if features.is_empty() {
                transaction.execute("DELETE FROM lists WHERE name = ?", [name])?;
            }
            let remove = "DELETE FROM list_features WHERE feature = ?
                AND list = (SELECT list FROM lists WHERE name = ?)";
            for feature in features {
                transaction.execute(remove, params![feature, name])?;
            }
            Ok(())
        })();
        done.map_err(failed(path))?;
        transaction.commit().map_err(failed(path))
    }
}

fn label(row: &rusqlite::Row) -> rusqlite::Result<FeatureLabel> {
    Ok(FeatureLabel {
        feature: row.get(0)?,
        label: row.get(1)?,
        note: row.get(2)?,
        written: row.get(3)?,
    })
}

fn check_text(kind: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::Argument(format!("the {kind} is empty")));
    }
    if text.len() > MAX_TEXT {
        return Err(Error::Argument(format!(
            "the {kind} has {} bytes; the limit is {MAX_TEXT}",
            text.len()
        )));
    }
    Ok(())
}
