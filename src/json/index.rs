//! A JSON text with a list of where its values stand, to be read many times without copying any of it.

use std::borrow::Cow;

use super::document::{Kind, unquoted};
use super::scan::{self, JsonError, skip_string, skip_value};

/// A text that was checked, and where each of its values begins.
#[derive(Debug)]
pub struct Index<'t> {
    text: &'t [u8],
    tokens: Vec<Token>,
}

/// A value or a key.
#[derive(Clone, Copy, Debug)]
struct Token {
    /// Its first byte.
    start: u32,
    /// The number of the token behind it, and behind all that it holds.
    next: u32,
}

impl<'t> Index<'t> {
    /// Checks a text and lists its values. A byte-order mark is left out, as in [`Document`](super::Document).
    ///
    /// # Errors
    /// Why it is not JSON.
    pub fn parse(text: &'t [u8]) -> Result<Self, JsonError> {
        let start = if text.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let place = scan::check(&text[start..])?;
        let text = &text[..start + place.end];
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError::new("too long", 0));
        }
        let mut index = Self { text, tokens: Vec::with_capacity(text.len() / 12 + 1) };
        index.list(start + place.start);
        Ok(index)
    }

    /// Lists the values of a text that is JSON.
    fn list(&mut self, mut at: usize) {
        let text = self.text;
        let mut open: smallvec::SmallVec<[usize; 16]> = smallvec::SmallVec::new();
        while let Some(&byte) = text.get(at) {
            let number = self.tokens.len();
            // The length was checked, and there are no more tokens than bytes.
            let token = Token { start: at as u32, next: number as u32 + 1 };
            at = match byte {
                b'{' | b'[' => {
                    open.push(number);
                    self.tokens.push(token);
                    at + 1
                }
                b'}' | b']' => {
                    if let Some(container) = open.pop() {
                        self.tokens[container].next = number as u32;
                    }
                    at + 1
                }
                b'"' => {
                    self.tokens.push(token);
                    skip_string(text, at)
                }
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => at + 1,
                _ => {
                    self.tokens.push(token);
                    skip_value(text, at)
                }
            };
        }
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { index: self, number: 0 }
    }

    /// How many values and keys there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none, which no JSON is.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// A value of a text.
#[derive(Clone, Copy, Debug)]
pub struct Value<'i> {
    index: &'i Index<'i>,
    number: u32,
}

impl<'i> Value<'i> {
    fn token(self) -> Token {
        self.index.tokens[self.number as usize]
    }

    fn beside(self, number: u32) -> Self {
        Self { index: self.index, number }
    }

    /// Its first byte in the text.
    pub fn start(self) -> usize {
        self.token().start as usize
    }

    /// What kind of value it is.
    pub fn kind(self) -> Kind {
        match self.index.text[self.start()] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::Text,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// How many values and keys it is, with all that it holds.
    pub fn size(self) -> usize {
        (self.token().next - self.number) as usize
    }

    /// Its JSON text.
    pub fn raw(self) -> &'i str {
        let start = self.start();
        let end = skip_value(self.index.text, start);
        // The text was checked to be UTF-8.
        std::str::from_utf8(&self.index.text[start..end]).unwrap_or_default()
    }

    /// The text of a text.
    pub fn text(self) -> Option<Cow<'i, str>> {
        let start = self.start();
        (self.kind() == Kind::Text).then(|| unquoted(&self.index.text[start..skip_string(self.index.text, start)]))
    }

    /// The items of an array.
    pub fn items(self) -> Items<'i> {
        self.inside(Kind::Array)
    }

    /// The members of an object, in the order written; a name may stand several times.
    pub fn members(self) -> impl Iterator<Item = (Cow<'i, str>, Value<'i>)> {
        let mut inside = self.inside(Kind::Object);
        std::iter::from_fn(move || Some((inside.next()?.text()?, inside.next()?)))
    }

    fn inside(self, kind: Kind) -> Items<'i> {
        let end = if self.kind() == kind { self.token().next } else { self.number + 1 };
        Items { index: self.index, at: self.number + 1, end }
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn position(self) -> (usize, usize) {
        let before = &self.index.text[..self.start()];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        (line, String::from_utf8_lossy(&before[start..]).chars().filter(|c| *c != '\u{feff}').count() + 1)
    }

    /// The way to it from the outermost value, as Json.NET writes one: `items[0].id`. Names that are long are cut.
    pub fn path(self) -> String {
        const LONGEST: usize = 200;
        let mut path = String::new();
        let mut holder = self.index.root();
        while holder.number != self.number && path.len() < LONGEST {
            let holds = |value: &Value<'_>| value.number <= self.number && self.number < value.token().next;
            match holder.kind() {
                Kind::Object => {
                    let Some((name, value)) = holder.members().find(|(_, value)| holds(value)) else { break };
                    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
                    let short: String = name.chars().take(64).collect();
                    match (plain, path.is_empty()) {
                        (true, true) => path.push_str(&short),
                        (true, false) => path.extend([".", &short]),
                        (false, _) => path.extend(["['", &short.escape_debug().to_string(), "']"]),
                    }
                    holder = value;
                }
                Kind::Array => {
                    let found = holder.items().enumerate().find(|(_, value)| holds(value));
                    let Some((place, value)) = found else { break };
                    path.push_str(&format!("[{place}]"));
                    holder = value;
                }
                _ => break,
            }
        }
        path
    }
}

/// The values inside another one: items of an array, or keys and values in turn.
#[derive(Clone, Debug)]
pub struct Items<'i> {
    index: &'i Index<'i>,
    at: u32,
    end: u32,
}

impl<'i> Iterator for Items<'i> {
    type Item = Value<'i>;

    fn next(&mut self) -> Option<Value<'i>> {
        if self.at >= self.end {
            return None;
        }
        let value = self.index.root().beside(self.at);
        self.at = value.token().next;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_places() {
        let text = "\u{feff}{\"a\" : [1, {\"b\\u0063\":null}],\n \"x y\": \"t\"}";
        let index = Index::parse(text.as_bytes()).unwrap();
        let members: Vec<_> = index.root().members().collect();
        let [(a, list), (xy, last)] = &members[..] else { panic!("{members:?}") };
        assert_eq!((a.as_ref(), list.kind(), list.raw()), ("a", Kind::Array, "[1, {\"b\\u0063\":null}]"));
        assert_eq!((xy.as_ref(), last.text().as_deref()), ("x y", Some("t")));
        assert_eq!((last.position(), last.path()), ((2, 9), "['x y']".to_owned()));
        let inner = list.items().nth(1).unwrap();
        let (name, null) = inner.members().next().unwrap();
        assert_eq!((name.as_ref(), null.kind(), null.path()), ("bc", Kind::Null, "a[1].bc".to_owned()));
        assert_eq!(list.items().count(), 2);
        assert_eq!(last.items().count(), 0);
        assert_eq!(index.root().path(), "");
        for wrong in ["", "{", "[1,]", "{} x", "nul", "\"\u{1}\""] {
            assert!(Index::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
