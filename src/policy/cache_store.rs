//! Keeps the backend's answer for requests that ask for the same.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cached::Time;
use super::value::Condition;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, OrExpression, Period, Text};
use crate::pipeline::{Apply, CacheRole, Context, Fault, Flow, Step};

/// Keeps the backend's answer, for requests that a `cache-lookup` in inbound finds to ask for the same; see
/// [cache-store](https://learn.microsoft.com/azure/api-management/cache-store-policy) in Azure API Management.
///
/// What is kept is the answer as the backend gave it, before outbound, and outbound runs for everybody who gets it: a policy may
/// depend on the caller wherever it stands. It is kept once its body has been passed on as a whole. Only answers to GET are.
///
/// As RFC 9111 asks of a cache that callers share: nothing is kept that says `Cache-Control: no-store`, `private` or `no-cache`, or
/// `Vary: *`, and nothing for longer than `s-maxage`, `max-age` or `Expires` say, less its `Age`. Answers that set cookies, parts of an
/// answer (206) and bodies longer than `entry-size` of `[cache]` are not kept either; they stream through.
///
/// ```toml
/// [[outbound]]
/// policy   = "cache-store"
/// duration = "10m"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheStore {
    /// How long an answer is kept at most: a duration, or an expression that gives one or a number of seconds. With 0 nothing is kept.
    /// Evaluated when the step runs; a failure goes to on-error.
    duration: At<OrExpression<Period>>,
    /// Which answers are kept: `true`, `false`, or an expression, over the answer as it is here. Default: those to which the backend
    /// answered 200. Evaluated when the step runs; a failure goes to on-error.
    cache_response: Option<Text>,
    /// Whether what the answer says in `Cache-Control` and `Expires` is ignored, for a backend that forbids caching out of habit. What it
    /// calls private is then given to others. Default `false`.
    #[serde(default)]
    ignore_cache_control: bool,
}

impl Policy for CacheStore {
    const NAME: &'static str = "cache-store";
    const SECTIONS: Sections = Sections::OUTBOUND;
    const ONCE: bool = true;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.is_end_of_cache(CacheRole::Stores);
        let time = Time::compile(&self.duration, cx);
        let time = cx.note(time);
        let condition = self.cache_response.as_ref().map(|condition| Condition::compile(condition, cx)).transpose()?;
        Ok(Step::sync(Compiled { time: time?, condition, ignore_cache_control: self.ignore_cache_control }))
    }
}

// === impl Apply ===

struct Compiled {
    time: Time,
    condition: Option<Condition>,
    ignore_cache_control: bool,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(cached) = cx.state.cached.clone() else { return Ok(Flow::Next) };
        if let Some(kept) = cached.found {
            cached.tell(kept, cx.message.headers_mut());
            return Ok(Flow::Next);
        }
        let (Some(candidate), Some(status)) = (&cached.candidate, cached.candidate_status()) else {
            return Ok(Flow::Next);
        };
        let wanted = match &self.condition {
            Some(condition) => condition.holds(cx)?,
            None => status == StatusCode::OK,
        };
        let time = if wanted { self.time.of(cx)? } else { std::time::Duration::ZERO };
        if time.is_zero() {
            candidate.leave();
        } else if let Some(kept) = candidate.keep(time, self.ignore_cache_control) {
            cached.tell(kept, cx.message.headers_mut());
        }
        Ok(Flow::Next)
    }
}
