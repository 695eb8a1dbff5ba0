//! Chooses scheme, host and base path of the request by a URL.

use http::Uri;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use super::set_backend_service::{ChosenUrl, literal_backend};
use super::unfit::{Made, Unfit};
use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::Needs;
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};
use crate::routing::query;

/// Chooses scheme, host and base path of the request, in place of the backend's: the connector template
/// [dynamichosturl](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/dynamichosturl/dynamichosturl).
///
/// The whole base URL is replaced, its path too. Path and query of the request stay. The last one that runs decides.
///
/// A header or a query parameter that the URL is made of and that is missing, or makes no URL, is answered with 400 and its name
/// (`RequestValueMissing`, `RequestValueInvalid`). A parameter of the connection is configuration: 500 with its name (`ConnectionIncomplete`), and
/// the log says which connection and which policy; a call that has no connection at all is answered with 403 (`ConnectionNotFound`).
///
/// ```toml
/// [[inbound]]
/// policy = "dynamic-host-url"
/// url    = "https://@connectionParameters('region', 'eu').contoso.com/api"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DynamicHostUrl {
    /// The base URL, `http` or `https`, with the path that comes before the request's. A `/` at its end makes no difference. A query in it comes
    /// before the request's. Evaluated when the step runs; a failure, and what is no such URL, goes to on-error.
    url: Text,
    /// The hosts that the URL may name; another one is answered with 403 (`BackendHostNotAllowed`). Each is a host name or an address, or `*.` and a name for all below it,
    /// with the default port of the URL's scheme unless it says another (`erp.contoso.com:8443`) or any (`:*`). Needed when the URL
    /// reads the request, because such a URL could otherwise reach anything that the gateway can. Default: any host, for a URL
    /// that reads nothing but the parameters of connections.
    allowed_hosts: Option<Vec<At<String>>>,
}

impl Policy for DynamicHostUrl {
    const NAME: &'static str = "dynamic-host-url";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        base_url(&self.url, self.allowed_hosts, cx)
    }
}

/// Compiles the policy, under either of its names.
pub(super) fn base_url(
    url: &Text,
    hosts: Option<Vec<At<String>>>,
    cx: &mut CompileCx<'_, '_>,
) -> Result<Step, CompileError> {
    let value = TextValue::compile(url, cx)?;
    if let Some(literal) = value.literal() {
        if let Some(host) = hosts.iter().flatten().next() {
            return Err(CompileError::at(host, "`allowed-hosts` goes with a `url` that is an expression"));
        }
        let (base, query) = split(literal);
        let backend = literal_backend(url, base, cx)?;
        let query = query.to_owned();
        return Ok(Step::sync(Compiled { target: Target::Fixed(backend), query }));
    }
    let hosts = hosts.filter(|hosts| !hosts.is_empty());
    if hosts.is_none() && !Needs::CONNECTION.contains(value.needs()) {
        return Err(CompileError::at(url, "a `url` that reads the request needs `allowed-hosts`").hint(
            "the hosts it may name, for example `allowed-hosts = [\"*.contoso.com\"]`; without it a caller could reach \
             anything that the gateway can",
        ));
    }
    let chosen = ChosenUrl::new(url, hosts.as_deref(), cx)?;
    Ok(Step::sync(Compiled { target: Target::Evaluated(value, chosen), query: String::new() }))
}

/// The base URL without a slash at its end, and the query.
fn split(url: &str) -> (&str, &str) {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    (base.trim().trim_end_matches('/'), query)
}

// === impl Apply ===

struct Compiled {
    target: Target,
    query: String,
}

enum Target {
    Fixed(std::sync::Arc<crate::gateway::Backend>),
    Evaluated(TextValue, ChosenUrl),
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let (backend, query) = match &self.target {
            Target::Fixed(backend) => (backend.clone(), self.query.clone()),
            Target::Evaluated(url, chosen) => {
                let text = url.text(cx)?;
                let (base, query) = split(&text);
                (chosen.backend(base, url, cx)?, query.to_owned())
            }
        };
        cx.state.backend = Some(backend);
        if let (false, Message::Request(request)) = (query.is_empty(), &mut cx.message) {
            let mut query = query;
            let old = request.uri().query().unwrap_or_default();
            query::merge(&mut query, old, |_| true);
            let target = format!("{}?{query}", request.uri().path());
            match PathAndQuery::try_from(target) {
                Ok(target) => *request.uri_mut() = Uri::from(target),
                Err(error) => {
                    let sources = match &self.target {
                        Target::Evaluated(url, _) => url.sources(cx),
                        Target::Fixed(_) => Vec::new(),
                    };
                    let cause = format!("its query is not valid: {error}");
                    return Err(Unfit::Invalid(cause).fault(Made::Address, &sources, cx));
                }
            }
        }
        Ok(Flow::Next)
    }
}
