//! Fills in parameters that callers do not see with the defaults of the API's definition.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::body::coding;
use crate::compile::{CompileCx, CompileError};
use crate::expression::Needs;
use crate::json::Node;
use crate::openapi::fill::{fill, made};
use crate::openapi::{Operation, Place, media};
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Message, Step};
use crate::routing::query;

/// Fills in what callers do not see and the API needs: parameters and properties of the body that the API's `definition` marks with
/// `x-ms-visibility: internal` and gives a default. Power Automate, Logic Apps and Power Apps do that before they call a
/// connector; callers of the gateway need not know of it.
///
/// What the request has already stays as it is. In the path, which always has a value, the variable's own name in braces is
/// replaced (`/{version}/orders`). Properties are filled in however deep they stand, also in the items of lists; an object that is not
/// there comes into being when it is required or internal itself. A request without a body gets one when the body is
/// required and something would be in it. Fields of `application/x-www-form-urlencoded` are added, those of multipart are
/// not. A compressed body is filled in, and passed on, without its compression (`gzip`, `deflate`, `br`); one in another coding stays as it is. Stands before the policies that read what it adds, so the importer writes it first.
///
/// ```toml
/// [[inbound]]
/// policy = "set-defaults"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetDefaults {}

impl Policy for SetDefaults {
    const NAME: &'static str = "set-defaults";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.asks_definition()?;
        // Buffered by the step itself, and only where something may be missing in a body.
        cx.needs |= Needs::INNER_BODY;
        Ok(Step::asynchronous(Compiled))
    }
}

// === impl ApplyAsync ===

struct Compiled;

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        let contract = call.exchange.operation.as_ref().and_then(|own| own.contract.clone());
        let Some(contract) = contract.filter(|contract| contract.fills) else {
            return Box::pin(std::future::ready(Ok(Flow::Next)));
        };
        Box::pin(async move {
            call.with(|cx| head(cx, &contract))?;
            let Some(wanted) = wanted(&contract, &call.message) else { return Ok(Flow::Next) };
            call.exchange.read(&mut call.message).await?;
            call.with(|cx| body(cx, &contract, wanted))?;
            Ok(Flow::Next)
        })
    }
}

/// Fills in path, query and headers.
fn head(cx: &mut Context<'_>, contract: &Operation) -> Result<(), Fault> {
    let Message::Request(request) = &mut cx.message else { return Ok(()) };
    let hidden = contract.parameters.iter().filter(|one| one.internal);
    let mut path = None;
    let mut query_text = None;
    for (parameter, default) in hidden.filter_map(|one| Some((one, one.default.as_deref()?))) {
        match (parameter.place, &parameter.header) {
            (Place::Query, _) => {
                let text: &mut String =
                    query_text.get_or_insert_with(|| request.uri().query().unwrap_or_default().to_owned());
                query::set_if_absent(text, &parameter.name, default);
            }
            (Place::Header, Some(name)) if !request.headers().contains_key(name) && !super::is_framing(name) => {
                if let Ok(value) = HeaderValue::from_str(default) {
                    request.headers_mut().insert(name.clone(), value);
                }
            }
            (Place::Path, _) => {
                let text: &mut String = path.get_or_insert_with(|| request.uri().path().to_owned());
                let mut value = String::new();
                query::encode(default, &mut value);
                let value = value.replace('+', "%20");
                for written in [format!("%7B{}%7D", parameter.name), format!("{{{}}}", parameter.name)] {
                    *text = text.replace(&written, &value);
                }
            }
            _ => {}
        }
    }
    if path.is_none() && query_text.is_none() {
        return Ok(());
    }
    let path = path.unwrap_or_else(|| request.uri().path().to_owned());
    let query_text = query_text.or_else(|| request.uri().query().map(str::to_owned)).unwrap_or_default();
    let separator = if query_text.is_empty() { "" } else { "?" };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(format!("{path}{separator}{query_text}")))
        .map_err(|error| Fault::internal("Internal", "a default cannot stand in a URL").cause(error))?;
    *request.uri_mut() = Uri::from(target);
    Ok(())
}

/// What may be missing in the body.
#[derive(Clone, Copy)]
enum Wanted {
    Json,
    Form,
}

fn wanted(contract: &Operation, message: &Message<'_>) -> Option<Wanted> {
    let Message::Request(request) = message else { return None };
    let mut types = request.headers().get_all(CONTENT_TYPE).iter();
    let text = types.next();
    let headers = request.headers();
    // What has several types has none, and what is in a coding that nobody here knows is not read: both go on as they are.
    if types.next().is_some() || coding::is_coded(headers) && !coding::is_readable(headers) {
        return None;
    }
    let media_type = text.map(|value| media::essence(&String::from_utf8_lossy(value.as_bytes())));
    let is_empty = request.body().is_end_stream();
    let in_body = json_schema(contract).is_some_and(|schema| contract.schemas.get(schema).fills);
    let required = contract.body.as_ref().is_some_and(|body| body.required);
    let in_form = contract.parameters.iter().any(|one| one.place == Place::Form && one.internal);
    match media_type.as_deref() {
        Some("application/x-www-form-urlencoded") if in_form => Some(Wanted::Form),
        Some(found) if in_body && media::is_json(found) && (!is_empty || required) => Some(Wanted::Json),
        // Many callers leave the content type out.
        None if in_body && (!is_empty || required) => Some(Wanted::Json),
        _ => None,
    }
}

fn json_schema(contract: &Operation) -> Option<crate::openapi::SchemaId> {
    let contents = &contract.body.as_ref()?.contents;
    contents.iter().find(|content| content.media.is_json())?.schema
}

fn body(cx: &mut Context<'_>, contract: &Operation, wanted: Wanted) -> Result<(), Fault> {
    let is_empty = cx.message.body().bytes().is_none_or(Bytes::is_empty);
    match wanted {
        Wanted::Form => {
            let bytes = cx.message.body().bytes().cloned().unwrap_or_default();
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            let mut added = false;
            for field in contract.parameters.iter().filter(|one| one.place == Place::Form && one.internal) {
                if let Some(default) = &field.default {
                    added |= query::set_if_absent(&mut text, &field.name, default);
                }
            }
            if added {
                cx.set_body(Bytes::from(text));
            }
            Ok(())
        }
        Wanted::Json => {
            let Some(schema) = json_schema(contract) else { return Ok(()) };
            if !is_empty {
                return cx.edit_json(|document| fill(&contract.schemas, schema, &mut document.root));
            }
            if let Some(node) = made(&contract.schemas, schema) {
                cx.set_body(written(&node));
                let headers = cx.message.headers_mut();
                let json = HeaderValue::from_static("application/json");
                headers.entry(CONTENT_TYPE).or_insert(json);
            }
            Ok(())
        }
    }
}

fn written(node: &Node) -> Bytes {
    let mut out = Vec::with_capacity(node.length());
    node.write(&mut out);
    Bytes::from(out)
}
