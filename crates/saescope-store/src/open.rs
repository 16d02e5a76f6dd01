//! Opens stores: new, for writing, for reading alone.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use saescope::harvest::{CorpusCounts, HarvestHeader, Vocabulary};
use saescope::{Error, Result};

use crate::blobs;
use crate::schema::{APPLICATION_ID, VERSION, migrate};

/// Milliseconds that a writer waits for another one.
const BUSY_MS: u64 = 5000;
/// Keys of the table `meta`.
pub(crate) const HEADER: &str = "header";
pub(crate) const COUNTS: &str = "counts";
pub(crate) const VOCABULARY: &str = "vocabulary";
pub(crate) const NEXT_BLOCK: &str = "next_block";
pub(crate) const INDEXED: &str = "indexed";
pub(crate) const FINISHED: &str = "finished";

/// The evidence of every feature in one SQLite file.
pub struct Store {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) header: HarvestHeader,
    pub(crate) vocabulary: Vocabulary,
    /// Read when they are needed first.
    pub(crate) counts: OnceCell<CorpusCounts>,
}

/// A failure of SQLite as one of the library, which names the file.
pub(crate) fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |error| {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Some(std::io::ErrorKind::StorageFull),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Some(std::io::ErrorKind::PermissionDenied)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Some(std::io::ErrorKind::ResourceBusy)
            }
            _ => None,
        };
        match kind {
            Some(kind) => Error::io(path, std::io::Error::new(kind, error)),
            None => Error::format(path, format!("the store cannot be used: {error}")),
        }
    }
}

impl Store {
    /// Opens a store for reading: beside a writer if there is one, and where nothing can be written.
    ///
    /// # Errors
    /// When there is no such file, it is no store, or of a newer version.
    pub fn open(path: &Path) -> Result<Store> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        match version(path, &connection) {
            Ok(version) if version == VERSION => Store::of(path, connection),
            Ok(version) => Err(Error::format(
                path,
                format!(
                    "it is a store of version {version}; open it once for writing, as `store label` does"
                ),
            )),
            // A folder that cannot be written, where SQLite cannot share the file: it is read as it stands.
            Err(error) if !is_foreign(&error) && !has_log(path) => {
                let uri = format!("file:{}?immutable=1", escaped(path));
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                let connection = Connection::open_with_flags(uri, flags).map_err(failed(path))?;
                guard(&connection).map_err(failed(path))?;
                version(path, &connection)?;
                Store::of(path, connection)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a store for reading and writing, and brings it to today's version.
    ///
    /// # Errors
    /// As [`Store::open`], and when it cannot be written.
    pub fn open_writable(path: &Path) -> Result<Store> {
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let version = version(path, &connection)?;
        if version < VERSION {
            let migrated = (|| {
                let transaction = connection.transaction()?;
                migrate(&transaction, version)?;
                transaction.commit()
            })();
            migrated.map_err(failed(path))?;
        }
        prepare(&connection).map_err(failed(path))?;
        Store::of(path, connection)
    }

    /// Makes a store for a harvest, or opens the one that an earlier pass of the same harvest left.
    ///
    /// # Errors
    /// When the file is something else, or the store of another harvest.
    pub fn create(path: &Path, header: &HarvestHeader, vocabulary: &Vocabulary) -> Result<Store> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags)?;
        if !is_new(path, &connection)? {
            drop(connection);
            let store = Store::open_writable(path)?;
            return match difference(&store.header, header) {
                None => Ok(store),
                Some(what) => Err(Error::format(
                    path,
                    format!(
                        "it is the store of another harvest: {what}; choose another file, or remove it"
                    ),
                )),
            };
        }
        let json = serde_json::to_string(header)
            .map_err(|error| Error::format(path, error.to_string()))?;
        let tokens = blobs::write_vocabulary(vocabulary)?;
        prepare(&connection).map_err(failed(path))?;
        // In one transaction: a store without its description could not be continued.
        let made = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            migrate(&transaction, 0)?;
            let put = "INSERT INTO meta (key, value) VALUES (?, ?)";
            transaction.execute(put, (HEADER, json))?;
            transaction.execute(put, (VOCABULARY, tokens))?;
            transaction.commit()
        })();
        made.map_err(failed(path))?;
        Store::of(path, connection)
    }

    fn of(path: &Path, connection: Connection) -> Result<Store> {
        let get = "SELECT value FROM meta WHERE key = ?";
        let header: String = connection
            .query_row(get, [HEADER], |row| row.get(0))
            .map_err(failed(path))?;
        let header: HarvestHeader = serde_json::from_str(&header).map_err(|error| {
            Error::format(
                path,
                format!("the description of its harvest cannot be read: {error}"),
            )
        })?;
        check_header(path, &header)?;
        let vocabulary: Vec<u8> = connection
            .query_row(get, [VOCABULARY], |row| row.get(0))
            .map_err(failed(path))?;
        let vocabulary = blobs::read_vocabulary(&vocabulary).map_err(|e| at(path, &e))?;
        Ok(Store {
            path: path.to_path_buf(),
            connection,
            header,
            vocabulary,
            counts: OnceCell::new(),
        })
    }

    /// Everything that determines its content.
    pub fn header(&self) -> &HarvestHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True once its harvest is complete.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_finished(&self) -> Result<bool> {
        let found: Option<i64> = self.meta(FINISHED)?;
        Ok(found == Some(1))
    }

    pub(crate) fn meta<T: rusqlite::types::FromSql>(&self, key: &str) -> Result<Option<T>> {
        use rusqlite::OptionalExtension as _;
        let get = "SELECT value FROM meta WHERE key = ?";
        let found = self.connection.query_row(get, [key], |row| row.get(0));
        found.optional().map_err(failed(&self.path))
    }

    /// A failure to read a blob, with the file.
    pub(crate) fn at(&self, error: &Error) -> Error {
        at(&self.path, error)
    }
}

/// Refuses numbers that no harvest has, and that would make tables of their size.
fn check_header(path: &Path, header: &HarvestHeader) -> Result<()> {
    const MOST: usize = 1 << 24;
    let config = &header.config;
    let sizes = [
        header.d_sae,
        config.classes.len(),
        config.limits.top,
        config.limits.sample,
    ];
    if sizes.iter().any(|&size| size > MOST) || config.block == 0 {
        return Err(Error::format(
            path,
            "the description of its harvest holds an impossible number",
        ));
    }
    Ok(())
}

/// The first thing in which two harvests differ.
pub(crate) fn difference(left: &HarvestHeader, right: &HarvestHeader) -> Option<String> {
    let json =
        |header: &HarvestHeader| serde_json::to_value(without_paths(header)).unwrap_or_default();
    let (left, right) = (json(left), json(right));
    let keys = left.as_object()?.keys();
    let mut different = keys.filter(|key| *key != "saescope" && left[*key] != right[*key]);
    let key = different.next()?;
    Some(match (&left[key], &right[key]) {
        (serde_json::Value::Object(a), serde_json::Value::Object(b)) => {
            let inner = a
                .keys()
                .chain(b.keys())
                .find(|inner| a.get(*inner) != b.get(*inner));
            let inner = inner.map_or("", String::as_str);
            let shown =
                |value: Option<&serde_json::Value>| value.map_or("nothing".to_owned(), short);
            format!(
                "its `{key}.{inner}` is {}, not {}",
                shown(a.get(inner)),
                shown(b.get(inner))
            )
        }
        (a, b) => format!("its `{key}` is {}, not {}", short(a), short(b)),
    })
}

/// A header in which the same files have the same names, wherever they lie: digests say what is in them.
pub(crate) fn without_paths(header: &HarvestHeader) -> HarvestHeader {
    let name = |path: &Path| path.file_name().map_or_else(PathBuf::new, PathBuf::from);
    let mut header = header.clone();
    header.corpus.files = header.corpus.files.iter().map(|file| name(file)).collect();
    header.origin.sae = None;
    header.origin.model = name(Path::new(&header.origin.model)).display().to_string();
    header
}

fn short(value: &serde_json::Value) -> String {
    const SHOWN: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(crate) fn at(path: &Path, error: &Error) -> Error {
    Error::format(path, error.to_string())
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    if !flags.contains(OpenFlags::SQLITE_OPEN_CREATE) {
        // SQLite's own message names neither the file nor the cause.
        std::fs::File::open(path).map_err(|error| Error::io(path, error))?;
    }
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed(path))?;
    guard(&connection).map_err(failed(path))?;
    Ok(connection)
}

/// Settings of every connection.
fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // A file of a stranger may hold views and triggers that call functions.
    connection.pragma_update(None, "trusted_schema", false)
}

/// True for a file without any table: a new one, or what a harvest leaves that is killed at its beginning.
fn is_new(path: &Path, connection: &Connection) -> Result<bool> {
    let tables = "SELECT count(*) FROM sqlite_schema";
    match connection.query_row(tables, [], |row| row.get::<_, i64>(0)) {
        Ok(tables) => Ok(tables == 0),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Settings of a connection that writes.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Refused where files cannot be shared, on a network drive say; then the journal stays as it is.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

/// The version of a store.
fn version(path: &Path, connection: &Connection) -> Result<i32> {
    let get = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let found = get("application_id").and_then(|id| Ok((id, get("user_version")?)));
    match found {
        Ok((APPLICATION_ID, version)) if version > VERSION => Err(Error::format(
            path,
            format!(
                "it is a store of version {version}, made by a newer saescope; this one reads {VERSION}"
            ),
        )),
        Ok((APPLICATION_ID, version)) => {
            let programs = "SELECT count(*) FROM sqlite_schema WHERE type IN ('view', 'trigger')";
            let found = connection.query_row(programs, [], |row| row.get::<_, i64>(0));
            match found.map_err(failed(path))? {
                0 => Ok(version),
                _ => Err(Error::format(
                    path,
                    "it holds views or triggers, which no store has; it is not opened",
                )),
            }
        }
        Ok(_) => Err(Error::format(path, FOREIGN)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(Error::format(path, NO_DATABASE))
        }
        Err(error) => Err(failed(path)(error)),
    }
}

const FOREIGN: &str = "it is a SQLite file of another program, not a store of saescope";
const NO_DATABASE: &str = "it is no store, which is a SQLite file that `harvest` writes";

fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::Format { reason, .. } if reason == FOREIGN || reason == NO_DATABASE)
}

/// True if changes lie beside the file that are not in it yet.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// A path as part of a URI.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23")
}
