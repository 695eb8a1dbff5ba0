//! What is sent, and where: the request of each attempt, and where it carries its key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::answer::Names;
use super::connection::Outgoing;
use crate::clock::Clock;
use crate::forwarded::Fields;
use crate::loadtest::record::{Attempt, KeyId, Kind};
use crate::server::tls::{Authorities, client_config};

/// Tells one attempt from another, so that a backend can say which came twice.
pub const ATTEMPT_HEADER: HeaderName = HeaderName::from_static("x-sluicegate-loadtest");

/// Where a request carries its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyPlace {
    /// Nowhere: all requests are one caller's.
    #[default]
    None,
    /// In a header.
    Header(HeaderName),
    /// In a parameter of the query.
    Query(String),
    /// As the address that it is sent from: one of 127.0.0.0/8.
    Address,
    /// As the key of a subscription, in the header that the API wants it in.
    Subscription,
}

impl FromStr for KeyPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.split_once('=').unwrap_or((text, "")) {
            ("none", "") => Self::None,
            ("address", "") => Self::Address,
            ("subscription", "") => Self::Subscription,
            ("header", name) if !name.is_empty() => {
                Self::Header(name.parse().map_err(|_| format!("`{name}` cannot be the name of a header"))?)
            }
            ("query", name) if !name.is_empty() => Self::Query(name.to_owned()),
            _ => {
                return Err(format!(
                    "`{text}` is no place of a key; expected `header=NAME`, `query=NAME`, `subscription`, `address` or `none`"
                ));
            }
        })
    }
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Header(name) => write!(f, "header={name}"),
            Self::Query(name) => write!(f, "query={name}"),
            Self::Address => f.write_str("address"),
            Self::Subscription => f.write_str("subscription"),
        }
    }
}

/// Why there is nothing to send to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL of a server.
    #[error("`{0}` is no URL of a server; for example `http://127.0.0.1:8080/orders`")]
    Url(String),
    /// Its name cannot be looked up.
    #[error("`{host}` cannot be looked up: {why}")]
    Name {
        /// The name.
        host: String,
        /// What the system says.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
}

/// Where a gateway is.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    host: HeaderValue,
}

/// What is driven: a gateway, or several that count together.
pub struct Target {
    endpoints: Vec<Endpoint>,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    place: KeyPlace,
    /// The texts of the keys, by their numbers.
    keys: Arc<[String]>,
    /// The fields in which it tells whom it speaks for, as a proxy that the gateway trusts.
    proxy: Option<Fields>,
    /// What answers are read by.
    pub(super) names: Names,
    clock: Clock,
}

impl Endpoint {
    fn new(url: &Uri, authorities: Option<&Path>) -> Result<Self, TargetError> {
        let no_url = || TargetError::Url(url.to_string());
        let https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(no_url()),
        };
        let host = url.host().ok_or_else(no_url)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let name = |why: String| TargetError::Name { host: bare.to_owned(), why };
        let mut addresses = (bare, port).to_socket_addrs().map_err(|error| name(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| name("it has no address".to_owned()))?;
        let tls = if https {
            let server = ServerName::try_from(bare.to_owned()).map_err(|_| no_url())?;
            let config = Authorities::read(authorities).and_then(|authorities| client_config(&authorities, None));
            Some((config.map_err(|error| TargetError::Tls(error.to_string()))?, server))
        } else {
            None
        };
        let authority = url.authority().map_or(host, http::uri::Authority::as_str);
        Ok(Self { address, tls, host: HeaderValue::from_str(authority).map_err(|_| no_url())? })
    }
}

impl Endpoint {
    /// Its host and port, as the URL has them.
    pub(super) fn name(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }
}

impl Target {
    /// A target at a URL, with `GET` and no key.
    ///
    /// # Errors
    /// When it is no URL, its name is unknown, or TLS cannot be set up.
    pub fn new(url: &Uri, authorities: Option<&Path>, clock: Clock) -> Result<Self, TargetError> {
        let agent = HeaderValue::from_static(concat!("sluicegate-loadtest/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            endpoints: vec![Endpoint::new(url, authorities)?],
            method: Method::GET,
            path: url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: HeaderMap::from_iter([(USER_AGENT, agent)]),
            body: Bytes::new(),
            place: KeyPlace::None,
            keys: Arc::new([]),
            proxy: None,
            names: Names::default(),
            clock,
        })
    }

    /// The same, spread over one more gateway, which is asked for the same path.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn and_at(mut self, url: &Uri, authorities: Option<&Path>) -> Result<Self, TargetError> {
        self.endpoints.push(Endpoint::new(url, authorities)?);
        Ok(self)
    }

    /// The same with another method.
    #[must_use]
    pub fn with_method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same with more headers; those of a name that is there already take its place.
    #[must_use]
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        for (name, value) in headers {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// The same with keys. A subscription's key goes where a header says.
    #[must_use]
    pub fn with_keys(self, place: KeyPlace, keys: Arc<[String]>) -> Self {
        Self { place, keys, ..self }
    }

    /// The same with other names of headers that tell how long to wait and how much is left.
    #[must_use]
    pub fn told_by(mut self, retry_after: Option<HeaderName>, remaining: Option<HeaderName>) -> Self {
        self.names.retry_after = retry_after.unwrap_or(self.names.retry_after);
        self.names.remaining = remaining;
        self
    }

    /// The same for gateways that trust who sends as a proxy: callers' addresses are told in these fields.
    #[must_use]
    pub fn as_proxy(self, proxy: Option<Fields>) -> Self {
        Self { proxy, ..self }
    }

    /// Its gateways.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The addresses of its gateways.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.endpoints.iter().map(|endpoint| endpoint.address)
    }

    /// An address that is not on this machine, if there is one.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.addresses().find(|address| !address.ip().to_canonical().is_loopback())
    }

    /// The time of day, by which dates in answers are read.
    pub(super) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// The gateway that an attempt goes to: any, whoever's it is, and the same one in each test with the same plan.
    fn gateway(&self, attempt: &Attempt) -> usize {
        let mixed = ((u64::from(attempt.job) << 16) | u64::from(attempt.number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 33) as usize % self.endpoints.len()
    }

    /// Where an attempt is sent.
    pub(super) fn endpoint(&self, attempt: &Attempt) -> &Endpoint {
        &self.endpoints[self.gateway(attempt)]
    }

    /// Which connections an attempt may use: each gateway has its own, and each address that requests come from.
    pub(super) fn line(&self, attempt: &Attempt) -> u64 {
        let own_source = self.place == KeyPlace::Address && self.proxy.is_none();
        let source = if own_source { u64::from(attempt.key.0) } else { 0 };
        source * self.endpoints.len() as u64 + self.gateway(attempt) as u64
    }

    /// The address that an attempt is sent from.
    pub(super) fn source(&self, attempt: &Attempt) -> Option<IpAddr> {
        if self.place != KeyPlace::Address || self.proxy.is_some() || attempt.key == KeyId::MISSING {
            return None;
        }
        // 127.64.0.1 and on: nobody's, and each of them this machine's.
        let [_, high, middle, low] = (attempt.key.0 + 1).to_be_bytes();
        Some(Ipv4Addr::new(127, 64 | (high & 63), middle, low).into())
    }

    /// Says who calls: as a trusted proxy does, after what the caller has said himself, or as a caller who has no right to.
    fn tell_address(&self, attempt: &Attempt, headers: &mut HeaderMap) {
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let forged = (attempt.kind == Kind::Forged).then(|| forged(attempt));
        let chain: Vec<IpAddr> = match self.proxy {
            Some(_) if self.place == KeyPlace::Address || forged.is_some() => {
                forged.into_iter().chain([spoken_for(attempt)]).collect()
            }
            _ => forged.into_iter().collect(),
        };
        if chain.is_empty() {
            return;
        }
        let joined = |one: fn(IpAddr) -> String| chain.iter().copied().map(one).collect::<Vec<_>>().join(", ");
        if self.proxy != Some(Fields::Forwarded) {
            set("x-forwarded-for", joined(|address| address.to_string()));
        }
        if self.proxy != Some(Fields::XForwarded) {
            set("forwarded", joined(element));
        }
        if let Some(forged) = forged {
            set("x-real-ip", forged.to_string());
            set("true-client-ip", forged.to_string());
        }
    }

    /// The request of an attempt.
    pub(super) fn request(&self, attempt: &Attempt) -> Outgoing {
        let mut request =
            Request::new(Full::new(if attempt.kind == Kind::Preflight { Bytes::new() } else { self.body.clone() }));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let mut path = self.path.clone();
        let headers = request.headers_mut();
        headers.entry(HOST).or_insert_with(|| self.endpoint(attempt).host.clone());
        self.tell_address(attempt, headers);
        match attempt.kind {
            Kind::Plain | Kind::Forged | Kind::Network => {}
            Kind::Preflight => {
                headers.insert(http::header::ORIGIN, HeaderValue::from_static("https://make.powerapps.com"));
                let method = HeaderValue::from_str(self.method.as_str()).unwrap_or(HeaderValue::from_static("GET"));
                headers.insert(http::header::ACCESS_CONTROL_REQUEST_METHOD, method);
            }
        }
        // A browser's preflight carries no credentials.
        if let Some(key) = self.keys.get(attempt.key.0 as usize).filter(|_| attempt.kind != Kind::Preflight) {
            match &self.place {
                KeyPlace::Header(name) => {
                    if let Ok(value) = HeaderValue::from_str(key) {
                        headers.insert(name.clone(), value);
                    }
                }
                KeyPlace::Query(name) => path = with_parameter(&path, name, key),
                KeyPlace::None | KeyPlace::Address | KeyPlace::Subscription => {}
            }
        }
        if !matches!(self.method, Method::GET | Method::HEAD)
            && let Ok(value) = HeaderValue::try_from(format!("{}-{}", attempt.job, attempt.number))
        {
            headers.insert(ATTEMPT_HEADER, value);
        }
        if attempt.kind == Kind::Preflight {
            *request.method_mut() = Method::OPTIONS;
        }
        *request.uri_mut() = path.into();
        request
    }
}

/// An address that nobody has, another one for each request (RFC 5737).
fn forged(attempt: &Attempt) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, (attempt.job % 250) as u8 + 1).into()
}

/// The address of a caller for whom a proxy speaks: reserved (RFC 1112 §4), or for documentation (RFC 3849), so that no range of
/// trusted proxies holds it.
fn spoken_for(attempt: &Attempt) -> IpAddr {
    let key = attempt.key.0 & 0x0fff_ffff;
    match attempt.kind {
        Kind::Network => {
            let network = u128::from(0x2001_0db8_u32) << 96 | u128::from(key) << 64;
            Ipv6Addr::from_bits(network | u128::from(attempt.job)).into()
        }
        _ => Ipv4Addr::from_bits(0xf000_0000 | key).into(),
    }
}

/// An address as `Forwarded` has it (RFC 7239 §6).
fn element(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    }
}

fn with_parameter(path: &PathAndQuery, name: &str, value: &str) -> PathAndQuery {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mark = if path.query().is_some() { '&' } else { '?' };
    format!("{path}{mark}{}={}", encode(name), encode(value)).parse().unwrap_or_else(|_| path.clone())
}
