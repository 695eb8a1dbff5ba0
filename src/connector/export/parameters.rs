//! The parameters of an operation: those of the definition, with what the TOML says of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::definition::Operation;
use super::Source;
use super::convert::{Converter, PARTS, is_form};
use super::names::spaced;
use crate::config::folder::OperationDocument;
use crate::config::spec::{ParameterPlace, ParameterSpec, ParameterType, ParameterVisibility, VersionScheme};

/// What a connector cannot have, or what nobody is to see: told once for all operations.
pub(super) type Told = BTreeSet<String>;

/// What an operation matches.
#[derive(Clone, Copy)]
pub(super) struct Template<'t> {
    pub(super) method: &'t str,
    pub(super) path: &'t str,
    pub(super) query: &'t str,
}

/// The parameters of an operation.
pub(super) fn parameters(
    source: &Source<'_>,
    document: &OperationDocument<'_>,
    known: Option<&Operation<'_>>,
    converter: Option<&mut Converter<'_>>,
    Template { method, path, query }: Template<'_>,
    told: &mut Told,
) -> Vec<Value> {
    let spec = &document.spec;
    let mut parameters = known.map(|one| of_definition(one, converter)).unwrap_or_default();
    let written = &spec.parameters;
    if !written.is_empty() || known.is_none() {
        parameters.retain(|old| written.iter().any(|new| is(old, &new.name, new.place)));
    }
    for parameter in written.iter().filter(|one| one.place != ParameterPlace::Cookie) {
        match parameters.iter_mut().find(|old| is(old, &parameter.name, parameter.place)) {
            Some(old) => overlay(source, old, parameter, told),
            None => {
                let mut new = json!({});
                overlay(source, &mut new, parameter, told);
                parameters.push(new);
            }
        }
    }
    let mut parameters: Vec<Value> = parameters.into_iter().flat_map(parts).collect();
    only_once(&mut parameters);
    complete(&mut parameters, path, query);
    if let Some(version) = version(source) {
        parameters.retain(|one| one["in"] != version["in"] || one["name"] != version["name"]);
        parameters.push(version);
    }
    refused(&mut parameters, &spec.name.value, method, told);
    parameters
}

/// The properties of an object in the query may be called as another parameter is: to a server they are one.
fn only_once(parameters: &mut Vec<Value>) {
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    parameters.retain(|one| known.insert((text(&one["in"]), text(&one["name"]))));
}

/// A parameter, or those that it is sent as.
fn parts(mut parameter: Value) -> Vec<Value> {
    let Value::Array(mut parts) = parameter[PARTS].take() else {
        parameter.as_object_mut().map(|parameter| parameter.remove(PARTS));
        return vec![parameter];
    };
    for part in &mut parts {
        for name in ["description", "x-ms-visibility"] {
            if part[name].is_null() && !parameter[name].is_null() {
                part[name] = parameter[name].clone();
            }
        }
        part.as_object_mut().into_iter().for_each(|part| part.retain(|_, value| !value.is_null()));
    }
    parts
}

/// What tells the version of the API that the file describes, where its path does not.
fn version(source: &Source<'_>) -> Option<Value> {
    let version = source.api.spec.version.as_ref()?;
    let place = match version.scheme {
        VersionScheme::Path => return None,
        VersionScheme::Header => "header",
        VersionScheme::Query => "query",
    };
    let name = version.name.as_ref().map_or("api-version", |name| &name.value);
    Some(json!({
        "name": name,
        "in": place,
        "required": true,
        "type": "string",
        "default": version.value.as_ref()?.value,
        "x-ms-summary": spaced(name),
        "x-ms-visibility": "internal",
    }))
}

/// The parameters of a definition, with references written out.
fn of_definition(operation: &Operation<'_>, mut converter: Option<&mut Converter<'_>>) -> Vec<Value> {
    let mut out = Vec::new();
    for parameter in &operation.parameters {
        let value = parameter.node.to_json();
        match &mut converter {
            None => out.push(value),
            Some(converter) if parameter.place == "body" => out.extend(converter.body(&value)),
            Some(converter) if parameter.place == "cookie" => converter.lose("no cookies as parameters"),
            Some(converter) => out.push(converter.parameter(&value)),
        }
    }
    out
}

/// Whether a parameter is the one that is meant. What a form takes was one body in OpenAPI 3.
fn is(parameter: &Value, name: &str, place: ParameterPlace) -> bool {
    let found = parameter["in"].as_str().unwrap_or_default();
    match place {
        ParameterPlace::Body => matches!(found, "body" | "formData"),
        ParameterPlace::Header => {
            found == "header" && parameter["name"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name))
        }
        place => found == place_name(place) && parameter["name"] == *name,
    }
}

fn place_name(place: ParameterPlace) -> &'static str {
    match place {
        ParameterPlace::Path => "path",
        ParameterPlace::Query => "query",
        ParameterPlace::Header => "header",
        ParameterPlace::Cookie => "cookie",
        ParameterPlace::Body => "body",
        ParameterPlace::Form => "formData",
    }
}

/// What the TOML says of a parameter.
fn overlay(source: &Source<'_>, parameter: &mut Value, spec: &ParameterSpec, told: &mut Told) {
    let is_body = spec.place == ParameterPlace::Body;
    if parameter["in"].is_null() {
        parameter["name"] = spec.name.as_str().into();
        parameter["in"] = place_name(spec.place).into();
        if is_body {
            parameter["schema"] = json!({ "type": "object" });
        }
    }
    let kind = match spec.kind {
        Some(ParameterType::String) => Some("string"),
        Some(ParameterType::Integer) => Some("integer"),
        Some(ParameterType::Number) => Some("number"),
        Some(ParameterType::Boolean) => Some("boolean"),
        Some(ParameterType::Array) => Some("array"),
        Some(ParameterType::Object) => Some("object"),
        Some(ParameterType::File) => Some("file"),
        None if parameter["type"].is_null() && !is_body => Some("string"),
        None => None,
    };
    if !is_body {
        if let Some(kind) = kind {
            let is_file_elsewhere = kind == "file" && spec.place != ParameterPlace::Form;
            parameter["type"] = if kind == "object" || is_file_elsewhere { "string" } else { kind }.into();
        }
        if parameter["type"] == "array" && parameter["items"].is_null() {
            parameter["items"] = json!({ "type": "string" });
        }
        if let Some(format) = &spec.format {
            parameter["format"] = format.as_str().into();
        }
        if let Some(default) = &spec.default {
            if source.holds_secret(&default.0) {
                told.insert(format!(
                    "the default of `{}` holds a secret and is left out: let a policy of the gateway set it",
                    spec.name
                ));
            } else {
                parameter["default"] = typed(&default.0, parameter["type"].as_str().unwrap_or_default());
            }
        }
    } else if let (Some(kind), true) = (kind.filter(|kind| *kind != "file"), parameter["in"] == "body") {
        // What the definition says of the body is more than its type.
        if parameter["schema"].as_object().is_some_and(|schema| schema.len() <= 1 && schema.contains_key("type")) {
            parameter["schema"] = json!({ "type": kind });
            if kind == "array" {
                parameter["schema"]["items"] = json!({ "type": "object" });
            }
        }
    }
    if let Some(required) = spec.required {
        parameter["required"] = required.into();
    }
    for (name, text) in [("x-ms-summary", &spec.summary), ("description", &spec.description)] {
        if let Some(text) = text {
            parameter[name] = text.as_str().into();
        }
    }
    let visibility = spec.visibility.map(|visibility| match visibility {
        ParameterVisibility::Important => "important",
        ParameterVisibility::Advanced => "advanced",
        ParameterVisibility::Internal => "internal",
    });
    if let Some(visibility) = visibility {
        parameter["x-ms-visibility"] = visibility.into();
    }
}

/// A default in the type of its parameter.
fn typed(value: &Value, kind: &str) -> Value {
    let is_other = matches!(kind, "integer" | "number" | "boolean");
    let read = value.as_str().filter(|_| is_other).and_then(|text| serde_json::from_str(text).ok());
    match read {
        Some(read) => read,
        None if kind == "string" && (value.is_number() || value.is_boolean()) => value.to_string().into(),
        None => value.clone(),
    }
}

/// What a definition needs: the variables of the path and of the query, names for people.
fn complete(parameters: &mut Vec<Value>, path: &str, query: &str) {
    let names: Vec<&str> =
        path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect();
    parameters.retain(|one| one["in"] != "path" || names.iter().any(|name| one["name"] == **name));
    for name in &names {
        if !parameters.iter().any(|one| is(one, name, ParameterPlace::Path)) {
            parameters.push(json!({ "name": name, "in": "path", "required": true, "type": "string" }));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let at = parameters.iter().position(|one| is(one, name, ParameterPlace::Query)).unwrap_or_else(|| {
            parameters.push(json!({ "name": name, "in": "query", "type": "string" }));
            parameters.len() - 1
        });
        // Without it, the request is another one.
        let parameter = &mut parameters[at];
        parameter["required"] = true.into();
        if !value.starts_with('{') {
            parameter["default"] = typed(&value.into(), parameter["type"].as_str().unwrap_or_default());
            parameter["x-ms-visibility"] = "internal".into();
        }
    }
    for parameter in parameters {
        if parameter["in"] == "path" {
            parameter["required"] = true.into();
            if parameter["x-ms-url-encoding"].is_null() {
                parameter["x-ms-url-encoding"] = "single".into();
            }
        }
        if parameter["x-ms-summary"].as_str().is_none_or(str::is_empty) && parameter["in"] != "body" {
            parameter["x-ms-summary"] = spaced(parameter["name"].as_str().unwrap_or_default()).into();
        }
    }
}

/// Takes out what the platform refuses.
fn refused(parameters: &mut Vec<Value>, operation: &str, method: &str, told: &mut Told) {
    let has_form = parameters.iter().any(|one| one["in"] == "formData");
    parameters.retain(|one| {
        let (place, name) = (one["in"].as_str().unwrap_or_default(), one["name"].as_str().unwrap_or_default());
        let why = match place {
            "body" | "formData" if matches!(method, "GET" | "HEAD") => {
                Some(format!("the body of operation `{operation}` is left out: a {method} of a connector has none"))
            }
            "body" if has_form => Some(format!("the body of operation `{operation}` is left out: it has a form")),
            // The connection sends it.
            "header" if name.eq_ignore_ascii_case("authorization") => {
                Some("the parameter `Authorization` is left out: the platform keeps it for the connection".to_owned())
            }
            "query" | "header" | "formData" if name.eq_ignore_ascii_case("connectionId") => Some(format!(
                "the parameter `{name}` of operation `{operation}` is left out: the platform keeps it for itself"
            )),
            _ => None,
        };
        let is_kept = why.is_none();
        told.extend(why);
        is_kept
    });
    for one in parameters {
        let is_callback = one["x-ms-notification-url"] == true;
        let is_hidden = one["x-ms-visibility"] == "internal" && one["required"] == true && one["in"] != "body";
        if is_hidden && one["default"].is_null() && !is_callback {
            let name = one["name"].as_str().unwrap_or_default();
            told.insert(format!("the parameter `{name}` is shown to makers: it is required, and has no default"));
            one.as_object_mut().map(|one| one.remove("x-ms-visibility"));
        }
    }
}

/// The media type that the fields of a form need: the one that the definition names, where it will do.
pub(super) fn form(parameters: &[Value], named: &[&str]) -> Option<String> {
    const FIELDS: &str = "application/x-www-form-urlencoded";
    let mut fields = parameters.iter().filter(|one| one["in"] == "formData").peekable();
    fields.peek()?;
    let has_file = fields.any(|field| field["type"] == "file");
    let will_do = |media: &&&str| is_form(media) && !(has_file && media.starts_with(FIELDS));
    let usual = if has_file { "multipart/form-data" } else { FIELDS };
    Some(named.iter().find(will_do).map_or(usual, |media| media).to_owned())
}
