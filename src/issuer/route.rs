//! The paths of the local issuer, and the parameters of its requests.

use std::borrow::Cow;

use super::mint::Preset;
use crate::routing::query;

/// Under which name somebody asks, and so in what shape tokens come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Realm {
    pub(super) preset: Preset,
    /// The tenant as written in the path; empty for the plain endpoints.
    pub(super) tenant: String,
}

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Discovery(Realm),
    Keys,
    Authorize(Realm),
    Token(Realm),
    UserInfo,
    Metadata,
    AppService,
    Rotate,
    Mint,
    Faults,
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        let plain = || Realm { preset: Preset::Plain, tenant: String::new() };
        let v1 = |tenant: &str| Realm { preset: Preset::EntraV1, tenant: query::decode(tenant).into_owned() };
        let v2 = |tenant: &str| Realm { preset: Preset::EntraV2, tenant: query::decode(tenant).into_owned() };
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        Some(match segments.as_slice() {
            [""] => Self::Index,
            [".well-known", "openid-configuration" | "oauth-authorization-server"] => Self::Discovery(plain()),
            ["jwks"] => Self::Keys,
            ["authorize"] => Self::Authorize(plain()),
            ["token"] => Self::Token(plain()),
            ["userinfo"] => Self::UserInfo,
            ["metadata", "identity", "oauth2", "token"] => Self::Metadata,
            ["msi", "token"] => Self::AppService,
            ["-", "rotate"] => Self::Rotate,
            ["-", "mint"] => Self::Mint,
            ["-", "faults"] => Self::Faults,
            ["" | "-", ..] => return None,
            [tenant, "v2.0", ".well-known", "openid-configuration"] => Self::Discovery(v2(tenant)),
            [tenant, ".well-known", "openid-configuration"] => Self::Discovery(v1(tenant)),
            [_, "discovery", "keys"] | [_, "discovery", "v2.0", "keys"] => Self::Keys,
            [tenant, "oauth2", "v2.0", "authorize"] => Self::Authorize(v2(tenant)),
            [tenant, "oauth2", "authorize"] => Self::Authorize(v1(tenant)),
            [tenant, "oauth2", "v2.0", "token"] => Self::Token(v2(tenant)),
            [tenant, "oauth2", "token"] => Self::Token(v1(tenant)),
            [_, "openid", "userinfo"] => Self::UserInfo,
            _ => return None,
        })
    }

    /// The methods that the path takes.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Index | Self::Discovery(_) | Self::Keys | Self::Metadata | Self::AppService => "GET",
            Self::Authorize(_) | Self::UserInfo => "GET, POST",
            Self::Token(_) | Self::Rotate | Self::Mint => "POST",
            Self::Faults => "POST, DELETE",
        }
    }
}

/// The parameters of a query or a form.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn read(text: &str) -> Self {
        Self(query::pairs(text).map(|pair| (pair.name().into_owned(), pair.value().into_owned())).collect())
    }

    /// The first value of a parameter; one without a value counts as absent (RFC 6749 §3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The words of a parameter.
    pub(super) fn words(&self, name: &str) -> Vec<&str> {
        self.get(name).unwrap_or_default().split_ascii_whitespace().collect()
    }

    /// A parameter that came twice, which RFC 6749 §3.1 forbids; `resource` and `audience` may (RFC 8707 §2, RFC 8693 §2.1).
    pub(super) fn repeated(&self) -> Option<Cow<'_, str>> {
        let may = |name: &str| matches!(name, "resource" | "audience");
        let (name, _) = self.0.iter().enumerate().find_map(|(at, pair)| {
            (!may(&pair.0) && self.0[..at].iter().any(|(earlier, _)| *earlier == pair.0)).then_some(pair)
        })?;
        Some(Cow::Borrowed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let realm = |preset, tenant: &str| Realm { preset, tenant: tenant.to_owned() };
        for (path, want) in [
            ("/", Some(Route::Index)),
            ("/.well-known/openid-configuration", Some(Route::Discovery(realm(Preset::Plain, "")))),
            (
                "/contoso/v2.0/.well-known/openid-configuration",
                Some(Route::Discovery(realm(Preset::EntraV2, "contoso"))),
            ),
            ("/contoso/.well-known/openid-configuration", Some(Route::Discovery(realm(Preset::EntraV1, "contoso")))),
            ("/contoso/discovery/v2.0/keys", Some(Route::Keys)),
            ("/contoso/oauth2/v2.0/token", Some(Route::Token(realm(Preset::EntraV2, "contoso")))),
            ("/contoso/oauth2/token", Some(Route::Token(realm(Preset::EntraV1, "contoso")))),
            ("/con%74oso/oauth2/authorize", Some(Route::Authorize(realm(Preset::EntraV1, "contoso")))),
            ("/msi/token", Some(Route::AppService)),
            ("/-/rotate", Some(Route::Rotate)),
            ("/-/oauth2/token", None),
            ("//oauth2/token", None),
            ("/contoso/oauth2/token/", None),
            ("/contoso", None),
        ] {
            assert_eq!(Route::of(path), want, "{path}");
        }
    }

    #[test]
    fn parameters() {
        let form = Form::read("scope=a+b%20c&x=&resource=1&resource=2");
        assert_eq!(form.words("scope"), ["a", "b", "c"]);
        assert_eq!(form.get("x"), None);
        assert_eq!(form.repeated(), None);
        assert_eq!(Form::read("a=1&b=2&a=3").repeated().as_deref(), Some("a"));
    }
}
