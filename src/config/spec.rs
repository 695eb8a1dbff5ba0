//! The tables of `gateway.toml` and of an API's file, as written. Their doc comments are the reference.

mod callers;
mod headers;
mod store;

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::callers::{ConsumerSpec, KeySpec, KeysSpec, ProductSpec, SubscriptionSpec, SubscriptionState};
pub use self::headers::ApiHeadersSpec;
pub use self::store::{CacheSpec, StoreKind, StoreLeaseSpec, StoreOnError, StoreSpec, StoreTopology};
use super::connections::ConnectionParametersSpec;
use super::credentials::BackendCredentialsSpec;
use super::statuses::StatusRange;
use super::value::{At, Period, Scalar, Size};

/// `[server]`: listeners, limits and deadlines of the process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServerSpec {
    /// The public address. HTTP/1.1 and cleartext HTTP/2 (prior knowledge) share the port. Default `127.0.0.1:8080`.
    pub listen: Option<At<String>>,
    /// The address of health, readiness, metrics and the configuration in force; never on the public listener.
    /// Default `127.0.0.1:9090`; `"off"` turns it off.
    pub admin: Option<At<String>>,
    /// Worker threads, each with its own listener and upstream connections. Default: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// Address ranges (CIDR) of proxies whose forwarding headers are believed. Default: none, so that the
    /// client address is that of the connection.
    pub trusted_proxies: Vec<At<String>>,
    /// Which forwarding headers are sent to the backend and read from trusted proxies; the others are removed. Default
    /// `x-forwarded`.
    pub forwarded_headers: ForwardedHeaders,
    /// The header that carries the request id, in and out. Default `x-request-id`.
    pub request_id_header: Option<At<String>>,
    /// The gateway's own address as callers know it: what links in answers begin with (`update-next-link`, `redirect-content-urls`,
    /// `polling-trigger`), and the `source` of errors. A path in it is one that a proxy in front takes off. Default: scheme and host as the
    /// client used them, told by `trusted-proxies` where there are any.
    pub public_url: Option<At<String>>,
    /// TLS on the public listener. Default: none.
    pub tls: Option<TlsSpec>,
    /// Certificates of clients, from TLS or from a proxy in front. Default: nobody is asked for one.
    pub client_certificates: ClientCertificatesSpec,
    /// Sizes beyond which a message is refused.
    pub limits: LimitsSpec,
    /// How long the gateway waits for clients.
    pub timeouts: TimeoutsSpec,
    /// How many requests are traced: of the last so many, the admin listener tells at `/traces` what each policy did to the request and to
    /// the answer, what backends and token endpoints were sent, and why. Bodies are shown up to 16 KiB, secrets are masked, and all traces together take
    /// up to 64 MiB. It costs time and memory for each request, and it shows what callers send to whoever may read the admin
    /// listener: for development, and for looking into a fault. At most 10000. Default 0: none.
    pub traces: Option<At<u32>>,
    /// How the process stops.
    pub drain: DrainSpec,
}

/// Forwarding headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// `[server.tls]`: the certificate of the public listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSpec {
    /// PEM file with the certificate chain, relative to the configuration folder.
    pub certificate: At<String>,
    /// PEM file with the private key, relative to the configuration folder.
    pub key: At<String>,
}

/// `[server.client-certificates]`: certificates that clients show, and the authorities that they are checked by. Policies read
/// them: `validate-client-certificate` requires one, `@clientCertificate('subject')` and others say what it says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClientCertificatesSpec {
    /// Whether the listener asks for certificates; needs `[server.tls]`. Default `off`.
    pub mode: Option<At<ClientCertificateMode>>,
    /// PEM files with the authorities that clients' certificates must go back to, relative to the configuration folder. The
    /// system's own authorities are never taken: they vouch for servers.
    pub ca_files: Vec<At<String>>,
    /// Revocation lists (RFC 5280 §5), PEM or DER, relative to the configuration folder. With any of them, each certificate
    /// of a chain needs a list of its issuer that is in date, as in OpenSSL. They are read again when they change; whoever
    /// replaces a file does that. Revocation is never asked for over the network.
    pub crl_files: Vec<At<String>>,
    /// The header in which `trusted-proxies` tell of their client's certificate. `X-Forwarded-Client-Cert` is read as Envoy writes
    /// it, `Client-Cert` as RFC 9440 says, any other as PEM (percent-encoded or not) or Base64: nginx's `ssl-client-cert`,
    /// `X-ARR-ClientCert`, Traefik's `X-Forwarded-Tls-Client-Cert`. Name it only when every one of the proxies sets or removes it,
    /// or else callers can write it themselves. Default: none is believed. Whatever is named here, these headers never reach
    /// policies or backends as they came.
    pub header: Option<At<String>>,
    /// Which element of `X-Forwarded-Client-Cert` counts. Default `last`.
    pub header_element: HeaderElement,
    /// How the backend is told of the client's certificate, when it was verified or comes from a trusted proxy. Default `off`.
    pub forward: SentCertificate,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificateMode {
    /// They are not.
    #[default]
    Off,
    /// They are, and may have none, or one of any authority: policies decide what that means. Without a policy that
    /// does, anybody is let in.
    Optional,
    /// They must show one of the `ca-files` that is in force and not revoked; without it the handshake fails.
    Required,
}

/// Elements of `X-Forwarded-Client-Cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderElement {
    /// What the nearest proxy has seen. Elements before it came from whoever called that proxy.
    #[default]
    Last,
    /// What the outermost proxy has seen. Only where that one replaces what its callers send (Envoy's `SANITIZE_SET`), as in a
    /// service mesh behind an ingress.
    First,
}

/// How a backend is told of the client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SentCertificate {
    /// Not at all.
    #[default]
    Off,
    /// `X-Forwarded-Client-Cert` with `Hash`, `Cert`, `Subject`, `URI` and `DNS`, as Envoy writes it.
    XForwardedClientCert,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
}

/// `[server.limits]`: sizes beyond which a message is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitsSpec {
    /// Bytes of a request head; more is 431. Default `32KiB`.
    pub head_size: Option<Size>,
    /// Fields of a request head; more is 431. Default 100.
    pub header_count: Option<NonZeroUsize>,
    /// Bytes of a request target; more is 414. Default `16KiB`, Power Platform's own limit.
    pub uri_length: Option<Size>,
    /// Bytes of a request body; more is 413. Default `100MiB`, Logic Apps' message limit. `0` means none may be sent.
    pub body_size: Option<Size>,
    /// Bytes of a body that a policy may hold in memory; more is 413 for a request and 502 for a response. Default `8MiB`.
    pub buffer_size: Option<Size>,
    /// Open client connections for each worker; beyond it new ones are closed at once. Default 16384.
    pub connections: Option<NonZeroUsize>,
}

/// `[server.timeouts]`: how long the gateway waits for clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TimeoutsSpec {
    /// From the first byte of a request head to its last. Default `10s`.
    pub head: Option<Period>,
    /// An idle connection is closed after this. Default `75s`.
    pub keep_alive: Option<Period>,
    /// Between two bytes of a request body. Default `30s`.
    pub body: Option<Period>,
    /// A client that takes no byte of its answer for so long is cut off. Default `60s`.
    pub send: Option<Period>,
}

/// `[server.drain]`: how the process stops on SIGTERM or SIGINT.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DrainSpec {
    /// Readiness is false for so long before the listener closes, so that load balancers notice. Default `0s`.
    pub delay: Option<Period>,
    /// Requests in flight may take so long to finish before they are cut off. Default `30s`.
    pub deadline: Option<Period>,
}

/// `[limits]`: how limits show themselves to callers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ShownLimitsSpec {
    /// Which headers tell of every limit that applied to a request, whether it was admitted or not, unless the limit's own
    /// `headers` says otherwise. `[]` for none, as in Azure API Management. Default `["ratelimit"]`.
    pub headers: Option<Vec<LimitHeaders>>,
}

/// Headers that tell of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitHeaders {
    /// `RateLimit-Policy` and `RateLimit`, one item for each limit, by the
    /// [IETF draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/): `"api";q=100;w=60` and `"api";r=12;t=3`.
    Ratelimit,
    /// `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`, the seconds until all of it is back; for the limit that
    /// has the least left.
    XRatelimit,
}

/// `[errors]` in gateway.toml, and `[api.errors]` for one API: the form of error answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ErrorsSpec {
    /// The form of the gateway's own error answers. Default `apim`; for an API, that of gateway.toml.
    pub format: Option<ErrorFormat>,
    /// What becomes of the backend's error answers (400 to 599) when outbound is through. Default `pass`; for an API, that of
    /// gateway.toml.
    pub backend: Option<BackendErrors>,
}

/// What becomes of the backend's error answers. Status and headers stay either way. Where they are wrapped, the backend is asked
/// for bodies that are not compressed, and at most 64 KiB of one are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendErrors {
    /// They are passed on as they are.
    #[default]
    Pass,
    /// Those without a shape that callers can rely on (no JSON object with one of `error`, `errors`, `message`, `detail`, `title`,
    /// `code`, `description`) get the gateway's, with the backend's body as `innerError`: JSON as it is, all else as text.
    WrapUnstructured,
    /// All of them, but for those that have the connector runtime's envelope already.
    Wrap,
}

/// Forms of an error body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorFormat {
    /// Azure API Management's bytes: `{ "statusCode": 429, "message": "…" }`.
    #[default]
    Apim,
    /// The Power Platform connector runtime's envelope: `{"error":{"code":502,"source":…,"clientRequestId":…,"message":"BadGateway",
    /// "innerError":…}}`. `source` is the gateway's own address, `clientRequestId` the caller's
    /// `x-ms-client-request-id`, else the request id. Limits and quotas answer with `{"statusCode":429,"message":…}`, as the platform does.
    Connector,
    /// Problem details (RFC 9457), `application/problem+json`.
    Problem,
}

/// `[telemetry]`: logs and metrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TelemetrySpec {
    /// The access log's form. Default `json`.
    pub access_log: AccessLogFormat,
    /// Where the access log goes: `stdout`, `stderr`, or a file that is appended to and reopened on SIGHUP. Default `stdout`.
    pub access_log_path: Option<At<String>>,
    /// Whether the access log holds the query of the request; values that look secret are always masked. Default `true`.
    pub access_log_query: Option<bool>,
    /// The least severe message of the process log. Default `info`.
    pub log_level: LogLevel,
    /// The process log's form. Default `human`.
    pub log_format: LogFormat,
}

/// Forms of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// One readable line.
    Human,
    /// No access log.
    Off,
}

/// Forms of the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Severities of the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may need attention.
    Warn,
    /// And what the process does.
    #[default]
    Info,
    /// And why each request was refused.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name that log filters use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[backends.NAME]`: a named target with one or more endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BackendSpec {
    /// The base URL, `http` or `https`; its path comes before the request's.
    pub url: Option<At<String>>,
    /// Several base URLs, used in turn. Either this or `url`.
    pub urls: Vec<At<String>>,
    /// To establish a connection, with TLS. Default `5s`.
    pub connect_timeout: Option<Period>,
    /// From the end of the request to the first byte of the answer; then 504. Default `300s`, Azure API Management's.
    pub timeout: Option<Period>,
    /// Between two bytes of the answer's body. Default `60s`.
    pub idle_timeout: Option<Period>,
    /// The whole exchange, body included. Default: no limit.
    pub exchange_timeout: Option<Period>,
    /// Idle connections kept for each worker and endpoint. Default 256.
    pub max_idle: Option<usize>,
    /// Connections for each worker and endpoint; beyond it requests are refused with 503. Default 4096.
    pub max_connections: Option<NonZeroUsize>,
    /// How long an unused connection is kept. Default `60s`.
    pub keep_alive: Option<Period>,
    /// Sends the client's `Host` instead of the backend's own. Default `false`.
    pub preserve_host: bool,
    /// PEM file with the authorities to trust in place of the system's, relative to the configuration folder.
    pub ca_file: Option<At<String>>,
    /// Stops calling a backend that keeps failing. Each endpoint has a breaker of its own. Default: none.
    pub circuit_breaker: Option<BreakerSpec>,
    /// What the backend is shown of the gateway's own. Default: nothing.
    pub credentials: Option<BackendCredentialsSpec>,
}

/// `[backends.NAME.circuit-breaker]`: trips after so many failures in an interval, for each endpoint by itself. Open endpoints
/// are passed over; when all are open, callers get 503 with `Retry-After` (reason `BackendCircuitOpen`) and on-error runs. After
/// `trip-duration` one request is let through: when it succeeds, the breaker closes, otherwise it opens again. The state
/// survives a reload that does not change the endpoint or these settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BreakerSpec {
    /// Failures within `interval` that trip the breaker.
    pub failures: NonZeroU32,
    /// The time over which failures are counted. Default `1m`.
    pub interval: Option<At<Period>>,
    /// How long the breaker stays open. Default `30s`.
    pub trip_duration: Option<At<Period>>,
    /// Statuses that count as failures, single (`503`) or as a range. Default `["500-599"]`. Connection failures and
    /// time-outs always count.
    pub statuses: Option<Vec<StatusRange>>,
    /// Takes the answer's `Retry-After` as the trip duration, up to an hour. Default `false`.
    #[serde(default)]
    pub accept_retry_after: bool,
}

/// `[issuers.NAME]`: where the keys of a token issuer come from. One of the sources is needed: `entra`, `openid-config`,
/// `jwks-url`, `key-file` or `secret`. The keys verify tokens of this issuer only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct IssuerSpec {
    /// The `iss` value of its tokens. Needed unless `openid-config` gives it; takes the place of what that says.
    pub issuer: Option<At<String>>,
    /// URL of an OpenID Connect discovery document. One at `ISSUER/.well-known/openid-configuration` that names another
    /// issuer is refused ([OpenID Connect Discovery](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation),
    /// section 4.3) unless `issuer` says which is meant. Microsoft's sign-in hosts are known to do that.
    pub openid_config: Option<At<String>>,
    /// Tenants of Microsoft Entra ID.
    pub entra: Option<At<EntraSpec>>,
    /// URL of a JSON Web Key Set (RFC 7517).
    pub jwks_url: Option<At<String>>,
    /// PEM file with a public key or certificate, or a JSON file with a key set; relative to the configuration folder.
    pub key_file: Option<At<String>>,
    /// Base64 of a shared secret for HS256, HS384 and HS512, usually `"{{named-value}}"`.
    pub secret: Option<At<String>>,
    /// How often fetched keys are fetched again. Default `1h`.
    pub refresh: Option<Period>,
    /// The least time between two fetches that an unknown key id or a failure causes. Default `5m`.
    pub min_refetch: Option<Period>,
    /// How long fetched keys serve on while fetching fails. Default `24h`.
    pub stale_max: Option<Period>,
}

/// Tenants of [Microsoft Entra ID](https://learn.microsoft.com/entra/identity-platform/access-tokens) whose tokens are accepted,
/// versions 1 and 2. The keys come from the discovery documents of the authority. A token's issuer must be its own tenant's (`tid`),
/// and an audience that is an application's id is accepted bare and as `api://ID`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct EntraSpec {
    /// The tenant: its id or a domain that it owns. `organizations` and `common` stand for all tenants, and need `tenants` or
    /// `any-tenant`.
    pub tenant_id: Option<At<String>>,
    /// The ids of the tenants to accept, when there are several.
    pub tenants: Vec<At<String>>,
    /// Whether the users and applications of every tenant in the world are accepted. Default `false`.
    pub any_tenant: Option<At<bool>>,
    /// The versions of tokens to accept: which one an API gets, its app registration says (`accessTokenAcceptedVersion`, or
    /// `requestedAccessTokenVersion`; version 1 unless it is set). Default both.
    pub versions: Option<At<Vec<EntraVersion>>>,
    /// Where tokens come from: the host of a national cloud (`https://login.microsoftonline.us`), or an issuer on this machine.
    /// Default `https://login.microsoftonline.com`.
    pub authority: Option<At<String>>,
}

/// A version of Entra ID's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum EntraVersion {
    /// Issued by `https://sts.windows.net/TENANT/`, with `appid`.
    #[serde(rename = "1.0")]
    V1,
    /// Issued by `https://login.microsoftonline.com/TENANT/v2.0`, with `azp`.
    #[serde(rename = "2.0")]
    V2,
}

/// `[api]`: a group of operations under a base path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiSpec {
    /// The API's name, unique in the configuration.
    pub name: At<String>,
    /// The public base path; the longest matching one wins. Compared without regard to case, as in Azure API Management.
    pub path: At<String>,
    /// The hosts it answers on, exact or as `*.contoso.com`. Default: every host.
    #[serde(default)]
    pub hosts: Vec<At<String>>,
    /// The backend it calls, by name. May be left out when every operation answers by itself or sets its backend.
    pub backend: Option<At<String>>,
    /// What the API is for.
    pub description: Option<String>,
    /// The OpenAPI 2.0 or 3 file that describes it, JSON or YAML, relative to the configuration folder. `sluicegate import connector`
    /// writes it and `sluicegate export connector` begins with it. Default: none.
    pub definition: Option<At<String>>,
    /// The version that this file describes.
    pub version: Option<VersionSpec>,
    /// Whether a subscription key is needed, checked before any policy. With `false`, none is needed, and one that is sent must be
    /// good all the same. Default: `true` when the API is in a product; otherwise keys are not looked at before the
    /// policies, of which `api-key` may ask for one.
    pub subscription_required: Option<bool>,
    /// The header that carries the subscription key. Default `Ocp-Apim-Subscription-Key`.
    pub key_header: Option<At<String>>,
    /// The query parameter that carries the subscription key when the header does not. Default `subscription-key`.
    pub key_query: Option<At<String>>,
    /// Whether the global and product policies run too. Default `true`.
    pub inherit: Option<bool>,
    /// The form of error answers. Default: that of `[errors]` in gateway.toml.
    pub errors: Option<ErrorsSpec>,
    /// Headers that its messages carry, and headers that they do not. Default: as they come.
    pub headers: Option<ApiHeadersSpec>,
    /// What it asks of its connections. Default: a connection may have any parameters.
    pub connection: Option<ConnectionParametersSpec>,
}

/// `[api.version]`: which version of an API a file describes, and where the caller says which one it wants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VersionSpec {
    /// Where the version stands in the request.
    pub scheme: VersionScheme,
    /// The version's identifier (`v1`, `2026-11-01`). Without one, the file describes the version that answers when none is asked for.
    pub value: Option<At<String>>,
    /// The header or query parameter that carries it. Not used with `path`. Default `api-version`.
    pub name: Option<At<String>>,
}

/// Where a version stands in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VersionScheme {
    /// The segment after the base path.
    Path,
    /// A header.
    Header,
    /// A query parameter.
    Query,
}

/// `[[operation]]`: one method and path template.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OperationSpec {
    /// The operation's name, unique in its API.
    pub name: At<String>,
    /// Method and path template (`GET /{id}`, `POST /People('{id}')`, `GET /search?q={text}`); `*` as the method means GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS.
    #[serde(rename = "match")]
    pub matches: At<String>,
    /// Its name for people, as makers of flows see it. Default: what the API's `definition` says, else its name.
    pub summary: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// What callers send. The gateway passes on everything that comes; this is what `sluicegate export connector` tells.
    #[serde(default)]
    pub parameters: Vec<ParameterSpec>,
    /// Whether broader scopes' policies run too. Default `true`.
    pub inherit: Option<bool>,
}

/// A parameter of an operation, as callers know it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ParameterSpec {
    /// Its name.
    pub name: String,
    /// Where it goes.
    #[serde(rename = "in")]
    pub place: ParameterPlace,
    /// What it is. Default `string`, and `object` for the body.
    #[serde(rename = "type")]
    pub kind: Option<ParameterType>,
    /// What kind of text or number it is: `date-time`, `int32`, `uuid`.
    pub format: Option<String>,
    /// Whether it must be there. Default `false`; a variable of the path always must.
    pub required: Option<bool>,
    /// What is meant when it is not there.
    pub default: Option<Scalar>,
    /// Its name for people.
    pub summary: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// How it is shown to makers of flows (`x-ms-visibility`). Default: like any other.
    pub visibility: Option<ParameterVisibility>,
}

/// Places of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterPlace {
    /// A variable of the path.
    Path,
    /// A query parameter.
    Query,
    /// A header.
    Header,
    /// A cookie. Connectors have none.
    Cookie,
    /// The body.
    Body,
    /// A field of a form.
    Form,
}

/// Types of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    Array,
    /// A JSON object.
    Object,
    /// A file.
    File,
}

/// How a parameter is shown to makers of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterVisibility {
    /// Always.
    Important,
    /// When asked for more.
    Advanced,
    /// Never; its default is sent.
    Internal,
}
