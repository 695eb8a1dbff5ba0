//! Keeps a value for later steps of the same exchange.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::Expression;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Keeps a value for later steps of the same exchange, in any section; `@variables('name')` reads it. See
/// [set-variable](https://learn.microsoft.com/azure/api-management/set-variable-policy) in Azure API Management.
///
/// ```toml
/// [[inbound]]
/// policy = "set-variable"
/// name   = "page"
/// value  = "@int(coalesce(queryParameters('page'), '1'))"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetVariable {
    /// The variable's name; compared with its case. A variable that is there already is replaced.
    name: At<String>,
    /// The value. The result of an expression keeps its type (`true`, a number, an object); anything else is text, also `5`
    /// and `true`. Evaluated when the step runs; a failure goes to on-error.
    value: Text,
}

impl Policy for SetVariable {
    const NAME: &'static str = "set-variable";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.name.is_empty() {
            return Err(CompileError::at(&self.name, "a variable needs a name"));
        }
        let value = cx.expression(&self.value)?;
        Ok(Step::sync(Compiled { name: self.name.as_str().into(), value }))
    }
}

// === impl Apply ===

struct Compiled {
    name: Arc<str>,
    value: Expression,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let value: Json = self.value.evaluate(cx).map_err(evaluation_failed)?.into_json();
        cx.state.set_variable(&self.name, value);
        Ok(Flow::Next)
    }
}
