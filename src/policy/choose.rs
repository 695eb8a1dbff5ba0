//! Runs the policies of the first branch whose condition holds.

use std::sync::Arc;

use http::{Request, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use tower_service::Service as _;

use super::value::Condition;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError, has_layer};
use crate::config::{Nested, Text};
use crate::expression::Needs;
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{
    Apply, ApplyAsync, BoxFuture, Call, Chain, Context, Fault, Flow, Message, Next, Placed, Segment, Step,
};

/// Runs the policies of the first `when` whose condition holds, else those of `otherwise`.
///
/// A branch may hold any policy that its section may. One that wraps what comes after it (`retry`, `timeout`) wraps the rest
/// of the branch and everything after the `choose`.
///
/// ```toml
/// [[inbound]]
/// policy = "choose"
///
/// [[inbound.when]]
/// condition = "@equals(headers('x-plan'), 'gold')"
///
/// [[inbound.when.policies]]
/// policy = "set-header"
/// name   = "x-priority"
/// value  = "high"
///
/// [[inbound.otherwise]]
/// policy = "set-header"
/// name   = "x-priority"
/// value  = "normal"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Choose {
    /// The branches, tried in order. At least one.
    when: Vec<When>,
    /// The policies that run when no condition holds. Default: none.
    #[serde(default)]
    otherwise: Nested,
}

/// A branch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// `true`, `false`, or an expression that gives one of them. Evaluated when the step runs; a failure goes to on-error.
    condition: Text,
    /// The policies of the branch.
    #[serde(default)]
    policies: Nested,
}

impl Policy for Choose {
    const NAME: &'static str = "choose";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.when.is_empty() {
            return Err(
                CompileError::whole("a `choose` without `when` chooses nothing").hint("give at least one `when`")
            );
        }
        let mut branches = Vec::with_capacity(self.when.len());
        for (index, when) in self.when.iter().enumerate() {
            let condition = Condition::compile(&when.condition, cx);
            let condition = cx.note(condition);
            let steps = cx.steps(&when.policies, &format!("when[{}]", index + 1));
            branches.push(condition.map(|condition| (condition, steps)));
        }
        let otherwise = cx.steps(&self.otherwise, "otherwise");
        let branches = branches.into_iter().collect::<Result<Vec<_>, _>>()?;
        if branches.iter().any(|(_, steps)| has_layer(steps)) || has_layer(&otherwise) {
            let branches = Arc::new(branches);
            let needs_body = cx.needs.contains(Needs::BODY);
            return Ok(Step::layer(move |next| layered(&branches, &otherwise, needs_body, &next)));
        }
        let (conditions, segments): (Vec<_>, Vec<_>) = branches.into_iter().unzip();
        let segments: Vec<Segment> = segments.into_iter().chain([otherwise]).map(Segment::new).collect();
        let immediate = segments.iter().all(Segment::is_immediate);
        let branches = Branches { conditions, segments };
        Ok(if immediate { Step::sync(branches) } else { Step::asynchronous(branches) })
    }
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

impl Apply for Branches {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let chosen = choose(&self.conditions, cx)?;
        self.segments.get(chosen).map_or(Ok(Flow::Next), |segment| segment.apply(cx))
    }
}

impl ApplyAsync for Branches {
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

/// Branches with layers: each branch is a chain of its own in front of what comes after the `choose`.
struct Fork {
    branches: Arc<Vec<(Condition, Vec<Placed>)>>,
    chains: Vec<Next>,
    needs_body: bool,
}

fn layered(branches: &Arc<Vec<(Condition, Vec<Placed>)>>, otherwise: &[Placed], needs_body: bool, next: &Next) -> Next {
    let lists = branches.iter().map(|(_, steps)| steps.clone()).chain([otherwise.to_vec()]);
    let chains = lists.map(|steps| Next::new(Chain::new(steps, next.clone()))).collect();
    Next::new(Fork { branches: branches.clone(), chains, needs_body })
}

impl Serve for Fork {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            if self.needs_body {
                exchange.buffer(&mut Message::Request(&mut request)).await?;
            }
            let chosen = {
                let mut state = exchange.state.lock();
                let cx = Context { exchange: &exchange, state: &mut state, message: Message::Request(&mut request) };
                choose(self.branches.iter().map(|(condition, _)| condition), &cx)?
            };
            self.chains[chosen].clone().call(request).await
        })
    }
}
