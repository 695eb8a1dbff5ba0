//! The sliding window: how many admissions surely lie within one period.

use super::{Ends, Excess, Span};

/// The window with the most admissions, each surely inside.
pub(super) fn busiest(admitted: &[Span], period: u64) -> Option<Excess> {
    // A request that was under way for a whole period lies surely inside no window.
    let Ends { sent, received } = Ends::of(admitted.iter(), period);
    let mut best: Option<Excess> = None;
    let mut last = 0;
    for (first, from) in sent.iter().enumerate() {
        last = last.max(first);
        while last < received.len() && received[last].saturating_sub(*from) < period {
            last += 1;
        }
        let count = (last - first) as u64;
        if count > best.map_or(0, |best| best.admitted) {
            let to = received[last.saturating_sub(1)];
            best = Some(Excess { admitted: count, allowed: 0, from: *from, to });
        }
    }
    best
}

pub(super) fn excess(admitted: &[Span], calls: u64, period: u64) -> Option<Excess> {
    if admitted.len() as u64 <= calls {
        return None;
    }
    busiest(admitted, period).filter(|window| window.admitted > calls).map(|window| Excess { allowed: calls, ..window })
}

/// Refusals at a time when the window surely had room. Windows of any kind that end at the refusal lie within the period
/// before it, so that this holds for fixed windows as well.
pub(super) fn false_refusals(counted: &[Span], refused: &[Span], calls: u64, period: u64) -> Vec<bool> {
    let Ends { sent, received } = Ends::of(counted.iter(), u64::MAX);
    let wrong = |refusal: &Span| {
        let begun = sent.partition_point(|sent| *sent <= refusal.received);
        let left = received.partition_point(|received| received.saturating_add(period) <= refusal.sent);
        ((begun - left) as u64) < calls
    };
    refused.iter().map(wrong).collect()
}

pub(super) fn remaining(admitted: &[Span], span: Span, calls: u64, period: u64, slack: u64) -> (u64, u64) {
    let longest = period.saturating_add(slack);
    let maybe = |one: &&Span| one.sent <= span.received && one.received.saturating_add(longest) > span.sent;
    let surely = |one: &&Span| one.received <= span.received && one.sent.saturating_add(period) > span.received;
    let count = |inside: &dyn Fn(&&Span) -> bool| admitted.iter().filter(inside).count() as u64;
    (calls.saturating_sub(count(&maybe)), calls.saturating_sub(count(&surely)))
}

pub(super) fn admits_at(admitted: &[Span], calls: u64, period: u64) -> u64 {
    let Ends { received, .. } = Ends::of(admitted.iter(), u64::MAX);
    let oldest = usize::try_from(calls).ok().and_then(|calls| received.len().checked_sub(calls));
    oldest.map_or(0, |oldest| received[oldest].saturating_add(period))
}
