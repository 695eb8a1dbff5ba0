//! The policies that an operation runs: of every scope, inside fragments and in the branches of `choose`.

use toml::de::{DeTable, DeValue};

use super::Source;
use crate::config::RawPolicy;
use crate::config::folder::{OperationDocument, ScopeDocument};
use crate::config::source::Location;
use crate::config::value::NESTED_MARK;

/// How deep branches are looked into.
const DEEP: usize = 16;

/// A policy that runs, or may.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    policy: &'a RawPolicy<'a>,
    /// Whether every request meets it: not those of one branch or of one product only.
    pub(super) certain: bool,
    /// The condition of the branch that it stands in, when that has one.
    condition: Option<&'a str>,
}

impl<'a> Found<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.policy.name.get_ref()
    }

    /// Where it is written, for people: `orders.toml:12`, and in which branch.
    pub(super) fn place(&self, source: &Source<'_>) -> String {
        let location = Location { file: self.policy.file, span: self.policy.name.span() };
        let place = source.sources.place(&location);
        match self.condition {
            Some(condition) => format!("{place}, where `{}`", condition.trim()),
            None => place,
        }
    }

    /// The texts of a key: the one that it holds, or those of a list.
    pub(super) fn texts(&self, key: &str) -> Vec<&'a str> {
        match self.value(key) {
            Some(DeValue::String(text)) => vec![text],
            Some(DeValue::Array(list)) => list.iter().filter_map(|item| item.get_ref().as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// The text of a key, or the first one of its list.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.texts(key).first().copied()
    }

    /// The conditions of its branches.
    pub(super) fn conditions(&self) -> Vec<&'a str> {
        self.tables("when").filter_map(|branch| text_of(branch, "condition")).collect()
    }

    /// The condition of one of the lists of policies inside it.
    fn condition_of(&self, number: usize) -> Option<&'a str> {
        let mark = format!("{NESTED_MARK}{number}");
        let branch = self.tables("when").find(|branch| text_of(branch, "policies") == Some(&mark))?;
        text_of(branch, "condition")
    }

    /// The tables of a list.
    pub(super) fn tables(&self, key: &str) -> impl Iterator<Item = &'a DeTable<'a>> {
        let list = match self.value(key) {
            Some(DeValue::Array(list)) => &list[..],
            _ => &[],
        };
        list.iter().filter_map(|item| match item.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        })
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        let found = self.policy.table.iter().find(|(name, _)| name.get_ref() == key);
        found.map(|(_, value)| value.get_ref())
    }
}

fn text_of<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a str> {
    table.iter().find(|(name, _)| name.get_ref() == key).and_then(|(_, value)| value.get_ref().as_str())
}

/// A section of a scope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Inbound,
    Backend,
    Outbound,
}

/// The policies of a section that an operation runs, in their order.
///
/// A caller comes by one of the API's products, or by none where no key is needed: what not all of them meet is not certain.
pub(super) fn policies<'a>(
    source: &Source<'a>,
    operation: &'a OperationDocument<'a>,
    section: Section,
) -> Vec<Found<'a>> {
    let api = source.api;
    let products: Vec<_> = source.products().collect();
    let mut ways: Vec<Option<_>> = products.iter().map(|product| Some(*product)).collect();
    if products.is_empty() || !source.needs_key() {
        ways.push(None);
    }
    let walk = Walk { source, operation: &operation.spec.name.value, section };
    let mut all: Vec<Vec<Found<'a>>> = ways
        .into_iter()
        .map(|product| {
            let mut scopes = vec![(&source.document.scope, true)];
            scopes.extend(product.map(|product| (&product.scope, product.spec.inherit.unwrap_or(true))));
            scopes.push((&api.scope, api.spec.inherit.unwrap_or(true)));
            scopes.push((&operation.scope, operation.spec.inherit.unwrap_or(true)));
            let mut found = Vec::new();
            walk.scopes(&scopes, &mut found);
            found
        })
        .collect();
    let mut out = all.pop().unwrap_or_default();
    let is_in = |list: &[Found<'a>], one: &Found<'a>| list.iter().any(|other| std::ptr::eq(other.policy, one.policy));
    for way in all {
        for one in &mut out {
            one.certain &= is_in(&way, one);
        }
        let new: Vec<_> = way.into_iter().filter(|one| !is_in(&out, one)).collect();
        out.extend(new.into_iter().map(|one| Found { certain: false, ..one }));
    }
    out
}

struct Walk<'w, 'a> {
    source: &'w Source<'a>,
    operation: &'w str,
    section: Section,
}

impl<'a> Walk<'_, 'a> {
    /// A narrower section runs the broader one first, or where it placed `base`; with `inherit = false` only where it did.
    fn scopes(&self, scopes: &[(&'a ScopeDocument<'a>, bool)], out: &mut Vec<Found<'a>>) {
        let Some(((scope, inherit), broader)) = scopes.split_last() else { return };
        let list: &'a [RawPolicy<'a>] = match self.section {
            Section::Inbound => &scope.inbound,
            Section::Backend => &scope.backend,
            Section::Outbound => &scope.outbound,
        };
        let is_base = |policy: &&RawPolicy<'_>| policy.name.get_ref() == "base";
        if *inherit && !list.iter().any(|policy| is_base(&policy)) {
            self.scopes(broader, out);
        }
        for policy in list {
            match is_base(&policy) {
                true => self.scopes(broader, out),
                false => self.policy(Found { policy, certain: true, condition: None }, DEEP, out),
            }
        }
    }

    fn policy(&self, found: Found<'a>, deep: usize, out: &mut Vec<Found<'a>>) {
        let Found { policy, certain, condition } = found;
        let is_here =
            policy.operations.as_ref().is_none_or(|names| names.iter().any(|name| name.get_ref() == self.operation));
        if !is_here || deep == 0 {
            return;
        }
        out.push(found);
        let fragment = found.text("fragment").filter(|_| found.name() == "include-fragment");
        let fragments = &self.source.document.fragments;
        let fragment = fragment.and_then(|name| fragments.iter().find(|one| one.name.get_ref() == name));
        for inner in fragment.into_iter().flat_map(|fragment| &fragment.spec) {
            self.policy(Found { policy: inner, certain, condition }, deep - 1, out);
        }
        // One of the branches runs, or none.
        for (number, branch) in policy.nested.iter().enumerate() {
            let condition = found.condition_of(number).or(condition);
            for inner in branch {
                self.policy(Found { policy: inner, certain: false, condition }, deep - 1, out);
            }
        }
    }
}
