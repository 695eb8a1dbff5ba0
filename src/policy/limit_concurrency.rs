//! Limits how many requests may be in progress at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::quota::allowance::Told;
use super::rate_limit::Mode;
use super::value::TextValue;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, Text};
use crate::expression::Needs;
use crate::layer::ConcurrencyLayer;
use crate::layer::concurrency::Gate;
use crate::limit::{
    Admission, ConcurrencyLimit, Count, MissingKey, Permit, RemoteConcurrency, Stated, StatedKey, StatedTerms,
};
use crate::pipeline::limits::{self, Fields, Terms};
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{BoxFuture, Context, Fault, Message, Next, Origin, Step};
use crate::telemetry::metrics::LimitMetrics;

/// Limits how many requests of a key may be in progress at once, from here on: everything that comes after it, until the
/// answer's body has been passed on, a policy has read all of it, or the client has left.
///
/// A request beyond that is refused at once with 429 (reason `ConcurrencyLimitExceeded`), and on-error runs; nothing is queued. There
/// is no `Retry-After`, because nobody knows when a request in progress will end. `RateLimit` tells how many requests may be in progress
/// once this one has ended (`qu="concurrent-requests"` in `RateLimit-Policy`). See
/// [limit-concurrency](https://learn.microsoft.com/azure/api-management/limit-concurrency-policy) in Azure API Management. Requests
/// in progress count on over a reload, under a changed maximum too. A key takes memory only while one of its requests is in progress:
/// 137 bytes, so that no bound on keys is needed.
///
/// With a `[store]` all gateways count together: one round trip before, and one after that nobody waits for. The places of a gateway
/// that died are free again after 30 seconds. While the store does not answer, `on-error` of the store decides: by default each
/// gateway admits its part, `max-count / replicas`, beside what runs already.
///
/// ```toml
/// [[backend]]
/// policy    = "limit-concurrency"
/// key       = "@subscription()"
/// max-count = 10
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitConcurrency {
    /// Whose requests count together; requests for which it is empty are one such group. Evaluated when the step runs; a failure
    /// goes to on-error. Default: all requests count together.
    key: Option<Text>,
    /// How many requests of a key may be in progress. At least 1.
    max_count: NonZeroU32,
    /// Whether the limit refuses anything. Default `enforce`.
    #[serde(default)]
    mode: Mode,
    /// Its name in the `RateLimit` fields: printable ASCII. Default: the policy's `id`, else its scope with `-concurrency`
    /// (`api-concurrency`).
    name: Option<At<String>>,
    /// Which headers tell of the limit, on both outcomes; `[]` for none. `x-ratelimit-*` never do, because they cannot say what they
    /// count. Default: what `[limits] headers` of gateway.toml says, which is `["ratelimit"]` unless it says otherwise.
    headers: Option<Vec<LimitHeaders>>,
}

impl Policy for LimitConcurrency {
    const NAME: &'static str = "limit-concurrency";
    const SECTIONS: Sections = Sections::REQUEST;

    // A layer, because it has to know when everything after it has ended.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let id = cx.state_id();
        let told = Told::compile(cx, self.name.as_ref(), "-concurrency", self.mode.headers(self.headers.as_deref()));
        let told = cx.note(told);
        let key = self.key.as_ref().map(|key| TextValue::compile(key, cx)).transpose()?;
        let terms =
            Terms { unit: Some(limits::CONCURRENT_REQUESTS), ..Terms::requests(u64::from(self.max_count.get())) };
        let fields = told?.fields(terms);
        cx.world.stated.lock().push((cx.origin.clone(), self.stated(fields.is_some())));
        let entry = Entry(Arc::new(Compiled {
            key,
            fields,
            shadow: self.mode == Mode::Shadow,
            metrics: cx.world.shared.metrics.limit(&id),
            origin: cx.origin.clone(),
        }));
        let needs_body = cx.needs.contains(Needs::BODY);
        let limited: Arc<dyn Fn(Next) -> Next + Send + Sync> =
            match cx.world.limits.shared_concurrency(&id, self.max_count) {
                Some(limit) => {
                    Arc::new(move |next| Next::new(Together { entry: entry.clone(), limit: limit.clone(), next }))
                }
                None => {
                    let alone = Alone { entry, limit: cx.world.limits.concurrency(&id, self.max_count) };
                    Arc::new(move |next| Next::from_service(ConcurrencyLayer::new(alone.clone()).layer(next)))
                }
            };
        Ok(Step::layer(move |next| {
            let limited = limited(next);
            if needs_body { limited.buffered(None) } else { limited }
        }))
    }
}

impl LimitConcurrency {
    /// What is said about the limit, for who tests it.
    fn stated(&self, told: bool) -> Stated {
        Stated {
            terms: StatedTerms::Concurrency(self.max_count),
            tokens: None,
            key: self.key.as_ref().map_or(StatedKey::All, |key| StatedKey::Written(key.0.clone())),
            missing_key: MissingKey::OneKey,
            cost: Some(1),
            count: Some(Count::Admitted),
            shadow: self.mode == Mode::Shadow,
            delays: false,
            told,
            api: None,
            operation: None,
        }
    }
}

#[derive(Clone)]
struct Entry(Arc<Compiled>);

struct Compiled {
    key: Option<TextValue>,
    /// What is said of it, when anybody is told.
    fields: Option<Arc<Fields>>,
    shadow: bool,
    metrics: LimitMetrics,
    origin: Arc<Origin>,
}

impl Entry {
    /// Reads the key of a request.
    fn with_key<T>(&self, request: &mut Request<Body>, then: impl FnOnce(&str) -> T) -> Result<T, Fault> {
        let Some(key) = &self.0.key else { return Ok(then("")) };
        let exchange = exchange_of(request)?;
        let mut state = exchange.state.lock();
        let cx = Context { exchange: &exchange, state: &mut state, message: Message::Request(request) };
        let key = key.text(&cx).map_err(|fault| fault.at(&self.0.origin))?;
        Ok(then(&key))
    }

    /// Counts the outcome and tells of it; no permit is a refusal.
    fn conclude(&self, request: &Request<Body>, admission: Admission) -> Result<Permit, Fault> {
        let Compiled { metrics, origin, fields, shadow, .. } = &*self.0;
        if let Some(fields) = fields {
            exchange_of(request)?.state.lock().tell(fields, &admission);
        }
        if let Some(permit) = admission.permit {
            metrics.admitted.inc();
            return Ok(permit);
        }
        if *shadow {
            metrics.shadow_refused.inc();
            return Ok(Permit::uncounted());
        }
        metrics.refused.inc();
        exchange_of(request)?.state.lock().save_head(request);
        let message = "Concurrency limit is exceeded";
        Err(Fault::client(StatusCode::TOO_MANY_REQUESTS, "ConcurrencyLimitExceeded", message)
            .public("Too many requests are in progress. Try again later.")
            .by_limit()
            .at(origin))
    }
}

// === impl Gate ===

/// Counts in memory: at once.
#[derive(Clone)]
struct Alone {
    entry: Entry,
    limit: ConcurrencyLimit,
}

impl Gate<Body, Body, Fault> for Alone {
    type Held = Body;

    fn admit(&self, request: &mut Request<Body>) -> Result<Permit, Fault> {
        let admission = self.entry.with_key(request, |key| self.limit.enter(key))?;
        self.entry.conclude(request, admission)
    }

    fn hold(&self, body: Body, permit: Permit) -> Body {
        body.holding(permit)
    }
}

// === impl Serve ===

/// Counts together with other gateways: in a store, which has to be asked.
struct Together {
    entry: Entry,
    limit: RemoteConcurrency,
    next: Next,
}

impl Serve for Together {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let key = self.entry.with_key(&mut request, str::to_owned)?;
            let admission = self.limit.enter(&key).await;
            let permit = self.entry.conclude(&request, admission)?;
            let response = self.next.clone().call(request).await?;
            Ok(response.map(|body| body.holding(permit)))
        })
    }
}
