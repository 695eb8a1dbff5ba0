//! Readable TOML: aligned tables, texts in the quotes that suit them, comments.

use std::fmt::Write as _;

/// A table with its comments, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Lines above it.
    pub comments: Vec<String>,
    /// Keys, and values in TOML.
    pub pairs: Vec<(&'static str, String)>,
    /// Whether it is written as a comment, because the gateway could not take it.
    pub off: bool,
    /// A condition of the policy, which then stands in a `choose`.
    pub when: Option<&'static str>,
}

impl Block {
    /// A policy.
    pub fn policy(name: &str) -> Self {
        Self { pairs: vec![("policy", text(name))], ..Self::default() }
    }

    /// Adds a key with a text.
    #[must_use]
    pub fn text(mut self, key: &'static str, value: &str) -> Self {
        self.pairs.push((key, text(value)));
        self
    }

    /// Adds a key with a value that is TOML already.
    #[must_use]
    pub fn raw(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.pairs.push((key, value.into()));
        self
    }

    /// Adds a comment.
    #[must_use]
    pub fn comment(mut self, line: impl AsRef<str>) -> Self {
        self.comments.push(one_line(line.as_ref()));
        self
    }

    /// Writes it under a header, with an empty line before it.
    pub fn write(&self, header: &str, out: &mut String) {
        out.push('\n');
        for comment in &self.comments {
            let _ = writeln!(out, "# {comment}");
        }
        let mark = if self.off { "# " } else { "" };
        let inner;
        let header = match self.when {
            None => header,
            Some(condition) => {
                let section = header.trim_matches(['[', ']']);
                for line in [
                    header,
                    "policy = \"choose\"",
                    "",
                    &format!("[[{section}.when]]"),
                    &format!("condition = {}", text(condition)),
                    "",
                ] {
                    let _ = writeln!(out, "{}", format!("{mark}{line}").trim_end());
                }
                inner = format!("[[{section}.when.policies]]");
                &inner
            }
        };
        let width = self.pairs.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
        let _ = writeln!(out, "{mark}{header}");
        for (key, value) in &self.pairs {
            for (number, line) in format!("{key:width$} = {value}").lines().enumerate() {
                let _ = writeln!(out, "{}{line}", if number == 0 || self.off { mark } else { "" });
            }
        }
    }
}

/// Whether a character is written as an escape. U+FFFD stands for itself here, and for bytes that are not UTF-8 when a file
/// of the configuration is read.
fn is_escaped(character: char) -> bool {
    character.is_control() || character == char::REPLACEMENT_CHARACTER
}

/// A text in TOML: in single quotes where that saves escapes.
pub fn text(value: &str) -> String {
    let literal = value.contains(['"', '\\']) && !value.contains('\'') && !value.chars().any(is_escaped);
    if literal {
        return format!("'{value}'");
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if is_escaped(other) => {
                let _ = write!(out, "\\u{:04X}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A name as a key of TOML: in quotes where it needs them.
pub fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { text(name) }
}

/// Text for people: on one line, without control characters, and without what would be a named value.
pub fn one_line(value: &str) -> String {
    let words = value.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ").replace(char::REPLACEMENT_CHARACTER, "?");
    line.replace("{{", "{ {").replace("{{", "{ {")
}

/// Whether a text holds what would be a named value.
pub fn holds_named_value(value: &str) -> bool {
    value.split_once("{{").is_some_and(|(_, rest)| rest.contains("}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for value in [
            "plain",
            "it's",
            r#"say "x""#,
            r#"it's "x" \ y"#,
            "a\nb\tc\u{1}d",
            r"C:\x",
            "",
            "é😀",
            "\u{7f}",
            "a \u{fffd} b",
        ] {
            assert!(!text(value).contains('\u{fffd}'), "{value}");
            let table: toml::Table = format!("value = {}", text(value)).parse().unwrap();
            assert_eq!(table["value"].as_str(), Some(value), "{value}");
        }
    }

    #[test]
    fn blocks() {
        let mut out = String::new();
        let block = Block::policy("set-header").text("name", "x").comment("why\nthis");
        block.write("[[inbound]]", &mut out);
        Block { off: true, ..block }.write("[[inbound]]", &mut out);
        let table = "[[inbound]]\npolicy = \"set-header\"\nname   = \"x\"\n";
        let off = "# [[inbound]]\n# policy = \"set-header\"\n# name   = \"x\"\n";
        assert_eq!(out, format!("\n# why this\n{table}\n# why this\n{off}"));
    }

    #[test]
    fn blocks_with_a_condition() {
        let mut out = String::new();
        let block = Block { when: Some("@true()"), ..Block::policy("set-status") };
        block.write("[[operation.on-error]]", &mut out);
        let want = "\n[[operation.on-error]]\npolicy = \"choose\"\n\n[[operation.on-error.when]]\ncondition = \"@true()\"\n\n\
                    [[operation.on-error.when.policies]]\npolicy = \"set-status\"\n";
        assert_eq!(out, want);
    }
}
