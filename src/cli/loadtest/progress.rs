//! How far a test is, on standard error, while it runs.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::When;
use crate::cli::output::complain;
use crate::loadtest::report::thousands;
use crate::loadtest::session::Session;
use crate::loadtest::virtual_time::Look;

/// What the thread of the test tells.
#[derive(Debug, Default)]
pub(super) struct Seen {
    now: AtomicU64,
    sent: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    pending: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    /// Asks the test to end early.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end early.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// To be called by the test now and then.
    pub(super) fn look(&self, session: &Session<'_>, now: u64) -> Look {
        let [admitted, refused, unknown] = session.tally;
        for (place, value) in [
            (&self.now, now),
            (&self.sent, session.sent()),
            (&self.admitted, admitted),
            (&self.refused, refused),
            (&self.unknown, unknown),
            (&self.pending, session.pending()),
        ] {
            place.store(value, Ordering::Relaxed);
        }
        if self.stopped() { Look::Stop } else { Look::GoOn }
    }
}

/// Shows it.
pub(super) struct Progress {
    seen: Arc<Seen>,
    end: u64,
    terminal: bool,
    shown: bool,
    /// When it was shown last, and how many were sent then.
    last: (Instant, u64),
    rate: f64,
}

const BAR: usize = 24;

impl Progress {
    /// Progress of a test that ends at `end`; none when nobody wants to see it.
    pub(super) fn new(when: When, seen: Arc<Seen>, end: u64) -> Option<Self> {
        let terminal = std::io::stderr().is_terminal();
        let wanted = match when {
            When::Auto => terminal,
            When::Always => true,
            When::Never => false,
        };
        wanted.then(|| Self { seen, end, terminal, shown: false, last: (Instant::now(), 0), rate: 0.0 })
    }

    /// How often it is to be shown.
    pub(super) fn every(&self) -> Duration {
        if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(1) }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self) {
        let of = |place: &AtomicU64| place.load(Ordering::Relaxed);
        let (now, sent) = (of(&self.seen.now), of(&self.seen.sent));
        let passed = self.last.0.elapsed().as_secs_f64();
        if passed > 0.0 {
            let rate = sent.saturating_sub(self.last.1) as f64 / passed;
            self.rate = if self.rate == 0.0 { rate } else { 0.6 * self.rate + 0.4 * rate };
        }
        self.last = (Instant::now(), sent);
        let line = line(&Line {
            share: now as f64 / self.end.max(1) as f64,
            now,
            end: self.end,
            rate: self.rate,
            counts: [of(&self.seen.admitted), of(&self.seen.refused), of(&self.seen.unknown), of(&self.seen.pending)],
            stopping: self.seen.stopped(),
        });
        complain(&if self.terminal { format!("\r{line}\u{1b}[K") } else { format!("{line}\n") });
        self.shown = true;
    }

    /// Takes it away, for what comes after.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) && self.terminal {
            complain("\r\u{1b}[K");
        }
    }
}

struct Line {
    share: f64,
    now: u64,
    end: u64,
    rate: f64,
    counts: [u64; 4],
    stopping: bool,
}

fn line(line: &Line) -> String {
    let filled = ((line.share * BAR as f64) as usize).min(BAR);
    let bar: String = (0..BAR).map(|at| if at < filled { '█' } else { '░' }).collect();
    let seconds = |nanos: u64| format!("{:.0} s", nanos as f64 / 1e9);
    let [admitted, refused, unknown, pending] = line.counts.map(thousands);
    let mut out = format!(
        "{bar} {} of {}  {admitted} admitted, {refused} refused",
        seconds(line.now.min(line.end)),
        seconds(line.end)
    );
    if line.counts[2] > 0 {
        out += &format!(", {unknown} unknown");
    }
    out += &format!("  {}/s, {pending} under way", thousands(line.rate as u64));
    if line.stopping {
        out += "  (ending; once more to end at once)";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let found = line(&Line {
            share: 0.5,
            now: 15_000_000_000,
            end: 30_000_000_000,
            rate: 1234.5,
            counts: [20_000, 5, 1, 3],
            stopping: false,
        });
        let want = "████████████░░░░░░░░░░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown  1,234/s, 3 under way";
        assert_eq!(found, want);
    }
}
