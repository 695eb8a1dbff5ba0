//! Runs the policies of a fragment: a named list that several places share.

use schemars::JsonSchema;
use serde::Deserialize;

use super::branch::first_of;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::Step;

/// Runs the policies of a fragment in the place of this one; see
/// [include-fragment](https://learn.microsoft.com/azure/api-management/include-fragment-policy) in Azure API Management.
///
/// A fragment may hold any policy that the section may, except `base` and another `include-fragment`. One that wraps what comes after it
/// (`retry`, `timeout`) wraps the rest of the fragment and everything after the `include-fragment`. A limit inside a
/// fragment has one counter for all who include it.
///
/// ```toml
/// [[inbound]]
/// policy   = "include-fragment"
/// fragment = "tenant-headers"
///
/// [[fragments.tenant-headers.policies]]   # in gateway.toml
/// policy = "set-header"
/// name   = "x-tenant"
/// value  = "@claims('tid')"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IncludeFragment {
    /// The fragment's name: `[fragments.NAME]` in gateway.toml.
    fragment: At<String>,
}

impl Policy for IncludeFragment {
    const NAME: &'static str = "include-fragment";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let steps = cx.fragment_steps(&self.fragment)?;
        Ok(first_of(Vec::new(), steps, cx))
    }
}
