//! The last traces, bounded in number and in bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::Trace;

/// How many `--trace` keeps when the configuration does not say.
pub const DEFAULT_KEPT: usize = 100;
/// The most that can be kept.
pub const MOST_KEPT: usize = 10_000;
/// The most memory that all of them may take, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// The last traces of a process. It outlives reloads.
#[derive(Debug, Default)]
pub struct Traces {
    /// How many are kept even when the configuration asks for fewer: `--trace`.
    least: usize,
    /// Where they can be read.
    admin: OnceLock<SocketAddr>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The newest is the last.
    traces: VecDeque<Arc<Trace>>,
    bytes: usize,
}

impl Kept {
    fn trim(&mut self, keep: usize, most_bytes: usize) {
        // The newest stays, however large: each is bounded by itself.
        while self.traces.len() > keep || self.bytes > most_bytes && self.traces.len() > 1 {
            let Some(oldest) = self.traces.pop_front() else { return };
            self.bytes -= oldest.size;
        }
    }
}

impl Traces {
    /// Keeps at least so many, whatever the configuration says.
    pub fn at_least(least: usize) -> Self {
        Self { least, ..Self::default() }
    }

    /// How many a configuration keeps that asks for so many.
    pub fn wanted(&self, asked: usize) -> usize {
        asked.max(self.least)
    }

    /// Tells where traces can be read: the address of the admin listener.
    pub fn serve_at(&self, admin: SocketAddr) {
        let _ = self.admin.set(admin);
    }

    /// The URL of a trace, when the admin listener is for this machine only.
    pub(super) fn local_url(&self, id: &str) -> Option<String> {
        let admin = self.admin.get().filter(|admin| admin.ip().is_loopback())?;
        Some(format!("http://{admin}/traces/{id}"))
    }

    /// Keeps a trace, and of all no more than so many.
    pub(super) fn push(&self, trace: Trace, keep: usize) {
        let mut kept = self.kept.lock();
        kept.bytes += trace.size;
        kept.traces.push_back(Arc::new(trace));
        kept.trim(keep, MOST_BYTES);
    }

    /// Forgets all but so many: a configuration with fewer, or with none, went into force.
    pub fn keep(&self, keep: usize) {
        self.kept.lock().trim(keep, MOST_BYTES);
    }

    /// The traces, the newest first.
    pub fn all(&self) -> Vec<Arc<Trace>> {
        self.kept.lock().traces.iter().rev().cloned().collect()
    }

    /// The newest trace with an id. Callers may send the same id again.
    pub fn find(&self, id: &str) -> Option<Arc<Trace>> {
        self.kept.lock().traces.iter().rev().find(|trace| trace.id == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: &str, size: usize) -> Trace {
        Trace { id: id.to_owned(), size, ..Trace::default() }
    }

    #[track_caller]
    fn check(traces: &Traces, want: &[&str]) {
        let got: Vec<String> = traces.all().iter().map(|trace| trace.id.clone()).collect();
        assert_eq!(got, want);
        let kept = traces.kept.lock();
        assert_eq!(kept.bytes, kept.traces.iter().map(|trace| trace.size).sum::<usize>());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let traces = Traces::default();
        for id in ["a", "b", "c", "d"] {
            traces.push(trace(id, 1), 3);
        }
        check(&traces, &["d", "c", "b"]);
        traces.push(trace("e", MOST_BYTES - 1), 3);
        check(&traces, &["e", "d"]);
        traces.push(trace("f", 2), 3);
        check(&traces, &["f", "d"].map(|_| "f")[..1]);
        traces.push(trace("g", MOST_BYTES + 1), 3);
        check(&traces, &["g"]);
        traces.keep(0);
        check(&traces, &[]);
    }

    #[test]
    fn the_newest_of_an_id_is_found() {
        let traces = Traces::default();
        traces.push(trace("a", 1), 3);
        traces.push(trace("a", 2), 3);
        assert_eq!(traces.find("a").map(|found| found.size), Some(2));
        assert!(traces.find("b").is_none());
    }
}
