//! A JSON document that is opened only where somebody looks.

use std::borrow::Cow;

use bytes::Bytes;

use super::path::Key;
use super::scan::{self, JsonError, skip_space, skip_string, skip_value};

/// A JSON text that was checked, and may be changed.
#[derive(Debug)]
pub struct Document {
    /// The outermost value.
    pub root: Node,
}

impl Document {
    /// Checks a text. A byte-order mark is left out: Windows tools write one, and RFC 8259 §8.1 lets a reader ignore it.
    pub fn parse(text: &Bytes) -> Result<Self, JsonError> {
        let start = if text.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let text = text.slice(start..);
        let place = scan::check(&text)?;
        Ok(Self { root: Node::Raw(text.slice(place)) })
    }

    /// The document as text.
    pub fn write(&self) -> Bytes {
        match &self.root {
            Node::Raw(text) => text.clone(),
            root => {
                let mut out = Vec::with_capacity(root.length());
                root.write(&mut out);
                Bytes::from(out)
            }
        }
    }
}

/// A value: as it came, or opened.
#[derive(Clone, Debug)]
pub enum Node {
    /// Its text, checked and without space around it.
    Raw(Bytes),
    /// An array that was opened.
    Array(Vec<Node>),
    /// An object that was opened.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Member {
    /// The key as JSON text, with its quotes.
    key: Bytes,
    /// The value.
    pub value: Node,
}

impl Member {
    /// A member of this name.
    pub fn new(name: &str, value: Node) -> Self {
        Self { key: quoted(name), value }
    }

    /// The name.
    pub fn name(&self) -> Cow<'_, str> {
        unquoted(&self.key)
    }

    /// The name as a value.
    pub fn name_node(&self) -> Node {
        Node::Raw(self.key.clone())
    }

    fn is(&self, name: &str) -> bool {
        let inner = &self.key[1..self.key.len() - 1];
        inner == name.as_bytes() || (inner.contains(&b'\\') && self.name() == name)
    }
}

/// What kind of value a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Node {
    /// Null.
    pub fn null() -> Self {
        Self::Raw(Bytes::from_static(b"null"))
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Raw(quoted(text))
    }

    /// A value from its JSON text.
    pub fn parse(text: &Bytes) -> Result<Self, JsonError> {
        Document::parse(text).map(|document| document.root)
    }

    /// What kind of value it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
            Self::Raw(text) => match text.first() {
                Some(b'{') => Kind::Object,
                Some(b'[') => Kind::Array,
                Some(b'"') => Kind::Text,
                Some(b't' | b'f') => Kind::Bool,
                Some(b'n') | None => Kind::Null,
                Some(_) => Kind::Number,
            },
        }
    }

    /// The text of a text.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Raw(text) if text.first() == Some(&b'"') => Some(unquoted(text)),
            _ => None,
        }
    }

    /// The value inside text: a text as it is, nothing for null, all else as JSON.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Raw(text) => match text.first() {
                Some(b'"') => unquoted(text),
                Some(b'n') | None => Cow::Borrowed(""),
                Some(_) => String::from_utf8_lossy(text),
            },
            opened => {
                let mut out = Vec::with_capacity(opened.length());
                opened.write(&mut out);
                Cow::Owned(String::from_utf8_lossy(&out).into_owned())
            }
        }
    }

    /// The items, when it is an array.
    pub fn items(&mut self) -> Option<&mut Vec<Self>> {
        self.open();
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, when it is an object.
    pub fn members(&mut self) -> Option<&mut Vec<Member>> {
        self.open();
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The value of a property or an item. Of several members with one name the last counts, as most readers have it.
    pub fn get(&mut self, key: &Key) -> Option<&mut Self> {
        match key {
            Key::Index(index) => self.items()?.get_mut(*index),
            Key::Name(name) => {
                let member = self.members()?.iter_mut().rev().find(|member| member.is(name))?;
                Some(&mut member.value)
            }
        }
    }

    /// The value at the end of a path.
    pub fn at(&mut self, keys: &[Key]) -> Option<&mut Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Puts a value at the end of a path, in place of what is there or as a new last member. Nothing happens, and the answer
    /// is `false`, where the object or the array that should hold it is not there.
    pub fn put(&mut self, keys: &[Key], value: Self) -> bool {
        let Some((last, before)) = keys.split_last() else {
            *self = value;
            return true;
        };
        let Some(holder) = self.at(before) else { return false };
        match last {
            Key::Index(index) => match holder.items().and_then(|items| items.get_mut(*index)) {
                Some(old) => *old = value,
                None => return false,
            },
            Key::Name(name) => {
                let Some(members) = holder.members() else { return false };
                match members.iter().rposition(|member| member.is(name)) {
                    None => members.push(Member::new(name, value)),
                    Some(at) => {
                        members[at].value = value;
                        forget_earlier(members, name, at);
                    }
                }
            }
        }
        true
    }

    /// Takes the value at the end of a path out of what holds it.
    pub fn take(&mut self, keys: &[Key]) -> Option<Self> {
        let (last, before) = keys.split_last()?;
        let holder = self.at(before)?;
        match last {
            Key::Index(index) => {
                let items = holder.items()?;
                (*index < items.len()).then(|| items.remove(*index))
            }
            Key::Name(name) => {
                let members = holder.members()?;
                let at = members.iter().rposition(|member| member.is(name))?;
                let taken = members.remove(at).value;
                forget_earlier(members, name, at);
                Some(taken)
            }
        }
    }

    /// Opens an array or an object, one level.
    fn open(&mut self) {
        let Self::Raw(text) = self else { return };
        let opened = match text.first() {
            Some(b'[') => {
                let mut items = Vec::new();
                each(text, |at| {
                    let end = skip_value(text, at);
                    items.push(Self::Raw(text.slice(at..end)));
                    end
                });
                Self::Array(items)
            }
            Some(b'{') => {
                let mut members = Vec::new();
                each(text, |at| {
                    let end = skip_string(text, at);
                    let key = text.slice(at..end);
                    let colon = skip_space(text, end);
                    let at = skip_space(text, colon + 1);
                    let end = skip_value(text, at);
                    members.push(Member { key, value: Self::Raw(text.slice(at..end)) });
                    end
                });
                Self::Object(members)
            }
            _ => return,
        };
        *self = opened;
    }

    /// How long its text is, or a little more.
    pub fn length(&self) -> usize {
        match self {
            Self::Raw(text) => text.len(),
            Self::Array(items) => items.iter().map(|item| item.length() + 1).sum::<usize>() + 2,
            Self::Object(members) => {
                members.iter().map(|member| member.key.len() + member.value.length() + 2).sum::<usize>() + 2
            }
        }
    }

    /// Writes its text: what was opened compactly, all else as it came.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(text) => out.extend_from_slice(text),
            Self::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&member.key);
                    out.push(b':');
                    member.value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Removes the members of a name before `at`: a reader for whom the first one counts must not see what was replaced.
fn forget_earlier(members: &mut Vec<Member>, name: &str, at: usize) {
    let mut place = 0..;
    members.retain(|member| place.next().is_none_or(|place| place >= at) || !member.is(name));
}

/// Visits what an array or an object holds; `visit` answers where the item that begins at its argument ends.
fn each(text: &[u8], mut visit: impl FnMut(usize) -> usize) {
    let mut at = skip_space(text, 1);
    while !matches!(text.get(at), None | Some(b']' | b'}')) {
        at = skip_space(text, visit(at));
        if text.get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
    }
}

fn quoted(text: &str) -> Bytes {
    // Writing a text to memory does not fail.
    Bytes::from(serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec()))
}

/// The text of a checked text with its quotes.
pub(super) fn unquoted(text: &[u8]) -> Cow<'_, str> {
    let inner = &text[1..text.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return String::from_utf8_lossy(inner);
    }
    // The text was checked.
    Cow::Owned(serde_json::from_slice(text).unwrap_or_default())
}
