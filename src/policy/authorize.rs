//! Lets a request pass by a list of rules, and refuses what none of them allows.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::{Expression, Needs};
use crate::pipeline::{Apply, Context, Fault, Flow, Step, TokenDemand};
use crate::telemetry::Redactor;

/// Lets a request pass by a list of rules. The first rule whose condition holds decides; a request for which none does is
/// refused. Stands behind what finds out who calls: `validate-jwt`, `api-key`.
///
/// What is refused is answered `403`, before the backend is called; on-error sees the reason `AuthorizationDenied`. The answer
/// names the rule that refused, or the named rules that would have allowed the request; never what was compared. The log at
/// level `debug` says which rule decided, and the values of the claims, headers and parameters that it read. A condition that
/// cannot be evaluated refuses the request (reason `AuthorizationFailed`).
///
/// ```toml
/// [[inbound]]
/// policy    = "validate-jwt"
/// openid-config = ["https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"]
/// audiences = ["api://orders"]
///
/// [[inbound]]
/// policy = "authorize"
///
/// [[inbound.rules]]
/// name   = "no guests"
/// action = "deny"
/// when   = "@equals(claims('acct'), 1)"
///
/// [[inbound.rules]]
/// name   = "staff of Contoso"
/// action = "allow"
/// when   = "@equals(claims('tid'), '5c6ff1a5-4a0b-4b39-ae4b-5b8c2b4ac8f3')"
///
/// [[inbound.rules]]
/// name   = "anybody may read"
/// action = "allow"
/// when   = "@equals(method(), 'GET')"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Authorize {
    /// The rules, in the order they are tried.
    rules: At<Vec<AuthorizationRule>>,
    /// The message of the answer when no rule allows the request: text or an expression. Default: the names of the rules that
    /// would.
    message: Option<Text>,
}

/// A rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthorizationRule {
    /// The rule's name, for the answer and the log. Default: its number.
    name: Option<At<String>>,
    /// What becomes of a request for which the condition holds.
    action: At<Action>,
    /// The condition: `true`, or an expression that gives true or false. One that fails refuses the request.
    when: Text,
    /// The message of the answer of a rule that denies: text or an expression. Default: that this rule denies it.
    message: Option<Text>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The request passes, and no further rule is tried.
    Allow,
    /// The request is refused.
    Deny,
}

impl Policy for Authorize {
    const NAME: &'static str = "authorize";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut failed = None;
        for (at, rule) in self.rules.iter().enumerate() {
            let compiled = rule.compile(at, &rules, cx);
            match cx.note(compiled) {
                Ok(rule) => rules.push(rule),
                Err(error) => failed = Some(error),
            }
        }
        let message = self.message.as_ref().map(|text| TextValue::compile(text, cx)).transpose()?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !rules.iter().any(|rule| rule.action == Action::Allow) {
            return Err(CompileError::at(&self.rules, "no rule allows anything, so every request would be refused")
                .hint("end with a rule that allows the rest: `action = \"allow\"`, `when = \"true\"`"));
        }
        let always = |rule: &Rule| rule.when.literal().is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if let Some(at) = rules.iter().position(always)
            && let Some(after) = self.rules.get(at + 1)
        {
            let text = format!("this rule is never tried, because {} holds for every request", rules[at].shown());
            cx.warn(&after.when, "unreached-rule", text, "put it before that one");
        }
        // Without a token a claim is null, and a rule that denies by it does not apply.
        cx.needs_token = cx.needs.contains(Needs::CLAIMS);
        if cx.needs_token {
            cx.asks_of_token(TokenDemand::Rules);
        }
        let named = rules.iter().filter(|rule| rule.action == Action::Allow && rule.named).map(Rule::shown);
        let named: Vec<String> = named.collect();
        let unmet = match &*named {
            [] => "No rule allows this request.".to_owned(),
            [only] => format!("The requirement {only} is not met."),
            several => format!("None of the requirements {} is met.", several.join(", ")),
        };
        Ok(Step::sync(Compiled { rules: rules.into(), message, unmet }))
    }
}

impl AuthorizationRule {
    fn compile(&self, at: usize, before: &[Rule], cx: &mut CompileCx<'_, '_>) -> Result<Rule, CompileError> {
        if let Some(name) = &self.name {
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                return Err(CompileError::at(name, "the name of a rule is a few words in one line"));
            }
            if before.iter().any(|rule| rule.named && *rule.name == *name.value) {
                return Err(CompileError::at(name, format!("two rules are named `{}`", name.value))
                    .hint("give each rule a name of its own"));
            }
        }
        if let (Some(message), Action::Allow) = (&self.message, self.action.value) {
            return Err(CompileError::at(message, "a rule that allows refuses nothing, so it has no message")
                .hint("`message` beside `rules` is for requests that no rule allows"));
        }
        let when = cx.expression(&self.when)?;
        if let Some(literal) = when.literal()
            && !matches!(literal.to_ascii_lowercase().as_str(), "true" | "false")
        {
            return Err(CompileError::at(&self.when, format!("`{literal}` is neither true nor false"))
                .hint("`true`, or an expression such as `@equals(claims('tid'), '…')`"));
        }
        let message = self.message.as_ref().map(|text| TextValue::compile(text, cx)).transpose()?;
        let name = self.name.as_ref().map_or_else(|| (at + 1).to_string(), |name| name.value.clone());
        Ok(Rule { named: self.name.is_some(), name: name.into(), action: self.action.value, when, message })
    }
}

// === impl Apply ===

struct Compiled {
    rules: Box<[Rule]>,
    message: Option<TextValue>,
    /// What the caller is told when no rule applies, unless `message` says otherwise.
    unmet: String,
}

struct Rule {
    /// Its name, else its number.
    name: Box<str>,
    named: bool,
    action: Action,
    when: Expression,
    message: Option<TextValue>,
}

impl Rule {
    fn shown(&self) -> String {
        if self.named { format!("`{}`", self.name) } else { format!("rule {}", self.name) }
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        for rule in &self.rules {
            match rule.when.boolean(cx) {
                Ok(false) => {}
                Ok(true) if rule.action == Action::Allow => {
                    if tracing::enabled!(tracing::Level::DEBUG) {
                        let id = cx.exchange.request_id.to_str().unwrap_or_default();
                        tracing::debug!(request_id = id, rule = &*rule.name, read = self.read(rule, cx), "allowed");
                    }
                    return Ok(Flow::Next);
                }
                Ok(true) => return Err(self.denied(rule, cx)),
                // A condition that says nothing must not let anybody pass, whatever the rules after it say.
                Err(error) => {
                    let text = format!("The condition of {} cannot be evaluated: {error}.", rule.shown());
                    let fault = Fault::client(StatusCode::FORBIDDEN, "AuthorizationFailed", text);
                    return Err(self.counted(cx, fault).public("Access denied."));
                }
            }
        }
        Err(self.unmet(cx))
    }
}

impl Compiled {
    #[cold]
    fn denied(&self, rule: &Rule, cx: &Context<'_>) -> Fault {
        let text = format!("Access denied by {}.", rule.shown());
        let fault = Fault::client(StatusCode::FORBIDDEN, "AuthorizationDenied", text.clone());
        let fault = with_message(fault, rule.message.as_ref(), text, cx);
        self.counted(cx, self.explained(fault, std::slice::from_ref(rule), cx))
    }

    #[cold]
    fn unmet(&self, cx: &Context<'_>) -> Fault {
        let fault = Fault::client(StatusCode::FORBIDDEN, "AuthorizationDenied", "No rule allows this request.");
        let fault = with_message(fault, self.message.as_ref(), self.unmet.clone(), cx);
        self.counted(cx, self.explained(fault, &self.rules, cx))
    }

    fn counted(&self, cx: &Context<'_>, fault: Fault) -> Fault {
        cx.exchange.gateway.metrics.auth_failure(fault.reason);
        fault
    }

    /// Adds what the rules read, when somebody will see it.
    fn explained(&self, fault: Fault, rules: &[Rule], cx: &Context<'_>) -> Fault {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return fault;
        }
        let read = rules.iter().map(|rule| self.read(rule, cx)).filter(|text| !text.is_empty());
        let mut read: Vec<String> = read.collect();
        read.dedup();
        if read.is_empty() { fault } else { fault.cause(read.join(", ")) }
    }

    fn read(&self, rule: &Rule, cx: &Context<'_>) -> String {
        let parameters = cx.exchange.gateway.secret_parameters.iter().map(|name| &**name);
        let mut headers = Vec::new();
        if let Some(operation) = &cx.exchange.operation {
            headers.push(operation.api.key_header.clone());
        }
        rule.when.readings(cx, &Redactor::default().with_parameters(parameters).with_headers(headers))
    }
}

/// What the caller reads. A message that cannot be made is no reason to answer anything but a refusal.
fn with_message(fault: Fault, message: Option<&TextValue>, otherwise: String, cx: &Context<'_>) -> Fault {
    match message.map(|text| text.text(cx)) {
        Some(Ok(text)) => fault.public(text.into_owned()),
        Some(Err(error)) => fault.public("Access denied.").cause(format!("the message cannot be made: {error}")),
        None => fault.public(otherwise),
    }
}
