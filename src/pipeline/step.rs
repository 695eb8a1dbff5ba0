//! What runs: a step, as compiled from one policy, and where it was written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::Value as Json;

use super::exchange::{Context, Exchange, Message};
use super::next::Next;
use super::{Fault, Origin};
use crate::body::Body;
use crate::expression::Needs;
use crate::identity::TokenVerifier;
use crate::routing::Sent;

/// A boxed future that stays on its worker but may be sent, as tower's services want it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What follows a step.
#[derive(Debug)]
pub enum Flow {
    /// The next step.
    Next,
    /// Nothing: this is the answer. Answering early is not an error.
    Respond(Box<Response<Body>>),
}

/// A step that inspects or edits the message and returns.
pub trait Apply: Send + Sync {
    /// Runs the step.
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault>;

    /// Answers a CORS preflight. Only `cors` does; nothing else runs for one.
    fn preflight(&self, _: &mut Context<'_>) -> Option<Response<Body>> {
        None
    }

    /// Where requests go behind the step, of the ways that they may have gone before it.
    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        ways
    }
}

/// A step that must await.
pub trait ApplyAsync: Send + Sync {
    /// Runs the step.
    fn apply<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>>;

    /// Where requests go behind the step, of the ways that they may have gone before it.
    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        ways
    }
}

/// What an asynchronous step sees. It takes the state's lock for short moments only, never across an await.
#[derive(Debug)]
pub struct Call<'a> {
    /// The exchange.
    pub exchange: &'a Arc<Exchange>,
    /// The message of the section.
    pub message: Message<'a>,
}

impl Call<'_> {
    /// Looks at the exchange, or changes it, at once.
    pub fn with<T>(&mut self, look: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let mut state = self.exchange.state.lock();
        look(&mut Context { exchange: self.exchange, state: &mut state, message: self.message.reborrow() })
    }
}

/// A tower layer, its type forgotten: wraps everything that comes after it.
pub type BoxedLayer = Arc<dyn Fn(Next) -> Next + Send + Sync>;

/// A policy, compiled. `Arc`, because a step of a broad scope runs in the pipeline of every operation below it.
#[derive(Clone)]
pub enum Step {
    /// Inspects or edits the message and returns.
    Sync(Arc<dyn Apply>),
    /// Must await.
    Async(Arc<dyn ApplyAsync>),
    /// Delays, skips, repeats or times everything after it.
    Layer(BoxedLayer),
}

impl Step {
    /// A synchronous step.
    pub fn sync(step: impl Apply + 'static) -> Self {
        Self::Sync(Arc::new(step))
    }

    /// An asynchronous step.
    pub fn asynchronous(step: impl ApplyAsync + 'static) -> Self {
        Self::Async(Arc::new(step))
    }

    /// Where requests go behind the step, as far as that is known beforehand: of a layer, and of what it holds, nothing is.
    pub fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        match self {
            Self::Sync(step) => step.sent(ways),
            Self::Async(step) => step.sent(ways),
            Self::Layer(_) => ways,
        }
    }

    /// A layer.
    pub fn layer(layer: impl Fn(Next) -> Next + Send + Sync + 'static) -> Self {
        Self::Layer(Arc::new(layer))
    }
}

/// A step and what the pipeline knows of it.
#[derive(Clone)]
pub struct Placed {
    /// The step.
    pub step: Step,
    /// Where it was written.
    pub origin: Arc<Origin>,
    /// What its expressions read.
    pub needs: Needs,
    /// Whether it may verify the caller's token.
    pub gives_token: bool,
    /// Whether it, or a step inside it, asks for a verified token that none inside it gives.
    pub needs_token: bool,
    /// What it, and the steps inside it, ask of the caller's token.
    pub token_checks: Box<[TokenCheck]>,
    /// The ends of caches of answers that it, and the steps inside it, are.
    pub caches: Box<[(CacheRole, Arc<Origin>)]>,
}

/// The two ends of a cache of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheRole {
    /// Looks answers up.
    Looks,
    /// Keeps them.
    Stores,
}

/// What a step asks of the caller's token, for whoever has a token and no request: `token verify`.
#[derive(Clone, Debug)]
pub struct TokenCheck {
    /// Where the step was written.
    pub origin: Arc<Origin>,
    /// What it asks.
    pub demand: TokenDemand,
}

/// What can be asked of a token.
#[derive(Clone)]
pub enum TokenDemand {
    /// That it is valid.
    Valid {
        /// Who says so.
        verifier: Arc<TokenVerifier>,
        /// The status of the answer when it is not; none when it depends on the request.
        status: Option<StatusCode>,
        /// Where the token is looked for, in words.
        place: Arc<str>,
    },
    /// That it grants something.
    Grants(Arc<dyn Grants>),
    /// What cannot be said without a request: rules that read its claims, among other things.
    Rules,
}

/// What a verified token must grant.
pub trait Grants: Send + Sync {
    /// What is wanted, and what the claims hold.
    fn describe(&self, claims: &Json) -> (String, String);

    /// The refusal, when the claims do not grant what is wanted.
    fn check(&self, claims: &Json) -> Result<(), Fault>;
}

impl std::fmt::Debug for TokenDemand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Valid { .. } => "Valid",
            Self::Grants(_) => "Grants",
            Self::Rules => "Rules",
        })
    }
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("origin", &self.origin).field("needs", &self.needs).finish_non_exhaustive()
    }
}
