//! App registrations of a file, as a tenant has them: the clients that may ask, and the APIs that tokens are for.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Clients;
use super::mint::{Preset, is_guid};

/// Microsoft Graph, which every tenant has, and which Entra ID takes scopes without a resource to be of.
pub(super) const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
/// Its other name.
const GRAPH_URI: &str = "https://graph.microsoft.com";

/// The file of `sluicegate issuer --registrations`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registrations {
    /// The clients by id. With any, all others are refused.
    #[serde(default)]
    pub(super) clients: Clients,
    /// The APIs by id. With any, Entra-shaped tokens are for these only.
    #[serde(default)]
    pub(super) apis: Apis,
}

/// The APIs of a tenant.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Apis(BTreeMap<String, ApiSpec>);

/// One API ("resource").
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ApiSpec {
    /// Its Application ID URIs besides `api://ID`.
    #[serde(default)]
    identifier_uris: Vec<String>,
    /// Its delegated permissions ("Expose an API").
    #[serde(default)]
    scopes: Vec<String>,
    /// Its app roles.
    #[serde(default)]
    roles: Vec<String>,
    /// `requestedAccessTokenVersion` of its manifest: the version of its tokens, whichever endpoint is asked. Default 1, as
    /// Entra ID's when the manifest says `null`.
    token_version: Option<u8>,
}

impl Registrations {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn read(text: &str) -> Result<Self, String> {
        let read: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if read.clients.is_empty() && read.apis.0.is_empty() {
            return Err(
                "there is no registration in it; hint: [clients.MY-CLIENT-ID] and secret = \"…\" below it".to_owned()
            );
        }
        for (id, api) in &read.apis.0 {
            if !is_guid(id) {
                return Err(format!(
                    "`apis.{id}`: the id of an application is a GUID; other names go into `identifier-uris`"
                ));
            }
            if api.token_version.is_some_and(|version| !(1..=2).contains(&version)) {
                return Err(format!("`apis.{id}.token-version` is 1 or 2"));
            }
        }
        Ok(read)
    }

    /// How many clients there are; with none, anybody is let in.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// A client and an API to show how a token is asked for.
    pub fn example(&self) -> (&str, &str) {
        // An API that calls others is a client as well, and a poor example of one.
        let client = self.clients.ids().find(|id| !self.apis.0.contains_key(*id)).or(self.clients.ids().next());
        (client.unwrap_or("me"), self.apis.0.keys().next().map_or("orders", String::as_str))
    }

    /// How many APIs there are; with none, tokens are for whatever is asked for.
    pub fn apis(&self) -> usize {
        self.apis.0.len()
    }
}

/// An API that was found by one of its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api<'a> {
    id: &'a str,
    spec: &'a ApiSpec,
}

impl Apis {
    /// The API of a name: nothing when any name will do.
    ///
    /// # Errors
    /// When the tenant has no such API.
    pub(super) fn find(&self, name: &str, tenant: &str) -> Result<Option<Api<'_>>, (&'static str, String)> {
        if self.0.is_empty() || name == GRAPH || name.trim_end_matches('/') == GRAPH_URI {
            return Ok(None);
        }
        let bare = name.strip_prefix("api://").unwrap_or(name);
        let found = self.0.iter().find(|(id, spec)| {
            id.eq_ignore_ascii_case(bare)
                || spec.identifier_uris.iter().any(|uri| uri.trim_end_matches('/') == name.trim_end_matches('/'))
        });
        found.map(|(id, spec)| Some(Api { id, spec })).ok_or_else(|| {
            let text = format!(
                "AADSTS500011: The resource principal named {name} was not found in the tenant named {tenant}."
            );
            ("invalid_resource", text)
        })
    }
}

impl Api<'_> {
    pub(super) fn id(&self) -> &str {
        self.id
    }

    /// The shape of its tokens.
    pub(super) fn preset(&self) -> Preset {
        if self.spec.token_version == Some(2) { Preset::EntraV2 } else { Preset::EntraV1 }
    }

    /// The delegated permissions that are asked for, of its own; `.default` and nothing are all of them.
    pub(super) fn scopes(&self, asked: &[String]) -> Result<Vec<String>, (&'static str, String)> {
        if asked.is_empty() || asked.iter().any(|scope| scope == ".default") {
            return Ok(self.spec.scopes.clone());
        }
        match asked.iter().find(|scope| !self.spec.scopes.contains(scope)) {
            None => Ok(asked.to_vec()),
            Some(unknown) => {
                let known = self.spec.scopes.join(", ");
                let text = format!(
                    "AADSTS70011: The provided value for the input parameter 'scope' isn't valid. The API {} has no scope \
                     {unknown}; it has: {known}",
                    self.id
                );
                Err(("invalid_scope", text))
            }
        }
    }

    /// Whether a role is one of its own.
    pub(super) fn has_role(&self, role: &str) -> bool {
        self.spec.roles.iter().any(|own| own == role)
    }
}
