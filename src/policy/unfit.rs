//! What a URL or a path that cannot be made is answered with: the error names the value, and its status says who can give another one.

use std::borrow::Cow;

use http::StatusCode;

use super::value::evaluation_failed;
use crate::expression::{EvaluationError, Given, Place, Source};
use crate::pipeline::{Blame, Context, Fault};

/// Why a URL or a path is none.
pub(super) enum Unfit {
    /// It is none, as the cause says.
    Invalid(String),
    /// The host may not be called.
    NotAllowed,
}

/// What was to be made.
#[derive(Clone, Copy)]
pub(super) enum Made {
    /// The base URL of a backend.
    Address,
    /// A path below it.
    Path,
}

impl Made {
    fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Path => "path",
        }
    }
}

impl Unfit {
    /// The fault, by the values that what is wrong was made of.
    ///
    /// A value of the request that is missing or wrong is the caller's to give: 400. A parameter of a connection is configuration: 500, with its
    /// name, and the place of the policy in the log. The values themselves are told nobody, since they may hold secrets.
    #[cold]
    pub(super) fn fault(self, made: Made, sources: &[Source], cx: &Context<'_>) -> Fault {
        if let Some(source) = sources.iter().find(|source| source.given != Given::Text) {
            return missing(source, made, cx);
        }
        if sources.is_empty() {
            return match self {
                Self::Invalid(cause) => evaluation_failed(EvaluationError::new(format!(
                    "the result is no {} of a backend: {cause}",
                    made.as_str()
                ))),
                Self::NotAllowed => not_allowed("The host of the backend is not allowed.", Blame::Client),
            };
        }
        let (names, is_one) = (listed(sources), sources.len() == 1);
        let is_configured = sources.iter().all(|source| source.place == Place::Connection);
        match self {
            Self::NotAllowed => {
                let verb = if is_one { "names" } else { "name" };
                let blame = if is_configured { Blame::Gateway } else { Blame::Client };
                not_allowed(format!("The host that {names} {verb} is not allowed."), blame)
            }
            Self::Invalid(cause) => {
                let verb = if is_one { "gives" } else { "give" };
                let text = format!("{names} {verb} no valid {} for the backend", made.as_str());
                let fault = if is_configured {
                    incomplete(&text, cx)
                } else {
                    Fault::client(StatusCode::BAD_REQUEST, "RequestValueInvalid", sentence(&text))
                };
                fault.cause(cause)
            }
        }
    }
}

/// What is missing.
#[cold]
pub(super) fn missing(source: &Source, made: Made, cx: &Context<'_>) -> Fault {
    let state = if source.given == Given::Nothing { "missing" } else { "empty" };
    let text = format!("{source} is {state}; the backend's {} depends on it", made.as_str());
    match source.place {
        Place::Connection if cx.connection().is_none() => {
            Fault::client(StatusCode::FORBIDDEN, "ConnectionNotFound", "There is no connection for this call.")
        }
        Place::Connection => incomplete(&text, cx),
        _ => Fault::client(StatusCode::BAD_REQUEST, "RequestValueMissing", sentence(&text)),
    }
}

/// A connection without what is needed of it; the log says which one.
fn incomplete(text: &str, cx: &Context<'_>) -> Fault {
    let name = cx.connection().map(|connection| format!("connection `{}`: ", connection.name)).unwrap_or_default();
    Fault::internal("ConnectionIncomplete", format!("{name}{text}")).public(sentence(text))
}

fn not_allowed(text: impl Into<Cow<'static, str>>, blame: Blame) -> Fault {
    Fault::new(StatusCode::FORBIDDEN, blame, "", "BackendHostNotAllowed", text)
}

/// `the header 'a' and the query parameter 'b'`
fn listed(sources: &[Source]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in sources.iter().map(Source::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}.", first.to_uppercase())
}
