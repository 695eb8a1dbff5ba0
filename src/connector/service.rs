//! The policies of an imported API that work with its definition: defaults that callers do not see, and validation.

use std::collections::HashMap;

use super::definition::{Definition, Operation};
use super::template::{Converted, Section};
use super::written::{Block, text};
use crate::openapi::Contract;

/// What an import writes for validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// A comment that says how.
    #[default]
    Suggested,
    /// Policies that report what is not as the definition says.
    Report,
    /// Policies that refuse such requests, and report such answers.
    Refuse,
}

/// The names that operations get: their own, with a number behind those that stand twice.
pub fn names(operations: &[Operation<'_>]) -> Vec<String> {
    let mut seen = HashMap::new();
    let name = |operation: &Operation<'_>| {
        let count = seen.entry(operation.id.clone()).or_insert(0_u32);
        *count += 1;
        if *count == 1 { operation.id.clone() } else { format!("{}-{count}", operation.id) }
    };
    operations.iter().map(name).collect()
}

/// `operations = […]`, unless they are all of those that can be called.
fn only(block: Block, names: &[String], refused: &[Option<String>], of: impl Fn(usize) -> bool) -> Option<Block> {
    let called = (0..names.len()).filter(|place| refused[*place].is_none());
    let wanted: Vec<usize> = called.clone().filter(|place| of(*place)).collect();
    if wanted.is_empty() {
        return None;
    }
    if wanted.len() == called.count() {
        return Some(block);
    }
    let list: Vec<String> = wanted.iter().map(|place| text(&names[*place])).collect();
    let list =
        if list.len() < 4 { format!("[{}]", list.join(", ")) } else { format!("[\n  {},\n]", list.join(",\n  ")) };
    Some(block.raw("operations", list))
}

/// What comes before everything else: callers of the platform send these values themselves.
pub fn defaults(definition: &Definition<'_>, names: &[String], refused: &[Option<String>]) -> Option<Block> {
    let contract = Contract::read(definition.root).ok()?;
    let fills = |place: usize| contract.operations().get(place).is_some_and(|operation| operation.fills);
    let block = Block::policy("set-defaults").comment(
        "Parameters that callers do not see get the definition's defaults, which the platform would send by itself.",
    );
    only(block, names, refused, fills)
}

/// What checks requests, each with the header of its table.
pub fn requests(validation: Validation) -> Vec<(&'static str, Block)> {
    let (action, off) = match validation {
        Validation::Suggested => ("detect", true),
        Validation::Report => ("detect", false),
        Validation::Refuse => ("prevent", false),
    };
    let what = match validation {
        Validation::Suggested => {
            "Requests and answers can be checked against the definition; `import connector --validate report` writes this:"
        }
        Validation::Report => {
            "What is not as the definition says is reported: in the access log and in a metric. `prevent` refuses it."
        }
        Validation::Refuse => "What is not as the definition says is refused. `detect` only reports it.",
    };
    let parameters = Block::policy("validate-parameters").text("specified-parameter-action", action).comment(what);
    let parameters = ("[[inbound]]", Block { off, ..parameters });
    if off { vec![parameters] } else { vec![parameters, ("[[inbound]]", content(action))] }
}

/// What checks answers, behind the policies that make them what callers see; operations with policies of their own for answers are left out.
pub fn answers(
    validation: Validation,
    names: &[String],
    refused: &[Option<String>],
    lists: &[Vec<usize>],
    scoped: &[Converted],
) -> Vec<(&'static str, Block)> {
    if validation == Validation::Suggested {
        return Vec::new();
    }
    let own = |place: usize| {
        let mut policies = lists[place].iter().filter_map(|number| scoped.get(*number));
        policies.any(|policy| policy.section == Section::Outbound && !policy.block.off)
    };
    let status = Block::policy("validate-status-code").text("unspecified-status-code-action", "detect");
    let status =
        status.comment("Answers are reported; `prevent` makes 502 of those that are not as the definition says.");
    let blocks = [status, content("detect")].into_iter();
    let blocks = blocks.filter_map(|block| only(block, names, refused, |place| !own(place)));
    blocks.map(|block| ("[[outbound]]", block)).collect()
}

fn content(action: &str) -> Block {
    let checks = ["json", "form"].map(|kind| format!("{{ validate-as = {}, action = {} }}", text(kind), text(action)));
    let size = if action == "prevent" { "prevent" } else { "detect" };
    Block::policy("validate-content")
        .text("unspecified-content-type-action", action)
        .text("size-exceeded-action", size)
        .raw("content", format!("[\n  {},\n]", checks.join(",\n  ")))
}
