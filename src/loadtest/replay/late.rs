//! Limits that count a request once it has been answered: what was admitted although enough had been counted by then.
//!
//! Requests that are in progress together are admitted together, and rightly. What proves a limit broken is one request that was
//! admitted when so many others *had* been counted: they were sent after the time began that the limit looks back on, and their answers
//! had ended before this one was sent.

use super::{Excess, Span, bucket};
use crate::loadtest::expect::Terms;

pub(super) fn excess(terms: &Terms, admitted: &[Span]) -> Option<Excess> {
    let ends = Ends::of(admitted);
    match *terms {
        Terms::SlidingWindow { calls, period, .. } => window(&ends, admitted, calls, period),
        Terms::TokenBucket { calls, period, burst } => tokens(&ends, admitted, calls, period, burst),
        // Where a window begins is not known, nor how many were in progress in the one before.
        Terms::FixedWindow { .. } | Terms::Concurrency { .. } => None,
    }
}

/// When requests were sent and when their answers had ended, each sorted by itself.
struct Ends {
    sent: Vec<u64>,
    ended: Vec<u64>,
}

impl Ends {
    fn of(admitted: &[Span]) -> Self {
        let (mut sent, mut ended): (Vec<u64>, Vec<u64>) = admitted.iter().map(|span| (span.sent, span.ended)).unzip();
        sent.sort_unstable();
        ended.sort_unstable();
        Self { sent, ended }
    }

    /// How many had surely been counted when this one was sent.
    fn before(&self, one: &Span) -> usize {
        self.ended.partition_point(|ended| *ended < one.sent)
    }
}

/// The request that was admitted with the most counted in the period before it.
fn window(ends: &Ends, admitted: &[Span], calls: u64, period: u64) -> Option<Excess> {
    let judge = |one: &Span| {
        // All that were sent before the period are left out, whether or not they had been counted.
        let first = match one.received.checked_sub(period) {
            Some(begin) => ends.sent.partition_point(|sent| *sent <= begin),
            None => 0,
        };
        let counted = ends.before(one).checked_sub(first)? as u64;
        (counted >= calls && counted > 0).then(|| Excess {
            admitted: counted + 1,
            allowed: calls,
            from: ends.sent[first],
            to: one.received,
        })
    };
    admitted.iter().filter_map(judge).max_by_key(Excess::requests)
}

/// The request that was admitted with the bucket most overdrawn.
fn tokens(ends: &Ends, admitted: &[Span], calls: u64, period: u64, burst: u64) -> Option<Excess> {
    let rate = calls as f64 / period as f64;
    // For each number of requests, from which of them on the bucket was most overdrawn: `-first + rate × sent` is largest.
    let value = |first: usize| ends.sent[first] as f64 * rate - first as f64;
    let mut begins: Vec<usize> = Vec::with_capacity(ends.sent.len());
    for first in 0..ends.sent.len() {
        let before = begins.last().copied().filter(|before| value(*before) >= value(first));
        begins.push(before.unwrap_or(first));
    }
    let judge = |one: &Span| {
        let counted = ends.before(one);
        let begin = *begins.get(counted.checked_sub(1)?)?;
        let (admitted, from) = ((counted - begin + 1) as u64, ends.sent[begin]);
        let allowed = bucket::allowed(one.received.saturating_sub(from), admitted, calls, period, burst);
        (admitted > allowed).then_some(Excess { admitted, allowed, from, to: one.received })
    };
    admitted.iter().filter_map(judge).max_by_key(Excess::requests)
}
