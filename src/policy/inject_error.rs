//! Answers some requests with an error, by chance that a seed decides, to try out what callers do with an unreliable API.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::draw::{Draws, count, share};
use super::mock_response::media_type;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Answers some requests with an error, to try out locally what an app or a flow does with an unreliable API.
///
/// In inbound and backend the backend is not called, and outbound does not run; a `retry` before it in backend sees the error and
/// tries again. In outbound the error takes the place of the answer, after the backend has done its work: the one that tempts
/// callers to do it twice.
///
/// Chance is decided by a seed: after every start and every reload the n-th request fares as it did the last time. While requests
/// overtake each other it is not sure which one is the n-th; `key` makes a request's fate its own. The metric
/// `sluicegate_injected_faults_total` counts the errors of each API, so that they are not taken for real ones.
///
/// ```toml
/// [[backend]]
/// policy      = "inject-error"
/// percentage  = 10
/// statuses    = [500, 503]
/// retry-after = "2s"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InjectError {
    /// How many of a hundred requests fail, 0 to 100. Default 100.
    percentage: Option<At<f64>>,
    /// The statuses, from 200 to 599; one of them is drawn for each error. One that stands here twice is drawn twice as often.
    /// Default `[500]`.
    statuses: Option<At<Vec<At<u16>>>>,
    /// The value of `Retry-After`, in whole seconds. Default: no such header.
    retry_after: Option<At<Period>>,
    /// The content type of `body`. Default `application/json`.
    content_type: Option<At<String>>,
    /// The body, as it is: `@` is an ordinary character. Default: none.
    body: Option<String>,
    /// The seed. Default: one that follows from where the policy stands.
    seed: Option<u64>,
    /// What a request's fate follows from, instead of how many came before it: requests with the same key fare the same. Evaluated
    /// when the step runs; a failure goes to on-error. Default: none.
    key: Option<Text>,
}

impl Policy for InjectError {
    const NAME: &'static str = "inject-error";
    const SECTIONS: Sections = Sections::REQUEST.or(Sections::OUTBOUND);

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let share = share(self.percentage.as_ref())?;
        let statuses = match &self.statuses {
            None => vec![StatusCode::INTERNAL_SERVER_ERROR],
            Some(none) if none.is_empty() => {
                return Err(
                    CompileError::at(none, "there is no status to answer with").hint("for example `[500, 503]`")
                );
            }
            Some(statuses) => statuses.iter().map(|status| cx.status(status)).collect::<Result<_, _>>()?,
        };
        let retry_after = match &self.retry_after {
            None => None,
            Some(wait) if wait.value.0 >= Duration::from_secs(1) && wait.value.0.subsec_nanos() == 0 => {
                Some(HeaderValue::from(wait.value.0.as_secs()))
            }
            Some(wait) => {
                let message = format!("`Retry-After` cannot say `{:?}`", wait.value.0);
                return Err(CompileError::at(wait, message).hint("whole seconds, for example `2s` (RFC 9110 §10.2.3)"));
            }
        };
        let content_type = match &self.content_type {
            None => HeaderValue::from_static("application/json"),
            Some(text) => media_type(text)?,
        };
        let draws = Draws::compile(self.seed, self.key.as_ref(), Self::NAME, cx)?;
        let body = self.body.unwrap_or_default().into();
        Ok(Step::sync(Compiled { share, statuses, retry_after, content_type, body, draws }))
    }
}

// === impl Apply ===

struct Compiled {
    share: f64,
    statuses: Vec<StatusCode>,
    retry_after: Option<HeaderValue>,
    content_type: HeaderValue,
    body: Bytes,
    draws: Draws,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut draw = self.draws.draw(cx)?;
        if draw.unit() >= self.share {
            return Ok(Flow::Next);
        }
        count("error", cx);
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.statuses[draw.below(self.statuses.len())];
        if let Some(seconds) = &self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.clone());
        }
        if !self.body.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        }
        Ok(Flow::Respond(Box::new(response)))
    }
}
