//! As whom a key vault is asked: one token for all secrets of a vault, for what the vault itself says it must be for.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use reqwest::Url;
use tokio::sync::Mutex;

use super::super::answer;
use super::super::error::CredentialError;
use super::super::fetch::Http;
use super::super::request::token_request;
use super::super::settings::{Grant, Settings, Target};
use crate::clock::{Clock, Nanos};

/// The least time between two tokens that refusals of the vault cause.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);

/// What the token is for.
#[derive(Debug)]
pub enum Purpose {
    /// What the configuration says.
    Said(Target),
    /// The resource that vaults of this kind usually are. The vault may ask for another one, as long as that is its own domain.
    Usual(Arc<str>),
}

/// As whom the vault is asked.
pub struct VaultAccess {
    http: Http,
    settings: Settings,
    purpose: Purpose,
    /// Held while a token is fetched, so that all who need it share one fetch.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Kept>,
    /// The resource that the vault asked for.
    resource: Option<Arc<str>>,
}

struct Kept {
    header: HeaderValue,
    fetched: Nanos,
    /// Half of its life: a later one is never refused for being old.
    until: Nanos,
}

impl VaultAccess {
    /// As the client or the machine's identity of these settings.
    pub fn new(settings: Settings, purpose: Purpose, http: Http) -> Self {
        Self { http, settings, purpose, state: Mutex::default() }
    }

    /// A token, fetched when there is none that is young.
    pub(super) async fn token(&self, clock: &Clock) -> Result<HeaderValue, CredentialError> {
        let mut state = self.state.lock().await;
        let now = clock.now();
        match &state.token {
            Some(kept) if now < kept.until => Ok(kept.header.clone()),
            _ => self.fetch(&mut state, clock).await,
        }
    }

    /// Another token than one that the vault refused with a challenge; none when another would be no better.
    pub(super) async fn renew(
        &self,
        refused: &HeaderValue,
        challenge: Option<&str>,
        vault: &str,
        clock: &Clock,
    ) -> Result<Option<HeaderValue>, CredentialError> {
        let mut state = self.state.lock().await;
        let kept = state.token.as_ref();
        if let Some(newer) = kept.filter(|kept| kept.header != refused) {
            return Ok(Some(newer.header.clone()));
        }
        let young = kept.is_some_and(|kept| clock.now().since(kept.fetched) < LEAST_RENEWAL);
        match challenge.and_then(resource_of) {
            Some(wanted) if self.could_be(wanted, vault) && !self.is_for(&state, wanted) => {
                state.resource = Some(wanted.into());
            }
            _ if young => return Ok(None),
            _ => {}
        }
        state.token = None;
        self.fetch(&mut state, clock).await.map(Some)
    }

    /// The resource that a challenge asks for when the token was for another one.
    pub(super) async fn mismatch<'c>(&self, challenge: Option<&'c str>) -> Option<&'c str> {
        let wanted = challenge.and_then(resource_of)?;
        let state = self.state.lock().await;
        (!self.is_for(&state, wanted)).then_some(wanted)
    }

    async fn fetch(&self, state: &mut State, clock: &Clock) -> Result<HeaderValue, CredentialError> {
        let target = self.target(state);
        let request = token_request(&self.http, &self.settings, &target, None, clock.wall())?;
        let now = clock.now();
        let reply = self.http.ask(request, None).await?;
        let secrets = [self.settings.secret().unwrap_or_default()];
        let issued = answer::token(self.http.shown(), reply.status, &reply.body, clock.wall(), &secrets)?;
        let kept = Kept { header: issued.header.clone(), fetched: now, until: now + issued.lifetime / 2 };
        state.token = Some(kept);
        Ok(issued.header)
    }

    fn target(&self, state: &State) -> Target {
        let usual = match &self.purpose {
            Purpose::Said(target) => return target.clone(),
            Purpose::Usual(resource) => state.resource.as_ref().unwrap_or(resource),
        };
        match self.settings.grant {
            Grant::ManagedIdentity(_) => Target { resource: Some(usual.clone()), ..Target::default() },
            _ => Target { scope: Some(format!("{usual}/.default").into()), ..Target::default() },
        }
    }

    fn is_for(&self, state: &State, wanted: &str) -> bool {
        let Target { scope, resource, .. } = self.target(state);
        [scope, resource].into_iter().flatten().any(|text| without_default(&text) == wanted)
    }

    /// Whether a token for a resource may be shown to a vault, which could use it there: the rule of Azure's own clients,
    /// <https://learn.microsoft.com/dotnet/api/azure.security.keyvault.secrets.secretclientoptions.disablechallengeresourceverification>.
    fn could_be(&self, resource: &str, vault: &str) -> bool {
        let host = Url::parse(resource).ok().filter(|url| url.scheme() == "https");
        let host = host.as_ref().and_then(Url::host_str);
        let own = |host: &str| vault == host || vault.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'));
        matches!(self.purpose, Purpose::Usual(_)) && host.is_some_and(own)
    }
}

impl std::fmt::Debug for VaultAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultAccess").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a challenge wants a token for:
/// <https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses#authentication>.
fn resource_of(challenge: &str) -> Option<&str> {
    let (scheme, parameters) = challenge.trim().split_once(' ')?;
    let parameter = |wanted: &str| {
        parameters.split(',').find_map(|one| {
            let (name, value) = one.split_once('=')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
        })
    };
    let found = parameter("resource").or_else(|| parameter("scope"));
    found.filter(|found| scheme.eq_ignore_ascii_case("bearer") && !found.is_empty()).map(without_default)
}

fn without_default(text: &str) -> &str {
    text.strip_suffix("/.default").unwrap_or(text).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_a_token_must_be_for() {
        for (challenge, want) in [
            (
                r#"Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net""#,
                Some("https://vault.azure.net"),
            ),
            (r#"bearer Resource = "https://a.b/" , authorization="x""#, Some("https://a.b")),
            (
                r#"Bearer authorization="x", scope="https://managedhsm.azure.net/.default""#,
                Some("https://managedhsm.azure.net"),
            ),
            ("Bearer resource=https://a.b", Some("https://a.b")),
            (r#"Bearer authorization="x""#, None),
            (r#"Bearer resource="""#, None),
            (r#"Basic resource="https://a.b""#, None),
            ("Bearer", None),
        ] {
            assert_eq!(resource_of(challenge), want, "{challenge}");
        }
    }
}
