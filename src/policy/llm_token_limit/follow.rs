//! How a token limit goes on with its exchange: the answer is read along, and what it consumed is counted.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};

use crate::body::{Body, End};
use crate::llm::{Consumed, Form, Meter};
use crate::pipeline::chain::AnsweredEarly;
use crate::pipeline::limits::Limited;
use crate::pipeline::{Context, Exchange, Fault, Follow, Message, State};

/// What a token limit tells the caller and the policies that follow.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) retry_after_header: HeaderName,
    pub(super) retry_after_variable: Option<Arc<str>>,
    pub(super) remaining_header: Option<HeaderName>,
    pub(super) remaining_variable: Option<Arc<str>>,
    pub(super) remaining_quota_header: Option<HeaderName>,
    pub(super) remaining_quota_variable: Option<Arc<str>>,
    pub(super) consumed_header: Option<HeaderName>,
    pub(super) consumed_variable: Option<Arc<str>>,
}

/// Where the two limits stand among those of the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) rate: Option<usize>,
    pub(super) quota: Option<usize>,
}

impl Places {
    fn all(self) -> impl Iterator<Item = usize> {
        self.rate.into_iter().chain(self.quota)
    }
}

/// What is told to be left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// What is left now.
    Now,
    /// What is left when the request, which is refused, has got back what was counted of it.
    Refused,
}

impl Left {
    fn of(self, limited: &Limited) -> u64 {
        let (now, limit) = (limited.standing.remaining, limited.standing.limit);
        match self {
            Self::Now => now,
            Self::Refused => now.saturating_add(limited.counts().1).min(limit),
        }
    }
}

impl Outputs {
    /// Whether somebody has to know what an answer consumed before it is passed on.
    fn tell_of_answers(&self) -> bool {
        let headers = [&self.remaining_header, &self.remaining_quota_header, &self.consumed_header];
        let variables = [&self.remaining_variable, &self.remaining_quota_variable, &self.consumed_variable];
        headers.iter().any(|header| header.is_some()) || variables.iter().any(|variable| variable.is_some())
    }

    /// Sets the variables.
    pub(super) fn set_variables(&self, state: &mut State, places: Places, consumed: u64, left: Left) {
        let of = [(&self.remaining_variable, places.rate), (&self.remaining_quota_variable, places.quota)];
        for (name, place) in of {
            if let (Some(name), Some(limited)) = (name, place.and_then(|at| state.limits.get(at))) {
                let remaining = left.of(limited);
                state.set_variable(name, remaining.into());
            }
        }
        if let Some(name) = &self.consumed_variable {
            state.set_variable(name, consumed.into());
        }
    }

    pub(super) fn set_retry_after(&self, state: &mut State, seconds: u64) {
        if let Some(name) = &self.retry_after_variable {
            state.set_variable(name, seconds.into());
        }
    }

    /// Tells what is left. Of limits with one header the least is told.
    pub(super) fn write_remaining(&self, state: &mut State, places: Places, left: Left) {
        let of = [(&self.remaining_header, places.rate), (&self.remaining_quota_header, places.quota)];
        for (name, place) in of {
            let (Some(name), Some(limited)) = (name, place.and_then(|at| state.limits.get(at))) else { continue };
            let remaining = left.of(limited);
            let told = state.response_headers.iter_mut().find(|(told, _)| told == name);
            match told {
                Some((_, value)) => {
                    let before = value.to_str().ok().and_then(|value| value.parse().ok()).unwrap_or(u64::MAX);
                    *value = remaining.min(before).into();
                }
                None => state.response_headers.push((name.clone(), remaining.into())),
            }
        }
    }
}

/// A request that was admitted, on its way.
pub(super) struct Following {
    meter: Arc<Meter>,
    /// Whether this one reads the answer along for all.
    first: bool,
    places: Places,
    outputs: Arc<Outputs>,
    stage: Stage,
    /// What the metrics have been told of.
    told: Consumed,
}

/// How far the exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The backend has not answered.
    Asked,
    /// It has, and what it consumes is counted when the exchange ends.
    Answering {
        /// Whether with success.
        success: bool,
    },
    /// What it consumed has been counted.
    Counted,
}

impl Following {
    pub(super) fn new(meter: Arc<Meter>, first: bool, places: Places, outputs: Arc<Outputs>) -> Self {
        Self { meter, first, places, outputs, stage: Stage::Asked, told: Consumed::default() }
    }

    /// Counts what has been consumed.
    fn count(&mut self, exchange: &Exchange, state: &mut State, consumed: Consumed) {
        self.stage = Stage::Counted;
        for at in self.places.all() {
            if let Some(limited) = state.limits.get_mut(at) {
                let (calls, _) = limited.counts();
                limited.correct(calls, consumed.total());
                limited.tell_when_more(&exchange.gateway.clock);
            }
        }
        if let Some(operation) = exchange.operation.as_ref().filter(|_| self.first) {
            // A retry in front counts each of its tries.
            let told = std::mem::replace(&mut self.told, consumed);
            let prompt = consumed.prompt.saturating_sub(told.prompt);
            operation.metrics.tokens(prompt, consumed.completion.saturating_sub(told.completion));
        }
    }
}

impl Follow for Following {
    fn wants_body(&self, response: &Response<Body>) -> bool {
        self.outputs.tell_of_answers() && Form::of(response.headers()) == Form::Json
    }

    fn responded(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Message::Response(response) = &mut cx.message else { return Ok(()) };
        if response.extensions().get::<AnsweredEarly>().is_some() {
            return Ok(());
        }
        let success = response.status().is_success();
        if self.first {
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = self.meter.response(body, response.headers());
        }
        self.stage = Stage::Answering { success };
        if response.body().bytes().is_some() {
            let consumed = self.meter.consumed(success);
            self.count(cx.exchange, cx.state, consumed);
            self.outputs.set_variables(cx.state, self.places, consumed.total(), Left::Now);
            if let Some(name) = &self.outputs.consumed_header {
                cx.state.response_headers.push((name.clone(), HeaderValue::from(consumed.total())));
            }
        }
        Ok(())
    }

    fn answered(&mut self, cx: &mut Context<'_>) {
        if self.stage == Stage::Asked {
            // No backend has answered, so that nothing has been consumed but by tries before.
            let consumed = self.meter.consumed(false);
            self.count(cx.exchange, cx.state, consumed);
        }
        self.outputs.write_remaining(cx.state, self.places, Left::Now);
    }

    fn ended(&mut self, exchange: &Exchange, state: &mut State, _: &End<'_>) {
        let consumed = match self.stage {
            Stage::Counted => return,
            Stage::Answering { success } => self.meter.consumed(success),
            // The client left before there was an answer: that is not a way around the limit.
            Stage::Asked => self.meter.abandoned(),
        };
        self.count(exchange, state, consumed);
    }
}
