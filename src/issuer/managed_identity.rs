//! Tokens for managed identities, as Azure's metadata service and App Service hand them out inside a machine.

use http::HeaderMap;
use serde_json::json;

use super::grant::Target;
use super::mint::{DEFAULT_CLIENT, Grant, Preset, seconds};
use super::reply::Reply;
use super::route::{Form, Realm};
use super::{Issuer, random_id};

impl Issuer {
    /// The instance metadata service of a virtual machine
    /// (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>).
    pub(super) fn metadata_token(&self, headers: &HeaderMap, form: &Form) -> Reply {
        let value = headers.get("metadata").and_then(|value| value.to_str().ok());
        if !value.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Reply::error(400, "invalid_request", "Required metadata header not specified");
        }
        // The service refuses what came through a proxy, so that no web server can be talked into asking it.
        if headers.contains_key("x-forwarded-for") {
            return Reply::error(400, "invalid_request", "a request with X-Forwarded-For is refused");
        }
        self.managed(form, &["client_id", "object_id", "msi_res_id"])
    }

    /// `IDENTITY_ENDPOINT` of App Service and Functions
    /// (<https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>).
    pub(super) fn app_service_token(&self, headers: &HeaderMap, form: &Form) -> Reply {
        let found = headers.get("x-identity-header").and_then(|value| value.to_str().ok()).filter(|it| !it.is_empty());
        let right = match (&self.options.identity_header, found) {
            (Some(wanted), found) => found == Some(wanted),
            (None, found) => found.is_some(),
        };
        if !right {
            return Reply::error(401, "invalid_request", "X-IDENTITY-HEADER is missing or wrong");
        }
        self.managed(form, &["client_id", "principal_id", "mi_res_id"])
    }

    fn managed(&self, form: &Form, names: &[&str]) -> Reply {
        let (Some(resource), Some(_)) = (form.get("resource"), form.get("api-version")) else {
            return Reply::error(400, "invalid_request", "the parameters api-version and resource are needed");
        };
        let realm = Realm { preset: Preset::EntraV1, tenant: String::new() };
        let target = Target { audiences: vec![resource.to_owned()], ..Target::default() };
        let identity = names.iter().find_map(|name| form.get(name)).unwrap_or(DEFAULT_CLIENT);
        let grant = match self.grant(&realm, &target, None) {
            Ok(grant) => Grant { client: identity.to_owned(), ..grant },
            Err((error, why)) => return Reply::error(400, error, &why),
        };
        let now = self.clock.wall();
        let mut claims = grant.claims(now, &random_id());
        claims.insert("appidacr".to_owned(), json!("2"));
        claims.insert("xms_mirid".to_owned(), json!(format!("/local/userAssignedIdentities/{identity}")));
        let token = match self.sign(None, &grant, &serde_json::Map::new(), &claims) {
            Ok(token) => token,
            Err(error) => return Reply::error(500, "server_error", &error),
        };
        tracing::info!(client = identity, audience = resource, "issued a token to a managed identity");
        let lifetime = grant.lifetime.as_secs();
        let now = seconds(now);
        // All numbers are text, in both services.
        Reply::tokens(&json!({
            "access_token": token,
            "client_id": identity,
            "expires_in": lifetime.to_string(),
            "expires_on": now.saturating_add_unsigned(lifetime).to_string(),
            "ext_expires_in": lifetime.to_string(),
            "not_before": now.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }))
    }
}
