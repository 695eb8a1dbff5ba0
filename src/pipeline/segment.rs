//! A run of adjacent steps: the only loop that runs policies.

use std::sync::Arc;

use super::Fault;
use super::exchange::{Context, Exchange, Message};
use super::step::{Call, Flow, Placed, Step};
use crate::expression::Needs;
use crate::routing::Sent;

/// Adjacent synchronous and asynchronous steps of one section. Layers are never among them.
#[derive(Debug, Default)]
pub struct Segment(Box<[Placed]>);

/// How far a run of synchronous steps came.
enum Ran {
    /// To the step with this number, which needs more than a lock.
    Until(usize),
    /// A step answered.
    Answered(Flow),
}

impl Segment {
    /// A segment of these steps.
    pub fn new(steps: Vec<Placed>) -> Self {
        debug_assert!(
            steps.iter().all(|placed| !matches!(placed.step, Step::Layer(_))),
            "a layer is not part of a segment"
        );
        Self(steps.into_boxed_slice())
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where requests go behind the steps, of the ways that they may have gone before them.
    pub fn sent(&self, ways: Vec<Sent>) -> Vec<Sent> {
        self.0.iter().fold(ways, |ways, placed| placed.step.sent(ways))
    }

    /// Runs the steps in the order they were written.
    pub async fn run(&self, exchange: &Arc<Exchange>, mut message: Message<'_>) -> Result<Flow, Fault> {
        let mut at = 0;
        while at < self.0.len() {
            at = match self.run_sync(at, exchange, &mut message)? {
                Ran::Until(at) => at,
                Ran::Answered(flow) => return Ok(flow),
            };
            let Some(placed) = self.0.get(at) else { break };
            if placed.needs.contains(Needs::BODY) && !message.is_plain() {
                exchange.read(&mut message).await.map_err(|fault| fault.at(&placed.origin))?;
            } else if let Step::Async(step) = &placed.step {
                let call = Call { exchange, message: message.reborrow() };
                match step.apply(call).await.map_err(|fault| fault.at(&placed.origin))? {
                    Flow::Next => at += 1,
                    answer @ Flow::Respond(_) => return Ok(answer),
                }
            }
        }
        Ok(Flow::Next)
    }

    /// Whether every step is synchronous and none needs a body, so that [`Segment::apply`] can run them all.
    pub fn is_immediate(&self) -> bool {
        self.0.iter().all(|placed| matches!(placed.step, Step::Sync(_)) && !placed.needs.contains(Needs::BODY))
    }

    /// Runs the steps of an immediate segment inside another step.
    pub fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        match self.run_from(0, cx)? {
            Ran::Until(_) => Ok(Flow::Next),
            Ran::Answered(flow) => Ok(flow),
        }
    }

    /// Runs synchronous steps under one lock, until one must await or needs a body that is not in memory.
    fn run_sync(&self, from: usize, exchange: &Exchange, message: &mut Message<'_>) -> Result<Ran, Fault> {
        let mut state = exchange.state.lock();
        self.run_from(from, &mut Context { exchange, state: &mut state, message: message.reborrow() })
    }

    fn run_from(&self, from: usize, cx: &mut Context<'_>) -> Result<Ran, Fault> {
        for (at, placed) in self.0.iter().enumerate().skip(from) {
            let Step::Sync(step) = &placed.step else { return Ok(Ran::Until(at)) };
            if placed.needs.contains(Needs::BODY) && !cx.message.is_plain() {
                return Ok(Ran::Until(at));
            }
            match step.apply(cx).map_err(|fault| fault.at(&placed.origin))? {
                Flow::Next => {}
                answer @ Flow::Respond(_) => return Ok(Ran::Answered(answer)),
            }
        }
        Ok(Ran::Until(self.0.len()))
    }
}
