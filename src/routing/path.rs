//! The request path in the one form that routing, policies and the backend all see.
//!
//! RFC 3986 §6.2.2 lists what may differ between equal paths: the case of escapes, escapes of unreserved characters, and
//! dot segments. Two readers that disagree on any of them let `/open/%2e%2e/keyed` walk around a policy on `/keyed`.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`: the `*` of OPTIONS, an authority, nothing at all.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits after it.
    #[error("the path has an invalid percent-escape at byte {at}")]
    InvalidEscape {
        /// Offset of the `%`.
        at: usize,
    },
    /// A control character, raw or escaped (`%00`, `%0A`).
    #[error("the path has a control character at byte {at}")]
    ControlCharacter {
        /// Offset of the character or of its `%`.
        at: usize,
    },
    /// A dot segment with a parameter (`/..;x/`), which servlet containers resolve as `..` after dropping the parameter.
    #[error("the path has a dot segment with a parameter")]
    DotParameter,
    /// A dot segment beside an escaped separator (`/..%2Fx`, `/..%5Cx`), which servers that decode before they resolve dot
    /// segments take for a parent: nginx and IIS do.
    #[error("the path has a dot segment beside an escaped separator")]
    DotSeparator,
}

/// What a byte of a path is to the normaliser.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is.
    Keep,
    /// Is written as an escape.
    Encode,
    /// Is refused.
    Control,
    /// Begins an escape.
    Percent,
}

const fn class(byte: u8) -> Class {
    match byte {
        0..=0x1f | 0x7f => Class::Control,
        b'%' => Class::Percent,
        b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'[' | b'\\' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
            Class::Encode
        }
        _ => Class::Keep,
    }
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Keep; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(super) const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The byte that the escape at the start of `bytes` stands for.
pub(super) fn escaped(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some((hex_value(*high)? << 4) | hex_value(*low)?),
        _ => None,
    }
}

pub(super) fn push_escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Normalises a path: decodes escapes of unreserved characters, writes other escapes in upper case, encodes what may not
/// stand in a path, and removes dot segments, escaped or not.
///
/// `%2F` stays an escape and is never a separator, so a dot segment beside one is refused. Empty segments stay. A path that is normal already is borrowed.
///
/// # Errors
/// See [`PathError`]; the request is the client's mistake and is answered with 400.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len() + 16);
    let mut at = 1;
    for segment in path[1..].split('/') {
        let is_last = at + segment.len() == path.len();
        let start = out.len();
        out.push('/');
        normalise_text(segment, at, &mut out)?;
        at += segment.len() + 1;
        match dots(&out.as_bytes()[start + 1..]) {
            Dots::None => {}
            Dots::Parameter => return Err(PathError::DotParameter),
            Dots::Separator => return Err(PathError::DotSeparator),
            Dots::One => out.truncate(start + usize::from(is_last)),
            Dots::Two => {
                let parent = out[..start].rfind('/').unwrap_or(0);
                out.truncate(parent);
                if is_last {
                    out.push('/');
                }
            }
        }
    }
    Ok(Cow::Owned(out))
}

/// Appends `text`, a part of a path without separators that begins at byte `at`, in normal form.
pub(super) fn normalise_text(text: &str, at: usize, out: &mut String) -> Result<(), PathError> {
    let bytes = text.as_bytes();
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        match CLASSES[usize::from(byte)] {
            Class::Keep => out.push(char::from(byte)),
            Class::Encode => push_escape(byte, out),
            Class::Control => return Err(PathError::ControlCharacter { at: at + index }),
            Class::Percent => {
                let Some(value) = escaped(&bytes[index..]) else {
                    return Err(PathError::InvalidEscape { at: at + index });
                };
                if class(value) == Class::Control {
                    return Err(PathError::ControlCharacter { at: at + index });
                }
                if is_unreserved(value) {
                    out.push(char::from(value));
                } else {
                    push_escape(value, out);
                }
                index += 2;
            }
        }
        index += 1;
    }
    Ok(())
}

/// Whether a segment in normal form is a dot segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dots {
    None,
    One,
    Two,
    Parameter,
    Separator,
}

pub(super) fn dots(segment: &[u8]) -> Dots {
    match segment {
        b"." => Dots::One,
        b".." => Dots::Two,
        [b'.', b';', ..] | [b'.', b'.', b';', ..] => Dots::Parameter,
        _ if has_dots_beside_separator(segment) => Dots::Separator,
        _ => Dots::None,
    }
}

fn has_dots_beside_separator(segment: &[u8]) -> bool {
    let is_dots = |part: &[u8]| matches!(part, b"." | b".." | [b'.', b';', ..] | [b'.', b'.', b';', ..]);
    let mut start = 0;
    for at in memchr::memchr_iter(b'%', segment) {
        if matches!(escaped(&segment[at..]), Some(b'/' | b'\\')) {
            if is_dots(&segment[start..at]) {
                return true;
            }
            start = at + 3;
        }
    }
    start > 0 && is_dots(&segment[start..])
}

fn is_normal(path: &[u8]) -> bool {
    let mut index = 0;
    let mut has_separator = false;
    while let Some(&byte) = path.get(index) {
        match CLASSES[usize::from(byte)] {
            Class::Keep => {
                if byte == b'/' && path.get(index + 1) == Some(&b'.') {
                    let rest = &path[index + 1..];
                    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
                    // An escaped second dot is found by the scan itself: `%2E` is never normal.
                    if dots(&rest[..end]) != Dots::None {
                        return false;
                    }
                }
            }
            Class::Percent => match path[index..] {
                [_, high, low, ..] if !high.is_ascii_lowercase() && !low.is_ascii_lowercase() => {
                    match escaped(&path[index..]) {
                        Some(value) if !is_unreserved(value) && class(value) != Class::Control => {
                            has_separator |= matches!(value, b'/' | b'\\');
                            index += 2;
                        }
                        _ => return false,
                    }
                }
                _ => return false,
            },
            Class::Encode | Class::Control => return false,
        }
        index += 1;
    }
    !has_separator || path.split(|&byte| byte == b'/').all(|segment| dots(segment) == Dots::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_form() {
        for (path, want) in [
            ("/", "/"),
            ("/orders/42", "/orders/42"),
            ("/Orders", "/Orders"),
            ("/%6b%65yed", "/keyed"),
            ("/%7euser", "/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/100%25", "/100%25"),
            ("/%2541", "/%2541"),
            ("/open/../keyed", "/keyed"),
            ("/open/%2e%2e/keyed", "/keyed"),
            ("/open/.%2E/keyed", "/keyed"),
            ("/open/%2E/keyed", "/open/keyed"),
            ("/../../etc", "/etc"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/a//b/", "/a//b/"),
            ("//a", "//a"),
            ("/a//../b", "/a/b"),
            ("/a..%2fb", "/a..%2Fb"),
            ("/a%2F..b/.%41%5C", "/a%2F..b/.A%5C"),
            ("/a\\b", "/a%5Cb"),
            ("/a\"<>^`{|}", "/a%22%3C%3E%5E%60%7B%7C%7D"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/.well-known/...", "/.well-known/..."),
            ("/People('1')", "/People('1')"),
            ("/a;v=1/b", "/a;v=1/b"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(want), "{path}");
            assert_eq!(matches!(normalise(path), Ok(Cow::Borrowed(_))), path == want, "{path} borrows when normal");
        }
    }

    #[test]
    fn refused() {
        for (path, want) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/a%zz", PathError::InvalidEscape { at: 2 }),
            ("/a%4", PathError::InvalidEscape { at: 2 }),
            ("/a/%", PathError::InvalidEscape { at: 3 }),
            ("/a%00", PathError::ControlCharacter { at: 2 }),
            ("/a/b%0d%0a", PathError::ControlCharacter { at: 4 }),
            ("/a%7F", PathError::ControlCharacter { at: 2 }),
            ("/a\u{7f}", PathError::ControlCharacter { at: 2 }),
            ("/a\0", PathError::ControlCharacter { at: 2 }),
            ("/open/..;/keyed", PathError::DotParameter),
            ("/open/%2e%2e;x=1/keyed", PathError::DotParameter),
            ("/open/..%2fkeyed", PathError::DotSeparator),
            ("/open/..%2Fkeyed", PathError::DotSeparator),
            ("/open/..%5Ckeyed", PathError::DotSeparator),
            ("/open/..\\keyed", PathError::DotSeparator),
            ("/open/a%2F..", PathError::DotSeparator),
            ("/open/a%2F%2e%2E%2Fb", PathError::DotSeparator),
            ("/open/a%2F..;x=1/keyed", PathError::DotSeparator),
            ("/open/.%2Fa", PathError::DotSeparator),
        ] {
            assert_eq!(normalise(path), Err(want), "{path:?}");
        }
    }

    /// The definition, one step after the other, with no regard for cost.
    fn reference(path: &str) -> Option<String> {
        let bytes = path.as_bytes();
        let mut tokens: Vec<String> = Vec::new();
        let mut index = 0;
        while index < bytes.len() {
            let escape = bytes[index] == b'%';
            let value = if escape {
                let digits = path.get(index + 1..index + 3)?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            } else {
                bytes[index]
            };
            index += if escape { 3 } else { 1 };
            if value.is_ascii_control() {
                return None;
            }
            let stays = is_unreserved(value) || (!escape && b"/!$&'()*+,;=:@".contains(&value));
            tokens.push(if stays { char::from(value).to_string() } else { format!("%{value:02X}") });
        }
        let text = tokens.concat();
        let mut segments: Vec<&str> = Vec::new();
        let parts: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
        for (position, part) in parts.iter().enumerate() {
            if part.starts_with(".;") || part.starts_with("..;") {
                return None;
            }
            let inner: Vec<&str> = part.split("%2F").flat_map(|inner| inner.split("%5C")).collect();
            let is_dots = |text: &&str| matches!(text.split(';').next(), Some("." | ".."));
            if inner.len() > 1 && inner.iter().any(is_dots) {
                return None;
            }
            if *part == ".." {
                segments.pop();
            }
            if *part != "." && *part != ".." {
                segments.push(part);
            } else if position + 1 == parts.len() {
                segments.push("");
            }
        }
        Some(format!("/{}", segments.join("/")))
    }

    fn paths() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%25"),
            Just("%41"),
            Just("a"),
            Just(";"),
            Just("%"),
            Just("%0"),
            Just("\\"),
            Just("\u{e9}"),
            Just("2e"),
            Just("%00"),
            Just("B"),
            Just("%c3"),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
    }

    proptest! {
        #[test]
        fn equals_the_reference_and_is_idempotent(path in paths()) {
            let normal = normalise(&path).ok().map(Cow::into_owned);
            prop_assert_eq!(&normal, &reference(&path));
            if let Some(normal) = normal {
                prop_assert!(normal.starts_with('/'));
                let closed = normal.clone() + "/";
                prop_assert!(!closed.contains("/../") && !closed.contains("/./"));
                prop_assert!(matches!(normalise(&normal), Ok(Cow::Borrowed(same)) if same == normal));
            }
        }

        #[test]
        fn never_panics(path in "\\PC*") {
            let _ = normalise(&path);
        }
    }
}
