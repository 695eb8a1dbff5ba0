//! `[api.headers]`, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::At;

/// `[api.headers]`: headers that an API's messages carry beside those of policies, and headers that they do not, as behind a connector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ApiHeadersSpec {
    /// Whether messages carry the ids by which the platform of connectors tells calls apart. The backend is given `x-ms-client-request-id` and
    /// `x-ms-correlation-id`: the caller's, one for the other where one is missing, else the request id. The answer, also that of an error, has
    /// `x-ms-request-id`, which is the request id and takes the place of a backend's, and repeats both of them, as well as an
    /// `x-ms-correlation-request-id` that came. An id that is longer than 128 bytes or not printable ASCII counts as missing. The access log has
    /// `client_request_id`. All other headers of the platform (`x-ms-workflow-run-id`, `x-ms-tracking-id`, …) are passed on as they are. Default
    /// `false`.
    pub correlation: bool,
    /// Headers of requests that are taken out before the first policy: names, or beginnings of names (`x-ms-workflow-*`). The platform does not say
    /// which of its own reach the backend of a custom connector. Default: none.
    pub remove_from_requests: Vec<At<String>>,
    /// Headers of the backend's answers that are taken out before the first policy of outbound (`server`, `x-powered-by`). Default: none.
    pub remove_from_answers: Vec<At<String>>,
    /// Whether answers get what the connector runtime adds to them, where they do not say something of it themselves: `cache-control: no-store,
    /// no-cache`, `strict-transport-security`, `timing-allow-origin: *`, `x-content-type-options`, `x-frame-options` and
    /// `x-ms-apihub-cached-response`. Default `false`.
    pub runtime: bool,
}
