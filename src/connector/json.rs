//! JSON as makers write it: read leniently, with every fault at its place.

use std::ops::Range;

use super::tree::{Member, Node, Value};

/// How deep a document may be nested.
pub const MAX_DEPTH: usize = 256;
/// How many faults of one file are told.
pub const MAX_FAULTS: usize = 20;

/// Something that is not as JSON (RFC 8259) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub span: Range<usize>,
    /// What: lower case, no period.
    pub message: String,
}

/// What could be read, and what had to be overlooked. `Err` where nothing sensible is left.
///
/// Overlooked are: comments, a comma too many or one that is missing, text in single quotes, names without quotes, line breaks and
/// unknown escapes in text, a name that stands twice (the last one counts), a brace too many where the indentation tells which, and
/// what follows the document.
pub fn parse(text: &str) -> Result<(Node, Vec<Fault>), Fault> {
    let plain = read(text, false);
    let is_cut = |result: &Result<(Node, Vec<Fault>), Fault>| match result {
        Ok((_, faults)) => faults.iter().any(|fault| fault.message.starts_with(TRAILING)),
        Err(_) => true,
    };
    if !is_cut(&plain) {
        return plain;
    }
    // A brace too many closes the document early. Where the file is indented, the brace that closes nothing shows.
    let indented = read(text, true);
    if is_cut(&indented) { plain } else { indented }
}

const TRAILING: &str = "text after the end of the document";

fn read(text: &str, by_indentation: bool) -> Result<(Node, Vec<Fault>), Fault> {
    let mut reader = Reader { text, at: 0, faults: Vec::new(), by_indentation };
    reader.space();
    let node = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        let end = text[reader.at..].find('\n').map_or(text.len(), |end| reader.at + end);
        reader.fault(reader.at..end, format!("{TRAILING}, which is left out"));
    }
    Ok((node, reader.faults))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    faults: Vec<Fault>,
    by_indentation: bool,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { span, message: message.into() });
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn here(&self) -> Range<usize> {
        let width = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        self.at..self.at + width
    }

    fn failure<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { span: self.here(), message: message.into() })
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            self.at += blank;
            let rest = &rest[blank..];
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return;
            };
            self.fault(self.at..self.at + length, "a comment, which JSON does not have");
            self.at += length;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return self.failure(format!("nested more than {MAX_DEPTH} deep"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => Value::Object(self.object(depth)?),
            Some(b'[') => Value::Array(self.array(depth)?),
            Some(quote @ (b'"' | b'\'')) => Value::Text(self.string(quote)?.into()),
            Some(_) => self.word()?,
            None => return self.failure("the file ends where a value is expected"),
        };
        Ok(Node { value, span: start..self.at })
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() {
            return self.failure("expected a value");
        }
        self.at += end;
        let folded = word.to_ascii_lowercase();
        let value = match folded.as_str() {
            "null" | "none" | "undefined" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ if serde_json::from_str::<serde_json::Number>(word).is_ok() => return Ok(Value::Number(word.into())),
            _ => match word.trim_start_matches('+').parse::<f64>() {
                Ok(number) if number.is_finite() => {
                    self.fault(start..self.at, format!("`{word}` is not how JSON writes a number"));
                    return Ok(Value::Number(number.to_string().into()));
                }
                _ => {
                    self.fault(start..self.at, format!("`{word}` has no quotes and is read as text"));
                    return Ok(Value::Text(word.into()));
                }
            },
        };
        if !matches!(word, "null" | "true" | "false") {
            self.fault(start..self.at, format!("`{word}` is not how JSON writes it"));
        }
        Ok(value)
    }

    fn string(&mut self, quote: u8) -> Result<String, Fault> {
        let start = self.at;
        if quote == b'\'' {
            self.fault(start..start + 1, "text in single quotes");
        }
        self.at += 1;
        let mut out = String::new();
        let mut broken = false;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|b| b == quote || b == b'\\' || b < 0x20).unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b) if b == quote => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out),
                Some(control) => {
                    if !std::mem::replace(&mut broken, true) {
                        let what = if control == b'\t' { "a tab" } else { "a line break or control character" };
                        self.fault(self.at..self.at + 1, format!("{what} stands in text without an escape"));
                    }
                    out.push(char::from(control));
                    self.at += 1;
                }
                None => return Err(Fault { span: start..start + 1, message: "text without its closing quote".into() }),
            }
        }
    }

    fn escape(&mut self, out: &mut String) {
        let start = self.at;
        let Some(kind) = self.text[start + 1..].chars().next() else {
            self.at += 1;
            return;
        };
        self.at += 1 + kind.len_utf8();
        out.push(match kind {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' => kind,
            'u' => match self.unicode() {
                Some(character) => character,
                None => {
                    self.fault(start..self.at, "not a character of Unicode");
                    '\u{fffd}'
                }
            },
            other => {
                self.fault(start..self.at, format!("`\\{}` is not an escape of JSON", other.escape_debug()));
                other
            }
        });
    }

    /// What follows `\u`; two of them for a character beyond the first plane.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        let rest = &self.text[self.at..];
        let second =
            rest.strip_prefix("\\u").and_then(|rest| rest.get(..4)).and_then(|d| u16::from_str_radix(d, 16).ok());
        let pair = [u16::try_from(first).ok()?, second?];
        let character = char::decode_utf16(pair).next()?.ok()?;
        self.at += 6;
        Some(character)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut items = Vec::new();
        while self.next_entry(b']', open, !items.is_empty())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(items)
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while self.next_entry(b'}', open, !members.is_empty())? {
            let start = self.at;
            let name = match self.peek() {
                Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
                _ => self.bare_name()?,
            };
            let at = start..self.at;
            self.space();
            if self.peek() == Some(b':') {
                self.at += 1;
            } else {
                self.fault(at.clone(), format!("no `:` after `{name}`"));
            }
            self.space();
            let value = self.value(depth + 1)?;
            let member = Member { name: name.as_str().into(), at: at.clone(), value };
            match places.get(&name) {
                Some(&place) => {
                    self.fault(at, format!("`{name}` stands twice in one object; the last one counts"));
                    members[place] = member;
                }
                None => {
                    places.insert(name, members.len());
                    members.push(member);
                }
            }
        }
        Ok(members)
    }

    fn bare_name(&mut self) -> Result<String, Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_-$.".contains(c))).unwrap_or(rest.len());
        if end == 0 {
            return self.failure("expected a name");
        }
        let span = self.at..self.at + end;
        let name = rest[..end].to_owned();
        self.at += end;
        self.fault(span, format!("the name `{name}` has no quotes"));
        Ok(name)
    }

    /// Goes to the next entry of a list or an object; false behind its end.
    fn next_entry(&mut self, close: u8, open: usize, mut needs_comma: bool) -> Result<bool, Fault> {
        let mut after_comma = false;
        loop {
            self.space();
            match self.peek() {
                Some(b',') => {
                    if !needs_comma {
                        self.fault(self.at..self.at + 1, "a comma too many");
                    }
                    (needs_comma, after_comma) = (false, true);
                    self.at += 1;
                }
                Some(byte @ (b'}' | b']')) => {
                    if self.by_indentation && self.closes_nothing(open) {
                        self.fault(self.at..self.at + 1, format!("`{}` closes nothing", char::from(byte)));
                        self.at += 1;
                        continue;
                    }
                    if byte != close {
                        return self.failure(format!("expected `{}`", char::from(close)));
                    }
                    if after_comma {
                        let comma = self.text[..self.at].rfind(',').unwrap_or(self.at);
                        self.fault(comma..comma + 1, "a comma before the end");
                    }
                    self.at += 1;
                    return Ok(false);
                }
                None => {
                    let message = format!("the file ends before `{}` closes what this opens", char::from(close));
                    return Err(Fault { span: open..open + 1, message });
                }
                Some(_) => {
                    if needs_comma {
                        self.fault(self.here(), "a comma is missing before this");
                    }
                    return Ok(true);
                }
            }
        }
    }

    /// Whether the bracket here stands alone on its line, further right than the line that opened what it would close.
    fn closes_nothing(&self, open: usize) -> bool {
        let line = |at: usize| self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let indent = |from: usize| self.text[from..].bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
        // Looked at first: a file may be one long line with many brackets.
        let before = self.text[..self.at].trim_end_matches([' ', '\t']);
        if !(before.is_empty() || before.ends_with('\n')) {
            return false;
        }
        let start = before.len();
        line(open) != start && indent(start) > indent(line(open))
    }
}

#[cfg(test)]
mod tests;
