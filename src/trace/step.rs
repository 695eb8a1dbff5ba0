//! Steps that are looked at before and after they run. Only a configuration with traces has any.

use std::sync::Arc;

use http::{Request, Response};
use tower_service::Service as _;

use super::change::Snapshot;
use crate::body::Body;
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::step::BoxedLayer;
use crate::pipeline::{
    Apply, ApplyAsync, Back, BoxFuture, Call, Context, Exchange, Fault, Flow, Message, Next, Origin, Step,
};
use crate::routing::Sent;

/// The same step, whose doings are noted.
pub fn wrap(step: Step, origin: &Arc<Origin>) -> Step {
    let origin = origin.clone();
    match step {
        Step::Sync(step) => Step::sync(Sync { step, origin }),
        Step::Async(step) => Step::asynchronous(Async { step, origin }),
        Step::Layer(layer) => Step::Layer(around(layer, origin)),
    }
}

struct Sync {
    step: Arc<dyn Apply>,
    origin: Arc<Origin>,
}

impl Apply for Sync {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let exchange = cx.exchange;
        let Some(recorder) = &exchange.recorder else { return self.step.apply(cx) };
        let begun = recorder.begin(exchange, &self.origin, Snapshot::of(cx));
        let result = self.step.apply(cx);
        recorder.end(exchange, begun, &Snapshot::of(cx), &result);
        result
    }

    fn preflight(&self, cx: &mut Context<'_>) -> Option<Response<Body>> {
        let exchange = cx.exchange;
        let answer = self.step.preflight(cx)?;
        if let Some(recorder) = &exchange.recorder {
            recorder.tell(exchange, &self.origin, "answers the browser's preflight; no other policy runs for one");
        }
        Some(answer)
    }

    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        self.step.sent(ways)
    }
}

struct Async {
    step: Arc<dyn ApplyAsync>,
    origin: Arc<Origin>,
}

impl ApplyAsync for Async {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        let exchange = call.exchange;
        let Some(recorder) = &exchange.recorder else { return self.step.apply(call) };
        Box::pin(async move {
            let before = call.with(|cx| Snapshot::of(cx));
            let begun = recorder.begin(exchange, &self.origin, before);
            let result = self.step.apply(Call { exchange, message: call.message.reborrow() }).await;
            let after = call.with(|cx| Snapshot::of(cx));
            recorder.end(exchange, begun, &after, &result);
            result
        })
    }

    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        self.step.sent(ways)
    }
}

// === layers ===

/// A layer is looked at from both sides: what it does before it lets a request pass, how often it does, and what it makes of the
/// answer.
fn around(layer: BoxedLayer, origin: Arc<Origin>) -> BoxedLayer {
    Arc::new(move |next| {
        let inside = Next::new(Inside { next, origin: origin.clone() });
        Next::new(Outside { layered: layer(inside), origin: origin.clone() })
    })
}

fn request_now(exchange: &Exchange, request: &mut Request<Body>) -> Snapshot {
    let mut state = exchange.state.lock();
    Snapshot::of(&Context { exchange, state: &mut state, message: Message::Request(request) })
}

fn answer_now(exchange: &Exchange, response: &mut Response<Body>) -> Snapshot {
    let mut state = exchange.state.lock();
    Snapshot::of(&Context { exchange, state: &mut state, message: Message::Response(response) })
}

struct Outside {
    layered: Next,
    origin: Arc<Origin>,
}

impl Serve for Outside {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            let entry = exchange.recorder.as_ref().and_then(|recorder| {
                let before = request_now(&exchange, &mut request);
                recorder.enter(&exchange, &self.origin, before)
            });
            let mut result = self.layered.clone().call(request).await;
            if let (Some(recorder), Some(entry)) = (&exchange.recorder, entry) {
                let after = result.as_mut().ok().map(|response| answer_now(&exchange, response));
                recorder.leave(&exchange, entry, after, &result);
            }
            result
        })
    }

    fn back(&self) -> Option<Arc<Back>> {
        self.layered.back()
    }
}

struct Inside {
    next: Next,
    origin: Arc<Origin>,
}

impl Serve for Inside {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            if let Some(recorder) = &exchange.recorder {
                recorder.pass(&exchange, &self.origin, request_now(&exchange, &mut request));
            }
            let mut result = self.next.clone().call(request).await;
            if let (Some(recorder), Ok(response)) = (&exchange.recorder, &mut result) {
                recorder.come_back(&self.origin, answer_now(&exchange, response));
            }
            result
        })
    }

    fn back(&self) -> Option<Arc<Back>> {
        self.next.back()
    }
}
