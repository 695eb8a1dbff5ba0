//! The authorization endpoint: no questions, redirected at once.

use super::grant::{Refused, Session, Target};
use super::mint::DEFAULT_USER;
use super::reply::Reply;
use super::route::{Form, Realm};
use super::{CODE_LIFETIME, Issuer, random_id};
use crate::routing::query;

/// The bounds of what a session keeps.
const MAX_PARAMETER: usize = 2_048;

impl Issuer {
    /// `GET /authorize`: whoever `login_hint` names has signed in and allowed everything.
    pub(super) fn authorize(&self, realm: &Realm, form: &Form) -> Reply {
        let page = |why: &str| Reply::new(400, "text/plain; charset=utf-8", format!("invalid_request: {why}\n"));
        let (Some(client), Some(uri)) = (form.get("client_id"), form.get("redirect_uri")) else {
            return page("client_id and redirect_uri are needed");
        };
        if let Err(why) = self.options.registrations.clients.check_redirect(client, uri) {
            return page(why);
        }
        let fragment = form.get("response_mode") == Some("fragment");
        let mut answer = String::new();
        match self.sign_in(realm, form, client, uri) {
            Ok(code) => query::append(&mut answer, "code", &code),
            Err((error, why)) => {
                tracing::info!(client, error, why, "refused to sign in");
                query::append(&mut answer, "error", error);
                query::append(&mut answer, "error_description", &why);
            }
        }
        if let Some(state) = form.get("state") {
            query::append(&mut answer, "state", state);
        }
        let separator = match (fragment, uri.contains('?')) {
            (true, _) => '#',
            (false, true) => '&',
            (false, false) => '?',
        };
        Reply::redirect(&format!("{uri}{separator}{answer}"))
    }

    fn sign_in(&self, realm: &Realm, form: &Form, client: &str, uri: &str) -> Result<String, Refused> {
        let invalid = |why: &str| Err(("invalid_request", why.to_owned()));
        if form.repeated().is_some() {
            return invalid("a parameter came more than once");
        }
        if form.get("response_type") != Some("code") {
            return Err(("unsupported_response_type", "response_type is not code".to_owned()));
        }
        if !matches!(form.get("response_mode"), None | Some("query" | "fragment")) {
            return invalid("response_mode is neither query nor fragment");
        }
        let challenge = form.get("code_challenge");
        match (challenge, form.get("code_challenge_method")) {
            (None, None) => {}
            (Some(challenge), Some("S256")) if challenge.len() == 43 => {}
            (Some(_), Some("S256")) => return invalid("code_challenge is not a SHA-256 in base64url (RFC 7636 §4.2)"),
            (Some(_), _) => return invalid("code_challenge_method is not S256"),
            (None, Some(_)) => return invalid("there is no code_challenge"),
        }
        let target = Target::read(realm, form)
            .map_err(|_| ("invalid_scope", "the scopes are of more than one resource".to_owned()))?;
        let kept = [client, uri, form.get("scope").unwrap_or_default(), form.get("nonce").unwrap_or_default()];
        let user = form.get("login_hint").unwrap_or(DEFAULT_USER);
        if kept.iter().chain([&user]).any(|text| text.len() > MAX_PARAMETER) {
            return invalid("a parameter is longer than 2048 bytes");
        }
        // Here, not at the token endpoint, is where a person learns that something is not registered.
        self.grant(realm, &target, Some(user))?;
        let session = Session {
            realm: realm.clone(),
            client: client.to_owned(),
            redirect_uri: Some(uri.to_owned()),
            challenge: challenge.map(str::to_owned),
            nonce: form.get("nonce").map(str::to_owned),
            user: user.to_owned(),
            target,
        };
        let code = random_id();
        self.codes.lock().put(code.clone(), session, self.clock.now(), CODE_LIFETIME);
        tracing::info!(client, user, "signed in");
        Ok(code)
    }
}
