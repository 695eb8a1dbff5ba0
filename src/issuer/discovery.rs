//! What the local issuer says of itself: discovery documents, and a page for people.

use serde_json::json;

use super::Issuer;
use super::mint::{Preset, issuer_of, tenant_id};
use super::reply::Reply;
use super::route::Realm;
use super::token::GRANTS;

impl Issuer {
    /// OpenID Connect Discovery 1.0 §3; the same members serve RFC 8414.
    pub(super) fn discovery(&self, realm: &Realm) -> Reply {
        let base = &self.base;
        let tenant = &realm.tenant;
        // Entra ID's documents for any tenant have a template in place of the tenant.
        let id = match tenant.as_str() {
            "common" | "organizations" => "{tenantid}".to_owned(),
            name => tenant_id(name, &self.options.tenant),
        };
        let (keys, token, authorize, userinfo) = match realm.preset {
            Preset::Plain => (
                format!("{base}/jwks"),
                format!("{base}/token"),
                format!("{base}/authorize"),
                format!("{base}/userinfo"),
            ),
            Preset::EntraV1 => (
                format!("{base}/{tenant}/discovery/keys"),
                format!("{base}/{tenant}/oauth2/token"),
                format!("{base}/{tenant}/oauth2/authorize"),
                format!("{base}/{tenant}/openid/userinfo"),
            ),
            Preset::EntraV2 => (
                format!("{base}/{tenant}/discovery/v2.0/keys"),
                format!("{base}/{tenant}/oauth2/v2.0/token"),
                format!("{base}/{tenant}/oauth2/v2.0/authorize"),
                format!("{base}/{tenant}/openid/userinfo"),
            ),
        };
        let algorithms: Vec<&str> = self.keys.algorithms().iter().map(|algorithm| algorithm.name()).collect();
        Reply::ok(&json!({
            "issuer": issuer_of(realm.preset, base, &id),
            "authorization_endpoint": authorize,
            "token_endpoint": token,
            "jwks_uri": keys,
            "userinfo_endpoint": userinfo,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": GRANTS,
            "subject_types_supported": [if realm.preset == Preset::Plain { "public" } else { "pairwise" }],
            "id_token_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "client_secret_basic", "private_key_jwt", "none"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "name", "email"],
            "sluicegate_for_development_only": true,
        }))
    }

    /// A page for people.
    pub(super) fn index(&self) -> Reply {
        let (base, tenant) = (&self.base, &self.options.tenant);
        Reply::new(
            200,
            "text/plain; charset=utf-8",
            format!(
                "sluicegate issuer: an OpenID provider for development. It believes whatever it is told.

plain     {base}/.well-known/openid-configuration
Entra v2  {base}/{tenant}/v2.0/.well-known/openid-configuration
Entra v1  {base}/{tenant}/.well-known/openid-configuration
          (any GUID or name in place of the tenant)

tokens    POST {base}/{tenant}/oauth2/v2.0/token    grant_type=client_credentials&client_id=…&client_secret=…&scope=api://…/.default
          GET  {base}/{tenant}/oauth2/v2.0/authorize
identity  GET  {base}/metadata/identity/oauth2/token    GET {base}/msi/token

POST {base}/-/mint      any token: {{\"preset\":\"entra-v2\",\"audiences\":[\"…\"],\"scopes\":[\"…\"],\"lifetime\":-60,\"claims\":{{}}}}
POST {base}/-/rotate    new signing keys; ?overlap=0s drops the ones before at once
POST {base}/-/faults    trouble: {{\"endpoint\":\"keys\",\"kind\":\"slow\",\"seconds\":30,\"times\":1}}; DELETE ends it
"
            ),
        )
    }
}
