//! The router: matches a request to an API and an operation without allocating.

use http::{HeaderMap, Method};
use smallvec::SmallVec;

use super::builder::{Builder, VersionScheme};
use super::rewrite::Value;
use super::template::Template;
use super::trie::{self, Index, NONE, Trie};
use super::{host, query};

/// The longest host name there is (RFC 1035 §2.3.4); longer ones are not looked up by suffix.
const MAX_HOST: usize = 253;

/// Everything that requests can be matched to. `A` and `O` are the caller's small ids of APIs and operations.
#[derive(Debug)]
pub struct Router<A, O> {
    pub(super) trie: Trie,
    /// The node whose edges are host names.
    pub(super) hosts: Index,
    /// The node whose edges are host suffixes.
    pub(super) suffixes: Index,
    pub(super) has_suffixes: bool,
    /// The root of the APIs that answer on any host.
    pub(super) any: Index,
    pub(super) slots: Vec<Slot<A>>,
    pub(super) entries: Vec<Entry<A>>,
    pub(super) operations: Vec<Operation<O>>,
}

/// What answers at one base path of one host.
#[derive(Debug)]
pub(super) struct Slot<A> {
    /// The API without a version, or the only version that the path itself names.
    pub(super) entry: Index,
    /// How the other versions are told apart.
    pub(super) scheme: Option<VersionScheme>,
    /// The node whose edges are versions, for header and query; their `slot` is an entry.
    pub(super) versions: Index,
    /// The API that an unknown version is counted for.
    pub(super) owner: A,
}

/// One API (one version of it).
#[derive(Debug)]
pub(super) struct Entry<A> {
    pub(super) api: A,
    /// The root of its operations.
    pub(super) root: Index,
}

#[derive(Debug)]
pub(super) struct Operation<O> {
    pub(super) method: Method,
    pub(super) id: O,
    pub(super) has_query: bool,
    /// Ends in `*`, which takes nothing as well and captures nothing.
    pub(super) is_wildcard: bool,
    pub(super) template: Template,
}

/// Where the value of a variable is in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    in_query: bool,
    start: u32,
    end: u32,
}

impl Capture {
    fn new(in_query: bool, span: std::ops::Range<usize>) -> Self {
        let [start, end] = [span.start, span.end].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        Self { in_query, start, end }
    }

    /// The value, from the path and query that were routed.
    pub fn value<'r>(&self, path: &'r str, query: Option<&'r str>) -> Value<'r> {
        let span = self.start as usize..self.end as usize;
        if self.in_query {
            Value::Query(query.and_then(|query| query.get(span)).unwrap_or_default())
        } else {
            Value::Path(path.get(span).unwrap_or_default())
        }
    }
}

/// The API and operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<A, O> {
    /// The API.
    pub api: A,
    /// The operation.
    pub operation: O,
    /// How many bytes of the path are the API's base path, with the version if the path holds it. The rest, empty or from
    /// a `/` on, is the operation's.
    pub base_len: usize,
    /// Where the values of the operation's variables are, in the order of [`Template::names`].
    pub captures: SmallVec<[Capture; 4]>,
    index: Index,
}

/// Why there is no operation. The answer is 404 in every case, as Azure API Management's; the log tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss<A> {
    /// No API has this host and path.
    NoApi,
    /// The API has no operation with this path, or none whose query parameters the request has.
    NoOperation {
        /// The API.
        api: A,
    },
    /// The API has operations with this path, but none with this method.
    WrongMethod {
        /// The API.
        api: A,
        /// The methods that would match, each once.
        allowed: Vec<Method>,
    },
    /// The API has versions and the request names none of them.
    UnknownVersion {
        /// An API of the version set.
        api: A,
    },
}

impl<A: Copy> Miss<A> {
    /// The API that the request was for, as far as it is known: its policies may answer a preflight.
    pub fn api(&self) -> Option<A> {
        match *self {
            Self::NoApi => None,
            Self::NoOperation { api } | Self::WrongMethod { api, .. } | Self::UnknownVersion { api } => Some(api),
        }
    }
}

impl<A: Copy, O: Copy> Router<A, O> {
    /// Starts a router.
    pub fn builder() -> Builder<A, O> {
        Builder::new()
    }

    /// Finds the operation of a request.
    ///
    /// `host` is an authority, with or without a port; `path` must be in the form that [`normalise`](super::normalise)
    /// gives. The host is matched exactly, then by its longest `*.suffix`, then as any host; a less specific host takes
    /// part only when the more specific one has no API for the path. The longest base path of whole segments decides
    /// the API, and no shorter one is tried when that API has no such operation, as in Azure API Management.
    ///
    /// Operations are matched segment by segment with backtracking: literal text, then part-segment patterns with more
    /// literal text first, then `{name}`, then a catch-all; with equal paths, the one with more query parameters and
    /// then more literal query values first. Literal path text is compared without ASCII case; query parameters with
    /// it. A variable is never empty. A slash at the end of the request is ignored unless a template has it.
    ///
    /// # Errors
    /// See [`Miss`]. Only a miss allocates.
    pub fn route(
        &self,
        host: &str,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Match<A, O>, Miss<A>> {
        let Some((slot, base_len)) = self.find(host, |root| self.longest_base(root, path)) else {
            return Err(self.without_version(host, path));
        };
        let Some(entry) = self.version(slot, query, headers) else {
            return Err(Miss::UnknownVersion { api: slot.owner });
        };
        let Entry { api, root } = self.entries[entry as usize];
        let mut search = Search { router: self, path, query, goal: Goal::Method(method), captures: SmallVec::new() };
        if let Some(index) = search.walk(root, base_len) {
            let operation = self.operations[index as usize].id;
            return Ok(Match { api, operation, base_len, captures: search.captures, index });
        }
        search.goal = Goal::Allowed(Vec::new());
        search.walk(root, base_len);
        Err(match search.goal {
            Goal::Allowed(allowed) if !allowed.is_empty() => Miss::WrongMethod { api, allowed },
            _ => Miss::NoOperation { api },
        })
    }

    /// The template that matched.
    pub fn template(&self, found: &Match<A, O>) -> &Template {
        &self.operations[found.index as usize].template
    }

    /// The value of a variable by name, for scopes that do not know the operation. Names are compared with their case.
    pub fn parameter<'r>(
        &self,
        found: &Match<A, O>,
        name: &str,
        path: &'r str,
        query: Option<&'r str>,
    ) -> Option<Value<'r>> {
        let position = self.template(found).names().iter().position(|known| **known == *name)?;
        Some(found.captures.get(position)?.value(path, query))
    }

    /// Tries the roots of the hosts that the request matches, the most specific first.
    fn find<T>(&self, authority: &str, mut attempt: impl FnMut(Index) -> Option<T>) -> Option<T> {
        let host = host::without_port(authority);
        if let Some(found) = self.trie.literal(self.hosts, host).and_then(&mut attempt) {
            return Some(found);
        }
        if self.has_suffixes && host.len() <= MAX_HOST {
            // The label before the suffix is never empty.
            for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
                if let Some(found) = self.trie.literal(self.suffixes, &host[dot..]).and_then(&mut attempt) {
                    return Some(found);
                }
            }
        }
        attempt(self.any)
    }

    fn longest_base(&self, root: Index, path: &str) -> Option<(&Slot<A>, usize)> {
        let (mut node, mut at) = (root, 0);
        let mut longest = None;
        loop {
            if let Some(slot) = self.slots.get(self.trie.node(node).slot as usize) {
                longest = Some((slot, at));
            }
            if at >= path.len() {
                return longest;
            }
            let segment = trie::segment(path, at + 1);
            at = segment.end;
            let Some(child) = self.trie.literal(node, &path[segment]) else { return longest };
            node = child;
        }
    }

    fn version(&self, slot: &Slot<A>, query: Option<&str>, headers: &HeaderMap) -> Option<Index> {
        let named = match &slot.scheme {
            None | Some(VersionScheme::PathAfter | VersionScheme::PathBefore) => None,
            Some(VersionScheme::Header(name)) => match headers.get(name) {
                Some(value) => Some(std::borrow::Cow::Borrowed(value.to_str().ok()?)),
                None => None,
            },
            Some(VersionScheme::Query(name)) => query.and_then(|query| query::get(query, name)),
        };
        let entry = match named {
            Some(version) => self.trie.node(self.trie.literal(slot.versions, &version)?).slot,
            None => slot.entry,
        };
        (entry != NONE).then_some(entry)
    }

    /// What to say of a path without an API: with another first segment it may be an API whose version comes first.
    fn without_version(&self, host: &str, path: &str) -> Miss<A> {
        let rest = path.get(1..).and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
        let slot = rest.and_then(|rest| self.find(host, |root| self.longest_base(root, rest)));
        match slot {
            Some((Slot { scheme: Some(VersionScheme::PathBefore), owner, .. }, _)) => {
                Miss::UnknownVersion { api: *owner }
            }
            _ => Miss::NoApi,
        }
    }
}

/// What a walk through the operations looks for.
enum Goal<'s> {
    /// The first operation with this method.
    Method(&'s Method),
    /// Nothing; it collects the methods of all operations that match otherwise.
    Allowed(Vec<Method>),
}

struct Search<'s, A, O> {
    router: &'s Router<A, O>,
    path: &'s str,
    query: Option<&'s str>,
    goal: Goal<'s>,
    captures: SmallVec<[Capture; 4]>,
}

impl<A: Copy, O: Copy> Search<'_, A, O> {
    /// The operation below a node for the path from byte `at` on. Recursion is bounded by the longest template.
    fn walk(&mut self, index: Index, at: usize) -> Option<Index> {
        let trie = &self.router.trie;
        let node = *trie.node(index);
        if at >= self.path.len() {
            return self.leaf(node.leaf).or_else(|| self.rest(node.rest, at));
        }
        let span = trie::segment(self.path, at + 1);
        let segment = &self.path[span.clone()];
        if let Some(child) = trie.literal(index, segment)
            && let Some(found) = self.walk(child, span.end)
        {
            return Some(found);
        }
        if segment.is_empty() {
            if span.end == self.path.len()
                && let Some(found) = self.leaf(node.leaf)
            {
                return Some(found);
            }
            return self.rest(node.rest, at);
        }
        let mark = self.captures.len();
        for edge in trie.patterns(&node) {
            let captures = &mut self.captures;
            let push = |value: std::ops::Range<usize>| {
                captures.push(Capture::new(false, span.start + value.start..span.start + value.end));
            };
            if edge.pattern.captures(segment, push) {
                if let Some(found) = self.walk(edge.child, span.end) {
                    return Some(found);
                }
                self.captures.truncate(mark);
            }
        }
        if node.variable != NONE {
            self.captures.push(Capture::new(false, span.clone()));
            if let Some(found) = self.walk(node.variable, span.end) {
                return Some(found);
            }
            self.captures.truncate(mark);
        }
        self.rest(node.rest, at)
    }

    fn leaf(&mut self, leaf: Index) -> Option<Index> {
        let router = self.router;
        router.trie.leaf(leaf).iter().copied().find(|&index| self.accepts(&router.operations[index as usize]))
    }

    fn rest(&mut self, leaf: Index, at: usize) -> Option<Index> {
        let router = self.router;
        let start = (at + 1).min(self.path.len());
        let mark = self.captures.len();
        for &index in router.trie.leaf(leaf) {
            let operation = &router.operations[index as usize];
            if !operation.is_wildcard {
                if start == self.path.len() {
                    continue;
                }
                self.captures.push(Capture::new(false, start..self.path.len()));
            }
            if self.accepts(operation) {
                return Some(index);
            }
            self.captures.truncate(mark);
        }
        None
    }

    fn accepts(&mut self, operation: &Operation<O>) -> bool {
        if let Goal::Method(method) = self.goal
            && operation.method != *method
        {
            return false;
        }
        let mark = self.captures.len();
        if operation.has_query && !self.query_matches(&operation.template) {
            self.captures.truncate(mark);
            return false;
        }
        match &mut self.goal {
            Goal::Method(_) => true,
            Goal::Allowed(allowed) => {
                if !allowed.contains(&operation.method) {
                    allowed.push(operation.method.clone());
                }
                self.captures.truncate(mark);
                false
            }
        }
    }

    fn query_matches(&mut self, template: &Template) -> bool {
        let Some(query) = self.query else { return false };
        template.query().iter().all(|part| {
            let Some(pair) = query::find(query, &part.name) else { return false };
            match &part.literal {
                Some(literal) => query::decodes_to(pair.raw_value.unwrap_or_default(), literal),
                None => {
                    self.captures.push(Capture::new(true, pair.value_span()));
                    true
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
