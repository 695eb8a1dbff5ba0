//! Connections of connectors, as written: `[connections]` in gateway.toml, and the parameters that an API asks of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::At;

/// `[connections.NAME]`: what one caller, or every caller, of an API brings to its backend: the values that
/// `@connectionParameters('name')` reads, and the token that `authentication-connection` sends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConnectionSpec {
    /// The name of the API.
    pub api: At<String>,
    /// The subscriptions whose calls use it. Default: every call that no other connection of the API is for.
    #[serde(default)]
    pub subscriptions: Vec<At<String>>,
    /// Which of the API's `[api.connection.sets]` the parameters belong to: how the backend is authenticated with.
    pub set: Option<At<String>>,
    /// The values, by name, secret ones as `"{{named-value}}"`. Names compare without case; those that hold other characters than letters, digits, `-` and `_` are
    /// written in quotes (`"token:tenantId"`).
    #[serde(default)]
    pub parameters: BTreeMap<String, At<String>>,
    /// The `[token-sources.NAME]` whose token is the connection's OAuth token. Not together with `pass-through`.
    pub token_source: Option<At<String>>,
    /// Whether the caller's own `Authorization` goes on to the backend as the connection's OAuth token. Default `false`.
    #[serde(default)]
    pub pass_through: bool,
}

impl Default for ConnectionSpec {
    fn default() -> Self {
        Self {
            api: At { value: String::new(), span: 0..0 },
            subscriptions: Vec::new(),
            set: None,
            parameters: BTreeMap::new(),
            token_source: None,
            pass_through: false,
        }
    }
}

/// `[api.connection]`: what an API asks of its connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ConnectionParametersSpec {
    /// `[api.connection.parameters.NAME]`: the parameters of every connection.
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// `[api.connection.sets.NAME]`: sets of more parameters, of which a connection chooses one.
    pub sets: BTreeMap<String, ParameterSetSpec>,
}

/// `[api.connection.sets.NAME]`: one way to connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ParameterSetSpec {
    /// What it is for.
    pub description: Option<String>,
    /// Its parameters, by name.
    pub parameters: BTreeMap<String, ParameterSpec>,
}

/// One parameter of a connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ParameterSpec {
    /// What kind of value it is. Default `string`.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Whether a connection must give it. Default `false`.
    pub required: bool,
    /// The value of connections that do not give it.
    pub default: Option<String>,
    /// The values that it may have. Default: any.
    pub allowed: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Kinds of parameters, as `connectionParameters` of `apiProperties.json` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterType {
    /// Text.
    #[default]
    String,
    /// Text that is secret.
    Securestring,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// An OAuth token: `token-source`, `pass-through`, or a stored token as the parameter's value.
    OauthSetting,
    /// The on-premises gateway that the platform goes through. It has no meaning here and needs no value.
    GatewaySetting,
}
