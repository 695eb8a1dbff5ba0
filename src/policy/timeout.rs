//! Limits how long everything after it may take to answer.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tower_layer::Layer as _;

use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period};
use crate::layer::{Due, TimeoutLayer, TotalLayer};
use crate::pipeline::{Fault, Next, Step};

/// Limits how long everything that comes after it may take: until there is the head of an answer, or with `until = "end"` until the
/// last byte of its body. Beyond it, what is under way is dropped, the answer is 504 (reason `Timeout`), and on-error runs. When the
/// head is out already, the connection is cut, so that nobody takes a part of an answer for all of it; the access log has the reason.
///
/// In front of `retry` it is the time for all tries together; for one try, use the `per-try-timeout` of `retry`. A connector has
/// [120 seconds](https://learn.microsoft.com/power-automate/limits-and-config#timeout) for everything, which is `duration = "120s"` with
/// `until = "end"` as the first policy of inbound.
///
/// ```toml
/// [[inbound]]
/// policy   = "timeout"
/// duration = "10s"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timeout {
    /// How long it may take. More than zero.
    duration: At<Period>,
    /// What has to be there by then. Default `head`.
    #[serde(default)]
    until: Until,
}

/// What has to be there in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Until {
    /// The head of the answer. Its body may take as long as the backend's own timeouts allow.
    #[default]
    Head,
    /// All of it, its body too. A body that is in memory because a policy reads it counts as soon as it is there, however slowly the
    /// caller takes it. A WebSocket is not cut once it is open.
    End,
}

impl Policy for Timeout {
    const NAME: &'static str = "timeout";
    const SECTIONS: Sections = Sections::REQUEST;

    // A layer, because it times everything after it.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let duration = positive(&self.duration)?;
        let origin = cx.origin.clone();
        let late = move |after: Duration| timed_out(after).at(&origin);
        let clock = cx.world.shared.clock.clone();
        Ok(match self.until {
            Until::Head => {
                Step::layer(move |next| Next::from_service(TimeoutLayer::new(duration, late.clone()).layer(next)))
            }
            Until::End => Step::layer(move |next| {
                let hold = |body: Body, due: Due| body.due(due);
                Next::from_service(TotalLayer::new(duration, clock.clone(), late.clone(), hold).layer(next))
            }),
        })
    }
}

/// A time that is not zero.
pub(super) fn positive(period: &At<Period>) -> Result<Duration, CompileError> {
    if period.value.0.is_zero() {
        return Err(CompileError::at(period, "a time of zero is always over").hint("for example `10s`"));
    }
    Ok(period.value.0)
}

/// Azure API Management answers 500 here. Callers are better served by the status that says what happened (RFC 9110 §15.6.5).
#[cold]
pub(super) fn timed_out(after: Duration) -> Fault {
    let mut fault = Fault::upstream(StatusCode::GATEWAY_TIMEOUT, "Timeout", format!("no answer within {after:?}"))
        .public("The backend did not answer in time.")
        .retryable(false);
    fault.source = "";
    fault
}
