//! Chooses the backend of the request.

use std::sync::Arc;

use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;

use super::unfit::{self, Made, Unfit};
use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::BackendSpec;
use crate::config::{At, Text};
use crate::expression::Given;
use crate::gateway::Backend;
use crate::gateway::backend::{self, Transient};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};
use crate::routing::{self, HostPattern};

/// Chooses the backend of the request, in place of the operation's; see
/// [set-backend-service](https://learn.microsoft.com/azure/api-management/set-backend-service-policy) in Azure API Management.
///
/// Path and query stay as they are after the API's base path was taken off.
///
/// ```toml
/// [[inbound]]
/// policy        = "set-backend-service"
/// base-url      = "https://@{headers('x-region')}.erp.contoso.com/v1"
/// allowed-hosts = ["*.erp.contoso.com"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetBackendService {
    /// The name of a backend, or an expression that gives one. Evaluated when the step runs; a failure, and a name that no
    /// backend has, goes to on-error. Either this or `base-url`.
    backend: Option<Text>,
    /// The base URL of the backend, `http` or `https`; its path comes before the request's. Evaluated when the step runs; a
    /// failure, and what is no such URL, goes to on-error: see `dynamic-host-url`. A URL that is not an expression has the defaults of `[backends.NAME]`.
    base_url: Option<Text>,
    /// The hosts that a `base-url` with an expression may name; another one is answered with 403 (`BackendHostNotAllowed`). Needed there, because a URL that is
    /// made from a request could otherwise reach anything that the gateway can. Each is a host name or an address, or `*.` and a name for all below it, with
    /// the default port of the URL's scheme unless it says another (`erp.contoso.com:8443`) or any (`:*`).
    allowed_hosts: Option<Vec<At<String>>>,
}

impl Policy for SetBackendService {
    const NAME: &'static str = "set-backend-service";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let value = match (&self.backend, &self.base_url) {
            (Some(value), None) | (None, Some(value)) => TextValue::compile(value, cx)?,
            (Some(_), Some(_)) => {
                return Err(CompileError::whole("both `backend` and `base-url` are given").hint("give one of them"));
            }
            (None, None) => {
                return Err(CompileError::whole("missing key `backend`")
                    .code("missing-key")
                    .hint("the name of a backend, or `base-url`"));
            }
        };
        let literal = value.literal().map(str::to_owned);
        if let (Some(url), None) = (&self.base_url, &literal) {
            let Some(hosts) = self.allowed_hosts.filter(|hosts| !hosts.is_empty()) else {
                return Err(CompileError::at(url, "a `base-url` with an expression needs `allowed-hosts`").hint(
                    "the hosts it may name, for example `allowed-hosts = [\"*.erp.contoso.com\"]`; without it a \
                     caller could reach anything that the gateway can",
                ));
            };
            let chosen = ChosenUrl::new(url, Some(&hosts), cx)?;
            return Ok(Step::sync(Evaluated { url: value, chosen }));
        }
        if let Some(host) = self.allowed_hosts.iter().flatten().next() {
            return Err(CompileError::at(host, "`allowed-hosts` goes with a `base-url` that is an expression"));
        }
        match (&self.backend, &self.base_url, literal) {
            (Some(name), _, Some(literal)) => {
                let backend = cx.backend(&At { value: literal, span: name.span.clone() })?;
                Ok(Step::sync(Fixed(backend)))
            }
            (_, Some(url), Some(literal)) => Ok(Step::sync(Fixed(literal_backend(url, &literal, cx)?))),
            _ => Ok(Step::sync(Named(value))),
        }
    }
}

/// The backend at a URL that is the same for every request.
pub(super) fn literal_backend(url: &Text, literal: &str, cx: &CompileCx<'_, '_>) -> Result<Arc<Backend>, CompileError> {
    let spec =
        BackendSpec { url: Some(At { value: literal.to_owned(), span: url.span.clone() }), ..BackendSpec::default() };
    let backend = backend::build(literal, &spec, None, cx.world.folder.as_deref(), &cx.world.shared);
    backend.map(Arc::new).map_err(|error| CompileError {
        span: error.span,
        code: error.code,
        message: error.message,
        hint: error.hint,
    })
}

// === impl Apply ===

struct Fixed(Arc<Backend>);

impl Apply for Fixed {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.state.backend = Some(self.0.clone());
        Ok(Flow::Next)
    }
}

struct Named(TextValue);

impl Apply for Named {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let name = self.0.text(cx)?;
        let backends = &cx.exchange.gateway.backends;
        let found = backends.binary_search_by(|backend| (*backend.name).cmp(&*name)).ok();
        let Some(backend) = found.and_then(|at| backends.get(at)) else {
            return Err(Fault::internal("BackendNotFound", "the result is not the name of a backend"));
        };
        let backend = backend.clone();
        cx.state.backend = Some(backend);
        Ok(Flow::Next)
    }
}

struct Evaluated {
    url: TextValue,
    chosen: ChosenUrl,
}

impl Apply for Evaluated {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let backend = {
            let url = self.url.text(cx)?;
            self.chosen.backend(&url, &self.url, cx)?
        };
        cx.state.backend = Some(backend);
        Ok(Flow::Next)
    }
}

/// Backends at URLs that only requests tell.
pub(super) struct ChosenUrl {
    /// The hosts that may be called; none for any.
    allowed: Option<Vec<AllowedHost>>,
    backends: Transient,
}

impl ChosenUrl {
    /// Backends on the allowed hosts. `written` is what the policy has for the URL.
    pub(super) fn new(
        written: &Text,
        hosts: Option<&[At<String>]>,
        cx: &CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        let parse = |hosts: &[At<String>]| hosts.iter().map(|host| AllowedHost::parse(host, cx)).collect();
        let allowed = hosts.map(parse).transpose()?;
        Ok(Self { allowed, backends: Transient::new(written, cx.world.shared.clone()) })
    }

    /// The backend at a URL, which is what `made_of` gives, maybe with a query behind it.
    pub(super) fn backend(&self, url: &str, made_of: &TextValue, cx: &Context<'_>) -> Result<Arc<Backend>, Fault> {
        // Only what was allowed is among the known ones.
        match self.backends.known(url) {
            Some(backend) => Ok(backend),
            None => self.new_backend(url, made_of, cx),
        }
    }

    #[cold]
    fn new_backend(&self, url: &str, made_of: &TextValue, cx: &Context<'_>) -> Result<Arc<Backend>, Fault> {
        let end = end_of_host(url);
        let in_host = made_of.sources_until(cx, end.unwrap_or(usize::MAX));
        // `r@headers('region').contoso.com` is a host also without the region, and not the one that is meant.
        if let Some(source) = in_host.iter().find(|it| !it.has_default && it.given != Given::Text) {
            return Err(unfit::missing(source, Made::Address, cx));
        }
        self.check(&url[..end.unwrap_or(url.len())]).map_err(|unfit| unfit.fault(Made::Address, &in_host, cx))?;
        let add = |checked: Uri| self.backends.add(url, &checked).map_err(|error| invalid(&error.to_string()));
        self.check(url).and_then(add).map_err(|unfit| {
            let behind = &made_of.sources(cx)[in_host.len()..];
            unfit.fault(Made::Address, if behind.is_empty() { &in_host } else { behind }, cx)
        })
    }

    /// The URL, when it may be called; its path normalised, so that it means what it says.
    fn check(&self, text: &str) -> Result<Uri, Unfit> {
        let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(invalid("it has no scheme or no host"));
        };
        let port = authority.port_u16();
        // What is no number is taken for no port.
        let written = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest).rsplit_once(':');
        if port.is_none() && written.is_some_and(|(_, port)| !port.is_empty()) {
            return Err(invalid("its port is not a number"));
        }
        let default_port = if scheme == "https" { 443 } else { 80 };
        let host = authority.host().to_ascii_lowercase();
        if !is_host(&host) {
            return Err(invalid("its host is none"));
        }
        let port = port.unwrap_or(default_port);
        if self.allowed.as_ref().is_some_and(|all| !all.iter().any(|one| one.matches(&host, port, default_port))) {
            return Err(Unfit::NotAllowed);
        }
        if url.query().is_some() {
            return Err(invalid("it has a query"));
        }
        let path = routing::normalise(url.path()).map_err(|error| invalid(&error.to_string()))?;
        format!("{scheme}://{}{path}", authority.as_str().to_ascii_lowercase())
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))
    }
}

#[cold]
fn invalid(cause: &str) -> Unfit {
    Unfit::Invalid(cause.to_owned())
}

/// Where the host of a URL ends, if it has one.
fn end_of_host(url: &str) -> Option<usize> {
    let start = url.find("://")? + 3;
    Some(url[start..].find(['/', '?']).map_or(url.len(), |at| start + at))
}

/// Whether a host may be one: no label of a name is empty, and none begins or ends with `-` (RFC 1123 §2.1), as one does when a value beside it
/// is missing.
fn is_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    host.starts_with('[') || name.split('.').all(|it| !it.is_empty() && !it.starts_with('-') && !it.ends_with('-'))
}

/// A host that a base URL may name.
pub(super) struct AllowedHost {
    host: HostPattern,
    port: AllowedPort,
}

enum AllowedPort {
    Default,
    Only(u16),
    Any,
}

impl AllowedHost {
    pub(super) fn parse(text: &At<String>, cx: &CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text.as_str(), None),
        };
        let port = match port {
            None => AllowedPort::Default,
            Some("*") => AllowedPort::Any,
            Some(port) => AllowedPort::Only(port.parse().map_err(|_| {
                CompileError::at(text, format!("`{port}` is not a port")).hint("a number, or `*` for any port")
            })?),
        };
        let host = HostPattern::parse(host).map_err(|error| cx.template_error(text, error))?;
        if host == HostPattern::Any {
            return Err(CompileError::at(text, "`*` would allow every host, also those inside the network")
                .hint("`*.contoso.com` allows every host below a name"));
        }
        Ok(Self { host, port })
    }

    /// Whether a host, in lower case, and a port may be called.
    pub(super) fn matches(&self, host: &str, port: u16, default_port: u16) -> bool {
        let host_matches = match &self.host {
            HostPattern::Any => false,
            HostPattern::Exact(name) => host == &**name,
            HostPattern::Suffix(suffix) => host.strip_suffix(&**suffix).is_some_and(|labels| {
                !labels.is_empty() && labels.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            }),
        };
        let port_matches = match self.port {
            AllowedPort::Default => port == default_port,
            AllowedPort::Only(only) => port == only,
            AllowedPort::Any => true,
        };
        host_matches && port_matches
    }
}
