//! Where access-log lines go, and what happens when they cannot.
//!
//! A regular file or a device such as `/dev/null` is written by the worker itself: one `write` for many lines, appended
//! whole. Anything that can block for ever (a pipe, a terminal, a socket) is written by one thread behind a queue of
//! [`QUEUE`] buffers; a worker never waits for it. When the queue is full, or a write fails (disk full, reader gone), the
//! lines are dropped and counted, and the next buffer is tried again: traffic is worth more than its log.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use super::FLUSH_AT;

/// How many buffers may wait for a sink that blocks: with 16 KiB each, some 2 MiB.
const QUEUE: usize = 128;

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is made when it is missing, readable by its owner and group.
    File(PathBuf),
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be opened for appending.
    #[error("the access log `{}` cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A pipe, socket or folder. Opening a pipe would wait for a reader, perhaps for ever.
    #[error("the access log `{}` is neither a file nor a device", path.display())]
    Kind {
        /// What was named.
        path: PathBuf,
    },
    /// A standard stream is closed.
    #[error("the standard stream for the access log is not open")]
    Stream(#[source] io::Error),
    /// The thread that writes could not be started.
    #[error("the access log's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    way: Way,
    dropped: IntCounter,
}

#[derive(Debug)]
enum Way {
    Direct { file: ArcSwap<File>, path: Option<PathBuf> },
    Queued(Arc<Queue>),
}

impl Sink {
    pub(super) fn open(target: &Target, dropped: IntCounter) -> Result<Self, SinkError> {
        let stream = match target {
            Target::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Target::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            // The container images' way to say it; opening these anew fails when they are sockets.
            Target::File(path) if path == Path::new("/dev/stdout") => return Self::open(&Target::Stdout, dropped),
            Target::File(path) if path == Path::new("/dev/stderr") => return Self::open(&Target::Stderr, dropped),
            Target::File(path) => {
                let file = ArcSwap::from_pointee(open(path)?);
                return Ok(Self { way: Way::Direct { file, path: Some(path.clone()) }, dropped });
            }
        };
        let file = File::from(stream.map_err(SinkError::Stream)?);
        if never_blocks(&file) {
            return Ok(Self { way: Way::Direct { file: ArcSwap::from_pointee(file), path: None }, dropped });
        }
        Self::queued(Box::new(file), dropped)
    }

    pub(super) fn queued(writer: Box<dyn Write + Send>, dropped: IntCounter) -> Result<Self, SinkError> {
        let queue = Arc::new(Queue::default());
        let own = Arc::clone(&queue);
        let counter = dropped.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || own.run(writer, &counter))
            .map_err(SinkError::Thread)?;
        Ok(Self { way: Way::Queued(queue), dropped })
    }

    /// Takes the bytes out of the buffer and writes or queues them.
    pub(super) fn send(&self, bytes: &mut Vec<u8>) {
        match &self.way {
            Way::Direct { file, .. } => {
                put(&mut &**file.load(), bytes, &self.dropped);
                bytes.clear();
            }
            Way::Queued(queue) => {
                let room = Vec::with_capacity(FLUSH_AT + FLUSH_AT / 4);
                if let Err(refused) = queue.push(std::mem::replace(bytes, room)) {
                    self.dropped.inc_by(lines(&refused));
                }
            }
        }
    }

    pub(super) fn reopen(&self) -> Result<(), SinkError> {
        if let Way::Direct { file, path: Some(path) } = &self.way {
            file.store(Arc::new(open(path)?));
        }
        Ok(())
    }

    /// Waits until nothing is queued; false when it took longer than `wait`.
    pub(super) fn finish(&self, wait: Duration) -> bool {
        match &self.way {
            Way::Direct { .. } => true,
            Way::Queued(queue) => {
                let mut state = queue.state.lock();
                queue.idle.wait_while_for(&mut state, |state| state.busy(), wait);
                !state.busy()
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Way::Queued(queue) = &self.way {
            queue.state.lock().closed = true;
            queue.wake.notify_one();
        }
    }
}

fn open(path: &Path) -> Result<File, SinkError> {
    // Looked at before opening, because opening a pipe for writing waits for its reader.
    if let Ok(metadata) = std::fs::metadata(path) {
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_char_device() {
            return Err(SinkError::Kind { path: path.to_owned() });
        }
    }
    // Lines name clients and consumers, so the file is not for everyone.
    let opened = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    opened.map_err(|source| SinkError::Open { path: path.to_owned(), source })
}

fn never_blocks(file: &File) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    let kind = metadata.file_type();
    kind.is_file() || (kind.is_char_device() && !file.is_terminal())
}

/// Writes all of it, and counts the lines that did not get out whole.
fn put(writer: &mut dyn Write, bytes: &[u8], dropped: &IntCounter) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(0) => break,
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if !rest.is_empty() {
        dropped.inc_by(lines(rest));
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Buffers on their way to the thread that writes them.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    buffers: VecDeque<Vec<u8>>,
    writing: bool,
    closed: bool,
}

impl State {
    fn busy(&self) -> bool {
        self.writing || !self.buffers.is_empty()
    }
}

impl Queue {
    fn push(&self, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        let mut state = self.state.lock();
        if state.buffers.len() >= QUEUE {
            return Err(buffer);
        }
        state.buffers.push_back(buffer);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn run(&self, mut writer: Box<dyn Write + Send>, dropped: &IntCounter) {
        let mut state = self.state.lock();
        loop {
            if let Some(buffer) = state.buffers.pop_front() {
                state.writing = true;
                drop(state);
                put(&mut *writer, &buffer, dropped);
                drop(writer.flush());
                state = self.state.lock();
                state.writing = false;
            } else if state.closed {
                break;
            } else {
                self.idle.notify_all();
                self.wake.wait(&mut state);
            }
        }
        self.idle.notify_all();
    }
}
