//! Requests at once: how many were surely in progress at one moment.

use super::{Excess, Span};

/// An admitted request that takes at least `hold` was in progress from `received - hold` to `sent + hold`, if that is a time
/// at all: it began no later than the one and ended no earlier than the other.
pub(super) fn excess(admitted: &[Span], max: u64, hold: u64) -> Option<Excess> {
    let mut edges: Vec<(u64, i64)> = Vec::with_capacity(admitted.len() * 2);
    for span in admitted {
        let (from, to) = (span.ended.saturating_sub(hold), span.sent.saturating_add(hold));
        if from < to {
            edges.push((from, 1));
            edges.push((to, -1));
        }
    }
    // Of two edges at one moment the end comes first.
    edges.sort_unstable();
    let (mut running, mut worst) = (0_i64, None::<Excess>);
    for (at, change) in edges {
        running += change;
        let found = Excess { admitted: running.unsigned_abs(), allowed: max, from: at, to: at };
        if running > 0 && found.requests() > worst.map_or(0, |worst| worst.requests()) {
            worst = Some(found);
        }
    }
    worst
}

/// Refusals while fewer than `max` can have been in progress.
pub(super) fn false_refusals(counted: &[Span], refused: &[Span], max: u64) -> Vec<bool> {
    let mut sent: Vec<u64> = counted.iter().map(|span| span.sent).collect();
    let mut ended: Vec<u64> = counted.iter().map(|span| span.ended).collect();
    sent.sort_unstable();
    ended.sort_unstable();
    let wrong = |refusal: &Span| {
        let begun = sent.partition_point(|sent| *sent <= refusal.received);
        let over = ended.partition_point(|ended| *ended < refusal.sent);
        ((begun - over) as u64) < max
    };
    refused.iter().map(wrong).collect()
}
