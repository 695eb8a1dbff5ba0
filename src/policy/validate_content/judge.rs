//! A body in memory against its schema.

use std::borrow::Cow;

use bytes::Bytes;

use super::super::parameters::{Encoded, Words, judge};
use super::super::validation::{Action, Found, INTERNAL};
use super::{Check, Direction, ValidateAs};
use crate::json::Index;
use crate::openapi::check::check as check_schema;
use crate::openapi::parameter::{Pairs as _, fields_json};
use crate::openapi::{Content, Operation, Place};

/// What is wrong with a body.
pub(super) fn body(
    check: &Check,
    operation: &Operation,
    content: &Content,
    media_type: &str,
    bytes: &Bytes,
    is_request: bool,
) -> Vec<Found> {
    match check.validate_as {
        ValidateAs::Json => json(check, operation, content, media_type, bytes, is_request),
        ValidateAs::Form => form(check, operation, content, media_type, bytes, is_request),
    }
}

fn json(
    check: &Check,
    operation: &Operation,
    content: &Content,
    media_type: &str,
    bytes: &[u8],
    is_request: bool,
) -> Vec<Found> {
    let Some(schema) = content.schema else { return Vec::new() };
    let index = match Index::parse(bytes) {
        Ok(index) => index,
        Err(error) => {
            let why = format!("The body is not JSON: {error}.");
            return vec![incorrect(content, media_type, &why, check.action, is_request)];
        }
    };
    let direction = if is_request { Direction::Request } else { Direction::Response };
    match check_schema(&operation.schemas, schema, &index, direction, check.strictness) {
        Ok(mistakes) => mistakes
            .iter()
            .map(|mistake| incorrect(content, media_type, &mistake.message, check.action, is_request))
            .collect(),
        Err(error) => vec![cannot(media_type, &format!("{error}."), check.action, is_request)],
    }
}

fn form(
    check: &Check,
    operation: &Operation,
    content: &Content,
    media_type: &str,
    bytes: &[u8],
    is_request: bool,
) -> Vec<Found> {
    let text = String::from_utf8_lossy(bytes);
    let values = Encoded(&text);
    if let Some(schema) = content.schema {
        let made = fields_json(&operation.schemas, schema, &values).unwrap_or_else(|| Ok("{}".to_owned()));
        return match made {
            Ok(text) => json(check, operation, content, media_type, text.as_bytes(), is_request),
            Err(why) => vec![incorrect(content, media_type, &why, check.action, is_request)],
        };
    }
    let mut found = Vec::new();
    let words = Words::of(Place::Form, !is_request);
    for field in operation.parameters.iter().filter(|one| one.place == Place::Form) {
        judge(field, operation, &values.of(&field.name), &values, &words, check.action, &mut found);
    }
    found
}

/// A body that is not as its schema says.
pub(super) fn incorrect(content: &Content, media_type: &str, why: &str, action: Action, is_request: bool) -> Found {
    let message = if is_request { "request" } else { "response" };
    let details = format!(
        "Body of the {message} does not conform to the definition {}, which is associated with the content type {media_type}.\n\n{why}",
        content.name
    );
    found(media_type, "IncorrectMessage", details, None, action, is_request)
}

/// A body that cannot be checked.
pub(super) fn cannot(media_type: &str, why: &str, action: Action, is_request: bool) -> Found {
    let message = if is_request { "request" } else { "response" };
    let details = format!("Body of the {message} cannot be validated for the content type {media_type}.\n\n{why}");
    found("", "ValidationException", details, Some(INTERNAL), action, is_request)
}

fn found(
    name: &str,
    rule: &'static str,
    details: String,
    public: Option<&'static str>,
    action: Action,
    is_request: bool,
) -> Found {
    let public = match public {
        Some(text) => text.into(),
        None if is_request => Cow::Owned(details.clone()),
        None => INTERNAL.into(),
    };
    let kind = if is_request { "RequestBody" } else { "ResponseBody" };
    Found { name: name.to_owned(), kind, rule, details, public, action }
}
