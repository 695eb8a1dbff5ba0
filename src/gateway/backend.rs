//! A backend by name: its endpoints, used in turn, and how long they may take.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{StatusCode, Uri};
use parking_lot::Mutex;

use super::breaker::{Admission, Breaker, BreakerSettings};
use crate::backend::{ClientIdentity, Deadlines, Endpoint, EndpointSettings};
use crate::clock::Nanos;
use crate::compile::{Kept, Shared};
use crate::config::diagnostic::suggest;
use crate::config::spec::{BackendSpec, BreakerSpec};
use crate::config::{At, Period, statuses};
use crate::credential::BackendCredentials;
use crate::identity::certificate::sha256;
use crate::telemetry::metrics::BackendMetrics;

/// A named target.
#[derive(Debug)]
pub struct Backend {
    /// Its name; for a base URL that a policy made, the policy's words for it.
    pub name: Arc<str>,
    /// Where it can be reached.
    endpoints: Box<[Target]>,
    /// How long it may take.
    pub deadlines: Deadlines,
    /// Its counters.
    pub metrics: BackendMetrics,
    /// What it is shown of the gateway's own.
    pub credentials: Option<Box<BackendCredentials>>,
    next: AtomicUsize,
}

/// An endpoint, its name for the log, and whether it may be called.
#[derive(Debug, Clone)]
pub struct Target {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Host and port.
    pub label: Arc<str>,
    circuit: Option<Circuit>,
}

/// An endpoint's breaker, and what it takes for a failure.
#[derive(Debug, Clone)]
pub struct Circuit {
    breaker: Arc<Breaker>,
    /// Connection failures and time-outs are failures as well.
    statuses: Arc<[RangeInclusive<u16>]>,
}

/// An endpoint that may be called.
#[derive(Debug)]
pub struct Picked<'a> {
    /// The endpoint.
    pub target: &'a Target,
    /// What its breaker waits to hear about.
    pub admission: Option<Admission>,
}

/// Why no endpoint may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There is none.
    NoEndpoint,
    /// The breakers of all are open.
    CircuitOpen {
        /// The time until the first of them lets a call through.
        wait: Duration,
    },
}

impl Target {
    /// An endpoint, labelled by its host and port.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let host = endpoint.host();
        let label = if host.contains(':') {
            format!("[{host}]:{}", endpoint.port())
        } else {
            format!("{host}:{}", endpoint.port())
        };
        Self { endpoint, label: label.into(), circuit: None }
    }

    /// The same endpoint behind a breaker.
    #[must_use]
    pub fn behind(self, circuit: Circuit) -> Self {
        Self { circuit: Some(circuit), ..self }
    }

    /// Whether the breaker takes an answer for a failure.
    pub fn is_failure(&self, status: StatusCode) -> bool {
        self.circuit.as_ref().is_some_and(|circuit| statuses::contains(&circuit.statuses, status))
    }

    /// This endpoint and no other.
    ///
    /// # Errors
    /// When its breaker is open: the time until it lets a call through.
    pub fn admit(&self, now: Nanos) -> Result<Picked<'_>, Duration> {
        let admission = self.circuit.as_ref().map(|circuit| circuit.breaker.admit(now)).transpose()?;
        Ok(Picked { target: self, admission })
    }
}

impl Backend {
    /// The base URL of its first endpoint.
    pub fn base_url(&self) -> Option<String> {
        let endpoint = &self.endpoints.first()?.endpoint;
        Some(format!("{}://{}:{}{}", endpoint.scheme(), endpoint.host(), endpoint.port(), endpoint.base_path()))
    }

    /// The base path of its first endpoint: what stands before the path of each request.
    pub fn base_path(&self) -> Option<&str> {
        self.endpoints.first().map(|target| target.endpoint.base_path())
    }

    /// A backend of these endpoints.
    pub fn new(name: &str, endpoints: Vec<Target>, deadlines: Deadlines, metrics: BackendMetrics) -> Self {
        Self {
            name: name.into(),
            endpoints: endpoints.into(),
            deadlines,
            metrics,
            credentials: None,
            next: AtomicUsize::new(0),
        }
    }

    /// The endpoint for the next request: each in turn, but for those whose breaker is open.
    ///
    /// # Errors
    /// When there is none, or all are open.
    pub fn pick(&self, now: Nanos) -> Result<Picked<'_>, Unavailable> {
        let endpoints = &*self.endpoints;
        let first = if endpoints.len() > 1 { self.next.fetch_add(1, Ordering::Relaxed) % endpoints.len() } else { 0 };
        let mut unavailable = Unavailable::NoEndpoint;
        for target in endpoints[first..].iter().chain(&endpoints[..first]) {
            match target.admit(now) {
                Ok(picked) => return Ok(picked),
                Err(wait) => {
                    let known = if let Unavailable::CircuitOpen { wait } = unavailable { wait } else { Duration::MAX };
                    unavailable = Unavailable::CircuitOpen { wait: wait.min(known) };
                }
            }
        }
        Err(unavailable)
    }

    /// Whether the breakers of all endpoints are open.
    pub fn is_open(&self, now: Nanos) -> bool {
        let open = |target: &Target| target.circuit.as_ref().is_some_and(|circuit| circuit.breaker.is_open_at(now));
        !self.endpoints.is_empty() && self.endpoints.iter().all(open)
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Target] {
        &self.endpoints
    }
}

/// A backend that cannot be.
#[derive(Debug)]
pub struct BackendError {
    /// The value that is wrong; the backend's name when none is.
    pub span: Option<Range<usize>>,
    /// The kind of mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

/// Endpoints that outlive a reload, so that their connections do.
#[derive(Debug, Default)]
pub struct Registry {
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    breakers: Kept<Breaker>,
    sample: OnceLock<Result<(std::net::SocketAddr, crate::sample::Handle), std::io::Error>>,
}

impl Registry {
    /// The endpoint with this URL and these settings: the one of the last configuration when nothing changed.
    pub fn endpoint(
        &self,
        url: &Uri,
        settings: EndpointSettings,
    ) -> Result<Arc<Endpoint>, crate::backend::EndpointError> {
        // Authorities that were renewed are others.
        let authorities = settings.authorities.as_ref().and_then(|path| std::fs::read(path).ok());
        let digest = authorities.map(|bytes| sha256(&bytes));
        let key = format!("{url} {settings:?} {digest:?}");
        let mut endpoints = self.endpoints.lock();
        if let Some(endpoint) = endpoints.get(&key) {
            return Ok(endpoint.clone());
        }
        // Whatever no configuration holds any more goes, and its connections with it.
        endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        let endpoint = Arc::new(Endpoint::new(url, settings)?);
        endpoints.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// The address of the built-in sample backend, which starts when it is first asked for.
    fn sample(&self) -> Result<std::net::SocketAddr, String> {
        match self.sample.get_or_init(crate::sample::spawn) {
            Ok((address, _)) => Ok(*address),
            Err(error) => Err(format!("the sample backend cannot start: {error}")),
        }
    }
}

/// The most base URLs that one policy may have in use; beyond it the oldest goes, and its connections with it.
const MAX_TRANSIENT: usize = 128;

/// Backends at base URLs that only requests tell. Reading takes no lock; a URL that is new takes one.
pub struct Transient {
    /// What the policy has for a URL: the name in logs and metrics, so that their labels stay few.
    name: Arc<str>,
    shared: Arc<Shared>,
    known: ArcSwap<HashMap<String, (u64, Arc<Backend>)>>,
    /// The number of the next URL. Who adds one holds it.
    next: Mutex<u64>,
}

impl Transient {
    /// None yet.
    pub fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self { name: name.into(), shared, known: ArcSwap::default(), next: Mutex::default() }
    }

    /// The backend that was added for a URL as it was written.
    pub fn known(&self, text: &str) -> Option<Arc<Backend>> {
        self.known.load().get(text).map(|(_, backend)| backend.clone())
    }

    /// Adds the backend for a URL as it was written.
    ///
    /// # Errors
    /// When it is not the URL of a backend.
    pub fn add(&self, text: &str, url: &Uri) -> Result<Arc<Backend>, crate::backend::EndpointError> {
        let mut next = self.next.lock();
        if let Some(backend) = self.known(text) {
            return Ok(backend);
        }
        let defaults = BackendSpec::default();
        let endpoint = endpoint(url, settings(&defaults, None, None), &self.shared)?;
        let metrics = self.shared.metrics.backend(&self.name);
        let target = vec![Target::new(endpoint)];
        let backend = Arc::new(Backend::new(&self.name, target, deadlines(&defaults), metrics));
        let mut known = HashMap::clone(&self.known.load());
        if known.len() >= MAX_TRANSIENT
            && let Some(oldest) = known.iter().min_by_key(|(_, (number, _))| *number).map(|(text, _)| text.clone())
        {
            known.remove(&oldest);
        }
        known.insert(text.to_owned(), (*next, backend.clone()));
        *next += 1;
        self.known.store(Arc::new(known));
        Ok(backend)
    }
}

/// Builds a backend from its table.
pub fn build(
    name: &str,
    spec: &BackendSpec,
    identity: Option<Arc<ClientIdentity>>,
    folder: Option<&Path>,
    shared: &Shared,
) -> Result<Backend, BackendError> {
    let urls: Vec<&At<String>> = spec.url.iter().chain(&spec.urls).collect();
    let whole = |message: &str, hint: &str| {
        Err(BackendError { span: None, code: "bad-backend", message: message.to_owned(), hint: Some(hint.to_owned()) })
    };
    if urls.is_empty() {
        return whole("a backend needs a URL", "`url = \"https://erp.contoso.internal/v1\"`");
    }
    if spec.url.is_some() && !spec.urls.is_empty() {
        return whole("both `url` and `urls` are given", "give one of them");
    }
    let settings = settings(spec, identity, folder);
    let metrics = shared.metrics.backend(name);
    let mut targets = urls.iter().map(|url| target(url, &settings, shared)).collect::<Result<Vec<_>, _>>()?;
    if let Some(spec) = &spec.circuit_breaker {
        let settings = breaker(spec)?;
        let ranges = spec.statuses.as_ref();
        let statuses: Arc<[_]> =
            ranges.map_or(Arc::new([500..=599]), |ranges| ranges.iter().map(|range| range.0.clone()).collect());
        let behind = |(target, url): (Target, &At<String>)| {
            // The same endpoint may serve two backends, and each has an opinion of its own.
            let id = format!("{name} {} {settings:?} {statuses:?}", url.value);
            let make = || Breaker::new(settings.clone(), metrics.circuit_open());
            let breaker = shared.endpoints.breakers.get(id, make);
            target.behind(Circuit { breaker, statuses: statuses.clone() })
        };
        targets = targets.into_iter().zip(urls).map(behind).collect();
    }
    Ok(Backend::new(name, targets, deadlines(spec), metrics))
}

fn or(period: Option<Period>, default: Duration) -> Duration {
    period.map_or(default, |period| period.0)
}

fn deadlines(spec: &BackendSpec) -> Deadlines {
    let default = Deadlines::default();
    Deadlines {
        connect: or(spec.connect_timeout, default.connect),
        // Azure API Management's forward-request default.
        first_byte: or(spec.timeout, Duration::from_secs(300)),
        idle: or(spec.idle_timeout, default.idle),
        exchange: spec.exchange_timeout.map(|period| period.0),
    }
}

fn settings(spec: &BackendSpec, identity: Option<Arc<ClientIdentity>>, folder: Option<&Path>) -> EndpointSettings {
    EndpointSettings {
        max_idle: spec.max_idle.unwrap_or(256),
        idle_timeout: or(spec.keep_alive, Duration::from_secs(60)),
        max_connections: spec.max_connections.map_or(4096, std::num::NonZeroUsize::get),
        preserve_host: spec.preserve_host,
        authorities: spec
            .ca_file
            .as_ref()
            .map(|path| folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value))),
        identity,
        stand_in: None,
    }
}

fn breaker(spec: &BreakerSpec) -> Result<BreakerSettings, BackendError> {
    let period = |period: &Option<At<Period>>, default: u64| match period {
        None => Ok(Duration::from_secs(default)),
        Some(At { value: Period(Duration::ZERO), span }) => Err(BackendError {
            span: Some(span.clone()),
            code: "bad-value",
            message: "a time of zero would never stop a call".to_owned(),
            hint: Some("leave `circuit-breaker` out for no breaker".to_owned()),
        }),
        Some(period) => Ok(period.value.0),
    };
    Ok(BreakerSettings {
        failures: spec.failures.get(),
        interval: period(&spec.interval, 60)?,
        trip: period(&spec.trip_duration, 30)?,
        accept_retry_after: spec.accept_retry_after,
    })
}

/// The endpoint of a URL, or the stand-in of all of them.
fn endpoint(
    url: &Uri,
    settings: EndpointSettings,
    shared: &Shared,
) -> Result<Arc<Endpoint>, crate::backend::EndpointError> {
    let Some(address) = shared.stand_in() else { return shared.endpoints.endpoint(url, settings) };
    // What is wrong with the URL is wrong in a rehearsal too.
    Endpoint::new(url, settings.clone())?;
    shared.endpoints.endpoint(url, EndpointSettings { stand_in: Some(address), identity: None, ..settings })
}

fn target(url: &At<String>, settings: &EndpointSettings, shared: &Shared) -> Result<Target, BackendError> {
    let fail = |message: String, hint: Option<String>| BackendError {
        span: Some(url.span.clone()),
        code: "bad-url",
        message,
        hint,
    };
    let text = match url.strip_prefix("sample:") {
        // A configuration that is only checked starts nothing.
        Some(path) if shared.offline || shared.stand_in().is_some() => format!("http://sample.invalid{path}"),
        Some(path) => {
            let address = shared.endpoints.sample().map_err(|message| fail(message, None))?;
            format!("http://{address}{path}")
        }
        None => url.value.clone(),
    };
    let form = || Some("`https://host/path`, or `sample:/v1` for the built-in sample backend".to_owned());
    let uri: Uri = text.parse().map_err(|error| fail(format!("`{}` is not a URL: {error}", url.value), form()))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let hint = "set the header `authorization` with a `set-header` policy, from a named value".to_owned();
        return Err(fail("a backend's URL holds no user name and password".to_owned(), Some(hint)));
    }
    let endpoint = endpoint(&uri, settings.clone(), shared).map_err(|error| {
        let scheme = uri.scheme_str().filter(|scheme| !matches!(*scheme, "http" | "https"));
        let hint = scheme.and_then(|scheme| suggest(scheme, ["http", "https"])).or_else(form);
        fail(format!("`{}` is not the URL of a backend: {error}", url.value), hint)
    })?;
    Ok(Target::new(endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn base_urls_from_requests_are_bounded() {
        let shared = Arc::new(Shared::new(Clock::manual(), tokio::runtime::Handle::current()));
        let backends = Transient::new("http://@{headers('x-host')}", shared);
        let url = |number: usize| format!("http://127.0.0.1:{}", 1000 + number);
        for number in 0..MAX_TRANSIENT + 10 {
            let backend = backends.add(&url(number), &url(number).parse().unwrap()).unwrap();
            let known = backends.known(&url(number)).unwrap();
            assert!(Arc::ptr_eq(&backend, &known), "{number}: the same backend the next time");
        }
        assert!(backends.known(&url(9)).is_none(), "the oldest has gone");
        assert!(backends.known(&url(10)).is_some(), "the others have not");
        assert_eq!(backends.known.load().len(), MAX_TRANSIENT);
    }
}
