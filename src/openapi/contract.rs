//! A definition, compiled: its operations with what goes in and what comes out.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::media::MediaRange;
use super::parameter::{Parameter, Place, Style, properties};
use super::read::{Dialect, Fault, Reader, json};
use super::sample::sample;
use super::schema::{Rest, Schema, SchemaId, Schemas};
use crate::connector::definition::{self, Definition, Generation};
use crate::connector::tree::{Member, Node, Value};
use crate::json::Index;

/// A definition.
#[derive(Debug)]
pub struct Contract {
    operations: Box<[Arc<Operation>]>,
    /// By `operationId`; none for one that stands twice.
    by_id: HashMap<Box<str>, Option<usize>>,
    /// By method and path template as written.
    by_path: HashMap<(Box<str>, Box<str>), usize>,
    /// What of it cannot be checked.
    pub faults: Vec<Fault>,
    /// How many schemas it has.
    pub schemas: usize,
}

/// An operation of a definition.
#[derive(Debug)]
pub struct Operation {
    /// The schemas of the definition.
    pub schemas: Arc<Schemas>,
    /// Its parameters, fields of forms included.
    pub parameters: Box<[Parameter]>,
    /// The body that it takes.
    pub body: Option<Payload>,
    /// What it answers with.
    pub answers: Box<[Answer]>,
    /// Whether a part of its requests is filled in that callers do not see.
    pub fills: bool,
}

/// A body.
#[derive(Debug, Default)]
pub struct Payload {
    /// Whether it must be there.
    pub required: bool,
    /// What it may be.
    pub contents: Box<[Content]>,
}

/// A body of one content type.
#[derive(Debug)]
pub struct Content {
    /// The content type.
    pub media: MediaRange,
    /// What it must be; nothing is asked when there is none.
    pub schema: Option<SchemaId>,
    /// The name of its schema, for messages.
    pub name: Box<str>,
    /// Examples, as they are sent.
    pub examples: Box<[Bytes]>,
    /// What is answered in its place, made when it is first asked for: of most there is never one.
    pub mock: OnceLock<Box<Mock>>,
}

/// What is answered in place of a body.
#[derive(Debug)]
pub struct Mock {
    /// The content type; JSON for a range, which is none.
    pub media: Option<HeaderValue>,
    /// A body by the schema; none when it is not JSON, or there is no schema, or an example.
    pub sample: Option<Bytes>,
}

impl Content {
    /// What is answered in its place when there is no example.
    pub fn mock(&self, schemas: &Schemas) -> &Mock {
        self.mock.get_or_init(|| {
            let media = self.media.as_str();
            let media = if media.ends_with('*') { "application/json" } else { media };
            let schema = self.schema.filter(|_| self.media.is_json() && self.examples.is_empty());
            let sample = schema.map(|schema| sample(schemas, schema).to_string().into());
            Box::new(Mock { media: HeaderValue::from_str(media).ok(), sample })
        })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The statuses that it is for.
    pub status: Status,
    /// Its body.
    pub contents: Box<[Content]>,
    /// Its headers.
    pub headers: Box<[Parameter]>,
}

/// The statuses that an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// This one.
    Exact(u16),
    /// All of a class: `2XX`.
    Class(u16),
    /// All that no other answer is for.
    Other,
}

impl Contract {
    /// Compiles a definition.
    ///
    /// # Errors
    /// Why it is none, and where.
    pub fn read(root: &Node) -> Result<Self, Fault> {
        let definition = Definition::read(root).map_err(|(span, message)| Fault { span, message })?;
        let dialect = match definition.generation {
            Generation::Two => Dialect::Two,
            Generation::Three if root.text_of("openapi").is_some_and(|version| version.starts_with("3.0")) => {
                Dialect::Three
            }
            Generation::Three => Dialect::ThreeOne,
        };
        let mut builder = Builder { reader: Reader::new(root, dialect), root, dialect };
        let mut read = Vec::with_capacity(definition.operations.len());
        for operation in &definition.operations {
            read.push(builder.operation(operation));
        }
        let (mut schemas, faults) = builder.reader.finish();
        mark_fills(&mut schemas);
        let schemas = Arc::new(schemas);
        let mut by_id: HashMap<Box<str>, Option<usize>> = HashMap::new();
        let mut by_path = HashMap::new();
        for (place, operation) in definition.operations.iter().enumerate() {
            let id: Box<str> = operation.id.as_str().into();
            by_id.entry(id).and_modify(|known| *known = None).or_insert(Some(place));
            by_path.entry((operation.method.as_str().into(), operation.template().into())).or_insert(place);
        }
        let complete = |operation: Operation| {
            let of = |content: &Content| content.schema.is_some_and(|id| schemas.get(id).fills);
            let in_body = operation.body.iter().flat_map(|body| &body.contents).any(of);
            let fills = in_body || operation.parameters.iter().any(|one| one.internal && one.default.is_some());
            Arc::new(Operation { schemas: schemas.clone(), fills, ..operation })
        };
        let operations = read.into_iter().map(complete).collect();
        Ok(Self { operations, by_id, by_path, faults, schemas: schemas.len() })
    }

    /// The operation of this name, else the one with this method and path.
    pub fn find(&self, name: &str, method: Option<&Method>, template: &str) -> Option<&Arc<Operation>> {
        let by_id = self.by_id.get(name).copied().flatten();
        let by_path = || {
            let path = template.split('?').next().unwrap_or_default();
            self.by_path.get(&(Box::from(method?.as_str()), Box::from(path))).copied()
        };
        by_id.or_else(by_path).map(|place| &self.operations[place])
    }

    /// The operations, in the order written.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }
}

impl Operation {
    /// The status of its first success; none when the definition names none.
    pub fn success(&self) -> Option<StatusCode> {
        self.answers.iter().find_map(|answer| match answer.status {
            Status::Exact(status @ 200..=299) => StatusCode::from_u16(status).ok(),
            Status::Class(2) => Some(StatusCode::OK),
            _ => None,
        })
    }

    /// The answer for a status.
    pub fn answer(&self, status: StatusCode) -> Option<&Answer> {
        let status = status.as_u16();
        let find = |wanted: Status| self.answers.iter().find(|answer| answer.status == wanted);
        find(Status::Exact(status)).or_else(|| find(Status::Class(status / 100))).or_else(|| find(Status::Other))
    }
}

/// What of a list of contents a content type is.
pub fn content_for<'c>(contents: &'c [Content], media_type: &str) -> Option<&'c Content> {
    let takes = contents.iter().filter(|content| content.media.takes(media_type));
    takes.max_by_key(|content| content.media.weight())
}

struct Builder<'n> {
    reader: Reader<'n>,
    root: &'n Node,
    dialect: Dialect,
}

impl<'n> Builder<'n> {
    fn operation(&mut self, operation: &definition::Operation<'n>) -> Operation {
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut body = None;
        for parameter in &operation.parameters {
            if parameter.place == "body" {
                body = Some(self.body(operation, parameter));
            } else {
                parameters.extend(Parameter::read(parameter, &mut self.reader, self.dialect));
            }
        }
        if parameters.iter().any(|one| one.place == Place::Form) && body.is_none() {
            let contents = self.media_types(operation.node, "consumes", "application/x-www-form-urlencoded");
            let name: Box<str> = format!("{}Request", operation.id).into();
            let content = |media| Content {
                media,
                schema: None,
                name: name.clone(),
                examples: Box::default(),
                mock: OnceLock::new(),
            };
            let required = parameters.iter().any(|one| one.place == Place::Form && one.required);
            body = Some(Payload { required, contents: contents.into_iter().map(content).collect() });
        }
        let answers = operation.node.get("responses").map(Node::members).unwrap_or_default();
        let answers = answers.iter().filter_map(|member| self.answer(operation, member)).collect();
        Operation { schemas: Arc::default(), parameters: parameters.into(), body, answers, fills: false }
    }

    /// `consumes` or `produces` of an operation, else of the whole definition, else what is usual.
    fn media_types(&mut self, operation: &'n Node, key: &str, usual: &str) -> Vec<MediaRange> {
        let list = |node: &'n Node| node.get(key).map(Node::items).filter(|items| !items.is_empty());
        let written = list(operation).or_else(|| list(self.root)).unwrap_or_default();
        let read = written.iter().filter_map(Node::text).filter_map(MediaRange::parse);
        let mut types: Vec<MediaRange> = Vec::new();
        for one in read {
            if !types.contains(&one) {
                types.push(one);
            }
        }
        if types.is_empty() {
            types.extend(MediaRange::parse(usual));
        }
        types
    }

    fn body(&mut self, operation: &definition::Operation<'n>, parameter: &definition::Parameter<'n>) -> Payload {
        let made = format!("{}Request", operation.id);
        let contents = if self.dialect == Dialect::Two {
            let schema = parameter.node.get("schema");
            self.contents_of_two(operation.node, "consumes", schema, None, &made)
        } else {
            self.contents_of_three(parameter.node, &made)
        };
        Payload { required: parameter.required, contents }
    }

    fn answer(&mut self, operation: &definition::Operation<'n>, member: &'n Member) -> Option<Answer> {
        let status = match &*member.name {
            "default" => Status::Other,
            name if name.len() == 3 && name[1..].eq_ignore_ascii_case("xx") => Status::Class(name[..1].parse().ok()?),
            name => Status::Exact(name.parse().ok()?),
        };
        let node = self.reader.follow(&member.value)?;
        let made = format!("{}{}Response", operation.id, member.name);
        let contents = if self.dialect == Dialect::Two {
            match (node.get("schema"), node.get("examples")) {
                (None, None) => Box::default(),
                (schema, examples) => self.contents_of_two(operation.node, "produces", schema, examples, &made),
            }
        } else {
            self.contents_of_three(node, &made)
        };
        let headers = node.get("headers").map(Node::members).unwrap_or_default();
        let headers = headers.iter().filter_map(|header| self.header(header)).collect();
        Some(Answer { status, contents, headers })
    }

    fn header(&mut self, member: &'n Member) -> Option<Parameter> {
        let node = self.reader.follow(&member.value)?;
        let schema = node.get("schema").unwrap_or(node);
        let required = node.get("required").is_some_and(Node::is_true);
        let header = definition::Parameter { name: &member.name, place: "header", node, schema, required };
        Parameter::read(&header, &mut self.reader, self.dialect)
    }

    fn contents_of_two(
        &mut self,
        operation: &'n Node,
        key: &str,
        schema: Option<&'n Node>,
        examples: Option<&'n Node>,
        made: &str,
    ) -> Box<[Content]> {
        let mut types = self.media_types(operation, key, "application/json");
        let examples = examples.map(Node::members).unwrap_or_default();
        let known = |types: &[MediaRange], name: &str| types.iter().any(|one| one.takes(&super::media::essence(name)));
        // Examples name content types that `produces` may have left out.
        for example in examples {
            if !known(&types, &example.name) {
                types.extend(MediaRange::parse(&example.name));
            }
        }
        let name = self.name(schema, made);
        let schema = schema.map(|schema| self.reader.schema(schema));
        let content = |media: MediaRange| {
            let of = examples.iter().filter(|example| media.takes(&super::media::essence(&example.name)));
            let examples = of.map(|example| sent(&example.value, media.is_json())).collect();
            Content { schema, name: name.clone(), examples, media, mock: OnceLock::new() }
        };
        types.into_iter().map(content).collect()
    }

    fn contents_of_three(&mut self, node: &'n Node, made: &str) -> Box<[Content]> {
        let mut contents = Vec::new();
        for member in node.get("content").map(Node::members).unwrap_or_default() {
            let Some(media) = MediaRange::parse(&member.name) else { continue };
            let value = &member.value;
            let listed = value.get("examples").map(Node::members).unwrap_or_default();
            let mut examples = Vec::new();
            for example in listed {
                let followed = self.reader.follow(&example.value);
                examples.extend(followed.and_then(|example| example.get("value")));
            }
            let examples = value.get("example").into_iter().chain(examples);
            let examples = examples.map(|example| sent(example, media.is_json())).collect();
            let schema = value.get("schema");
            let name = self.name(schema, made);
            let schema = schema.map(|one| self.reader.schema(one));
            contents.push(Content { schema, name, examples, media, mock: OnceLock::new() });
        }
        contents.into()
    }

    /// The name of a schema: that of the definition it refers to, or one that is made.
    fn name(&self, schema: Option<&Node>, made: &str) -> Box<str> {
        let reference = schema.and_then(|schema| schema.text_of("$ref"));
        reference.and_then(|text| text.rsplit('/').next()).filter(|name| !name.is_empty()).unwrap_or(made).into()
    }
}

/// An example as it is sent: JSON, unless it is text in which JSON or something else stands.
fn sent(example: &Node, is_json: bool) -> Bytes {
    let text = match &example.value {
        Value::Text(text) if !is_json => text.clone(),
        Value::Text(text) if text.trim_start().starts_with(['{', '[']) && Index::parse(text.as_bytes()).is_ok() => {
            text.clone()
        }
        _ => json(example),
    };
    Bytes::from(String::from(text))
}

/// Marks the schemas that hold a property which is filled in, however deep.
pub(super) fn mark_fills(schemas: &mut Schemas) {
    let count = schemas.all.len();
    // There and back again: whichever way references lead, a few rounds do.
    for round in 0.. {
        let fills = |schemas: &Schemas, schema: &Schema| {
            let of = |id: &SchemaId| schemas.get(*id).fills;
            let object = schema.object.iter().flat_map(|rules| &rules.properties).any(|property| {
                let inner = schemas.get(property.schema);
                inner.fills || inner.internal && inner.default.is_some()
            });
            let array = schema.array.iter().any(|rules| matches!(rules.rest, Rest::Schema(id) if of(&id)));
            object || array || schema.logic.iter().flat_map(|logic| &logic.all).any(of)
        };
        let mut is_settled = true;
        for place in 0..count {
            let place = if round % 2 == 0 { count - 1 - place } else { place };
            if !schemas.all[place].fills && fills(schemas, &schemas.all[place]) {
                schemas.all[place].fills = true;
                is_settled = false;
            }
        }
        if is_settled {
            return;
        }
    }
}

impl Parameter {
    /// The names of query parameters that an object is spread over.
    pub fn spread<'s>(&self, schemas: &'s Schemas) -> impl Iterator<Item = &'s str> {
        let is_spread = self.style == Style::Properties;
        let list = if is_spread { properties(schemas, self.schema) } else { Vec::new() };
        list.into_iter().map(|property| &*property.name)
    }
}
