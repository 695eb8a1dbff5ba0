//! Whose tokens a policy accepts, and where people sign in for them.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::Source;
use super::walk::Found;
use crate::config::spec::IssuerSpec;

/// Where Microsoft Entra ID signs people in: <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>.
const ENTRA: &str = "https://login.microsoftonline.com";
const ENTRA_HOSTS: [&str; 6] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "login.windows.net",
    "sts.windows.net",
];
/// What stands for every tenant.
const ANY_TENANT: [&str; 3] = ["common", "organizations", "{tenantid}"];
/// What stands in place of a URL that the maker has to fill in. Nothing answers there (RFC 2606 §2).
const FILL_IN: &str = "https://fill-in.invalid";
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Who makes the tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Maker {
    /// Microsoft Entra ID: where it signs people in, and for which tenant.
    Entra { authority: String, tenant: String },
    /// Another one: its `iss` or its discovery document without the usual end; none where only keys are known.
    Other(Option<String>),
}

/// Whose tokens are accepted, and what they are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Issuer {
    pub(super) maker: Maker,
    pub(super) audience: Option<String>,
    pub(super) scopes: BTreeSet<String>,
}

/// Where people sign in, and where tokens are fetched.
pub(super) struct Endpoints {
    pub(super) authorization: String,
    pub(super) token: String,
}

impl Issuer {
    /// Who it is, for people.
    pub(super) fn text(&self) -> String {
        match &self.maker {
            Maker::Entra { tenant, .. } => format!("Microsoft Entra ID (`{tenant}`)"),
            Maker::Other(Some(name)) => format!("`{name}`"),
            Maker::Other(None) => "an issuer that is known by its keys only".to_owned(),
        }
    }

    pub(super) fn is_entra(&self) -> bool {
        matches!(self.maker, Maker::Entra { .. })
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        let known = match &self.maker {
            Maker::Entra { authority, tenant } => {
                Some((format!("{authority}/{tenant}/oauth2/authorize"), format!("{authority}/{tenant}/oauth2/token")))
            }
            Maker::Other(name) => name.as_deref().and_then(usual),
        };
        match known {
            Some((authorization, token)) => Endpoints { authorization, token },
            None => Endpoints {
                authorization: format!("{FILL_IN}/authorization-url"),
                token: format!("{FILL_IN}/token-url"),
            },
        }
    }
}

/// Whether a URL is one that the maker has to fill in.
pub(super) fn is_to_fill_in(url: &str) -> bool {
    url.starts_with(FILL_IN)
}

/// The two endpoints of issuers whose documentation says where they are.
fn usual(issuer: &str) -> Option<(String, String)> {
    let issuer = issuer.trim_end_matches('/');
    let (host, path) = issuer.split_once("://")?.1.split_once('/').unwrap_or((issuer.split_once("://")?.1, ""));
    let pair =
        |authorization: &str, token: &str| Some((format!("{issuer}{authorization}"), format!("{issuer}{token}")));
    if path.rsplit('/').nth(1) == Some("realms") {
        // Keycloak: https://www.keycloak.org/securing-apps/oidc-layers#_oauth21-support
        return pair("/protocol/openid-connect/auth", "/protocol/openid-connect/token");
    }
    if host.ends_with(".auth0.com") {
        return pair("/authorize", "/oauth/token");
    }
    if host.ends_with(".okta.com") || host.ends_with(".oktapreview.com") || host.ends_with(".okta-emea.com") {
        let own = if path.is_empty() { "/oauth2/v1" } else { "/v1" };
        return pair(&format!("{own}/authorize"), &format!("{own}/token"));
    }
    if host == "accounts.google.com" {
        let token = "https://oauth2.googleapis.com/token".to_owned();
        return Some(("https://accounts.google.com/o/oauth2/v2/auth".to_owned(), token));
    }
    if host.ends_with(".b2clogin.com") || host.ends_with(".ciamlogin.com") {
        let base = issuer.strip_suffix("/v2.0")?;
        return Some((format!("{base}/oauth2/v2.0/authorize"), format!("{base}/oauth2/v2.0/token")));
    }
    None
}

/// Whose tokens a policy accepts, in the order it names them.
pub(super) fn issuers(source: &Source<'_>, found: &Found<'_>) -> Vec<Issuer> {
    let mut makers: Vec<Maker> = Vec::new();
    let mut add = |maker: Maker| {
        if !makers.contains(&maker) {
            makers.push(maker);
        }
    };
    for name in found.texts("issuer").into_iter().chain(found.texts("issuers")) {
        match source.document.issuers.iter().find(|one| one.name.get_ref() == name) {
            Some(issuer) => add(of_spec(name, &issuer.spec)),
            None => add(of_url(name)),
        }
    }
    found.texts("openid-config").into_iter().for_each(|url| add(of_url(url)));
    found.texts("accepted-issuers").into_iter().for_each(|url| add(of_url(url)));
    if found.name() == "validate-azure-ad-token" && makers.is_empty() {
        makers.push(entra(found.text("authority"), found.text("tenant-id"), found.texts("tenants").first().copied()));
    }
    if makers.is_empty() {
        // A set of keys tells who signs with them, unless it is written into the policy.
        makers.push(found.text("jwks-url").map_or(Maker::Other(None), of_url));
    }
    let audience = found.text("audiences").or_else(|| found.text("backend-application-ids")).map(str::to_owned);
    let mut scopes: BTreeSet<String> = found.texts("scopes").into_iter().map(str::to_owned).collect();
    for claim in found.tables("required-claims") {
        let text = |key: &str| claim.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref());
        if let (Some(DeValue::String(name)), Some(DeValue::Array(values))) = (text("name"), text("values"))
            && matches!(&**name, "scp" | "scope")
        {
            scopes.extend(values.iter().filter_map(|value| value.get_ref().as_str().map(str::to_owned)));
        }
    }
    makers.into_iter().map(|maker| Issuer { maker, audience: audience.clone(), scopes: scopes.clone() }).collect()
}

fn of_spec(name: &str, spec: &IssuerSpec) -> Maker {
    if let Some(own) = &spec.entra {
        let text = |value: &Option<crate::config::At<String>>| value.as_ref().map(|value| value.value.clone());
        let first = own.value.tenants.first().map(|tenant| tenant.value.as_str());
        return entra(text(&own.value.authority).as_deref(), text(&own.value.tenant_id).as_deref(), first);
    }
    let url = spec.issuer.as_ref().or(spec.openid_config.as_ref()).or(spec.jwks_url.as_ref());
    url.map_or_else(|| Maker::Other(Some(name.to_owned())), |url| of_url(&url.value))
}

/// A tenant that is one, else every tenant: people of others are refused by the gateway.
fn entra(authority: Option<&str>, tenant: Option<&str>, first: Option<&str>) -> Maker {
    let tenant = tenant.filter(|tenant| !ANY_TENANT.contains(&tenant.to_ascii_lowercase().as_str()));
    let tenant = tenant.or(first).unwrap_or("common");
    let authority = authority.unwrap_or(ENTRA).trim_end_matches('/');
    Maker::Entra { authority: authority.to_owned(), tenant: tenant.to_owned() }
}

/// Whose a URL is: of a discovery document, an `iss`, or a set of keys.
fn of_url(url: &str) -> Maker {
    let host_and_path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = host_and_path.split_once('/').unwrap_or((host_and_path, ""));
    if !ENTRA_HOSTS.contains(&host.to_ascii_lowercase().as_str()) {
        return Maker::Other(Some(url.strip_suffix(DISCOVERY).unwrap_or(url).trim_end_matches('/').to_owned()));
    }
    let tenant = path.split('/').next().filter(|tenant| !tenant.is_empty());
    // The issuer of tokens of version 1 is no place to sign in at.
    let authority = if host.starts_with("sts.") { ENTRA.to_owned() } else { format!("https://{host}") };
    entra(Some(&authority), tenant, None)
}

#[cfg(test)]
mod tests {
    use super::{Issuer, Maker, is_to_fill_in, of_url};

    #[test]
    fn makers() {
        struct Case {
            url: &'static str,
            /// Authority and tenant of Entra ID.
            entra: Option<(&'static str, &'static str)>,
            /// Where people sign in, when it is known.
            authorization: Option<&'static str>,
        }
        for Case { url, entra, authorization } in [
            Case {
                url: "https://login.microsoftonline.com/contoso.com/v2.0/.well-known/openid-configuration",
                entra: Some(("https://login.microsoftonline.com", "contoso.com")),
                authorization: Some("https://login.microsoftonline.com/contoso.com/oauth2/authorize"),
            },
            Case {
                url: "https://sts.windows.net/5c6ff1a5-4a0b-4b39-ae4b-5b8c2b4ac8f3/",
                entra: Some(("https://login.microsoftonline.com", "5c6ff1a5-4a0b-4b39-ae4b-5b8c2b4ac8f3")),
                authorization: Some(
                    "https://login.microsoftonline.com/5c6ff1a5-4a0b-4b39-ae4b-5b8c2b4ac8f3/oauth2/authorize",
                ),
            },
            Case {
                url: "https://login.microsoftonline.us/organizations/v2.0",
                entra: Some(("https://login.microsoftonline.us", "common")),
                authorization: Some("https://login.microsoftonline.us/common/oauth2/authorize"),
            },
            Case {
                url: "https://login.microsoftonline.com.evil.example/contoso/v2.0",
                entra: None,
                authorization: None,
            },
            Case {
                url: "https://id.contoso.com/realms/staff/.well-known/openid-configuration",
                entra: None,
                authorization: Some("https://id.contoso.com/realms/staff/protocol/openid-connect/auth"),
            },
            Case {
                url: "https://contoso.eu.auth0.com/",
                entra: None,
                authorization: Some("https://contoso.eu.auth0.com/authorize"),
            },
            Case {
                url: "https://contoso.okta.com/oauth2/default",
                entra: None,
                authorization: Some("https://contoso.okta.com/oauth2/default/v1/authorize"),
            },
            Case {
                url: "https://contoso.okta.com",
                entra: None,
                authorization: Some("https://contoso.okta.com/oauth2/v1/authorize"),
            },
            Case {
                url: "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_in/v2.0/.well-known/openid-configuration",
                entra: None,
                authorization: Some(
                    "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_in/oauth2/v2.0/authorize",
                ),
            },
            Case { url: "https://id.contoso.com", entra: None, authorization: None },
            Case { url: "contoso", entra: None, authorization: None },
        ] {
            let maker = of_url(url);
            let found = match &maker {
                Maker::Entra { authority, tenant } => Some((authority.as_str(), tenant.as_str())),
                Maker::Other(_) => None,
            };
            assert_eq!(found, entra, "{url}");
            let ends = Issuer { maker, audience: None, scopes: [].into() }.endpoints();
            let found = Some(ends.authorization.as_str()).filter(|url| !is_to_fill_in(url));
            assert_eq!(found, authorization, "{url}");
        }
    }
}
