//! A local OpenID provider for development and tests: Entra-shaped tokens without a tenant. It believes whatever it is told.
//!
//! | path | what |
//! |---|---|
//! | `/.well-known/openid-configuration`, `/jwks`, `/token`, `/authorize`, `/userinfo` | plain, with access tokens as RFC 9068 has them |
//! | `/TENANT/v2.0/.well-known/openid-configuration`, `/TENANT/discovery/v2.0/keys`, `/TENANT/oauth2/v2.0/token`, `…/authorize` | as Entra ID v2 |
//! | `/TENANT/.well-known/openid-configuration`, `/TENANT/discovery/keys`, `/TENANT/oauth2/token`, `…/authorize` | as Entra ID v1 |
//! | `/metadata/identity/oauth2/token`, `/msi/token` | managed identity, as in a virtual machine and in App Service |
//! | `POST /-/rotate`, `POST /-/mint`, `POST /-/faults` | what a test turns: keys, any token, trouble |
//!
//! TENANT is a GUID, a name (one GUID for each name), or `common`. Everything it keeps is bounded and in memory, apart from
//! the key file when there is one.

pub mod ask;
mod authorize;
mod client;
mod control;
mod discovery;
mod fault;
mod grant;
pub mod key_ring;
mod managed_identity;
pub mod mint;
pub mod registrations;
mod reply;
mod route;
pub mod signing_key;
mod store;
#[cfg(test)]
mod tests;
mod token;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::identity::Algorithm;
pub use crate::server::simple::Handle;
use crate::server::simple::{self, Hangup};
use fault::Faults;
use grant::Session;
use key_ring::{KeyRing, KeyRingError};
use mint::{DEFAULT_LIFETIME, DEFAULT_TENANT, Grant};
use registrations::Registrations;
use reply::{Content, Reply};
use route::{Form, Route};
use store::Store;

/// Connections at one time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1_024;
/// Codes, and refresh tokens, at one time: the oldest makes room.
const MAX_SESSIONS: usize = 10_000;
/// How long a code may wait.
const CODE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long a refresh token may wait: a working day and the way home.
const REFRESH_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The header that every answer carries, so that nobody takes this for an identity provider.
pub const MARK: (&str, &str) = ("x-sluicegate-issuer", "for development only");

/// How the issuer is to be.
#[derive(Debug)]
pub struct Options {
    /// The URL that it gives itself, without a slash at the end. Default: `http://` and the address.
    pub url: Option<String>,
    /// The algorithms; the first is the default.
    pub algorithms: Vec<Algorithm>,
    /// Where keys are kept, so that tokens survive a restart.
    pub key_file: Option<PathBuf>,
    /// How long a key stays published after another took its place.
    pub overlap: Duration,
    /// How often keys rotate by themselves.
    pub rotate_every: Option<Duration>,
    /// How long access tokens live.
    pub lifetime: Duration,
    /// The tenant that `common` stands for.
    pub tenant: String,
    /// The version of access tokens, whichever endpoint is asked: Entra ID's depends on the API and not on the endpoint.
    pub token_version: Option<u8>,
    /// Who may ask, and for which APIs; anybody, and for any, when none is configured.
    pub registrations: Registrations,
    /// What `X-IDENTITY-HEADER` must hold; anything when it is not set.
    pub identity_header: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            algorithms: vec![Algorithm::Rs256],
            key_file: None,
            overlap: Duration::from_secs(3600),
            rotate_every: None,
            lifetime: DEFAULT_LIFETIME,
            tenant: DEFAULT_TENANT.to_owned(),
            token_version: None,
            registrations: Registrations::default(),
            identity_header: None,
        }
    }
}

/// A local OpenID provider; see the module.
#[derive(Debug)]
pub struct Issuer {
    options: Options,
    base: String,
    keys: KeyRing,
    clock: Clock,
    codes: Mutex<Store<Session>>,
    refresh_tokens: Mutex<Store<Session>>,
    faults: Faults,
}

impl Issuer {
    /// An issuer that will listen at `address`; makes or reads its keys.
    ///
    /// # Errors
    /// When the key file cannot be used.
    pub fn new(options: Options, address: SocketAddr, clock: Clock) -> Result<Self, KeyRingError> {
        let base = options.url.clone().unwrap_or_else(|| format!("http://{address}"));
        let base = base.trim_end_matches('/').to_owned();
        let keys = KeyRing::open(options.algorithms.clone(), options.overlap, options.key_file.clone(), clock.clone())?;
        let store = || Mutex::new(Store::new(MAX_SESSIONS));
        Ok(Self { options, base, keys, clock, codes: store(), refresh_tokens: store(), faults: Faults::default() })
    }

    /// The URL that it gives itself.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The tenant that `common` stands for.
    pub fn tenant(&self) -> &str {
        &self.options.tenant
    }

    /// Who may ask, and for which APIs.
    pub fn registrations(&self) -> &Registrations {
        &self.options.registrations
    }

    /// Its signing keys.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Makes new signing keys on a thread of their own, and says so.
    pub async fn rotate(self: &Arc<Self>, overlap: Option<Duration>) -> Result<Vec<String>, String> {
        let issuer = Arc::clone(self);
        let rotated = tokio::task::spawn_blocking(move || issuer.keys.rotate(overlap)).await;
        let keys =
            rotated.map_err(|error| error.to_string()).and_then(|keys| keys.map_err(|error| error.to_string()))?;
        let ids: Vec<String> = keys.iter().map(|key| key.id().to_owned()).collect();
        tracing::info!(keys = ids.join(", "), published = self.keys.published().len(), "new signing keys");
        Ok(ids)
    }

    /// Serves until `shutdown` is done.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let issuer = Arc::clone(&self);
        let handler = move |request| {
            let issuer = Arc::clone(&issuer);
            async move { issuer.answer(request).await }
        };
        tokio::select! {
            served = simple::serve("issuer", listener, MAX_CONNECTIONS, shutdown, handler) => served,
            () = self.rotate_on_a_timer() => Ok(()),
        }
    }

    async fn rotate_on_a_timer(self: &Arc<Self>) {
        let Some(every) = self.options.rotate_every else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.rotate(None).await {
                tracing::warn!(error, "the signing keys cannot be rotated");
            }
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Content>, Hangup> {
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path());
        if let Some(reply) = self.faults.meet(route.as_ref()).await {
            return reply.map(Reply::into_response);
        }
        // hyper leaves the body out of an answer to HEAD, and keeps its length (RFC 9110 §9.3.2).
        let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
        let query = head.uri.query().unwrap_or_default();
        let reply = match (route, method) {
            (Some(Route::Index), &Method::GET) => self.index(),
            (Some(Route::Discovery(realm)), &Method::GET) => self.discovery(&realm),
            (Some(Route::Keys), &Method::GET) => Reply::ok(&self.keys.jwks()),
            (Some(Route::Authorize(realm)), &Method::GET) => self.authorize(&realm, &Form::read(query)),
            (Some(Route::Authorize(realm)), &Method::POST) => match reply::read(body).await {
                Ok(body) => self.authorize(&realm, &Form::read(&String::from_utf8_lossy(&body))),
                Err(reply) => reply,
            },
            (Some(Route::Token(realm)), &Method::POST) => match reply::read(body).await {
                Ok(body) => self.token(&realm, &head.headers, &Form::read(&String::from_utf8_lossy(&body))),
                Err(reply) => reply,
            },
            (Some(Route::UserInfo), &Method::GET | &Method::POST) => self.userinfo(&head.headers),
            (Some(Route::Metadata), &Method::GET) => self.metadata_token(&head.headers, &Form::read(query)),
            (Some(Route::AppService), &Method::GET) => self.app_service_token(&head.headers, &Form::read(query)),
            (Some(Route::Rotate), &Method::POST) => self.rotate_now(&Form::read(query)).await,
            (Some(Route::Mint), &Method::POST) => self.mint_now(body).await,
            (Some(Route::Faults), &Method::POST) => self.add_fault(body).await,
            (Some(Route::Faults), &Method::DELETE) => self.clear_faults(),
            (Some(route), _) => Reply::not_allowed(route.methods()),
            (None, _) => Reply::error(404, "not_found", "there is nothing at this path; GET / lists what there is"),
        };
        Ok(reply.into_response())
    }

    /// Signs claims, with the default key or the one for an algorithm.
    fn sign(
        &self,
        algorithm: Option<Algorithm>,
        grant: &Grant,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, String> {
        let key = self.keys.current(algorithm).ok_or_else(|| {
            let known: Vec<&str> = self.keys.algorithms().iter().map(|algorithm| algorithm.name()).collect();
            format!("this issuer signs with {} only; see --alg", known.join(", "))
        })?;
        let mut full = grant.header(key.id());
        mint::lay_over(&mut full, header);
        key.sign(&full, claims).map_err(|error| error.to_string())
    }
}

/// Text that nobody guesses.
pub fn random_id() -> String {
    let mut bytes = [0; 24];
    // Fails only where the system has no random numbers at all; such a code is then refused like any other unknown one.
    let _ = SystemRandom::new().fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Starts an issuer at an address, on a thread of its own: its URL, and what stops it when dropped.
///
/// # Errors
/// When the address or the keys cannot be had.
pub fn spawn(options: Options, address: SocketAddr, clock: Clock) -> io::Result<(Arc<Issuer>, Handle)> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (_, handle) = simple::spawn("issuer", address, move |listener, stopped| async move {
        let issuer = Issuer::new(options, listener.local_addr()?, clock).map_err(io::Error::other);
        let (told, serving) = match issuer {
            Ok(issuer) => {
                let issuer = Arc::new(issuer);
                (Ok(issuer.clone()), Some(issuer))
            }
            Err(error) => (Err(error), None),
        };
        // Whoever asked may be gone, and the handle with it.
        let _ = sender.send(told);
        match serving {
            Some(issuer) => issuer.serve(listener, stopped.wait()).await,
            None => Ok(()),
        }
    })?;
    let issuer = receiver.recv().map_err(|_| io::Error::other("the issuer ended as it started"))??;
    Ok((issuer, handle))
}
