//! The request for a token, as each grant writes it.

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::assertion;
use super::error::CredentialError;
use super::fetch::Http;
use super::settings::{ClientAuthentication, Grant, IdentityEndpoint, Settings, Target};

/// RFC 7523 §2.2.
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What stays as it is in a form: what RFC 3986 §2.3 leaves alone. A colon does not: it parts a client's name from its secret.
pub(super) const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The request for a token, for the caller's own where the grant needs one.
pub(super) fn token_request(
    http: &Http,
    settings: &Settings,
    target: &Target,
    subject: Option<&str>,
    wall: SystemTime,
) -> Result<RequestBuilder, CredentialError> {
    let mut form = Form(String::new());
    match &settings.grant {
        Grant::ManagedIdentity(endpoint) => {
            return Ok(identity_request(http, settings, endpoint, target));
        }
        Grant::ClientCredentials => form.add("grant_type", "client_credentials"),
        Grant::OnBehalfOf => {
            form.add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.add("assertion", subject.unwrap_or_default());
            form.add("requested_token_use", "on_behalf_of");
        }
        Grant::TokenExchange { subject_type, requested_type } => {
            form.add("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
            form.add("subject_token", subject.unwrap_or_default());
            form.add("subject_token_type", subject_type);
            form.add_some("requested_token_type", requested_type.as_deref());
        }
    }
    form.add_some("scope", target.scope.as_deref());
    form.add_some("resource", target.resource.as_deref());
    form.add_some("audience", target.audience.as_deref());
    for (name, value) in &settings.parameters {
        form.add(name, value);
    }
    let client = settings.client_id.as_deref().unwrap_or_default();
    let authorization = match &settings.authentication {
        ClientAuthentication::None => {
            form.add_some("client_id", settings.client_id.as_deref());
            None
        }
        ClientAuthentication::Basic(secret) => Some(basic(client, secret)?),
        ClientAuthentication::Post(secret) => {
            form.add("client_id", client);
            form.add("client_secret", secret);
            None
        }
        ClientAuthentication::PrivateKey(key) => {
            form.add_assertion(client, &key.assertion(client, &settings.url, wall)?);
            None
        }
        ClientAuthentication::AssertionFile(path) => {
            form.add_assertion(client, &assertion::from_file(path)?);
            None
        }
    };
    let request = http.post(form.0);
    Ok(match authorization {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    })
}

/// Name and secret are encoded as in a form before they are joined (RFC 6749 §2.3.1).
fn basic(client: &str, secret: &str) -> Result<HeaderValue, CredentialError> {
    let pair = format!("{}:{}", utf8_percent_encode(client, FORM), utf8_percent_encode(secret, FORM));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|error| CredentialError::Assertion(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token> and
/// <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>.
fn identity_request(http: &Http, settings: &Settings, endpoint: &IdentityEndpoint, target: &Target) -> RequestBuilder {
    let mut form = Form(String::new());
    let version = match endpoint {
        IdentityEndpoint::Metadata => "2018-02-01",
        IdentityEndpoint::AppService { .. } => "2019-08-01",
    };
    form.add("api-version", version);
    form.add_some("resource", target.resource.as_deref());
    form.add_some("client_id", settings.client_id.as_deref());
    for (name, value) in &settings.parameters {
        form.add(name, value);
    }
    let request = http.get(&form.0);
    match endpoint {
        IdentityEndpoint::Metadata => request.header("Metadata", "true"),
        IdentityEndpoint::AppService { secret } => match HeaderValue::try_from(&**secret) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header("X-IDENTITY-HEADER", value)
            }
            // The request keeps the error until it is sent.
            Err(_) => request.header("X-IDENTITY-HEADER", &**secret),
        },
    }
}

struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        let (name, value) = (utf8_percent_encode(name, FORM), utf8_percent_encode(value, FORM));
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    fn add_assertion(&mut self, client: &str, assertion: &str) {
        self.add("client_id", client);
        self.add("client_assertion_type", JWT_ASSERTION);
        self.add("client_assertion", assertion);
    }

    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}
