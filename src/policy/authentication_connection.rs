//! Authenticates with the backend by what the caller's connection holds.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::credential::{self, Credential, Obtained, Renewal};
use crate::expression::Needs;
use crate::gateway::Connection;
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Message, Origin, Step};
use crate::routing::query;

/// Authenticates with the backend by what the caller's connection (`[connections.NAME]`) holds, as the security definition of a
/// connector asks for it: see [connection parameters](https://learn.microsoft.com/connectors/custom-connectors/connection-parameters).
///
/// It stands before all other policies of the API, so that they see the request as the connection made it: `@headers('Authorization')` reads
/// what this policy wrote. The connection is that of the subscription which the call was made with, else the API's connection without
/// `subscriptions`; a call that has none is answered with 403 `ConnectionNotFound`.
///
/// ```toml
/// [[inbound]]
/// policy = "authentication-connection"
/// scheme = "api-key"
/// name   = "x-api-key"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationConnection {
    /// How the backend is authenticated with.
    scheme: At<Scheme>,
    /// The header or the query parameter that carries the key. Only with `api-key`, and needed there.
    name: Option<At<String>>,
    /// Where the key stands. Only with `api-key`. Default `header`.
    #[serde(rename = "in")]
    place: Option<At<KeyPlace>>,
    /// The parameter that holds the key or the token. Default `api_key`, and `token` with `oauth2`.
    parameter: Option<String>,
    /// The parameter that holds the user name. Only with `basic`. Default `username`.
    username: Option<String>,
    /// The parameter that holds the password. Only with `basic`. Default `password`.
    password: Option<String>,
    /// Only for connections of this set; others pass. Default: for all.
    set: Option<String>,
    /// Whether a 401 of the backend makes the gateway fetch a new token from the connection's `token-source`, at most every 30 s, and
    /// send the request once more; only one without a body or with one that is in memory. Only with `oauth2`. Default `false`.
    refresh_on_401: Option<bool>,
}

/// How a backend is authenticated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Scheme {
    /// The key as it is, in a header or a query parameter. A connection without it sends none, and what the caller sent there is
    /// removed.
    ApiKey,
    /// `Authorization: Basic …` of user name and password (RFC 7617).
    Basic,
    /// `Authorization: Bearer …`: the token of the connection's `token-source`, the one in its parameter, or with
    /// `pass-through` what the caller sent.
    Oauth2,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum KeyPlace {
    /// In a header.
    #[default]
    Header,
    /// In a query parameter.
    Query,
}

impl Policy for AuthenticationConnection {
    const NAME: &'static str = "authentication-connection";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::CONNECTION;
        let only =
            |name: &str, scheme: &str| CompileError::whole(format!("`{name}` goes with `scheme = \"{scheme}\"`"));
        if self.scheme.value != Scheme::ApiKey && (self.name.is_some() || self.place.is_some()) {
            return Err(only(if self.name.is_some() { "name" } else { "in" }, "api-key"));
        }
        if self.scheme.value != Scheme::Basic && (self.username.is_some() || self.password.is_some()) {
            return Err(only(if self.username.is_some() { "username" } else { "password" }, "basic"));
        }
        if self.scheme.value != Scheme::Oauth2 && self.refresh_on_401.is_some() {
            return Err(only("refresh-on-401", "oauth2"));
        }
        let or = |name: Option<String>, default: &str| name.unwrap_or_else(|| default.to_owned());
        let proof = match self.scheme.value {
            Scheme::ApiKey => {
                let Some(name) = &self.name else {
                    return Err(CompileError::whole("missing key `name`")
                        .code("missing-key")
                        .hint("the header or the query parameter that carries the key"));
                };
                let parameter = or(self.parameter, "api_key");
                match self.place.map(|place| place.value).unwrap_or_default() {
                    KeyPlace::Header => {
                        let header = cx.header_name(name)?;
                        if super::is_framing(&header) {
                            return Err(CompileError::at(
                                name,
                                format!("`{header}` belongs to the connection and cannot carry a key"),
                            ));
                        }
                        cx.secret_header(&header);
                        Proof::Header { name: header, parameter }
                    }
                    KeyPlace::Query => {
                        cx.secret_parameter(name);
                        Proof::Query { name: name.value.clone(), parameter }
                    }
                }
            }
            Scheme::Basic => {
                Proof::Basic { username: or(self.username, "username"), password: or(self.password, "password") }
            }
            Scheme::Oauth2 => Proof::Token { parameter: or(self.parameter, "token") },
        };
        let refresh_on_401 = self.refresh_on_401.unwrap_or(false);
        Ok(Step::asynchronous(Compiled { proof, set: self.set, refresh_on_401, origin: cx.origin.clone() }))
    }
}

// === impl Apply ===

/// Asynchronous, because a token may have to be fetched; all else takes one look.
struct Compiled {
    proof: Proof,
    set: Option<String>,
    refresh_on_401: bool,
    origin: Arc<Origin>,
}

enum Proof {
    Header { name: HeaderName, parameter: String },
    Query { name: String, parameter: String },
    Basic { username: String, password: String },
    Token { parameter: String },
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        let (credential, obtained) = match call.with(|cx| self.begin(cx)) {
            Ok(Some(waits)) => waits,
            Ok(None) => return Box::pin(std::future::ready(Ok(Flow::Next))),
            Err(fault) => return Box::pin(std::future::ready(Err(fault))),
        };
        Box::pin(async move {
            let token = credential::settle(call.exchange, &credential, obtained, &self.origin).await?;
            call.with(|cx| cx.message.headers_mut().insert(AUTHORIZATION, token));
            Ok(Flow::Next)
        })
    }
}

impl Compiled {
    /// Does what can be done at once; a token that has to be waited for is left.
    fn begin(&self, cx: &mut Context<'_>) -> Result<Option<(Credential, Obtained)>, Fault> {
        let Some(connection) = cx.connection().cloned() else {
            return Err(Fault::client(
                StatusCode::FORBIDDEN,
                "ConnectionNotFound",
                "There is no connection for this call.",
            ));
        };
        if self.set.is_some() && connection.set.as_deref() != self.set.as_deref() {
            return Ok(None);
        }
        match &self.proof {
            Proof::Header { name, parameter } => {
                match connection.parameter(parameter) {
                    Some(key) => cx.message.headers_mut().insert(name.clone(), secret(key, &connection)?),
                    None => cx.message.headers_mut().remove(name),
                };
            }
            Proof::Query { name, parameter } => {
                if let Message::Request(request) = &mut cx.message {
                    let mut new = request.uri().query().unwrap_or_default().to_owned();
                    query::set(&mut new, name, connection.parameter(parameter));
                    let mark = if new.is_empty() { "" } else { "?" };
                    let target = PathAndQuery::try_from(format!("{}{mark}{new}", request.uri().path()))
                        .map_err(|_| unfit(&connection))?;
                    *request.uri_mut() = Uri::from(target);
                }
            }
            Proof::Basic { username, password } => {
                let part = |name: &str| connection.parameter(name).unwrap_or_default();
                let (username, password) = (part(username), part(password));
                if username.contains(':') || [username, password].iter().any(|it| it.contains(char::is_control)) {
                    return Err(unfit(&connection));
                }
                let value = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
                cx.message.headers_mut().insert(AUTHORIZATION, secret(&value, &connection)?);
            }
            Proof::Token { parameter } => {
                if let Some(credential) = &connection.token {
                    cx.state.renewal = self.refresh_on_401.then(|| Arc::new(Renewal::new(credential.clone(), None)));
                    match credential.token(None) {
                        Obtained::Token(token) => {
                            credential::ahead(cx.exchange, credential, &self.origin);
                            cx.message.headers_mut().insert(AUTHORIZATION, token);
                        }
                        waits => return Ok(Some((credential.clone(), waits))),
                    }
                } else if let Some(token) = connection.parameter(parameter) {
                    let value = format!("Bearer {token}");
                    cx.message.headers_mut().insert(AUTHORIZATION, secret(&value, &connection)?);
                } else if !connection.pass_through {
                    let name = &connection.name;
                    let text =
                        format!("connection `{name}` has no token: `token-source`, `pass-through` or the parameter");
                    return Err(Fault::internal("ConnectionIncomplete", text));
                }
            }
        }
        Ok(None)
    }
}

/// A header's value that logs do not show.
fn secret(text: &str, connection: &Connection) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text).map_err(|_| unfit(connection))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cold]
fn unfit(connection: &Connection) -> Fault {
    let text = format!("a secret of connection `{}` cannot stand where it belongs", connection.name);
    Fault::internal("ConnectionIncomplete", text)
}
