//! The token endpoint: client credentials, codes, refresh tokens, token exchange and on-behalf-of; and userinfo.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::grant::{Refused, Session, Target};
use super::mint::{ClientProof, DEFAULT_USER, Grant, Preset, display_name, is_guid, seconds};
use super::reply::Reply;
use super::route::{Form, Realm};
use super::{Issuer, REFRESH_LIFETIME, bearer, random_id};
use crate::identity::VerificationKey;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ON_BEHALF_OF: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The grants, for discovery.
pub(super) const GRANTS: [&str; 5] =
    ["client_credentials", "authorization_code", "refresh_token", EXCHANGE, ON_BEHALF_OF];

impl Issuer {
    /// `POST /token` in all three dialects.
    pub(super) fn token(&self, realm: &Realm, headers: &HeaderMap, form: &Form) -> Reply {
        let granted = self.granted(realm, headers, form);
        if let Err(refusal) = &granted {
            let (grant, client) = (form.get("grant_type"), form.get("client_id"));
            tracing::info!(grant, client, why = refusal.why(), "refused a token");
        }
        granted.unwrap_or_else(|refusal| refusal)
    }

    fn granted(&self, realm: &Realm, headers: &HeaderMap, form: &Form) -> Result<Reply, Reply> {
        if let Some(name) = form.repeated() {
            return Err(invalid(&format!("`{name}` came more than once")));
        }
        let kind = form.get("grant_type").ok_or_else(|| invalid("there is no grant_type"))?;
        if !GRANTS.contains(&kind) {
            let text = format!("`{kind}` is none of {}", GRANTS.join(", "));
            return Err(Reply::error(400, "unsupported_grant_type", &text));
        }
        let client = self.options.registrations.clients.authenticate(headers, form)?;
        match kind {
            "client_credentials" => self.client_credentials(realm, &client, form),
            "authorization_code" => self.code(realm, &client, form),
            "refresh_token" => self.refresh(realm, &client, form),
            EXCHANGE => self.exchange(realm, &client, form),
            _ => self.on_behalf_of(realm, &client, form),
        }
    }

    fn client_credentials(&self, realm: &Realm, client: &Client, form: &Form) -> Result<Reply, Reply> {
        if client.proof == ClientProof::Public {
            return Err(Reply::error(401, "invalid_client", "a public client has no credentials of its own"));
        }
        let target = Target::read(realm, form)?;
        if realm.preset == Preset::EntraV2 && target.scopes != [".default"] {
            let text = "AADSTS1002012: client credentials ask for `RESOURCE/.default` and nothing else";
            return Err(Reply::error(400, "invalid_scope", text));
        }
        if realm.preset == Preset::EntraV1 && target.audiences.is_empty() {
            return Err(invalid("there is no resource"));
        }
        let mut grant = self.grant(realm, &target, None).map_err(untargeted)?;
        self.credit(&mut grant, client, form);
        grant.roles = self.roles_for(realm, &target, &grant.roles);
        let token = self.access_token(&grant)?;
        Ok(self.reply(realm, &grant, &token, Map::new()))
    }

    /// Who asked, and which roles that gives: those of the file, else those that `roles` asks for.
    fn credit(&self, grant: &mut Grant, client: &Client, form: &Form) {
        grant.client.clone_from(&client.id);
        grant.proof = client.proof;
        grant.roles.clone_from(&client.roles);
        if self.options.registrations.clients.is_empty() {
            grant.roles = form.words("roles").into_iter().map(str::to_owned).collect();
        }
    }

    fn code(&self, realm: &Realm, client: &Client, form: &Form) -> Result<Reply, Reply> {
        let code = form.get("code").ok_or_else(|| invalid("there is no code"))?;
        let session = self.codes.lock().take(code, self.clock.now());
        let session = session.ok_or_else(|| refused("the code is unknown, was used before, or is too old"))?;
        if session.client != client.id || session.realm != *realm {
            return Err(refused("the code was for another client or tenant"));
        }
        if session.redirect_uri.as_deref() != form.get("redirect_uri") {
            return Err(refused("redirect_uri is not the one that the code was sent to"));
        }
        match (&session.challenge, form.get("code_verifier")) {
            (Some(challenge), Some(verifier)) if *challenge == s256(verifier) => {}
            (Some(_), Some(_)) => return Err(refused("code_verifier does not fit the code_challenge (RFC 7636 §4.6)")),
            (Some(_), None) => {
                return Err(refused("there is no code_verifier, and the code has a challenge (RFC 7636)"));
            }
            (None, Some(_)) => return Err(refused("there is a code_verifier, and the code has no challenge")),
            (None, None) if client.proof == ClientProof::Public => {
                return Err(refused("a public client needs PKCE: code_challenge and code_verifier (RFC 7636)"));
            }
            (None, None) => {}
        }
        self.signed_in(client, &session)
    }

    fn refresh(&self, realm: &Realm, client: &Client, form: &Form) -> Result<Reply, Reply> {
        let token = form.get("refresh_token").ok_or_else(|| invalid("there is no refresh_token"))?;
        let asked = Target::read(realm, form)?;
        let session = self.refresh_tokens.lock().take(token, self.clock.now());
        let mut session =
            session.ok_or_else(|| refused("the refresh token is unknown, was used before, or is too old"))?;
        if session.client != client.id || session.realm != *realm {
            return Err(refused("the refresh token was for another client or tenant"));
        }
        if !asked.is_empty() {
            session.target = Target { sign_in: session.target.sign_in, ..asked };
        }
        self.signed_in(client, &session)
    }

    /// The tokens of a user's sign-in: access token, and id and refresh token where they were asked for.
    fn signed_in(&self, client: &Client, session: &Session) -> Result<Reply, Reply> {
        let mut grant = self.grant(&session.realm, &session.target, Some(&session.user)).map_err(untargeted)?;
        grant.client.clone_from(&client.id);
        grant.proof = client.proof;
        let token = self.access_token(&grant)?;
        let mut more = Map::new();
        let wants = |scope: &str| session.target.sign_in.iter().any(|one| one == scope);
        if wants("openid") {
            more.insert("id_token".to_owned(), json!(self.id_token(&grant, session)?));
        }
        if wants("offline_access") || session.realm.preset == Preset::EntraV1 {
            let refresh = random_id();
            let kept = Session { challenge: None, redirect_uri: None, ..session.clone() };
            self.refresh_tokens.lock().put(refresh.clone(), kept, self.clock.now(), REFRESH_LIFETIME);
            more.insert("refresh_token".to_owned(), json!(refresh));
        }
        Ok(self.reply(&session.realm, &grant, &token, more))
    }

    /// OpenID Connect Core 1.0 §2.
    fn id_token(&self, access: &Grant, session: &Session) -> Result<String, Reply> {
        let mut claims = access.claims(self.clock.wall(), &random_id());
        for name in ["scp", "scope", "roles", "azpacr", "appidacr", "azp", "appid", "client_id", "idtyp", "act"] {
            claims.shift_remove(name);
        }
        claims.insert("aud".to_owned(), json!(session.client));
        claims.insert("name".to_owned(), json!(display_name(&session.user)));
        claims.insert("email".to_owned(), json!(session.user));
        if let Some(nonce) = &session.nonce {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        let header = Map::from_iter([("typ".to_owned(), json!("JWT"))]);
        self.sign(None, access, &header, &claims).map_err(|error| failed(&error))
    }

    /// RFC 8693: a token for another API, for whoever the first one speaks for.
    fn exchange(&self, realm: &Realm, client: &Client, form: &Form) -> Result<Reply, Reply> {
        let subject = form.get("subject_token").ok_or_else(|| invalid("there is no subject_token"))?;
        let kind = form.get("subject_token_type").ok_or_else(|| invalid("there is no subject_token_type"))?;
        let wanted = form.get("requested_token_type").unwrap_or(ACCESS_TOKEN);
        for (name, kind) in [("subject_token_type", kind), ("requested_token_type", wanted)] {
            if kind != ACCESS_TOKEN && kind != JWT {
                return Err(invalid(&format!("{name} `{kind}` is neither {ACCESS_TOKEN} nor {JWT}")));
            }
        }
        // RFC 8693 §2.2.2: an invalid subject token is an invalid request.
        let claims = self.own(subject).map_err(|why| invalid(&format!("the subject_token {why}")))?;
        let target = Target::read(realm, form)?;
        let mut grant = self.on_behalf(realm, &target, &claims).map_err(untargeted)?;
        grant.client.clone_from(&client.id);
        grant.proof = client.proof;
        if let Some(actor) = form.get("actor_token") {
            let actor = self.own(actor).map_err(|why| invalid(&format!("the actor_token {why}")))?;
            let mut act = json!({ "sub": actor.get("sub") });
            if let Some(before) = claims.get("act") {
                act["act"] = before.clone();
            }
            grant.actor = Some(act);
        }
        let token = self.access_token(&grant)?;
        let more = Map::from_iter([("issued_token_type".to_owned(), json!(wanted))]);
        Ok(self.reply(realm, &grant, &token, more))
    }

    /// Entra ID's on-behalf-of: a user's token for this very client, for one for the next API.
    fn on_behalf_of(&self, realm: &Realm, client: &Client, form: &Form) -> Result<Reply, Reply> {
        if form.get("requested_token_use") != Some("on_behalf_of") {
            return Err(invalid("requested_token_use is not on_behalf_of"));
        }
        let assertion = form.get("assertion").ok_or_else(|| invalid("there is no assertion"))?;
        let claims = self.own(assertion).map_err(|why| refused(&format!("the assertion {why}")))?;
        let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
        let own = audience.strip_prefix("api://").unwrap_or(audience);
        // An API that is named by its address has another name than its client, which only Entra ID could look up.
        if own != client.id && (is_guid(own) || realm.preset == Preset::Plain) {
            let text = format!("AADSTS500131: the assertion is for `{audience}`, not for the client that presents it");
            return Err(refused(&text));
        }
        if user_of(&claims).is_none() {
            return Err(refused("AADSTS50013: the assertion is an application's; on-behalf-of is for users"));
        }
        let target = Target::read(realm, form)?;
        if target.is_empty() {
            return Err(invalid("there is no scope or resource"));
        }
        let mut grant = self.on_behalf(realm, &target, &claims).map_err(untargeted)?;
        grant.client.clone_from(&client.id);
        grant.proof = client.proof;
        let token = self.access_token(&grant)?;
        Ok(self.reply(realm, &grant, &token, Map::new()))
    }

    /// A grant for the subject of another token.
    fn on_behalf(&self, realm: &Realm, target: &Target, claims: &Map<String, Value>) -> Result<Grant, Refused> {
        let mut grant = self.grant(realm, target, user_of(claims).as_deref())?;
        if grant.user.is_none() && grant.preset == Preset::Plain {
            // An application's token stays one, under its own name.
            grant.user = claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        }
        Ok(grant)
    }

    /// The claims of a token of this issuer that is in force.
    fn own(&self, token: &str) -> Result<Map<String, Value>, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("is not a token")?;
        let (header, payload) = signed.split_once('.').ok_or("is not a token")?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "is not a token");
        let object = |part: &str| -> Result<Map<String, Value>, &'static str> {
            serde_json::from_slice(&decode(part)?).map_err(|_| "is not a token")
        };
        let id = object(header)?.get("kid").and_then(Value::as_str).map(str::to_owned);
        let key = self.keys.published().into_iter().find(|key| Some(key.id()) == id.as_deref());
        let key = key.ok_or("is not signed by a key of this issuer")?;
        let published = key.jwk().and_then(|jwk| VerificationKey::from_jwk(&jwk.to_string()).ok());
        let good = published.and_then(|it| it.verify(key.algorithm(), signed.as_bytes(), &decode(signature).ok()?));
        if good != Some(true) {
            return Err("has a wrong signature");
        }
        let claims = object(payload)?;
        let now = seconds(self.clock.wall());
        if claims.get("exp").and_then(Value::as_i64).is_none_or(|end| now >= end) {
            return Err("is over");
        }
        Ok(claims)
    }

    fn access_token(&self, grant: &Grant) -> Result<String, Reply> {
        let claims = grant.claims(self.clock.wall(), &random_id());
        let token = self.sign(None, grant, &Map::new(), &claims).map_err(|error| failed(&error))?;
        let audience = grant.audiences.join(" ");
        tracing::info!(client = grant.client, user = grant.user, audience, "issued a token");
        Ok(token)
    }

    /// The answer of the token endpoint (RFC 6749 §5.1). Entra ID's v1 endpoint writes numbers as text.
    fn reply(&self, realm: &Realm, grant: &Grant, token: &str, more: Map<String, Value>) -> Reply {
        let lifetime = grant.lifetime.as_secs();
        let now = seconds(self.clock.wall());
        let mut answer = match realm.preset {
            Preset::Plain => json!({ "token_type": "Bearer", "expires_in": lifetime }),
            Preset::EntraV2 => json!({ "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime }),
            Preset::EntraV1 => json!({
                "token_type": "Bearer",
                "expires_in": lifetime.to_string(),
                "ext_expires_in": lifetime.to_string(),
                "expires_on": now.saturating_add_unsigned(lifetime).to_string(),
                "not_before": now.to_string(),
                "resource": grant.audiences.first(),
            }),
        };
        if !grant.scopes.is_empty() {
            answer["scope"] = json!(grant.scopes.join(" "));
        }
        answer["access_token"] = json!(token);
        for (name, value) in more {
            answer[name] = value;
        }
        Reply::tokens(&answer)
    }

    /// OpenID Connect Core 1.0 §5.3.
    pub(super) fn userinfo(&self, headers: &HeaderMap) -> Reply {
        let challenge = |reply: Reply, text: &str| reply.header(WWW_AUTHENTICATE, text);
        let Some(token) = bearer(headers) else {
            return challenge(Reply::error(401, "invalid_request", "there is no access token"), "Bearer");
        };
        match self.own(token) {
            Err(why) => {
                let reply = Reply::error(401, "invalid_token", &format!("the access token {why}"));
                challenge(reply, "Bearer error=\"invalid_token\"")
            }
            Ok(claims) => {
                let user = user_of(&claims).unwrap_or_else(|| DEFAULT_USER.to_owned());
                let sub = claims.get("sub").cloned().unwrap_or_default();
                Reply::ok(&json!({ "sub": sub, "name": display_name(&user), "email": user }))
            }
        }
    }
}

/// Who signed in for a token; nobody for an application's own.
fn user_of(claims: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let plain = || text("sub").filter(|sub| Some(*sub) != text("client_id") && text("client_id").is_some());
    text("preferred_username").or_else(|| text("upn")).or_else(plain).map(str::to_owned)
}

/// RFC 7636 §4.2.
pub(super) fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

fn invalid(why: &str) -> Reply {
    Reply::error(400, "invalid_request", why)
}

fn refused(why: &str) -> Reply {
    Reply::error(400, "invalid_grant", why)
}

fn untargeted((error, why): Refused) -> Reply {
    Reply::error(400, error, &why)
}

fn failed(why: &str) -> Reply {
    Reply::error(500, "server_error", why)
}
