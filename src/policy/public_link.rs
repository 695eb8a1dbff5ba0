//! Links to the backend as callers follow them: through the gateway.

use std::borrow::Cow;
use std::sync::Arc;

use http::Uri;

use super::set_backend_service::AllowedHost;
use crate::backend::Endpoint;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::gateway::Backend;
use crate::pipeline::{Context, Exchange};
use crate::routing::{self, Way, query};
use crate::server::authority::Authority;

/// What is changed of a link, and which links are.
pub(super) struct LinkRules {
    /// Hosts that stand for the backend beside its own.
    hosts: Vec<AllowedHost>,
    /// Query parameters that are taken out.
    removed: Vec<String>,
}

impl LinkRules {
    /// Compiles the keys that policies about links share.
    pub(super) fn compile(
        hosts: &[At<String>],
        removed: Vec<String>,
        cx: &CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        let hosts = hosts.iter().map(|host| AllowedHost::parse(host, cx)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, removed })
    }
}

/// How a request came and where it went.
pub(super) struct Links<'a> {
    rules: &'a LinkRules,
    exchange: &'a Exchange,
    backend: Arc<Backend>,
    /// Scheme, host and base path that callers use.
    public: String,
    /// The path that the backend was asked for, below its base path.
    sent: String,
}

impl<'a> Links<'a> {
    /// For the exchange; none where no backend was called.
    pub(super) fn of(rules: &'a LinkRules, cx: &Context<'a>) -> Option<Self> {
        let exchange = cx.exchange;
        let backend = cx.state.upstream.backend.clone()?;
        let sent = cx.uri().map(|uri| uri.path().to_owned()).unwrap_or_default();
        Some(Self::new(rules, exchange, backend, sent))
    }

    /// For a request that this backend was sent, below its base path.
    pub(super) fn new(rules: &'a LinkRules, exchange: &'a Exchange, backend: Arc<Backend>, sent: String) -> Self {
        let public = format!("{}{}", exchange.public_origin(), exchange.base_path().trim_end_matches('/'));
        Self { rules, exchange, backend, public, sent }
    }

    /// What to ask the backend for in order to follow a link: path and query below its base path. None when the link leads elsewhere.
    pub(super) fn target(&self, link: &str) -> Option<String> {
        let link = link.trim();
        let link = link.split('#').next().unwrap_or_default();
        let (target, query) = link.split_once('?').map_or((link, None), |(target, query)| (target, Some(query)));
        let mut all = query.unwrap_or_default().to_owned();
        let path = self.inside(target, query).or_else(|| self.is_own(target).then(|| self.sent.clone()))?;
        self.clean(&mut all);
        let mark = if all.is_empty() { "" } else { "?" };
        Some(format!("{path}{mark}{all}"))
    }

    /// Whether a URL is the one that the caller asked for.
    fn is_own(&self, target: &str) -> bool {
        let own = format!("{}{}", self.exchange.public_origin(), self.exchange.target.path());
        own == target
    }

    /// The authorities of the backend, as links have them after `://`: what to look for in a text.
    pub(super) fn is_backend(&self, scheme: &str, authority: &str) -> bool {
        self.base(scheme, authority).is_some()
    }

    /// The link as callers follow it; none when it is none to the backend, and stays as it is.
    pub(super) fn public(&self, link: &str) -> Option<String> {
        let link = link.trim();
        let (link, fragment) = link.find('#').map_or((link, ""), |at| link.split_at(at));
        let (target, query) = link.split_once('?').map_or((link, None), |(target, query)| (target, Some(query)));
        let inside = self.inside(target, query)?;
        let mut all = query.unwrap_or_default().to_owned();
        let mut public = self.lead(&inside, query, &mut all);
        self.clean(&mut all);
        if !all.is_empty() {
            public.push(if public.contains('?') { '&' } else { '?' });
            public.push_str(&all);
        }
        public.push_str(fragment);
        Some(public)
    }

    /// The public URL of a path below the base path of the backend. What tells the operation stands there once: the query that is left for it
    /// loses parameters of that name, and those that have become a part of the path.
    fn lead(&self, inside: &str, query: Option<&str>, left: &mut String) -> String {
        let way = self.way(inside, query);
        let operation = self.exchange.operation.as_ref().map(|operation| &operation.template);
        // Several operations may be sent to one path, and some are sent where only a request tells: the caller's own path leads there for certain,
        // unless the link has other values for it.
        let is_told = || operation.zip(way.as_ref()).is_some_and(|(operation, way)| way.is_told_by_query(operation));
        if inside == self.sent && !is_told() {
            return format!("{}{}", self.exchange.public_origin(), self.asked(left));
        }
        let Some(way) = way else { return format!("{}{inside}", self.public) };
        query::retain(left, |pair| !way.tells(&pair.name()));
        if let Some((_, telling)) = way.target.split_once('?') {
            remove_all(left, telling);
        }
        format!("{}{}", self.public, way.target)
    }

    /// The path that the caller asked for, with those parameters of the query that told the operation. A link to the same path of the
    /// backend may tell another one.
    fn asked(&self, left: &mut String) -> String {
        let target = &self.exchange.target;
        let operation = self.exchange.operation.as_ref();
        let mut telling = target.query().unwrap_or_default().to_owned();
        query::retain(&mut telling, |pair| operation.is_some_and(|own| own.template.has_query_parameter(&pair.name())));
        if self.exchange.operation_path() == self.sent {
            query::retain(&mut telling, |pair| query::find(left, &pair.name()).is_none());
        } else {
            remove_all(left, &telling);
        }
        let mark = if telling.is_empty() { "" } else { "?" };
        format!("{}{mark}{telling}", target.path())
    }

    fn way(&self, inside: &str, query: Option<&str>) -> Option<Way<'_>> {
        self.exchange.way_back()?.find(&self.exchange.method, inside, query)
    }

    /// The path below the base path of the backend that a link leads to.
    fn inside(&self, target: &str, query: Option<&str>) -> Option<String> {
        if target.is_empty() {
            return Some(self.sent.clone());
        }
        let (base, path) = if let Some(rest) = target.strip_prefix("//") {
            self.absolute(&format!("{}://{rest}", self.endpoint()?.scheme()))?
        } else if target.starts_with('/') {
            (Base::Backend(self.endpoint()?.base_path()), Cow::Borrowed(target))
        } else if target.split('/').next().is_some_and(|first| first.contains(':')) {
            self.absolute(target).map(|(base, path)| (base, Cow::Owned(path.into_owned())))?
        } else {
            let base = self.endpoint()?.base_path();
            let folder = self.sent.rsplit_once('/').map_or("", |(folder, _)| folder);
            (Base::Backend(base), Cow::Owned(format!("{base}{folder}/{target}")))
        };
        let path = routing::normalise(&path).ok()?;
        let below = |base: &str| {
            let rest = path.strip_prefix(base)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(if rest.is_empty() { "/" } else { rest })
        };
        match base {
            Base::Backend(base) => below(base).map(str::to_owned),
            // A backend that knows the public address may write public paths too, and those are right as they are.
            Base::Gateway(base) => {
                let inside = below(base)?;
                let is_backends = !base.is_empty() || inside == self.sent || self.way(inside, query).is_some();
                is_backends.then(|| inside.to_owned())
            }
        }
    }

    /// The base path of an absolute URL to the backend, and its path.
    fn absolute(&self, url: &str) -> Option<(Base<'_>, Cow<'static, str>)> {
        let url: Uri = url.parse().ok()?;
        let base = self.base(url.scheme_str()?, url.authority()?.as_str())?;
        Some((base, Cow::Owned(url.path().to_owned())))
    }

    fn base(&self, scheme: &str, authority: &str) -> Option<Base<'_>> {
        let default = default_port(scheme)?;
        let value = http::HeaderValue::from_str(authority).ok()?;
        let named = Authority::parse(&value)?;
        let (host, port) = (named.host(), named.port().unwrap_or(default));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut endpoints = self.backend.endpoints().iter().map(|target| &*target.endpoint);
        // A server behind something that ends TLS does not know the scheme it is reached by.
        let same = |endpoint: &&Endpoint| {
            let usual = default_port(endpoint.scheme()) == Some(endpoint.port());
            bare.eq_ignore_ascii_case(endpoint.host()) && (port == endpoint.port() || port == default && usual)
        };
        if let Some(endpoint) = endpoints.find(same) {
            return Some(Base::Backend(endpoint.base_path()));
        }
        let first = self.endpoint()?.base_path();
        if self.rules.hosts.iter().any(|known| known.matches(host, port, default)) {
            return Some(Base::Backend(first));
        }
        let own = [self.exchange.authority(), &*self.exchange.public_authority()].contains(&named.as_str());
        own.then_some(Base::Gateway(first))
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.backend.endpoints().first().map(|target| &*target.endpoint)
    }

    /// Takes out what callers are not to see: the gateway's own credentials, which backends repeat in their links.
    fn clean(&self, query: &mut String) {
        for name in &self.rules.removed {
            query::remove(query, name);
        }
        for (name, _) in self.backend.credentials.iter().flat_map(|own| &own.query) {
            query::remove(query, name);
        }
    }
}

/// Takes the parameters of one query out of another.
fn remove_all(query: &mut String, others: &str) {
    for pair in query::pairs(others) {
        query::remove(query, &pair.name());
    }
}

/// Whose address a link has, and the base path of the backend.
enum Base<'a> {
    Backend(&'a str),
    Gateway(&'a str),
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ => None,
    }
}
