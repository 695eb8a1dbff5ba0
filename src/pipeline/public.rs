//! The gateway's address as callers know it, which links in answers begin with.

use std::borrow::Cow;
use std::sync::Arc;

use http::Uri;

use super::Exchange;
use crate::forwarded::Scheme;
use crate::routing::{Sent, WayBack};
use crate::server::authority::Authority;

/// `[server] public-url`: the address of the gateway when it is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: Scheme,
    authority: Box<str>,
    /// What a proxy in front takes off; empty, or begins with `/` and does not end with it.
    path: Box<str>,
}

impl PublicUrl {
    /// Reads a URL; none when it is not one that links can begin with.
    pub fn parse(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let scheme = match url.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let value = http::HeaderValue::from_str(url.authority()?.as_str()).ok()?;
        let authority = Authority::parse(&value)?;
        if url.query().is_some() || text.contains('#') {
            return None;
        }
        let path = url.path().trim_end_matches('/').into();
        Some(Self { scheme, authority: authority.as_str().into(), path })
    }
}

impl Exchange {
    /// The scheme that the client used, at the outermost trusted proxy.
    pub fn public_scheme(&self) -> &'static str {
        match (&self.gateway.settings.public_url, self.outside.scheme) {
            (Some(url), _) => url.scheme.as_str(),
            (None, Some(scheme)) => scheme.as_str(),
            (None, None) => self.scheme(),
        }
    }

    /// Host and port as the client named them, at the outermost trusted proxy; empty when it named none.
    pub fn public_authority(&self) -> Cow<'_, str> {
        if let Some(url) = &self.gateway.settings.public_url {
            return Cow::Borrowed(&url.authority);
        }
        match self.outside.host.as_ref().and_then(Authority::parse) {
            Some(host) => Cow::Owned(host.as_str().to_owned()),
            None => Cow::Borrowed(self.authority()),
        }
    }

    /// What every public URL of the gateway begins with: scheme, authority, and the path that a proxy in front takes off.
    pub fn public_origin(&self) -> String {
        let path = self.gateway.settings.public_url.as_ref().map_or("", |url| &*url.path);
        format!("{}://{}{path}", self.public_scheme(), self.public_authority())
    }

    /// From the backend's paths to the public ones; none where they are the same.
    pub fn way_back(&self) -> Option<&WayBack> {
        let api = &self.operation.as_ref()?.api;
        let build = || {
            let own = self.gateway.operations.iter().filter(|operation| Arc::ptr_eq(&operation.api, api));
            let ways = own.flat_map(|one| one.pipeline.sent.iter().map(move |sent| (one, sent)));
            let all = ways.map(|(one, sent)| (one.method.as_ref(), &one.template, sent));
            all.clone().any(|(.., sent)| *sent != Sent::Same).then(|| WayBack::new(all))
        };
        api.way_back.get_or_init(build).as_ref()
    }

    /// The base path of the API as the client wrote it, its version included.
    pub fn base_path(&self) -> &str {
        self.target.path().get(..self.base_len as usize).unwrap_or_default()
    }

    /// The path below the base path of the API as the client wrote it.
    pub fn operation_path(&self) -> &str {
        match self.target.path().get(self.base_len as usize..) {
            None | Some("") => "/",
            Some(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_links_begin_with() {
        for (text, want) in [
            ("https://api.contoso.com", Some("https://api.contoso.com")),
            ("https://API.contoso.com/", Some("https://api.contoso.com")),
            ("http://127.0.0.1:8080/gateway/", Some("http://127.0.0.1:8080/gateway")),
            ("ftp://api.contoso.com", None),
            ("api.contoso.com", None),
            ("/gateway", None),
            ("https://user@api.contoso.com", None),
            ("https://api.contoso.com?x=1", None),
            ("https://api.contoso.com/#x", None),
        ] {
            let got = PublicUrl::parse(text);
            let got = got.map(|url| format!("{}://{}{}", url.scheme.as_str(), url.authority, url.path));
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
