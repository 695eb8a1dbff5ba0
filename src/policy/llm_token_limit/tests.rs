//! The bound of token limits, against its definition: requests that run beside each other, counted ahead and put right.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::step::asked;
use crate::clock::Clock;
use crate::limit::quota::{self, Allowance, Book, Ledger, Schedule, Unit, schedule};
use crate::limit::{Algorithm, Answer, Ask, Count, Limit, Limiter, Overflow, Precision, Settings, WindowStart};
use crate::pipeline::limits::{Counted, KeyText, Limited, Rule, Standing};

/// A minute, shortened so that its ends are met often.
const PERIOD: u64 = 1_000;
const LIMIT: u32 = 40;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    /// A request: what is counted ahead.
    Ask(u32),
    /// The answer of one of those that run has ended: what it used.
    End(usize, u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let wait = prop_oneof![2 => 0..300_u64, 1 => Just(PERIOD), 1 => Just(PERIOD - 1)];
    let event = prop_oneof![
        2 => wait.prop_map(Event::Wait),
        4 => prop_oneof![1 => Just(0), 3 => 1..25_u32].prop_map(Event::Ask),
        4 => (0..4_usize, 0..40_u32).prop_map(|(which, used)| Event::End(which, used)),
    ];
    prop::collection::vec(event, 1..80)
}

/// What was counted, in the order in which it was: when, how much, and of which request.
#[derive(Default)]
struct History(Vec<(u64, u32, usize)>);

impl History {
    fn within(&self, now: u64) -> u32 {
        self.0.iter().filter(|(at, ..)| now - at < PERIOD).map(|(_, units, _)| units).sum()
    }

    fn put_right(&mut self, request: usize, now: u64, used: u32) {
        let counted: u32 = self.0.iter().filter(|(.., of)| *of == request).map(|(_, units, _)| units).sum();
        if used > counted {
            self.0.push((now, used - counted, request));
        } else if let Some((_, units, _)) = self.0.iter_mut().find(|(.., of)| *of == request) {
            *units -= counted - used;
        }
    }
}

/// A request that was admitted, as it stands at the end.
#[derive(Clone, Copy)]
struct Request {
    /// The numbers of the events at which it came and at which its answer ended.
    from: usize,
    to: usize,
    ahead: u32,
    used: u32,
}

fn rule(algorithm: Algorithm, clock: &Clock) -> Arc<Rule> {
    let settings = Settings::new(algorithm, NonZeroU32::new(LIMIT).unwrap(), Duration::from_nanos(PERIOD));
    let limit = Limit::Local(Arc::new(Limiter::new(settings, clock.clone())));
    Arc::new(Rule { limit, count: Count::Admitted, fields: None, later: None, remaining: None })
}

/// A request that runs, and the number of it.
fn admit(rule: &Arc<Rule>, ahead: u32) -> Option<Limited> {
    let (cost, count) = asked(ahead.into());
    let ask = Ask { key: "k", cost, count, rate: None };
    let Answer::Now(decision) = rule.limit.ask(ask) else { unreachable!() };
    let mut limited = Limited::rate(rule, KeyText::new("k"), None, decision);
    if let Counted::Rate { units, .. } = &mut limited.counted {
        *units = ahead;
    }
    decision.admitted.then_some(limited)
}

/// What the requests that ran at `event` used beyond what was counted ahead for them.
fn beyond(requests: &[Request], event: usize) -> u32 {
    let running = requests.iter().filter(|request| request.from <= event && event <= request.to);
    running.map(|request| request.used.saturating_sub(request.ahead)).sum()
}

proptest! {
    /// Every decision is the one of a list of all tokens with their times; and any window holds at most the limit and what the
    /// requests that ran when it was reached used beyond what was counted ahead.
    #[test]
    fn a_window_of_tokens_is_as_it_is_defined(events in events()) {
        let clock = Clock::manual();
        let rule = rule(Algorithm::SlidingWindow { precision: Precision::Exact }, &clock);
        let (mut history, mut running, mut requests) = (History::default(), Vec::new(), Vec::<Request>::new());
        // The times and numbers of events at which something was counted.
        let mut counted: Vec<(usize, u64, usize)> = Vec::new();
        for (number, event) in events.iter().enumerate() {
            let now = clock.now().0;
            match event {
                Event::Wait(time) => clock.advance(Duration::from_nanos(*time)),
                Event::Ask(ahead) => {
                    let fits = history.within(now) + (*ahead).max(1) <= LIMIT;
                    let admitted = admit(&rule, *ahead);
                    prop_assert_eq!(admitted.is_some(), fits, "at {}, {} ahead", now, ahead);
                    let Some(limited) = admitted else { continue };
                    running.push((requests.len(), limited));
                    history.0.push((now, *ahead, requests.len()));
                    counted.push((number, now, requests.len()));
                    requests.push(Request { from: number, to: usize::MAX, ahead: *ahead, used: *ahead });
                }
                Event::End(which, used) => {
                    if running.is_empty() {
                        continue;
                    }
                    let (request, mut limited) = running.remove(which % running.len());
                    limited.correct(0, (*used).into());
                    history.put_right(request, now, *used);
                    counted.push((number, now, request));
                    requests[request] = Request { to: number, used: *used, ..requests[request] };
                }
            }
        }
        // The bound holds for what has been used in the end.
        for (from, ..) in &history.0 {
            let window = || history.0.iter().filter(|(at, ..)| (*from..from + PERIOD).contains(at));
            let sum: u32 = window().map(|(_, units, _)| units).sum();
            let over = counted.iter().filter(|(_, at, _)| (*from..from + PERIOD).contains(at));
            let worst = over.map(|(event, ..)| beyond(&requests, *event)).max().unwrap_or(0);
            prop_assert!(sum <= LIMIT + worst, "{} from {}, of which {} were not known beforehand", sum, from, worst);
        }
    }

    /// Where as much is counted ahead as is used, no algorithm admits more than it says, whatever is given back.
    #[test]
    fn what_is_counted_ahead_is_never_exceeded(which in 0..5_usize, events in events()) {
        let clock = Clock::manual();
        let count = NonZeroU32::new(6).unwrap();
        let algorithm = [
            Algorithm::SlidingWindow { precision: Precision::Exact },
            Algorithm::SlidingWindow { precision: Precision::Slots(count) },
            Algorithm::TokenBucket { burst: NonZeroU32::new(LIMIT).unwrap() },
            Algorithm::FixedWindow { start: WindowStart::FirstCall },
            Algorithm::FixedWindow { start: WindowStart::Clock },
        ][which];
        let rule = rule(algorithm, &clock);
        let (mut history, mut running, mut requests) = (History::default(), Vec::new(), 0);
        for event in events {
            match event {
                Event::Wait(time) => clock.advance(Duration::from_nanos(time)),
                Event::Ask(ahead) => {
                    if let Some(limited) = admit(&rule, ahead) {
                        running.push((requests, limited, ahead));
                        history.0.push((clock.now().0, ahead, requests));
                        requests += 1;
                    }
                }
                Event::End(which, used) if !running.is_empty() => {
                    let (request, mut limited, ahead) = running.remove(which % running.len());
                    let used = used.min(ahead);
                    limited.correct(0, used.into());
                    history.put_right(request, clock.now().0, used);
                }
                Event::End(..) => {}
            }
        }
        // In any time from one token to another: a window's calls, a bucket's burst and what it got back, two fixed windows.
        for (from, ..) in &history.0 {
            for (to, ..) in &history.0 {
                let sum: u32 = history.0.iter().filter(|(at, ..)| from <= at && at <= to).map(|(_, units, _)| units).sum();
                let time = to.saturating_sub(*from);
                let periods = u32::try_from(time / PERIOD).unwrap();
                let most = match algorithm {
                    Algorithm::SlidingWindow { .. } => (periods + 1) * LIMIT,
                    Algorithm::TokenBucket { .. } => LIMIT + u32::try_from(time * u64::from(LIMIT) / PERIOD).unwrap(),
                    Algorithm::FixedWindow { .. } => (periods + 2) * LIMIT,
                };
                prop_assert!(sum <= most, "{:?}: {} from {} to {}", algorithm, sum, from, to);
            }
        }
    }

    /// A quota's decisions are those of a sum for each period, to which a request belongs that began in it.
    #[test]
    fn a_quota_of_tokens_is_as_it_is_defined(events in events()) {
        let clock = Clock::manual();
        let calendar = Schedule::Calendar { unit: Unit::Hour, zone: jiff::tz::TimeZone::UTC, first: schedule::YEAR_ONE };
        let settings =
            quota::Settings { schedule: calendar.clone(), max_keys: 10, on_overflow: Overflow::Reject, kept: false };
        let ledger = Arc::new(Ledger::new("tokens", settings, clock.clone()));
        let allowance = Allowance { calls: None, units: Some(LIMIT.into()) };
        // The end of a period, and what is used of it.
        let mut sums: Vec<(i64, u32)> = Vec::new();
        let mut running: Vec<(i64, Limited, u32)> = Vec::new();
        for event in events {
            let now = schedule::millis(clock.wall());
            let (_, end) = calendar.window(now, None);
            if !sums.iter().any(|(known, _)| *known == end) {
                sums.push((end, 0));
            }
            match event {
                // In minutes, so that periods end while requests run.
                Event::Wait(time) => clock.advance(Duration::from_secs(time * 10)),
                Event::Ask(ahead) => {
                    let sum = sums.iter_mut().find(|(known, _)| *known == end).unwrap();
                    let verdict = ledger.take("k", None, &allowance, 1, ahead.into());
                    prop_assert_eq!(verdict.outcome.is_ok(), sum.1 + ahead.max(1) <= LIMIT, "{} of {}", ahead, sum.1);
                    let Ok(ticket) = verdict.outcome else { continue };
                    sum.1 += ahead;
                    let book = Book::Memory(ledger.clone());
                    let counted =
                        Counted::Quota { book, first: None, ticket, calls: 1, units: ahead.into(), metered: false, of_units: true };
                    let key = KeyText::new("k");
                    let standing = Standing::default();
                    running.push((end, Limited { fields: None, key, standing, refused: false, counted }, ahead));
                }
                Event::End(which, used) if !running.is_empty() => {
                    let (counted, mut limited, ahead) = running.remove(which % running.len());
                    limited.correct(1, used.into());
                    // What comes on top when its period is over counts in this one: it has been used.
                    let of = if used > ahead { counted.max(end) } else { counted };
                    let sum = sums.iter_mut().find(|(known, _)| *known == of).unwrap();
                    sum.1 = sum.1 + used - ahead;
                }
                Event::End(..) => {}
            }
        }
    }
}
