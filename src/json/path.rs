//! Paths into a JSON body as connector templates write them: `@body().value`, `@item()['@odata.id']`, `people.age`.

use std::ops::Range;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A property.
    Name(Box<str>),
    /// An item, from 0.
    Index(usize),
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `@body()`: the whole body.
    Body,
    /// `@item()`: the item that is being worked on.
    Item,
    /// Nothing written: what the policy works on.
    Here,
}

/// A path into a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub root: Root,
    /// The way from there.
    pub keys: Box<[Key]>,
}

/// What is wrong with a path, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The bytes that are wrong.
    pub range: Range<usize>,
    /// What is wrong with them.
    pub message: &'static str,
}

/// The words that begin a path, and what they stand for. A polling trigger's body is the body of its answer.
const ROOTS: [(&str, Root); 3] = [("body", Root::Body), ("item", Root::Item), ("triggerBody", Root::Body)];

impl Path {
    /// Reads a path. The published templates write the root in several ways, all of which are read: `@body()`, `body()` without
    /// `@`, `@body` without parentheses, in any case. Other text is a path from where the policy works; one that begins with
    /// `@` and none of these words is the name of a single property (`@odata.nextLink`).
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let trimmed = text.trim_end();
        let start = trimmed.len() - trimmed.trim_start().len();
        let rest = &trimmed[start..];
        if let Some((root, length)) = root(rest) {
            let keys = keys(trimmed, start + length, false)?;
            return Ok(Self { root, keys });
        }
        if rest.starts_with('@') {
            return Ok(Self { root: Root::Here, keys: [Key::Name(rest.into())].into() });
        }
        Ok(Self { root: Root::Here, keys: keys(trimmed, start, true)? })
    }

    /// Whether nothing is written.
    pub fn is_here(&self) -> bool {
        self.root == Root::Here && self.keys.is_empty()
    }
}

/// The root that a text begins with, and its length.
pub(crate) fn root(text: &str) -> Option<(Root, usize)> {
    let at = usize::from(text.starts_with('@'));
    for (word, root) in ROOTS {
        if !text.get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word)) {
            continue;
        }
        let after = at + word.len();
        if text[after..].starts_with("()") {
            return Some((root, after + 2));
        }
        // Without `@` and parentheses it is the name of a property.
        if at == 1 && matches!(text.as_bytes().get(after), None | Some(b'.' | b'[')) {
            return Some((root, after));
        }
    }
    None
}

/// The steps from `at` to the end of the text. The `first` one is a name without a dot before it where no root is written.
fn keys(text: &str, mut at: usize, mut first: bool) -> Result<Box<[Key]>, PathError> {
    let bytes = text.as_bytes();
    let mut keys = Vec::new();
    while at < text.len() {
        // `?.x` and `?['x']`: what is missing is missing either way.
        if bytes[at] == b'?' {
            at += 1;
        }
        match bytes.get(at) {
            Some(b'[') => {
                let (key, end) = bracket(text, at)?;
                keys.push(key);
                at = end;
            }
            found => {
                if found == Some(&b'.') {
                    at += 1;
                } else if !first {
                    return Err(PathError { range: at..text.len(), message: "expected `.` or `[`" });
                }
                let length = text[at..].find(['.', '[', '?']).unwrap_or(text.len() - at);
                if length == 0 {
                    return Err(PathError { range: at..text.len(), message: "expected the name of a property" });
                }
                keys.push(Key::Name(text[at..at + length].into()));
                at += length;
            }
        }
        first = false;
    }
    Ok(keys.into())
}

/// `['name']`, `["name"]` or `[0]`, and where it ends.
fn bracket(text: &str, open: usize) -> Result<(Key, usize), PathError> {
    let rest = &text[open + 1..];
    let unclosed = || PathError { range: open..text.len(), message: "the `[` is never closed" };
    if let Some(quote @ ('\'' | '"')) = rest.chars().next() {
        let inner = &rest[1..];
        let end = inner.find(quote).ok_or_else(unclosed)?;
        let name = &inner[..end];
        if !inner[end + 1..].starts_with(']') {
            return Err(unclosed());
        }
        return Ok((Key::Name(name.into()), open + 1 + 1 + end + 2));
    }
    let end = rest.find(']').ok_or_else(unclosed)?;
    let index = rest[..end].trim().parse().map_err(|_| PathError {
        range: open..open + end + 2,
        message: "expected a name in single quotes or the number of an item",
    })?;
    Ok((Key::Index(index), open + 1 + end + 1))
}
