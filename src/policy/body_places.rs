//! The values of a JSON body that a policy converts one by one: those at paths, and those that the API's definition tells of.

use http::header::CONTENT_TYPE;

use super::body_property::path;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::json::{Document, Key, Kind, Node, Root};
use crate::openapi::visit::{Sought, visit};
use crate::openapi::{Format, Operation, content_for, media};
use crate::pipeline::{Context, Fault, Message};

/// Where values stand.
pub(super) struct BodyPlaces {
    paths: Box<[Box<[Key]>]>,
    /// What is converted where the definition says so.
    sought: Option<Sought>,
}

impl BodyPlaces {
    /// Compiles the paths; `sought` is what the definition is asked for, where it is asked.
    pub(super) fn compile(
        properties: &[At<String>],
        sought: Option<Sought>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        cx.needs |= Needs::BODY;
        if sought.is_some() {
            cx.asks_definition()?;
        } else if properties.is_empty() {
            return Err(CompileError::whole("nothing says what is converted")
                .hint("`properties = [\"value.created\"]`, or `from-definition = true`"));
        }
        let paths: Vec<_> = properties
            .iter()
            .map(|text| {
                let path = path(text, cx)?;
                if path.root == Root::Item {
                    return Err(CompileError::at(text, "there is no item here")
                        .hint("begin with `@body()`; arrays on the way are passed through"));
                }
                Ok(path.keys)
            })
            .collect();
        // All mistakes at once.
        let paths: Vec<_> = paths.into_iter().map(|path| cx.note(path)).collect();
        Ok(Self { paths: paths.into_iter().collect::<Result<_, _>>()?, sought })
    }

    /// Changes every value that is there; the format is what the definition says of it.
    pub(super) fn edit(&self, cx: &mut Context<'_>, mut change: impl FnMut(Format, &mut Node)) -> Result<(), Fault> {
        let contract = self.sought.and_then(|_| cx.exchange.operation.as_ref()?.contract.clone());
        let schema = contract.as_deref().and_then(|contract| schema(contract, &cx.message));
        if self.paths.is_empty() && schema.is_none() {
            return Ok(());
        }
        cx.edit_json(|document: &mut Document| {
            for keys in &self.paths {
                each(&mut document.root, keys, &mut |node| change(Format::Any, node));
            }
            if let (Some(contract), Some(schema), Some(sought)) = (&contract, schema, self.sought) {
                visit(&contract.schemas, schema, sought, &mut document.root, &mut change);
            }
        })
    }
}

/// Visits what stands at the end of a path. Arrays on the way, and at its end, are passed through.
fn each(node: &mut Node, keys: &[Key], visit: &mut dyn FnMut(&mut Node)) {
    let into_items = node.kind() == Kind::Array && !matches!(keys.first(), Some(Key::Index(_)));
    match keys.split_first() {
        _ if into_items => node.items().into_iter().flatten().for_each(|item| each(item, keys, visit)),
        None => visit(node),
        Some((key, rest)) => {
            if let Some(inner) = node.get(key) {
                each(inner, rest, visit);
            }
        }
    }
}

/// What the definition says of a message's body.
fn schema(contract: &Operation, message: &Message<'_>) -> Option<crate::openapi::SchemaId> {
    let contents = match message {
        Message::Request(_) => &contract.body.as_ref()?.contents,
        Message::Response(response) => &contract.answer(response.status())?.contents,
    };
    let said = message.headers().get(CONTENT_TYPE);
    let said = said.map(|value| media::essence(&String::from_utf8_lossy(value.as_bytes())));
    let said = said.and_then(|kind| content_for(contents, &kind));
    // Many backends say something else of their JSON, or nothing.
    said.or_else(|| contents.iter().find(|content| content.media.is_json()))?.schema
}

/// What becomes of a value that cannot be converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnFailure {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes null.
    Null,
    /// The answer is 502, for a request 400 (reason `ValueNotConverted`), and on-error runs.
    Fail,
}

impl OnFailure {
    /// Does it to a value; true when that ends the exchange.
    pub(super) fn apply(self, node: &mut Node) -> bool {
        if self == Self::Null {
            *node = Node::null();
        }
        self == Self::Fail
    }
}

/// The fault of a body with a value that cannot be converted. The value itself is not told: it may be a secret.
#[cold]
pub(super) fn not_converted(what: &str, cx: &Context<'_>) -> Fault {
    let message = format!("a value of the body is not {what} in any of the forms that are expected");
    match cx.message {
        Message::Request(_) => Fault::client(http::StatusCode::BAD_REQUEST, "ValueNotConverted", message),
        Message::Response(_) => {
            let mut fault = Fault::upstream(http::StatusCode::BAD_GATEWAY, "ValueNotConverted", message)
                .public("The backend's answer cannot be read.");
            fault.source = "";
            fault
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::json::Path;

    #[test]
    fn arrays_on_the_way_are_passed_through() {
        for (body, text, want) in [
            (r#"{"a":1,"b":1}"#, "a", r#"{"a":0,"b":1}"#),
            (r#"{"v":[{"a":1},{"a":2,"b":3},{}]}"#, "@body().v.a", r#"{"v":[{"a":0},{"a":0,"b":3},{}]}"#),
            (r#"{"v":[{"l":[{"a":1}]},{"l":[]}]}"#, "v.l.a", r#"{"v":[{"l":[{"a":0}]},{"l":[]}]}"#),
            (r#"[{"a":1}]"#, "a", r#"[{"a":0}]"#),
            (r#"{"a":[1,[2]]}"#, "a", r#"{"a":[0,[0]]}"#),
            (r#"{"a":[1,2]}"#, "a[1]", r#"{"a":[1,0]}"#),
            (r#"{"a":1}"#, "x.y", r#"{"a":1}"#),
        ] {
            let mut document = Document::parse(&Bytes::from_static(body.as_bytes())).unwrap();
            let keys = Path::parse(text).unwrap().keys;
            each(&mut document.root, &keys, &mut |node| *node = Node::Raw(Bytes::from_static(b"0")));
            assert_eq!(document.write(), want, "{text} in {body}");
        }
    }
}
