//! Scopes laid over each other: which steps an operation runs, and in which order.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::CacheUse;
use super::cx::{CompileCx, Item, ScopeId, without_token};
use super::world::World;
use crate::config::Diagnostics;
use crate::config::folder::{Entry, RawPolicy, ScopeDocument};
use crate::config::source::{FileId, Sources};
use crate::pipeline::{Origin, Pipeline, Placed};
use crate::policy::Section;

/// The fragments of a configuration, by name.
pub type Fragments<'a, 'i> = HashMap<&'a str, &'a Entry<Vec<RawPolicy<'i>>>>;

/// What all scopes are compiled with.
pub struct Setting<'a, 'i> {
    /// The named things.
    pub world: &'a World,
    /// The files.
    pub sources: &'a Sources,
    /// The fragments.
    pub fragments: &'a Fragments<'a, 'i>,
}

/// A scope's own steps, compiled once and shared by every operation below it.
#[derive(Debug, Default)]
pub struct ScopeItems {
    sections: [Vec<Item>; 4],
    /// Whether the broader scopes run too.
    inherit: bool,
}

impl ScopeItems {
    /// Compiles the four sections of a scope.
    pub fn compile<'i>(
        document: &ScopeDocument<'i>,
        inherit: bool,
        scope: &ScopeId,
        file: FileId,
        setting: &Setting<'_, 'i>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut section = |section: Section, policies: &[RawPolicy<'i>]| {
            if policies.is_empty() {
                return Vec::new();
            }
            CompileCx::new(setting.world, setting.sources, diagnostics, setting.fragments, section, scope.clone(), file)
                .section(policies)
        };
        Self {
            sections: [
                section(Section::Inbound, &document.inbound),
                section(Section::Backend, &document.backend),
                section(Section::Outbound, &document.outbound),
                section(Section::OnError, &document.on_error),
            ],
            inherit,
        }
    }

    /// Whether some steps are for some operations only.
    pub fn tells_operations_apart(&self) -> bool {
        self.sections.iter().flatten().any(|item| matches!(item, Item::StepOf(..)))
    }

    /// Whether the scope adds nothing to the broader ones.
    pub fn adds_nothing(&self) -> bool {
        self.inherit && self.sections.iter().all(Vec::is_empty)
    }
}

/// The pipeline of the scopes, from the broadest to the narrowest, for an operation; and the steps of inbound that ask for a verified token
/// before any step gives one; and what it has of a cache of answers.
pub fn pipeline(scopes: &[&ScopeItems], operation: Option<&str>) -> (Pipeline, Vec<Arc<Origin>>, CacheUse) {
    let [inbound, backend, outbound, on_error] = Section::ALL.map(|section| effective(scopes, section, operation));
    let without_token = without_token(&inbound).cloned().collect();
    let caches = CacheUse::of(&inbound, &outbound);
    (Pipeline::new(inbound, backend, outbound, on_error), without_token, caches)
}

/// A narrower section runs the broader one first, or where it placed `base`; with `inherit = false` only where it did.
fn effective(scopes: &[&ScopeItems], section: Section, operation: Option<&str>) -> Vec<Placed> {
    let Some((narrowest, broader)) = scopes.split_last() else { return Vec::new() };
    let items = &narrowest.sections[section as usize];
    let placed = items.iter().any(|item| matches!(item, Item::Base));
    let mut steps = if placed || !narrowest.inherit { Vec::new() } else { effective(broader, section, operation) };
    for item in items {
        match item {
            Item::Step(step) => steps.push(step.clone()),
            Item::StepOf(step, names) => {
                if operation.is_some_and(|name| names.iter().any(|known| **known == *name)) {
                    steps.push(step.clone());
                }
            }
            Item::Base => steps.extend(effective(broader, section, operation)),
        }
    }
    steps
}
