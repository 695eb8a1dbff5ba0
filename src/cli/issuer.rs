//! `issuer`: a local OpenID provider for development and tests.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::output::complain;
use super::{exit, run};
use crate::clock::Clock;
use crate::config::Period;
use crate::identity::Algorithm;
use crate::issuer::mint::{DEFAULT_TENANT, is_guid};
use crate::issuer::registrations::Registrations;
use crate::issuer::{Issuer, Options};
use crate::process::listen_error;
use crate::telemetry::process_log;

/// Serve a local OpenID provider, for development only.
///
/// It hands out tokens of the shape of Entra ID's (v1 and v2) or plain ones to whoever asks, without an account, a password or
/// a question, so that policies and connectors can be tried without a tenant. Never let anything that matters trust it.
///
/// Grants: client credentials, authorization code (with PKCE, redirected at once), refresh token, token exchange (RFC 8693),
/// and Entra ID's on-behalf-of. It also answers as the managed identity endpoints of a virtual machine and of App Service.
/// GET / lists its endpoints.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate issuer
  sluicegate issuer --listen 127.0.0.1:9095 --alg RS256 --alg ES256 --key-file keys.pem
  sluicegate issuer --rotate-every 10m --overlap 2m

A token, and a call with it (openid-config of the policy: the URL that the start shows):
  TOKEN=$(curl -s localhost:9095/contoso/oauth2/v2.0/token -d grant_type=client_credentials -d client_id=me \\
    -d client_secret=any -d scope=api://orders/.default -d roles=Orders.Read.All | jq -r .access_token)
  curl -i localhost:8080/orders -H \"Authorization: Bearer $TOKEN\"

Or any token at all, good or bad, from the same keys:
  sluicegate token mint --issuer http://127.0.0.1:9095 --preset entra-v2 --aud api://orders --lifetime=-1m

New signing keys: curl -X POST localhost:9095/-/rotate, or SIGUSR1. The old ones stay published for --overlap.

Trouble, to see what a gateway makes of it (endpoint: discovery, keys, token, authorize, identity, all; kind: down, slow, status,
huge, redirect, html, wrong, empty):
  curl localhost:9095/-/faults -d '{\"endpoint\":\"keys\",\"kind\":\"down\"}'; curl -X DELETE localhost:9095/-/faults

Managed identity, as libraries look for it:
  IDENTITY_ENDPOINT=http://127.0.0.1:9095/msi/token IDENTITY_HEADER=any
  curl -H Metadata:true 'localhost:9095/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://orders'")]
pub struct IssuerCommand {
    /// The address to listen at; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9095", value_parser = run::address::<SocketAddr>)]
    listen: SocketAddr,
    /// Listen at an address that other machines reach. Whoever reaches it gets any token.
    #[arg(long)]
    allow_remote: bool,
    /// The URL that the issuer gives itself, in tokens and discovery [default: http:// and the address].
    #[arg(long, value_parser = url)]
    url: Option<String>,
    /// A signature algorithm: RS256, PS256, ES256, EdDSA … Repeat it for several; the first is the default [default: RS256].
    #[arg(long = "alg", value_name = "ALG", value_parser = algorithm)]
    algorithms: Vec<Algorithm>,
    /// A PEM file for the private keys, made when it is not there, so that tokens survive a restart. Without it keys are
    /// made at the start and end with the process.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long a key stays published after another took its place.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = period)]
    overlap: Period,
    /// How often new keys are made [default: never].
    #[arg(long, value_name = "TIME", value_parser = period)]
    rotate_every: Option<Period>,
    /// How long access tokens live.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = period)]
    lifetime: Period,
    /// The tenant that `common` stands for: a GUID.
    #[arg(long, value_name = "GUID", default_value = DEFAULT_TENANT, value_parser = guid)]
    tenant: String,
    /// The version of Entra-shaped access tokens, 1 or 2, whichever endpoint is asked [default: the endpoint's]. In Entra ID the
    /// API decides (`requestedAccessTokenVersion` of its manifest), which is why v2 endpoints may give v1 tokens.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(1..=2))]
    token_version: Option<u8>,
    /// A TOML file of app registrations, as a tenant has them: [clients.ID] with secret, redirect-uris and roles are the only
    /// clients to let in; [apis.ID] with identifier-uris, scopes, roles and token-version are the only APIs to give
    /// Entra-shaped tokens for (also --clients) [default: anybody, for anything].
    #[arg(long, value_name = "FILE", alias = "clients")]
    registrations: Option<PathBuf>,
    /// What X-IDENTITY-HEADER must hold at /msi/token [default: anything].
    #[arg(long, value_name = "TEXT")]
    identity_header: Option<String>,
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found: Algorithm =
        text.parse().map_err(|error: crate::identity::algorithm::UnknownAlgorithm| error.to_string())?;
    if found.is_symmetric() {
        Err("a shared secret cannot be published; RS256, ES256 …".to_owned())
    } else {
        Ok(found)
    }
}

pub(super) fn period(text: &str) -> Result<Period, String> {
    let period = Period::parse(text)?;
    if period.0.is_zero() && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        return Err("the time is too short".to_owned());
    }
    Ok(period)
}

fn guid(text: &str) -> Result<String, String> {
    if is_guid(text) { Ok(text.to_ascii_lowercase()) } else { Err("expected a GUID".to_owned()) }
}

fn url(text: &str) -> Result<String, String> {
    let problem = "expected an http or https URL without query or fragment, as in `http://issuer.test:9095`";
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(problem)?;
    if rest.is_empty() || rest.contains(['?', '#', ' ', '@']) {
        return Err(problem.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl IssuerCommand {
    /// Runs the command.
    pub fn run(self) -> u8 {
        serve(self).unwrap_or_else(|code| code)
    }

    fn options(self) -> Result<Options, u8> {
        let registrations = match &self.registrations {
            Some(path) => read_registrations(path)?,
            None => Registrations::default(),
        };
        if self.rotate_every.is_some_and(|every| every.0.is_zero()) {
            complain("error: `--rotate-every` must be longer than nothing\n");
            return Err(exit::USAGE);
        }
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for algorithm in self.algorithms {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        if algorithms.is_empty() {
            algorithms.push(Algorithm::Rs256);
        }
        Ok(Options {
            url: self.url,
            algorithms,
            key_file: self.key_file,
            overlap: self.overlap.0,
            rotate_every: self.rotate_every.map(|every| every.0),
            lifetime: self.lifetime.0,
            tenant: self.tenant,
            token_version: self.token_version,
            registrations,
            identity_header: self.identity_header,
        })
    }
}

fn read_registrations(path: &Path) -> Result<Registrations, u8> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        complain(&format!("error: `{}` cannot be read: {error}\n", path.display()));
        exit::CONFIGURATION
    })?;
    Registrations::read(&text).map_err(|problem| {
        complain(&format!("error: `{}`: {problem}\n", path.display()));
        exit::CONFIGURATION
    })
}

/// Whether only this machine reaches an address.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
    }
}

fn serve(command: IssuerCommand) -> Result<u8, u8> {
    let listen = command.listen;
    let remote = !is_local(listen.ip());
    if remote && !command.allow_remote {
        complain(&format!(
            "error: {listen} is not a loopback address, and whoever reaches this issuer gets any token\n  hint: listen at \
             127.0.0.1, or add --allow-remote when you are sure\n"
        ));
        return Err(exit::USAGE);
    }
    let options = command.options()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(&format!("error: the runtime cannot start: {error}\n"));
        exit::FAILED
    })?;
    // A second log in one process is refused, which an embedder that has set up its own does not mind.
    let _ = process_log::init(process_log::Format::Human, "info");
    runtime.block_on(async {
        let failed = |error: std::io::Error| {
            complain(&format!("error: cannot listen on {listen}: {}\n", listen_error(&error)));
            exit::FAILED
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let issuer = Issuer::new(options, address, Clock::system()).map_err(|error| {
            complain(&format!("error: {error}\n"));
            exit::FAILED
        })?;
        let issuer = Arc::new(issuer);
        let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::user_defined1()].map(signal);
        let [Ok(terminate), Ok(interrupt), Ok(rotate)] = &mut signals else {
            complain("error: signals cannot be received\n");
            return Err(exit::FAILED);
        };
        complain(&banner(&issuer, remote));
        let asked = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    _ = rotate.recv() => {
                        if let Err(error) = issuer.rotate(None).await {
                            tracing::warn!(error, "the signing keys cannot be rotated");
                        }
                    }
                }
            }
        };
        Arc::clone(&issuer).serve(listener, asked).await.map_err(failed)?;
        Ok(exit::OK)
    })
}

/// What a person wants to know after the start.
fn banner(issuer: &Issuer, remote: bool) -> String {
    let url = issuer.url();
    let tenant = issuer.tenant();
    let keys: Vec<String> =
        issuer.keys().published().iter().map(|key| format!("{} {}", key.algorithm(), key.id())).collect();
    let registrations = issuer.registrations();
    let (clients, apis) = (registrations.clients(), registrations.apis());
    let (client, api) = registrations.example();
    // A secret of a file has no business in a terminal.
    let secret = if clients == 0 { "any" } else { "SECRET" };
    let who =
        if clients == 0 { "any client id and secret will do".to_owned() } else { format!("{clients} registered") };
    let what = if apis == 0 { "any audience will do".to_owned() } else { format!("{apis} registered") };
    let warning = if remote { "\n  WARNING   other machines reach it, and get any token" } else { "" };
    format!(
        "Sluicegate {} issuer: FOR DEVELOPMENT ONLY. It gives anybody any token.{warning}
  issuer    {url}
  plain     {url}/.well-known/openid-configuration
  Entra v2  {url}/{tenant}/v2.0/.well-known/openid-configuration
  Entra v1  {url}/{tenant}/.well-known/openid-configuration
  keys      {}
  clients   {who}
  APIs      {what}
Try:
  curl -s {url}/{tenant}/oauth2/v2.0/token -d grant_type=client_credentials -d client_id={client} -d client_secret={secret} -d scope=api://{api}/.default
  sluicegate token mint --issuer {url} --preset entra-v2 --aud api://{api} --scope access_as_user
",
        env!("CARGO_PKG_VERSION"),
        keys.join(", "),
    )
}
