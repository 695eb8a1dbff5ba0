//! Fixed windows: whether there are any windows at all into which the admissions fit.

use std::collections::BTreeMap;

use super::{Ends, Excess, History, Span, sliding};
use crate::loadtest::expect::WindowStart;

/// Windows that begin with the first request after the window before: by how many the smallest limit that explains the
/// admissions is above `calls`.
pub(super) fn excess_from_first_call(history: &History, calls: u64, period: u64) -> Option<Excess> {
    let admitted = &history.admitted;
    if admitted.len() as u64 <= calls {
        return None;
    }
    if !history.unknown.is_empty() {
        // A request of which nothing is known may have begun a window. In any period there are parts of two windows.
        return sliding::excess(admitted, calls.saturating_mul(2), period);
    }
    let ends = Ends::of(admitted.iter(), u64::MAX);
    let used = history.used_before;
    let stuck = first_that_fits_nowhere(&ends, calls, period, used)?;
    let (mut proven, mut open) = (0, admitted.len() as u64 - calls);
    while open - proven > 1 {
        let middle = proven + (open - proven) / 2;
        match first_that_fits_nowhere(&ends, calls + middle, period, used) {
            Some(_) => proven = middle,
            None => open = middle,
        }
    }
    let from = ends.sent[stuck.saturating_sub(usize::try_from(calls).unwrap_or(usize::MAX))];
    Some(Excess { admitted: calls + open, allowed: calls, from, to: ends.received[stuck] })
}

/// The first admission that no choice of windows has room for. A window begins with an admission, and the next one no
/// earlier than its end; for each number of admissions that windows can hold together, the earliest end is the best. When the key was
/// `used` before time 0, a window that began then may hold the first ones.
fn first_that_fits_nowhere(ends: &Ends, calls: u64, period: u64, used: bool) -> Option<usize> {
    let Ends { sent, received } = ends;
    let most = usize::try_from(calls).unwrap_or(usize::MAX);
    // The number of admissions in closed windows, and when the last of these ends at the earliest.
    let mut closed: BTreeMap<usize, u64> = BTreeMap::from([(0, 0)]);
    if used {
        let held = sent.iter().take(most).take_while(|sent| **sent < period).map(|sent| sent.saturating_add(1));
        let fits = |(held, end): &(usize, u64)| received.get(*held).is_some_and(|received| end <= received);
        closed.extend((1..).zip(held).filter(fits));
    }
    let mut furthest = 0;
    while let Some((first, free_at)) = closed.pop_first() {
        let (Some(earliest), Some(latest)) = (sent.get(first).map(|sent| free_at.max(*sent)), received.get(first))
        else {
            continue;
        };
        let full = first.saturating_add(most).min(sent.len());
        if full == sent.len() {
            let last = sent[full - 1].saturating_sub(period).saturating_add(1);
            if sent[full - 1] < earliest.saturating_add(period) || last.max(earliest) <= *latest {
                return None;
            }
        }
        furthest = furthest.max(full);
        // The next window's first admission must be able to come after this one's end, and this one's last before it.
        let begin = received.partition_point(|received| *received < earliest.saturating_add(period)).max(first + 1);
        let end = sent.partition_point(|sent| *sent < latest.saturating_add(period)).min(full);
        for next in begin..=end {
            let start = earliest.max(sent[next - 1].saturating_add(1).saturating_sub(period));
            let fits =
                start <= *latest && received.get(next).is_none_or(|received| start.saturating_add(period) <= *received);
            if fits {
                let free_at = start.saturating_add(period);
                closed.entry(next).and_modify(|known| *known = free_at.min(*known)).or_insert(free_at);
            }
        }
    }
    Some(furthest.min(sent.len() - 1))
}

/// Windows that begin at times which all keys share and nobody knows: an excess is proven when there is one wherever they
/// begin.
pub(super) fn excess_aligned(histories: &[History], calls: u64, period: u64) -> Vec<Option<Excess>> {
    let ends: Vec<Ends> = histories.iter().map(|history| Ends::of(history.admitted.iter(), period)).collect();
    let most = ends.iter().map(|ends| ends.sent.len() as u64).max().unwrap_or(0);
    let (mut proven, mut open) = (0, most.saturating_sub(calls) + 1);
    while open - proven > 1 {
        let middle = proven + (open - proven) / 2;
        if covered(arcs(&ends, calls + middle, period), period) { proven = middle } else { open = middle }
    }
    let mut found = vec![None; histories.len()];
    if proven > 0 {
        // It is one finding about all keys; it is told of the key in whose busiest window most were admitted.
        let busiest = ends.iter().enumerate().filter_map(|(key, ends)| {
            let run = runs(ends, calls + proven, period).next()?;
            Some((key, run))
        });
        if let Some((key, (from, to))) = busiest.min_by_key(|(_, (from, to))| to - from) {
            found[key] = Some(Excess { admitted: calls + proven, allowed: calls, from, to });
        }
    }
    found
}

/// Where `count` admissions in a row surely lie within less than a period: from the first to the last.
fn runs(ends: &Ends, count: u64, period: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let further = usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
    let last = ends.received.get(further..).unwrap_or_default();
    let pairs = ends.sent.iter().copied().zip(last.iter().copied());
    pairs.map(|(from, to)| (from, to.max(from))).filter(move |(from, to)| to - from < period)
}

/// The starts of windows, as offsets into the period, at which one window holds `count` admissions.
fn arcs(ends: &[Ends], count: u64, period: u64) -> Vec<(u64, u64)> {
    let mut arcs = Vec::new();
    for (from, to) in ends.iter().flat_map(|ends| runs(ends, count, period)) {
        // Windows that begin after `to - period` and not after `from`.
        let (length, last) = (period - (to - from), from % period);
        if length >= period {
            return vec![(0, period)];
        }
        if length <= last + 1 {
            arcs.push((last + 1 - length, last + 1));
        } else {
            arcs.push((0, last + 1));
            arcs.push((period - (length - last - 1), period));
        }
    }
    arcs
}

/// Whether half-open arcs cover the whole period.
fn covered(mut arcs: Vec<(u64, u64)>, period: u64) -> bool {
    arcs.sort_unstable();
    let mut reached = 0;
    for (from, to) in arcs {
        if from > reached {
            return false;
        }
        reached = reached.max(to);
    }
    reached >= period
}

/// When the window that the last admission is in has surely ended.
pub(super) fn admits_at(admitted: &[Span], period: u64, start: WindowStart) -> u64 {
    let (Some(first), Some(last)) = (admitted.first(), admitted.last()) else { return 0 };
    // While all lie within a period of the first one, they lie in its window.
    let one_window = start == WindowStart::FirstCall && last.received < first.sent.saturating_add(period);
    let begun = if one_window { first.received } else { last.received };
    begun.saturating_add(period)
}
