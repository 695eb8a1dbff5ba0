//! What the policies that fetch a token share: for whom and what it is, and what becomes of it.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::value::{TextValue, evaluation_failed};
use crate::credential::{self, Credential, Obtained, Renewal, Subject, Target, TokenSource, subject_of};
use crate::expression::EvaluationError;
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Origin};

/// A step that fetches a token. Asynchronous, because it waits when none is at hand; else it takes one look.
pub(super) struct TokenStep {
    pub(super) purpose: Purpose,
    /// The caller's token, when it is not the one in `Authorization`.
    pub(super) subject: Option<TextValue>,
    /// The header for the token when it is not `Authorization`, which takes it with its scheme.
    pub(super) header: Option<HeaderName>,
    /// The variable for the token, in place of a header.
    pub(super) output: Option<Arc<str>>,
    pub(super) ignore_error: bool,
    pub(super) refresh_on_401: bool,
    pub(super) origin: Arc<Origin>,
}

/// What the token is for.
pub(super) enum Purpose {
    /// The same for every request.
    Fixed(Credential),
    /// The same for every request, and another for each caller.
    OfCaller(Arc<TokenSource>, Arc<Target>),
    /// What a request says.
    Evaluated(Arc<TokenSource>, Box<Evaluated>),
}

/// A purpose with expressions.
#[derive(Default)]
pub(super) struct Evaluated {
    pub(super) scope: Option<TextValue>,
    pub(super) resource: Option<TextValue>,
    pub(super) audience: Option<TextValue>,
}

impl Evaluated {
    /// The purpose, when it is the same for every request.
    pub(super) fn literal(&self) -> Option<Target> {
        let [scope, resource, audience] = [&self.scope, &self.resource, &self.audience].map(|text| match text {
            None => Some(None),
            Some(text) => text.literal().map(|literal| Some(Arc::from(literal))),
        });
        Some(Target { scope: scope?, resource: resource?, audience: audience? })
    }

    fn target(&self, cx: &Context<'_>) -> Result<Arc<Target>, Fault> {
        let text = |text: &Option<TextValue>| match text {
            None => Ok(None),
            Some(text) => match text.text(cx)? {
                text if text.is_empty() => {
                    Err(evaluation_failed(EvaluationError::new("the result is empty, and no token is for nothing")))
                }
                text => Ok(Some(Arc::from(&*text))),
            },
        };
        let (scope, resource, audience) = (text(&self.scope)?, text(&self.resource)?, text(&self.audience)?);
        Ok(Arc::new(Target { scope, resource, audience }))
    }
}

/// How far a step came without waiting.
type Begun = (Credential, Obtained, Option<Arc<Renewal>>);

impl ApplyAsync for TokenStep {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        let begun = call.with(|cx| {
            let (credential, obtained, renewal) = self.begin(cx)?;
            match obtained {
                Obtained::Token(token) => {
                    credential::ahead(cx.exchange, &credential, &self.origin);
                    Ok(Err(self.put(cx, &token, renewal)))
                }
                obtained => Ok(Ok((credential, obtained, renewal))),
            }
        });
        let (credential, obtained, renewal) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(flow)) => return Box::pin(std::future::ready(Ok(flow))),
            Err(fault) => return Box::pin(std::future::ready(call.with(|cx| self.failed(cx, fault)))),
        };
        Box::pin(async move {
            match credential::settle(call.exchange, &credential, obtained, &self.origin).await {
                Ok(token) => Ok(call.with(|cx| self.put(cx, &token, renewal))),
                Err(fault) => call.with(|cx| self.failed(cx, fault)),
            }
        })
    }
}

impl TokenStep {
    fn begin(&self, cx: &mut Context<'_>) -> Result<Begun, Fault> {
        let (source, target) = match &self.purpose {
            Purpose::Fixed(credential) => {
                let renewal = self.refresh_on_401.then(|| Arc::new(Renewal::new(credential.clone(), None)));
                return Ok((credential.clone(), credential.token(None), renewal));
            }
            Purpose::OfCaller(source, target) => (source, target.clone()),
            Purpose::Evaluated(source, purpose) => (source, purpose.target(cx)?),
        };
        let given;
        let subject = if !source.settings.grant.is_for_caller() {
            None
        } else if let Some(text) = &self.subject {
            given = text.text(cx)?;
            if given.is_empty() {
                return Err(credential::missing(cx.exchange));
            }
            Some(Subject { token: without_scheme(&given), expires: None })
        } else {
            Some(subject_of(cx.exchange, cx.state.token.as_deref(), cx.message.headers())?)
        };
        let credential = source.credential(&target, subject.as_ref().map(|subject| subject.token));
        let obtained = credential.token(subject.as_ref());
        let renewal = self.refresh_on_401.then(|| Arc::new(Renewal::new(credential.clone(), subject.as_ref())));
        Ok((credential, obtained, renewal))
    }

    fn put(&self, cx: &mut Context<'_>, token: &HeaderValue, renewal: Option<Arc<Renewal>>) -> Flow {
        let bare = || token.to_str().unwrap_or_default().trim_start_matches("Bearer ");
        match (&self.output, &self.header) {
            (Some(name), _) => cx.state.set_variable(name, Json::from(bare())),
            (None, Some(name)) => {
                if let Ok(mut value) = HeaderValue::from_str(bare()) {
                    value.set_sensitive(true);
                    cx.message.headers_mut().insert(name.clone(), value);
                }
            }
            (None, None) => {
                cx.message.headers_mut().insert(AUTHORIZATION, token.clone());
                cx.state.renewal = renewal;
            }
        }
        Flow::Next
    }

    /// With `ignore-error` the request goes on without a token: what the caller sent in its place is not a substitute.
    #[cold]
    fn failed(&self, cx: &mut Context<'_>, fault: Fault) -> Result<Flow, Fault> {
        if !self.ignore_error {
            return Err(fault);
        }
        let id = cx.exchange.request_id.to_str().unwrap_or_default();
        tracing::debug!(request_id = id, "going on without a token: {fault}");
        match (&self.output, &self.header) {
            (Some(name), _) => cx.state.set_variable(name, Json::Null),
            (None, name) => drop(cx.message.headers_mut().remove(name.as_ref().unwrap_or(&AUTHORIZATION))),
        }
        Ok(Flow::Next)
    }
}

/// A token as an expression may give it: `@headers('authorization')` has the scheme in front.
fn without_scheme(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text.trim(),
    }
}
