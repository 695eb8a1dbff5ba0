//! Text with holes that read from a JSON body and its items: the values of `set-property`.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::value::evaluation_failed;
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::Expression;
use crate::json::{Kind, Node, Path, Root, root};
use crate::pipeline::{Context, Fault};

/// A text with holes.
#[derive(Debug)]
pub(super) struct BodyTemplate {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    what: What,
    /// Whether it stands between the quotes of a text of JSON.
    quoted: bool,
}

#[derive(Debug)]
enum What {
    Text(String),
    Expression(Expression),
    Path(Path),
}

impl BodyTemplate {
    /// Compiles a value. `{@body().x}`, `@{body().x}` and `@body().x` are one; what is no path into the body is an expression.
    pub(super) fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        // Written as a JSON array or object.
        let trimmed = text.trim_start();
        let is_json = trimmed.starts_with('[')
            || trimmed.starts_with('{') && trimmed.as_bytes().get(1).is_none_or(|byte| *byte != b'@');
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut quotes = Quotes::default();
        let mut at = 0;
        while at < text.len() {
            let Some(found) = memchr::memchr(b'@', &text.as_bytes()[at..]) else { break };
            literal.push_str(&text[at..at + found]);
            at += found;
            let Some(hole) = hole(text, at) else {
                // `@@` is a literal `@`, and so is one that nothing follows which is called.
                let escaped = text[at + 1..].starts_with('@');
                literal.push('@');
                at += if escaped { 2 } else { 1 };
                continue;
            };
            if hole.braced_outside {
                literal.pop();
            }
            quotes.pass(&literal);
            push(&mut parts, &mut literal, is_json && quotes.open);
            let what = match read_path(&text[hole.inner.clone()]) {
                Some(path) => What::Path(path),
                None => What::Expression(cx.expression_in(text, hole.expression)?),
            };
            parts.push(Part { what, quoted: is_json && quotes.open });
            at = hole.end;
        }
        literal.push_str(&text[at..]);
        push(&mut parts, &mut literal, false);
        Ok(Self { parts })
    }
}

fn push(parts: &mut Vec<Part>, literal: &mut String, quoted: bool) {
    if !literal.is_empty() {
        parts.push(Part { what: What::Text(std::mem::take(literal)), quoted });
    }
}

/// Follows the quotes of JSON text.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.open => self.escaped = true,
                b'"' => self.open = !self.open,
                _ => {}
            }
        }
    }
}

/// Where a hole stands in a text.
pub(super) struct Hole {
    /// What is read, without braces; begins with `@` where it was written so.
    inner: Range<usize>,
    /// The same as an expression of the gateway.
    pub(super) expression: Range<usize>,
    /// Where the text goes on.
    pub(super) end: usize,
    /// `{@…}`: the brace before it belongs to it.
    braced_outside: bool,
}

/// The hole whose `@` is at `at`.
pub(super) fn hole(text: &str, at: usize) -> Option<Hole> {
    let rest = &text[at..];
    if rest[1..].starts_with('{') {
        let close = closing(text, at + 2, b'{', b'}')?;
        return Some(Hole { inner: at + 2..close, expression: at..close + 1, end: close + 1, braced_outside: false });
    }
    let is_path = root(rest).is_some();
    if text[..at].ends_with('{') && is_path {
        let close = closing(text, at, b'{', b'}')?;
        return Some(Hole { inner: at..close, expression: at..close, end: close + 1, braced_outside: true });
    }
    let name = rest[1..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if name == 0 || rest.as_bytes().get(1 + name) != Some(&b'(') {
        return None;
    }
    let close = closing(text, at + 1 + name + 1, b'(', b')')? + 1;
    // A path behind the call, when the call can give something to read it from.
    let far = path_end(text, close);
    let reads =
        is_path || Expression::parse(&text[at..far], crate::expression::Dialect::Gateway).is_ok_and(|it| it.is_call());
    let end = if reads { far } else { close };
    Some(Hole { inner: at..end, expression: at..end, end, braced_outside: false })
}

/// Where the bracket closes that is open before `at`, quotes aside.
fn closing(text: &str, at: usize, open: u8, close: u8) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (place, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            b'\'' => quoted = !quoted,
            _ if quoted => {}
            byte if byte == close && depth == 0 => return Some(place),
            byte if byte == close => depth -= 1,
            byte if byte == open => depth += 1,
            _ => {}
        }
    }
    None
}

/// Where the `.name`, `['name']` and `[0]` behind a call end.
fn path_end(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let skipped = usize::from(rest.starts_with("?.") || rest.starts_with("?["));
        match rest.as_bytes().get(skipped) {
            Some(b'[') => match closing(text, at + skipped + 1, b'[', b']') {
                Some(close) => at = close + 1,
                None => return at,
            },
            Some(b'.') => {
                let name = &rest[skipped + 1..];
                let length: usize = name
                    .chars()
                    .take_while(|character| character.is_alphanumeric() || matches!(character, '_' | '$'))
                    .map(char::len_utf8)
                    .sum();
                if length == 0 {
                    return at;
                }
                at += skipped + 1 + length;
            }
            _ => return at,
        }
    }
}

/// A path into the body, when the text is one.
fn read_path(text: &str) -> Option<Path> {
    let text = text.trim();
    root(text).and_then(|_| Path::parse(text).ok()).filter(|path| path.root != Root::Here)
}

// === evaluation ===

/// The expressions of a template, evaluated: one text for each part, none for those that read from the body.
pub(super) struct Called(Vec<Option<String>>);

/// A template with everything known but what the item says.
pub(super) struct Pending<'a> {
    template: &'a BodyTemplate,
    parts: Vec<Filled<'a>>,
    /// The value, when no part of it reads the item.
    ready: Option<Option<Node>>,
}

#[derive(Clone)]
enum Filled<'a> {
    Text(Cow<'a, str>),
    /// A hole with nothing in it.
    Nothing,
    Item(&'a Path),
}

impl BodyTemplate {
    /// Evaluates the expressions, before the body is opened.
    pub(super) fn call(&self, cx: &Context<'_>) -> Result<Called, Fault> {
        let call = |part: &Part| match &part.what {
            What::Expression(expression) => {
                let text = expression.text(cx).map_err(evaluation_failed)?;
                Ok(Some(escaped(&text, part.quoted).into_owned()))
            }
            What::Text(_) | What::Path(_) => Ok(None),
        };
        self.parts.iter().map(call).collect::<Result<_, _>>().map(Called)
    }

    /// Whether a hole reads from the body.
    pub(super) fn reads_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.what, What::Path(_)))
    }

    /// The text, when every hole has something in it.
    pub(super) fn text(&self, called: &Called, body: &mut Node) -> Option<String> {
        let pending = self.read_body(called, body);
        pending.parts.iter().try_fold(String::new(), |mut text, part| match part {
            Filled::Text(part) => {
                text.push_str(part);
                Some(text)
            }
            Filled::Nothing | Filled::Item(_) => None,
        })
    }

    /// Fills the holes that read from the body as a whole.
    pub(super) fn read_body<'a>(&'a self, called: &'a Called, body: &mut Node) -> Pending<'a> {
        let fill = |(part, called): (&'a Part, &'a Option<String>)| match &part.what {
            What::Text(text) => Filled::Text(Cow::Borrowed(text.as_str())),
            What::Expression(_) => Filled::Text(Cow::Borrowed(called.as_deref().unwrap_or_default())),
            What::Path(path) if path.root == Root::Item => Filled::Item(path),
            What::Path(path) => match body.at(&path.keys).map(|node| &*node) {
                Some(node) if node.kind() != Kind::Null => {
                    Filled::Text(Cow::Owned(escaped(&node.to_text(), part.quoted).into_owned()))
                }
                _ => Filled::Nothing,
            },
        };
        let parts: Vec<Filled<'a>> = self.parts.iter().zip(&called.0).map(fill).collect();
        let ready = (!parts.iter().any(|part| matches!(part, Filled::Item(_)))).then(|| self.finish(&parts));
        Pending { template: self, parts, ready }
    }

    /// The value of parts that are all filled.
    fn finish(&self, parts: &[Filled<'_>]) -> Option<Node> {
        if let [Filled::Nothing] = parts {
            return None;
        }
        let mut text = String::new();
        for part in parts {
            if let Filled::Text(part) = part {
                text.push_str(part);
            }
        }
        let looks = matches!(text.trim_start().as_bytes().first(), Some(b'[' | b'{'));
        let parsed = looks.then(|| Node::parse(&Bytes::copy_from_slice(text.as_bytes())).ok()).flatten();
        Some(parsed.unwrap_or_else(|| Node::text(&text)))
    }
}

impl Pending<'_> {
    /// The value, for an item where there is one.
    pub(super) fn read_item(&self, mut item: Option<&mut Node>) -> Option<Node> {
        if let Some(ready) = &self.ready {
            return ready.clone();
        }
        let fill = |(part, filled): (&Part, &Filled<'_>)| match filled {
            Filled::Item(path) => match item.as_deref_mut().and_then(|item| item.at(&path.keys)).map(|node| &*node) {
                Some(node) if node.kind() != Kind::Null => {
                    Filled::Text(Cow::Owned(escaped(&node.to_text(), part.quoted).into_owned()))
                }
                _ => Filled::Nothing,
            },
            Filled::Text(text) => Filled::Text(Cow::Owned(text.clone().into_owned())),
            Filled::Nothing => Filled::Nothing,
        };
        let parts: Vec<Filled<'_>> = self.template.parts.iter().zip(&self.parts).map(fill).collect();
        self.template.finish(&parts)
    }
}

/// A text between the quotes of JSON cannot end them.
fn escaped(text: &str, quoted: bool) -> Cow<'_, str> {
    if !quoted {
        return Cow::Borrowed(text);
    }
    let json = serde_json::to_string(text).unwrap_or_default();
    Cow::Owned(json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned())
}
