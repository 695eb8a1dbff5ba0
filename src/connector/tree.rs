//! A JSON or YAML document in which every value knows where it stands.

use std::ops::Range;

/// A value and its bytes in the file.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub span: Range<usize>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, with its digits as written.
    Number(Box<str>),
    /// Text.
    Text(Box<str>),
    /// A list.
    Array(Vec<Node>),
    /// Names and values in the order written; a name stands once.
    Object(Vec<Member>),
}

/// A property.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: Box<str>,
    /// Where the name stands.
    pub at: Range<usize>,
    /// Its value.
    pub value: Node,
}

/// Two values are equal wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// The property of this name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.members().iter().find(|member| &*member.name == name).map(|member| &member.value)
    }

    /// The property of this name, compared without case.
    pub fn get_any_case(&self, name: &str) -> Option<&Node> {
        let found = || self.members().iter().find(|member| member.name.eq_ignore_ascii_case(name));
        self.get(name).or_else(|| found().map(|member| &member.value))
    }

    /// The properties; none when it is not an object.
    pub fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The items; none when it is not an array.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text, a number or a truth value as text.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// Whether it is true, or the text `true`, as connector packages write it.
    pub fn is_true(&self) -> bool {
        match &self.value {
            Value::Bool(value) => *value,
            Value::Text(text) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    /// The text property of this name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Node::text)
    }

    /// What a JSON pointer in a `$ref` (`#/parameters/id`, RFC 6901) names.
    pub fn resolve(&self, reference: &str) -> Option<&Node> {
        reference.strip_prefix("#/")?.split('/').try_fold(self, |node, step| {
            let step = percent_encoding::percent_decode_str(step).decode_utf8_lossy();
            let step = step.replace("~1", "/").replace("~0", "~");
            match &node.value {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                _ => node.get(&step),
            }
        })
    }

    /// The value without its places, for writing.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            // A number that JSON has no room for is kept as text.
            Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_string())),
            Value::Text(text) => Json::String(text.to_string()),
            Value::Array(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Object(members) => {
                Json::Object(members.iter().map(|one| (one.name.to_string(), one.value.to_json())).collect())
            }
        }
    }
}
