//! A source of tokens as it runs: where it asks, as whom, and for what.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::assertion::ClientKey;

/// How tokens are asked for.
pub struct Settings {
    /// The token endpoint, or the identity endpoint.
    pub url: Box<str>,
    /// What is asked for there.
    pub grant: Grant,
    /// Who asks.
    pub client_id: Option<Box<str>>,
    /// How that is proved.
    pub authentication: ClientAuthentication,
    /// More parameters of the request.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// The least time before its end at which a token is replaced.
    pub refresh_before: Duration,
    /// The time for one request.
    pub timeout: Duration,
    /// How many tokens of callers are kept.
    pub capacity: usize,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A token for the gateway itself (RFC 6749 §4.4).
    ClientCredentials,
    /// Another token for the caller's (RFC 8693).
    TokenExchange {
        /// What kind of token the caller's is.
        subject_type: Box<str>,
        /// What kind of token is wanted; the endpoint's choice when none is said.
        requested_type: Option<Box<str>>,
    },
    /// Microsoft Entra's on-behalf-of flow: the caller's token as an assertion (RFC 7523 §2.1).
    OnBehalfOf,
    /// The token of the machine's own identity in Azure.
    ManagedIdentity(IdentityEndpoint),
}

impl Grant {
    /// Whether a token belongs to one caller.
    pub fn is_for_caller(&self) -> bool {
        matches!(self, Self::TokenExchange { .. } | Self::OnBehalfOf)
    }
}

/// The two forms of identity endpoint.
#[derive(Clone, PartialEq, Eq)]
pub enum IdentityEndpoint {
    /// That of virtual machines: `Metadata: true`.
    Metadata,
    /// That of App Service, Functions and Container Apps: a secret header tells the application from others on the machine.
    AppService {
        /// The value of `X-IDENTITY-HEADER`.
        secret: Box<str>,
    },
}

impl std::fmt::Debug for IdentityEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Metadata => "Metadata",
            Self::AppService { .. } => "AppService",
        })
    }
}

/// How a client proves who it is (RFC 6749 §2.3, RFC 7523 §2.2).
pub enum ClientAuthentication {
    /// It does not.
    None,
    /// HTTP Basic.
    Basic(Box<str>),
    /// In the body.
    Post(Box<str>),
    /// A signed assertion.
    PrivateKey(Box<ClientKey>),
    /// An assertion that somebody else signs and keeps fresh in a file.
    AssertionFile(Box<Path>),
}

/// What a token is for. The texts are those of the request's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// `scope`
    pub scope: Option<Arc<str>>,
    /// `resource`
    pub resource: Option<Arc<str>>,
    /// `audience`
    pub audience: Option<Arc<str>>,
}

impl Settings {
    /// The secrets that must not show in what an endpoint answers.
    pub(super) fn secret(&self) -> Option<&str> {
        match (&self.authentication, &self.grant) {
            (ClientAuthentication::Basic(secret) | ClientAuthentication::Post(secret), _)
            | (_, Grant::ManagedIdentity(IdentityEndpoint::AppService { secret })) => Some(secret),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("grant", &self.grant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
