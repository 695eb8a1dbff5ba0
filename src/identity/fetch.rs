//! Fetching a key set over HTTP, trusting nothing about the answer: no redirects, bounded time, size and number of keys.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::key_set::{KeyError, KeySet, clip};
use super::remote_keys::{KeyLocation, RemoteKeysOptions};
use super::subscription::KeyDigest;
use crate::own_request::{ReadError, causes, is_this_machine, read_body};

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
    /// The discovery document names another issuer than the one it was asked for.
    #[error(
        "the discovery document `{url}` names the issuer `{found}`, expected `{expected}` (OpenID Connect Discovery 1.0 §4.3); \
         give `issuer` if that is the one"
    )]
    Issuer {
        /// What was asked.
        url: String,
        /// What the URL is made from.
        expected: String,
        /// What the document says.
        found: String,
    },
    /// The key set cannot be used.
    #[error("the key set of `{url}` cannot be used: {source}{}", media(.kind))]
    Keys {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: KeyError,
        /// The content type of the answer, when that is not JSON: a login page, mostly.
        kind: Option<String>,
    },
    /// Compressed, though nothing else than plain text was asked for.
    #[error("the answer of `{url}` has the content encoding `{found}`, which was not asked for")]
    Encoded {
        /// What was asked.
        url: String,
        /// Its `Content-Encoding`.
        found: String,
    },
    /// The whole fetch took too long.
    #[error("`{url}` took longer than {limit:?}")]
    TooSlow {
        /// What was asked first.
        url: String,
        /// The time for a fetch.
        limit: Duration,
    },
}

fn media(kind: &Option<String>) -> String {
    kind.as_ref().map(|kind| format!(" (its content type is `{kind}`)")).unwrap_or_default()
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

pub(super) fn client(url: &Url, options: &RemoteKeysOptions) -> Result<Client, reqwest::Error> {
    let builder = Client::builder();
    // The proxy of the environment leads out of the network; it cannot lead back to this machine.
    let builder = if url.host_str().is_some_and(is_this_machine) { builder.no_proxy() } else { builder };
    builder
        .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
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
    let too_slow = |_| FetchError::TooSlow { url: location.url().to_owned(), limit: options.timeout };
    tokio::time::timeout(options.timeout, fetch_all(client, location, options)).await.map_err(too_slow)?
}

async fn fetch_all(
    client: &Client,
    location: &KeyLocation,
    options: &RemoteKeysOptions,
) -> Result<Fetched, FetchError> {
    let (url, issuer) = match location {
        KeyLocation::Jwks(url) => (url.clone(), None),
        KeyLocation::Discovery(url) => {
            let Answer { document, kind } = get(client, url, options.max_bytes).await?;
            let discovery: Discovery = serde_json::from_slice(&document).map_err(|error| FetchError::Discovery {
                url: url.clone(),
                problem: format!("{error}{}", media(&kind)),
            })?;
            if options.check_issuer {
                check_issuer(url, &discovery.issuer)?;
            }
            let keys = checked_url(&discovery.jwks_uri, options.allow_http)
                .map_err(|source| FetchError::KeySetUrl { url: url.clone(), source })?;
            (keys.into(), Some(discovery.issuer))
        }
    };
    let Answer { mut document, kind } = get(client, &url, options.max_bytes).await?;
    let (keys, skipped) = KeySet::from_jwks(&document, options.max_keys).map_err(|source| {
        let kind = kind.filter(|_| matches!(source, KeyError::Json(_)));
        FetchError::Keys { url, source, kind }
    })?;
    document.extend_from_slice(issuer.as_deref().unwrap_or_default().as_bytes());
    Ok(Fetched { keys, skipped, issuer: issuer.map(Into::into), content: KeyDigest::of(&document) })
}

/// Whose discovery documents name other issuers than their URLs do, and documentedly so: the issuer has the id of the tenant where
/// the URL has a domain or `common`, and version 1 has another host.
const MICROSOFT: [&str; 10] = [
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "sts.chinacloudapi.cn",
    ".b2clogin.com",
    ".ciamlogin.com",
];

/// OpenID Connect Discovery 1.0 §4.3: the issuer is what the URL had before the well-known part, give or take a slash at its end
/// (§4.1). A URL of another form has nothing to compare with.
fn check_issuer(url: &str, issuer: &str) -> Result<(), FetchError> {
    let Some(expected) = url.strip_suffix("/.well-known/openid-configuration") else { return Ok(()) };
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let known = |name: &&str| host == *name || (name.starts_with('.') && host.ends_with(*name));
    if issuer.strip_suffix('/').unwrap_or(issuer) == expected || MICROSOFT.iter().any(known) {
        return Ok(());
    }
    Err(FetchError::Issuer { url: url.to_owned(), expected: expected.to_owned(), found: clip(issuer) })
}

struct Answer {
    document: Vec<u8>,
    /// Its content type, when that is not JSON.
    kind: Option<String>,
}

async fn get(client: &Client, url: &str, limit: usize) -> Result<Answer, FetchError> {
    let transport =
        |source: reqwest::Error| FetchError::Transport { url: url.to_owned(), source: source.without_url() };
    let request = client.get(url).header(reqwest::header::ACCEPT, "application/json, application/jwk-set+json");
    let response = request.send().await.map_err(transport)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect { url: url.to_owned(), status: status.as_u16() });
    }
    if status != reqwest::StatusCode::OK {
        return Err(FetchError::Status { url: url.to_owned(), status: status.as_u16() });
    }
    let field = |name| response.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if let Some(found) = field(http::header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(FetchError::Encoded { url: url.to_owned(), found: clip(found) });
    }
    let kind = field(http::header::CONTENT_TYPE).filter(|kind| !kind.contains("json")).map(clip);
    let document = read_body(response, limit).await.map_err(|error| match error {
        ReadError::TooLarge => FetchError::TooLarge { url: url.to_owned(), limit },
        ReadError::Transport(error) => transport(error),
    })?;
    Ok(Answer { document, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_document_speaks_for_the_issuer_it_was_asked_for() {
        struct Case {
            url: &'static str,
            issuer: &'static str,
            want: bool,
        }
        let known = "/.well-known/openid-configuration";
        for Case { url, issuer, want } in [
            Case { url: "https://a.example", issuer: "https://a.example", want: true },
            Case { url: "https://a.example", issuer: "https://a.example/", want: true },
            Case { url: "https://a.example/t", issuer: "https://a.example/t", want: true },
            Case { url: "https://a.example/t", issuer: "https://a.example/T", want: false },
            Case { url: "https://a.example", issuer: "https://b.example", want: false },
            Case { url: "https://a.example", issuer: "http://a.example", want: false },
            Case { url: "https://a.example", issuer: "", want: false },
            Case {
                url: "https://login.microsoftonline.com/contoso.com/v2.0",
                issuer: "https://login.microsoftonline.com/aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb/v2.0",
                want: true,
            },
            Case {
                url: "https://contoso.b2clogin.com/contoso/b2c_1/v2.0",
                issuer: "https://contoso.b2clogin.com/1/v2.0/",
                want: true,
            },
            Case { url: "https://evil-b2clogin.com", issuer: "https://contoso.b2clogin.com", want: false },
            Case {
                url: "https://login.microsoftonline.com.example",
                issuer: "https://sts.windows.net/x/",
                want: false,
            },
        ] {
            assert_eq!(check_issuer(&format!("{url}{known}"), issuer).is_ok(), want, "{url} {issuer}");
        }
        assert!(
            check_issuer("https://a.example/configuration", "https://b.example").is_ok(),
            "nothing to compare with"
        );
    }

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
