//! What a request asks for: the API it is for, and the scopes, in the three dialects.

use super::Issuer;
use super::mint::{Grant, Preset, issuer_of, tenant_id};
use super::registrations::{Api, GRAPH};
use super::reply::Reply;
use super::route::{Form, Realm};

/// What `.default` gives a user's client here: the scope that connectors' documentation asks makers to define.
const DEFAULT_SCOPE: &str = "access_as_user";
/// What is about the sign-in and not about an API (OpenID Connect Core 1.0 §5.4).
const SIGN_IN: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// A sign-in, kept for a code or a refresh token.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) realm: Realm,
    pub(super) client: String,
    pub(super) redirect_uri: Option<String>,
    /// The S256 challenge (RFC 7636 §4.2).
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) user: String,
    pub(super) target: Target,
}

/// What a token is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) audiences: Vec<String>,
    /// Scopes of the API; `.default` as written.
    pub(super) scopes: Vec<String>,
    /// Scopes of the sign-in.
    pub(super) sign_in: Vec<String>,
}

impl Target {
    /// Reads `scope`, `resource` and `audience`.
    pub(super) fn read(realm: &Realm, form: &Form) -> Result<Self, Reply> {
        let (sign_in, scopes): (Vec<&str>, Vec<&str>) =
            form.words("scope").into_iter().partition(|scope| SIGN_IN.contains(scope));
        let mut target = Self { sign_in: sign_in.into_iter().map(str::to_owned).collect(), ..Self::default() };
        match realm.preset {
            Preset::Plain => {
                target.audiences = form.all("resource").chain(form.all("audience")).map(str::to_owned).collect();
                target.scopes = scopes.into_iter().map(str::to_owned).collect();
            }
            Preset::EntraV1 => {
                target.audiences = form.get("resource").map(str::to_owned).into_iter().collect();
                target.scopes = scopes.into_iter().map(str::to_owned).collect();
            }
            Preset::EntraV2 => {
                // `RESOURCE/SCOPE`, and the resource may have slashes of its own.
                for scope in scopes {
                    let (resource, scope) = scope.rsplit_once('/').unwrap_or((GRAPH, scope));
                    if target.audiences.iter().any(|other| other != resource) {
                        let text = "AADSTS28000: the scopes are of more than one resource; ask for one at a time";
                        return Err(Reply::error(400, "invalid_scope", text));
                    }
                    target.audiences = vec![resource.to_owned()];
                    target.scopes.push(scope.to_owned());
                }
            }
        }
        Ok(target)
    }

    /// Whether nothing is asked for, so that what was granted before holds.
    pub(super) fn is_empty(&self) -> bool {
        self.audiences.is_empty() && self.scopes.is_empty()
    }
}

/// Why a target is refused: the code of RFC 6749 and the description.
pub(super) type Refused = (&'static str, String);

impl Issuer {
    /// The registration of the API that a target is for, when there are registrations.
    fn api(&self, realm: &Realm, target: &Target) -> Result<Option<Api<'_>>, Refused> {
        match target.audiences.first() {
            Some(name) if realm.preset != Preset::Plain => {
                self.options.registrations.apis.find(name, &self.tenant_of(realm))
            }
            _ => Ok(None),
        }
    }

    fn tenant_of(&self, realm: &Realm) -> String {
        match realm.tenant.as_str() {
            "" => self.options.tenant.clone(),
            name => tenant_id(name, &self.options.tenant),
        }
    }

    /// A grant under a realm's name for a target; the rest is the caller's to say.
    ///
    /// # Errors
    /// When the API is not registered, or has no such scope.
    pub(super) fn grant(&self, realm: &Realm, target: &Target, user: Option<&str>) -> Result<Grant, Refused> {
        let tenant = self.tenant_of(realm);
        let api = self.api(realm, target)?;
        // The version of Entra ID's access tokens is the API's choice, not the endpoint's.
        let preset = match (realm.preset, self.options.token_version, api) {
            (Preset::Plain, ..) => realm.preset,
            (_, None, Some(api)) => api.preset(),
            (_, None, None) => realm.preset,
            (_, Some(1), _) => Preset::EntraV1,
            (_, Some(_), _) => Preset::EntraV2,
        };
        let issuer = issuer_of(preset, &self.base, &tenant);
        let mut grant = Grant::new(preset, issuer, tenant);
        grant.lifetime = self.options.lifetime;
        grant.audiences.clone_from(&target.audiences);
        if let Some(api) = api.filter(|_| preset == Preset::EntraV2) {
            grant.audiences = vec![api.id().to_owned()];
        }
        if grant.audiences.is_empty() {
            // RFC 9068 §3: a default resource; Entra ID's is Graph.
            grant.audiences = vec![if preset == Preset::Plain { self.base.clone() } else { GRAPH.to_owned() }];
        }
        if let Some(user) = user {
            grant.user = Some(user.to_owned());
            grant.scopes = match api {
                Some(api) => api.scopes(&target.scopes)?,
                None => {
                    let scope = |scope: &String| if scope == ".default" { DEFAULT_SCOPE } else { scope }.to_owned();
                    target.scopes.iter().map(scope).collect()
                }
            };
            if grant.scopes.is_empty() && realm.preset == Preset::EntraV1 && api.is_none() {
                grant.scopes = vec![DEFAULT_SCOPE.to_owned()];
            }
        } else if preset == Preset::Plain {
            grant.scopes.clone_from(&target.scopes);
        }
        Ok(grant)
    }

    /// The roles of a client's own tokens, as far as the API has them.
    pub(super) fn roles_for(&self, realm: &Realm, target: &Target, roles: &[String]) -> Vec<String> {
        let api = self.api(realm, target).ok().flatten();
        roles.iter().filter(|role| api.is_none_or(|api| api.has_role(role))).cloned().collect()
    }
}
