//! How callers authenticate with the gateway, and `apiProperties.json`.

use serde_json::{Map, Value, json};

use super::super::tree::Node;
use super::Source;
use crate::config::RawPolicy;

/// How a caller authenticates with the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// Not at all.
    None,
    /// A key in a header.
    Key(String),
    /// A user name and a password.
    Basic,
    /// A token of Microsoft Entra ID for an audience.
    Entra(String),
}

/// The colour of an icon that has none: the gateway's own.
const COLOUR: &str = "#0b6a6f";

pub(super) fn security(source: &Source<'_>, notes: &mut Vec<String>) -> Security {
    let spec = &source.api.spec;
    let header = || {
        let header = spec.key_header.as_ref().map_or("Ocp-Apim-Subscription-Key", |header| &header.value);
        header.to_owned()
    };
    let inherited = spec.inherit.unwrap_or(true);
    let global = source.document.scope.inbound.iter().filter(|_| inherited);
    let policies: Vec<&RawPolicy<'_>> = global.chain(&source.api.scope.inbound).collect();
    let find = |names: &[&str]| policies.iter().find(|policy| names.contains(&policy.name.get_ref().as_str()));
    let text = |policy: &RawPolicy<'_>, key: &str| {
        let value = policy.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value);
        let value = value.map(|value| value.get_ref().clone());
        value.and_then(|value| match value {
            toml::de::DeValue::String(text) => Some(text.into_owned()),
            toml::de::DeValue::Array(list) => list.iter().find_map(|item| item.get_ref().as_str().map(str::to_owned)),
            _ => None,
        })
    };
    if let Some(policy) = find(&["validate-azure-ad-token", "validate-jwt"]) {
        return match text(policy, "audiences").or_else(|| text(policy, "backend-application-ids")) {
            Some(audience) => {
                notes.push(
                    "apiProperties.json needs the id of an app registration for the connector: `clientId`".to_owned(),
                );
                let is_entra = policy.name.get_ref() == "validate-azure-ad-token"
                    || text(policy, "openid-config").is_some_and(|url| url.contains("://login.microsoftonline.com/"));
                if !is_entra {
                    notes.push(
                        "the tokens are taken for those of Microsoft Entra ID; where another issuer makes them, \
                         `identityProvider` in apiProperties.json and the URLs of `oauth2` are to be changed"
                            .to_owned(),
                    );
                }
                Security::Entra(audience)
            }
            None => {
                notes.push(format!(
                    "`{}` names no audience that a token could be asked for, so connections have no parameters",
                    policy.name.get_ref()
                ));
                Security::None
            }
        };
    }
    if let Some(policy) = find(&["api-key"]) {
        return Security::Key(text(policy, "header").unwrap_or_else(header));
    }
    if find(&["basic-auth"]).is_some() {
        return Security::Basic;
    }
    let products = source
        .document
        .products
        .iter()
        .filter(|product| product.spec.spec.apis.iter().any(|api| api.value == spec.name.value));
    let by_product: Vec<bool> =
        products.map(|product| product.spec.spec.subscription_required.unwrap_or(true)).collect();
    let by_product = !by_product.is_empty() && by_product.iter().all(|required| *required);
    if spec.subscription_required.unwrap_or(by_product) {
        return Security::Key(header());
    }
    notes.push("the API asks callers for nothing, so connections have no parameters".to_owned());
    Security::None
}

/// `securityDefinitions` and `security`.
pub(super) fn schemes(security: &Security) -> Option<(Value, Value)> {
    match security {
        Security::None => None,
        Security::Key(header) => Some((
            json!({ "api_key": { "type": "apiKey", "in": "header", "name": header } }),
            json!([{ "api_key": [] }]),
        )),
        Security::Basic => Some((json!({ "basic": { "type": "basic" } }), json!([{ "basic": [] }]))),
        Security::Entra(_) => Some((
            json!({ "oauth2": {
                "type": "oauth2",
                "flow": "accessCode",
                "authorizationUrl": "https://login.microsoftonline.com/common/oauth2/authorize",
                "tokenUrl": "https://login.microsoftonline.com/common/oauth2/token",
                "scopes": {},
            } }),
            json!([{ "oauth2": [] }]),
        )),
    }
}

pub(super) fn properties(source: &Source<'_>, security: &Security, definition: &Value) -> Value {
    let old = source.old.and_then(|root| root.get("properties"));
    let kept = |name: &str| old.and_then(|old| old.get(name)).map(Node::to_json);
    let mut table = Map::new();
    table.insert("connectionParameters".into(), parameters(security));
    table.insert("iconBrandColor".into(), kept("iconBrandColor").unwrap_or_else(|| COLOUR.into()));
    let has_trigger = paths(definition).any(|operation| operation.get("x-ms-trigger").is_some());
    let mut capabilities = vec!["actions"];
    capabilities.extend(has_trigger.then_some("triggers"));
    table.insert("capabilities".into(), capabilities.into());
    let links: Vec<Value> = paths(definition).filter_map(next_link).collect();
    if !links.is_empty() {
        table.insert("policyTemplateInstances".into(), links.into());
    }
    for name in ["publisher", "stackOwner"] {
        if let Some(value) = kept(name) {
            table.insert(name.into(), value);
        }
    }
    json!({ "properties": table })
}

/// The operations of a definition.
fn paths(definition: &Value) -> impl Iterator<Item = &Value> {
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

fn parameters(security: &Security) -> Value {
    let secret = |name: &str, description: &str, kind: &str| {
        json!({
            "type": kind,
            "uiDefinition": {
                "displayName": name,
                "description": description,
                "tooltip": description,
                "constraints": { "tabIndex": 2, "clearText": kind == "string", "required": "true" },
            },
        })
    };
    match security {
        Security::None => json!({}),
        Security::Key(_) => {
            json!({ "api_key": secret("Subscription key", "The subscription key of the gateway", "securestring") })
        }
        Security::Basic => json!({
            "username": secret("User name", "The user name at the gateway", "string"),
            "password": secret("Password", "The password at the gateway", "securestring"),
        }),
        Security::Entra(audience) => json!({
            "token": {
                "type": "oauthSetting",
                "oAuthSettings": {
                    "identityProvider": "aad",
                    "clientId": "",
                    "scopes": [],
                    "redirectMode": "GlobalPerConnector",
                    "redirectUrl": "https://global.consent.azure-apim.net/redirect",
                    "properties": { "IsFirstParty": "False", "AzureActiveDirectoryResourceId": audience, "IsOnbehalfofLoginSupported": true },
                    "customParameters": {
                        "loginUri": { "value": "https://login.microsoftonline.com" },
                        "tenantId": { "value": "common" },
                        "resourceUri": { "value": audience },
                        "enableOnbehalfOfLogin": { "value": "false" },
                    },
                },
            },
            "token:TenantId": {
                "type": "string",
                "metadata": { "sourceType": "AzureActiveDirectoryTenant" },
                "uiDefinition": { "constraints": { "required": "false", "hidden": "true" } },
            },
        }),
    }
}
