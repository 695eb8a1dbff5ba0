//! Removes a value from the cache.

use schemars::JsonSchema;
use serde::Deserialize;

use super::cached::{CachingType, Named};
use super::{Policy, Sections};
use crate::cache::Kind;
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

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let named = Named::compile(&self.key, self.caching_type.as_ref(), cx)?;
        Ok(Named::step(named.place, Compiled { named }))
    }
}

// === impl Apply, ApplyAsync ===

struct Compiled {
    named: Named,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.named.cache.remove(Kind::Value, self.named.key.text(cx)?.as_bytes());
        Ok(Flow::Next)
    }
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let key = call.with(|cx| self.named.key.text(cx).map(String::from))?;
            self.named.cache.remove_in(self.named.place, Kind::Value, key.as_bytes()).await;
            Ok(Flow::Next)
        })
    }
}
