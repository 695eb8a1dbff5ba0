//! Lists of policies inside a policy: the first branch whose condition holds, as one step.

use std::sync::Arc;

use http::{Request, Response};
use tower_service::Service as _;

use super::value::Condition;
use crate::body::Body;
use crate::compile::{CompileCx, has_layer};
use crate::expression::Needs;
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{
    Apply, ApplyAsync, BoxFuture, Call, Chain, Context, Exchange, Fault, Flow, Kept, Message, Next, Origin, Placed,
    Segment, Step,
};
use crate::routing::Sent;

/// One step of several lists: the first whose condition holds runs, else `otherwise`. The weakest kind that the lists
/// allow. For the policy that is being compiled, whose needs are those of the conditions.
pub fn first_of(branches: Vec<(Condition, Vec<Placed>)>, otherwise: Vec<Placed>, cx: &CompileCx<'_, '_>) -> Step {
    if branches.iter().any(|(_, steps)| has_layer(steps)) || has_layer(&otherwise) {
        let branches = Arc::new(branches);
        let (needs_body, origin) = (cx.needs.contains(Needs::BODY), cx.origin.clone());
        return Step::layer(move |next| {
            let lists = branches.iter().map(|(_, steps)| steps.clone()).chain([otherwise.clone()]);
            let chains = lists.map(|steps| Next::new(Chain::new(steps, next.clone(), Kept::Head))).collect();
            Next::new(Fork { branches: branches.clone(), chains, needs_body, origin: origin.clone() })
        });
    }
    let (conditions, segments): (Vec<_>, Vec<_>) = branches.into_iter().unzip();
    let segments: Vec<Segment> = segments.into_iter().chain([otherwise]).map(Segment::new).collect();
    let immediate = segments.iter().all(Segment::is_immediate);
    let branches = Branches { conditions, segments };
    if immediate { Step::sync(branches) } else { Step::asynchronous(branches) }
}

// === impl Apply, ApplyAsync ===

/// Branches without layers: segments that run in place. Asynchronous only when a branch's own step is, or needs a body
/// that has yet to be read.
struct Branches {
    conditions: Vec<Condition>,
    /// One for each condition, and the one for when none holds.
    segments: Vec<Segment>,
}

fn choose<'c>(conditions: impl IntoIterator<Item = &'c Condition>, cx: &Context<'_>) -> Result<usize, Fault> {
    let mut count = 0;
    for condition in conditions {
        if condition.holds(cx)? {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// The most ways that are looked back on from a link.
const MOST_WAYS: usize = 16;

impl Branches {
    /// Where requests go: the ways of all branches.
    fn ways(&self, before: &[Sent]) -> Vec<Sent> {
        let mut all = Vec::new();
        for way in self.segments.iter().flat_map(|segment| segment.sent(before.to_vec())) {
            if !all.contains(&way) && all.len() < MOST_WAYS {
                all.push(way);
            }
        }
        all
    }
}

impl Apply for Branches {
    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        self.ways(&ways)
    }

    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let chosen = choose(&self.conditions, cx)?;
        self.segments.get(chosen).map_or(Ok(Flow::Next), |segment| segment.apply(cx))
    }
}

impl ApplyAsync for Branches {
    fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        self.ways(&ways)
    }

    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        let chosen = call.with(|cx| choose(&self.conditions, cx));
        Box::pin(async move {
            match self.segments.get(chosen?) {
                Some(segment) if !segment.is_empty() => segment.run(call.exchange, call.message).await,
                _ => Ok(Flow::Next),
            }
        })
    }
}

// === impl Serve ===

/// Branches with layers: each branch is a chain of its own in front of what comes after the policy.
struct Fork {
    branches: Arc<Vec<(Condition, Vec<Placed>)>>,
    chains: Vec<Next>,
    needs_body: bool,
    origin: Arc<Origin>,
}

impl Fork {
    /// The number of the branch that runs.
    async fn choose(&self, exchange: &Arc<Exchange>, request: &mut Request<Body>) -> Result<usize, Fault> {
        if self.needs_body {
            exchange.read(&mut Message::Request(request)).await?;
        }
        let mut state = exchange.state.lock();
        let cx = Context { exchange, state: &mut state, message: Message::Request(request) };
        choose(self.branches.iter().map(|(condition, _)| condition), &cx)
    }
}

impl Serve for Fork {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            match self.choose(&exchange, &mut request).await {
                Ok(chosen) => self.chains[chosen].clone().call(request).await,
                Err(fault) => {
                    exchange.state.lock().save_head(&request);
                    Err(fault.at(&self.origin))
                }
            }
        })
    }
}
