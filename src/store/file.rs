//! The file that counts are kept in: one table of ledger and key to what the key has used.

use std::fs::OpenOptions;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition, TableError};

use crate::limit::quota::{Batch, Digest, Millis, Row, Usage};

/// Ledger and digest of the key to the parts of what it has used. The name holds the version of the form.
const USAGE: TableDefinition<'_, (&str, &[u8; 32]), &[u8]> = TableDefinition::new("usage-1");

/// Pages that are kept in memory. What is counted is in memory anyway, so that reads are rare.
const CACHE: usize = 8 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another process has it.
    #[error("it is in use by another process")]
    InUse,
    /// It is not what this program wrote.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The system refuses.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The library refuses.
    #[error("{0}")]
    Other(#[source] Box<redb::Error>),
}

impl From<redb::Error> for FileError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Corrupted(what) => Self::Damaged(what),
            redb::Error::RepairAborted => Self::Damaged("it could not be repaired".to_owned()),
            redb::Error::UpgradeRequired(version) => Self::Damaged(format!("its form {version} is not known")),
            error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. }) => {
                Self::Damaged(error.to_string())
            }
            // A file that is none of redb's, or that ends too early.
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Io(error),
            error => Self::Other(Box::new(error)),
        }
    }
}

/// The open file.
pub struct File(Database);

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("File")
    }
}

impl File {
    /// Opens the file, or makes it. Only its owner can read it.
    ///
    /// # Errors
    /// When another process has it, when it is damaged, or when the system refuses.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(FileError::Io)?;
        // The library checks what it reads, and still may trip over bytes that nobody foresaw.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
            builder.create(path)
        }));
        let database = opened.map_err(|_| FileError::Damaged("it could not be read".to_owned()))?;
        Ok(Self(database.map_err(redb::Error::from)?))
    }

    /// Keeps counts in a database that is open.
    #[cfg(test)]
    pub(super) fn of(database: Database) -> Self {
        Self(database)
    }

    /// What is stored of a ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn rows(&self, ledger: &str) -> Result<Vec<Row>, FileError> {
        guarded(|| {
            let transaction = self.0.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(USAGE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(redb::Error::from(error).into()),
            };
            let mut rows = Vec::new();
            let stored = table.range((ledger, &[0; 32])..=(ledger, &[0xFF; 32])).map_err(redb::Error::from)?;
            for row in stored {
                let (key, value) = row.map_err(redb::Error::from)?;
                rows.push((*key.value().1, decode(value.value())?));
            }
            Ok(rows)
        })
    }

    /// Writes changes: all of them or, when it fails, none. They are on the disk when it returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, changes: &Batch) -> Result<(), FileError> {
        guarded(|| {
            let transaction = self.0.begin_write().map_err(redb::Error::from)?;
            {
                let mut table = transaction.open_table(USAGE).map_err(redb::Error::from)?;
                for (ledger, key, value) in changes {
                    match value {
                        Some(value) => table.insert((&**ledger, key), value.as_slice()).map(drop),
                        None => table.remove((&**ledger, key)).map(drop),
                    }
                    .map_err(redb::Error::from)?;
                }
            }
            transaction.commit().map_err(redb::Error::from)?;
            Ok(())
        })
    }

    /// Removes everything whose periods have ended, of ledgers that are gone too. Says how many rows stay.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn purge(&self, now: Millis) -> Result<usize, FileError> {
        let mut expired: Vec<(String, Digest)> = Vec::new();
        let mut kept = 0;
        guarded(|| {
            let transaction = self.0.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(USAGE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(redb::Error::from(error).into()),
            };
            for row in table.iter().map_err(redb::Error::from)? {
                let (key, value) = row.map_err(redb::Error::from)?;
                if decode(value.value())?.is_free(now) {
                    let (ledger, digest) = key.value();
                    expired.push((ledger.to_owned(), *digest));
                } else {
                    kept += 1;
                }
            }
            Ok(())
        })?;
        if !expired.is_empty() {
            let changes = expired.into_iter().map(|(ledger, digest)| (ledger.into(), digest, None)).collect();
            self.write(&changes)?;
        }
        Ok(kept)
    }
}

fn decode(bytes: &[u8]) -> Result<Usage, FileError> {
    Usage::decode(bytes).ok_or_else(|| FileError::Damaged("a row is not whole".to_owned()))
}

/// The library checks what it reads and writes; should it panic over a damaged page, that is a damaged file.
fn guarded<T>(work: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(FileError::Damaged("a page makes no sense".to_owned())))
}

impl From<StorageError> for FileError {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}
