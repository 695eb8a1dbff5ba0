//! Makes some requests wait, by chance that a seed decides, to try out what callers do with a slow API.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::draw::{Draws, share};
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
/// requests overtake each other it is not sure which one is the n-th; `key` makes a request's wait its own.
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
        Ok(Step::asynchronous(Compiled { duration, jitter, distribution: self.distribution, max, share, draws, clock }))
    }
}

// === impl ApplyAsync ===

struct Compiled {
    duration: Duration,
    jitter: Duration,
    distribution: Distribution,
    max: Duration,
    share: f64,
    draws: Draws,
    clock: Clock,
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let mut draw = call.with(|cx| self.draws.draw(cx))?;
            if draw.unit() < self.share {
                let wait = match self.distribution {
                    Distribution::Uniform => {
                        (self.duration + (2 * self.jitter).mul_f64(draw.unit())).saturating_sub(self.jitter)
                    }
                    Distribution::Exponential => self.duration.saturating_add(draw.exponential(self.jitter)),
                };
                self.clock.sleep_until(self.clock.now() + wait.min(self.max)).await;
            }
            Ok(Flow::Next)
        })
    }
}
