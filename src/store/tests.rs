//! Tests of the store: restarts, power cuts, failing disks, damaged files.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, StorageBackend};

use super::*;
use crate::limit::Overflow;
use crate::limit::quota::{Allowance, Ledger, Schedule};
use crate::telemetry::Metrics;

/// A disk that keeps what was synced when the power is cut, and that can be full.
#[derive(Clone, Debug, Default)]
struct Disk {
    content: Arc<Mutex<Vec<u8>>>,
    synced: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    /// What is left of it after a power cut.
    fn after_a_power_cut(&self) -> Self {
        let synced = self.synced.lock().clone();
        Self {
            content: Arc::new(Mutex::new(synced.clone())),
            synced: Arc::new(Mutex::new(synced)),
            full: Arc::default(),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn open(&self) -> Result<File, FileError> {
        Ok(File::of(Builder::new().create_with_backend(self.clone()).map_err(redb::Error::from)?))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let content = self.content.lock();
        out.copy_from_slice(content.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.content.lock().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.synced.lock().clone_from(&self.content.lock());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let from = usize::try_from(offset).unwrap();
        self.content.lock()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A process with one quota of ten calls a day.
struct Running {
    clock: Clock,
    registry: Registry,
    writer: Arc<Writer>,
    ledger: Arc<Ledger>,
}

const TEN: Allowance = Allowance { calls: Some(10), units: None };

impl Running {
    fn start(open: Open, clock: &Clock) -> Self {
        let registry = Registry::new(clock.clone());
        let metrics = Metrics::new(clock).store;
        let writer = Arc::new(Writer::new("counts.redb".into(), open, registry.clone(), clock.clone(), metrics));
        writer.first_open().unwrap();
        registry.attach(writer.clone());
        let schedule = Schedule::Every { period: 86_400_000, first: 0 };
        let settings =
            crate::limit::quota::Settings { schedule, max_keys: 100, on_overflow: Overflow::Reject, kept: true };
        let plan = registry.plan();
        let ledger = plan.ledger("daily", settings);
        plan.commit();
        Self { clock: clock.clone(), registry, writer, ledger }
    }

    fn on(disk: &Disk, clock: &Clock) -> Self {
        let disk = disk.clone();
        Self::start(Box::new(move || disk.open()), clock)
    }

    fn call(&self, times: usize) {
        for _ in 0..times {
            assert!(self.ledger.take("key", None, &TEN, 1, 0).outcome.is_ok());
        }
    }

    fn left(&self) -> u64 {
        self.ledger.take("key", None, &TEN, 0, 0).calls_left().unwrap()
    }

    fn failing(&self) -> bool {
        self.writer.health.detail()["state"] == "failing"
    }
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_no_more() {
    let (disk, clock) = (Disk::default(), Clock::manual());
    let running = Running::on(&disk, &clock);
    running.call(3);
    running.writer.sync();
    running.call(2);
    let disk = disk.after_a_power_cut();
    let running = Running::on(&disk, &clock);
    assert_eq!(running.left(), 7);
    running.call(1);
    running.writer.sync();
    running.writer.close();
    drop(running);
    assert_eq!(Running::on(&disk, &clock).left(), 6);
}

#[test]
fn periods_end_while_nothing_runs() {
    let (disk, clock) = (Disk::default(), Clock::manual());
    let running = Running::on(&disk, &clock);
    running.call(10);
    running.writer.sync();
    running.writer.close();
    drop(running);
    clock.advance(Duration::from_secs(86_400));
    let running = Running::on(&disk, &clock);
    assert_eq!(running.left(), 10);
    running.writer.close();
    drop(running);
    assert_eq!(disk.open().unwrap().rows("daily").unwrap(), [], "its row is gone");
}

#[test]
fn a_full_disk_stops_no_request_and_loses_nothing_once_there_is_room() {
    let (disk, clock) = (Disk::default(), Clock::manual());
    let running = Running::on(&disk, &clock);
    running.call(1);
    running.writer.sync();
    disk.full.store(true, Ordering::Relaxed);
    running.call(2);
    running.writer.sync();
    assert!(running.failing());
    running.call(3);
    running.writer.sync();
    disk.full.store(false, Ordering::Relaxed);
    running.writer.sync();
    assert!(!running.failing());
    running.writer.close();
    drop(running);
    assert_eq!(Running::on(&disk, &clock).left(), 4);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_read_later() {
    let (disk, clock) = (Disk::default(), Clock::manual());
    let running = Running::on(&disk, &clock);
    running.call(4);
    running.writer.sync();
    running.writer.close();
    drop(running);
    disk.full.store(true, Ordering::Relaxed);
    let running = Running::on(&disk, &clock);
    running.call(1);
    disk.full.store(false, Ordering::Relaxed);
    running.writer.sync();
    assert_eq!(running.left(), 5, "what was counted before, and what was counted since");
    assert!(running.registry.has_keeper() && !running.failing(), "{:?}", running.clock);
}

#[test]
fn a_damaged_file_is_set_aside_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.redb");
    for damaged in [&b"this is no database"[..], &[0xA5; 8192]] {
        std::fs::write(&path, damaged).unwrap();
        let clock = Clock::manual();
        let settings = Settings { path: path.clone(), sync_interval: Duration::from_secs(3_600) };
        let store = Store::start(settings, &Registry::new(clock.clone()), &clock, Metrics::new(&clock).store);
        let store = store.unwrap();
        let detail = store.health().detail();
        let place = detail["set_aside"]["file"].as_str().unwrap();
        assert!(place.starts_with(&format!("{}.damaged-20260101T000000Z", path.display())), "{place}");
        assert_eq!(std::fs::read(place).unwrap(), damaged, "nothing was written over");
        assert_eq!(detail["state"], "ok", "a new one is in use");
        store.finish();
        std::fs::remove_file(&path).unwrap();
    }
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "both are kept");
}

#[test]
fn a_file_is_refused_where_somebody_has_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual();
    let start = |path: &Path| {
        let settings = Settings { path: path.to_owned(), sync_interval: Duration::from_secs(3_600) };
        Store::start(settings, &Registry::new(clock.clone()), &clock, Metrics::new(&clock).store)
    };
    let path = folder.path().join("counts.redb");
    let first = start(&path).unwrap();
    let error = start(&path).unwrap_err().to_string();
    assert_eq!(error, format!("the store `{}` cannot be used: it is in use by another process", path.display()));
    first.finish();
    start(&path).unwrap().finish();
    for (name, path) in
        [("no folder", folder.path().join("nowhere/counts.redb")), ("a folder", folder.path().to_owned())]
    {
        let error = start(&path).unwrap_err();
        assert!(matches!(error.source, FileError::Io(_)), "{name}: {error}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
}
