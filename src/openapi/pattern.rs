//! Regular expressions of ECMA-262, as JSON Schema has them, run by an engine that never takes longer than the text is long.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

mod made_up;

/// The most that one compiled expression may take.
const MAX_SIZE: usize = 1 << 20;

/// A regular expression, compiled when it is first used: most are never.
#[derive(Debug)]
pub struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be checked, for people.
    pub fn parse(source: &str) -> Result<Self, String> {
        compile(source)?;
        Ok(Self { source: source.into(), compiled: OnceLock::new() })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// A text in which it is found and whose length in characters is between two bounds; none where none was found.
    pub fn made_up(&self, min: u64, max: u64) -> Option<String> {
        // Once as often as a reader expects, then as often as the length asks for.
        const OFTEN: [u32; 4] = [1, 2, 8, 0];
        let source = translate(&self.source);
        let asked = u32::try_from(min).unwrap_or(u32::MAX);
        OFTEN.into_iter().chain([asked]).find_map(|often| {
            let text = made_up::text(&source, often)?;
            let length = text.chars().count() as u64;
            ((min..=max).contains(&length) && self.is_in(&text)).then_some(text)
        })
    }

    /// Whether it is found in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.source).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

fn compile(source: &str) -> Result<Regex, String> {
    let text = translate(source);
    RegexBuilder::new(&text).size_limit(MAX_SIZE).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}

/// The same expression as the engine writes it. Where the two languages differ: digits and letters are those of ASCII, a bracket in a
/// class is a character, and some escapes are spelt in another way.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut characters = source.chars().peekable();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                // ECMA-262 counts the byte-order mark as space.
                Some('s') => out.push_str(if in_class { r"\s\x{feff}" } else { r"[\s\x{feff}]" }),
                Some('S') => out.push_str(r"[^\s\x{feff}]"),
                Some('b') if in_class => out.push_str(r"\x08"),
                Some('b') => out.push_str(r"(?-u:\b)"),
                Some('u') if characters.peek() == Some(&'{') => out.push_str(r"\x"),
                Some('u') => {
                    out.push_str(r"\x{");
                    out.extend((0..4).map_while(|_| characters.next_if(char::is_ascii_hexdigit)));
                    out.push('}');
                }
                Some('c') => {
                    let letter = characters.next().unwrap_or('@');
                    out.push_str(&format!("\\x{:02x}", u32::from(letter) % 32));
                }
                Some('0') => out.push_str(r"\x00"),
                // Letters that mean something to the engine alone stand for themselves.
                Some(
                    letter @ ('A' | 'z' | 'Z' | 'a' | 'Q' | 'E' | 'G' | 'h' | 'H' | 'i' | 'I' | 'l' | 'L' | 'N' | 'R'
                    | 'U' | 'x'),
                ) if letter != 'x' || !characters.peek().is_some_and(char::is_ascii_hexdigit) => {
                    out.push(letter);
                }
                Some(other) if !other.is_ascii() || matches!(other, ' ' | '_' | '<' | '>') => out.push(other),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // `[]` takes nothing and `[^]` everything; the engine would take the bracket for a character.
                if characters.peek() == Some(&']') {
                    characters.next();
                    in_class = false;
                    let everything = out.ends_with('^');
                    out.truncate(out.rfind('[').unwrap_or(0));
                    out.push_str(if everything { r"[\s\S]" } else { r"[^\s\S]" });
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // No line ends with it: those of ECMA-262 are four.
            '.' if !in_class => out.push_str(r"[^\n\r\x{2028}\x{2029}]"),
            // Sets of the engine.
            '&' | '~' if in_class => out.extend(['\\', character]),
            '-' if in_class && characters.peek() == Some(&'-') => out.push_str(r"\-"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_ecmascript() {
        for (pattern, text, want) in [
            ("^a*$", "aaa", true),
            ("^a*$", "aab", false),
            ("b", "abc", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^\w$", "é", false),
            (r"^[\w.]+$", "a.b", true),
            (r"^[[]x$", "[x", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^\/x\-y$", "/x-y", true),
            (r"^\u00e9$", "é", true),
            (r"^\cA$", "\u{1}", true),
            (r"^\s$", "\u{feff}", true),
            (r"^[^]$", "x", true),
            ("^a$", "a\n", false),
            ("^.$", "\r", false),
            (r"^[.]\.$", "..", true),
            ("^.{2,3}$", "é€x", true),
            (r"^[0-9a-f]{8}$", "0b5e1d0c", true),
            (r"^\p{L}+$", "é", true),
            (r"\x41", "A", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().is_in(text), want, "{pattern}: {text:?}");
        }
        for (pattern, min, max, want) in [
            ("^AC[0-9a-fA-F]{32}$", 34, 34, Some("AC".to_owned() + &"a".repeat(32))),
            (r"^arn:aws:[a-z0-9-]+:[^:]*:.*$", 1, 99, Some("arn:aws:a:a:a".to_owned())),
            (r"^(on|off)$", 0, 9, Some("on".to_owned())),
            (r"^\d{4}-\d{2}$", 0, 9, Some("0000-00".to_owned())),
            ("^[a-z]+$", 5, 9, Some("aaaaaaaa".to_owned())),
            ("^[a-z]*$", 0, 0, Some(String::new())),
            ("^[é-ü]$", 0, 9, Some("é".to_owned())),
            ("^x{2000}$", 0, 9999, None),
            ("^a$", 2, 9, None),
            (r"a\Bb\b.", 0, 9, None),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().made_up(min, max), want, "{pattern}");
        }
        for wrong in ["(", r"(?=a)b", r"(a)\1", "a{2,1}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
