//! The difference between two JSON bodies, place by place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;

use super::mask::{Learned, is_secret_member};
use super::model::Visit;
use crate::body::coding;
use crate::json::{Index, Kind, Value};
use crate::telemetry::Redactor;
use crate::telemetry::redact::MASK;

/// Longer bodies are not compared.
const LONGEST: usize = 1 << 20;
/// The most places that are shown.
const MOST_PLACES: usize = 100;
/// So much of a value is shown, and of the path to it, in bytes.
const MOST: usize = 500;
/// So much more is kept until the secrets are taken out, so that none is cut in two.
const SPARE: usize = 4 * 1024;

/// Where two JSON bodies differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The lengths of both, in bytes.
    pub lengths: (u64, u64),
    /// The places, in the order of the body.
    pub list: Vec<Place>,
    /// How many more there are.
    pub more: usize,
}

/// A place in JSON where something differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// As a JSONPath (RFC 9535): `$.users[0].name`.
    pub path: Excerpt,
    /// The value before, as JSON; none where there was none.
    pub before: Option<Excerpt>,
    /// The value after.
    pub after: Option<Excerpt>,
}

/// The beginning of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The beginning.
    pub text: String,
    /// Whether there is more of it.
    pub cut: bool,
}

impl Excerpt {
    /// Cuts it to what is shown, now that the secrets are taken out. `longest` is the length of the longest of them.
    fn finish(&mut self, longest: usize) {
        cut_to(&mut self.text, &mut self.cut, MOST, longest);
    }
}

/// Cuts a text to `most` bytes. The end of one that was cut before may hold the beginning of a secret of the `longest` length.
pub(super) fn cut_to(text: &mut String, cut: &mut bool, most: usize, longest: usize) {
    let sure = if *cut { text.len().saturating_sub(longest) } else { text.len() };
    let most = sure.min(most);
    if most < text.len() {
        *cut = true;
        text.truncate(text.floor_char_boundary(most));
        text.shrink_to_fit();
    }
}

impl Place {
    fn excerpts(&mut self) -> impl Iterator<Item = &mut Excerpt> {
        [Some(&mut self.path), self.before.as_mut(), self.after.as_mut()].into_iter().flatten()
    }
}

impl Places {
    /// Where two bodies differ; none when one of them is not a JSON object or array, or they are of different kinds or too long. What is a
    /// secret by its name is learned from all of both, so that it is found wherever it stands.
    pub(super) fn between(
        before: (&Bytes, &HeaderMap),
        after: (&Bytes, &HeaderMap),
        redactor: &Redactor,
        learned: &mut Learned,
    ) -> Option<Self> {
        let lengths = (before.0.len() as u64, after.0.len() as u64);
        let (before, after) = (plain(before)?, plain(after)?);
        let (before, after) = (Index::parse(&before).ok()?, Index::parse(&after).ok()?);
        let (before, after) = (before.root(), after.root());
        if before.kind() != after.kind() || !matches!(before.kind(), Kind::Object | Kind::Array) {
            return None;
        }
        if !learn(before, None, redactor, learned) || !learn(after, None, redactor, learned) {
            return None;
        }
        let mut found = Self { lengths, ..Self::default() };
        let mut walk = Walk { found: &mut found, path: "$".to_owned(), names: Vec::new(), redactor, learned };
        walk.differ(before, after);
        Some(found)
    }

    pub(super) fn texts(&mut self, visit: Visit<'_>) {
        self.list.iter_mut().flat_map(Place::excerpts).for_each(|excerpt| visit(&mut excerpt.text));
    }

    pub(super) fn finish(&mut self, longest: usize) {
        self.list.iter_mut().flat_map(Place::excerpts).for_each(|excerpt| excerpt.finish(longest));
    }

    pub(super) fn weight(&self) -> usize {
        let length = |excerpt: &Option<Excerpt>| excerpt.as_ref().map_or(0, |excerpt| excerpt.text.len());
        self.list.iter().map(|place| place.path.text.len() + length(&place.before) + length(&place.after)).sum()
    }
}

/// Learns what is a secret by its name from all of a body that is longer than what is shown of one: a policy may take it from
/// anywhere, and write it where it is shown.
pub(super) fn learn_all(body: &Bytes, headers: &HeaderMap, redactor: &Redactor, learned: &mut Learned) {
    if body.len() > super::body::MOST
        && learned.is_new(body)
        && let Some(plain) = plain((body, headers))
        && let Ok(index) = Index::parse(&plain)
    {
        learn(index.root(), None, redactor, learned);
    }
}

/// A body without its compression, when it is not too long.
fn plain((bytes, headers): (&Bytes, &HeaderMap)) -> Option<Bytes> {
    if !coding::is_coded(headers) {
        return (bytes.len() <= LONGEST).then(|| bytes.clone());
    }
    coding::is_readable(headers).then(|| coding::decode(headers, bytes, LONGEST as u64).ok())?
}

/// Learns all that is a secret by its name. False when that is too much to be hidden.
fn learn(value: Value<'_>, name: Option<&str>, redactor: &Redactor, learned: &mut Learned) -> bool {
    match value.kind() {
        Kind::Object => value.members().all(|(name, value)| learn(value, Some(&name), redactor, learned)),
        Kind::Array => value.items().all(|item| learn(item, name, redactor, learned)),
        Kind::Text => {
            if name.is_some_and(|name| is_secret_member(redactor, name)) {
                learned.learn(value.raw().trim_matches('"'));
                learned.learn(&value.text().unwrap_or_default());
            }
            !learned.is_full()
        }
        Kind::Null | Kind::Bool | Kind::Number => true,
    }
}

struct Walk<'w> {
    found: &'w mut Places,
    path: String,
    /// Of the members on the way, whether each is a secret by its name.
    names: Vec<bool>,
    redactor: &'w Redactor,
    learned: &'w mut Learned,
}

impl Walk<'_> {
    fn differ(&mut self, before: Value<'_>, after: Value<'_>) {
        if before.raw() == after.raw() {
            return;
        }
        match (before.kind(), after.kind()) {
            (Kind::Object, Kind::Object) => self.members(before, after),
            (Kind::Array, Kind::Array) => self.items(before, after),
            // The same text with other escapes.
            (Kind::Text, Kind::Text) if before.text() == after.text() => {}
            _ => self.note(Some(before), Some(after)),
        }
    }

    fn members(&mut self, before: Value<'_>, after: Value<'_>) {
        let (before, after) = (Members::of(before), Members::of(after));
        for (name, old) in &before.list {
            self.inside(name, |walk| match after.get(name) {
                Some(new) => walk.differ(*old, new),
                None => walk.note(Some(*old), None),
            });
        }
        for (name, new) in &after.list {
            if before.get(name).is_none() {
                self.inside(name, |walk| walk.note(None, Some(*new)));
            }
        }
    }

    /// What is the same at both ends is passed over, so that an item that is put in does not change all behind it.
    fn items(&mut self, before: Value<'_>, after: Value<'_>) {
        let (before, after): (Vec<_>, Vec<_>) = (before.items().collect(), after.items().collect());
        let is_same = |(one, other): &(&Value<'_>, &Value<'_>)| one.raw() == other.raw();
        let start = before.iter().zip(&after).take_while(is_same).count();
        let (before, after) = (&before[start..], &after[start..]);
        let end = before.iter().rev().zip(after.iter().rev()).take_while(is_same).count();
        let (before, after) = (&before[..before.len() - end], &after[..after.len() - end]);
        for place in 0..before.len().max(after.len()) {
            let length = self.path.len();
            let _ = write!(self.path, "[{}]", start + place);
            match (before.get(place), after.get(place)) {
                (Some(old), Some(new)) => self.differ(*old, *new),
                (old, new) => self.note(old.copied(), new.copied()),
            }
            self.path.truncate(length);
        }
    }

    fn inside(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        step(&mut self.path, name);
        self.names.push(is_secret_member(self.redactor, name));
        visit(self);
        self.names.pop();
        self.path.truncate(length);
    }

    fn note(&mut self, before: Option<Value<'_>>, after: Option<Value<'_>>) {
        if self.found.list.len() >= MOST_PLACES {
            self.found.more += 1;
            return;
        }
        let path = excerpt(&self.path);
        let (before, after) = (before.map(|value| self.shown(value)), after.map(|value| self.shown(value)));
        self.found.list.push(Place { path, before, after });
    }

    fn shown(&mut self, value: Value<'_>) -> Excerpt {
        if value.kind() == Kind::Text && self.names.last().is_some_and(|secret| *secret) {
            return Excerpt { text: format!("\"{MASK}\""), cut: false };
        }
        let Excerpt { text, cut } = excerpt(value.raw());
        Excerpt { text: self.learned.body(self.redactor, false, &text), cut }
    }
}

/// The members of an object; of several with one name the last, which is the one that counts for most readers.
#[derive(Default)]
struct Members<'v> {
    list: Vec<(Cow<'v, str>, Value<'v>)>,
    places: HashMap<Cow<'v, str>, usize>,
}

impl<'v> Members<'v> {
    fn of(object: Value<'v>) -> Self {
        let mut all = Self::default();
        for (name, value) in object.members() {
            match all.places.get(&name) {
                Some(place) => all.list[*place].1 = value,
                None => {
                    all.places.insert(name.clone(), all.list.len());
                    all.list.push((name, value));
                }
            }
        }
        all
    }

    fn get(&self, name: &str) -> Option<Value<'v>> {
        self.places.get(name).map(|place| self.list[*place].1)
    }
}

/// One step of a JSONPath (RFC 9535 §2.3.1.1 and §2.5.1.1).
fn step(path: &mut String, name: &str) {
    let is_plain = |c: char| c.is_alphanumeric() && c.is_ascii() || c == '_' || !c.is_ascii();
    let starts_plain = name.chars().next().is_some_and(|first| is_plain(first) && !first.is_ascii_digit());
    if starts_plain && name.chars().all(is_plain) {
        path.push('.');
        path.push_str(name);
        return;
    }
    path.push_str("['");
    for character in name.chars() {
        match character {
            '\'' | '\\' => path.extend(['\\', character]),
            control if control.is_control() => path.extend(control.escape_unicode()),
            other => path.push(other),
        }
    }
    path.push_str("']");
}

fn excerpt(text: &str) -> Excerpt {
    let end = text.floor_char_boundary(MOST + SPARE);
    Excerpt { text: text[..end].to_owned(), cut: end < text.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, after: &str) -> (Option<Places>, Vec<String>) {
        let headers = HeaderMap::new();
        let (before, after) = (Bytes::copy_from_slice(before.as_bytes()), Bytes::copy_from_slice(after.as_bytes()));
        let mut learned = Learned::default();
        let found = Places::between((&before, &headers), (&after, &headers), &Redactor::default(), &mut learned);
        (found, learned.all().to_vec())
    }

    fn lines(places: &Places) -> Vec<String> {
        let shown = |excerpt: &Option<Excerpt>| excerpt.as_ref().map_or("-", |excerpt| &excerpt.text).to_owned();
        places
            .list
            .iter()
            .map(|one| format!("{} {} {}", one.path.text, shown(&one.before), shown(&one.after)))
            .collect()
    }

    #[test]
    fn what_differs_is_told_by_its_place() {
        struct Case {
            name: &'static str,
            before: &'static str,
            after: &'static str,
            want: &'static [&'static str],
        }
        for Case { name, before, after, want } in [
            Case {
                name: "a member is changed, one is gone, one is new",
                before: r#"{"a":1.10,"b":{"c":true},"d":null}"#,
                after: r#"{"b":{"c":false,"e":[]},"a":1.10}"#,
                want: &["$.b.c true false", "$.b.e - []", "$.d null -"],
            },
            Case {
                name: "written differently",
                before: r#"{"a":"\u0062","c":[1,2]}"#,
                after: r#"{ "c": [1, 2], "a": "b" }"#,
                want: &[],
            },
            Case {
                name: "an item is put in, and the items behind it are the same",
                before: r#"[{"n":1},{"n":2},{"n":3}]"#,
                after: r#"[{"n":1},{"n":9},{"n":2},{"n":3}]"#,
                want: &[r#"$[1] - {"n":9}"#],
            },
            Case { name: "an item is changed", before: "[1,2,3]", after: "[1,5,3]", want: &["$[1] 2 5"] },
            Case {
                name: "names that are no words",
                before: r#"{"a b":1,"it's":1,"1":1,"über":1}"#,
                after: r#"{"a b":2,"it's":2,"1":2,"über":2}"#,
                want: &["$['a b'] 1 2", r"$['it\'s'] 1 2", "$['1'] 1 2", "$.über 1 2"],
            },
            Case {
                name: "another kind",
                before: r#"{"users":[{"id":"u"}]}"#,
                after: r#"{"users":{"u":{}}}"#,
                want: &[r#"$.users [{"id":"u"}] {"u":{}}"#],
            },
            Case {
                name: "the last of a name counts",
                before: r#"{"a":1,"a":2}"#,
                after: r#"{"a":1}"#,
                want: &["$.a 2 1"],
            },
            Case {
                name: "secrets by their names",
                before: r#"{"password":"old-one-1","x":{"client_secret":"inner-one"},"tokens":1}"#,
                after: r#"{"password":["new-one-2"],"x":2,"access_token":"new-one-3"}"#,
                want: &[
                    r#"$.password "***" ["new-one-2"]"#,
                    r#"$.x {"client_secret":"***"} 2"#,
                    "$.tokens 1 -",
                    r#"$.access_token - "***""#,
                ],
            },
        ] {
            let (found, learned) = between(before, after);
            assert_eq!(lines(&found.unwrap()), want, "{name}");
            if name.starts_with("secrets") {
                assert_eq!(learned, ["old-one-1", "inner-one", "new-one-2", "new-one-3"], "they are hidden afterwards");
            }
        }
    }

    #[test]
    fn it_is_bounded() {
        let list = |from: usize| (from..from + 300).map(|n| format!("\"n{n}\":{n}")).collect::<Vec<_>>().join(",");
        let (before, after) = (format!("{{{}}}", list(0)), format!("{{{}}}", list(300)));
        let found = between(&before, &after).0.unwrap();
        assert_eq!((found.list.len(), found.more), (MOST_PLACES, 500));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(9_000));
        let mut found = between("{}", &long).0.unwrap();
        found.finish(10);
        let after = found.list[0].after.as_ref().unwrap();
        assert_eq!((after.text.len(), after.cut), (MOST, true));
        let secrets: String = (0..1_000).map(|n| format!("\"secret\":\"secret-{n}\",")).collect();
        assert!(between("{}", &format!("{{{secrets}\"a\":1}}")).0.is_none(), "too much to be hidden");
        for (before, after) in [("[]", "{}"), ("1", "2"), ("{", "{}"), ("{}", "text")] {
            assert!(between(before, after).0.is_none(), "{before} {after}");
        }
    }
}
