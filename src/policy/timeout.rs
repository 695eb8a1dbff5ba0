//! Limits how long everything after it may take to answer.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tower_layer::Layer as _;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period};
use crate::layer::TimeoutLayer;
use crate::pipeline::{Fault, Next, Step};

/// Limits how long everything that comes after it may take until there is the head of an answer; the body is not timed. Beyond
/// it, what is under way is dropped, the answer is 504 (reason `Timeout`), and on-error runs.
///
/// In front of `retry` it is the time for all tries together; for one try, use the `per-try-timeout` of `retry`.
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
}

impl Policy for Timeout {
    const NAME: &'static str = "timeout";
    const SECTIONS: Sections = Sections::REQUEST;

    // A layer, because it times everything after it.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let duration = positive(&self.duration)?;
        let origin = cx.origin.clone();
        let late = move |after: Duration| timed_out(after).at(&origin);
        Ok(Step::layer(move |next| Next::from_service(TimeoutLayer::new(duration, late.clone()).layer(next))))
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
