//! Requires a subscription key, and says who calls by it.

mod member;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use self::member::MemberPath;
use super::{Policy, Sections};
use crate::body::{Body, coding};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::gateway::Api;
use crate::gateway::caller::{self, KeyPlace};
use crate::identity::Refusal;
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};
use crate::routing::query;

/// Requires a key of a [subscription](https://learn.microsoft.com/azure/api-management/api-management-subscriptions) that covers
/// the API and is in force, and makes its subscription known to what follows (`@subscription()`, `@consumer()`).
///
/// A request without a key is answered `401 Access Denied` with Azure API Management's message and challenge; so is one whose
/// key is unknown, suspended, expired or for another API, with the other message. The first source that holds a key
/// decides. Keys are looked up by their SHA-256 digest and never logged.
///
/// Where the API asks for a key itself (`subscription-required`, or a product), the caller is known before any policy runs and
/// the step accepts that. Only then do the policies of the subscription's product run: this step comes too late to
/// choose them.
///
/// ```toml
/// [[inbound]]
/// policy = "api-key"
/// header = "x-api-key"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiKey {
    /// Where the key may be, in the order of looking. Default `["header", "query"]`.
    sources: Option<At<Vec<Source>>>,
    /// The header that carries the key. Default: the API's `key-header`, which is `Ocp-Apim-Subscription-Key` unless it says
    /// otherwise.
    header: Option<At<String>>,
    /// The query parameter that carries the key. Default: the API's `key-query`, which is `subscription-key` unless it says
    /// otherwise.
    query: Option<At<String>>,
    /// The cookie that carries the key. Needed when `sources` has `cookie`.
    cookie: Option<At<String>>,
    /// The member of a JSON body that carries the key: its name, or a pointer to it
    /// ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), as in `/auth/key`. Needed when `sources` has `body`.
    body: Option<At<String>>,
    /// Whether the key is taken off the request, so that the backend does not see it. Default `true`. Azure API Management
    /// leaves it there.
    strip: Option<bool>,
}

/// Where a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A header.
    Header,
    /// A query parameter. Queries end up in logs of others; prefer a header.
    Query,
    /// A cookie.
    Cookie,
    /// The password of `Authorization: Basic`, whatever the user name is (RFC 7617).
    Basic,
    /// A member of a JSON body, for callers that can set no header, as connectors behind an on-premises data gateway. Every body is
    /// then held in memory, up to `[server.limits] buffer-size`, before it is known who sent it. A compressed one is looked into
    /// when its coding is `gzip`, `deflate` or `br`, and goes on without it.
    Body,
}

impl Policy for ApiKey {
    const NAME: &'static str = "api-key";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let sources = self.sources.as_ref().map_or(&[Source::Header, Source::Query][..], |sources| &sources.value);
        if let Some(list) = self.sources.as_ref().filter(|list| list.is_empty()) {
            return Err(CompileError::at(list, "a key must be looked for somewhere").hint(r#"["header", "query"]"#));
        }
        for (field, source, name) in [
            (&self.header, Source::Header, "header"),
            (&self.query, Source::Query, "query"),
            (&self.cookie, Source::Cookie, "cookie"),
            (&self.body, Source::Body, "body"),
        ] {
            let Some(field) = field else { continue };
            if field.is_empty() {
                let what = if source == Source::Body { "member" } else { name };
                return Err(CompileError::at(field, format!("the name of the {what} is empty")));
            }
            if !sources.contains(&source) {
                let text = format!("`{name}` is not among the sources of the key");
                return Err(CompileError::at(field, text).hint(format!("add `\"{name}\"` to `sources`")));
            }
        }
        let header = self.header.as_ref().map(|name| cx.header_name(name)).transpose()?;
        if let Some(name) = &header {
            cx.secret_header(name);
        }
        if let Some(name) = &self.query {
            cx.secret_parameter(name);
        }
        let places = sources.iter().map(|source| {
            Ok(match source {
                Source::Header => Place::Header(header.clone()),
                Source::Query => Place::Query(self.query.as_ref().map(|name| name.as_str().into())),
                Source::Cookie => match &self.cookie {
                    Some(name) => Place::Cookie(name.as_str().into()),
                    None => return Err(CompileError::whole("missing key `cookie`").code("missing-key")),
                },
                Source::Basic => Place::Basic,
                Source::Body => match &self.body {
                    Some(name) => Place::body(MemberPath::parse(name).map_err(|text| CompileError::at(name, text))?),
                    None => return Err(CompileError::whole("missing key `body`").code("missing-key")),
                },
            })
        });
        let places = places.collect::<Result<_, _>>()?;
        if sources.contains(&Source::Body) {
            cx.needs |= Needs::BODY;
        }
        Ok(Step::sync(Compiled { places, strip: self.strip.unwrap_or(true) }))
    }
}

// === impl Apply ===

struct Compiled {
    places: Box<[Place]>,
    strip: bool,
}

/// Where a key may be; without a name, where the API says.
enum Place {
    Header(Option<HeaderName>),
    Query(Option<Box<str>>),
    Cookie(Box<str>),
    Basic,
    Body { path: MemberPath, name: Box<str> },
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let exchange = cx.exchange;
        let (Some(operation), Message::Request(request)) = (&exchange.operation, &mut cx.message) else {
            return Err(Fault::internal("Internal", "a key was asked for outside of any API"));
        };
        let api = &*operation.api;
        let known = cx.state.subscription.is_some();
        let mut used = None;
        if !known {
            let mut found = self.places.iter().filter_map(|place| Some((place, place.find(request, api)?)));
            let mut found = found.by_ref().inspect(|(_, key)| exchange.hide(key));
            let (place, subscription) = match found.next() {
                Some((place, key)) => (place, caller::granted(exchange, api, &key)),
                None => (&self.places[0], Err(Refusal::KeyMissing)),
            };
            let subscription =
                subscription.map_err(|refusal| caller::key_refused(exchange, api, place.named(api), &refusal))?;
            if cx.state.product.is_none() {
                cx.state.product = caller::product_of(&exchange.gateway, subscription);
            }
            cx.state.subscription = Some(subscription.clone());
            used = Some(place);
        }
        let mut body = None;
        if self.strip {
            for place in &self.places {
                // Other credentials may stand there: those of a token, or the backend's own.
                if !matches!(place, Place::Basic) || matches!(used, Some(Place::Basic)) {
                    body = place.strip(request, api)?.or(body);
                }
            }
            if known {
                Place::Header(None).strip(request, api)?;
                Place::Query(None).strip(request, api)?;
            }
        }
        if let Some(body) = body {
            cx.set_body(body);
        }
        Ok(Flow::Next)
    }
}

impl Place {
    fn body(path: MemberPath) -> Self {
        Self::Body { name: path.name().into(), path }
    }

    fn named<'a>(&'a self, api: &'a Api) -> KeyPlace<'a> {
        match self {
            Self::Header(name) => KeyPlace { name: name.as_ref().unwrap_or(&api.key_header).as_str(), kind: "header" },
            Self::Query(name) => KeyPlace { name: name.as_ref().map_or(&*api.key_query, |name| name), kind: "query" },
            Self::Cookie(name) => KeyPlace { name, kind: "cookie" },
            Self::Basic => KeyPlace { name: "Authorization", kind: "basic" },
            Self::Body { name, .. } => KeyPlace { name, kind: "body" },
        }
    }

    /// The key, when there is one; an empty one is none.
    fn find<'a>(&'a self, request: &'a Request<Body>, api: &'a Api) -> Option<Cow<'a, [u8]>> {
        let headers = request.headers();
        let key = match self {
            Self::Header(name) => Cow::Borrowed(headers.get(name.as_ref().unwrap_or(&api.key_header))?.as_bytes()),
            Self::Query(_) => match query::get(request.uri().query()?, self.named(api).name)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            Self::Cookie(name) => {
                let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
                Cow::Borrowed(pairs.filter_map(|pair| value_of(pair, name)).next()?)
            }
            Self::Basic => Cow::Owned(password(headers)?),
            Self::Body { path, .. } => match path.find(plain_body(request)?)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        };
        Some(key).filter(|key| !key.is_empty())
    }

    /// Takes the key off the request. The answer is the body without it, where it was there.
    fn strip(&self, request: &mut Request<Body>, api: &Api) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Header(name) => drop(request.headers_mut().remove(name.as_ref().unwrap_or(&api.key_header))),
            Self::Basic => drop(request.headers_mut().remove(AUTHORIZATION)),
            Self::Query(_) => {
                let name = self.named(api).name;
                let uri = request.uri();
                let Some(old) = uri.query().filter(|text| query::find(text, name).is_some()) else { return Ok(None) };
                let mut kept = old.to_owned();
                query::remove(&mut kept, name);
                let separator = if kept.is_empty() { "" } else { "?" };
                let target = Bytes::from(format!("{}{separator}{kept}", uri.path()));
                let target = PathAndQuery::from_maybe_shared(target).map_err(|error| {
                    Fault::internal("Internal", "the request target is not valid without the key").cause(error)
                })?;
                *request.uri_mut() = Uri::from(target);
            }
            Self::Cookie(name) => strip_cookie(request.headers_mut(), name),
            Self::Body { path, .. } => {
                return Ok(plain_body(request).and_then(|body| path.without(body)).map(Bytes::from));
            }
        }
        Ok(None)
    }
}

/// The body, unless it is compressed in a way that is not read.
fn plain_body(request: &Request<Body>) -> Option<&[u8]> {
    request.body().bytes().filter(|_| !coding::is_coded(request.headers())).map(|bytes| &bytes[..])
}

/// The value of a cookie pair of this name, without the quotes that RFC 6265 §4.1.1 allows.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value))
}

fn strip_cookie(headers: &mut HeaderMap, name: &str) {
    let of_name = |pair: &[u8]| value_of(pair, name).is_some();
    let mut pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    if !pairs.any(of_name) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let kept = line.as_bytes().split(|byte| *byte == b';').filter(|pair| !of_name(pair)).map(<[u8]>::trim_ascii);
        let kept = kept.collect::<Vec<_>>().join(&b"; "[..]);
        // Parts of a value that was valid are valid.
        if let Some(line) = HeaderValue::from_bytes(&kept).ok().filter(|_| !kept.is_empty()) {
            headers.append(COOKIE, line);
        }
    }
}

/// The password of Basic credentials. The user name cannot hold a colon (RFC 7617 §2).
fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let mut pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials.trim()).ok())??;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.split_off(colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_taken_out_alone() {
        for (before, found, after) in [
            (&["key=1"][..], Some("1"), &[][..]),
            (&["a=b; key=\"1\"; c=d"], Some("1"), &["a=b; c=d"]),
            (&["a=b", "key=1;key=2"], Some("1"), &["a=b"]),
            (&["a=b; monkey=1; key2=3"], None, &["a=b; monkey=1; key2=3"]),
            (&["key"], None, &["key"]),
        ] {
            let mut headers: HeaderMap =
                before.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap())).collect();
            let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
            assert_eq!(pairs.filter_map(|pair| value_of(pair, "key")).next(), found.map(str::as_bytes), "{before:?}");
            strip_cookie(&mut headers, "key");
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), after, "{before:?}");
        }
    }

    #[test]
    fn passwords() {
        for (value, want) in [
            ("Basic dXNlcjprZXk=", Some("key")),
            ("basic OmtleTpr", Some("key:k")),
            ("Basic dXNlcg==", None),
            ("Basic !!", None),
            ("Bearer dXNlcjprZXk=", None),
            ("Basic", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(password(&headers).as_deref(), want.map(str::as_bytes), "{value}");
        }
    }
}
