//! A request to each operation of an imported API that is as its definition says, and one that is not.

use std::fmt::Write as _;

use serde_json::Value as Json;
use sluicegate::openapi::sample::sample;
use sluicegate::openapi::{Content, Operation, Parameter, Place as At};

use super::{Api, policies_of};

/// A request, and the status that it is to be answered with.
pub(super) struct Call {
    /// The name of its operation.
    pub(super) operation: String,
    pub(super) text: String,
    pub(super) want: u16,
}

/// What a request is without.
#[derive(Clone, Copy, PartialEq)]
enum Lack<'a> {
    Nothing,
    /// This parameter of the query.
    Parameter(&'a str),
    /// The end of its JSON.
    End,
}

impl Api {
    /// A request to each operation, and one that is wrong to each that can tell by its body or by what must be there.
    pub(super) fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        for written in self.written() {
            let (method, template) = written["match"].as_str().unwrap().split_once(' ').unwrap();
            let name = written["name"].as_str().unwrap();
            let found = self.contract.find(name, method.parse().ok().as_ref(), template);
            let Some(operation) = found else { continue };
            let is_trigger = policies_of(written, "polling-trigger").next().is_some();
            let made = Made { api: self, operation, method, target: self.target(template, operation) };
            // The first answer to a trigger says where to go on.
            let right = if is_trigger { 202 } else { 200 };
            let call = |lack, want| Call { operation: name.to_owned(), text: made.request(lack), want };
            calls.push(call(Lack::Nothing, right));
            let hidden = |parameter: &&Parameter| !parameter.internal && parameter.required;
            let needed = operation.parameters.iter().filter(hidden).find(|one| one.place == At::Query);
            match needed {
                Some(parameter) => calls.push(call(Lack::Parameter(&parameter.name), 400)),
                None if made.content().is_some_and(|content| content.media.is_json() && content.schema.is_some()) => {
                    calls.push(call(Lack::End, 400));
                }
                None => {}
            }
        }
        calls
    }

    /// A path with a value for each variable.
    fn target(&self, template: &str, operation: &Operation) -> String {
        let template = template.split('?').next().unwrap();
        let mut out = self.table["api"]["path"].as_str().unwrap().to_owned();
        let mut rest = template;
        while let Some((before, tail)) = rest.split_once('{') {
            let (name, after) = tail.split_once('}').unwrap();
            let parameter = operation.parameters.iter().find(|one| one.place == At::Path && *one.name == *name);
            let value = parameter.map(|parameter| text(operation, parameter)).filter(|value| !value.is_empty());
            let _ = write!(out, "{before}{}", encoded(&value.unwrap_or_else(|| "7".to_owned())));
            rest = after;
        }
        out + rest
    }
}

/// An operation for which requests are made up.
struct Made<'a> {
    api: &'a Api,
    operation: &'a Operation,
    method: &'a str,
    target: String,
}

impl Made<'_> {
    /// What the body is sent as: JSON where the operation takes it, else whatever comes first.
    fn content(&self) -> Option<&Content> {
        let contents = &self.operation.body.as_ref()?.contents;
        // Fields of forms have no schema together.
        let is_form = self.operation.parameters.iter().any(|one| one.place == At::Form);
        let json = contents.iter().find(|content| content.media.is_json() && !is_form);
        json.or_else(|| contents.iter().find(|content| !content.media.is_json())).or(contents.first())
    }

    fn request(&self, lack: Lack<'_>) -> String {
        let (mut query, mut fields, mut form) = (Vec::new(), String::new(), Vec::new());
        for parameter in self.operation.parameters.iter().filter(|one| !one.internal) {
            let in_host = match parameter.place {
                At::Query => self.api.in_host("queryparameters", &parameter.name),
                At::Header => self.api.in_host("headers", &parameter.name),
                At::Path | At::Form => None,
            };
            if in_host.is_none() && !parameter.required || lack == Lack::Parameter(&parameter.name) {
                continue;
            }
            let value = in_host.unwrap_or_else(|| text(self.operation, parameter));
            match parameter.place {
                At::Query => query.push(format!("{}={}", encoded(&parameter.name), encoded(&value))),
                At::Form => form.push((parameter.name.to_string(), value)),
                // What the body is, it says below.
                At::Header if parameter.name.eq_ignore_ascii_case("content-type") => {}
                At::Header => drop(write!(fields, "{}: {value}\r\n", parameter.name)),
                At::Path => {}
            }
        }
        let body = self.content().map(|content| self.body(content, form, lack)).unwrap_or_default();
        if let Some((media, body)) = &body {
            let _ = write!(fields, "content-type: {media}\r\ncontent-length: {}\r\n", body.len());
        } else if self.method != "GET" {
            fields.push_str("content-length: 0\r\n");
        }
        let mark = if query.is_empty() { "" } else { "?" };
        let (method, target, query) = (self.method, &self.target, query.join("&"));
        let body = body.map(|(_, body)| body).unwrap_or_default();
        format!("{method} {target}{mark}{query} HTTP/1.1\r\nhost: gateway.example\r\n{fields}\r\n{body}")
    }

    /// A body and its content type.
    fn body(&self, content: &Content, mut form: Vec<(String, String)>, lack: Lack<'_>) -> Option<(String, String)> {
        let value = content.schema.map(|schema| sample(&self.operation.schemas, schema));
        let media = content.media.as_str();
        if content.media.is_json() && form.is_empty() {
            let body = if lack == Lack::End { "{".to_owned() } else { value?.to_string() };
            let media = if media.ends_with('*') { "application/json" } else { media };
            return Some((media.to_owned(), body));
        }
        if let Some(Json::Object(members)) = &value {
            form.extend(members.iter().map(|(name, value)| (name.clone(), scalar(value))));
        }
        match media {
            "application/x-www-form-urlencoded" => {
                let pairs = form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
                Some((media.to_owned(), pairs.collect::<Vec<_>>().join("&")))
            }
            // RFC 7578 §4.
            "multipart/form-data" => {
                let part = |(name, value): &(String, String)| {
                    format!("--part\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                };
                let parts: String = form.iter().map(part).collect();
                Some((format!("{media}; boundary=part"), format!("{parts}--part--\r\n")))
            }
            media if media.ends_with('*') => Some(("text/plain".to_owned(), "text".to_owned())),
            media => Some((media.to_owned(), value.as_ref().map_or_else(|| "text".to_owned(), scalar))),
        }
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A value of a parameter.
fn text(operation: &Operation, parameter: &Parameter) -> String {
    match sample(&operation.schemas, parameter.schema) {
        Json::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => scalar(&other),
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => "7".to_owned(),
        other => other.to_string(),
    }
}
