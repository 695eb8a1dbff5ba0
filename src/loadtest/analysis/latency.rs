//! Latency of what was admitted and refused, and how far behind its own schedule the generator was.

use serde::Serialize;

use super::{Evidence, Measured};
use crate::loadtest::plan::Role;
use crate::loadtest::record::{Fate, Record};

/// Quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// Nine in ten are not above it.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1000.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Of values in nanoseconds.
    pub fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let last = nanos.len().checked_sub(1)?;
        // The smallest value that so many are not above.
        let at = |share: f64| nanos[((nanos.len() as f64 * share).ceil() as usize).clamp(1, last + 1) - 1] as f64 / 1e6;
        Some(Self {
            count: nanos.len() as u64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: nanos[last] as f64 / 1e6,
        })
    }
}

/// Whether the generator kept to its schedule.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// From when requests were meant to be sent to when the generator came to it, in milliseconds.
    pub lag: Option<Quantiles>,
    /// From there to when a connection was free, in milliseconds.
    pub waiting: Option<Quantiles>,
    /// How much of the time its thread was at work.
    pub busy: Option<f64>,
    /// Requests each second that were sent, over the busiest second.
    pub peak: u64,
    /// What held it back, if anything did.
    pub bottleneck: Option<String>,
}

/// Whether enough requests of the main traffic were admitted and refused to speak for it: probes come in bursts, which wait for
/// each other.
pub(super) fn traffic_suffices(evidence: &Evidence<'_>) -> bool {
    const ENOUGH: usize = 100;
    let count = |wanted| evidence.of(Role::Traffic).filter(|(_, fate)| *fate == wanted).take(ENOUGH).count();
    count(Fate::Admitted) == ENOUGH && count(Fate::Refused) == ENOUGH
}

/// Latency of what was admitted and of what was refused, of all requests or of the main traffic.
pub(super) fn by_fate(evidence: &Evidence<'_>, of_all: bool) -> (Option<Quantiles>, Option<Quantiles>) {
    let phases = &evidence.plan.phases;
    let counts = |record: &Record| {
        let role = phases[usize::from(record.attempt.phase)].role;
        if of_all { role != Role::Outage } else { role == Role::Traffic }
    };
    let of = |wanted: Fate| {
        let records = evidence.records.iter().zip(&evidence.fates).filter(|(_, fate)| **fate == wanted);
        Quantiles::of(records.filter(|(record, _)| counts(record)).map(|(record, _)| record.latency()).collect())
    };
    (of(Fate::Admitted), of(Fate::Refused))
}

/// A request that is sent so late was not sent as planned.
const LATE_MS: f64 = 5.0;

pub(super) fn generator(evidence: &Evidence<'_>, measured: &Measured, is_virtual: bool) -> Generator {
    if is_virtual {
        return Generator::default();
    }
    let records = evidence.records;
    // Of the main traffic: probes send many at one instant, which wait for each other as they should.
    let traffic: Vec<&Record> = evidence.of(Role::Traffic).map(|(record, _)| record).collect();
    let judged: Vec<&Record> = if traffic.is_empty() { records.iter().collect() } else { traffic };
    let lag = Quantiles::of(judged.iter().map(|it| it.handled.saturating_sub(it.attempt.intended)).collect());
    let waiting = Quantiles::of(judged.iter().map(|it| it.sent.saturating_sub(it.handled)).collect());
    let mut seconds = std::collections::HashMap::new();
    records.iter().for_each(|it| *seconds.entry(it.sent / 1_000_000_000).or_insert(0_u64) += 1);
    let late = |quantiles: &Option<Quantiles>| quantiles.as_ref().is_some_and(|it| it.p99 > LATE_MS);
    // Of two, the one that held more back is the one to do something about.
    let worse = |one: &Option<Quantiles>, other: &Option<Quantiles>| {
        let p99 = |it: &Option<Quantiles>| it.as_ref().map_or(0.0, |it| it.p99);
        p99(one) >= p99(other)
    };
    let bottleneck = if late(&lag) && worse(&lag, &waiting) {
        // A thread that had time to rest was not woken when it was due.
        let help = match measured.busy {
            Some(busy) if busy < 0.5 => {
                "Its thread had little to do, so that others had the processor: run it on a machine of its own"
            }
            _ => "Lower the rate, or run it on a machine of its own",
        };
        Some(format!(
            "the generator could not keep up: more than 1 % of requests were sent over 5 ms late; latencies hold that lag. {help}"
        ))
    } else if late(&waiting) {
        Some(format!(
            "all {} connections were in use: more than 1 % of requests waited over 5 ms for one. The target is slower than \
             the rate needs, or `--connections` is too low",
            measured.connections
        ))
    } else {
        None
    };
    Generator { lag, waiting, busy: measured.busy, peak: seconds.into_values().max().unwrap_or(0), bottleneck }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(Quantiles::of(Vec::new()), None);
        let all = Quantiles::of((1..=1_000).map(|ms| ms * 1_000_000).rev().collect()).unwrap();
        assert_eq!((all.p50, all.p90, all.p99, all.p999, all.max), (500.0, 900.0, 990.0, 999.0, 1_000.0));
        let one = Quantiles::of(vec![2_000_000]).unwrap();
        assert_eq!((one.count, one.p50, one.p999, one.max), (1, 2.0, 2.0, 2.0));
    }
}
