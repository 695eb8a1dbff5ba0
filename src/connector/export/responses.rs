//! The answers of an operation: those of the definition, and those of the gateway.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::super::definition::Operation;
use super::super::tree::Node;
use super::Source;
use super::convert::{self, Converter};
use super::walk::Found;
use crate::config::spec::ErrorFormat;

/// Policies that answer 429, each with the key that holds its period.
const LIMITS: [&str; 4] = ["quota", "quota-by-key", "rate-limit", "rate-limit-by-key"];
/// How many limits are told.
const MOST_LIMITS: usize = 3;

/// The responses of the definition, and those of the gateway.
///
/// What the definition says of 429 is what the backend answers: its words stay, beside those of the gateway. A `default` with a schema stays
/// as it is; so does one that stands for success, because nothing else does.
pub(super) fn responses(
    known: Option<&Operation<'_>>,
    mut converter: Option<&mut Converter<'_>>,
    [error, limit]: &[String; 2],
    limits: &[String],
) -> Value {
    let mut out = Map::new();
    let members = known.and_then(|one| one.node.get("responses")).map(Node::members).unwrap_or_default();
    for member in members.iter().filter(|member| !member.name.starts_with("x-")) {
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
    let has_success = out.keys().any(|name| name.starts_with('2'));
    if !has_success && !out.contains_key("default") {
        out.insert("200".to_owned(), json!({ "description": "OK" }));
    }
    let schema = json!({ "$ref": format!("#/definitions/{error}") });
    let limit = json!({ "$ref": format!("#/definitions/{limit}") });
    let of_backend = out.remove("429");
    out.insert("429".to_owned(), limited(of_backend, &limit, limits));
    let refused = "The gateway refused the request, or could not answer it.";
    match out.get_mut("default") {
        None => {
            out.insert("default".to_owned(), json!({ "description": refused, "schema": schema }));
        }
        Some(own) if has_success && own.get("schema").is_none() && own.get("$ref").is_none() => {
            own["schema"] = schema;
            if own["description"].as_str().is_none_or(|text| text.is_empty() || text == "default") {
                own["description"] = refused.into();
            }
        }
        Some(_) => {}
    }
    Value::Object(out)
}

/// The answer of a limit.
fn limited(of_backend: Option<Value>, schema: &Value, limits: &[String]) -> Value {
    let limits = if limits.is_empty() { String::new() } else { format!(" ({})", limits.join(", ")) };
    let mut description = format!("A limit of the gateway is exceeded{limits}. Retry-After tells when to try again.");
    let own = of_backend.as_ref().and_then(|own| own["description"].as_str()).map(str::trim);
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        description = format!("{description} Or of the API itself: {own}");
    }
    let mut headers = match of_backend.map(|mut own| own["headers"].take()) {
        Some(Value::Object(headers)) => headers,
        _ => Map::new(),
    };
    headers.retain(|name, _| !name.eq_ignore_ascii_case("retry-after"));
    headers.insert("Retry-After".to_owned(), json!({ "description": "Seconds to wait.", "type": "integer" }));
    json!({ "description": description, "headers": headers, "schema": schema })
}

/// The limits that every request meets, for people: `100 calls in 1m`.
pub(super) fn limits(found: &[Found<'_>]) -> Vec<String> {
    let limits = found.iter().filter(|one| one.certain && LIMITS.contains(&one.name()));
    let texts = limits.filter_map(|one| {
        let Some(DeValue::Integer(calls)) = one.value("calls") else { return None };
        let period = ["period", "renewal-period"].into_iter().find_map(|key| match one.value(key)? {
            DeValue::String(text) if !text.contains('@') => Some(text.to_string()),
            DeValue::Integer(seconds) => Some(format!("{seconds}s")),
            _ => None,
        });
        Some(format!("{calls} calls in {}", period?))
    });
    texts.take(MOST_LIMITS).collect()
}

/// The form of the API's own error answers.
pub(super) fn error_format(source: &Source<'_>) -> ErrorFormat {
    let own = source.api.spec.errors.as_ref().and_then(|errors| errors.format);
    own.or(source.document.errors.format).unwrap_or_default()
}

/// The gateway's own errors, in the form that the API has.
pub(super) fn error_schema(format: ErrorFormat) -> Value {
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
