//! Values of parameters and headers against what a definition says of them.

use std::borrow::Cow;

use super::validation::{Action, Found, INTERNAL};
use crate::json::Index;
use crate::openapi::check::check;
use crate::openapi::parameter::{Pairs, Style, object_json};
use crate::openapi::{Direction, Operation, Parameter, Place, Schemas, Strictness};
use crate::routing::query;

/// The words for a place.
pub(super) struct Words {
    /// `QueryParameter`
    pub(super) kind: &'static str,
    /// `query parameter`
    pub(super) noun: &'static str,
    /// Whether it is part of an answer, of which the caller learns nothing.
    pub(super) is_response: bool,
}

impl Words {
    pub(super) fn of(place: Place, is_response: bool) -> Self {
        let (kind, noun) = match place {
            Place::Path => ("PathParameter", "path parameter"),
            Place::Query => ("QueryParameter", "query parameter"),
            Place::Header if is_response => ("ResponseHeader", "header"),
            Place::Header => ("RequestHeader", "header"),
            Place::Form => ("RequestBody", "form field"),
        };
        Self { kind, noun, is_response }
    }

    pub(super) fn found(&self, name: &str, rule: &'static str, details: String, action: Action) -> Found {
        let public = if self.is_response { INTERNAL.into() } else { Cow::Owned(details.clone()) };
        // Names that callers make up can be long.
        Found { name: name.chars().take(200).collect(), kind: self.kind, rule, details, public, action }
    }

    /// Something that the definition does not name.
    pub(super) fn unspecified(&self, name: &str, action: Action) -> Found {
        let shown: String = name.chars().take(200).collect();
        self.found(name, "Unspecified", format!("Unspecified {} {shown} is not allowed.", self.noun), action)
    }
}

/// The parameters of a query, or the fields of a form.
pub(super) struct Encoded<'q>(pub(super) &'q str);

impl<'q> Pairs<'q> for Encoded<'q> {
    fn of(&self, name: &str) -> Vec<Cow<'q, str>> {
        query::get_all(self.0, name).collect()
    }

    fn all(&self) -> Vec<(Cow<'q, str>, Cow<'q, str>)> {
        query::pairs(self.0).map(|pair| (pair.name(), pair.value())).collect()
    }
}

/// Checks the values that came for a parameter. `pairs` are all parameters of the place, for objects that are spread over several.
pub(super) fn judge<'v>(
    parameter: &Parameter,
    operation: &Operation,
    values: &[Cow<'v, str>],
    pairs: &dyn Pairs<'v>,
    words: &Words,
    action: Action,
    found: &mut Vec<Found>,
) {
    let (name, schemas) = (&*parameter.name, &*operation.schemas);
    let spread = matches!(parameter.style, Style::Deep | Style::Properties);
    let object = if spread { object_json(schemas, parameter, pairs) } else { None };
    if values.is_empty() && object.is_none() {
        if parameter.required {
            let text = format!(
                "Value of the {} {name} does not conform to the definition.\n\nThe required {} is missing.",
                words.noun, words.noun
            );
            found.push(public(words, words.found(name, "IncorrectMessage", text, action)));
        }
        return;
    }
    if parameter.style == Style::Unread
        || object.is_none() && parameter.allow_empty && values.iter().all(|v| v.is_empty())
    {
        return;
    }
    if object.is_none() && values.len() > 1 && !parameter.takes_several(schemas) {
        let message = if words.is_response { "Response" } else { "Request" };
        let text = format!("{message} cannot contain multiple values for the {} {name}.", words.noun);
        found.push(words.found(name, "IncorrectMessage", text, action));
        return;
    }
    let json = match object {
        Some(object) => object,
        None => parameter.json(schemas, values),
    };
    let json = match json {
        Ok(json) => json,
        Err(why) => {
            let text =
                format!("Value of the {} {name} cannot be parsed according to the definition.\n\n{why}", words.noun);
            let one = words.found(name, "IncorrectMessage", text, action);
            // Azure API Management's words for the caller differ.
            let public = one.public.replacen("cannot be parsed", "couldn't be parsed", 1);
            found.push(Found { public: public.into(), ..one });
            return;
        }
    };
    found.extend(of_schema(schemas, parameter, &json, words, action));
}

fn of_schema(schemas: &Schemas, parameter: &Parameter, json: &str, words: &Words, action: Action) -> Option<Found> {
    let name = &*parameter.name;
    let direction = if words.is_response { Direction::Response } else { Direction::Request };
    let checked = Index::parse(json.as_bytes())
        .ok()
        .map(|index| check(schemas, parameter.schema, &index, direction, Strictness::default()));
    match checked {
        Some(Ok(mistakes)) => {
            let first = mistakes.first()?;
            let text =
                format!("Value of the {} {name} does not conform to the definition.\n\n{}", words.noun, first.message);
            Some(public(words, words.found(name, "IncorrectMessage", text, action)))
        }
        Some(Err(error)) => {
            let noun = words.noun;
            let text = format!("{}{} {name} cannot be validated.\n\n{error}", noun[..1].to_uppercase(), &noun[1..]);
            let found = words.found(name, "ValidationError", text, action);
            Some(Found { public: INTERNAL.into(), ..found })
        }
        // What was made of the value is JSON.
        None => None,
    }
}

/// The same, as the caller reads it.
fn public(words: &Words, found: Found) -> Found {
    if words.is_response {
        return found;
    }
    let public = format!("The v{}", found.details.strip_prefix('V').unwrap_or(&found.details));
    Found { public: public.into(), ..found }
}
