//! Keeps a value in the cache.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cached::{CachingType, Named, Time};
use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::cache::Kind;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, OrExpression, Period, Text};
use crate::expression::{EvaluationError, Expression};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Step};

/// Keeps a value under a key, in place of the one that is there; see
/// [cache-store-value](https://learn.microsoft.com/azure/api-management/cache-store-value-policy) in Azure API Management.
///
/// The value is there as soon as the step has run. One that is longer than `entry-size` of `[cache]` is not kept, and neither is any while
/// the shared store does not answer; the request goes on. In the shared store the key is
/// `PREFIXcache:value:KEY` and the value JSON, so that others can read and remove it.
///
/// ```toml
/// [[outbound]]
/// policy   = "cache-store-value"
/// key      = "plan-@{subscription()}"
/// value    = "@body().plan"
/// duration = "10m"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheStoreValue {
    /// The key. Evaluated when the step runs; a failure goes to on-error.
    key: Text,
    /// The value. The result of an expression keeps its type; anything else is text. Evaluated when the step runs; a failure goes to on-error.
    value: Text,
    /// How long it is kept: a duration, or an expression that gives one or a number of seconds. With 0 nothing is kept. Evaluated when the
    /// step runs; a failure goes to on-error.
    duration: At<OrExpression<Period>>,
    /// Where it is kept. Default `prefer-external`.
    caching_type: Option<At<CachingType>>,
}

impl Policy for CacheStoreValue {
    const NAME: &'static str = "cache-store-value";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let named = Named::compile(&self.key, self.caching_type.as_ref(), cx);
        let named = cx.note(named);
        let value = cx.expression(&self.value);
        let value = cx.note(value);
        let time = Time::compile(&self.duration, cx);
        let time = cx.note(time);
        let (named, value, time) = (named?, value?, time?);
        Ok(Named::step(named.place, Compiled { named, value, time }))
    }
}

// === impl Apply, ApplyAsync ===

struct Compiled {
    named: Named,
    value: Expression,
    time: Time,
}

impl Compiled {
    /// What is kept, and for how long; nothing when it is not kept.
    fn entry(&self, cx: &Context<'_>) -> Result<Option<(Bytes, Duration)>, Fault> {
        let time = self.time.of(cx)?;
        if time.is_zero() {
            return Ok(None);
        }
        let value = self.value.evaluate(cx).map_err(evaluation_failed)?.into_json();
        let unwritable = |_| evaluation_failed(EvaluationError::new("the value cannot be written as JSON"));
        Ok(Some((serde_json::to_vec(&value).map_err(unwritable)?.into(), time)))
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        if let Some((value, time)) = self.entry(cx)? {
            self.named.cache.keep(Kind::Value, self.named.key.text(cx)?.as_bytes(), value, time);
        }
        Ok(Flow::Next)
    }
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let entry = call.with(|cx| self.entry(cx))?;
            if let Some((value, time)) = entry {
                let key = call.with(|cx| self.named.key.text(cx).map(String::from))?;
                self.named.cache.keep_in(self.named.place, Kind::Value, key.as_bytes(), value, time).await;
            }
            Ok(Flow::Next)
        })
    }
}
