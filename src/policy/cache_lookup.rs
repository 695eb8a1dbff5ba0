//! Answers with what `cache-store` has kept, without calling the backend.

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;
use tower_service::Service as _;

use super::cached::{CachingType, place};
use super::value::{Condition, TextValue, evaluation_failed};
use super::{Policy, Sections};
use crate::body::Body;
use crate::cache::answer::{Candidate, Found, How, Kept, Key, rules};
use crate::cache::{Cache, Place};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, OrExpression, Text};
use crate::expression::{EvaluationError, Expression, Needs};
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{
    Back, BoxFuture, CacheRole, CacheStatus, Cached, Context, Downstream, Exchange, Fault, Message, Next, Origin, Step,
};
use crate::server::admission::WebSocket;

/// Answers with what `cache-store` in outbound has kept for an earlier request that asked for the same; see
/// [cache-lookup](https://learn.microsoft.com/azure/api-management/cache-lookup-policy) in Azure API Management.
///
/// Then neither the rest of inbound nor the backend section runs, and outbound runs as if the backend had answered. So **everything that
/// decides who may have the answer comes before it**, and what comes after it may depend only on what the answers vary by. The answer
/// carries its `Age`; a caller that names what it has (`If-None-Match`, `If-Modified-Since`) gets 304.
///
/// Two requests ask for the same when they are for the same operation, product, connection and backend, at the same scheme, host and path,
/// with the same query (a key that stands there included, because the backend sees it), the same values of `vary-by-headers` and of the
/// headers that the backend's `Vary` names. Only GET is kept, and serves HEAD as well. Requests with a body, `Range`, `Authorization` or an accepted token go to the backend,
/// and so does `If-None-Match` with none of its conditions, to bring a whole answer. `Cache-Control: no-store` of a request is heeded,
/// `only-if-cached` answered with 504 when nothing is kept; `no-cache` and `max-age` are not: callers cannot make the backend work. What
/// is over is fetched anew as a whole, and what other methods change is noticed only then, as in Azure API Management.
///
/// Requests that ask for the same at the same time cause one call: the others wait for it, up to `wait` of `[cache]`. An answer that cannot
/// be kept is not waited for during the next ten seconds. While the shared store does not answer, the backend does.
///
/// ```toml
/// [[inbound]]
/// policy                   = "cache-lookup"
/// vary-by-headers          = ["Accept"]
/// vary-by-query-parameters = ["page"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheLookup {
    /// Whether each consumer has answers of its own, or subscription without one, or token where neither is known. Default `false`.
    #[serde(default)]
    vary_by_developer: bool,
    /// Whether consumers share answers only with those who are in the same groups. Default `false`.
    #[serde(default)]
    vary_by_developer_groups: bool,
    /// Request headers that tell answers apart. Default: none but those that the backend names in `Vary`.
    #[serde(default)]
    vary_by_headers: Vec<At<String>>,
    /// The query parameters that tell answers apart; the others do not matter. Names compare without case. Default: all of them.
    vary_by_query_parameters: Option<Vec<At<String>>>,
    /// One more thing that tells answers apart: `@claims('sub')` gives each user of a token answers of its own. Evaluated when the step
    /// runs; a failure goes to on-error. Default: nothing.
    vary_by: Option<Text>,
    /// Where answers are kept. Default `prefer-external`.
    caching_type: Option<At<CachingType>>,
    /// What caches of callers are told in `Cache-Control`, once `cache-store` runs. Default `none`. Evaluated when the step runs; a failure
    /// goes to on-error.
    downstream_caching_type: Option<At<OrExpression<DownstreamType>>>,
    /// Whether caches of callers must ask again when the time is over. Default `true`. Evaluated when the step runs; a failure goes to
    /// on-error.
    must_revalidate: Option<Text>,
    /// Whether answers to requests with `Authorization`, or with a token that a policy before this one has accepted, are looked up and kept
    /// too. Unless they vary by who asks, one caller's are given to others. Default `false`. Evaluated when the step runs; a failure goes to
    /// on-error.
    allow_private_response_caching: Option<Text>,
    /// Whether the answer tells in `Cache-Status` (RFC 9211) where it comes from. Default `false`.
    #[serde(default)]
    cache_status: bool,
}

/// What caches of callers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DownstreamType {
    /// `no-store`: they keep nothing.
    #[default]
    None,
    /// `private, max-age=…`: only the caller's own may keep it.
    Private,
    /// `public, max-age=…`: all may keep it.
    Public,
}

impl Policy for CacheLookup {
    const NAME: &'static str = "cache-lookup";
    const SECTIONS: Sections = Sections::INBOUND;
    const ONCE: bool = true;

    // A layer, because it skips everything after it.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.is_end_of_cache(CacheRole::Looks);
        let mut headers = Vec::new();
        for name in &self.vary_by_headers {
            let name = cx.header_name(name);
            headers.push(cx.note(name));
        }
        let headers: Result<Box<[HeaderName]>, _> = headers.into_iter().collect();
        let allows = self.allow_private_response_caching.as_ref().map(|it| Condition::compile(it, cx)).transpose();
        let allows = cx.note(allows);
        let revalidate = self.must_revalidate.as_ref().map(|it| Condition::compile(it, cx)).transpose();
        let revalidate = cx.note(revalidate);
        let vary_by = self.vary_by.as_ref().map(|it| TextValue::compile(it, cx)).transpose();
        let vary_by = cx.note(vary_by);
        let downstream = match &self.downstream_caching_type {
            None => Ok(Told::Constant(DownstreamType::None)),
            Some(At { value: OrExpression::Value(kind), .. }) => Ok(Told::Constant(*kind)),
            Some(At { value: OrExpression::Expression(text), span }) => {
                cx.expression(&At { value: text.clone(), span: span.clone() }).map(Told::Expression)
            }
        };
        let downstream = cx.note(downstream);
        let place = place(self.caching_type.as_ref(), cx);
        let place = cx.note(place);
        self.check_private(cx);
        let needs_body = cx.needs.contains(Needs::BODY);
        let parameters =
            self.vary_by_query_parameters.map(|names| names.into_iter().map(|it| it.value.into()).collect());
        let headers = headers?;
        let names: Vec<&str> = headers.iter().map(HeaderName::as_str).collect();
        let vary = (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten();
        let lookup = Arc::new(Lookup {
            cache: cx.world.cache.clone(),
            place: place?,
            headers,
            vary,
            parameters,
            developer: self.vary_by_developer,
            groups: self.vary_by_developer_groups,
            vary_by: vary_by?,
            downstream: downstream?,
            revalidate: revalidate?,
            allows: allows?,
            tells: self.cache_status,
            origin: cx.origin.clone(),
        });
        Ok(Step::layer(move |next| {
            let looking = Next::new(Looking { lookup: lookup.clone(), back: next.back(), next });
            if needs_body { looking.buffered(None) } else { looking }
        }))
    }
}

impl CacheLookup {
    /// Whether callers have answers of their own, in a way that caches outside cannot know of.
    fn is_by_caller(&self) -> bool {
        self.vary_by_developer || self.vary_by.is_some()
    }

    /// Warns when one caller's private answers are given to others, here or by the caches in between.
    fn check_private(&self, cx: &mut CompileCx<'_, '_>) {
        if let Some(told) = &self.downstream_caching_type
            && matches!(told.value, OrExpression::Value(DownstreamType::Public))
            && (self.is_by_caller() || self.vary_by_developer_groups)
        {
            cx.warn(
                told,
                "cache-shares-private",
                "caches between callers and gateway may give one caller's answer to another",
                "`private`, which leaves it to the caller's own cache",
            );
        }
        let Some(allowed) = self.allow_private_response_caching.as_ref().filter(|it| it.eq_ignore_ascii_case("true"))
        else {
            return;
        };
        let by_header = self.vary_by_headers.iter().any(|name| name.eq_ignore_ascii_case("authorization"));
        if !self.is_by_caller() && !by_header {
            cx.warn(
                allowed,
                "cache-shares-private",
                "answers to callers with `Authorization` are given to all others",
                "`vary-by-developer = true`, `vary-by = \"@claims('sub')\"`, or `Authorization` among `vary-by-headers`",
            );
        }
    }
}

/// What caches of callers are told, for every exchange or for this one.
enum Told {
    Constant(DownstreamType),
    Expression(Expression),
}

impl Told {
    fn of(&self, cx: &Context<'_>) -> Result<Downstream, Fault> {
        let kind = match self {
            Self::Constant(kind) => *kind,
            Self::Expression(expression) => {
                match &*expression.text(cx).map_err(evaluation_failed)?.to_ascii_lowercase() {
                    "none" => DownstreamType::None,
                    "private" => DownstreamType::Private,
                    "public" => DownstreamType::Public,
                    _ => return Err(evaluation_failed(EvaluationError::new("expected `none`, `private` or `public`"))),
                }
            }
        };
        Ok(match kind {
            DownstreamType::None => Downstream::Nothing,
            DownstreamType::Private => Downstream::Private,
            DownstreamType::Public => Downstream::Public,
        })
    }
}

// === impl Serve ===

struct Lookup {
    cache: Arc<Cache>,
    place: Place,
    headers: Box<[HeaderName]>,
    /// The same as the value of a header.
    vary: Option<HeaderValue>,
    parameters: Option<Box<[Box<str>]>>,
    developer: bool,
    groups: bool,
    vary_by: Option<TextValue>,
    downstream: Told,
    revalidate: Option<Condition>,
    allows: Option<Condition>,
    tells: bool,
    origin: Arc<Origin>,
}

struct Looking {
    lookup: Arc<Lookup>,
    next: Next,
    back: Option<Arc<Back>>,
}

/// What a request asks of the cache.
struct Ask {
    key: Key,
    downstream: Downstream,
    must_revalidate: bool,
}

impl Serve for Looking {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            let mut request = Box::new(request);
            let answered = self.look(&exchange, &mut request).await;
            let looked = match answered {
                Ok(Some(response)) => Ok(response),
                Ok(None) => {
                    let result = self.next.clone().call(*request).await;
                    self.lookup.settle(&exchange, result.is_ok());
                    result
                }
                Err(fault) => {
                    exchange.state.lock().save_head(&request);
                    Err(fault.at(&self.lookup.origin))
                }
            };
            looked.map(|response| self.lookup.mark(&exchange, response))
        })
    }
}

impl Looking {
    /// The answer when there is one; without one the request goes on.
    async fn look(
        &self,
        exchange: &Arc<Exchange>,
        request: &mut Request<Body>,
    ) -> Result<Option<Response<Body>>, Fault> {
        let lookup = &self.lookup;
        let Some(Ask { key, downstream, must_revalidate }) = lookup.ask(exchange, request)? else { return Ok(None) };
        let fetches = *request.method() == Method::GET && !rules::forbids_storing(request.headers());
        let found = lookup.cache.find(lookup.place, &key, request.headers(), fetches).await;
        let mut cached = Cached {
            status: CacheStatus::Miss,
            candidate: None,
            found: None,
            downstream,
            must_revalidate,
            vary: lookup.vary.clone(),
        };
        match found {
            Found::Answer(stored, how) => {
                cached.status = if how == How::Kept { CacheStatus::Hit } else { CacheStatus::Shared };
                cached.found = Some(Kept { lifetime: stored.lifetime(), age: stored.first_age() });
                exchange.state.lock().cached = Some(Arc::new(cached));
                let response = stored.answer(request.method(), request.headers(), exchange.gateway.clock.now());
                return match &self.back {
                    Some(back) => back.answer(exchange, request, response).await.map(Some),
                    None => Ok(Some(response)),
                };
            }
            Found::Missing { .. } | Found::Passing if rules::only_if_cached(request.headers()) => {
                return Err(Fault::client(StatusCode::GATEWAY_TIMEOUT, "NotCached", "The answer is not cached."));
            }
            Found::Missing { lead, at } => {
                if fetches {
                    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
                        request.headers_mut().remove(name);
                    }
                    let headers = request.headers().clone();
                    let candidate = Candidate::new(lookup.cache.clone(), lookup.place, key, *at, headers, lead);
                    cached.candidate = Some(Arc::new(candidate));
                }
            }
            Found::Passing => cached.status = CacheStatus::Pass,
        }
        exchange.state.lock().cached = Some(Arc::new(cached));
        Ok(None)
    }
}

impl Lookup {
    /// What a request asks for; nothing when it is of a kind that is not looked up, or an earlier policy has looked already.
    fn ask(&self, exchange: &Arc<Exchange>, request: &mut Request<Body>) -> Result<Option<Ask>, Fault> {
        let mut state = exchange.state.lock();
        if state.cached.is_some() {
            return Ok(None);
        }
        let cx = Context { exchange, state: &mut state, message: Message::Request(request) };
        let asked = if self.is_looked_up(&cx)? {
            let downstream = self.downstream.of(&cx)?;
            let must_revalidate = self.revalidate.as_ref().map_or(Ok(true), |condition| condition.holds(&cx))?;
            Some(Ask { key: self.key(&cx)?, downstream, must_revalidate })
        } else {
            None
        };
        if asked.is_none() {
            state.cached = Some(Arc::new(Cached::bypassed()));
        }
        Ok(asked)
    }

    fn is_looked_up(&self, cx: &Context<'_>) -> Result<bool, Fault> {
        let Message::Request(request) = &cx.message else { return Ok(false) };
        let headers = request.headers();
        let plain = matches!(*request.method(), Method::GET | Method::HEAD)
            && request.body().size_hint().exact() == Some(0)
            && !headers.contains_key(header::RANGE)
            && request.extensions().get::<WebSocket>().is_none();
        // A token that was accepted says who asks, wherever it stood.
        let is_private = headers.contains_key(header::AUTHORIZATION) || cx.state.token.is_some();
        if !plain || !is_private {
            return Ok(plain);
        }
        self.allows.as_ref().map_or(Ok(false), |condition| condition.holds(cx))
    }

    /// Everything that may make the answer another one. A cache must not be fooled by what it takes for the same (RFC 9111 §7.1).
    fn key(&self, cx: &Context<'_>) -> Result<Key, Fault> {
        let mut key = Key::default();
        let exchange = cx.exchange;
        if let Some(operation) = &exchange.operation {
            key.part(b'a', operation.api.name.as_bytes());
            key.part(b'o', operation.name.as_bytes());
        }
        if let Some(product) = &cx.state.product {
            key.part(b'P', product.name.as_bytes());
        }
        let operation = exchange.operation.as_ref();
        let backend = cx.state.backend.as_ref().or_else(|| operation.and_then(|it| it.backend.as_ref()));
        if let Some(backend) = backend {
            key.part(b'b', backend.name.as_bytes());
            key.part(b'B', backend.base_url().unwrap_or_default().as_bytes());
        }
        if let Some(connection) = cx.connection() {
            key.part(b'c', connection.name.as_bytes());
        }
        key.part(b's', exchange.scheme().as_bytes());
        key.part(b'H', exchange.authority().as_bytes());
        // What trusted proxies tell of the outside goes on to the backend, which may write links with it.
        key.part(b'f', exchange.outside.scheme.map_or("", crate::forwarded::Scheme::as_str).as_bytes());
        key.part(b'F', exchange.outside.host.as_ref().map_or(&[], HeaderValue::as_bytes));
        key.part(b'u', exchange.target.path().as_bytes());
        if let Some(uri) = cx.uri() {
            key.part(b'U', uri.path().as_bytes());
            key.query(uri.query(), self.parameters.as_deref());
        }
        if self.developer {
            let authorization = || cx.request_headers()?.get(header::AUTHORIZATION);
            if let Some(name) = cx.state.consumer() {
                key.part(b'd', name.as_bytes());
            } else if let Some(subscription) = &cx.state.subscription {
                key.part(b'D', subscription.id.as_bytes());
            } else if let Some(value) = authorization() {
                // Nobody's name is known: what it presents tells one caller from another.
                key.part(b'A', value.as_bytes());
            } else if let Some(token) = &cx.state.token {
                key.part(b'T', token.claims.to_string().as_bytes());
            } else {
                key.part(b'n', &[]);
            }
        }
        if self.groups {
            let consumer = cx.state.consumer().and_then(|name| exchange.gateway.consumers.get(name));
            let groups = consumer.and_then(|facts| facts.get("groups")).map(ToString::to_string);
            key.part(b'g', groups.unwrap_or_default().as_bytes());
        }
        if let Some(value) = &self.vary_by {
            key.part(b'v', value.text(cx)?.as_bytes());
        }
        if let Some(headers) = cx.request_headers() {
            self.headers.iter().for_each(|name| key.header(name, headers));
        }
        Ok(key)
    }

    /// Once there is an answer, or none: those who wait for one that nobody keeps wait no longer.
    fn settle(&self, exchange: &Exchange, answered: bool) {
        let cached = exchange.state.lock().cached.clone();
        if let Some(candidate) = cached.as_ref().and_then(|cached| cached.candidate.as_ref()) {
            if answered {
                candidate.settle();
            } else {
                candidate.give_up();
            }
        }
    }

    fn mark(&self, exchange: &Exchange, mut response: Response<Body>) -> Response<Body> {
        if self.tells {
            let cached = exchange.state.lock().cached.clone();
            if let Some(cached) = cached {
                let value = HeaderValue::from_static(cached.status.header());
                response.headers_mut().append(HeaderName::from_static("cache-status"), value);
            }
        }
        response
    }
}
