//! Fetching a key set over HTTP, trusting nothing about the answer: no redirects, bounded time, size and number of keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::key_set::{KeyError, KeySet, clip};
use super::remote_keys::{KeyLocation, RemoteKeysOptions};
use super::subscription::KeyDigest;

/// Why keys could not be fetched. For the log: it names hosts.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer: the connection failed, broke or took too long.
    #[error("`{url}` did not answer: {}", causes(.source))]
    Transport {
        /// What was asked.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// A redirect, which is refused: the keys of an issuer are where the configuration says, nowhere else.
    #[error("`{url}` answered with a redirect ({status}), which is refused")]
    Redirect {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// Any other status than `200`.
    #[error("`{url}` answered with status {status}, expected 200")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer is too long.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The longest that is read.
        limit: usize,
    },
    /// The discovery document is not one.
    #[error("`{url}` is not an OpenID Connect discovery document: {problem}")]
    Discovery {
        /// What was asked.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The discovery document sends us somewhere we do not go.
    #[error("the `jwks_uri` of `{url}` cannot be used: {source}")]
    KeySetUrl {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// The key set cannot be used.
    #[error("the key set of `{url}` cannot be used: {source}")]
    Keys {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// A URL that keys are not fetched from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("`{0}` is not a URL")]
    Syntax(String),
    /// Neither HTTPS nor to this machine.
    #[error("expected an `https` URL, found `{0}`: keys that come unprotected can be replaced on the way")]
    Scheme(String),
    /// A name or password in the URL, which would end up in logs.
    #[error("a user name or password in the URL is not supported")]
    Credentials,
}

/// Only `https`, unless the host is this machine or `allow_http` is set.
pub(super) fn checked_url(text: &str, allow_http: bool) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::Syntax(clip(text)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    let host = url.host_str().ok_or_else(|| UrlError::Syntax(clip(text)))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_this_machine(host) || allow_http => Ok(url),
        _ => Err(UrlError::Scheme(clip(text))),
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn client(url: &Url, options: &RemoteKeysOptions) -> Result<Client, reqwest::Error> {
    let builder = Client::builder();
    // The proxy of the environment leads out of the network; it cannot lead back to this machine.
    let builder = if url.host_str().is_some_and(is_this_machine) { builder.no_proxy() } else { builder };
    builder
        .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .timeout(options.timeout)
        .connect_timeout(options.timeout.min(Duration::from_secs(5)))
        // One request an hour: a kept connection would be dead by the next.
        .pool_max_idle_per_host(0)
        .build()
}

pub(super) struct Fetched {
    pub(super) keys: KeySet,
    pub(super) skipped: Vec<KeyError>,
    /// What discovery says the issuer is.
    pub(super) issuer: Option<Arc<str>>,
    /// Tells whether this is what was fetched before.
    pub(super) content: KeyDigest,
}

// What is read of OpenID Connect Discovery 1.0 §3.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

pub(super) async fn fetch(
    client: &Client,
    location: &KeyLocation,
    options: &RemoteKeysOptions,
) -> Result<Fetched, FetchError> {
    let (url, issuer) = match location {
        KeyLocation::Jwks(url) => (url.clone(), None),
        KeyLocation::Discovery(url) => {
            let document = get(client, url, options.max_bytes).await?;
            let discovery: Discovery = serde_json::from_slice(&document)
                .map_err(|error| FetchError::Discovery { url: url.clone(), problem: error.to_string() })?;
            let keys = checked_url(&discovery.jwks_uri, options.allow_http)
                .map_err(|source| FetchError::KeySetUrl { url: url.clone(), source })?;
            (keys.into(), Some(discovery.issuer))
        }
    };
    let mut document = get(client, &url, options.max_bytes).await?;
    let (keys, skipped) =
        KeySet::from_jwks(&document, options.max_keys).map_err(|source| FetchError::Keys { url, source })?;
    document.extend_from_slice(issuer.as_deref().unwrap_or_default().as_bytes());
    Ok(Fetched { keys, skipped, issuer: issuer.map(Into::into), content: KeyDigest::of(&document) })
}

async fn get(client: &Client, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
    let transport =
        |source: reqwest::Error| FetchError::Transport { url: url.to_owned(), source: source.without_url() };
    let too_large = || FetchError::TooLarge { url: url.to_owned(), limit };
    let request = client.get(url).header(reqwest::header::ACCEPT, "application/json, application/jwk-set+json");
    let mut response = request.send().await.map_err(transport)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect { url: url.to_owned(), status: status.as_u16() });
    }
    if status != reqwest::StatusCode::OK {
        return Err(FetchError::Status { url: url.to_owned(), status: status.as_u16() });
    }
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if document.len() + chunk.len() > limit {
            return Err(too_large());
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_protected_or_from_this_machine() {
        struct Case {
            url: &'static str,
            allow_http: bool,
            want: bool,
        }
        for Case { url, allow_http, want } in [
            Case { url: "https://issuer.example/keys", allow_http: false, want: true },
            Case { url: "http://issuer.example/keys", allow_http: false, want: false },
            Case { url: "http://issuer.example/keys", allow_http: true, want: true },
            Case { url: "http://localhost:8080/keys", allow_http: false, want: true },
            Case { url: "http://LOCALHOST/keys", allow_http: false, want: true },
            Case { url: "http://127.8.9.1/keys", allow_http: false, want: true },
            Case { url: "http://[::1]:81/keys", allow_http: false, want: true },
            Case { url: "http://[::2]/keys", allow_http: false, want: false },
            Case { url: "http://localhost.example/keys", allow_http: false, want: false },
            Case { url: "http://127.0.0.1.example/keys", allow_http: false, want: false },
            Case { url: "https://user:word@issuer.example/", allow_http: true, want: false },
            Case { url: "file:///etc/passwd", allow_http: true, want: false },
            Case { url: "ftp://localhost/keys", allow_http: true, want: false },
            Case { url: "/keys", allow_http: true, want: false },
            Case { url: "", allow_http: true, want: false },
        ] {
            assert_eq!(checked_url(url, allow_http).is_ok(), want, "{url}, allow_http {allow_http}");
        }
    }
}
