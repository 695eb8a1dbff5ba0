//! Entra ID: which tenants' tokens an issuer that serves them all may speak for, and the two forms of an application's id.

use std::sync::Arc;

use serde_json::Value;

/// What stands for the tenant in the issuer of a discovery document that serves several tenants.
const TENANT: &str = "{tenantid}";

/// The tenants whose tokens are accepted from one source of Entra ID's keys.
///
/// The keys of `common` and `organizations` sign for every tenant there is, so a good signature alone says nothing: the token's
/// `iss` must be its own tenant's, and the tenant must be one of these. See [validate the
/// issuer](https://learn.microsoft.com/entra/identity-platform/claims-validation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// The one that the discovery document names; a document that leaves it open is of no use.
    Discovered,
    /// These, by id in lower case.
    Listed(Vec<Arc<str>>),
    /// Every tenant.
    Any,
}

/// What a token says of its tenant, compared with what the source may speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// The issuer is the token's tenant's, and the tenant is allowed.
    Allowed,
    /// The issuer is the token's tenant's, but the tenant is not allowed.
    OtherTenant,
    /// The issuer is not this source's.
    OtherIssuer,
}

impl Tenants {
    /// Whether a source whose discovery document names `issuer` may speak for a token with these claims.
    pub(super) fn membership(&self, issuer: &str, claims: &Value) -> Membership {
        let claim = |name: &str| claims.get(name).and_then(Value::as_str);
        let Some(found) = claim("iss") else { return Membership::OtherIssuer };
        let tenant = claim("tid");
        if issuer.contains(TENANT) {
            // The tenant becomes a part of a URL, so it must not be able to be more than that.
            let Some(tenant) = tenant.filter(|tenant| is_guid(tenant)) else { return Membership::OtherIssuer };
            if found != issuer.replace(TENANT, tenant) {
                return Membership::OtherIssuer;
            }
            return match self {
                Self::Any => Membership::Allowed,
                Self::Discovered => Membership::OtherTenant,
                Self::Listed(tenants) if has(tenants, tenant) => Membership::Allowed,
                Self::Listed(_) => Membership::OtherTenant,
            };
        }
        match self {
            _ if found != issuer => Membership::OtherIssuer,
            Self::Listed(tenants) if tenant.is_none_or(|tenant| !has(tenants, tenant)) => Membership::OtherTenant,
            _ => Membership::Allowed,
        }
    }

    /// The tenants for a message.
    pub(super) fn names(&self) -> &[Arc<str>] {
        match self {
            Self::Listed(tenants) => tenants,
            Self::Discovered | Self::Any => &[],
        }
    }
}

fn has(tenants: &[Arc<str>], tenant: &str) -> bool {
    tenants.iter().any(|known| known.eq_ignore_ascii_case(tenant))
}

/// Whether a text is the id of a tenant or an application: 32 hexadecimal digits in five groups.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The values of `aud` that mean the same application: a token of version 1 has the id that was asked for
/// (`api://GUID`), a token of version 2 the bare id. Any other audience means only itself.
pub fn audience_forms(audience: &str) -> Vec<Arc<str>> {
    let bare = audience.strip_prefix("api://").unwrap_or(audience);
    if !is_guid(bare) {
        return vec![audience.into()];
    }
    let bare = bare.to_ascii_lowercase();
    let mut forms: Vec<Arc<str>> = vec![format!("api://{bare}").into(), bare.into()];
    if !forms.iter().any(|form| **form == *audience) {
        forms.push(audience.into());
    }
    forms
}

/// The tenant that a published key signs for, when its `issuer` member names one: Entra ID says there whether a key is for
/// every tenant (`…/{tenantid}/v2.0`) or for one.
pub(super) fn tenant_of_key(issuer: &str) -> Option<Arc<str>> {
    issuer.split('/').find(|part| is_guid(part)).map(|tenant| tenant.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb";
    const B: &str = "bbbbbbbb-0000-1111-2222-bbbbbbbbbbbb";

    #[test]
    fn a_token_is_of_its_own_tenant() {
        struct Case {
            name: &'static str,
            tenants: Tenants,
            issuer: String,
            claims: Value,
            want: Membership,
        }
        let template = || "https://login.test/{tenantid}/v2.0".to_owned();
        let of = |tenant: &str| format!("https://login.test/{tenant}/v2.0");
        let listed = || Tenants::Listed(vec![A.into()]);
        let token = |iss: &str, tid: &str| json!({ "iss": of(iss), "tid": tid });
        use Membership::{Allowed, OtherIssuer, OtherTenant};
        for Case { name, tenants, issuer, claims, want } in [
            Case { name: "listed", tenants: listed(), issuer: template(), claims: token(A, A), want: Allowed },
            Case { name: "any", tenants: Tenants::Any, issuer: template(), claims: token(B, B), want: Allowed },
            Case { name: "not listed", tenants: listed(), issuer: template(), claims: token(B, B), want: OtherTenant },
            Case {
                name: "the issuer of another tenant than the token's",
                tenants: listed(),
                issuer: template(),
                claims: token(B, A),
                want: OtherIssuer,
            },
            Case {
                name: "a tenant that is more than a tenant",
                tenants: Tenants::Any,
                issuer: template(),
                claims: json!({ "iss": "https://login.test/x/../y/v2.0", "tid": "x/../y" }),
                want: OtherIssuer,
            },
            Case {
                name: "no tenant",
                tenants: Tenants::Any,
                issuer: template(),
                claims: json!({ "iss": template() }),
                want: OtherIssuer,
            },
            Case {
                name: "the template itself",
                tenants: Tenants::Any,
                issuer: template(),
                claims: json!({ "iss": template(), "tid": TENANT }),
                want: OtherIssuer,
            },
            Case {
                name: "a document that leaves the tenant open",
                tenants: Tenants::Discovered,
                issuer: template(),
                claims: token(A, A),
                want: OtherTenant,
            },
            Case {
                name: "discovered",
                tenants: Tenants::Discovered,
                issuer: of(A),
                claims: token(A, A),
                want: Allowed,
            },
            Case {
                name: "another than discovered",
                tenants: Tenants::Discovered,
                issuer: of(A),
                claims: token(B, B),
                want: OtherIssuer,
            },
            Case { name: "one tenant", tenants: listed(), issuer: of(A), claims: token(A, A), want: Allowed },
            Case {
                name: "the document of another tenant",
                tenants: listed(),
                issuer: of(B),
                claims: token(B, B),
                want: OtherTenant,
            },
            Case {
                name: "no issuer",
                tenants: Tenants::Any,
                issuer: template(),
                claims: json!({ "tid": A }),
                want: OtherIssuer,
            },
        ] {
            assert_eq!(tenants.membership(&issuer, &claims), want, "{name}");
        }
    }

    #[test]
    fn an_application_has_two_audiences() {
        let forms = |text: &str| audience_forms(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let both = vec![format!("api://{A}"), A.to_owned()];
        assert_eq!(forms(A), both);
        assert_eq!(forms(&format!("api://{A}")), both);
        assert_eq!(forms(&A.to_uppercase())[..2], both, "written in capitals");
        for other in ["api://orders", "https://orders.contoso.com", "orders", ""] {
            assert_eq!(forms(other), [other], "{other}");
        }
    }

    #[test]
    fn keys_name_their_tenant_or_leave_it_open() {
        assert_eq!(tenant_of_key("https://login.microsoftonline.com/{tenantid}/v2.0"), None);
        assert_eq!(tenant_of_key(&format!("https://login.microsoftonline.com/{A}/v2.0")).as_deref(), Some(A));
        assert_eq!(tenant_of_key("https://accounts.example"), None);
    }
}
