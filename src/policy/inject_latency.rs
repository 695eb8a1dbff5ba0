//! Makes some requests wait, by chance that a seed decides, to try out what callers do with a slow API.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::draw::{Draw, Draws, count, share};
use super::{Policy, Sections};
use crate::clock::Clock;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Text};
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Fault, Flow, Step};

/// No request waits longer, whatever is drawn.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Makes some requests wait, to try out locally what an app or a flow does with a slow API: its timeouts, its retries, its spinner.
/// In inbound and backend the request waits, in outbound the answer does. A `timeout` or `retry` around it sees a slow backend.
///
/// Chance is decided by a seed: after every start and every reload the n-th request waits as long as it did the last time. While
/// requests overtake each other it is not sure which one is the n-th; `key` makes a request's wait its own. The metric
/// `sluicegate_injected_faults_total` counts the waits of each API.
///
/// ```toml
/// [[backend]]
/// policy   = "inject-latency"
/// duration = "200ms"
/// jitter   = "150ms"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InjectLatency {
    /// How long a request waits, apart from `jitter`. At most 5 minutes.
    duration: At<Period>,
    /// How much the waits differ; see `distribution`. Default: not at all.
    jitter: Option<At<Period>>,
    /// How the waits differ. Default `uniform`.
    #[serde(default)]
    distribution: Distribution,
    /// The longest wait, where `exponential` draws a longer one. At most, and by default, 5 minutes.
    max: Option<At<Period>>,
    /// How many of a hundred requests wait, 0 to 100. Default 100.
    percentage: Option<At<f64>>,
    /// The seed. Default: one that follows from where the policy stands.
    seed: Option<u64>,
    /// What a request's wait follows from, instead of how many came before it: requests with the same key wait equally long. Evaluated
    /// when the step runs; a failure goes to on-error. Default: none.
    key: Option<Text>,
}

/// How waits differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Evenly from `duration - jitter` to `duration + jitter`, and never below zero.
    #[default]
    Uniform,
    /// `duration`, and on average `jitter` more: mostly less than that, now and then several times as much, as real services do.
    Exponential,
}

impl Policy for InjectLatency {
    const NAME: &'static str = "inject-latency";
    const SECTIONS: Sections = Sections::REQUEST.or(Sections::OUTBOUND);

    // Asynchronous, because it waits.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let bounded = |period: &At<Period>| match period.value.0 {
            duration if duration <= LONGEST => Ok(duration),
            duration => Err(CompileError::at(period, format!("`{duration:?}` is too long")).hint("at most `5m`")),
        };
        let duration = bounded(&self.duration)?;
        let jitter = self.jitter.as_ref().map_or(Ok(Duration::ZERO), bounded)?;
        let max = self.max.as_ref().map_or(Ok(LONGEST), bounded)?;
        if let Some(max) = &self.max {
            if self.distribution == Distribution::Uniform {
                return Err(CompileError::at(max, "waits that differ evenly are bounded already")
                    .hint("`distribution = \"exponential\"`, or leave `max` out"));
            }
            if max.value.0 < duration {
                return Err(CompileError::at(max, "`max` is below `duration`"));
            }
        }
        let share = share(self.percentage.as_ref())?;
        let draws = Draws::compile(self.seed, self.key.as_ref(), Self::NAME, cx)?;
        let clock = cx.world.shared.clock.clone();
        let wait = Wait { duration, jitter, distribution: self.distribution, max, share };
        Ok(Step::asynchronous(Compiled { wait, draws, clock }))
    }
}

// === impl ApplyAsync ===

struct Compiled {
    wait: Wait,
    draws: Draws,
    clock: Clock,
}

struct Wait {
    duration: Duration,
    jitter: Duration,
    distribution: Distribution,
    max: Duration,
    share: f64,
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let draw = call.with(|cx| self.draws.draw(cx))?;
            if let Some(wait) = self.wait.of(draw) {
                call.with(|cx| count("latency", cx));
                self.clock.sleep_until(self.clock.now() + wait).await;
            }
            Ok(Flow::Next)
        })
    }
}

impl Wait {
    /// How long a request waits, if it does.
    fn of(&self, mut draw: Draw) -> Option<Duration> {
        if draw.unit() >= self.share {
            return None;
        }
        let wait = match self.distribution {
            Distribution::Uniform => {
                (self.duration + (2 * self.jitter).mul_f64(draw.unit())).saturating_sub(self.jitter)
            }
            Distribution::Exponential => self.duration.saturating_add(draw.exponential(self.jitter)),
        };
        Some(wait.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_drawn_within_their_bounds() {
        struct Case {
            name: &'static str,
            wait: [u64; 3],
            distribution: Distribution,
            share: f64,
            /// Of 10,000 requests: how many wait, and from when to when, in ms.
            want: (std::ops::RangeInclusive<usize>, std::ops::RangeInclusive<u128>),
        }
        let (uniform, exponential) = (Distribution::Uniform, Distribution::Exponential);
        for Case { name, wait, distribution, share, want } in [
            Case {
                name: "always",
                wait: [200, 0, 900],
                distribution: uniform,
                share: 1.0,
                want: (10_000..=10_000, 200..=200),
            },
            Case { name: "never", wait: [200, 0, 900], distribution: uniform, share: 0.0, want: (0..=0, 0..=0) },
            Case {
                name: "evenly",
                wait: [200, 150, 900],
                distribution: uniform,
                share: 1.0,
                want: (10_000..=10_000, 50..=350),
            },
            Case {
                name: "not before now",
                wait: [100, 150, 900],
                distribution: uniform,
                share: 1.0,
                want: (10_000..=10_000, 0..=250),
            },
            Case {
                name: "a long tail, cut",
                wait: [100, 200, 900],
                distribution: exponential,
                share: 0.1,
                want: (900..=1_100, 100..=900),
            },
        ] {
            let [duration, jitter, max] = wait.map(Duration::from_millis);
            let wait = Wait { duration, jitter, distribution, max, share };
            let waits: Vec<u128> =
                (0..10_000).filter_map(|n| wait.of(Draw::seeded(n))).map(|it| it.as_millis()).collect();
            assert!(want.0.contains(&waits.len()), "{name}: {}", waits.len());
            assert!(waits.iter().all(|wait| want.1.contains(wait)), "{name}");
            let spread = |part: u128| {
                waits.iter().any(|wait| *wait >= want.1.start() + (want.1.end() - want.1.start()) * part / 10)
            };
            assert!(waits.is_empty() || spread(9), "{name}: nothing waits nearly as long as may be");
        }
    }
}
