//! Virtual time: the same test against limiters in this process, with a clock that is moved and no sockets.

use std::collections::BinaryHeap;
use std::cmp::Reverse;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::keys;
use super::expect::Scope;
use super::plan::Plan;
use super::record::{Answer, Attempt, KeyId};
use super::session::{Due, Session};
use crate::clock::Clock;
use crate::limit::{ConcurrencyLimit, Limiter, Permit, Registry, Settings};

/// What is tested: it sees each request at a moment of virtual time.
pub trait Subject {
    /// Answers a request that arrives at `now`. `key` is its key's text, none when it has none.
    fn ask(&mut self, now: u64, key: Option<&str>, attempt: &Attempt) -> Answer;

    /// The request whose place was `ticket`'th to be admitted has ended.
    fn end(&mut self, _now: u64, _attempt: &Attempt) {}

    /// The configuration is loaded anew, unchanged.
    fn reload(&mut self, _now: u64) {}
}

/// Goes through the plan. An admitted request takes `service`; a refusal takes no time. When `stop` is set, it ends early.
pub fn run<'p>(plan: &'p Plan, template: &str, service: u64, subject: &mut dyn Subject, stop: &AtomicBool) -> Session<'p> {
    let texts: Vec<String> = (0..plan.keys).map(|key| keys::text(template, KeyId(key), plan.seed)).collect();
    let mut session = Session::new(plan);
    let mut running: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut waiting: Vec<Option<(Attempt, u64, Answer)>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut turns = 0_u32;
    loop {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(4_096) && stop.load(Ordering::Relaxed) {
            session.stop();
        }
        let next = session.next_at();
        let ending = running.peek().map(|Reverse((at, _))| *at);
        match (next, ending) {
            (None, None) => return session,
            (next, Some(at)) if next.is_none_or(|next| at <= next) => {
                let Some(Reverse((at, place))) = running.pop() else { continue };
                let place = place as usize;
                if let Some((attempt, begun, answer)) = waiting[place].take() {
                    subject.end(at, &attempt);
                    session.answered(attempt, [begun, begun, begun, at], &answer);
                    free.push(place);
                }
            }
            (Some(now), _) => match session.next(now) {
                Some(Due::Reload) => subject.reload(now),
                Some(Due::Send(attempt)) => {
                    let key = texts.get(attempt.key.0 as usize).map(String::as_str);
                    let answer = subject.ask(now, key, &attempt);
                    if answer.status == 200 && service > 0 {
                        let place = free.pop().unwrap_or_else(|| {
                            waiting.push(None);
                            waiting.len() - 1
                        });
                        waiting[place] = Some((attempt, now, answer));
                        running.push(Reverse((now + service, place as u64)));
                    } else {
                        if answer.status == 200 {
                            subject.end(now, &attempt);
                        }
                        session.answered(attempt, [now; 4], &answer);
                    }
                }
                None => {}
            },
            (None, Some(_)) => {}
        }
    }
}

/// A limit as the gateway runs it.
enum Running {
    Rate { id: String, settings: Settings, limiter: Arc<Limiter>, shared: bool },
    Concurrency { limit: ConcurrencyLimit, shared: bool },
}

/// The gateway's own limiters, one after the other as a pipeline has them.
pub struct Limits {
    clock: Clock,
    registry: Registry,
    limits: Vec<Running>,
    held: std::collections::HashMap<(u32, u16), Vec<Permit>>,
}

/// A limit to run.
#[derive(Clone, Debug)]
pub enum Setup {
    /// A rate limit.
    Rate(Settings),
    /// So many at once.
    Concurrency(NonZeroU32),
}

impl Limits {
    /// Limits without any keys yet.
    pub fn new(setups: &[(Setup, Scope)]) -> Self {
        let clock = Clock::manual();
        let registry = Registry::new(clock.clone());
        let mut limits = Vec::new();
        let plan = registry.plan();
        for (number, (setup, scope)) in setups.iter().enumerate() {
            let (id, shared) = (format!("limit {number}"), *scope == Scope::Shared);
            limits.push(match setup {
                Setup::Rate(settings) => {
                    let limiter = plan.limiter(&id, settings.clone());
                    Running::Rate { id, settings: settings.clone(), limiter, shared }
                }
                Setup::Concurrency(max) => Running::Concurrency { limit: plan.concurrency(&id, *max), shared },
            });
        }
        plan.commit();
        Self { clock, registry, limits, held: std::collections::HashMap::new() }
    }
}

impl Subject for Limits {
    fn ask(&mut self, now: u64, key: Option<&str>, attempt: &Attempt) -> Answer {
        let passed = self.clock.now().0;
        self.clock.advance(Duration::from_nanos(now.saturating_sub(passed)));
        let mut answer = Answer { status: 200, ..Answer::default() };
        let mut permits = Vec::new();
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX - 1);
        for limit in &self.limits {
            match limit {
                Running::Rate { limiter, shared, .. } => {
                    let decision = limiter.decide(if *shared { "" } else { key.unwrap_or("") }, 1);
                    let tightest = answer.remaining.is_none_or(|remaining| decision.remaining < remaining);
                    if tightest || !decision.admitted {
                        answer.remaining = Some(decision.remaining);
                        answer.reset = Some(seconds(decision.reset_seconds()));
                        answer.limit = Some(decision.limit);
                    }
                    if !decision.admitted {
                        answer.retry_after = Some(seconds(decision.retry_after_seconds()));
                        answer.status = 429;
                        break;
                    }
                }
                Running::Concurrency { limit, shared } => {
                    match limit.try_acquire(if *shared { "" } else { key.unwrap_or("") }) {
                        Some(permit) => permits.push(permit),
                        None => {
                            answer.status = 429;
                            break;
                        }
                    }
                }
            }
        }
        if answer.status == 200 && !permits.is_empty() {
            self.held.insert((attempt.job, attempt.number), permits);
        }
        answer
    }

    fn end(&mut self, _: u64, attempt: &Attempt) {
        if !self.held.is_empty() {
            self.held.remove(&(attempt.job, attempt.number));
        }
    }

    fn reload(&mut self, _: u64) {
        let plan = self.registry.plan();
        for limit in &mut self.limits {
            if let Running::Rate { id, settings, limiter, .. } = limit {
                *limiter = plan.limiter(id, settings.clone());
            }
        }
        plan.commit();
    }
}
