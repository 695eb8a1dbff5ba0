//! The course of a test, without sockets or clocks: what to send next, and what the answers lead to.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use fastrand::Rng;

use super::arrivals::Progress;
use super::keys::Keys;
use super::plan::{Act, Plan};
use super::record::{Answer, Attempt, Fate, Record, fate};
use super::strategy::Seen;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A request is to be sent.
    Send(Attempt),
    /// Something is to happen around the target.
    Act(Act),
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    at: u64,
    /// Events at one moment happen in the order in which they were planned.
    order: u64,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// The next arrival of a phase.
    Arrival(u16),
    /// A call is tried again.
    Again(Attempt),
    Act(Act),
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How a client's call ended, in a phase whose clients ask more than once.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The phase.
    pub phase: u16,
    /// From when its first request was meant to be sent to its last answer.
    pub took: u64,
    /// When it ended.
    pub ended: u64,
    /// How many requests it took.
    pub attempts: u16,
    /// Whether the last one was admitted.
    pub succeeded: bool,
}

/// A test in progress.
#[derive(Debug)]
pub struct Session<'p> {
    plan: &'p Plan,
    refusals: Vec<u16>,
    rng: Rng,
    events: BinaryHeap<Event>,
    order: u64,
    phases: Vec<(Progress, Keys, Rng)>,
    jobs: u32,
    sent: u64,
    pending: u64,
    /// The requests that were answered, in the order of their answers.
    pub records: Vec<Record>,
    /// The calls that ended.
    pub calls: Vec<Call>,
    /// How many requests were admitted, refused and of unknown fate so far.
    pub tally: [u64; 3],
    /// Calls that were still waiting to try again when the test ended.
    pub unfinished: u64,
    /// Whether requests were left out because the bound was reached.
    pub bounded: bool,
}

impl<'p> Session<'p> {
    /// A test that begins at time zero.
    pub fn new(plan: &'p Plan) -> Self {
        let mut session = Self {
            plan,
            refusals: plan.refusals(),
            rng: Rng::with_seed(plan.seed),
            events: BinaryHeap::new(),
            order: 0,
            phases: Vec::with_capacity(plan.phases.len()),
            jobs: 0,
            sent: 0,
            pending: 0,
            records: Vec::with_capacity(usize::try_from(plan.count().min(plan.bounds.requests)).unwrap_or(0)),
            calls: Vec::new(),
            tally: [0; 3],
            unfinished: 0,
            bounded: false,
        };
        for (number, phase) in (0_u16..).zip(&plan.phases) {
            // Each phase has chance of its own, so that adding one leaves the others as they were.
            let rng = Rng::with_seed(plan.seed ^ (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            session.phases.push((phase.arrivals.begin(), phase.keys.clone(), rng));
            session.plan_arrival(number);
        }
        plan.acts.iter().for_each(|(at, act)| session.push(*at, What::Act(*act)));
        session
    }

    fn push(&mut self, at: u64, what: What) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, what });
    }

    fn plan_arrival(&mut self, number: u16) {
        let phase = &self.plan.phases[usize::from(number)];
        let (progress, _, rng) = &mut self.phases[usize::from(number)];
        if let Some(offset) = progress.next(&phase.arrivals, rng) {
            let at = phase.start.saturating_add(offset);
            if at <= self.plan.end {
                self.push(at, What::Arrival(number));
            }
        }
    }

    /// When something is due next; none when all that is left are answers.
    pub fn next_at(&self) -> Option<u64> {
        self.events.peek().map(|event| event.at)
    }

    /// What is due at `now` or was before.
    pub fn next(&mut self, now: u64) -> Option<Due> {
        while self.events.peek().is_some_and(|event| event.at <= now) {
            let event = self.events.pop()?;
            let attempt = match event.what {
                What::Act(act) => return Some(Due::Act(act)),
                What::Again(attempt) => attempt,
                What::Arrival(number) => {
                    self.plan_arrival(number);
                    let (_, keys, rng) = &mut self.phases[usize::from(number)];
                    self.jobs += 1;
                    Attempt {
                        key: keys.next(rng),
                        job: self.jobs,
                        phase: number,
                        number: 1,
                        refusals: 0,
                        kind: self.plan.phases[usize::from(number)].kind,
                        intended: event.at,
                        began: event.at,
                    }
                }
            };
            if self.sent >= self.plan.bounds.requests {
                self.bounded = true;
                continue;
            }
            self.sent += 1;
            self.pending += 1;
            return Some(Due::Send(attempt));
        }
        None
    }

    /// How many requests were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many answers are awaited.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// What an answer says about the limits.
    pub fn fate(&self, status: u16) -> Fate {
        fate(status, &self.refusals)
    }

    /// Takes an answer, or its absence as status 0; plans the next attempt.
    pub fn answered(&mut self, attempt: Attempt, times: [u64; 4], answer: &Answer) {
        let record = Record::new(attempt, times, answer);
        self.records.push(record);
        self.pending -= 1;
        let fate = self.fate(answer.status);
        self.tally[fate as usize] += 1;
        let strategy = self.plan.phases[usize::from(attempt.phase)].strategy;
        if !strategy.repeats() {
            return;
        }
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| u64::from(seconds) * 1_000_000_000);
        let seen = Seen {
            status: answer.status,
            refused: fate == Fate::Refused,
            retry_after: seconds(answer.retry_after),
            reset: seconds(answer.reset),
        };
        let refusals = attempt.refusals;
        match strategy.wait(&seen, attempt.number.into(), refusals.into(), &mut self.rng) {
            Some(wait) => {
                let intended = if strategy.keeps_pace() && !seen.refused {
                    // Slow answers do not slow it down, so that the key is drained in time.
                    record.ended.max(attempt.intended.saturating_add(wait))
                } else {
                    record.ended.saturating_add(wait)
                };
                let next = Attempt {
                    number: attempt.number.saturating_add(1),
                    refusals: refusals.saturating_add(u16::from(seen.refused)),
                    intended,
                    ..attempt
                };
                if intended <= self.plan.end { self.push(intended, What::Again(next)) } else { self.unfinished += 1 }
            }
            None => self.calls.push(Call {
                phase: attempt.phase,
                took: record.ended.saturating_sub(attempt.began),
                ended: record.ended,
                attempts: attempt.number,
                succeeded: fate == Fate::Admitted,
            }),
        }
    }

    /// Ends the test early: nothing more is sent.
    pub fn stop(&mut self) {
        let again = |event: &Event| matches!(event.what, What::Again(_));
        self.unfinished += self.events.iter().filter(|event| again(event)).count() as u64;
        self.events.clear();
    }
}
