//! The token bucket: how many admissions surely lie within a time, against what the bucket can give in it.

use super::{Ends, Excess, Span};

/// Limiters keep the time of one token in whole nanoseconds, so that each token may come one too early; and a microsecond
/// for what clocks round.
const ROUNDING: u64 = 1_000;

/// What a bucket can admit in a time.
pub(super) fn allowed(length: u64, admitted: u64, calls: u64, period: u64, burst: u64) -> u64 {
    let length = u128::from(length) + u128::from(admitted + ROUNDING);
    burst.saturating_add(u64::try_from(length * u128::from(calls) / u128::from(period)).unwrap_or(u64::MAX))
}

pub(super) fn excess(admitted: &[Span], calls: u64, period: u64, burst: u64) -> Option<Excess> {
    if admitted.len() as u64 <= burst {
        return None;
    }
    // Three looks: at all requests, and without those that were under way for longer than most.
    let mut lengths: Vec<u64> = admitted.iter().map(|span| span.received - span.sent).collect();
    let middle = lengths.len() / 2;
    let median = *lengths.select_nth_unstable(middle).1;
    let mut longest =
        [u64::MAX, median.saturating_mul(10).saturating_add(1), median.saturating_mul(2).saturating_add(1)];
    longest.sort_unstable();
    let found = longest.iter().filter_map(|longest| worst(&Ends::of(admitted.iter(), *longest), calls, period, burst));
    found.max_by_key(Excess::requests)
}

fn worst(ends: &Ends, calls: u64, period: u64, burst: u64) -> Option<Excess> {
    let rate = calls as f64 / period as f64;
    let (mut begin, mut begin_value) = (0, f64::MIN);
    let mut best: Option<Excess> = None;
    for (last, (from, to)) in ends.sent.iter().zip(&ends.received).enumerate() {
        // From where the bucket was most overdrawn: `-first + rate × sent` is largest.
        let value = *from as f64 * rate - last as f64;
        if value > begin_value {
            (begin, begin_value) = (last, value);
        }
        let (count, from) = ((last - begin + 1) as u64, ends.sent[begin]);
        let allowed = allowed(to.saturating_sub(from), count, calls, period, burst);
        let found = Excess { admitted: count, allowed, from, to: *to };
        if found.requests() > best.map_or(0, |best| best.requests()) {
            best = Some(found);
        }
    }
    best
}

/// When each token was back at the latest, as the generic cell rate algorithm has it: the theoretical arrival time.
struct Arrival {
    at: f64,
    token: f64,
}

impl Arrival {
    fn new(calls: u64, period: u64) -> Self {
        Self { at: 0.0, token: period as f64 / calls as f64 }
    }

    /// Counts a request at the latest time that it can have been admitted. In any order of counting this is no earlier than
    /// in the order of time.
    fn count(&mut self, at: u64) {
        self.at = self.at.max(at as f64) + self.token;
    }

    /// From when on the bucket has a token.
    fn admits_at(&self, burst: u64) -> f64 {
        self.at - (burst as f64 - 1.0) * self.token
    }

    fn left(&self, at: u64, burst: u64) -> f64 {
        (burst as f64 - (self.at - at as f64).max(0.0) / self.token).max(0.0)
    }
}

pub(super) fn false_refusals(counted: &[Span], refused: &[Span], calls: u64, period: u64, burst: u64) -> Vec<bool> {
    let mut counted: Vec<&Span> = counted.iter().collect();
    counted.sort_unstable_by_key(|span| span.sent);
    let mut order: Vec<usize> = (0..refused.len()).collect();
    order.sort_unstable_by_key(|index| refused[*index].received);
    let mut arrival = Arrival::new(calls, period);
    let mut next = counted.into_iter().peekable();
    let mut wrong = vec![false; refused.len()];
    for index in order {
        let refusal = refused[index];
        while let Some(span) = next.next_if(|span| span.sent <= refusal.received) {
            arrival.count(span.received);
        }
        wrong[index] = refusal.sent as f64 >= arrival.admits_at(burst) + ROUNDING as f64;
    }
    wrong
}

pub(super) fn remaining(admitted: &[Span], span: Span, calls: u64, period: u64, burst: u64) -> (u64, u64) {
    let (mut late, mut early) = (Arrival::new(calls, period), Arrival::new(calls, period));
    for one in admitted.iter().filter(|one| one.sent <= span.received) {
        late.count(one.received);
        if one.received <= span.received {
            early.count(one.sent);
        }
    }
    let slack = ROUNDING as f64 / late.token;
    ((late.left(span.sent, burst) - slack).floor().max(0.0) as u64, (early.left(span.received, burst) + slack) as u64)
}

pub(super) fn admits_at(admitted: &[Span], calls: u64, period: u64, burst: u64) -> u64 {
    let mut arrival = Arrival::new(calls, period);
    for span in admitted {
        arrival.count(span.received);
    }
    arrival.admits_at(burst).max(0.0) as u64
}
