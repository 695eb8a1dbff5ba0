//! Building a router, and finding the operations and APIs that no request could tell apart.

use std::collections::HashMap;

use http::{HeaderName, Method};

use super::host::HostPattern;
use super::router::{Entry, Operation, Router, Slot};
use super::template::{QueryPart, Segment, Template, TemplateError};
use super::trie::{Index, NONE, Trie, next_index};

/// Conflicts kept for the report; a configuration with more has one mistake many times over.
const MAX_CONFLICTS: usize = 1_000;

/// The base path of an API: literal segments in normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(Box<[Box<str>]>);

impl BasePath {
    /// Parses `/orders`, `/sales/eu/` or `/`.
    ///
    /// # Errors
    /// Where the path is wrong and what would be accepted.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let path = source.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/')).unwrap_or(source);
        if let Some(mark) = path.find('?') {
            return Err(TemplateError::new(mark..path.len(), "a base path has no query", "remove it"));
        }
        let template = Template::parse(path)?;
        let mut at = 1;
        let mut segments = Vec::new();
        for (segment, text) in template.segments().iter().zip(path[1..].split('/')) {
            let span = at..at + text.len();
            at = span.end + 1;
            match segment {
                Segment::Literal(literal) if !literal.is_empty() => segments.push(literal.clone()),
                Segment::Literal(_) => {
                    return Err(TemplateError::new(
                        at - 2..at - 1,
                        "a base path has an empty segment",
                        "write one `/`",
                    ));
                }
                _ => {
                    let hint = "write literal text here, and variables in the operations' templates";
                    return Err(TemplateError::new(span, "a base path has no variables", hint));
                }
            }
        }
        Ok(Self(segments.into()))
    }
}

/// Where a request names the version of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionScheme {
    /// The segment after the base path: `/orders/v2/…`.
    PathAfter,
    /// The segment before the base path: `/v2/orders/…`.
    PathBefore,
    /// A header.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
}

/// One version of an API. Versions are compared without ASCII case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    scheme: VersionScheme,
    name: Box<str>,
}

impl Version {
    /// A version by its name.
    ///
    /// # Errors
    /// The name is empty, or cannot be a path segment where the path holds it.
    pub fn new(scheme: VersionScheme, name: &str) -> Result<Self, TemplateError> {
        let whole = 0..name.len();
        if name.trim().is_empty() {
            let hint = "leave the version out for the API that answers without one";
            return Err(TemplateError::new(whole, "a version has no name", hint));
        }
        if !matches!(scheme, VersionScheme::PathAfter | VersionScheme::PathBefore) {
            return Ok(Self { scheme, name: name.into() });
        }
        let template = Template::parse(&format!("/{name}")).ok();
        match template.as_ref().map(|template| (template.segments(), template.query())) {
            Some(([Segment::Literal(literal)], [])) => Ok(Self { scheme, name: literal.clone() }),
            _ => Err(TemplateError::new(whole, format!("`{name}` is not one path segment"), "write `v2`")),
        }
    }
}

/// An API in a builder, to add operations to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiHandle(Index);

/// A mistake in what a router was built from. The one declared first answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict<A, O> {
    /// Two operations with the same method and template.
    Duplicate {
        /// The API of both.
        api: A,
        /// The operation that answers.
        first: O,
        /// The operation that never does.
        second: O,
    },
    /// Two operations that match the same request, with nothing but their order to decide.
    Ambiguous {
        /// The API of both.
        api: A,
        /// The operation that answers.
        first: O,
        /// The operation that does not.
        second: O,
        /// In what they are alike.
        overlap: Overlap,
    },
    /// Two APIs with the same host, base path and version.
    ShadowedApi {
        /// The API that answers.
        first: A,
        /// The API that never does on this host.
        second: A,
        /// The host.
        host: HostPattern,
    },
    /// Two APIs with the same host and base path that tell their versions apart in different ways.
    VersionSchemes {
        /// The API whose scheme counts.
        first: A,
        /// The API whose version can never be asked for.
        second: A,
        /// The host.
        host: HostPattern,
    },
}

/// In what two ambiguous operations are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Their templates differ only in the names of the variables.
    VariableNames,
    /// Patterns in one segment match the same text and have equally much literal text: `{a}-{b}` and `{a}.{b}`.
    Patterns,
    /// Their query parameters differ, but one request can have both and they are equally many.
    Query,
}

/// A router and the conflicts found on the way.
#[derive(Debug)]
pub struct Build<A, O> {
    /// The router; usable with conflicts too.
    pub router: Router<A, O>,
    /// What the configuration should be refused for.
    pub conflicts: Vec<Conflict<A, O>>,
}

/// An operation below a part-segment pattern.
struct BelowPattern {
    operation: Index,
    entry: Index,
    /// The segments of its template after the pattern.
    after: usize,
}

/// Collects APIs and operations.
pub struct Builder<A, O> {
    router: Router<A, O>,
    conflicts: Vec<Conflict<A, O>>,
    /// For each child of a pattern, the operations below it.
    below: HashMap<Index, Vec<BelowPattern>>,
}

impl<A: Copy, O: Copy> Builder<A, O> {
    pub(super) fn new() -> Self {
        let mut trie = Trie::default();
        let [hosts, suffixes, any] = std::array::from_fn(|_| trie.add_node());
        let router = Router {
            trie,
            hosts,
            suffixes,
            has_suffixes: false,
            any,
            slots: Vec::new(),
            entries: Vec::new(),
            operations: Vec::new(),
        };
        Self { router, conflicts: Vec::new(), below: HashMap::new() }
    }

    /// Adds an API, on any host when `hosts` is empty. Without a version it answers requests that name none.
    pub fn api(&mut self, id: A, hosts: &[HostPattern], base: &BasePath, version: Option<&Version>) -> ApiHandle {
        let root = self.router.trie.add_node();
        let entry = next_index(&self.router.entries);
        self.router.entries.push(Entry { api: id, root });
        let hosts = if hosts.is_empty() { &[HostPattern::Any] } else { hosts };
        for host in hosts {
            self.place(entry, host, base, version);
        }
        ApiHandle(entry)
    }

    fn place(&mut self, entry: Index, host: &HostPattern, base: &BasePath, version: Option<&Version>) {
        let router = &mut self.router;
        let root = match host {
            HostPattern::Any => router.any,
            HostPattern::Exact(name) => router.trie.add_literal(router.hosts, name),
            HostPattern::Suffix(suffix) => {
                router.has_suffixes = true;
                router.trie.add_literal(router.suffixes, suffix)
            }
        };
        let base: Vec<&str> = base.0.iter().map(|segment| &**segment).collect();
        let Some(Version { scheme, name }) = version else {
            let slot = self.slot(root, &base, entry);
            self.answer(slot, entry, host);
            return;
        };
        let slot = self.slot(root, &base, entry);
        let owner = self.router.slots[slot].owner;
        match &self.router.slots[slot].scheme {
            Some(known) if known != scheme => {
                let second = self.router.entries[entry as usize].api;
                self.report(Conflict::VersionSchemes { first: owner, second, host: host.clone() });
                return;
            }
            Some(_) => {}
            None => self.router.slots[slot].scheme = Some(scheme.clone()),
        }
        let versioned: Vec<&str> = match scheme {
            VersionScheme::PathAfter => base.iter().copied().chain([&**name]).collect(),
            VersionScheme::PathBefore => [&**name].into_iter().chain(base.iter().copied()).collect(),
            VersionScheme::Header(_) | VersionScheme::Query(_) => {
                let router = &mut self.router;
                if router.slots[slot].versions == NONE {
                    router.slots[slot].versions = router.trie.add_node();
                }
                let node = router.trie.add_literal(router.slots[slot].versions, name);
                let known = router.trie.node(node).slot;
                if known == NONE {
                    router.trie.node_mut(node).slot = entry;
                } else {
                    self.shadowed(known, entry, host);
                }
                return;
            }
        };
        let slot = self.slot(root, &versioned, entry);
        self.answer(slot, entry, host);
    }

    /// The slot at a base path, made if need be.
    fn slot(&mut self, root: Index, base: &[&str], entry: Index) -> usize {
        let router = &mut self.router;
        let node = base.iter().fold(root, |node, segment| router.trie.add_literal(node, segment));
        if router.trie.node(node).slot == NONE {
            router.trie.node_mut(node).slot = next_index(&router.slots);
            let owner = router.entries[entry as usize].api;
            router.slots.push(Slot { entry: NONE, scheme: None, versions: NONE, owner });
        }
        router.trie.node(node).slot as usize
    }

    fn answer(&mut self, slot: usize, entry: Index, host: &HostPattern) {
        let known = self.router.slots[slot].entry;
        if known == NONE {
            self.router.slots[slot].entry = entry;
        } else {
            self.shadowed(known, entry, host);
        }
    }

    fn shadowed(&mut self, known: Index, entry: Index, host: &HostPattern) {
        // A host that is listed twice for one API does no harm.
        if known != entry {
            let [first, second] = [known, entry].map(|entry| self.router.entries[entry as usize].api);
            self.report(Conflict::ShadowedApi { first, second, host: host.clone() });
        }
    }

    /// Adds an operation to an API.
    pub fn operation(&mut self, api: ApiHandle, method: Method, template: &Template, id: O) {
        let trie = &mut self.router.trie;
        let index = next_index(&self.router.operations);
        let mut node = self.router.entries[api.0 as usize].root;
        let mut is_wildcard = false;
        let mut is_rest = false;
        for (position, segment) in template.segments().iter().enumerate() {
            match segment {
                Segment::Literal(text) => node = trie.add_literal(node, text),
                Segment::Variable => node = trie.add_variable(node),
                Segment::Pattern(pattern) => {
                    node = trie.add_pattern(node, pattern);
                    let below = BelowPattern { operation: index, entry: api.0, after: position + 1 };
                    self.below.entry(node).or_default().push(below);
                }
                Segment::Rest => is_rest = true,
                Segment::Wildcard => {
                    is_rest = true;
                    is_wildcard = true;
                }
            }
        }
        let known = if is_rest { trie.node(node).rest } else { trie.node(node).leaf };
        let leaf = if known == NONE { trie.add_leaf() } else { known };
        if is_rest {
            trie.node_mut(node).rest = leaf;
        } else {
            trie.node_mut(node).leaf = leaf;
        }
        let has_query = !template.query().is_empty();
        self.router.operations.push(Operation { method, id, has_query, is_wildcard, template: template.clone() });
        self.compare(api.0, leaf, index);
        let operations = &self.router.operations;
        let leaf = &mut self.router.trie.leaves[leaf as usize];
        let own = rank(template);
        let place = leaf.partition_point(|&other| rank(&operations[other as usize].template) >= own);
        leaf.insert(place, index);
    }

    /// Reports the operations of a leaf that the new one cannot be told from.
    fn compare(&mut self, entry: Index, leaf: Index, index: Index) {
        let api = self.router.entries[entry as usize].api;
        let new = &self.router.operations[index as usize];
        let mut found = Vec::new();
        for &other in self.router.trie.leaf(leaf) {
            let old = &self.router.operations[other as usize];
            if old.method != new.method {
                continue;
            }
            let (first, second) = (old.id, new.id);
            let (one, two) = (old.template.query(), new.template.query());
            if same_query(one, two) {
                found.push(if old.template.names() == new.template.names() {
                    Conflict::Duplicate { api, first, second }
                } else {
                    Conflict::Ambiguous { api, first, second, overlap: Overlap::VariableNames }
                });
            } else if rank(&old.template) == rank(&new.template) && queries_overlap(one, two) {
                found.push(Conflict::Ambiguous { api, first, second, overlap: Overlap::Query });
            }
        }
        found.into_iter().for_each(|conflict| self.report(conflict));
    }

    /// Finishes the router.
    pub fn build(mut self) -> Build<A, O> {
        self.compare_patterns();
        self.router.trie.shrink();
        Build { router: self.router, conflicts: self.conflicts }
    }

    fn compare_patterns(&mut self) {
        let mut found = Vec::new();
        for edges in &self.router.trie.patterns {
            for (position, one) in edges.iter().enumerate() {
                // Sorted by length: the equally long ones follow directly.
                let tied = edges[position + 1..]
                    .iter()
                    .take_while(|two| two.pattern.literal_len() == one.pattern.literal_len())
                    .filter(|two| two.pattern.overlaps(&one.pattern));
                for two in tied {
                    let below = |child| self.below.get(child).map_or(&[][..], Vec::as_slice);
                    for (first, second) in
                        below(&one.child).iter().flat_map(|first| below(&two.child).iter().map(move |two| (first, two)))
                    {
                        if found.len() < MAX_CONFLICTS && self.collide(first, second) {
                            // The pattern that stands first answers, whichever operation was declared first.
                            found.push((first.entry, first.operation, second.operation));
                        }
                    }
                }
            }
        }
        for (entry, first, second) in found {
            let api = self.router.entries[entry as usize].api;
            let [first, second] = [first, second].map(|index| self.router.operations[index as usize].id);
            self.report(Conflict::Ambiguous { api, first, second, overlap: Overlap::Patterns });
        }
    }

    fn collide(&self, first: &BelowPattern, second: &BelowPattern) -> bool {
        let [one, two] = [first, second].map(|below| &self.router.operations[below.operation as usize]);
        one.method == two.method
            && paths_overlap(&one.template.segments()[first.after..], &two.template.segments()[second.after..])
            && queries_overlap(one.template.query(), two.template.query())
    }

    fn report(&mut self, conflict: Conflict<A, O>) {
        if self.conflicts.len() < MAX_CONFLICTS {
            self.conflicts.push(conflict);
        }
    }
}

/// How specific the query of a template is.
fn rank(template: &Template) -> (usize, usize) {
    let query = template.query();
    (query.len(), query.iter().filter(|part| part.literal.is_some()).count())
}

fn same_query(one: &[QueryPart], two: &[QueryPart]) -> bool {
    one.len() == two.len() && one.iter().all(|part| two.contains(part))
}

/// Whether one request can have the query parameters of both.
fn queries_overlap(one: &[QueryPart], two: &[QueryPart]) -> bool {
    one.iter().all(|part| {
        let other = two.iter().find(|other| other.name == part.name);
        match other.map(|other| (&part.literal, &other.literal)) {
            Some((Some(one), Some(two))) => one == two,
            _ => true,
        }
    })
}

fn paths_overlap(one: &[Segment], two: &[Segment]) -> bool {
    match (one, two) {
        ([], []) => true,
        ([Segment::Wildcard, ..], _) | (_, [Segment::Wildcard, ..]) => true,
        ([], _) | (_, []) => false,
        ([Segment::Rest, ..], _) | (_, [Segment::Rest, ..]) => true,
        ([first, one @ ..], [second, two @ ..]) => first.overlaps(second) && paths_overlap(one, two),
    }
}
