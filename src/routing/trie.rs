//! The tree of path segments behind the router: nodes in one vector, all literal edges in one hash table.

use std::ops::Range;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::template::SegmentPattern;

/// An index into one of the router's vectors. `NONE` is no index.
pub(super) type Index = u32;
pub(super) const NONE: Index = u32::MAX;

/// Operations with the same path, the most specific query first: indexes into the router's operations.
pub(super) type Leaf = SmallVec<[Index; 4]>;

/// One position in the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The child for `{name}`.
    pub(super) variable: Index,
    /// The list of children for part-segment patterns.
    pub(super) patterns: Index,
    /// The leaf of the operations that end here.
    pub(super) leaf: Index,
    /// The leaf of the operations that take whatever follows.
    pub(super) rest: Index,
    /// The API slot of this base path.
    pub(super) slot: Index,
}

/// A literal segment from one node to another.
#[derive(Debug)]
struct Edge {
    parent: Index,
    child: Index,
    start: u32,
    len: u32,
}

/// A part-segment pattern from one node to another.
#[derive(Debug)]
pub(super) struct PatternEdge {
    pub(super) pattern: SegmentPattern,
    pub(super) child: Index,
}

#[derive(Debug, Default)]
pub(super) struct Trie {
    pub(super) nodes: Vec<Node>,
    pub(super) patterns: Vec<Vec<PatternEdge>>,
    pub(super) leaves: Vec<Leaf>,
    edges: HashTable<Edge>,
    /// The text of all edges.
    text: String,
}

/// An index of the next element to be pushed. 2^32 - 1 nodes do not fit in the memory of a gateway.
pub(super) fn next_index<T>(items: &[T]) -> Index {
    Index::try_from(items.len()).unwrap_or(NONE)
}

impl Trie {
    pub(super) fn add_node(&mut self) -> Index {
        let index = next_index(&self.nodes);
        self.nodes.push(Node { variable: NONE, patterns: NONE, leaf: NONE, rest: NONE, slot: NONE });
        index
    }

    pub(super) fn node(&self, index: Index) -> &Node {
        &self.nodes[index as usize]
    }

    pub(super) fn node_mut(&mut self, index: Index) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// The child for a literal segment. ASCII case does not matter, as in Azure API Management.
    pub(super) fn literal(&self, parent: Index, segment: &str) -> Option<Index> {
        let hash = hash(parent, segment.as_bytes());
        self.edges.find(hash, |edge| edge.is(parent, segment, &self.text)).map(|edge| edge.child)
    }

    pub(super) fn add_literal(&mut self, parent: Index, segment: &str) -> Index {
        if let Some(child) = self.literal(parent, segment) {
            return child;
        }
        let child = self.add_node();
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(segment);
        let edge = Edge { parent, child, start, len: u32::try_from(segment.len()).unwrap_or(0) };
        let text = &self.text;
        self.edges.insert_unique(hash(parent, segment.as_bytes()), edge, |edge| {
            hash(edge.parent, edge.text(text).as_bytes())
        });
        child
    }

    pub(super) fn add_variable(&mut self, parent: Index) -> Index {
        if self.node(parent).variable == NONE {
            self.node_mut(parent).variable = self.add_node();
        }
        self.node(parent).variable
    }

    pub(super) fn add_pattern(&mut self, parent: Index, pattern: &SegmentPattern) -> Index {
        if self.node(parent).patterns == NONE {
            self.node_mut(parent).patterns = next_index(&self.patterns);
            self.patterns.push(Vec::new());
        }
        let list = self.node(parent).patterns as usize;
        if let Some(edge) = self.patterns[list].iter().find(|edge| edge.pattern.same_shape(pattern)) {
            return edge.child;
        }
        let child = self.add_node();
        let edges = &mut self.patterns[list];
        // More literal text first; among equals the first declared first.
        let place = edges.partition_point(|edge| edge.pattern.literal_len() >= pattern.literal_len());
        edges.insert(place, PatternEdge { pattern: pattern.clone(), child });
        child
    }

    pub(super) fn patterns(&self, node: &Node) -> &[PatternEdge] {
        self.patterns.get(node.patterns as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn leaf(&self, index: Index) -> &[Index] {
        self.leaves.get(index as usize).map_or(&[], SmallVec::as_slice)
    }

    pub(super) fn add_leaf(&mut self) -> Index {
        let index = next_index(&self.leaves);
        self.leaves.push(SmallVec::new());
        index
    }

    /// Gives back what growing left over.
    pub(super) fn shrink(&mut self) {
        let text = &self.text;
        self.edges.shrink_to_fit(|edge| hash(edge.parent, edge.text(text).as_bytes()));
        self.nodes.shrink_to_fit();
        self.leaves.shrink_to_fit();
        self.text.shrink_to_fit();
    }
}

impl Edge {
    fn text<'t>(&self, text: &'t str) -> &'t str {
        let start = self.start as usize;
        &text[start..start + self.len as usize]
    }

    fn is(&self, parent: Index, segment: &str, text: &str) -> bool {
        self.parent == parent && self.len as usize == segment.len() && self.text(text).eq_ignore_ascii_case(segment)
    }
}

/// A hash that is equal for texts that differ only in ASCII case. It may confuse a few punctuation marks as well; the
/// comparison after it does not. The keys come from the configuration, so nobody outside can make them collide.
fn hash(parent: Index, segment: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut state = mix(u64::from(parent) ^ FACTOR.rotate_left(32), segment.len() as u64);
    let mut words = segment.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        state = mix(state, word | LOWER);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        state = mix(state, u64::from_le_bytes(word) | LOWER);
    }
    mix(state, FACTOR >> 1)
}

/// The segment that begins at `at`, which is the byte after a `/`.
pub(super) fn segment(path: &str, at: usize) -> Range<usize> {
    let rest = &path.as_bytes()[at..];
    at..at + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())
}
