//! What went wrong in an exchange: small, typed, and turned into HTTP in one place (`rescue`).

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Origin;
use super::rescue::ErrorFormat;

/// Whose fault it is. Decides the log level and the metric, never the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller sent something that cannot be served.
    Client,
    /// The gateway's own configuration or state.
    Gateway,
    /// The backend, or the way to it.
    Upstream,
}

/// An error on its way to the caller. One pointer wide, so that `Result`s stay small on the request path.
#[derive(Debug)]
pub struct Fault(Box<Detail>);

/// What a [`Fault`] carries.
#[derive(Debug)]
pub struct Detail {
    /// The status of the answer.
    pub status: StatusCode,
    /// The reason phrase, where Azure API Management's differs from the standard one.
    pub phrase: Option<&'static str>,
    /// The stable code, in Azure API Management's words where it has one (`RateLimitExceeded`).
    pub reason: &'static str,
    /// The policy or part of the gateway that failed (`rate-limit`); [`Fault::at`] fills it in for a policy.
    pub source: &'static str,
    /// The full message, for on-error and the log. Never holds a secret.
    pub message: Cow<'static, str>,
    /// What the caller reads; `message` where there is none. Never holds a secret or a host name.
    pub public: Option<Cow<'static, str>>,
    /// Headers of the answer: challenges, `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The form of the body, where the API is known and no operation of it.
    pub format: Option<ErrorFormat>,
    /// Room for the headers of the answer, taken from the request, which ends here.
    spare: HeaderMap,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether the same request may succeed when it is sent again.
    pub retryable: bool,
    /// Whether the request provably never reached a backend, so that any method may be sent again.
    pub unsent: bool,
    /// Whether a limit refused the request, so that it uses up nothing of other limits.
    pub by_limit: bool,
    /// The underlying error, for the log only.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
    /// Where in the configuration it happened; [`Fault::at`] fills it in.
    pub origin: Option<Arc<Origin>>,
}

impl Fault {
    /// A fault with Azure API Management's `reason` code and a message.
    pub fn new(
        status: StatusCode,
        blame: Blame,
        source: &'static str,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Detail {
            status,
            phrase: None,
            reason,
            source,
            message: message.into(),
            public: None,
            headers: Vec::new(),
            format: None,
            spare: HeaderMap::new(),
            blame,
            retryable: false,
            unsent: false,
            by_limit: false,
            cause: None,
            origin: None,
        }))
    }

    /// Takes the memory of a request's headers for those of the answer, as hyper does between the messages of a
    /// connection: a flood of refused requests then costs no growing of maps.
    pub fn reuse(&mut self, headers: &mut HeaderMap) {
        self.0.spare = std::mem::take(headers);
        self.0.spare.clear();
    }

    /// An empty map for the headers of the answer.
    pub(super) fn take_spare(&mut self) -> HeaderMap {
        std::mem::take(&mut self.0.spare)
    }

    /// The caller's fault.
    pub fn client(status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, Blame::Client, "", reason, message)
    }

    /// The gateway's fault: `500` with a message that tells the caller nothing.
    pub fn internal(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Blame::Gateway, "", reason, message)
            .public("Internal server error")
    }

    /// The backend's fault; a `502` or `504` as given.
    pub fn upstream(status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, Blame::Upstream, "forward-request", reason, message)
    }

    /// Sets what the caller reads in place of the message.
    #[must_use]
    pub fn public(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.public = Some(message.into());
        self
    }

    /// Sets the reason phrase of the status line.
    #[must_use]
    pub fn phrase(mut self, phrase: &'static str) -> Self {
        self.0.phrase = Some(phrase);
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Keeps the underlying error for the log.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Marks it as a limit's refusal: what other limits counted of the request is taken back.
    #[must_use]
    pub fn by_limit(mut self) -> Self {
        self.0.by_limit = true;
        self
    }

    /// Notes where it happened, unless that is known.
    #[cold]
    #[must_use]
    pub fn at(mut self, origin: &Arc<Origin>) -> Self {
        if self.0.origin.is_none() {
            self.0.origin = Some(origin.clone());
            if self.0.source.is_empty() {
                self.0.source = origin.policy;
            }
        }
        self
    }

    /// Marks the request as worth sending again; `unsent` when no byte of it can have reached a backend.
    #[must_use]
    pub fn retryable(mut self, unsent: bool) -> Self {
        self.0.retryable = true;
        self.0.unsent = unsent;
        self
    }
}

impl std::ops::Deref for Fault {
    type Target = Detail;
    fn deref(&self) -> &Detail {
        &self.0
    }
}

impl std::ops::DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Detail {
        &mut self.0
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)?;
        let mut cause = self.cause.as_ref().map(|cause| &**cause as &dyn Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}
