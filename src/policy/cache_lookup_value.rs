//! Reads a value from the cache into a variable.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cached::{CachingType, Named};
use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::cache::Kind;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::Expression;
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Step};

/// Reads a value that `cache-store-value` has kept into a variable; see
/// [cache-lookup-value](https://learn.microsoft.com/azure/api-management/cache-lookup-value-policy) in Azure API Management.
///
/// When there is none, the variable gets the default value; without one it is left as it is, so that `@variables('name')` is null
/// unless it was set before. A shared store that does not answer is the same as one that has no value. Keys are the whole gateway's: what
/// one API keeps, another finds.
///
/// ```toml
/// [[inbound]]
/// policy        = "cache-lookup-value"
/// key           = "plan-@{subscription()}"
/// variable-name = "plan"
/// default-value = "basic"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheLookupValue {
    /// The key. Evaluated when the step runs; a failure goes to on-error.
    key: Text,
    /// The variable that gets the value, with the type that it was kept with.
    variable_name: At<String>,
    /// What the variable gets when there is no value. The result of an expression keeps its type. Evaluated only then; a failure goes to
    /// on-error. Default: nothing.
    default_value: Option<Text>,
    /// Where the value is kept. Default `prefer-external`.
    caching_type: Option<At<CachingType>>,
}

impl Policy for CacheLookupValue {
    const NAME: &'static str = "cache-lookup-value";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.variable_name.is_empty() {
            return Err(CompileError::at(&self.variable_name, "a variable needs a name"));
        }
        let named = Named::compile(&self.key, self.caching_type.as_ref(), cx);
        let named = cx.note(named);
        let default = self.default_value.as_ref().map(|value| cx.expression(value)).transpose();
        let default = cx.note(default);
        let variable = self.variable_name.as_str().into();
        let (named, default) = (named?, default?);
        Ok(Named::step(named.place, Compiled { named, variable, default }))
    }
}

// === impl Apply, ApplyAsync ===

struct Compiled {
    named: Named,
    variable: Arc<str>,
    default: Option<Expression>,
}

impl Compiled {
    fn set(&self, found: Option<Bytes>, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        // What somebody else wrote there and is no JSON is no value.
        let found = found.and_then(|value| serde_json::from_slice(&value).ok());
        let value = match (found, &self.default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.evaluate(cx).map_err(evaluation_failed)?.into_json(),
            (None, None) => return Ok(Flow::Next),
        };
        cx.state.set_variable(&self.variable, value);
        Ok(Flow::Next)
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let found = self.named.cache.value(Kind::Value, self.named.key.text(cx)?.as_bytes());
        self.set(found, cx)
    }
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let key = call.with(|cx| self.named.key.text(cx).map(String::from))?;
            let found = self.named.cache.value_in(self.named.place, Kind::Value, key.as_bytes()).await;
            call.with(|cx| self.set(found, cx))
        })
    }
}
