//! Draws that a seed decides, so that what policies do by chance can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::value::TextValue;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Context, Fault};

/// The draws of one policy: the n-th request's are always the same, or, with a key, those of all requests with that key.
#[derive(Debug)]
pub(super) struct Draws {
    seed: u64,
    key: Option<TextValue>,
    next: AtomicU64,
}

/// The draws of one request.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draws {
    /// Without a seed the policy's place in the configuration decides, so that two policies draw differently.
    pub(super) fn compile(
        seed: Option<u64>,
        key: Option<&Text>,
        policy: &str,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        let seed = match seed {
            Some(seed) => mixed(seed) ^ hash(policy),
            None => hash(&cx.state_id()),
        };
        let key = key.map(|key| TextValue::compile(key, cx)).transpose()?;
        Ok(Self { seed, key, next: AtomicU64::new(0) })
    }

    /// Begins the draws of a request.
    pub(super) fn draw(&self, cx: &Context<'_>) -> Result<Draw, Fault> {
        let request = match &self.key {
            Some(key) => hash(&key.text(cx)?),
            None => self.next.fetch_add(1, Ordering::Relaxed),
        };
        Ok(Draw(mixed(self.seed ^ mixed(request))))
    }
}

impl Draw {
    #[cfg(test)]
    pub(super) fn seeded(request: u64) -> Self {
        Self(mixed(request))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 0 up to, and without, 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The 53 bits that a double holds.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from 0 up to, and without, `count`, which is not 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A time that is on average `mean`, and now and then much longer: exponentially distributed.
    pub(super) fn exponential(&mut self, mean: Duration) -> Duration {
        let times = -(1.0 - self.unit()).ln();
        Duration::try_from_secs_f64(mean.as_secs_f64() * times).unwrap_or(Duration::MAX)
    }
}

/// Counts a fault, before it happens to a request.
pub(super) fn count(kind: &'static str, cx: &Context<'_>) {
    let exchange = cx.exchange;
    let metrics = exchange.operation.as_ref().map_or_else(|| exchange.gateway.metrics.unmatched(), |it| &it.metrics);
    metrics.injected(kind);
}

/// Which part of the requests something happens to.
pub(super) fn share(percentage: Option<&At<f64>>) -> Result<f64, CompileError> {
    let Some(percentage) = percentage else { return Ok(1.0) };
    if !(0.0..=100.0).contains(&percentage.value) {
        return Err(CompileError::at(percentage, format!("`{}` is not a percentage", percentage.value))
            .hint("0 to 100, for example `2.5`"));
    }
    Ok(percentage.value / 100.0)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): the same on every platform, for ever.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a in 64 bits.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mixed(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_differ_between_requests() {
        let draws = |request: u64| Draw(mixed(7 ^ mixed(request)));
        let units: Vec<f64> = (0..10_000).map(|request| draws(request).unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        for tenth in 0..10 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = units.iter().filter(|unit| range.contains(unit)).count();
            assert!((900..1100).contains(&count), "{count} in {range:?}");
        }
        let mut counts = [0; 3];
        (0..9_000).for_each(|request| counts[draws(request).below(3)] += 1);
        assert!(counts.iter().all(|count| (2_800..3_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn exponential_times_have_their_mean() {
        let mean = Duration::from_millis(100);
        let sum: Duration = (0..10_000).map(|request| Draw(mixed(request)).exponential(mean)).sum();
        assert!((95..105).contains(&(sum.as_millis() / 10_000)), "{sum:?}");
    }
}
