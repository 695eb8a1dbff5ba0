//! Runs the policies of the first branch whose condition holds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::branch::first_of;
use super::value::Condition;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{Nested, Text};
use crate::pipeline::Step;

/// Runs the policies of the first `when` whose condition holds, else those of `otherwise`.
///
/// A branch may hold any policy that its section may. One that wraps what comes after it (`retry`, `timeout`) wraps the rest
/// of the branch and everything after the `choose`.
///
/// ```toml
/// [[inbound]]
/// policy = "choose"
///
/// [[inbound.when]]
/// condition = "@equals(headers('x-plan'), 'gold')"
///
/// [[inbound.when.policies]]
/// policy = "set-header"
/// name   = "x-priority"
/// value  = "high"
///
/// [[inbound.otherwise]]
/// policy = "set-header"
/// name   = "x-priority"
/// value  = "normal"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Choose {
    /// The branches, tried in order. At least one.
    when: Vec<When>,
    /// The policies that run when no condition holds. Default: none.
    #[serde(default)]
    otherwise: Nested,
}

/// A branch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// `true`, `false`, or an expression that gives one of them. Evaluated when the step runs; a failure goes to on-error.
    condition: Text,
    /// The policies of the branch.
    #[serde(default)]
    policies: Nested,
}

impl Policy for Choose {
    const NAME: &'static str = "choose";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.when.is_empty() {
            return Err(
                CompileError::whole("a `choose` without `when` chooses nothing").hint("give at least one `when`")
            );
        }
        let mut branches = Vec::with_capacity(self.when.len());
        for (index, when) in self.when.iter().enumerate() {
            let condition = Condition::compile(&when.condition, cx);
            let condition = cx.note(condition);
            let steps = cx.steps(&when.policies, &format!("when[{}]", index + 1));
            branches.push(condition.map(|condition| (condition, steps)));
        }
        let otherwise = cx.steps(&self.otherwise, "otherwise");
        let branches = branches.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(first_of(branches, otherwise, cx))
    }
}
