//! `apiProperties.json`.

use serde_json::{Map, Value, json};

use super::super::tree::Node;
use super::Source;
use super::security::Security;

/// The colour of an icon that has none: the gateway's own.
const COLOUR: &str = "#0b6a6f";
/// What certification refuses: they say nothing.
const NO_COLOURS: [&str; 2] = ["#ffffff", "#007ee5"];

pub(super) fn properties(source: &Source<'_>, security: &Security, definition: &Value) -> Value {
    let old = source.old.and_then(|root| root.get("properties"));
    let kept = |name: &str| old.and_then(|old| old.get(name)).map(Node::to_json);
    let mut table = Map::new();
    table.insert("connectionParameters".into(), security.parameters());
    let colour = kept("iconBrandColor").filter(|colour| colour.as_str().is_some_and(is_colour));
    table.insert("iconBrandColor".into(), colour.unwrap_or_else(|| COLOUR.into()));
    let has_trigger = operations(definition).any(|operation| operation.get("x-ms-trigger").is_some());
    let mut capabilities = vec!["actions"];
    capabilities.extend(has_trigger.then_some("triggers"));
    table.insert("capabilities".into(), capabilities.into());
    let mut policies = security.policies();
    policies.extend(operations(definition).filter_map(next_link));
    if !policies.is_empty() {
        table.insert("policyTemplateInstances".into(), policies.into());
    }
    for name in ["publisher", "stackOwner"] {
        if let Some(value) = kept(name) {
            table.insert(name.into(), value);
        }
    }
    json!({ "properties": table })
}

fn is_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !NO_COLOURS.contains(&text.to_ascii_lowercase().as_str())
}

/// The operations of a definition.
fn operations(definition: &Value) -> impl Iterator<Item = &Value> {
    let paths = definition["paths"].as_object().into_iter().flat_map(Map::values);
    paths.filter_map(Value::as_object).flat_map(Map::values)
}

/// The platform follows a link by itself only when this policy makes it lead through the platform.
fn next_link(operation: &Value) -> Option<Value> {
    let name = operation["x-ms-pageable"]["nextLinkName"].as_str()?;
    let id = operation["operationId"].as_str()?;
    Some(json!({
        "templateId": "updatenextlink",
        "title": format!("Pages of {id}"),
        "parameters": {
            "x-ms-apimTemplateParameter.nextLinkPropertyName": name,
            "x-ms-apimTemplate-operationName": [id],
        },
    }))
}
