//! Virtual time: the same test against limiters in this process, with a clock that is moved and no sockets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::expect::{Scope, Terms, WindowStart};
use super::plan::{Act, Plan};
use super::record::{Answer, Attempt, Kind};
use super::session::{Due, Session};
use crate::clock::Clock;
use crate::limit::{
    self, Algorithm, Ask, ConcurrencyLimit, Count, Decision, Limiter, MissingKey, Permit, Precision, Registry, Settings,
};

/// What is tested: it sees each request at a moment of virtual time.
pub trait Subject {
    /// Answers a request that arrives at `now`. `key` is its key's text, none when it has none.
    fn ask(&mut self, now: u64, key: Option<&str>, attempt: &Attempt) -> Answer;

    /// How long the answer that it has just given takes; none for the usual time of the backend, or none at all when the request
    /// was refused.
    fn takes(&self) -> Option<u64> {
        None
    }

    /// A request that was admitted has ended.
    fn end(&mut self, _now: u64, _attempt: &Attempt) {}

    /// Something happens around it.
    fn act(&mut self, _now: u64, _act: Act) {}
}

/// What a look at a test in progress says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It goes on.
    GoOn,
    /// It ends early.
    Stop,
}

/// Goes through the plan. An admitted request takes `service`; a refusal takes no time. `look` sees the test now and then, and
/// what time it has become.
pub fn run<'p>(
    plan: &'p Plan,
    keys: &[String],
    service: u64,
    subject: &mut dyn Subject,
    look: &mut dyn FnMut(&Session<'_>, u64) -> Look,
) -> Session<'p> {
    let mut session = Session::new(plan);
    let mut running: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut waiting: Vec<Option<(Attempt, u64, Answer)>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut turns = 0_u32;
    loop {
        let next = session.next_at();
        let ending = running.peek().map(|Reverse((at, _))| *at);
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(4_096) && look(&session, next.or(ending).unwrap_or(0)) == Look::Stop {
            session.stop();
            continue;
        }
        match (next, ending) {
            (None, None) => return session,
            (next, Some(at)) if next.is_none_or(|next| at <= next) => {
                let Some(Reverse((_, place))) = running.pop() else { continue };
                if let Some((attempt, begun, answer)) = waiting[place].take() {
                    if session.fate(answer.status) == super::record::Fate::Admitted {
                        subject.end(at, &attempt);
                    }
                    session.answered(attempt, [begun, begun, at, at], &answer);
                    free.push(place);
                }
            }
            (Some(now), _) => match session.next(now) {
                Some(Due::Act(act)) => subject.act(now, act),
                Some(Due::Send(attempt)) => {
                    let key = keys.get(attempt.key.0 as usize).map(String::as_str);
                    let answer = subject.ask(now, key, &attempt);
                    let admitted = session.fate(answer.status) == super::record::Fate::Admitted;
                    let takes = subject.takes().unwrap_or(if admitted { service } else { 0 });
                    if takes > 0 {
                        let place = free.pop().unwrap_or_else(|| {
                            waiting.push(None);
                            waiting.len() - 1
                        });
                        waiting[place] = Some((attempt, now, answer));
                        running.push(Reverse((now.saturating_add(takes), place)));
                    } else {
                        if admitted {
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

/// A limit to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it limits.
    pub terms: SetupTerms,
    /// Whose requests count together.
    pub scope: Scope,
    /// What a request costs.
    pub cost: u32,
    /// Which requests count.
    pub count: Count,
    /// What is counted once a request has been answered.
    pub later: u32,
    /// What happens without a key.
    pub missing_key: MissingKey,
    /// Whether it only counts.
    pub shadow: bool,
}

/// What a limit that is run limits.
#[derive(Clone, Debug)]
pub enum SetupTerms {
    /// So many in a time.
    Rate(Settings),
    /// So many at once.
    Concurrency(NonZeroU32),
}

impl SetupTerms {
    /// A limit that promises this; none where the numbers are too large for one.
    pub fn of(terms: &Terms) -> Option<Self> {
        let number = |number: u64| NonZeroU32::new(u32::try_from(number).ok()?);
        let (calls, period, algorithm) = match *terms {
            Terms::SlidingWindow { calls, period, slots } => {
                let precision = match slots {
                    0 => Precision::Exact,
                    slots => Precision::Slots(number(slots)?),
                };
                (calls, period, Algorithm::SlidingWindow { precision })
            }
            Terms::TokenBucket { calls, period, burst } => {
                (calls, period, Algorithm::TokenBucket { burst: number(burst)? })
            }
            Terms::FixedWindow { calls, period, start } => {
                let start = match start {
                    WindowStart::Aligned => limit::WindowStart::Clock,
                    WindowStart::FirstCall => limit::WindowStart::FirstCall,
                };
                (calls, period, Algorithm::FixedWindow { start })
            }
            Terms::Concurrency { max, .. } => return Some(Self::Concurrency(number(max)?)),
        };
        Some(Self::Rate(Settings::new(algorithm, number(calls)?, Duration::from_nanos(period))))
    }
}

/// A limit as the gateway runs it.
enum Running {
    Rate { id: String, settings: Settings, limiter: Arc<Limiter> },
    Concurrency(ConcurrencyLimit),
}

/// The gateway's own limiters, one after the other as a pipeline has them.
pub struct Limits {
    clock: Clock,
    registry: Registry,
    limits: Vec<(Setup, Running)>,
    held: HashMap<(u32, u16), Held>,
}

/// What a request in progress leaves to do when it ends.
#[derive(Default)]
struct Held {
    /// Places to give back.
    permits: Vec<Permit>,
    /// Limits that count it then, by their places, and the key that they count it by.
    counts: Vec<(usize, String)>,
}

/// The key of requests that share one; no other key is empty or begins like it.
const NO_KEY: &str = "\0";

impl Limits {
    /// Limits without any keys yet.
    pub fn new(setups: &[Setup]) -> Self {
        let clock = Clock::manual();
        let registry = Registry::new(clock.clone());
        let mut limits = Vec::new();
        let plan = registry.plan();
        for (number, setup) in setups.iter().enumerate() {
            let id = format!("limit {number}");
            let running = match &setup.terms {
                SetupTerms::Rate(settings) => {
                    let limiter = plan.limiter(&id, settings.clone());
                    Running::Rate { id, settings: settings.clone(), limiter }
                }
                SetupTerms::Concurrency(max) => Running::Concurrency(plan.concurrency(&id, *max)),
            };
            limits.push((setup.clone(), running));
        }
        plan.commit();
        Self { clock, registry, limits, held: HashMap::new() }
    }

    /// Moves the clock on.
    fn become_time(&self, now: u64) {
        let passed = self.clock.now().0;
        self.clock.advance(Duration::from_nanos(now.saturating_sub(passed)));
    }
}

/// Whole seconds, as a header has them.
fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX - 1)
}

/// The key that a limit counts a request by; an error is the answer to a request without one.
fn key_of<'k>(setup: &Setup, key: Option<&'k str>) -> Result<Option<&'k str>, Answer> {
    match (setup.scope, key, setup.missing_key) {
        (Scope::Shared, _, _) => Ok(Some("")),
        (Scope::PerKey, Some(key), _) => Ok(Some(key)),
        (Scope::PerKey, None, MissingKey::OneKey | MissingKey::Otherwise) => Ok(Some(NO_KEY)),
        (Scope::PerKey, None, MissingKey::Unlimited) => Ok(None),
        // As the gateway answers it: waiting would not help, so it is no 429.
        (Scope::PerKey, None, MissingKey::Refused) => Err(Answer { status: 403, ..Answer::default() }),
    }
}

impl Subject for Limits {
    fn ask(&mut self, now: u64, key: Option<&str>, attempt: &Attempt) -> Answer {
        self.become_time(now);
        let mut answer = Answer { status: 200, ..Answer::default() };
        if attempt.kind == Kind::Preflight {
            return answer;
        }
        let mut held = Held::default();
        let mut counted: Vec<(&Limiter, Ask<'_>, Decision)> = Vec::new();
        for (place, (setup, running)) in self.limits.iter().enumerate() {
            let key = match key_of(setup, key) {
                Ok(None) => continue,
                Ok(Some(key)) => key,
                Err(refusal) => {
                    answer = refusal;
                    break;
                }
            };
            match running {
                Running::Rate { limiter, .. } => {
                    let ask = Ask { count: setup.count, ..Ask::new(key, setup.cost) };
                    let decision = limiter.ask(&ask);
                    if setup.later > 0 {
                        held.counts.push((place, key.to_owned()));
                    }
                    if setup.shadow {
                        continue;
                    }
                    let tightest = answer.remaining.is_none_or(|remaining| decision.remaining < remaining);
                    if tightest || !decision.admitted {
                        answer.remaining = Some(decision.remaining);
                        answer.reset = Some(seconds(decision.more_seconds()));
                        answer.limit = Some(decision.limit);
                    }
                    if !decision.admitted {
                        answer.retry_after = decision.retry_after_seconds().map(seconds);
                        answer.status = 429;
                        break;
                    }
                    if setup.count == Count::Admitted {
                        counted.push((limiter, ask, decision));
                    }
                }
                Running::Concurrency(limit) => match limit.try_acquire(key) {
                    Some(permit) => held.permits.push(permit),
                    None => {
                        answer.status = 429;
                        break;
                    }
                },
            }
        }
        if answer.status != 200 {
            // What one limit refuses uses up none of the others.
            for (limiter, ask, decision) in counted {
                limiter.give_back(&ask, &decision);
            }
        } else if !held.permits.is_empty() || !held.counts.is_empty() {
            self.held.insert((attempt.job, attempt.number), held);
        }
        answer
    }

    fn end(&mut self, now: u64, attempt: &Attempt) {
        let held = if self.held.is_empty() { None } else { self.held.remove(&(attempt.job, attempt.number)) };
        for (place, key) in held.into_iter().flat_map(|held| held.counts) {
            self.become_time(now);
            if let (Setup { later, .. }, Running::Rate { limiter, .. }) = &self.limits[place] {
                limiter.charge(&Ask::new(&key, *later));
            }
        }
    }

    fn act(&mut self, _: u64, act: Act) {
        if act != Act::Reload {
            return;
        }
        let plan = self.registry.plan();
        for (number, (_, running)) in self.limits.iter_mut().enumerate() {
            match running {
                Running::Rate { id, settings, limiter } => *limiter = plan.limiter(id, settings.clone()),
                Running::Concurrency(limit) => {
                    let max = NonZeroU32::new(limit.max()).unwrap_or(NonZeroU32::MIN);
                    *limit = plan.concurrency(&format!("limit {number}"), max);
                }
            }
        }
        plan.commit();
    }
}
