//! Chooses scheme, host and base path of the request by a URL, under the name of an older connector template.

use schemars::JsonSchema;
use serde::Deserialize;

use super::dynamic_host_url::base_url;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::Step;

/// Chooses scheme, host and base path of the request: what [dynamic-host-url](#dynamic-host-url) does, under the name of the connector
/// template `dynamicsubdomain`, which Microsoft's list of
/// [templates](https://learn.microsoft.com/connectors/custom-connectors/policy-templates) does not have and published connectors use.
///
/// ```toml
/// [[inbound]]
/// policy = "dynamic-subdomain"
/// url    = "https://@connectionParameters('subdomain').contoso.com"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DynamicSubdomain {
    /// The base URL, `http` or `https`, with the path that comes before the request's. A `/` at its end makes no difference. A query in it comes
    /// before the request's. Evaluated when the step runs; a failure, and what is no such URL, goes to on-error.
    url: Text,
    /// The hosts that the URL may name; another one is answered with 403. Each is a host name or an address, or `*.` and a name for all below it,
    /// with the default port of the URL's scheme unless it says another (`erp.contoso.com:8443`) or any (`:*`). Needed when the URL
    /// reads the request, because such a URL could otherwise reach anything that the gateway can. Default: any host, for a URL
    /// that reads nothing but the parameters of connections.
    allowed_hosts: Option<Vec<At<String>>>,
}

impl Policy for DynamicSubdomain {
    const NAME: &'static str = "dynamic-subdomain";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        base_url(&self.url, self.allowed_hosts, cx)
    }
}
