//! When requests are meant to be sent: rates that change over time, or a script of moments.

use std::str::FromStr;

use fastrand::Rng;

use super::expect::nanos;
use crate::config::Period;

const SECOND: f64 = 1e9;

/// A stretch of time in which the rate goes evenly from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// How long, in nanoseconds.
    pub length: u64,
    /// Requests each second when it begins.
    pub from: f64,
    /// Requests each second when it ends.
    pub to: f64,
}

/// When requests are meant to be sent, from the start of their phase.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// At rates.
    Rates {
        /// The rates, one after the other.
        stretches: Vec<Stretch>,
        /// Whether arrivals are independent of each other (a Poisson process) or evenly spaced.
        random: bool,
    },
    /// At these moments, so many at each, sorted by time.
    Moments(Vec<(u64, u32)>),
}

/// The shape of the main traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Evenly spaced.
    Constant,
    /// Independent of each other, at a constant rate.
    Poisson,
    /// So many at once, so often; the rate is kept on average.
    Burst {
        /// From one burst to the next.
        every: u64,
    },
    /// From nothing to the rate.
    Ramp,
    /// 1×, 1.5×, 2× and 4× the rate, a quarter of the time each.
    Ladder,
}

/// The steps of the overload ladder, as multiples of the rate.
pub const LADDER: [f64; 4] = [1.0, 1.5, 2.0, 4.0];

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.split_once('=').unwrap_or((text, "")) {
            ("constant", "") => Self::Constant,
            ("poisson", "") => Self::Poisson,
            ("ramp", "") => Self::Ramp,
            ("ladder", "") => Self::Ladder,
            ("burst", "") => Self::Burst { every: 1_000_000_000 },
            ("burst", every) => Self::Burst { every: nanos(Period::parse(every)?.0).max(1_000_000) },
            _ => {
                return Err(format!(
                    "`{text}` is no shape; expected `constant`, `poisson`, `burst`, `burst=5s`, `ramp` or `ladder`"
                ));
            }
        })
    }
}

impl Shape {
    /// Arrivals of this shape at `rate` requests each second for `length`.
    pub fn arrivals(self, rate: f64, length: u64) -> Arrivals {
        let flat = |length, rate| Stretch { length, from: rate, to: rate };
        let (stretches, random) = match self {
            Self::Constant => (vec![flat(length, rate)], false),
            Self::Poisson => (vec![flat(length, rate)], true),
            Self::Ramp => (vec![Stretch { length, from: 0.0, to: rate }], false),
            Self::Ladder => (LADDER.iter().map(|times| flat(length / 4, rate * times)).collect(), false),
            Self::Burst { every } => {
                let each = (rate * every as f64 / SECOND).round().clamp(1.0, f64::from(u32::MAX)) as u32;
                return Arrivals::Moments((0..length).step_by(every as usize).map(|at| (at, each)).collect());
            }
        };
        Arrivals::Rates { stretches, random }
    }
}

impl Arrivals {
    /// How many requests there are: exactly, or on average where they are random.
    pub fn count(&self) -> u64 {
        match self {
            Self::Rates { stretches, .. } => {
                stretches.iter().map(|one| (one.from + one.to) / 2.0 * one.length as f64 / SECOND).sum::<f64>() as u64
            }
            Self::Moments(moments) => moments.iter().map(|(_, count)| u64::from(*count)).sum(),
        }
    }

    /// How long it takes until the last one.
    pub fn length(&self) -> u64 {
        match self {
            Self::Rates { stretches, .. } => stretches.iter().map(|one| one.length).sum(),
            Self::Moments(moments) => moments.last().map_or(0, |(at, _)| *at),
        }
    }

    /// The highest rate, in requests each second; a moment's requests count as one second's.
    pub fn peak(&self) -> f64 {
        match self {
            Self::Rates { stretches, .. } => stretches.iter().map(|one| one.from.max(one.to)).fold(0.0, f64::max),
            Self::Moments(moments) => moments.iter().map(|(_, count)| f64::from(*count)).fold(0.0, f64::max),
        }
    }

    /// Goes through the moments in order. Random ones are drawn from `rng`.
    pub fn begin(&self) -> Progress {
        Progress { done: 0.0, stretch: 0, before: 0, offset: 0, index: 0, given: 0 }
    }
}

/// How far the arrivals have come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The expected number of arrivals so far, within the stretch.
    done: f64,
    stretch: usize,
    /// The length of the stretches before.
    before: u64,
    offset: u64,
    index: usize,
    given: u32,
}

impl Progress {
    /// The next moment, and how many come at it; none when all have come.
    pub fn next(&mut self, arrivals: &Arrivals, rng: &mut Rng) -> Option<u64> {
        match arrivals {
            Arrivals::Moments(moments) => {
                while let Some((at, count)) = moments.get(self.index) {
                    if self.given < *count {
                        self.given += 1;
                        return Some(*at);
                    }
                    (self.index, self.given) = (self.index + 1, 0);
                }
                None
            }
            Arrivals::Rates { stretches, random } => {
                // In units of the expected number of arrivals both kinds are simple: one apart, or exponential.
                let mut wanted = if *random { -(1.0 - rng.f64()).ln() } else { 1.0 };
                loop {
                    let stretch = stretches.get(self.stretch)?;
                    let all = (stretch.from + stretch.to) / 2.0 * stretch.length as f64 / SECOND;
                    let first =
                        !*random && self.stretch == 0 && self.done == 0.0 && self.offset == 0 && self.given == 0;
                    if first && stretch.from > 0.0 {
                        // Evenly spaced requests begin at once.
                        self.given = 1;
                        return Some(self.before);
                    }
                    if self.done + wanted < all {
                        self.done += wanted;
                        self.offset = stretch.at(self.done);
                        return Some(self.before + self.offset);
                    }
                    wanted -= all - self.done;
                    self.before += stretch.length;
                    (self.stretch, self.done, self.offset, self.given) = (self.stretch + 1, 0.0, 0, 1);
                }
            }
        }
    }
}

impl Stretch {
    /// The time at which `count` arrivals are expected: the inverse of `from·t + (to - from)·t²/2L`.
    fn at(&self, count: f64) -> u64 {
        let length = self.length as f64 / SECOND;
        let slope = (self.to - self.from) / length;
        let seconds = if slope.abs() < 1e-12 {
            count / self.from
        } else {
            2.0 * count / (self.from + (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt())
        };
        ((seconds * SECOND) as u64).min(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(arrivals: &Arrivals) -> Vec<u64> {
        let (mut progress, mut rng) = (arrivals.begin(), fastrand::Rng::with_seed(7));
        std::iter::from_fn(|| progress.next(arrivals, &mut rng)).collect()
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn shapes() {
        for (text, rate, seconds, want) in [
            ("constant", 4.0, 1, vec![0, 250, 500, 750]),
            ("burst", 2.0, 3, vec![0, 0, 1000, 1000, 2000, 2000]),
            ("burst=500ms", 2.0, 1, vec![0, 500]),
            ("ramp", 4.0, 2, vec![1000, 1414, 1732]),
            (
                "ladder",
                2.0,
                4,
                vec![0, 500, 1000, 1333, 1666, 2000, 2250, 2500, 2750, 3000, 3125, 3250, 3375, 3500, 3625, 3750, 3875],
            ),
        ] {
            let shape: Shape = text.parse().unwrap();
            let found = all(&shape.arrivals(rate, seconds * S));
            assert_eq!(found.iter().map(|at| at / 1_000_000).collect::<Vec<_>>(), want, "{text}");
        }
        assert!("sinus".parse::<Shape>().unwrap_err().contains("`ladder`"));
    }

    #[test]
    fn independent_arrivals_keep_their_rate_and_their_variance() {
        let found = all(&Shape::Poisson.arrivals(1_000.0, 100 * S));
        assert!((found.len() as f64 - 100_000.0).abs() < 1_500.0, "{}", found.len());
        let mut counts = vec![0_f64; 10_000];
        found.iter().for_each(|at| counts[(at / (S / 100)) as usize] += 1.0);
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((variance / mean - 1.0).abs() < 0.1, "{variance} over {mean}");
        assert_eq!(found, all(&Shape::Poisson.arrivals(1_000.0, 100 * S)), "the seed repeats it");
    }

    proptest! {
        #[test]
        fn arrivals_are_in_order_in_time_and_as_many_as_stated(
            stretches in prop::collection::vec((1_u64..20, 0.0_f64..50.0, 0.0_f64..50.0), 1..5), random: bool
        ) {
            let stretches = stretches.into_iter().map(|(tenths, from, to)| Stretch { length: tenths * S / 10, from, to });
            let arrivals = Arrivals::Rates { stretches: stretches.collect(), random };
            let found = all(&arrivals);
            prop_assert!(found.is_sorted());
            prop_assert!(found.last().is_none_or(|last| *last <= arrivals.length()));
            if !random {
                prop_assert!(found.len().abs_diff(arrivals.count() as usize) <= 1, "{} of {}", found.len(), arrivals.count());
            }
        }
    }
}
