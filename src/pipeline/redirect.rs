//! Sending a request again: what is kept of it, and where redirections within a backend lead.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::{PathAndQuery, Uri};
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use crate::backend::Endpoint;
use crate::body::Body;
use crate::routing;

/// What is kept of a request so that it can be sent again, also to another path.
pub(super) struct Original {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    /// None when the body is a stream, which can be sent only once.
    body: Option<Body>,
}

impl Original {
    /// Keeps what a redirection needs of a request.
    pub(super) fn of(request: &Request<Body>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
            body: request.body().try_clone(),
        }
    }

    /// The request that follows a redirection; none where it must not be followed (RFC 9110 §15.4): it leaves the endpoint's
    /// base URL, or the body would have to be sent again and is gone, or the method must not change.
    pub(super) fn redirected(&mut self, endpoint: &Endpoint, response: &Response<Body>) -> Option<Box<Request<Body>>> {
        let safe = matches!(self.method, Method::GET | Method::HEAD);
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if safe => false,
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return None,
        };
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let uri = Uri::from(resolve(location, &self.uri, endpoint)?);
        if becomes_get {
            self.method = Method::GET;
            self.body = Some(Body::Empty);
            for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
                self.headers.remove(name);
            }
        }
        self.uri = uri;
        self.again()
    }

    /// Puts a header in place of those of its name.
    pub(super) fn replace(&mut self, name: HeaderName, value: &HeaderValue) {
        self.headers.insert(name, value.clone());
    }

    /// The same request once more; none when its body is gone.
    pub(super) fn again(&self) -> Option<Box<Request<Body>>> {
        let mut request = Box::new(Request::new(self.body.as_ref()?.try_clone()?));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        Some(request)
    }
}

/// The target below the endpoint's base path that a `Location` means (RFC 3986 §5.2); none when it lies elsewhere.
fn resolve(location: &str, current: &Uri, endpoint: &Endpoint) -> Option<PathAndQuery> {
    let location = location.split('#').next().unwrap_or_default();
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let base = endpoint.base_path();
    let path: Cow<'_, str> = if let Some(rest) = path.strip_prefix("//") {
        Cow::Owned(below(&format!("{}://{rest}", endpoint.scheme()), endpoint)?)
    } else if path.starts_with('/') {
        Cow::Borrowed(path)
    } else if path.split('/').next().is_some_and(|first| first.contains(':')) {
        Cow::Owned(below(path, endpoint)?)
    } else if path.is_empty() {
        Cow::Owned(format!("{base}{}", current.path()))
    } else {
        let folder = current.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        Cow::Owned(format!("{base}{folder}/{path}"))
    };
    let path = routing::normalise(&path).ok()?;
    let inside = path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let slash = if inside.is_empty() { "/" } else { "" };
    let target = match query {
        Some(query) => format!("{slash}{inside}?{query}"),
        None => format!("{slash}{inside}"),
    };
    PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()
}

/// The path of an absolute URL, when it is on the endpoint.
fn below(url: &str, endpoint: &Endpoint) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let default = if endpoint.scheme() == "https" { 443 } else { 80 };
    let same = url.scheme_str() == Some(endpoint.scheme())
        && host.eq_ignore_ascii_case(endpoint.host())
        && authority.port_u16().unwrap_or(default) == endpoint.port();
    same.then(|| url.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::EndpointSettings;

    #[test]
    fn a_location_is_resolved_within_the_base_url() {
        let endpoint =
            Endpoint::new(&"http://erp.example:8000/v1".parse().unwrap(), EndpointSettings::default()).unwrap();
        for (location, want) in [
            ("/v1/b?x=1#top", Some("/b?x=1")),
            ("/v1", Some("/")),
            ("/v1?x=1", Some("/?x=1")),
            ("b", Some("/orders/b")),
            ("../b", Some("/b")),
            ("?page=2", Some("/orders/7?page=2")),
            ("", Some("/orders/7")),
            ("http://ERP.example:8000/v1/b", Some("/b")),
            ("//erp.example:8000/v1/b", Some("/b")),
            ("/v2/b", None),
            ("/v10/b", None),
            ("/v1/../admin", None),
            ("../../admin", None),
            ("https://erp.example:8000/v1/b", None),
            ("http://erp.example/v1/b", None),
            ("//evil.example/v1/b", None),
            ("http://u@erp.example:8000/v1/b", None),
            ("mailto:a@b.example", None),
            ("http:/v1/b", None),
        ] {
            let got = resolve(location, &Uri::from_static("/orders/7?page=1"), &endpoint);
            assert_eq!(got.as_ref().map(PathAndQuery::as_str), want, "{location}");
        }
    }
}
