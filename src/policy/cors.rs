//! Lets pages of other origins call: answers preflights, and marks the answers that such pages may read.

mod origin;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period};
use crate::pipeline::{Apply, Context, Exchange, Fault, Flow, Step};
use origin::{Origins, Parts, Pattern};

/// Lets pages of other origins call, by the [CORS protocol](https://fetch.spec.whatwg.org/#http-cors-protocol), as
/// [cors](https://learn.microsoft.com/azure/api-management/cors-policy) in Azure API Management does.
///
/// A preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`, for an operation that exists) is answered 200 by this
/// policy alone, before any key is looked at and without any other policy, unless the API has an operation for `OPTIONS`. Only
/// a `cors` directly in inbound is asked, not one inside `choose` or a fragment. On every other request with an `Origin` that
/// is allowed, the answer gets its CORS headers, error or not. (Keys that `subscription-required` refuses are refused before
/// any policy, as in Azure API Management; `api-key` below a `cors` answers so that a page can read it.) Of several `cors` the
/// first that allows the origin decides.
///
/// ```toml
/// [[inbound]]
/// policy          = "cors"
/// allowed-origins = ["https://make.powerapps.com", "https://*.contoso.com"]
/// allowed-methods = ["GET", "POST", "DELETE"]
/// allowed-headers = ["content-type", "ocp-apim-subscription-key"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cors {
    /// The origins that may call: scheme, host and port, where 80 and 443 are understood (`https://contoso.com`);
    /// `https://*.contoso.com` for every host below that name, which Azure API Management does not know; or `"*"` alone
    /// for all. At least one.
    allowed_origins: At<Vec<At<String>>>,
    /// The methods that may be asked for; `"*"` for all. Default `["GET", "POST"]`.
    allowed_methods: Option<At<Vec<At<String>>>>,
    /// The request headers that may be sent besides the few that always may; `"*"` for all. Default: none.
    #[serde(default)]
    allowed_headers: Vec<At<String>>,
    /// The response headers that a page may read besides the few that it always may; `"*"` for all, which browsers
    /// do not honour together with credentials. Default: none.
    #[serde(default)]
    expose_headers: Vec<At<String>>,
    /// Whether browsers may send cookies and other credentials. Not together with the origin `"*"`. Default `false`.
    allow_credentials: Option<At<bool>>,
    /// How long browsers may remember the answer to a preflight; whole seconds. Default `0s`: not at all.
    preflight_result_max_age: Option<At<Period>>,
    /// Whether a request from an origin that is not allowed ends here: a preflight, `GET` or `HEAD` with an empty 200 without
    /// CORS headers, so that the browser refuses it. With `false` a preflight is left to the next `cors`, and other requests
    /// go on without CORS headers. Default `true`, which Azure API Management's text says and its table does not.
    terminate_unmatched_request: Option<bool>,
}

impl Policy for Cors {
    const NAME: &'static str = "cors";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let credentials = self.allow_credentials.as_ref().is_some_and(|allow| allow.value);
        let origins = match (origins(&self.allowed_origins), credentials, &self.allow_credentials) {
            (Ok(Origins::Any), true, Some(field)) => {
                Err(CompileError::at(field, "credentials cannot be allowed to every origin")
                    .hint("list the origins: with `*`, any page could act with its visitor's cookies"))
            }
            (origins, ..) => origins,
        };
        let origins = cx.note(origins);
        let methods = match &self.allowed_methods {
            None => Ok(Allowed::List(HeaderValue::from_static("GET, POST"))),
            Some(list) => Allowed::compile(list, |text| {
                Method::from_bytes(text.as_bytes()).map(drop).map_err(|_| {
                    CompileError::at(text, format!("`{}` cannot be a method", text.value)).hint("for example `GET`")
                })
            })
            .and_then(|allowed| {
                allowed.ok_or_else(|| {
                    CompileError::at(list, "no method is allowed").hint("leave it out for `GET` and `POST`")
                })
            }),
        };
        let methods = cx.note(methods);
        let headers = Allowed::compile(&self.allowed_headers, |text| cx.header_name(text).map(drop));
        let headers = cx.note(headers);
        let max_age = match &self.preflight_result_max_age {
            Some(age) if age.0.subsec_nanos() != 0 => {
                Err(CompileError::at(age, "the age is counted in whole seconds").hint("for example `10m`"))
            }
            Some(age) if !age.0.is_zero() => Ok(Some(HeaderValue::from(age.0.as_secs()))),
            _ => Ok(None),
        };
        let max_age = cx.note(max_age);
        let expose = Allowed::compile(&self.expose_headers, |text| cx.header_name(text).map(drop));
        let expose = match cx.note(expose)? {
            Some(Allowed::List(list)) => Some(list),
            Some(Allowed::Any) => Some(HeaderValue::from_static("*")),
            None => None,
        };
        let terminate = self.terminate_unmatched_request.unwrap_or(true);
        let (origins, methods, headers, max_age) = (origins?, methods?, headers?, max_age?);
        Ok(Step::sync(Compiled { origins, methods, headers, expose, credentials, max_age, terminate }))
    }
}

fn origins(list: &At<Vec<At<String>>>) -> Result<Origins, CompileError> {
    match &list.value[..] {
        [] => Err(CompileError::at(list, "no origin is allowed").hint("for example `https://make.powerapps.com`")),
        [any] if any.as_str() == "*" => Ok(Origins::Any),
        several => several
            .iter()
            .map(|text| match Pattern::parse(text) {
                Some(pattern) => Ok(pattern),
                None if text.as_str() == "*" => Err(CompileError::at(text, "`*` stands alone or not at all")),
                None => Err(CompileError::at(text, format!("`{}` is not an origin", text.value)).hint(
                    "scheme, host and port: `https://contoso.com`, `http://localhost:3000`, `https://*.contoso.com`",
                )),
            })
            .collect::<Result<_, _>>()
            .map(Origins::These),
    }
}

// === impl Apply ===

struct Compiled {
    origins: Origins,
    methods: Allowed,
    headers: Option<Allowed>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
    terminate: bool,
}

/// What a preflight may ask for.
enum Allowed {
    /// Whatever it asks for. Not sent as `*`, which covers neither `Authorization` nor requests with credentials.
    Any,
    /// This list, for the browser to check.
    List(HeaderValue),
}

impl Allowed {
    fn compile(
        list: &[At<String>],
        mut check: impl FnMut(&At<String>) -> Result<(), CompileError>,
    ) -> Result<Option<Self>, CompileError> {
        if list.iter().any(|text| text.as_str() == "*") {
            return Ok(Some(Self::Any));
        }
        list.iter().try_for_each(&mut check)?;
        let joined = list.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(", ");
        // Names are visible ASCII, which always fits.
        Ok(HeaderValue::from_str(&joined).ok().filter(|_| !list.is_empty()).map(Self::List))
    }

    fn answer(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Any => asked.cloned(),
            Self::List(list) => Some(list.clone()),
        }
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let added = &mut cx.state.response_headers;
        if added.iter().any(|(name, _)| name == ACCESS_CONTROL_ALLOW_ORIGIN) {
            return Ok(Flow::Next);
        }
        // Caches must keep the answers for different origins apart, that for none included.
        if !matches!(self.origins, Origins::Any) && !added.iter().any(|(name, _)| name == VARY) {
            added.push((VARY, HeaderValue::from_name(ORIGIN)));
        }
        let Some(origin) = cx.message.headers().get(ORIGIN) else { return Ok(Flow::Next) };
        if let Some(allow) = self.origins.allow(origin) {
            self.mark(allow, |name, value| added.push((name, value)));
            if let Some(expose) = &self.expose {
                added.push((ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone()));
            }
            return Ok(Flow::Next);
        }
        let ends = self.terminate && matches!(*cx.method(), Method::GET | Method::HEAD) && !own(cx.exchange, origin);
        Ok(if ends { Flow::Respond(Box::default()) } else { Flow::Next })
    }

    fn preflight(&self, cx: &mut Context<'_>) -> Option<Response<Body>> {
        let asked = cx.message.headers();
        let mut response = Response::<Body>::default();
        let headers = response.headers_mut();
        let Some(allow) = asked.get(ORIGIN).and_then(|origin| self.origins.allow(origin)) else {
            return self.terminate.then_some(response);
        };
        self.mark(allow, |name, value| drop(headers.insert(name, value)));
        if let Some(methods) = self.methods.answer(asked.get(ACCESS_CONTROL_REQUEST_METHOD)) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(names) = self.headers.as_ref().and_then(|allowed| allowed.answer(wanted)) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        if let Some(age) = &self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        // Nobody may cache an answer to OPTIONS (RFC 9110 §9.3.7), and some do.
        headers.insert(
            VARY,
            HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers"),
        );
        Some(response)
    }
}

impl Compiled {
    fn mark(&self, allow: HeaderValue, mut add: impl FnMut(HeaderName, HeaderValue)) {
        add(ACCESS_CONTROL_ALLOW_ORIGIN, allow);
        if self.credentials {
            add(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Whether the page comes from the gateway itself, which is no other origin.
fn own(exchange: &Exchange, origin: &HeaderValue) -> bool {
    let own = format!("{}://{}", exchange.public_scheme(), exchange.public_authority());
    Pattern::parse(&own).is_some_and(|own| Parts::of(origin).is_some_and(|origin| own.matches(&origin)))
}
