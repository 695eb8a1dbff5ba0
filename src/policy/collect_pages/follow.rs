//! One page after the other, until there is none, or a bound is met.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{Extensions, Method, Request, Response, StatusCode, Uri};
use tower_service::Service as _;

use super::Plan;
use super::page::{Onward, Page};
use crate::body::{Body, BodyError, coding};
use crate::clock::Nanos;
use crate::json::Node;
use crate::pipeline::chain::{AnsweredEarly, Back};
use crate::pipeline::exchange::upstream_body;
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{BoxFuture, Exchange, Fault, Message, Next};
use crate::policy::public_link::Links;
use crate::routing::query;

const PAGES: HeaderName = HeaderName::from_static("x-collected-pages");
const PARTIAL: HeaderName = HeaderName::from_static("x-collected-partial");

/// Request headers that ask for something else than a whole page.
const ASKING_FOR_LESS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Response headers that are true of the first page alone.
const OF_ONE_PAGE: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::ETAG,
    header::LAST_MODIFIED,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The policy in front of what calls the backend.
pub(super) struct Collect {
    pub(super) plan: Arc<Plan>,
    pub(super) next: Next,
}

impl Serve for Collect {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        if request.method() != Method::GET {
            return self.next.clone().call(request);
        }
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            self.run(&exchange, request).await.map_err(|fault| fault.at(&self.plan.origin))
        })
    }

    fn back(&self) -> Option<Arc<Back>> {
        self.next.back()
    }
}

/// Why a collection ends before its last page.
enum Stop {
    /// A bound of the policy.
    Bound(&'static str),
    /// A page that cannot be had.
    Failed(Fault),
}

impl Collect {
    async fn run(&self, exchange: &Arc<Exchange>, mut request: Request<Body>) -> Result<Response<Body>, Fault> {
        let due = self.plan.clock.now() + self.plan.bounds.time;
        // What was compressed could not be joined.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let original = Original::of(&request);
        let mut response = self.next.clone().call(request).await?;
        if response.status() != StatusCode::OK || is_unreadable(response.headers()) || is_early(&response) {
            return Ok(response);
        }
        exchange.read(&mut Message::Response(&mut response)).await?;
        let first = response.body().bytes().cloned().unwrap_or_default();
        let Some(mut all) = Page::read(response.headers(), &first, &self.plan.shape) else { return Ok(response) };
        if all.onward.is_none() && !self.plan.shape.bare {
            response.headers_mut().insert(PAGES, HeaderValue::from_static("1"));
            return Ok(response);
        }
        // Sections behind this one read the request that the caller made, not the one for the last page.
        let head = exchange.state.lock().head.clone();
        let collected = self.collect(exchange, original, &mut all, first.len(), due).await;
        if head.is_some() {
            exchange.state.lock().head = head;
        }
        let (pages, stop) = collected;
        let partial = match stop {
            None => None,
            Some(Stop::Bound(bound)) if self.plan.partial_at_bound => Some(bound),
            Some(Stop::Bound(bound)) => return Err(failed(pages + 1, BAD_GATEWAY, &format!("`{bound}` is met"))),
            Some(Stop::Failed(fault)) if self.plan.partial_on_error => {
                let id = exchange.request_id.to_str().unwrap_or_default();
                tracing::warn!(request_id = id, policy = "collect-pages", "a part of the pages is answered: {fault}");
                Some("error")
            }
            Some(Stop::Failed(fault)) => return Err(fault),
        };
        let headers = response.headers_mut();
        for name in OF_ONE_PAGE {
            headers.remove(name);
        }
        headers.insert(PAGES, HeaderValue::from(pages));
        if let Some(partial) = partial {
            headers.insert(PARTIAL, HeaderValue::from_static(partial));
        }
        let all = all.finish(&self.plan.shape, headers);
        *response.body_mut() = Body::json(all);
        Ok(response)
    }

    /// Adds the pages that follow, and tells how many there are, and why not all.
    async fn collect(
        &self,
        exchange: &Arc<Exchange>,
        original: Original,
        all: &mut Page,
        first: usize,
        due: Nanos,
    ) -> (u32, Option<Stop>) {
        let (plan, bounds) = (&*self.plan, &self.plan.bounds);
        let mut left = bounds.bytes.min(exchange.gateway.settings.buffer_size).saturating_sub(first as u64);
        let mut seen = HashSet::from([original.target().to_owned()]);
        let mut pages = 1;
        while let Some(onward) = &all.onward {
            let bound = match () {
                () if pages >= bounds.pages => Some("max-pages"),
                () if all.count >= bounds.items => Some("max-items"),
                () if plan.clock.now() >= due => Some("max-time"),
                () => None,
            };
            if let Some(bound) = bound {
                return (pages, Some(Stop::Bound(bound)));
            }
            let request = match original.page(plan, exchange, onward, &mut seen) {
                Ok(request) => request,
                Err(why) => return (pages, Some(Stop::Failed(failed(pages + 1, BAD_GATEWAY, &why)))),
            };
            let got = tokio::select! {
                biased;
                got = self.fetch(request, pages + 1, left) => got,
                () = plan.clock.sleep_until(due) => Err(Stop::Bound("max-time")),
            };
            match got {
                Ok((page, length)) => {
                    all.add(page, &plan.shape);
                    left = left.saturating_sub(length as u64);
                    pages += 1;
                }
                Err(stop) => return (pages, Some(stop)),
            }
        }
        (pages, None)
    }

    /// One page, and how long its body is.
    async fn fetch(&self, request: Request<Body>, number: u32, left: u64) -> Result<(Page, usize), Stop> {
        let response = self.next.clone().call(request).await.map_err(|mut fault| {
            fault.message = format!("page {number}: {}", fault.message).into();
            Stop::Failed(fault)
        })?;
        let status = response.status();
        if status != StatusCode::OK {
            let kept = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            let answer = if kept { status } else { BAD_GATEWAY };
            let mut fault = failed(number, answer, &format!("the backend answered {status}"));
            if let Some(wait) = response.headers().get(RETRY_AFTER).filter(|_| kept) {
                fault = fault.header(RETRY_AFTER, wait.clone());
            }
            return Err(Stop::Failed(fault));
        }
        if is_unreadable(response.headers()) {
            return Err(Stop::Failed(failed(number, BAD_GATEWAY, "it is compressed in a way that is not read")));
        }
        let (head, body) = response.into_parts();
        let read = body.buffer(left).await.and_then(|text| coding::decode(&head.headers, &text, left));
        let text = match read {
            Ok(text) => text,
            Err(BodyError::TooLarge { .. }) => return Err(Stop::Bound("max-bytes")),
            Err(error) => {
                let mut fault = upstream_body(error);
                fault.message = format!("page {number}: {}", fault.message).into();
                return Err(Stop::Failed(fault));
            }
        };
        let page = Page::read(&head.headers, &text, &self.plan.shape);
        let none = || Stop::Failed(failed(number, BAD_GATEWAY, "the backend answered with something else"));
        page.map(|page| (page, text.len())).ok_or_else(none)
    }
}

/// The request for the first page, of which the others are copies.
struct Original {
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Original {
    fn of(request: &Request<Body>) -> Self {
        let mut headers = request.headers().clone();
        for name in ASKING_FOR_LESS.into_iter().chain([header::CONTENT_LENGTH, header::CONTENT_TYPE]) {
            headers.remove(name);
        }
        Self { uri: request.uri().clone(), headers, extensions: request.extensions().clone() }
    }

    fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// The request for the page that a link or a cursor leads to, or why there is none.
    fn page(
        &self,
        plan: &Plan,
        exchange: &Exchange,
        onward: &Node,
        seen: &mut HashSet<String>,
    ) -> Result<Request<Body>, Cow<'static, str>> {
        let said = onward.to_text();
        let target = match &plan.shape.onward {
            Onward::Link(_) | Onward::Header(_) => {
                let backend = exchange.state.lock().upstream.backend.clone().ok_or("no backend was called")?;
                let links = Links::new(&plan.rules, exchange, backend, self.uri.path().to_owned());
                links.target(&said).ok_or("its link does not lead to the backend")?
            }
            Onward::Cursor { parameter, .. } => {
                let mut query = self.uri.query().unwrap_or_default().to_owned();
                query::set(&mut query, parameter, [&*said]);
                format!("{}?{query}", self.uri.path())
            }
        };
        let uri = PathAndQuery::from_maybe_shared(Bytes::from(target.clone()));
        let uri = uri.map_err(|_| "its link is none")?;
        if !seen.insert(target) {
            return Err("the backend leads in a circle".into());
        }
        let mut request = Request::new(Body::Empty);
        *request.uri_mut() = Uri::from(uri);
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        Ok(request)
    }
}

/// Whether a page is compressed in a way that is not read.
fn is_unreadable(headers: &HeaderMap) -> bool {
    coding::is_coded(headers) && !coding::is_readable(headers)
}

/// Whether a policy answered, and no backend.
fn is_early(response: &Response<Body>) -> bool {
    response.extensions().get::<AnsweredEarly>().is_some()
}

const BAD_GATEWAY: StatusCode = StatusCode::BAD_GATEWAY;

#[cold]
fn failed(page: u32, status: StatusCode, message: &str) -> Fault {
    let mut fault = Fault::upstream(status, "PageFailed", format!("page {page}: {message}"))
        .public(format!("Page {page} of the answer could not be fetched."));
    fault.source = "";
    fault
}
