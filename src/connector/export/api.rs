//! `apiDefinition.swagger.json`: paths, operations, parameters and responses.

use serde_json::{Map, Value, json};

use super::super::definition::{Generation, Operation};
use super::super::tree::Node;
use super::super::written::one_line;
use super::convert::{self, Converter};
use super::properties::{Security, schemes};
use super::{Address, Source};
use crate::config::folder::OperationDocument;
use crate::config::spec::{ErrorFormat, ParameterPlace, ParameterSpec, ParameterType, ParameterVisibility};

/// The name of the schema of the gateway's own errors, where the definition has no other of that name.
const ERROR: &str = "GatewayError";
/// What the platform takes: operations of one definition, and bytes of its file.
const MAX_OPERATIONS: usize = 256;
const MAX_SIZE: usize = 1 << 20;
/// What a title may have.
const MAX_TITLE: usize = 30;
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];

pub(super) fn definition(
    source: &Source<'_>,
    address: &Address,
    security: &Security,
    notes: &mut Vec<String>,
) -> Value {
    let spec = &source.api.spec;
    let root = source.definition.map(|definition| definition.root);
    let kept = |name: &str| root.and_then(|root| root.get(name)).map(Node::to_json);
    let mut out = Map::new();
    out.insert("swagger".into(), "2.0".into());
    out.insert("info".into(), info(source, notes));
    out.insert("host".into(), address.host.as_str().into());
    out.insert("basePath".into(), format!("{}/{}", address.path, spec.path.value.trim_matches('/')).into());
    out.insert("schemes".into(), json!([address.scheme]));
    if address.scheme == "http" {
        notes.push("the platform calls connectors by https only; `http` will do for tests".to_owned());
    }
    out.insert("consumes".into(), kept("consumes").unwrap_or_else(|| json!(["application/json"])));
    out.insert("produces".into(), kept("produces").unwrap_or_else(|| json!(["application/json"])));
    let three = source.definition.filter(|definition| definition.generation == Generation::Three);
    let mut converter = three.map(|definition| Converter::new(definition.root));
    let mut definitions =
        part(source, "definitions", "schemas", converter.as_mut(), |converter, schema| converter.schema(schema));
    let error = (1..).map(|number| if number == 1 { ERROR.to_owned() } else { format!("{ERROR}{number}") });
    let error = error.into_iter().find(|name| !definitions.contains_key(name)).unwrap_or_default();
    definitions.insert(error.clone(), error_schema(error_format(source)));
    out.insert("paths".into(), paths(source, converter.as_mut(), &error, notes));
    out.insert("definitions".into(), definitions.into());
    // A reference to a parameter is written out where it is used.
    let responses =
        part(source, "responses", "responses", converter.as_mut(), |converter, response| converter.response(&response));
    if !responses.is_empty() {
        out.insert("responses".into(), responses.into());
    }
    if let Some((definitions, needed)) = schemes(security) {
        out.insert("securityDefinitions".into(), definitions);
        out.insert("security".into(), needed);
    }
    for name in ["tags", "x-ms-connector-metadata"] {
        if let Some(value) = kept(name) {
            out.insert(name.into(), value);
        }
    }
    if let Some(capabilities) = kept("x-ms-capabilities") {
        let test = capabilities["testConnection"]["operationId"].as_str();
        if test.is_some_and(|id| source.api.operations.iter().any(|operation| operation.spec.name.value == id)) {
            out.insert("x-ms-capabilities".into(), capabilities);
        }
    }
    if let Some(mut converter) = converter {
        if root.is_some_and(|root| root.get("webhooks").is_some()) {
            "webhooks".clone_into(&mut converter.place);
            converter.lose("no `webhooks`");
        }
        notes.extend(converter.notes());
    }
    let out = Value::Object(out);
    let operations: usize =
        out["paths"].as_object().into_iter().flatten().filter_map(|(_, one)| Some(one.as_object()?.len())).sum();
    if operations > MAX_OPERATIONS {
        notes.push(format!("there are {operations} operations, and the platform takes {MAX_OPERATIONS}"));
    }
    if format!("{out:#}").len() > MAX_SIZE {
        notes.push("the definition is larger than 1 MiB, which the platform does not take".to_owned());
    }
    out
}

/// A table of named parts, which OpenAPI 3 has under `components`.
fn part(
    source: &Source<'_>,
    two: &str,
    three: &str,
    converter: Option<&mut Converter<'_>>,
    convert: fn(&mut Converter<'_>, Value) -> Value,
) -> Map<String, Value> {
    let Some(definition) = source.definition else { return Map::new() };
    let table = match definition.generation {
        Generation::Two => definition.root.get(two),
        Generation::Three => definition.root.get("components").and_then(|all| all.get(three)),
    };
    let members = table.map(Node::members).unwrap_or_default().iter();
    let members = members.map(|one| (one.name.to_string(), one.value.to_json()));
    match converter {
        None => members.collect(),
        Some(converter) => members
            .map(|(name, value)| {
                name.clone_into(&mut converter.place);
                (name, convert(converter, value))
            })
            .collect(),
    }
}

fn info(source: &Source<'_>, notes: &mut Vec<String>) -> Value {
    let spec = &source.api.spec;
    let mut info = source.definition.and_then(|one| one.root.get("info")).map_or_else(|| json!({}), Node::to_json);
    let title = info["title"].as_str().filter(|title| !title.is_empty()).unwrap_or(&spec.name.value);
    let short: String = title.chars().take(MAX_TITLE).collect();
    if short.len() < title.len() {
        notes.push(format!("the title `{title}` has more than {MAX_TITLE} characters and is cut"));
    }
    info["title"] = short.trim_end().into();
    if info["version"].as_str().is_none() {
        info["version"] =
            spec.version.as_ref().and_then(|version| version.value.as_ref()).map_or("1.0", |one| &one.value).into();
    }
    if info["description"].as_str().is_none_or(str::is_empty) {
        let text =
            spec.description.clone().unwrap_or_else(|| format!("The API {} behind its gateway", spec.name.value));
        info["description"] = text.into();
    }
    if source.definition.is_some_and(|one| one.generation == Generation::Three)
        && let Some(info) = info.as_object_mut()
    {
        // New in OpenAPI 3.1.
        info.remove("summary");
        info.get_mut("license").and_then(Value::as_object_mut).map(|license| license.remove("identifier"));
    }
    info
}

fn paths(
    source: &Source<'_>,
    mut converter: Option<&mut Converter<'_>>,
    error: &str,
    notes: &mut Vec<String>,
) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in &source.api.operations {
        let name = &operation.spec.name.value;
        let Some((method, template)) = operation.spec.matches.value.trim().split_once(' ') else { continue };
        let template = template.trim();
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        if path.contains('*') || !METHODS.contains(&method) {
            notes
                .push(format!("operation `{name}` is left out: a connector has no `{}`", operation.spec.matches.value));
            continue;
        }
        let item = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        if item.get(method.to_ascii_lowercase()).is_some() {
            notes.push(format!("operation `{name}` is left out: it differs from another one in its query only"));
            continue;
        }
        let has_cookie = operation.spec.parameters.iter().any(|one| one.place == ParameterPlace::Cookie);
        if has_cookie && converter.is_none() {
            notes.push(format!("the cookies of operation `{name}` are left out: OpenAPI 2.0 has none as parameters"));
        }
        let made = self::operation(source, operation, converter.as_deref_mut(), (path, query), error);
        item[method.to_ascii_lowercase()] = made;
    }
    Value::Object(paths)
}

fn operation(
    source: &Source<'_>,
    document: &OperationDocument<'_>,
    mut converter: Option<&mut Converter<'_>>,
    (path, query): (&str, &str),
    error: &str,
) -> Value {
    let spec = &document.spec;
    let known = source.definition.and_then(|all| all.operations.iter().find(|one| one.id == spec.name.value));
    if let Some(converter) = &mut converter {
        spec.name.value.clone_into(&mut converter.place);
    }
    let mut out = Map::new();
    let words = |text: &str| if text.trim().is_empty() { spaced(&spec.name.value) } else { one_line(text) };
    let old = |name: &str| known.and_then(|one| one.node.text_of(name)).unwrap_or_default();
    out.insert("operationId".into(), identifier(&spec.name.value).into());
    let summary = words(spec.summary.as_deref().unwrap_or_else(|| old("summary")));
    let description = spec.description.clone().unwrap_or_else(|| old("description").to_owned());
    out.insert("description".into(), if description.trim().is_empty() { summary.clone() } else { description }.into());
    out.insert("summary".into(), summary.into());
    if let Some(one) = known {
        for member in one.node.members() {
            let is_kept = member.name.starts_with("x-")
                || matches!(&*member.name, "tags" | "deprecated")
                || converter.is_none() && matches!(&*member.name, "consumes" | "produces");
            if is_kept {
                out.insert(member.name.to_string(), member.value.to_json());
            }
        }
        if let Some(converter) = &mut converter {
            left_out(one, converter);
            let bodies = one.parameters.iter().filter(|one| one.place == "body").map(|one| one.node);
            let answers = one.node.get("responses").map(Node::members).unwrap_or_default().iter();
            let answers = answers.filter(|one| one.name.starts_with('2'));
            let answers = answers.filter_map(|one| Some(source.definition?.follow(&one.value)));
            let kinds = [("consumes", convert::media_types(bodies)), ("produces", convert::media_types(answers))];
            out.extend(kinds.into_iter().filter_map(|(name, list)| Some((name.to_owned(), list?))));
        }
    }
    let mut parameters = known.map(|one| known_parameters(one, converter.as_deref_mut())).unwrap_or_default();
    let written = &spec.parameters;
    if !written.is_empty() || known.is_none() {
        parameters.retain(|old| written.iter().any(|new| is(old, &new.name, new.place)));
    }
    for parameter in written.iter().filter(|one| one.place != ParameterPlace::Cookie) {
        match parameters.iter_mut().find(|old| is(old, &parameter.name, parameter.place)) {
            Some(old) => overlay(old, parameter),
            None => {
                let mut new = json!({});
                overlay(&mut new, parameter);
                parameters.push(new);
            }
        }
    }
    complete(&mut parameters, path, query);
    if let Some(media) = form(&parameters) {
        out.insert("consumes".into(), json!([media]));
    }
    out.insert("parameters".into(), parameters.into());
    out.insert("responses".into(), responses(known, converter, error));
    Value::Object(out)
}

/// The parameters of a definition, with references written out.
fn known_parameters(operation: &Operation<'_>, mut converter: Option<&mut Converter<'_>>) -> Vec<Value> {
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

/// Tells what of an operation has no place in 2.0.
fn left_out(operation: &Operation<'_>, converter: &mut Converter<'_>) {
    let has = |name: &str| {
        operation.node.get(name).is_some_and(|node| !node.members().is_empty() || !node.items().is_empty())
    };
    if has("callbacks") {
        converter.lose("no `callbacks`");
    }
    if has("servers") {
        converter.lose("no `servers` of an operation, and all of them are called through the gateway");
    }
}

/// Whether a parameter is the one that is meant. What a form takes was one body in OpenAPI 3.
fn is(parameter: &Value, name: &str, place: ParameterPlace) -> bool {
    let found = parameter["in"].as_str().unwrap_or_default();
    match place {
        ParameterPlace::Body => matches!(found, "body" | "formData"),
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
fn overlay(parameter: &mut Value, spec: &ParameterSpec) {
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
            parameter["type"] = if kind == "object" { "string" } else { kind }.into();
        }
        if parameter["type"] == "array" && parameter["items"].is_null() {
            parameter["items"] = json!({ "type": "string" });
        }
        if let Some(format) = &spec.format {
            parameter["format"] = format.as_str().into();
        }
        if let Some(default) = &spec.default {
            parameter["default"] = typed(&default.0, parameter["type"].as_str().unwrap_or_default());
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
    read.unwrap_or_else(|| value.clone())
}

/// What a definition needs: the variables of the path and of the query, names for people.
fn complete(parameters: &mut Vec<Value>, path: &str, query: &str) {
    let variables = |text: &str| -> Vec<String> {
        text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned())).collect()
    };
    let names = variables(path);
    parameters.retain(|one| one["in"] != "path" || names.iter().any(|name| one["name"] == **name));
    for name in &names {
        if !parameters.iter().any(|one| is(one, name, ParameterPlace::Path)) {
            parameters.push(json!({ "name": name, "in": "path", "required": true, "type": "string" }));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !parameters.iter().any(|one| is(one, name, ParameterPlace::Query)) {
            let mut parameter = json!({ "name": name, "in": "query", "required": true, "type": "string" });
            if !value.starts_with('{') {
                parameter["default"] = value.into();
                parameter["x-ms-visibility"] = "internal".into();
            }
            parameters.push(parameter);
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

/// The media type that the fields of a form need.
fn form(parameters: &[Value]) -> Option<&'static str> {
    let mut fields = parameters.iter().filter(|one| one["in"] == "formData").peekable();
    fields.peek()?;
    let has_file = fields.any(|field| field["type"] == "file");
    Some(if has_file { "multipart/form-data" } else { "application/x-www-form-urlencoded" })
}

/// The responses of the definition, and those of the gateway.
fn responses(known: Option<&Operation<'_>>, mut converter: Option<&mut Converter<'_>>, error: &str) -> Value {
    let mut out = Map::new();
    let members = known.and_then(|one| one.node.get("responses")).map(Node::members).unwrap_or_default();
    for member in members {
        let value = member.value.to_json();
        let Some(converter) = &mut converter else {
            out.insert(member.name.to_string(), value);
            continue;
        };
        let taken = |status: &str| members.iter().any(|one| *one.name == *status);
        if let Some(status) = convert::status(&member.name, taken) {
            out.insert(status, converter.response(&value));
        }
    }
    if !out.keys().any(|name| name.starts_with('2') || name == "default") {
        out.insert("200".to_owned(), json!({ "description": "OK" }));
    }
    let schema = json!({ "$ref": format!("#/definitions/{error}") });
    out.insert(
        "429".to_owned(),
        json!({
            "description": "A limit of the gateway is exceeded. Retry-After tells when to try again.",
            "headers": { "Retry-After": { "description": "Seconds to wait.", "type": "integer" } },
            "schema": schema,
        }),
    );
    out.entry("default").or_insert_with(
        || json!({ "description": "The gateway refused the request, or could not answer it.", "schema": schema }),
    );
    Value::Object(out)
}

/// The form of the API's own error answers.
fn error_format(source: &Source<'_>) -> ErrorFormat {
    let own = source.api.spec.errors.as_ref().and_then(|errors| errors.format);
    own.or(source.document.errors.format).unwrap_or_default()
}

/// The gateway's own errors, in the form that the API has.
fn error_schema(format: ErrorFormat) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let status = json!({ "type": "integer", "format": "int32", "description": "The status of the response." });
    match format {
        ErrorFormat::Apim => json!({
            "type": "object",
            "properties": { "statusCode": status, "message": text("What went wrong.") },
        }),
        ErrorFormat::Connector => json!({
            "type": "object",
            "properties": { "error": {
                "type": "object",
                "properties": {
                    "code": status,
                    "source": text("The gateway that answered."),
                    "clientRequestId": text("The id of the request, by which its log is found."),
                    "message": text("What went wrong."),
                    "innerError": { "type": "object", "description": "What the backend said." },
                },
            } },
        }),
        ErrorFormat::Problem => json!({
            "type": "object",
            "properties": {
                "type": text("The kind of problem, a URI."),
                "title": text("The kind of problem, in words."),
                "status": status,
                "detail": text("What went wrong."),
                "instance": text("The request that it went wrong for."),
            },
        }),
    }
}

/// An `operationId` of letters, digits, `-`, `_` and `.`.
fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// `getOrderLines` and `get-order-lines` as `Get order lines`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    let mut before_upper = true;
    for character in name.chars() {
        if matches!(character, '-' | '_' | '.' | ' ' | '$') {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            before_upper = true;
            continue;
        }
        if character.is_uppercase() && !before_upper {
            out.push(' ');
        }
        before_upper = character.is_uppercase();
        match out.is_empty() {
            true => out.extend(character.to_uppercase()),
            false => out.extend(character.to_lowercase()),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::spaced;

    #[test]
    fn names_for_people() {
        for (name, want) in
            [("getOrderLines", "Get order lines"), ("order-id", "Order id"), ("$top", "Top"), ("ID", "Id")]
        {
            assert_eq!(spaced(name), want, "{name}");
        }
    }
}
