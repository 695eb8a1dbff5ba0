//! One request for a token or a secret, trusting nothing about the answer: no redirects, bounded time and size.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};

use super::asked::Watched;
use super::error::CredentialError;
use crate::own_request::{ReadError, causes, is_this_machine, read_body};
use crate::telemetry::Redactor;

/// The longest answer that is read.
const LIMIT: usize = 64 * 1024;
/// The longest that an endpoint may ask to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How the gateway names itself.
pub(super) const USER_AGENT: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));

/// A client for one endpoint.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    url: Url,
    /// The URL as it may be shown.
    shown: String,
}

/// An answer that was read.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// What it wants to be shown (RFC 9110 §11.6.1).
    pub(super) challenge: Option<String>,
}

/// A URL that secrets are not sent to, or a client that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum UrlProblem {
    /// Not a URL.
    #[error("`{0}` is not a URL")]
    Syntax(String),
    /// Neither HTTPS nor to this machine.
    #[error("expected an `https` URL, found `{0}`: a secret must not travel unprotected")]
    Scheme(String),
    /// A name or password in the URL, which would end up in logs.
    #[error("a user name or password in the URL is not supported")]
    Credentials,
    /// The file of authorities cannot be used.
    #[error("the authorities cannot be used: {0}")]
    Authorities(String),
    /// TLS could not be set up.
    #[error("the HTTPS client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// Addresses of the link (RFC 3927): an identity endpoint is there.
fn is_link_local(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_link_local())
}

impl Http {
    /// A client for the endpoint at a URL. Plain `http` is for this machine only, unless `local` says that the endpoint is
    /// part of the platform: an identity endpoint is never reached over a network.
    ///
    /// # Errors
    /// When the URL is refused, or TLS cannot be set up.
    pub fn new(text: &str, local: bool, timeout: Duration, authorities: Option<&Path>) -> Result<Self, UrlProblem> {
        let shown = || Redactor::default().url(text).chars().take(200).collect::<String>();
        let url = Url::parse(text).map_err(|_| UrlProblem::Syntax(shown()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlProblem::Credentials);
        }
        let host = url.host_str().ok_or_else(|| UrlProblem::Syntax(shown()))?;
        match url.scheme() {
            "https" => {}
            "http" if local || is_this_machine(host) => {}
            _ => return Err(UrlProblem::Scheme(shown())),
        }
        // A proxy leads out of the network; it cannot lead back to this machine or its link.
        let direct = local || is_this_machine(host) || is_link_local(host);
        let builder = Client::builder();
        let builder = if direct { builder.no_proxy() } else { builder };
        let builder = match authorities {
            None => builder,
            Some(path) => {
                let fail = |error: &dyn std::fmt::Display| UrlProblem::Authorities(error.to_string());
                let pem = std::fs::read(path).map_err(|error| fail(&error))?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fail(&error))?;
                if certificates.is_empty() {
                    return Err(fail(&"it holds no certificate in PEM"));
                }
                builder.tls_certs_only(certificates)
            }
        };
        let client = builder
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(UrlProblem::Client)?;
        Ok(Self { client, url, shown: shown().split('?').next().unwrap_or_default().to_owned() })
    }

    /// The URL as it may be shown, without its query.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The host that is asked.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// A GET of the URL with a query.
    pub(super) fn get(&self, query: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        let query = match url.query() {
            Some(own) if !own.is_empty() => format!("{own}&{query}"),
            _ => query.to_owned(),
        };
        url.set_query(Some(&query));
        self.client.get(url)
    }

    /// A POST of a form.
    pub(super) fn post(&self, form: String) -> RequestBuilder {
        let kind = "application/x-www-form-urlencoded";
        self.client.post(self.url.clone()).header(reqwest::header::CONTENT_TYPE, kind).body(form)
    }

    /// Sends a request and reads all of the answer. What goes over the wire is told to `watched`.
    ///
    /// # Errors
    /// When there is none, or it is too long, a redirect, or `429` or above `499`.
    pub(super) async fn ask(
        &self,
        request: RequestBuilder,
        mut watched: Option<&mut Watched>,
    ) -> Result<Reply, CredentialError> {
        let url = || self.shown.clone();
        let transport =
            |error: reqwest::Error| CredentialError::Transport { url: url(), problem: causes(&error.without_url()) };
        let request = request.header(reqwest::header::ACCEPT, "application/json").build().map_err(transport)?;
        if let Some(watched) = &mut watched {
            watched.sent(&request);
        }
        let response = self.client.execute(request).await.map_err(transport)?;
        if let Some(watched) = &mut watched {
            watched.answered(&response);
        }
        let status = response.status();
        if status.is_redirection() {
            return Err(CredentialError::Redirect { url: url(), status: status.as_u16() });
        }
        if status.as_u16() == 429 || status.is_server_error() {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
            if let Some(watched) = watched {
                read_body(response, LIMIT).await.ok().iter().for_each(|body| watched.read(body));
            }
            return Err(CredentialError::Unavailable { url: url(), status: status.as_u16(), retry_after });
        }
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.map(str::to_owned);
        let body = read_body(response, LIMIT).await.map_err(|error| match error {
            ReadError::TooLarge => CredentialError::TooLarge { url: url(), limit: LIMIT },
            ReadError::Transport(error) => transport(error),
        })?;
        if let Some(watched) = watched {
            watched.read(&body);
        }
        Ok(Reply { status: status.as_u16(), body, challenge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_protected_or_stay_on_this_machine() {
        for (url, local, want) in [
            ("https://login.example/token", false, true),
            ("http://login.example/token", false, false),
            ("http://localhost:8080/token", false, true),
            ("http://127.8.9.1/token", false, true),
            ("http://[::1]:81/token", false, true),
            ("http://localhost.example/token", false, false),
            ("http://169.254.169.254/metadata", false, false),
            ("http://169.254.169.254/metadata", true, true),
            ("https://user:word@login.example/", false, false),
            ("file:///etc/passwd", true, false),
            ("/token", false, false),
        ] {
            let built = Http::new(url, local, Duration::from_secs(1), None);
            assert_eq!(built.is_ok(), want, "{url}, local {local}: {built:?}");
        }
    }
}
