//! The key file: subscriptions and the digests of their keys, in a file that `sluicegate key` writes.
//!
//! It holds `[subscriptions.NAME]` tables as gateway.toml does, and may hold a million of them. So it is never read as one
//! document: it is cut at the tables' headers, and each piece is a small TOML document of its own.

pub mod edit;
pub mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::{as_text, read_what_is_right, take};
use super::source::FileId;
use super::spec::SubscriptionSpec;
use super::{Diagnostic, Diagnostics};

/// The name of the key file, unless gateway.toml names another one.
pub const KEYS_FILE: &str = "keys.toml";

/// The key file that gateway.toml names.
pub fn named(gateway: &str) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(gateway);
    let mut table = table.into_inner();
    let (_, value) = take(&mut table, "keys")?;
    let DeValue::Table(mut keys) = value.into_inner() else { return None };
    let (_, file) = take(&mut keys, "file")?;
    as_text(&file).map(str::to_owned)
}

/// Where the key file of a folder is: the one that gateway.toml names, else the one beside it.
pub fn path(named: Option<&str>, folder: &Path) -> PathBuf {
    folder.join(named.unwrap_or(KEYS_FILE))
}

/// The pieces of a key file, in order and without gaps: what stands before the first `[subscriptions.NAME]`, then one piece
/// for each such header. Tables further inside (`[subscriptions.NAME.metadata]`) stay with their piece.
pub fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begun = start?;
        loop {
            match scan.next_header() {
                None => {
                    start = None;
                    return Some(begun..text.len());
                }
                Some(header) if header > begun && is_subscription(&text[header..]) => {
                    start = Some(header);
                    return Some(begun..header);
                }
                Some(_) => {}
            }
        }
    })
    .filter(|piece| !piece.is_empty())
}

/// The `[subscriptions.NAME]` tables of a piece, which holds nothing else.
pub fn subscriptions_of(
    text: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Vec<(Spanned<String>, SubscriptionSpec, bool)> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let span = error.span().unwrap_or(0..0);
        let span = span.start.min(text.len())..span.end.min(text.len());
        diagnostics.push(Diagnostic::error("syntax", file, span, error.message()));
        return Vec::new();
    }
    let mut table = table.into_inner();
    let taken = take(&mut table, "subscriptions");
    for key in table.keys() {
        diagnostics.push(
            Diagnostic::error("unknown-key", file, key.span(), format!("unknown key `{}`", key.get_ref()))
                .label("expected `subscriptions`")
                .hint("the key file holds `[subscriptions.NAME]` tables only"),
        );
    }
    let Some((key, value)) = taken else { return Vec::new() };
    let DeValue::Table(named) = value.into_inner() else {
        diagnostics.push(
            Diagnostic::error("wrong-type", file, key.span(), "`subscriptions` is not a table")
                .hint("write `[subscriptions.NAME]`"),
        );
        return Vec::new();
    };
    let mut subscriptions = Vec::with_capacity(named.len());
    for (name, value) in named {
        let (span, title) = (name.span(), name.into_inner().into_owned());
        let DeValue::Table(body) = value.into_inner() else {
            diagnostics.push(
                Diagnostic::error("wrong-type", file, span, format!("`{title}` is not a table"))
                    .hint(format!("write `[subscriptions.{title}]` and its keys below it")),
            );
            continue;
        };
        let before = diagnostics.errors();
        let spec = read_what_is_right(&body, file, &span, diagnostics).unwrap_or_default();
        subscriptions.push((Spanned::new(span, title), spec, diagnostics.errors() == before));
    }
    subscriptions
}

/// Whether a header has exactly two parts, the first being `subscriptions`.
fn is_subscription(header: &str) -> bool {
    let rest = header.strip_prefix('[').map(str::trim_start).and_then(|rest| rest.strip_prefix("subscriptions"));
    let Some(name) = rest.map(str::trim_start).and_then(|rest| rest.strip_prefix('.')).map(str::trim_start) else {
        return false;
    };
    let end = match name.as_bytes().first() {
        Some(quote @ (b'"' | b'\'')) => {
            let mut escaped = false;
            let close = name.bytes().skip(1).position(|byte| {
                let closes = byte == *quote && !escaped;
                escaped = byte == b'\\' && *quote == b'"' && !escaped;
                closes
            });
            close.map(|at| at + 2)
        }
        _ => name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_'),
    };
    end.is_some_and(|end| name[end..].trim_start_matches([' ', '\t']).starts_with(']'))
}

/// Finds the lines that are headers: not in a text of several lines, not in a list of several lines.
struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    /// The place of the next header; none at the end.
    fn next_header(&mut self) -> Option<usize> {
        while self.at < self.bytes.len() {
            while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r')) {
                self.at += 1;
            }
            if self.bytes.get(self.at) == Some(&b'[') {
                let header = self.at;
                self.skip_line();
                self.at += 1;
                return Some(header);
            }
            self.skip_entry();
        }
        None
    }

    fn skip_line(&mut self) {
        self.at = memchr::memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |length| self.at + length);
    }

    /// Skips a key with its value, behind the line break where it ends.
    fn skip_entry(&mut self) {
        let mut depth = 0_u32;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\n' if depth == 0 => return,
                b'#' => self.skip_line(),
                b'"' | b'\'' => self.skip_text(byte),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Skips a text whose first quote has been passed.
    fn skip_text(&mut self, quote: u8) {
        let long = self.bytes[self.at..].starts_with(&[quote, quote]);
        if long {
            self.at += 2;
        }
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' if quote == b'"' => self.at += 2,
                // A text of one line that never ends: the mistake is on this line.
                b'\n' if !long => return,
                _ if byte == quote && !long => {
                    self.at += 1;
                    return;
                }
                _ if byte == quote && self.bytes[self.at..].starts_with(&[quote; 3]) => {
                    self.at += 3;
                    // Up to two more quotes belong to the text (TOML 1.0, strings).
                    while self.bytes.get(self.at) == Some(&quote) {
                        self.at += 1;
                    }
                    return;
                }
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        pieces(text).map(|piece| &text[piece]).collect()
    }

    #[test]
    fn a_file_is_cut_at_its_subscriptions_and_nowhere_else() {
        for (text, want) in [
            ("", &[][..]),
            ("# nothing yet\n", &["# nothing yet\n"]),
            ("[subscriptions.a]\n", &["[subscriptions.a]\n"]),
            (
                "# top\n[subscriptions.a]\nb = 1\n\n[subscriptions.b]",
                &["# top\n", "[subscriptions.a]\nb = 1\n\n", "[subscriptions.b]"],
            ),
            (
                "[subscriptions.a]\n[subscriptions.a.metadata]\nx = 1\n",
                &["[subscriptions.a]\n[subscriptions.a.metadata]\nx = 1\n"],
            ),
            (
                "[ subscriptions . \"a]\\\" b\" ] # c\n  [subscriptions.'x']\r\n",
                &["[ subscriptions . \"a]\\\" b\" ] # c\n  ", "[subscriptions.'x']\r\n"],
            ),
            (
                "[subscriptions.a]\nx = '''\n[subscriptions.b]\n'''\ny = 1\n",
                &["[subscriptions.a]\nx = '''\n[subscriptions.b]\n'''\ny = 1\n"],
            ),
            (
                "[subscriptions.a]\nx = \"\"\"\\\"\"\"\n[subscriptions.b]\n\"\"\"\n",
                &["[subscriptions.a]\nx = \"\"\"\\\"\"\"\n[subscriptions.b]\n\"\"\"\n"],
            ),
            (
                "[subscriptions.a]\nx = [ # ]\n[subscriptions.b]\n]\n[subscriptions.c]\n",
                &["[subscriptions.a]\nx = [ # ]\n[subscriptions.b]\n]\n", "[subscriptions.c]\n"],
            ),
            (
                "[subscriptions.a]\nx = \"never closed\n[subscriptions.b]\n",
                &["[subscriptions.a]\nx = \"never closed\n", "[subscriptions.b]\n"],
            ),
            (
                "[subscriptions]\n[subscriptionsb.a]\n[[subscriptions.a]]\n[other.a]\n",
                &["[subscriptions]\n[subscriptionsb.a]\n[[subscriptions.a]]\n[other.a]\n"],
            ),
        ] {
            assert_eq!(cut(text), want, "{text:?}");
            assert_eq!(cut(text).concat(), text, "nothing is lost");
        }
    }
}
