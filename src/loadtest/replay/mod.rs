//! The reference limiter: what the answers prove about a limit, whatever happened between sending and receiving.
//!
//! A caller does not see when its request was admitted, only that it was between [`Span::sent`] and [`Span::received`]. So
//! each figure here is one that holds for *every* order of admissions which fits the answers: an excess that is reported
//! happened, and a right limiter is never accused. In virtual time both ends of a span are the same instant, and the
//! figures are exact.
//!
//! The excess of windows and buckets rests on one fact. Let the times of sending, sorted, be `s(1) ≤ s(2) ≤ …` and those
//! of receiving, sorted by themselves, `r(1) ≤ r(2) ≤ …`. Then the k-th admission in the order of time lies between `s(k)`
//! and `r(k)`: k requests had been answered by `r(k)`, so as many had been admitted, and only k - 1 had been sent before
//! `s(k)`. Hence admissions j to k all lie within `s(j)` to `r(k)`, and a limit that says fewer may be admitted in that time
//! was broken. Leaving requests out of a sequence that a sliding window, a bucket or aligned windows allow leaves one that they
//! allow too, so a request that was under way for very long may be left out, which makes the bound sharper.

mod bucket;
mod concurrency;
mod fixed;
mod late;
mod sliding;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::expect::{Terms, WindowStart, slack};

/// The time in which something happened, in nanoseconds: not before one, not after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Just before the request was sent.
    pub sent: u64,
    /// Just after the answer's head came.
    pub received: u64,
    /// Just after the answer's end came.
    pub ended: u64,
}

impl Span {
    /// A moment that is known.
    pub fn at(time: u64) -> Self {
        Self { sent: time, received: time, ended: time }
    }

    /// The same where a limit counts the request once it has been answered: when the last byte is out, which may be a moment after it
    /// has come.
    #[must_use]
    pub fn late(self) -> Self {
        const MOMENT: u64 = 50_000_000;
        Self { ended: self.ended.saturating_add(MOMENT), ..self }
    }

    /// In place of when such a limit decided, when it counted.
    #[must_use]
    pub fn when_counted(self) -> Self {
        Self { received: self.ended, ..self }
    }
}

/// More requests than a limit allows, in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// How many were admitted.
    pub admitted: u64,
    /// How many might have been.
    pub allowed: u64,
    /// When that time began.
    pub from: u64,
    /// When it ended.
    pub to: u64,
}

impl Excess {
    /// How many too many.
    pub fn requests(&self) -> u64 {
        self.admitted.saturating_sub(self.allowed)
    }

    /// The same as a share of what was allowed, in percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.requests() as f64 / self.allowed.max(1) as f64
    }
}

/// What happened to one key.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Requests that were admitted.
    pub admitted: Vec<Span>,
    /// Requests that were refused by the limit.
    pub refused: Vec<Span>,
    /// Requests of which it is not known: no answer came, or one that says nothing about the limit.
    pub unknown: Vec<Span>,
    /// Whether the key may have been used before time 0, by requests that are not among these.
    pub used_before: bool,
    /// Whether requests are counted once they have been answered: [`Span::ended`] says when. Until then others are admitted beside them.
    pub late: bool,
}

/// The most that can have been admitted before time 0 and still count: everything that the limit has, just then.
fn before(terms: &Terms) -> Vec<Span> {
    let most = if terms.is_rate() { terms.capacity() } else { 0 };
    vec![Span::at(0); usize::try_from(most).unwrap_or(usize::MAX)]
}

/// The times of a list of spans, each end sorted by itself.
struct Ends {
    sent: Vec<u64>,
    received: Vec<u64>,
}

impl Ends {
    /// The ends of all spans that are shorter than `longest`.
    fn of<'a>(spans: impl Iterator<Item = &'a Span>, longest: u64) -> Self {
        let (mut sent, mut received): (Vec<u64>, Vec<u64>) =
            spans.filter(|span| span.received - span.sent < longest).map(|span| (span.sent, span.received)).unzip();
        sent.sort_unstable();
        received.sort_unstable();
        Self { sent, received }
    }
}

/// The largest proven excess of each key's limit: by how much at least `terms` were broken.
///
/// Windows that are aligned begin at the same times for all keys, so that they are judged together.
pub fn excess(terms: &Terms, histories: &[History]) -> Vec<Option<Excess>> {
    if histories.iter().any(|history| history.late) {
        return histories.iter().map(|history| late::excess(terms, &history.admitted)).collect();
    }
    let each = |find: &dyn Fn(&[Span]) -> Option<Excess>| {
        histories.iter().map(|history| find(&history.admitted)).collect::<Vec<_>>()
    };
    match *terms {
        Terms::SlidingWindow { calls, period, .. } => each(&|spans| sliding::excess(spans, calls, period)),
        Terms::TokenBucket { calls, period, burst } => each(&|spans| bucket::excess(spans, calls, period, burst)),
        Terms::FixedWindow { calls, period, start: WindowStart::FirstCall } => {
            histories.iter().map(|history| fixed::excess_from_first_call(history, calls, period)).collect()
        }
        Terms::FixedWindow { calls, period, start: WindowStart::Aligned } => {
            fixed::excess_aligned(histories, calls, period)
        }
        Terms::Concurrency { max, hold } => each(&|spans| concurrency::excess(spans, max, hold)),
    }
}

/// Which refusals of one key were proven wrong: the limit had room, whatever the order was.
pub fn false_refusals(terms: &Terms, history: &History) -> Vec<bool> {
    // A request whose fate is unknown may have been admitted.
    let mut counted: Vec<Span> = history.admitted.iter().chain(&history.unknown).copied().collect();
    if history.used_before && !history.refused.is_empty() {
        counted.extend(before(terms));
    }
    if history.late {
        counted.iter_mut().for_each(|span| *span = span.when_counted());
    }
    let refused = &history.refused;
    match *terms {
        Terms::SlidingWindow { calls, period, slots } => {
            sliding::false_refusals(&counted, refused, calls, period.saturating_add(slack(period, slots)))
        }
        Terms::FixedWindow { calls, period, .. } => sliding::false_refusals(&counted, refused, calls, period),
        Terms::TokenBucket { calls, period, burst } => bucket::false_refusals(&counted, refused, calls, period, burst),
        Terms::Concurrency { max, .. } => concurrency::false_refusals(&counted, refused, max),
    }
}

/// The most requests that were admitted within any window of `period`, proven.
pub fn busiest_window(history: &History, period: u64) -> u64 {
    sliding::busiest(&history.admitted, period).map_or(0, |window| window.admitted)
}

/// How many requests a key has left at some moment of `span`, at least and at most, if its requests were admitted one
/// after the other as `admitted` says.
pub fn remaining(terms: &Terms, admitted: &[Span], span: Span) -> Option<(u64, u64)> {
    match *terms {
        Terms::SlidingWindow { calls, period, slots } => {
            Some(sliding::remaining(admitted, span, calls, period, slack(period, slots)))
        }
        Terms::TokenBucket { calls, period, burst } => Some(bucket::remaining(admitted, span, calls, period, burst)),
        Terms::FixedWindow { .. } | Terms::Concurrency { .. } => None,
    }
}

/// The earliest time at which a key with these admissions, one after the other, would surely admit one more; when it was `used_before`
/// time 0, whatever was admitted then.
pub fn admits_at(terms: &Terms, admitted: &[Span], used_before: bool) -> Option<u64> {
    let all = match terms {
        _ if !used_before => Cow::Borrowed(admitted),
        // Which window the first of them lay in is not known; where the last one lies, at the latest, is.
        Terms::FixedWindow { .. } => Cow::Owned(vec![admitted.last().copied().unwrap_or(Span::at(0))]),
        _ => Cow::Owned([&before(terms), admitted].concat()),
    };
    let admitted = all.as_ref();
    match *terms {
        Terms::SlidingWindow { calls, period, slots } => {
            Some(sliding::admits_at(admitted, calls, period.saturating_add(slack(period, slots))))
        }
        Terms::TokenBucket { calls, period, burst } => Some(bucket::admits_at(admitted, calls, period, burst)),
        Terms::FixedWindow { period, start, .. } => Some(fixed::admits_at(admitted, period, start)),
        Terms::Concurrency { .. } => None,
    }
}
