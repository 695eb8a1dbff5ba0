//! What a page holds: its items, and what leads to the next one.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::json::{Document, Key, Kind, Node};
use crate::policy::link_field;

/// Where items, and what leads on, stand in a page.
pub(super) struct Shape {
    pub(super) items: Box<[Key]>,
    pub(super) onward: Onward,
    /// Whether the items alone are answered.
    pub(super) bare: bool,
}

/// What leads to the next page.
pub(super) enum Onward {
    /// A property with its URL.
    Link(Box<[Key]>),
    /// A header with it.
    Header(HeaderName),
    /// A property with what goes into a parameter of the query.
    Cursor { keys: Box<[Key]>, parameter: String },
}

impl Onward {
    fn read(&self, headers: &HeaderMap, document: &mut Document) -> Option<Node> {
        let found = match self {
            Self::Link(keys) | Self::Cursor { keys, .. } => document.root.at(keys),
            Self::Header(name) => return link_field::next(headers, name).map(Node::text),
        };
        found.filter(|node| matches!(node.kind(), Kind::Text | Kind::Number) && !node.to_text().is_empty()).cloned()
    }
}

/// A page that was read.
pub(super) struct Page {
    document: Document,
    /// What leads on from it, as it stands there; none when it is the last one.
    pub(super) onward: Option<Node>,
    /// How many items it has.
    pub(super) count: usize,
}

impl Page {
    /// Reads a page; none when it is none.
    pub(super) fn read(headers: &HeaderMap, text: &Bytes, shape: &Shape) -> Option<Self> {
        let mut document = Document::parse(text).ok()?;
        let count = document.root.at(&shape.items)?.items()?.len();
        let onward = shape.onward.read(headers, &mut document);
        Some(Self { document, onward, count })
    }

    /// Puts the items of the page that follows behind its own.
    pub(super) fn add(&mut self, mut other: Self, shape: &Shape) {
        self.onward = other.onward;
        self.count += other.count;
        let taken = other.document.root.at(&shape.items).and_then(Node::items).map(std::mem::take);
        if let Some(items) = self.document.root.at(&shape.items).and_then(Node::items) {
            items.extend(taken.unwrap_or_default());
        }
    }

    /// The answer: what leads on from its last page stands where that of the first one did.
    pub(super) fn finish(self, shape: &Shape, headers: &mut HeaderMap) -> Document {
        let Self { mut document, onward, .. } = self;
        if let Onward::Header(name) = &shape.onward {
            link_field::replace_next(headers, name, onward.as_ref().map(Node::to_text).as_deref());
        }
        if shape.bare {
            let items = document.root.at(&shape.items).map(|items| std::mem::replace(items, Node::null()));
            return Document { root: items.unwrap_or_else(Node::null) };
        }
        if let Onward::Link(keys) | Onward::Cursor { keys, .. } = &shape.onward {
            match onward {
                Some(onward) => drop(document.root.put(keys, onward)),
                None => drop(document.root.take(keys)),
            }
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Path;

    fn shape(items: &str, link: &str, bare: bool) -> Shape {
        let keys = |text: &str| Path::parse(text).unwrap().keys;
        Shape { items: keys(items), onward: Onward::Link(keys(link)), bare }
    }

    #[test]
    fn pages_are_joined() {
        struct Case {
            name: &'static str,
            items: &'static str,
            bare: bool,
            pages: &'static [&'static str],
            want: &'static str,
        }
        for Case { name, items, bare, pages, want } in [
            Case {
                name: "the first page's other members stay, and no link when all is there",
                items: "@body().value",
                bare: false,
                pages: &[r#"{"n":1.0,"value":[1.10,"a"],"next":"/2"}"#, r#"{"n":2,"value":[{"b":1}]}"#],
                want: r#"{"n":1.0,"value":[1.10,"a",{"b":1}]}"#,
            },
            Case {
                name: "the last link where there is more",
                items: "@body().value",
                bare: false,
                pages: &[r#"{"value":[1],"next":"/2"}"#, r#"{"value":[],"next":"/3"}"#],
                want: r#"{"value":[1],"next":"/3"}"#,
            },
            Case {
                name: "the items alone",
                items: "@body().d.results",
                bare: true,
                pages: &[r#"{"d":{"results":[1]},"next":"/2"}"#, r#"{"d":{"results":[2]},"next":null}"#],
                want: "[1,2]",
            },
        ] {
            let shape = shape(items, "next", bare);
            let mut read = pages
                .iter()
                .map(|text| Page::read(&HeaderMap::new(), &Bytes::from_static(text.as_bytes()), &shape).unwrap());
            let mut all = read.next().unwrap();
            read.for_each(|page| all.add(page, &shape));
            assert_eq!(all.finish(&shape, &mut HeaderMap::new()).write(), want, "{name}");
        }
    }

    #[test]
    fn what_is_a_page_and_what_leads_on() {
        let shape = shape("value", "next", false);
        for (text, want) in [
            (r#"{"value":[],"next":"/2"}"#, Some(Some(r#""/2""#))),
            (r#"{"value":[],"next":7}"#, Some(Some("7"))),
            (r#"{"value":[],"next":""}"#, Some(None)),
            (r#"{"value":[],"next":null}"#, Some(None)),
            (r#"{"value":[],"next":false}"#, Some(None)),
            (r#"{"value":[]}"#, Some(None)),
            (r#"{"value":{}}"#, None),
            (r#"{"error":"x"}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ] {
            let page = Page::read(&HeaderMap::new(), &Bytes::from_static(text.as_bytes()), &shape);
            let got = page.map(|page| page.onward.map(|node| Document { root: node }.write()));
            assert_eq!(got, want.map(|onward| onward.map(|text| Bytes::from_static(text.as_bytes()))), "{text}");
        }
    }
}
