//! JSON bodies as the policies of the model edit them: paths, and what each template makes of a value.

use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;
use serde_json::{Map, Value as Json};

use super::reading::Policy;

/// All but what encodeURIComponent leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Body,
    Item,
    Here,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Name(String),
    Index(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) root: Root,
    pub(crate) keys: Vec<Key>,
}

impl Path {
    pub(crate) fn parse(text: &str) -> Self {
        static KEYS: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\['(?<quoted>[^']*)'\]|\[(?<index>\d+)\]|(?<name>[^.\[]+)").unwrap());
        let text = text.trim();
        if matches!(text, "null" | "") {
            return Self { root: Root::Here, keys: Vec::new() };
        }
        let bare = text.strip_prefix('@').unwrap_or(text);
        let known = [("body", Root::Body), ("triggerBody", Root::Body), ("item", Root::Item)];
        let found = known.iter().find_map(|(name, root)| {
            let rest = bare.strip_prefix(name)?;
            let rest = rest.strip_prefix("()").unwrap_or(rest);
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((*root, rest))
        });
        let (root, rest) = found.unwrap_or((Root::Here, text));
        let key = |found: regex::Captures<'_>| match (found.name("quoted"), found.name("index")) {
            (Some(name), _) => Key::Name(name.as_str().to_owned()),
            (_, Some(index)) => Key::Index(index.as_str().parse().unwrap()),
            _ => Key::Name(found["name"].to_owned()),
        };
        Self { root, keys: KEYS.captures_iter(rest).map(key).collect() }
    }
}

pub(crate) fn get<'a>(root: &'a Json, keys: &[Key]) -> Option<&'a Json> {
    keys.iter().try_fold(root, |node, key| match key {
        Key::Name(name) => node.get(name),
        Key::Index(index) => node.get(index),
    })
}

fn get_mut<'a>(root: &'a mut Json, keys: &[Key]) -> Option<&'a mut Json> {
    keys.iter().try_fold(root, |node, key| match key {
        Key::Name(name) => node.get_mut(name),
        Key::Index(index) => node.get_mut(index),
    })
}

/// Puts a value where the objects on the way are, or can be.
pub(crate) fn put(root: &mut Json, keys: &[Key], value: Json) {
    match keys.split_first() {
        None => *root = value,
        Some((Key::Name(name), rest)) => {
            if root.is_null() {
                *root = Json::Object(Map::new());
            }
            if let Some(table) = root.as_object_mut() {
                put(table.entry(name).or_insert(Json::Null), rest, value);
            }
        }
        Some((Key::Index(index), rest)) => {
            if root.is_null() {
                *root = Json::Array(vec![Json::Null; index + 1]);
            }
            if let Some(item) = root.get_mut(index) {
                put(item, rest, value);
            }
        }
    }
}

/// The names of the parameters that say where a body policy reads: the parent, and the property in it.
pub(crate) fn source(policy: &Policy) -> (Path, Path) {
    let (parent, property) = match policy.id.as_str() {
        "setproperty" => ("newPropertyParentPathTemplate", ""),
        "moveproperties" => ("srcParentPath", "srcSubPath"),
        _ => ("propertyParentPath", "propertySubPath"),
    };
    (Path::parse(policy.text(parent)), Path::parse(policy.text(property)))
}

/// Runs a policy that edits a body. `value` is what `setproperty` sets, with its calls evaluated.
pub(crate) fn edit(policy: &Policy, value: &str, body: &mut Json) {
    let (parent, property) = source(policy);
    let text = |name: &str| policy.text(name);
    match policy.id.as_str() {
        "setproperty" => {
            let whole = body.clone();
            let name = Path::parse(text("newPropertySubPathTemplate"));
            let Some(parent) = get_mut(body, &parent.keys) else { return };
            for holder in holders(parent) {
                let item = holder.clone();
                let alone = HOLE.find(value).is_some_and(|hole| hole.as_str() == value);
                match in_text(value, &whole, Some(&item), &HOLE) {
                    None if alone => continue,
                    Some(filled) => put(holder, &name.keys, as_json(filled)),
                    None => put(holder, &name.keys, as_json(HOLE.replace_all(value, "").into_owned())),
                }
            }
        }
        "moveproperties" => {
            let keys = [parent.keys, property.keys].concat();
            let (Some(Key::Name(last)), Some(found)) = (keys.last(), get(body, &keys).cloned()) else { return };
            get_mut(body, &keys[..keys.len() - 1]).and_then(Json::as_object_mut).unwrap().shift_remove(last);
            let mut to = Path::parse(text("dstParentPath")).keys;
            to.extend(Path::parse(text("dstSubPath")).keys);
            for (name, value) in found.as_object().into_iter().flatten() {
                put(body, &[to.clone(), vec![Key::Name(name.clone())]].concat(), value.clone());
            }
        }
        _ => {
            let target = Path::parse(text("newPropertyPath"));
            let Some(found) = get_mut(body, &parent.keys) else { return };
            let mut into_body = None;
            let holders = if property.keys.is_empty() { vec![found] } else { holders(found) };
            for holder in holders {
                let Some(made) = get(holder, &property.keys).and_then(|value| changed(policy, value)) else { continue };
                match target.root {
                    Root::Body => into_body = Some(made),
                    _ => put(holder, &target.keys, made),
                }
            }
            if let Some(made) = into_body {
                put(body, &target.keys, made);
            }
        }
    }
}

fn holders(parent: &mut Json) -> Vec<&mut Json> {
    match parent {
        Json::Array(items) => items.iter_mut().filter(|item| item.is_object()).collect(),
        Json::Object(_) => vec![parent],
        _ => Vec::new(),
    }
}

fn as_json(text: String) -> Json {
    let parsed = serde_json::from_str(&text).ok();
    parsed.filter(|value: &Json| value.is_array() || value.is_object()).unwrap_or(Json::String(text))
}

/// What a policy makes of one value.
fn changed(policy: &Policy, value: &Json) -> Option<Json> {
    let or = |name: &str, default: &'static str| {
        Some(policy.text(name)).filter(|it| !it.is_empty()).unwrap_or(default).to_owned()
    };
    Some(match policy.id.as_str() {
        "stringreplace" => {
            value.as_str()?.replace(policy.text("sourceString"), policy.text("replacementString")).into()
        }
        "encodepropertyvalue" => utf8_percent_encode(value.as_str()?, COMPONENT).to_string().into(),
        "stringtoarray" => {
            let delimiters: Vec<char> = policy.text("delimiterList").chars().collect();
            let child =
                |part: &str| Json::Object(Map::from_iter([(policy.text("childPropertyName").to_owned(), part.into())]));
            value.as_str()?.split(&delimiters[..]).map(child).collect()
        }
        "convertobjecttoarray" => {
            let (key, name) = (or("keyName", "key"), or("valueName", "value"));
            let item = |(own, value): (&String, &Json)| {
                Json::Object(Map::from_iter([(key.clone(), own.as_str().into()), (name.clone(), value.clone())]))
            };
            value.as_object()?.iter().map(item).collect()
        }
        "convertarraytoobject" => {
            let key = Path::parse(policy.text("keyWithinCollectionPath"));
            let mut made = Map::new();
            for item in value.as_array()? {
                let Some(name) = get(item, &key.keys).map(text_of) else { continue };
                let mut item = item.clone();
                if policy.text("retainKey").eq_ignore_ascii_case("false") {
                    let Some(Key::Name(last)) = key.keys.last() else { continue };
                    item.as_object_mut()?.shift_remove(last);
                    if item.as_object()?.is_empty() {
                        item = Json::Null;
                    }
                }
                made.insert(name, item);
            }
            Json::Object(made)
        }
        other => panic!("the model does not know `{other}`"),
    })
}

// === holes ===

/// `{@body().x}` and `{@item().x}` of `setproperty`.
pub(crate) static HOLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{(?<path>@(?:body|item)\(\)[^}]*)\}").unwrap());
/// `@{triggerBody().x}` of triggers.
pub(crate) static HOLE_IN_TRIGGER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"@\{(?<path>triggerBody\(\)[^}]*)\}").unwrap());

/// A text with its holes filled; none when one is empty.
pub(crate) fn in_text(text: &str, body: &Json, item: Option<&Json>, hole: &Regex) -> Option<String> {
    let mut all = true;
    let filled = hole.replace_all(text, |found: &regex::Captures<'_>| {
        let path = Path::parse(&found["path"]);
        let root = if path.root == Root::Item { item.unwrap_or(body) } else { body };
        let value = get(root, &path.keys).filter(|value| !value.is_null());
        all &= value.is_some();
        value.map(text_of).unwrap_or_default()
    });
    all.then(|| filled.into_owned())
}

pub(crate) fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
