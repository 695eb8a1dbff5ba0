//! The seam between policies and what counts: memory, at once, or a store that several replicas share, after a while.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Ask, Decision, Limiter, Settings};

/// A decision that takes a while.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;

/// A limit that is counted outside this process. It answers every question: what to do when the store cannot be reached is its
/// own business, for instance to fall back to a [`Limiter`].
pub trait SharedLimit: std::fmt::Debug + Send + Sync {
    /// The limit as configured.
    fn settings(&self) -> &Settings;

    /// As [`Limiter::ask`]: one atomic step, in one round trip.
    fn ask<'a>(&'a self, ask: Ask<'a>) -> Pending<'a>;

    /// As [`Limiter::charge`], without waiting for it.
    fn charge(&self, ask: &Ask<'_>);

    /// As [`Limiter::give_back`], without waiting for it.
    fn give_back(&self, ask: &Ask<'_>, decision: &Decision);
}

/// Where a policy gets its decisions.
#[derive(Clone, Debug)]
pub enum Limit {
    /// In memory: at hand.
    Local(Arc<Limiter>),
    /// Elsewhere: awaited.
    Shared(Arc<dyn SharedLimit>),
}

/// A decision, or the wait for it.
pub enum Answer<'a> {
    /// At hand.
    Now(Decision),
    /// Awaited.
    Later(Pending<'a>),
}

impl Limit {
    /// Whether decisions are at hand, so that the step that asks need not be asynchronous.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// The limit as configured.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::Local(limiter) => limiter.settings(),
            Self::Shared(shared) => shared.settings(),
        }
    }

    /// Decides on a request, and counts it as it asks for: one atomic step.
    pub fn ask<'a>(&'a self, ask: Ask<'a>) -> Answer<'a> {
        match self {
            Self::Local(limiter) => Answer::Now(limiter.ask(&ask)),
            Self::Shared(shared) => Answer::Later(shared.ask(ask)),
        }
    }

    /// As [`Limiter::charge`].
    pub fn charge(&self, ask: &Ask<'_>) {
        match self {
            Self::Local(limiter) => limiter.charge(ask),
            Self::Shared(shared) => shared.charge(ask),
        }
    }

    /// As [`Limiter::give_back`].
    pub fn give_back(&self, ask: &Ask<'_>, decision: &Decision) {
        match self {
            Self::Local(limiter) => limiter.give_back(ask, decision),
            Self::Shared(shared) => shared.give_back(ask, decision),
        }
    }

    /// Whether both count the same thing.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(one), Self::Local(two)) => Arc::ptr_eq(one, two),
            (Self::Shared(one), Self::Shared(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Answer<'_> {
    /// The decision.
    pub async fn wait(self) -> Decision {
        match self {
            Self::Now(decision) => decision,
            Self::Later(pending) => pending.await,
        }
    }
}
