//! How the connections of a connector authenticate with the gateway.

use serde_json::{Map, Value, json};

use super::callers::{Asked, Key, Need, Needs};
use super::token::{Issuer, Maker};

/// What a connection shows the gateway.
#[derive(Debug, Default)]
pub(super) struct Security {
    /// What the definition declares: the platform sends it by itself.
    scheme: Option<Need>,
    /// The keys that are sent besides, by policies.
    keys: Vec<Key>,
}

/// The place of the token's settings in `apiProperties.json`.
pub(super) const SETTINGS: &str = "/properties/connectionParameters/token/oAuthSettings";
/// Names of connection parameters.
const KEY: &str = "api_key";
/// What stands for an audience that nobody names.
pub(super) const NO_AUDIENCE: &str = "api://fill-in";

/// Decides what connections show, and tells what of the needs they do not meet.
pub(super) fn decide(needs: &Needs, notes: &mut Vec<String>) -> Security {
    if needs.all.is_empty() {
        notes.push("the API asks callers for nothing, so connections have no parameters".to_owned());
        return Security::default();
    }
    let all = &needs.all;
    // What is asked for always comes before what is asked for in some cases; then tokens before passwords before keys.
    let rank = |asked: &&Asked| {
        let kind = match &asked.need {
            Need::Token(Issuer { maker: Maker::Entra { .. }, .. }) => 0,
            Need::Token(_) => 1,
            Need::Basic => 2,
            Need::Key(_) => 3,
        };
        (asked.operations.is_empty(), kind)
    };
    let first = all.iter().min_by_key(rank);
    let Some(Asked { need: scheme, .. }) = first else { return Security::default() };
    // A key that is always asked for goes with what is in `Authorization`, and with other keys.
    let keys: Vec<Key> = all
        .iter()
        .filter(|one| one.need != *scheme && !one.operations.is_empty() && !one.need.is_authorization())
        .filter_map(|one| match &one.need {
            Need::Key(key) => Some(key.clone()),
            _ => None,
        })
        .collect();
    tell(scheme, &keys, needs, notes);
    Security { scheme: Some(scheme.clone()), keys }
}

fn tell(scheme: &Need, keys: &[Key], needs: &Needs, notes: &mut Vec<String>) {
    if !keys.is_empty() {
        let mut list: Vec<String> = std::iter::once(scheme.text()).collect();
        list.extend(keys.iter().map(|key| Need::Key(key.clone()).text()));
        let last = list.pop().unwrap_or_default();
        notes.push(format!(
            "callers show {} and {last}: connections ask for all of it, and policies of the connector send what the definition does not declare",
            list.join(", ")
        ));
    }
    let is_used = |need: &Need| need == scheme || matches!(need, Need::Key(key) if keys.contains(key));
    for Asked { need, operations, place } in needs.all.iter().filter(|one| !is_used(&one.need)) {
        let at = if place.is_empty() { String::new() } else { format!(" ({place})") };
        let is_both_tokens = matches!((need, scheme), (Need::Token(_), Need::Token(_)));
        notes.push(if is_both_tokens {
            format!(
                "the tokens of several issuers are accepted{at}: connections bring {}, and not {}",
                scheme.text(),
                need.text()
            )
        } else if operations.is_empty() {
            format!("some callers show {}{at}: connections show {} instead", need.text(), scheme.text())
        } else {
            const MOST: usize = 3;
            let names: Vec<String> = operations.iter().take(MOST).map(|name| format!("`{name}`")).collect();
            let more = if operations.len() > MOST { " and others" } else { "" };
            format!(
                "{}{more} ask for {}{at}, and connections show {}: those calls are refused",
                names.join(", "),
                need.text(),
                scheme.text()
            )
        });
    }
    if let Need::Token(issuer) = scheme {
        tell_of_tokens(issuer, notes);
    }
}

/// What of other issuers the maker has to know. What is to be filled in is told once it is known what was before.
fn tell_of_tokens(issuer: &Issuer, notes: &mut Vec<String>) {
    if issuer.is_entra() {
        return;
    }
    let about = match &issuer.audience {
        Some(audience) => format!(
            ": they have to be for `{audience}`, and whether a scope or the registration of the connector makes them so, the issuer says"
        ),
        None => String::new(),
    };
    notes.push(format!("tokens come from {}, which is not Microsoft Entra ID{about}", issuer.text()));
}

impl Security {
    /// `securityDefinitions` and `security`.
    pub(super) fn schemes(&self) -> Option<(Value, Value)> {
        let pair = |name: &str, scheme: Value, scopes: Value| {
            let named = |value: Value| Value::Object(Map::from_iter([(name.to_owned(), value)]));
            (named(scheme), json!([named(scopes)]))
        };
        Some(match self.scheme.as_ref()? {
            Need::Key(Key::Header(name)) => {
                pair(KEY, json!({ "type": "apiKey", "in": "header", "name": name }), json!([]))
            }
            Need::Key(Key::Query(name)) => {
                pair(KEY, json!({ "type": "apiKey", "in": "query", "name": name }), json!([]))
            }
            Need::Basic => pair("basic", json!({ "type": "basic" }), json!([])),
            Need::Token(issuer) => {
                let ends = issuer.endpoints();
                let scopes: Map<String, Value> = match issuer.maker {
                    // Entra ID is asked for a resource.
                    Maker::Entra { .. } => Map::new(),
                    Maker::Other(_) => issuer.scopes.iter().map(|name| (name.clone(), name.as_str().into())).collect(),
                };
                let needed: Vec<&String> = scopes.keys().collect();
                let needed = json!(needed);
                let scheme = json!({
                    "type": "oauth2",
                    "flow": "accessCode",
                    "authorizationUrl": ends.authorization,
                    "tokenUrl": ends.token,
                    "scopes": scopes,
                });
                pair("oauth2", scheme, needed)
            }
        })
    }

    /// `connectionParameters`.
    pub(super) fn parameters(&self) -> Value {
        let mut table = Map::new();
        match &self.scheme {
            None => {}
            Some(Need::Key(key)) => {
                table.insert(KEY.to_owned(), key_parameter(key, false));
            }
            Some(Need::Basic) => {
                table.insert("username".to_owned(), parameter("User name", "The user name at the gateway", "string"));
                table.insert(
                    "password".to_owned(),
                    parameter("Password", "The password at the gateway", "securestring"),
                );
            }
            Some(Need::Token(issuer)) => {
                table.insert("token".to_owned(), json!({ "type": "oauthSetting", "oAuthSettings": settings(issuer) }));
                if matches!(issuer.maker, Maker::Entra { .. }) {
                    table.insert(
                        "token:TenantId".to_owned(),
                        json!({
                            "type": "string",
                            "metadata": { "sourceType": "AzureActiveDirectoryTenant" },
                            "uiDefinition": { "constraints": { "required": "false", "hidden": "true" } },
                        }),
                    );
                }
            }
        }
        let several = self.keys.len() + usize::from(matches!(self.scheme, Some(Need::Key(_)))) > 1;
        for (name, key) in self.named_keys() {
            table.insert(name, key_parameter(key, several));
        }
        table.into()
    }

    /// Whether a parameter is a key that connections send: makers are not asked for it again.
    pub(super) fn sends(&self, parameter: &Value) -> bool {
        let of_scheme = self.scheme.iter().filter_map(|need| match need {
            Need::Key(key) => Some(key),
            _ => None,
        });
        of_scheme.chain(&self.keys).any(|key| match key {
            Key::Header(name) => {
                parameter["in"] == "header"
                    && parameter["name"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name))
            }
            Key::Query(name) => parameter["in"] == "query" && parameter["name"] == **name,
        })
    }

    /// The policies that send what the definition does not declare.
    pub(super) fn policies(&self) -> Vec<Value> {
        self.named_keys()
            .map(|(parameter, key)| {
                let (template, name) = match key {
                    Key::Header(name) => ("setheader", name),
                    Key::Query(name) => ("setqueryparameter", name),
                };
                json!({
                    "templateId": template,
                    "title": format!("Key in {name}"),
                    "parameters": {
                        "x-ms-apimTemplateParameter.name": name,
                        "x-ms-apimTemplateParameter.value": format!("@connectionParameters('{parameter}','')"),
                        "x-ms-apimTemplateParameter.existsAction": "override",
                        "x-ms-apimTemplate-policySection": "Request",
                    },
                })
            })
            .collect()
    }

    /// The keys that policies send, with the names of their parameters.
    fn named_keys(&self) -> impl Iterator<Item = (String, &Key)> {
        let taken = usize::from(matches!(self.scheme, Some(Need::Key(_))));
        self.keys.iter().enumerate().map(move |(number, key)| {
            let name = if number + taken == 0 { KEY.to_owned() } else { format!("{KEY}_{}", number + taken + 1) };
            (name, key)
        })
    }
}

fn key_parameter(key: &Key, several: bool) -> Value {
    let (Key::Header(name) | Key::Query(name)) = key;
    if several {
        return parameter(&format!("Key {name}"), &format!("The key that the gateway reads in {name}"), "securestring");
    }
    parameter("Subscription key", "The subscription key of the gateway", "securestring")
}

fn parameter(name: &str, description: &str, kind: &str) -> Value {
    json!({
        "type": kind,
        "uiDefinition": {
            "displayName": name,
            "description": description,
            "tooltip": description,
            "constraints": { "tabIndex": 2, "clearText": kind == "string", "required": "true" },
        },
    })
}

fn settings(issuer: &Issuer) -> Value {
    let mut settings = json!({
        "clientId": "",
        "redirectMode": "GlobalPerConnector",
        "redirectUrl": "https://global.consent.azure-apim.net/redirect",
    });
    match &issuer.maker {
        Maker::Entra { authority, tenant } => {
            let audience = issuer.audience.as_deref().unwrap_or(NO_AUDIENCE);
            settings["identityProvider"] = "aad".into();
            settings["scopes"] = json!([]);
            settings["properties"] = json!({
                "IsFirstParty": "False",
                "AzureActiveDirectoryResourceId": audience,
                "IsOnbehalfofLoginSupported": true,
            });
            settings["customParameters"] = json!({
                "loginUri": { "value": authority },
                "tenantId": { "value": tenant },
                "resourceUri": { "value": audience },
                "enableOnbehalfOfLogin": { "value": "false" },
            });
        }
        Maker::Other(_) => {
            let ends = issuer.endpoints();
            settings["identityProvider"] = "oauth2".into();
            settings["scopes"] = json!(issuer.scopes);
            settings["properties"] = json!({ "IsFirstParty": "False" });
            settings["customParameters"] = json!({
                "authorizationUrl": { "value": ends.authorization },
                "tokenUrl": { "value": ends.token },
                "refreshUrl": { "value": ends.token },
            });
        }
    }
    settings
}
