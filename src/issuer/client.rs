//! Who may ask the local issuer: anybody with anything, or the clients of a file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::Value;

use super::mint::ClientProof;
use super::reply::Reply;
use super::route::Form;
use crate::routing::query;

/// The clients by id. With any, all others are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Clients(BTreeMap<String, ClientSpec>);

/// One client.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ClientSpec {
    /// Its secret; without one the client is public.
    secret: Option<String>,
    /// Where codes may be sent; anywhere when there is none.
    #[serde(default)]
    redirect_uris: Vec<String>,
    /// The roles of its own tokens.
    #[serde(default)]
    roles: Vec<String>,
}

impl std::fmt::Debug for ClientSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSpec").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// A client that was let in.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) proof: ClientProof,
    /// The roles that the file gives it.
    pub(super) roles: Vec<String>,
}

impl Clients {
    /// How many there are; with none, anybody is let in.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether anybody is let in.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds out who asks the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).
    pub(super) fn authenticate(&self, headers: &HeaderMap, form: &Form) -> Result<Client, Reply> {
        let basic = basic(headers)?;
        if basic.is_some() && (form.get("client_secret").is_some() || form.get("client_assertion").is_some()) {
            return Err(Reply::error(400, "invalid_request", "the client authenticates in two ways at once"));
        }
        let (id, secret) = match (basic, form.get("client_assertion")) {
            (Some((id, secret)), _) => (id, Some(secret)),
            (None, Some(assertion)) => return self.by_assertion(assertion, form.get("client_id")),
            (None, None) => {
                let id = form.get("client_id").ok_or_else(|| refused("there is no client_id"))?;
                (id.to_owned(), form.get("client_secret").map(str::to_owned))
            }
        };
        if self.is_empty() {
            let proof = secret.map_or(ClientProof::Public, |_| ClientProof::Secret);
            return Ok(Client { id, proof, roles: Vec::new() });
        }
        let known = self.0.get(&id).ok_or_else(|| refused("the client is not configured"))?;
        match (&known.secret, secret) {
            (None, None) => Ok(Client { id, proof: ClientProof::Public, roles: known.roles.clone() }),
            (Some(known_secret), Some(secret)) if *known_secret == secret => {
                Ok(Client { id, proof: ClientProof::Secret, roles: known.roles.clone() })
            }
            (Some(_), None) => Err(refused("the client has a secret, and none came")),
            (None, Some(_)) => Err(refused("the client has no secret, and one came")),
            (Some(_), Some(_)) => Err(refused("the secret is wrong")),
        }
    }

    /// An assertion's signature is not checked, for want of a certificate to check it by. That is why a configured client
    /// is not let in by one.
    fn by_assertion(&self, assertion: &str, id: Option<&str>) -> Result<Client, Reply> {
        if !self.is_empty() {
            return Err(refused("configured clients authenticate with a secret"));
        }
        let payload = assertion.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Value = payload
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| refused("the client_assertion is not a JSON Web Token"))?;
        let subject =
            claims.get("sub").and_then(Value::as_str).ok_or_else(|| refused("the client_assertion has no sub"))?;
        if claims.get("iss").and_then(Value::as_str) != Some(subject) || id.is_some_and(|id| id != subject) {
            return Err(refused("iss and sub of the client_assertion, and client_id, are not one and the same"));
        }
        Ok(Client { id: subject.to_owned(), proof: ClientProof::Assertion, roles: Vec::new() })
    }

    /// Whether codes for a client may be sent to a URI. Before this is known, nobody is redirected (RFC 6749 §4.1.2.1).
    pub(super) fn check_redirect(&self, id: &str, uri: &str) -> Result<(), &'static str> {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err("the redirect_uri is not an absolute URI");
        }
        if matches!(scheme.to_ascii_lowercase().as_str(), "javascript" | "data" | "vbscript") {
            return Err("the redirect_uri is not one to be redirected to");
        }
        if uri.contains('#') {
            return Err("the redirect_uri has a fragment (RFC 6749 §3.1.2)");
        }
        if self.is_empty() {
            return Ok(());
        }
        let known = self.0.get(id).ok_or("the client is not configured")?;
        if known.redirect_uris.is_empty() || known.redirect_uris.iter().any(|known| known == uri) {
            Ok(())
        } else {
            Err("the redirect_uri is not one of the client's")
        }
    }
}

fn refused(why: &str) -> Reply {
    Reply::error(401, "invalid_client", why).header(http::header::WWW_AUTHENTICATE, "Basic realm=\"token endpoint\"")
}

/// RFC 6749 §2.3.1: both halves are encoded as in a form before they are joined.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Reply> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let wrong = || refused("the Authorization header is not Basic with a client id and a secret");
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let text = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let (id, secret) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Some((query::decode(id).into_owned(), query::decode(secret).into_owned())))
}
