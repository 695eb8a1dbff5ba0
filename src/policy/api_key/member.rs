//! One member of a JSON text: read, and taken out with everything else left as the caller wrote it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where the member is: the names from the outside in. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberPath(Box<[Box<str>]>);

impl MemberPath {
    /// A name, or a pointer (RFC 6901) when it begins with `/`. Members of lists cannot be meant.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(pointer) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Err("the name of the member is empty".to_owned())
            } else {
                Ok(Self([text.into()].into()))
            };
        };
        let name = |name: &str| {
            let mut rest = name;
            while let Some(at) = rest.find('~') {
                rest = rest[at + 1..]
                    .strip_prefix(['0', '1'])
                    .ok_or("`~` is written `~0` in a pointer, and `/` is `~1`")?;
            }
            // In this order: `~01` stands for `~1` (RFC 6901 §4).
            Ok(name.replace("~1", "/").replace("~0", "~").into())
        };
        pointer.split('/').map(name).collect::<Result<_, &str>>().map(Self).map_err(str::to_owned)
    }

    /// The name as a pointer.
    pub(super) fn name(&self) -> String {
        self.0.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
    }

    /// The text of the member. None when there is none, when it is no text or an empty one, and when the whole is not JSON.
    pub(super) fn find<'j>(&self, json: &'j [u8]) -> Option<Cow<'j, str>> {
        let mut value = json;
        for name in &self.0 {
            let mut deserializer = serde_json::Deserializer::from_slice(value);
            let found = Named(name).deserialize(&mut deserializer).ok()?;
            deserializer.end().ok()?;
            value = found?.get().as_bytes();
        }
        let Text(text) = serde_json::from_slice(value).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text without the member, and without others of the same name. None when there is nothing to take out.
    pub(super) fn without(&self, json: &[u8]) -> Option<Vec<u8>> {
        without(json, &self.0)
    }
}

fn without(json: &[u8], path: &[Box<str>]) -> Option<Vec<u8>> {
    let (name, inner) = path.split_first()?;
    let Members(members) = serde_json::from_slice(json).ok()?;
    let mut out = Vec::with_capacity(json.len());
    let mut changed = false;
    for (key, value) in members {
        let value = match (key == **name, inner) {
            (false, _) => Cow::Borrowed(value.get().as_bytes()),
            (true, []) => {
                changed = true;
                continue;
            }
            (true, inner) => match without(value.get().as_bytes(), inner) {
                Some(less) => {
                    changed = true;
                    Cow::Owned(less)
                }
                None => Cow::Borrowed(value.get().as_bytes()),
            },
        };
        out.push(if out.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut out, &key).ok()?;
        out.push(b':');
        out.extend_from_slice(&value);
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    changed.then_some(out)
}

/// Finds the value of a member. Of several the last one counts, as with most readers of JSON (RFC 8259 §4).
struct Named<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = Option<&'de RawValue>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(same) = map.next_key_seed(Is(self.0))? {
            if same {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a text is this one.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}

/// A text, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

/// The members of an object in the order they were written, with their values as they were written.
struct Members<'j>(Vec<(String, &'j RawValue)>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_and_taken_out_alone() {
        for (path, json, found, rest) in [
            ("key", r#"{"key":"k"}"#, Some("k"), Some("{}")),
            ("key", r#"{ "a": 1.50, "key": "k", "b": [1, 2] }"#, Some("k"), Some(r#"{"a":1.50,"b":[1, 2]}"#)),
            (
                "key",
                r#"{"key":"one","key":"two","n":12345678901234567890123}"#,
                Some("two"),
                Some(r#"{"n":12345678901234567890123}"#),
            ),
            ("key", r#"{"k\u0065y":"\u006b"}"#, Some("k"), Some("{}")),
            ("key", r#"{"\u0022":1,"key":"k"}"#, Some("k"), Some(r#"{"\"":1}"#)),
            (
                "/auth/key",
                r#"{"auth":{"key":"k","x":null},"key":"other"}"#,
                Some("k"),
                Some(r#"{"auth":{"x":null},"key":"other"}"#),
            ),
            ("/a~1b/~0", r#"{"a/b":{"~":"k"}}"#, Some("k"), Some(r#"{"a/b":{}}"#)),
            // What is no text is no key; it is taken out all the same.
            ("key", r#"{"key":1}"#, None, Some("{}")),
            ("key", r#"{"key":""}"#, None, Some("{}")),
            ("key", r#"{"Key":"k"}"#, None, None),
            ("/auth/key", r#"{"auth":["key"]}"#, None, None),
            ("key", r#"["key"]"#, None, None),
            ("key", r#"{"key":"k"} {}"#, None, None),
            ("key", r#"{"key":"k""#, None, None),
            ("key", "", None, None),
        ] {
            let path = MemberPath::parse(path).unwrap();
            assert_eq!(path.find(json.as_bytes()).as_deref(), found, "{path:?} {json}");
            let left = path.without(json.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(left.as_deref(), rest, "{path:?} {json}");
        }
    }

    #[test]
    fn paths() {
        for (text, want) in [
            ("key", Some("/key")),
            ("a/b", Some("/a~1b")),
            ("/a/b", Some("/a/b")),
            ("/a~01", Some("/a~01")),
            ("", None),
            ("/a~2", None),
            ("/~", None),
        ] {
            assert_eq!(MemberPath::parse(text).ok().map(|path| path.name()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(MemberPath::parse("key").unwrap().find(deep.as_bytes()), None);
    }
}
