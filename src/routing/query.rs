//! Query strings: read, edit and merge parameters while every other byte of the query stays as it came.
//!
//! Parameters are separated by `&` and decoded as HTML forms are: `+` is a space and `%XX` a byte. Names are compared
//! decoded and with their case, so `%61pi` names `api` and cannot hide from a policy.

use std::borrow::Cow;
use std::ops::Range;

use super::path::{escaped, is_unreserved, push_escape};

/// One parameter of a query, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The bytes of the query that are the parameter, without the `&` on either side.
    pub span: Range<usize>,
    /// The name before decoding.
    pub raw_name: &'a str,
    /// The value before decoding; nothing when there is no `=`.
    pub raw_value: Option<&'a str>,
}

impl<'a> Pair<'a> {
    /// The decoded name.
    pub fn name(&self) -> Cow<'a, str> {
        decode(self.raw_name)
    }

    /// The decoded value, empty when there is no `=`.
    pub fn value(&self) -> Cow<'a, str> {
        decode(self.raw_value.unwrap_or_default())
    }

    /// Whether the decoded name is `name`.
    pub fn is(&self, name: &str) -> bool {
        decodes_to(self.raw_name, name)
    }

    /// The bytes of the query that are the value before decoding.
    pub fn value_span(&self) -> Range<usize> {
        self.span.end - self.raw_value.map_or(0, str::len)..self.span.end
    }
}

/// The parameters in order; empty ones (`a=1&&b=2`) are left out.
pub fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    let mut at = 0;
    query.split('&').filter_map(move |text| {
        let span = at..at + text.len();
        at = span.end + 1;
        let (raw_name, raw_value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        (!text.is_empty()).then_some(Pair { span, raw_name, raw_value })
    })
}

/// The first parameter of this (decoded) name.
pub fn find<'a>(query: &'a str, name: &str) -> Option<Pair<'a>> {
    pairs(query).find(|pair| pair.is(name))
}

/// The decoded value of the first parameter of this name.
pub fn get<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    find(query, name).map(|pair| pair.value())
}

/// The decoded values of all parameters of this name, in order.
pub fn get_all<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    pairs(query).filter(move |pair| pair.is(name)).map(|pair| pair.value())
}

/// Puts the values in the place of the first parameter of this name and removes the others; appends when there is none.
/// Without values the parameter is removed.
pub fn set<V: AsRef<str>>(query: &mut String, name: &str, values: impl IntoIterator<Item = V>) {
    let mut written = String::new();
    for value in values {
        append(&mut written, name, value.as_ref());
    }
    let Some(first) = find(query, name).map(|pair| pair.span) else {
        append_raw(query, &written);
        return;
    };
    if written.is_empty() {
        remove(query, name);
        return;
    }
    let mut tail = query.split_off(first.end);
    remove(&mut tail, name);
    query.replace_range(first, &written);
    query.push_str(&tail);
}

/// Adds a parameter at the end.
pub fn append(query: &mut String, name: &str, value: &str) {
    separate(query);
    encode(name, query);
    query.push('=');
    encode(value, query);
}

/// Adds the parameter unless there is one of this name already (APIM's `exists-action="skip"`). Tells whether it did.
pub fn set_if_absent(query: &mut String, name: &str, value: &str) -> bool {
    let absent = find(query, name).is_none();
    if absent {
        append(query, name, value);
    }
    absent
}

/// Removes all parameters of this name. Tells whether there were any.
pub fn remove(query: &mut String, name: &str) -> bool {
    retain(query, |pair| !pair.is(name))
}

/// Keeps the parameters that `keep` wants. Tells whether any was removed.
pub fn retain(query: &mut String, mut keep: impl FnMut(&Pair<'_>) -> bool) -> bool {
    let doomed: smallvec::SmallVec<[Range<usize>; 4]> =
        pairs(query).filter(|pair| !keep(pair)).map(|pair| pair.span).collect();
    for span in doomed.iter().rev() {
        // The separator goes with the parameter: the one after it, or for the last parameter the one before it.
        let (mut start, mut end) = (span.start, span.end);
        if end < query.len() {
            end += 1;
        } else {
            start = start.saturating_sub(1);
        }
        query.replace_range(start..end, "");
    }
    !doomed.is_empty()
}

/// Appends the parameters of `incoming` that `wanted` accepts, byte for byte: rewrite-uri's `copy-unmatched-params`.
pub fn merge(query: &mut String, incoming: &str, mut wanted: impl FnMut(&Pair<'_>) -> bool) {
    for pair in pairs(incoming).filter(|pair| wanted(pair)) {
        append_raw(query, &incoming[pair.span]);
    }
}

/// Decodes `+` and escapes. Invalid escapes stay as they are and invalid UTF-8 becomes U+FFFD.
pub fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(raw);
    }
    let bytes: Vec<u8> = decoded(raw).collect();
    Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Encodes `text` so that it stays within one name or value, and appends it.
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        // RFC 3986 §3.4 allows more, but `+`, `&`, `=` and `;` mean something to some reader.
        if is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b',' | b':' | b'@' | b'/') {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

pub(super) fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let bytes = raw.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let escape = escaped(&bytes[at..]);
        at += if escape.is_some() { 3 } else { 1 };
        Some(escape.unwrap_or(if byte == b'+' { b' ' } else { byte }))
    })
}

/// Whether `raw` is `text` once decoded.
pub(super) fn decodes_to(raw: &str, text: &str) -> bool {
    raw == text && !raw.contains(['%', '+']) || raw.contains(['%', '+']) && decoded(raw).eq(text.bytes())
}

fn append_raw(query: &mut String, text: &str) {
    if !text.is_empty() {
        separate(query);
        query.push_str(text);
    }
}

fn separate(query: &mut String) {
    if !query.is_empty() && !query.ends_with('&') {
        query.push('&');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reading() {
        for (query, name, want) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&b=2", "c", None),
            ("a=1&a=2", "a", Some("1")),
            ("A=1", "a", None),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("&&a=1", "a", Some("1")),
            ("q=x+y%20z", "q", Some("x y z")),
            ("%61pi=1", "api", Some("1")),
            ("a+b=1", "a b", Some("1")),
            ("a+b=1", "a+b", None),
            ("a=1=2", "a", Some("1=2")),
            ("a=%zz%4", "a", Some("%zz%4")),
            ("a=%C3%A9", "a", Some("\u{e9}")),
            ("a=%FF", "a", Some("\u{fffd}")),
            ("", "a", None),
        ] {
            assert_eq!(get(query, name).as_deref(), want, "{name} of {query}");
        }
        assert_eq!(get_all("a=1&b=2&%61=3", "a").collect::<Vec<_>>(), ["1", "3"]);
    }

    #[test]
    fn editing() {
        type Edit = fn(&mut String);
        struct Case {
            name: &'static str,
            query: &'static str,
            edit: Edit,
            want: &'static str,
        }
        for Case { name, query, edit, want } in [
            Case {
                name: "set keeps the place",
                query: "x=%7e&a=1&y=+",
                edit: |q| set(q, "a", ["2"]),
                want: "x=%7e&a=2&y=+",
            },
            Case {
                name: "set removes later ones",
                query: "a=1&b=2&%61=3&c",
                edit: |q| set(q, "a", ["9"]),
                want: "a=9&b=2&c",
            },
            Case { name: "set appends", query: "b=2", edit: |q| set(q, "a", ["x y&z"]), want: "b=2&a=x%20y%26z" },
            Case { name: "set on nothing", query: "", edit: |q| set(q, "a", ["1"]), want: "a=1" },
            Case { name: "set many", query: "a=1&b=2", edit: |q| set(q, "a", ["2", "3"]), want: "a=2&a=3&b=2" },
            Case { name: "set none", query: "a=1&b=2", edit: |q| set(q, "a", [""; 0]), want: "b=2" },
            Case { name: "set none on nothing", query: "b=2", edit: |q| set(q, "a", [""; 0]), want: "b=2" },
            Case { name: "append", query: "a=1", edit: |q| append(q, "a", "2+2"), want: "a=1&a=2%2B2" },
            Case { name: "skip when there", query: "a=1", edit: |q| assert!(!set_if_absent(q, "a", "2")), want: "a=1" },
            Case { name: "skip when absent", query: "b", edit: |q| assert!(set_if_absent(q, "a", "2")), want: "b&a=2" },
            Case {
                name: "remove first and last",
                query: "a=1&b=2&a=3",
                edit: |q| assert!(remove(q, "a")),
                want: "b=2",
            },
            Case { name: "remove the only one", query: "a", edit: |q| assert!(remove(q, "a")), want: "" },
            Case { name: "remove nothing", query: "a=1&&b=+", edit: |q| assert!(!remove(q, "c")), want: "a=1&&b=+" },
            Case {
                name: "merge copies bytes",
                query: "a=1",
                edit: |q| merge(q, "b=%7e&c=+&d", |p| !p.is("c")),
                want: "a=1&b=%7e&d",
            },
            Case { name: "merge into nothing", query: "", edit: |q| merge(q, "b=1&c=2", |_| true), want: "b=1&c=2" },
        ] {
            let mut text = query.to_owned();
            edit(&mut text);
            assert_eq!(text, want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_and_the_rest_stays(
            query in "[ab%+=&2e6]{0,16}", name in "[ab &+%]{1,3}", value in "\\PC{0,6}",
        ) {
            let others = |query: &str| {
                pairs(query).filter(|p| !p.is(&name)).map(|p| query[p.span].to_owned()).collect::<Vec<_>>()
            };
            let mut edited = query.clone();
            set(&mut edited, &name, [&value]);
            prop_assert_eq!(get_all(&edited, &name).collect::<Vec<_>>(), [value.as_str()]);
            prop_assert_eq!(others(&edited), others(&query));
            prop_assert!(remove(&mut edited, &name));
            prop_assert!(find(&edited, &name).is_none());
            prop_assert_eq!(others(&edited), others(&query));
        }
    }
}
