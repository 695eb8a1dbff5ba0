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
use crate::routing::{self, query};
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
        let (target, query) = link.find('?').map_or((link, ""), |at| link.split_at(at));
        let mut all = query.strip_prefix('?').unwrap_or_default().to_owned();
        let path = self.inside(target).or_else(|| self.is_own(target).then(|| self.sent.clone()))?;
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
        let (target, query) = link.find('?').map_or((link, ""), |at| link.split_at(at));
        let path = self.inside(target)?;
        let public = self.path(&path)?;
        let mut all = query.strip_prefix('?').unwrap_or_default().to_owned();
        self.clean(&mut all);
        let mut mark = "?";
        // What tells the operation stands there once: the backend's own parameter of that name is not sent to it again.
        if let Some((_, telling)) = public.split_once('?') {
            for pair in query::pairs(telling) {
                query::remove(&mut all, &pair.name());
            }
            mark = "&";
        }
        let mark = if all.is_empty() { "" } else { mark };
        Some(format!("{public}{mark}{all}{fragment}"))
    }

    /// The public URL of a path below the base path of the backend.
    fn path(&self, inside: &str) -> Option<String> {
        if inside == self.sent {
            return Some(format!("{}{}", self.exchange.public_origin(), self.asked()));
        }
        let back = self.exchange.way_back().and_then(|way| way.find(&self.exchange.method, inside));
        Some(format!("{}{}", self.public, back.as_deref().unwrap_or(inside)))
    }

    /// The path that the caller asked for, with those parameters of the query that told the operation.
    fn asked(&self) -> String {
        let target = &self.exchange.target;
        let template = self.exchange.operation.as_ref().and_then(|own| own.template.as_str().split_once('?'));
        let mut telling = target.query().unwrap_or_default().to_owned();
        query::retain(&mut telling, |pair| template.is_some_and(|(_, own)| query::find(own, &pair.name()).is_some()));
        let mark = if telling.is_empty() { "" } else { "?" };
        format!("{}{mark}{telling}", target.path())
    }

    /// The path below the base path of the backend that a link without query leads to.
    fn inside(&self, target: &str) -> Option<String> {
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
                let known = || self.exchange.way_back().and_then(|way| way.find(&self.exchange.method, inside));
                let is_backends = !base.is_empty() || inside == self.sent || known().is_some();
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
