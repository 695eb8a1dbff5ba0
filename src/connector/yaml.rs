//! YAML into the same tree as JSON.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::json::{Fault, MAX_DEPTH, MAX_FAULTS};
use super::tree::{Member, Node, Value};

/// How many values a document may have once its aliases are written out ("billion laughs").
const MAX_NODES: usize = 1_000_000;

/// Reads the first document of a YAML text; scalars by the core schema of YAML 1.2.
pub fn parse(text: &str) -> Result<(Node, Vec<Fault>), Fault> {
    // The parser counts characters.
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = byte(error.marker().index());
            Fault { span: at..at, message: error.info().to_owned() }
        })?;
        let span = byte(span.start.index())..byte(span.end.index());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !forced;
                let value = if plain { scalar(&text) } else { Value::Text(text.as_ref().into()) };
                builder.add(Node { value, span }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => builder.open(Value::Array(Vec::new()), span, anchor)?,
            Event::MappingStart(anchor, _) => builder.open(Value::Object(Vec::new()), span, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => builder.close(span.end)?,
            Event::Alias(anchor) => {
                let Some(node) = builder.anchors.get(&anchor) else {
                    return Err(Fault { span, message: "an alias inside what it stands for".to_owned() });
                };
                // Known before it is copied.
                builder.nodes += size(node);
                let copy = if builder.nodes > MAX_NODES { Node { value: Value::Null, span } } else { node.clone() };
                builder.add(copy, 0)?;
            }
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
    }
    let root = builder.root.ok_or(Fault { span: 0..0, message: "the file is empty".to_owned() })?;
    Ok((root, builder.faults))
}

/// A scalar without quotes.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if serde_json::from_str::<serde_json::Number>(text).is_ok() => Value::Number(text.into()),
        _ => Value::Text(text.into()),
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    faults: Vec<Fault>,
    nodes: usize,
}

struct Open {
    node: Node,
    anchor: usize,
    name: Option<(Box<str>, std::ops::Range<usize>)>,
    /// Where the names of an object stand.
    places: HashMap<Box<str>, usize>,
}

impl Builder {
    fn open(&mut self, value: Value, span: std::ops::Range<usize>, anchor: usize) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault { span, message: format!("nested more than {MAX_DEPTH} deep") });
        }
        self.open.push(Open { node: Node { value, span }, anchor, name: None, places: HashMap::new() });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), Fault> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        open.node.span.end = end;
        self.add(open.node, open.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        // What an alias may stand for is kept a second time.
        self.nodes += if anchor > 0 { 1 + size(&node) } else { 1 };
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, with what its aliases stand for");
            return Err(Fault { span: node.span, message });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::Array(items) => items.push(node),
            Value::Object(members) => match open.name.take() {
                None => {
                    let Some(name) = key(&node) else {
                        return Err(Fault { span: node.span, message: "a name is not text".to_owned() });
                    };
                    open.name = Some((name, node.span));
                }
                Some((name, at)) => {
                    let member = Member { name, at, value: node };
                    match open.places.get(&member.name) {
                        Some(&place) => {
                            let message = format!("`{}` stands twice in one object; the last one counts", member.name);
                            if self.faults.len() < MAX_FAULTS {
                                self.faults.push(Fault { span: member.at.clone(), message });
                            }
                            members[place] = member;
                        }
                        None => {
                            open.places.insert(member.name.clone(), members.len());
                            members.push(member);
                        }
                    }
                }
            },
            _ => {}
        }
        Ok(())
    }
}

/// A name, which may look like a number (`200:`) or a truth value.
fn key(node: &Node) -> Option<Box<str>> {
    match &node.value {
        Value::Null => Some("null".into()),
        _ => node.scalar().map(Into::into),
    }
}

fn size(node: &Node) -> usize {
    1 + node.items().iter().map(size).sum::<usize>() + node.members().iter().map(|one| size(&one.value)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_read_as_json() {
        for (name, text, want) in [
            ("blocks", "a: 1\nb:\n  - x\n  - {c: true}\n", r#"{"a":1,"b":["x",{"c":true}]}"#),
            (
                "numbers as names",
                "responses:\n  200:\n    description: ok\n",
                r#"{"responses":{"200":{"description":"ok"}}}"#,
            ),
            ("quoted scalars are text", "a: '1'\nb: \"true\"\nc: ~\n", r#"{"a":"1","b":"true","c":null}"#),
            ("Norway", "country: no\n", r#"{"country":"no"}"#),
            ("versions", "version: 1.0.0\n", r#"{"version":"1.0.0"}"#),
            ("folded text", "a: >\n  one\n  two\n", "{\"a\":\"one two\\n\"}"),
            ("aliases", "a: &x {b: 1}\nc: *x\n", r#"{"a":{"b":1},"c":{"b":1}}"#),
            ("the first document", "a: 1\n---\nb: 2\n", r#"{"a":1}"#),
        ] {
            let (node, faults) = parse(text).unwrap();
            assert_eq!(node.to_json().to_string(), want, "{name}");
            assert!(faults.is_empty(), "{name}");
        }
    }

    #[test]
    fn places_are_bytes_and_faults_are_told() {
        let text = "é: 1\nname: x\nname: y\n";
        let (node, faults) = parse(text).unwrap();
        assert_eq!(&text[node.get("name").unwrap().span.clone()], "y");
        assert_eq!(faults[0].message, "`name` stands twice in one object; the last one counts");
        assert!(parse("a: [1\n").is_err());
        assert!(parse("").is_err());
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let list = vec![format!("*a{}", level - 1); 10].join(",");
            laughs.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(parse(&laughs).unwrap_err().message.contains("aliases"));
    }
}
