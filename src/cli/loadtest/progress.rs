//! How far a test is, on standard error, while it runs.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use terminal_size::terminal_size_of;

use super::When;
use crate::cli::output::complain;
use crate::config::render::moves_cursor;
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

impl Progress {
    /// Progress of a test that ends at `end`; none when nobody wants to see it.
    pub(super) fn new(when: When, seen: Arc<Seen>, end: u64) -> Option<Self> {
        let terminal = moves_cursor(std::io::stderr().is_terminal());
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
        // One that does not say how wide it is, as a serial console, is as wide as terminals always were.
        let width =
            self.terminal.then(|| terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0)));
        let line = Line {
            share: now as f64 / self.end.max(1) as f64,
            now,
            end: self.end,
            rate: self.rate,
            counts: [of(&self.seen.admitted), of(&self.seen.refused), of(&self.seen.unknown), of(&self.seen.pending)],
            stopping: self.seen.stopped(),
        };
        // One that is too long would begin a new line each time that it is shown.
        let line = line.fitting(width.map_or(usize::MAX, |width| width.saturating_sub(1)));
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

/// How much of it is told, from everything to what matters most: the length of the bar, the rate, and what is under way.
const FORMS: [(usize, bool, bool); 6] =
    [(24, true, true), (24, true, false), (12, true, false), (12, false, false), (6, false, false), (0, false, false)];

impl Line {
    /// The longest form that is no longer than `width`.
    fn fitting(&self, width: usize) -> String {
        let fits = |text: &String| text.chars().count() <= width;
        let shortest = || self.form(FORMS[FORMS.len() - 1]).chars().take(width).collect();
        FORMS.into_iter().map(|form| self.form(form)).find(fits).unwrap_or_else(shortest)
    }

    fn form(&self, (bar, rate, under_way): (usize, bool, bool)) -> String {
        let filled = ((self.share * bar as f64) as usize).min(bar);
        let mut out: String = (0..bar).map(|at| if at < filled { '█' } else { '░' }).collect();
        if bar > 0 {
            out.push(' ');
        }
        let seconds = |nanos: u64| format!("{:.0} s", nanos as f64 / 1e9);
        let [admitted, refused, unknown, pending] = self.counts.map(thousands);
        out += &format!("{} of {}", seconds(self.now.min(self.end)), seconds(self.end));
        if self.stopping {
            // Whoever wants it to end wants to know that it does.
            out += "  (ending; once more to end at once)";
        }
        out += &format!("  {admitted} admitted, {refused} refused");
        if self.counts[2] > 0 {
            out += &format!(", {unknown} unknown");
        }
        if rate {
            out += &format!("  {}/s", thousands(self.rate as u64));
        }
        if under_way {
            out += &format!(", {pending} under way");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_long_as_the_terminal_is_wide() {
        let line = Line {
            share: 0.5,
            now: 15_000_000_000,
            end: 30_000_000_000,
            rate: 1234.5,
            counts: [20_000, 5, 1, 3],
            stopping: false,
        };
        for (width, want) in [
            (200, "████████████░░░░░░░░░░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown  1,234/s, 3 under way"),
            (87, "████████████░░░░░░░░░░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown  1,234/s"),
            (79, "██████░░░░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown  1,234/s"),
            (70, "██████░░░░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown"),
            (60, "███░░░ 15 s of 30 s  20,000 admitted, 5 refused, 1 unknown"),
            (20, "15 s of 30 s  20,000"),
        ] {
            assert_eq!(line.fitting(width), want);
        }
        let ending = Line { stopping: true, ..line };
        assert!(ending.fitting(50).starts_with("15 s of 30 s  (ending; once more to end at once)"));
    }
}
