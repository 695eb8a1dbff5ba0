//! Regular expressions of schemas: what no dialect takes, and what only others than this gateway's take.

use super::super::tree::Node;
use super::{Hint as _, Linter};
use crate::openapi::Pattern;

impl Linter<'_, '_> {
    /// `PatternShouldBeValidRegularExpression`; the platform's dialect is that of .NET, which takes more than the gateway's.
    pub(super) fn pattern(&mut self, node: &Node) {
        let Some(pattern) = node.get("pattern") else { return };
        let Some(text) = pattern.text() else {
            self.error("bad-schema", &pattern.span, "`pattern` is no text");
            return;
        };
        if let Some(why) = unbalanced(text) {
            self.error("bad-schema", &pattern.span, format!("`pattern` is no regular expression: {why}"));
        } else if let Err(why) = Pattern::parse(text) {
            // The engine is of another kind; what it lacks by nature is no fault of the maker.
            if !["look-around", "backreference", "too large"].iter().any(|it| why.contains(it)) {
                self.warning("unchecked-pattern", &pattern.span, format!("the gateway cannot check `pattern`: {why}"))
                    .with("a gateway that validates lets every text through here; others may read the expression");
            }
        }
    }
}

/// What is open at the end of an expression, or closed before it is open, in every dialect.
fn unbalanced(text: &str) -> Option<&'static str> {
    let mut groups = 0_usize;
    // How many characters a class has so far: a bracket that comes first closes it in some dialects, and stands for itself in others.
    let mut class: Option<usize> = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (character, &mut class) {
            ('\\', _) if text[at..].starts_with("\\Q") => {
                let end = text[at..].find("\\E").map_or(text.len(), |end| at + end + 2);
                while characters.offset() < end {
                    characters.next();
                }
            }
            ('\\', _) => {
                if characters.next().is_none() {
                    return Some("nothing stands behind the last `\\`");
                }
                class = class.map(|length| length + 1);
            }
            ('^', Some(0)) => {}
            (']', Some(0)) if text[at + 1..].contains(']') => class = Some(1),
            (']', Some(_)) => class = None,
            (_, Some(length)) => *length += 1,
            ('[', None) => class = Some(0),
            ('(', None) => groups += 1,
            (')', None) => match groups.checked_sub(1) {
                Some(left) => groups = left,
                None => return Some("a `)` has no `(`"),
            },
            _ => {}
        }
    }
    match (class, groups) {
        (Some(_), _) => Some("a `[` has no `]`"),
        (None, 0) => None,
        (None, _) => Some("a `(` has no `)`"),
    }
}

#[cfg(test)]
mod tests {
    use super::unbalanced;

    #[test]
    fn what_no_dialect_takes() {
        for (text, want) in [
            (r"^[\w-.]+$", None),
            (r"\p{Print}+", None),
            (r"[\uD800-\uDBFF]", None),
            (r"\Q([\E", None),
            (r"\Q(", None),
            ("[]a]", None),
            ("[^]a]", None),
            ("[]", None),
            ("[(]", None),
            (r"\(", None),
            ("a]", None),
            ("(?<n>a)(?=b)", None),
            ("[a", Some("a `[` has no `]`")),
            ("[a(]", None),
            (r"[a\]", Some("a `[` has no `]`")),
            ("(a", Some("a `(` has no `)`")),
            ("a)", Some("a `)` has no `(`")),
            (r"a\", Some("nothing stands behind the last `\\`")),
        ] {
            assert_eq!(unbalanced(text), want, "{text}");
        }
    }
}
