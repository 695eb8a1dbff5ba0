//! The embedded store: keeps what quotas have counted over restarts and crashes.
//!
//! Counting happens in memory; a thread of its own writes what changed in every interval, in one transaction that is on the disk
//! when it ends. A crash loses at most what was counted since the last one began. Workers never wait for a disk.
//!
//! When the file cannot be written (a full disk), serving goes on from memory, the failure is in the log, in
//! `sluicegate_store_up` and in the detail of readiness, and everything is written once it can be. A damaged file is renamed and
//! never written over; what it held is lost only when it was damaged at the start, and the log says so. The file belongs to one
//! process at a time.
//!
//! Several gateways keep quotas together in a [`shared_store`](crate::shared_store) instead.

mod file;
mod health;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

pub use file::{File, FileError};
pub use health::Health;

use crate::clock::Clock;
use crate::limit::quota::schedule::millis;
use crate::limit::quota::{Keeper, Registry, Row};
use crate::telemetry::metrics::StoreMetrics;

/// Where counts are kept, and how often they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// The time between two writes.
    pub sync_interval: Duration,
}

/// Why the process cannot start with this store.
#[derive(Debug, thiserror::Error)]
#[error("the store `{}` cannot be used: {source}", path.display())]
pub struct StoreError {
    path: PathBuf,
    source: FileError,
}

/// The store of a process; ends with [`Store::finish`].
#[derive(Debug)]
pub struct Store {
    writer: Arc<Writer>,
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Store {
    /// Opens the file and begins to keep the counts of `registry` in it.
    ///
    /// # Errors
    /// When another process has the file, when it cannot be reached, or when no thread can be had. A full disk and a damaged file are no
    /// errors: see the module.
    pub fn start(
        settings: Settings,
        registry: &Registry,
        clock: &Clock,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let Settings { path, sync_interval } = settings;
        let open = {
            let path = path.clone();
            Box::new(move || File::open(&path))
        };
        let writer = Arc::new(Writer::new(path.clone(), open, registry.clone(), clock.clone(), metrics));
        writer.first_open().map_err(|source| StoreError { path: path.clone(), source })?;
        registry.attach(writer.clone());
        let (stop, stopped) = mpsc::channel();
        let working = writer.clone();
        let work = move || {
            while stopped.recv_timeout(sync_interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                working.sync();
            }
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(work)
            .map_err(|error| StoreError { path, source: FileError::Io(error) })?;
        Ok(Self { writer, stop, thread })
    }

    /// How it is.
    pub fn health(&self) -> Arc<Health> {
        self.writer.health.clone()
    }

    /// Writes what was counted last, and closes the file. Waits for the disk.
    pub fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the store's thread failed");
        }
        self.writer.sync();
        self.writer.close();
    }
}

type Open = Box<dyn Fn() -> Result<File, FileError> + Send + Sync>;

/// Writes counts to the file and reads them back.
struct Writer {
    path: PathBuf,
    open: Open,
    registry: Registry,
    clock: Clock,
    health: Arc<Health>,
    file: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None while it cannot be opened.
    file: Option<File>,
    /// Whether everything has to be written, because a write failed or the file is a new one.
    all: bool,
    /// Ledgers whose counts could not be read yet.
    unread: Vec<String>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Writer {
    fn new(path: PathBuf, open: Open, registry: Registry, clock: Clock, metrics: StoreMetrics) -> Self {
        let health = Arc::new(Health::new(path.display().to_string(), metrics));
        Self { path, open, registry, clock, health, file: Mutex::default() }
    }

    /// Opens the file at the start; what a person has to mend is an error then.
    fn first_open(&self) -> Result<(), FileError> {
        let state = &mut *self.file.lock();
        match self.try_open(state) {
            Ok(()) => {
                self.health.written(self.clock.wall());
                Ok(())
            }
            Err(error) if mends_itself(&error) => {
                self.health.failed(self.clock.wall(), error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the file; one that is damaged is set aside for a new one.
    fn try_open(&self, state: &mut State) -> Result<(), FileError> {
        let now = millis(self.clock.wall());
        let open = || (self.open)().and_then(|file| file.purge(now).map(|_| file));
        let file = match open() {
            Err(FileError::Damaged(why)) => {
                self.set_aside(state, why)?;
                open()?
            }
            opened => opened?,
        };
        state.file = Some(file);
        Ok(())
    }

    /// Puts a damaged file out of the way.
    fn set_aside(&self, state: &mut State, why: String) -> Result<(), FileError> {
        let now = self.clock.wall();
        let place = set_aside(&self.path, millis(now)).map_err(FileError::Io)?;
        // At the start nothing has been read of it; later everything it held is in memory.
        let lost = !state.unread.is_empty() || !self.registry.has_keeper();
        self.health.set_aside(now, place.display().to_string(), why, lost);
        state.all = true;
        state.unread.clear();
        Ok(())
    }

    /// Writes what has changed.
    fn sync(&self) {
        let state = &mut *self.file.lock();
        match self.try_sync(state) {
            Ok(()) => self.health.written(self.clock.wall()),
            Err(error) => {
                // After a failure the library wants the file opened anew, and what was collected has to be written again.
                state.file = None;
                state.all = true;
                let error = match error {
                    FileError::Damaged(why) => match self.set_aside(state, why) {
                        Ok(()) => return,
                        Err(error) => error,
                    },
                    error => error,
                };
                self.health.failed(self.clock.wall(), error.to_string());
            }
        }
    }

    fn try_sync(&self, state: &mut State) -> Result<(), FileError> {
        if state.file.is_none() {
            self.try_open(state)?;
        }
        let Some(file) = &state.file else { return Ok(()) };
        while let Some(ledger) = state.unread.last() {
            self.registry.restore(ledger, file.rows(ledger)?);
            state.unread.pop();
        }
        let changes = self.registry.collect(state.all);
        if !changes.is_empty() {
            // Should it fail, the changes are collected with everything else.
            state.all = true;
            file.write(&changes)?;
        }
        state.all = false;
        Ok(())
    }

    fn close(&self) {
        self.file.lock().file = None;
    }
}

impl Keeper for Writer {
    fn rows(&self, ledger: &str) -> Vec<Row> {
        let state = &mut *self.file.lock();
        let rows = state.file.as_ref().map(|file| file.rows(ledger));
        match rows {
            Some(Ok(rows)) => return rows,
            Some(Err(error)) => {
                state.file = None;
                self.health.failed(self.clock.wall(), error.to_string());
            }
            None => {}
        }
        // Read as soon as the file can be opened, and added to what was counted until then.
        state.unread.push(ledger.to_owned());
        Vec::new()
    }
}

/// Whether it may pass without anybody's help, so that serving begins from memory. A place that cannot be reached, or that somebody
/// else has, is a mistake in the configuration.
fn mends_itself(error: &FileError) -> bool {
    use std::io::ErrorKind;
    match error {
        FileError::InUse => false,
        FileError::Damaged(_) | FileError::Other(_) => true,
        FileError::Io(error) => !matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
        ),
    }
}

/// Renames a damaged file, never over another one.
fn set_aside(path: &Path, now: i64) -> std::io::Result<PathBuf> {
    let stamp = jiff::Timestamp::from_millisecond(now)
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%Y%m%dT%H%M%SZ").to_string());
    let mut place = path.as_os_str().to_owned();
    place.push(format!(".damaged-{stamp}"));
    let mut place = PathBuf::from(place);
    let mut count = 1;
    while place.exists() {
        count += 1;
        let mut next = path.as_os_str().to_owned();
        next.push(format!(".damaged-{stamp}-{count}"));
        place = PathBuf::from(next);
    }
    std::fs::rename(path, &place)?;
    Ok(place)
}
