//! The keys of the test: how many there are, and who asks how often.

use std::str::FromStr;

use fastrand::Rng;

use super::record::KeyId;

/// How requests are spread over keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Distribution {
    /// One after the other.
    #[default]
    Even,
    /// Any with the same chance.
    Uniform,
    /// The n-th with a chance of `1 / n^exponent`: few busy ones and many quiet ones, as in life.
    Zipf {
        /// How unequal they are.
        exponent: f64,
    },
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is no distribution; expected `even`, `uniform`, `zipf` or `zipf=1.2`");
        match text.split_once('=').unwrap_or((text, "")) {
            ("even", "") => Ok(Self::Even),
            ("uniform", "") => Ok(Self::Uniform),
            ("zipf", "") => Ok(Self::Zipf { exponent: 1.0 }),
            ("zipf", exponent) => {
                let exponent = exponent.parse().ok().filter(|it: &f64| (0.0..=10.0).contains(it));
                exponent.map(|exponent| Self::Zipf { exponent }).ok_or_else(problem)
            }
            _ => Err(problem()),
        }
    }
}

/// The keys that a phase asks with.
#[derive(Clone, Debug)]
pub struct Keys {
    first: u32,
    count: u32,
    next: u32,
    /// With unequal chances: the sum of the chances up to each key.
    weights: Option<Box<[f64]>>,
    uniform: bool,
}

impl Keys {
    /// Requests without a key.
    pub fn missing() -> Self {
        Self { first: KeyId::MISSING.0, count: 1, next: 0, weights: None, uniform: false }
    }

    /// The keys `first`, `first + 1` and so on.
    pub fn new(first: u32, count: u32, distribution: Distribution) -> Self {
        let weights = match distribution {
            Distribution::Zipf { exponent } => {
                let mut sum = 0.0;
                let weigh = |rank: u32| {
                    sum += f64::from(rank).powf(-exponent);
                    sum
                };
                Some((1..=count).map(weigh).collect())
            }
            _ => None,
        };
        Self { first, count: count.max(1), next: 0, weights, uniform: distribution == Distribution::Uniform }
    }

    /// The key of the next request.
    pub fn next(&mut self, rng: &mut Rng) -> KeyId {
        let offset = match &self.weights {
            Some(weights) => {
                let at = rng.f64() * weights.last().copied().unwrap_or(1.0);
                u32::try_from(weights.partition_point(|sum| *sum <= at)).unwrap_or(0).min(self.count - 1)
            }
            None if self.uniform => rng.u32(0..self.count),
            None => {
                let offset = self.next;
                self.next = (self.next + 1) % self.count;
                offset
            }
        };
        KeyId(self.first + offset)
    }

    /// The numbers of its keys.
    pub fn range(&self) -> std::ops::Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// The text of a key: `{number}` in the template is its number, `{seed}` the seed, so that no run meets what the one before
/// left behind.
pub fn text(template: &str, key: KeyId, seed: u64) -> String {
    template.replace("{number}", &key.0.to_string()).replace("{seed}", &format!("{seed:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        let mut rng = Rng::with_seed(3);
        let mut counts = |distribution: &str| {
            let mut keys = Keys::new(10, 4, distribution.parse().unwrap());
            let mut counts = [0_u32; 4];
            (0..12_000).for_each(|_| counts[(keys.next(&mut rng).0 - 10) as usize] += 1);
            counts
        };
        assert_eq!(counts("even"), [3_000; 4]);
        assert!(counts("uniform").iter().all(|count| count.abs_diff(3_000) < 200));
        let zipf = counts("zipf");
        for (rank, count) in (1..).zip(zipf) {
            assert!(count.abs_diff(5_760 / rank) < 300, "{zipf:?}");
        }
        assert!("zipf=-1".parse::<Distribution>().is_err() && "random".parse::<Distribution>().is_err());
        assert_eq!(Keys::missing().next(&mut rng), KeyId::MISSING);
        assert_eq!(text("k-{seed}-{number}", KeyId(7), 255), "k-ff-7");
    }
}
