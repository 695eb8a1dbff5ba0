//! Text inside XML and HTML.

use std::borrow::Cow;

/// The text with everything that is markup written out; control characters, which XML has no place for, become spaces.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || (c.is_control() && !matches!(c, '\n' | '\t'));
    if !text.contains(special) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if special(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out.into()
}

/// The same for a sentence of ours: what stands in backticks is code.
pub(super) fn prose(text: &str) -> String {
    let escaped = escape(text);
    if !escaped.matches('`').count().is_multiple_of(2) {
        return escaped.into_owned();
    }
    let parts = escaped.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_written_out() {
        for (text, want) in [
            ("plain", "plain"),
            ("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
            ("a&b\"\u{1b}[1m", "a&amp;b&quot; [1m"),
        ] {
            assert_eq!(escape(text), want);
        }
    }

    #[test]
    fn backticks_are_code() {
        for (text, want) in [
            ("raise `--connections`", "raise <code>--connections</code>"),
            ("`<b>` and `a`", "<code>&lt;b&gt;</code> and <code>a</code>"),
            ("one ` alone", "one ` alone"),
        ] {
            assert_eq!(prose(text), want);
        }
    }
}
