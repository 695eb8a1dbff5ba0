//! Removes a value from the cache.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::cached::{CachingType, place};
use super::value::TextValue;
use super::{Policy, Sections};
use crate::cache::{Cache, Kind, Place};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Step};

/// Removes the value that `cache-store-value` has kept under a key; see
/// [cache-remove-value](https://learn.microsoft.com/azure/api-management/cache-remove-value-policy) in Azure API Management.
///
/// It is gone when the step has run. While the shared store does not answer it stays there until its time is over; the request goes on.
///
/// ```toml
/// [[outbound]]
/// policy = "cache-remove-value"
/// key    = "plan-@{subscription()}"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheRemoveValue {
    /// The key. Evaluated when the step runs; a failure goes to on-error.
    key: Text,
    /// Where the value is kept. Default `prefer-external`.
    caching_type: Option<At<CachingType>>,
}

impl Policy for CacheRemoveValue {
    const NAME: &'static str = "cache-remove-value";
    const SECTIONS: Sections = Sections::ALL;

    // Asynchronous where the shared store has to be asked.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let key = TextValue::compile(&self.key, cx);
        let key = cx.note(key);
        let place = place(self.caching_type.as_ref(), cx)?;
        let compiled = Compiled { cache: cx.world.cache.clone(), place, key: key? };
        Ok(match place {
            Place::Memory => Step::sync(compiled),
            Place::Store { .. } => Step::asynchronous(compiled),
        })
    }
}

// === impl Apply, ApplyAsync ===

struct Compiled {
    cache: Arc<Cache>,
    place: Place,
    key: TextValue,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.cache.remove(Kind::Value, self.key.text(cx)?.as_bytes());
        Ok(Flow::Next)
    }
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let key = call.with(|cx| self.key.text(cx).map(String::from))?;
            self.cache.remove_in(self.place, Kind::Value, key.as_bytes()).await;
            Ok(Flow::Next)
        })
    }
}
