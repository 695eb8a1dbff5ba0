//! What the gateway shows to backends, as written: `[token-sources]`, `[certificates]`, `[managed-identity]` and the credentials of backends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::value::{At, Period};

/// `[token-sources.NAME]`: where access tokens for backends come from. A backend's `credentials.token-source` or the policy
/// `authentication-oauth2` uses it.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TokenSourceSpec {
    /// How a token is asked for. Default `client-credentials`.
    pub grant: TokenGrant,
    /// The token endpoint: an `https` URL; plain `http` only to this machine. Required, except for `managed-identity`, where it
    /// takes the place of `[managed-identity]`'s `endpoint`.
    pub token_url: Option<At<String>>,
    /// Who asks: the client's id. For `managed-identity` the id of a user-assigned identity; default the system-assigned one.
    pub client_id: Option<At<String>>,
    /// The client's secret, usually `"{{named-value}}"`.
    pub client_secret: Option<At<String>>,
    /// How the client proves who it is. Default `private-key-jwt` with a `client-key-file`, `basic` with a `client-secret`, else
    /// `none`. Not together with a `client-assertion-file`.
    pub client_authentication: Option<At<ClientAuthenticationSpec>>,
    /// PEM file with the client's private key for `private-key-jwt`, relative to the configuration folder: RSA, P-256, P-384 or
    /// Ed25519.
    pub client_key_file: Option<At<String>>,
    /// PEM file with the key's certificate, relative to the configuration folder. The assertion carries its thumbprint
    /// (`x5t#S256`), by which Entra finds it, and an RSA key signs with PS256 in place of RS256.
    pub client_certificate_file: Option<At<String>>,
    /// The key's id (`kid`) in the assertion. Default: none.
    pub client_key_id: Option<String>,
    /// File with an assertion that somebody else signs and renews in place of a secret or key, relative to the configuration folder
    /// and read for each request for a token. Kubernetes keeps one for workload identities in Azure, at
    /// `/var/run/secrets/azure/tokens/azure-identity-token`.
    pub client_assertion_file: Option<At<String>>,
    /// What the token is for (`scope`), separated by spaces; in Entra `api://…/.default`. Default: the endpoint's own choice.
    pub scope: Option<At<String>>,
    /// The `resource` parameter (RFC 8707, Entra v1, managed identities). Default: none.
    pub resource: Option<At<String>>,
    /// The `audience` parameter (RFC 8693, Auth0). Default: none.
    pub audience: Option<At<String>>,
    /// More parameters of the request, by name.
    pub parameters: BTreeMap<String, At<String>>,
    /// What the caller's token is, for `token-exchange`: `access-token`, `id-token`, `jwt`, or a URI. Default `access-token`.
    pub subject_token_type: Option<At<String>>,
    /// What kind of token is wanted, for `token-exchange`: the same names, or a URI. Default: the endpoint's own choice.
    pub requested_token_type: Option<At<String>>,
    /// How long before its end a token is replaced, and up to half as long again, so that replicas do not ask together; at most a
    /// quarter of a token's life. Default `5m`.
    pub refresh_before: Option<Period>,
    /// The time for one request to the endpoint. Default `10s`.
    pub timeout: Option<At<Period>>,
    /// How many tokens of callers, and of scopes that are expressions, are kept; beyond it the oldest goes. Default 10000.
    pub max_tokens: Option<NonZeroUsize>,
    /// PEM file with the authorities to trust in place of the system's, relative to the configuration folder.
    pub ca_file: Option<At<String>>,
}

/// How a token is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenGrant {
    /// For the gateway itself (RFC 6749 §4.4).
    #[default]
    ClientCredentials,
    /// Another token for the caller's (RFC 8693). The caller's is the bearer token that `validate-jwt` accepted.
    TokenExchange,
    /// Microsoft Entra's on-behalf-of flow with the caller's token, which `validate-jwt` accepted.
    OnBehalfOf,
    /// The managed identity of the machine in Azure; see `[managed-identity]`. Needs `resource`.
    ManagedIdentity,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthenticationSpec {
    /// Id and secret in an `Authorization` header (RFC 6749 §2.3.1).
    Basic,
    /// Id and secret in the body.
    Post,
    /// An assertion that is signed with the client's key (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// Only the id, when there is one.
    None,
}

/// `[certificates.NAME]`: a certificate of the gateway's own and its key, to show to backends. A backend's
/// `credentials.certificate` or the policy `authentication-certificate` uses it. The files are read again when they change, and new
/// connections then show the new certificate.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CertificateSpec {
    /// PEM file with the certificate and those between it and its authority, relative to the configuration folder.
    pub certificate_file: Option<At<String>>,
    /// PEM file with its private key, not encrypted: RSA, P-256, P-384, P-521 or Ed25519. Default: the `certificate-file`, which then
    /// holds both.
    pub key_file: Option<At<String>>,
    /// PKCS#12 file (`.pfx`, `.p12`) with both, in place of the other two.
    pub pkcs12_file: Option<At<String>>,
    /// The password of the `pkcs12-file`, usually `"{{named-value}}"`. Default: the empty one.
    pub password: Option<At<String>>,
}

/// `[managed-identity]`: the endpoint that gives tokens of the machine's own identity in Azure.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ManagedIdentitySpec {
    /// The URL of the endpoint. Default: the environment's `IDENTITY_ENDPOINT`, which App Service, Functions and Container Apps
    /// set, else that of virtual machines, `http://169.254.169.254/metadata/identity/oauth2/token`.
    pub endpoint: Option<At<String>>,
    /// The value of `X-IDENTITY-HEADER`, which makes it an endpoint in the form of App Service. Default: the environment's
    /// `IDENTITY_HEADER` when the endpoint comes from there, else none, and the request has the form of virtual machines.
    pub header: Option<At<String>>,
}

/// `[key-vault]`: how the named values with `key-vault` are fetched. Its texts can use named values from the environment and from
/// files, not those of the vault.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KeyVaultSpec {
    /// How long a value serves before it is fetched again, up to a tenth earlier, so that replicas do not ask together. Default
    /// `4h`.
    pub refresh: Option<At<Period>>,
    /// Who asks: a client's id and secret with the keys of a token source. Default: the machine's identity, see
    /// `[managed-identity]`.
    pub credentials: Option<TokenSourceSpec>,
    /// What the token for the vault is for. Default: `https://vault.azure.net`, or that of the cloud the vault is in, or what the
    /// vault asks for of its own domain.
    pub resource: Option<At<String>>,
    /// PEM file with the authorities to trust in place of the system's, relative to the configuration folder.
    pub ca_file: Option<At<String>>,
}

/// `[backends.NAME.credentials]`: what the backend is shown of the gateway's own. It is put on each request when the backend is
/// called, also on retries and after `set-backend-service`, replaces what the caller or a policy put in its place, and is never
/// sent to another backend. The caller's subscription key is taken out of requests to a backend that has credentials.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BackendCredentialsSpec {
    /// Headers by name, each with a text or a list: `header.x-functions-key = "{{functions-key}}"`.
    pub header: BTreeMap<String, At<Texts>>,
    /// Query parameters by name, each with a text or a list: `query.code = "{{functions-key}}"`.
    pub query: BTreeMap<String, At<Texts>>,
    /// The `Authorization` header.
    pub authorization: Option<At<AuthorizationSpec>>,
    /// The `[token-sources.NAME]` whose token is sent as `Authorization: Bearer`. Not together with `authorization`.
    pub token_source: Option<At<String>>,
    /// What the token is for, in place of the source's own `scope`.
    pub scope: Option<At<String>>,
    /// What the token is for, in place of the source's own `resource`.
    pub resource: Option<At<String>>,
    /// What the token is for, in place of the source's own `audience`.
    pub audience: Option<At<String>>,
    /// The `[certificates.NAME]` that the backend is shown in the TLS handshake. Needs an `https` URL; goes before the policy
    /// `authentication-certificate`.
    pub certificate: Option<At<String>>,
    /// Whether an answer of 401 makes the gateway fetch a new token, at most every 30 s, and send the request once more; only one
    /// without a body or with one that is in memory. Default `false`.
    pub refresh_on_401: bool,
}

/// One text or several.
#[derive(Clone, Default)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text or a list of texts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Texts({})", self.0.len())
    }
}

/// An `Authorization` header that does not change.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthorizationSpec {
    /// The scheme: `Bearer`, `Basic`, or the name of another.
    pub scheme: String,
    /// What follows the scheme, usually `"{{named-value}}"`.
    pub parameter: String,
}
