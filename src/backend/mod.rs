//! Backends: where they are, the connections to them, and one exchange with them.
//!
//! Each worker keeps its own connections to each endpoint, straight on hyper's connections; see [`forward()`].

mod answer;
mod connect;
mod forward;
mod identity;
mod pool;
mod tls_failure;
mod tunnel;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

pub use self::answer::Answer;
pub use self::forward::{Deadlines, HostOverride, Watch, forward};
pub use self::identity::{ClientIdentity, IdentityError, Material};
pub(crate) use self::pool::{clear, sweep};

use crate::server::tls::{Authorities, TlsError, client_config};

/// How connections to an endpoint are made and kept.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// The most idle connections of one worker; the oldest is closed beyond.
    pub max_idle: usize,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// The most connections of one worker. When all are in use, up to as many requests wait for one, for the connect
    /// timeout; then, and beyond, the answer is `503`.
    pub max_connections: usize,
    /// Whether the client's `Host` is passed on; the endpoint's own otherwise.
    pub preserve_host: bool,
    /// The certificate authorities in a PEM file to check the endpoint by; the system's otherwise.
    pub authorities: Option<PathBuf>,
    /// The certificate that the endpoint is shown.
    pub identity: Option<Arc<ClientIdentity>>,
    /// What answers in place of the endpoint that is meant: it is asked without TLS, in the endpoint's name.
    pub stand_in: Option<SocketAddr>,
}

impl EndpointSettings {
    /// Whether the certificate that a policy names is shown.
    pub fn shows_that_of_policies(&self) -> bool {
        self.identity.is_none() && self.stand_in.is_none()
    }
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            max_idle: 256,
            idle_timeout: Duration::from_secs(55),
            max_connections: 1024,
            preserve_host: false,
            authorities: None,
            identity: None,
            stand_in: None,
        }
    }
}

/// Why a URL is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It has another scheme, or none.
    #[error("expected `http` or `https`")]
    Scheme,
    /// It has no host, or one that cannot be looked up.
    #[error("expected a host")]
    Host,
    /// It has a user name or a password.
    #[error("expected no user name and password")]
    UserInformation,
    /// It has a query.
    #[error("expected no query")]
    Query,
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Unlike any other endpoint's, before and after a reload.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One place where a backend can be reached.
#[derive(Debug)]
pub struct Endpoint {
    /// Unlike any other endpoint's, before and after a reload.
    id: u64,
    https: bool,
    /// Without the brackets of an IPv6 address.
    host: Box<str>,
    port: u16,
    /// Known when the host is an address.
    address: Option<SocketAddr>,
    base_path: Box<str>,
    host_value: HeaderValue,
    tls: Option<Tls>,
    settings: EndpointSettings,
    /// The same endpoint for each certificate that policies show it. Reading takes no lock.
    showing: ArcSwap<Vec<Showing>>,
    /// Who adds one holds it.
    adds: Mutex<()>,
}

/// A certificate, held by the configurations that name it, and the endpoint that is shown it.
type Showing = (Weak<ClientIdentity>, Arc<Endpoint>);

#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authorities: Authorities,
    /// What the certificate says that is shown, of the settings or of a policy. The certificate itself would be kept by it for good.
    shown: Option<Arc<str>>,
}

impl Endpoint {
    /// An endpoint at a URL; its path is put before the path of each request.
    ///
    /// # Errors
    /// When the URL is not one of a backend, or TLS cannot be set up.
    pub fn new(url: &Uri, settings: EndpointSettings) -> Result<Self, EndpointError> {
        let https = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(EndpointError::Scheme),
        };
        let authority = url.authority().ok_or(EndpointError::Host)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInformation);
        }
        if url.query().is_some() {
            return Err(EndpointError::Query);
        }
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() {
            return Err(EndpointError::Host);
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let tls = if https && settings.stand_in.is_none() {
            let name = ServerName::try_from(bare.to_owned()).map_err(|_| EndpointError::Host)?;
            let authorities = Authorities::read(settings.authorities.as_deref())?;
            let config = client_config(&authorities, settings.identity.as_deref())?;
            Some(Tls {
                config,
                name,
                authorities,
                shown: settings.identity.as_ref().map(|it| it.description().clone()),
            })
        } else {
            None
        };
        Ok(Self {
            id: next_id(),
            https,
            host: bare.into(),
            port,
            address: settings.stand_in.or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))),
            base_path: url.path().trim_end_matches('/').into(),
            host_value: HeaderValue::from_str(authority.as_str()).map_err(|_| EndpointError::Host)?,
            tls,
            settings,
            showing: ArcSwap::default(),
            adds: Mutex::default(),
        })
    }

    /// The same endpoint, shown a certificate; its connections are its own. None without TLS.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn showing(&self, identity: &Arc<ClientIdentity>) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let find = || {
            let is_same = |(it, _): &&Showing| std::ptr::eq(it.as_ptr(), Arc::as_ptr(identity));
            self.showing.load().iter().find(is_same).map(|(_, endpoint)| endpoint.clone())
        };
        if let Some(known) = find() {
            return Ok(Some(known));
        }
        let _adds = self.adds.lock();
        if let Some(known) = find() {
            return Ok(Some(known));
        }
        let endpoint = Arc::new(Self {
            id: next_id(),
            https: self.https,
            host: self.host.clone(),
            port: self.port,
            address: self.address,
            base_path: self.base_path.clone(),
            host_value: self.host_value.clone(),
            tls: Some(Tls {
                config: client_config(&tls.authorities, Some(identity))?,
                shown: Some(identity.description().clone()),
                ..tls.clone()
            }),
            settings: self.settings.clone(),
            showing: ArcSwap::default(),
            adds: Mutex::default(),
        });
        // A certificate that no configuration holds any more was replaced.
        let is_held = |(it, _): &&Showing| it.strong_count() > 0;
        let mut showing: Vec<_> = self.showing.load().iter().filter(is_held).cloned().collect();
        showing.push((Arc::downgrade(identity), endpoint.clone()));
        self.showing.store(Arc::new(showing));
        Ok(Some(endpoint))
    }

    /// What the certificate says that it is shown.
    fn shown(&self) -> Option<&str> {
        self.tls.as_ref()?.shown.as_deref()
    }

    /// A number that no other endpoint of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Scheme, host and port, as its URL has them.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), String::from_utf8_lossy(self.host_value.as_bytes()))
    }

    /// Its URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.base_path)
    }

    /// The path before the path of each request, without a slash at its end; empty for none.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// How connections are made and kept.
    pub fn settings(&self) -> &EndpointSettings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_url() {
        for (url, want) in [
            ("http://a.example", Some(("a.example", 80, ""))),
            ("http://a.example:81/", Some(("a.example", 81, ""))),
            ("http://127.0.0.1:81/v1/", Some(("127.0.0.1", 81, "/v1"))),
            ("http://[::1]:81/v1", Some(("::1", 81, "/v1"))),
            ("ftp://a.example", None),
            ("/v1", None),
            ("http://u:p@a.example", None),
            ("http://a.example/?x=1", None),
        ] {
            let endpoint = Endpoint::new(&url.parse().unwrap(), EndpointSettings::default()).ok();
            let got = endpoint.as_ref().map(|it| (it.host(), it.port(), it.base_path()));
            assert_eq!(got, want, "{url}");
        }
    }
}
