//! What a step leaves behind: it is told how its exchange goes on, because what to count may be known only then.

use std::sync::Arc;

use http::Response;

use super::Fault;
use super::exchange::{Context, Exchange, Message, State};
use crate::body::{Body, End};

/// A step of inbound that wants to know how its exchange goes on. Each is told at most once of each stage, in the order of the
/// methods; a stage that never comes (no backend was called, the client left before the answer) is left out, except the last.
pub trait Follow: Send {
    /// Whether the backend's answer has to be in memory, and in plain text, before [`Follow::responded`] sees it.
    fn wants_body(&self, _: &Response<Body>) -> bool {
        false
    }

    /// The backend has answered, and outbound comes next. The step that is followed has to declare
    /// [`Needs::ANSWER`](crate::expression::Needs::ANSWER).
    ///
    /// # Errors
    /// What goes to on-error in place of the answer.
    fn responded(&mut self, _: &mut Context<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// The answer is what the client will get: outbound or on-error have run.
    fn answered(&mut self, _: &mut Context<'_>) {}

    /// The last byte is out, or the client has left. `state` is that of the exchange.
    fn ended(&mut self, _: &Exchange, _: &mut State, _: &End<'_>) {}
}

/// What the steps of an exchange left behind, in their order.
#[derive(Default)]
pub struct Followers(Vec<Box<dyn Follow>>);

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").field("count", &self.0.len()).finish()
    }
}

impl Followers {
    /// Adds one.
    pub fn push(&mut self, follower: impl Follow + 'static) {
        self.0.push(Box::new(follower));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Runs `tell` with the followers taken out of the state, so that each may change the state.
fn each<T>(state: &mut State, tell: impl FnOnce(&mut State, &mut [Box<dyn Follow>]) -> T) -> T {
    let mut followers = std::mem::take(&mut state.followers);
    let told = tell(state, &mut followers.0);
    // None can be added meanwhile: only steps of inbound do.
    state.followers = followers;
    told
}

/// The backend has answered.
pub(super) async fn responded(exchange: &Arc<Exchange>, response: &mut Response<Body>) -> Result<(), Fault> {
    let wanted = exchange.state.lock().followers.0.iter().any(|one| one.wants_body(response));
    if wanted {
        exchange.read(&mut Message::Response(response)).await?;
    }
    let mut state = exchange.state.lock();
    state.forget_json();
    each(&mut state, |state, followers| {
        let mut cx = Context { exchange, state, message: Message::Response(response) };
        followers.iter_mut().try_for_each(|one| one.responded(&mut cx))
    })
}

/// The answer is what the client will get.
pub(super) fn answered(exchange: &Exchange, state: &mut State, response: &mut Response<Body>) {
    if state.followers.is_empty() {
        return;
    }
    state.forget_json();
    each(state, |state, followers| {
        let mut cx = Context { exchange, state, message: Message::Response(response) };
        followers.iter_mut().for_each(|one| one.answered(&mut cx));
    });
}

/// The exchange has ended.
pub(crate) fn ended(exchange: &Exchange, state: &mut State, end: &End<'_>) {
    for mut one in std::mem::take(&mut state.followers).0 {
        one.ended(exchange, state, end);
    }
}
