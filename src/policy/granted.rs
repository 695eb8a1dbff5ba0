//! What a verified token grants, against what is required: scopes and roles alike.

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use serde_json::Value as Json;

use super::validate_jwt::ClaimMatch;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::gateway::caller;
use crate::identity::Verified;
use crate::pipeline::{Apply, Context, Fault, Flow, Grants, Step, TokenDemand};

/// What kind of grant is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// OAuth 2.0 scopes.
    Scope,
    /// Roles.
    Role,
}

impl Requirement {
    const fn noun(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Role => "role",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Scope => "InsufficientScope",
            Self::Role => "InsufficientRole",
        }
    }

    fn claims(self) -> &'static [&'static str] {
        match self {
            // Entra ID's; and that of RFC 8693 §4.2, which most others use.
            Self::Scope => &["scp", "scope"],
            Self::Role => &["roles"],
        }
    }
}

/// A requirement, compiled.
pub(super) struct Granted {
    requirement: Requirement,
    wanted: Box<[Box<str>]>,
    any: bool,
    claims: Box<[Box<str>]>,
}

impl Granted {
    pub(super) fn compile(
        requirement: Requirement,
        wanted: &At<Vec<At<String>>>,
        matching: ClaimMatch,
        claims: Option<&At<Vec<At<String>>>>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Step, CompileError> {
        cx.needs_token = true;
        let noun = requirement.noun();
        if wanted.is_empty() {
            return Err(
                CompileError::at(wanted, format!("no {noun} is required")).hint(format!("name at least one {noun}"))
            );
        }
        for name in &wanted.value {
            // RFC 6749 §3.3: a scope is printable ASCII without spaces, quotes and backslashes. Of roles nothing is said, but
            // they stand in a quoted string too.
            let fits = |c: char| !c.is_control() && c != '"' && c != '\\';
            let is_scope = |c: char| c.is_ascii_graphic() || requirement == Requirement::Role;
            if name.trim().is_empty() || !name.chars().all(|c| fits(c) && is_scope(c)) {
                return Err(CompileError::at(name, format!("`{}` cannot be a {noun}", name.value))
                    .hint(format!("each {noun} by itself, as an item of the list")));
            }
        }
        if let Some(list) = claims {
            if list.is_empty() {
                return Err(CompileError::at(list, format!("a {noun} must be looked for somewhere")));
            }
            if let Some(name) = list.iter().find(|name| name.is_empty() || name.value == "/") {
                return Err(CompileError::at(name, "the name of the claim is empty"));
            }
        }
        let claims = match claims {
            Some(list) => list.iter().map(|name| name.as_str().into()).collect(),
            None => requirement.claims().iter().map(|name| (*name).into()).collect(),
        };
        let wanted = wanted.iter().map(|name| name.as_str().into()).collect();
        let compiled = Arc::new(Self { requirement, wanted, any: matching == ClaimMatch::Any, claims });
        cx.asks_of_token(TokenDemand::Grants(compiled.clone()));
        Ok(Step::Sync(compiled))
    }

    fn suffice(&self, claims: &Json) -> bool {
        let mut held = self.wanted.iter().map(|name| self.holds(claims, name));
        if self.any { held.any(|held| held) } else { held.all(|held| held) }
    }

    fn holds(&self, claims: &Json, name: &str) -> bool {
        self.claims.iter().filter_map(|claim| find(claims, claim)).any(|claim| match claim {
            Json::String(text) => text == name || text.split_ascii_whitespace().any(|held| held == name),
            Json::Array(list) => list.iter().any(|held| held.as_str() == Some(name)),
            _ => false,
        })
    }

    /// What the caller is told.
    fn lack(&self, claims: &Json) -> String {
        let noun = self.requirement.noun();
        let missing: Vec<&str> =
            self.wanted.iter().map(|name| &**name).filter(|name| !self.holds(claims, name)).collect();
        match &*missing {
            [only] => format!("The token lacks the {noun} `{only}`."),
            several if self.any => format!("The token has none of the {noun}s {}.", listed(several, " and ")),
            several => format!("The token lacks the {noun}s {}.", listed(several, " and ")),
        }
    }

    fn refusal(&self, claims: &Json) -> Fault {
        let held = format!("{} holds {}", listed(&self.claims, " and "), self.found(claims));
        Fault::client(StatusCode::FORBIDDEN, self.requirement.reason(), self.lack(claims)).cause(held)
    }

    #[cold]
    fn lacking(&self, cx: &Context<'_>, token: &Verified) -> Fault {
        let message = self.lack(&token.claims);
        let description = message.trim_end_matches('.').replace('`', "'");
        let mut challenge = format!(r#", error="insufficient_scope", error_description="{description}""#);
        if self.requirement == Requirement::Scope {
            // RFC 6750 §3: the scope necessary to access the resource.
            challenge.push_str(&format!(r#", scope="{}""#, self.wanted.join(" ")));
        }
        self.challenged(cx, self.refusal(&token.claims), &challenge)
    }

    /// Nothing before this step has verified a token.
    #[cold]
    fn no_token(&self, cx: &Context<'_>) -> Fault {
        let fault = Fault::client(StatusCode::UNAUTHORIZED, "TokenNotPresent", "JWT not present.")
            .cause("no policy before this one has verified a token");
        // RFC 6750 §3: no error code for a request without a token.
        self.challenged(cx, fault, "")
    }

    fn challenged(&self, cx: &Context<'_>, fault: Fault, rest: &str) -> Fault {
        cx.exchange.gateway.metrics.auth_failure(fault.reason);
        let api = cx.exchange.operation.as_ref().map(|operation| &operation.api);
        let realm = api.map(|api| caller::realm(cx.exchange, api)).unwrap_or_default();
        match HeaderValue::from_str(&format!(r#"Bearer realm="{realm}"{rest}"#)) {
            Ok(challenge) => fault.header(WWW_AUTHENTICATE, challenge),
            Err(_) => fault,
        }
    }

    /// What the token has, for the log.
    fn found(&self, claims: &Json) -> String {
        let values = self.claims.iter().filter_map(|claim| find(claims, claim)).flat_map(|claim| match claim {
            Json::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Json::Array(list) => {
                list.iter().map(|held| held.as_str().map_or_else(|| held.to_string(), str::to_owned)).collect()
            }
            other => vec![other.to_string()],
        });
        let mut shown: Vec<String> = values.take(17).map(|text| escaped(&text)).collect();
        if shown.is_empty() {
            return "(none)".to_owned();
        }
        if shown.len() == 17 {
            shown[16] = "…".to_owned();
        }
        shown.join(", ")
    }
}

impl Apply for Granted {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(token) = &cx.state.token else { return Err(self.no_token(cx)) };
        if self.suffice(&token.claims) { Ok(Flow::Next) } else { Err(self.lacking(cx, token)) }
    }
}

impl Grants for Granted {
    fn describe(&self, claims: &Json) -> (String, String) {
        let quantity = if self.any { "one" } else { "all" };
        let wanted = format!("{quantity} of {} in {}", listed(&self.wanted, ", "), listed(&self.claims, " and "));
        (wanted, self.found(claims))
    }

    fn check(&self, claims: &Json) -> Result<(), Fault> {
        if self.suffice(claims) { Ok(()) } else { Err(self.refusal(claims)) }
    }
}

/// A claim by its name, or by a JSON Pointer.
fn find<'a>(claims: &'a Json, name: &str) -> Option<&'a Json> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

fn listed(names: &[impl std::fmt::Display], separator: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(separator)
}

/// A value of the token in one line and of bounded length.
fn escaped(text: &str) -> String {
    let short: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    format!("`{short}`")
}
