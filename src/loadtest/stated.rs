//! What is expected of an operation's limits, from what its policies say.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::expect::{Counted, Expected, Scope, Terms};
use super::live::KeyPlace;
use super::virtual_time::{Setup, SetupTerms};
use crate::gateway::{Operation, Product};
use crate::limit::{Count, MissingKey, Stated, StatedKey, StatedTerms, Tokens};
use crate::pipeline::Origin;

/// The limits on the way of an operation's requests.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What is expected of each.
    pub limits: Vec<Expected>,
    /// The same, to run without a gateway.
    pub setups: Vec<Setup>,
    /// Whether there are limits on the way of which nothing is known: a refusal is then never known to be wrong.
    pub others: bool,
    /// What is not known, and why.
    pub notes: Vec<String>,
    /// Where the key of the limit that is met soonest stands.
    pub place: KeyPlace,
    /// Whether that key is the caller's address, of IPv6 its network.
    pub by_network: bool,
}

/// Policies that refuse requests for other reasons than a rate or the number at once.
const OTHER_LIMITS: [&str; 4] = ["quota", "quota-by-key", "llm-token-limit", "azure-openai-token-limit"];

/// How many tokens of a language model the test's requests use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Each of them as its answer reports it, where that is known.
    pub answer: Option<u32>,
    /// The estimate of the prompt.
    pub prompt: u64,
}

/// A limit of the operation, and whether it certainly applies.
struct Applying<'a> {
    stated: &'a Stated,
    origin: &'a Origin,
    certain: bool,
}

fn applying<'a>(
    stated: &'a [(Arc<Origin>, Stated)],
    operation: &Operation,
    product: Option<&Product>,
) -> Vec<Applying<'a>> {
    let mut found = Vec::new();
    for outer in operation.pipeline(product).outline.iter().flat_map(|steps| steps.iter()) {
        let inside = format!("{}/", outer.path);
        for (origin, stated) in stated {
            let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
            if !is(&stated.api, &operation.api.name) || !is(&stated.operation, &operation.name) {
                continue;
            }
            let nested = origin.path.starts_with(&inside)
                && (origin.scope, origin.section) == (outer.scope, outer.section)
                && same_file(&origin.place, &outer.place, outer.policy);
            if Arc::ptr_eq(origin, outer) || nested {
                let certain =
                    Arc::ptr_eq(origin, outer) || outer.policy == "include-fragment" && !in_branch(&origin.path);
                found.push(Applying { stated, origin, certain });
            }
        }
    }
    found
}

/// Whether a policy stands in a branch that is not always taken.
fn in_branch(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with("choose[") || part.starts_with("when[") || part == "otherwise")
}

/// Paths are unlike within one scope of one file only. A fragment stands in gateway.toml, whoever includes it.
fn same_file(inner: &str, outer: &str, policy: &str) -> bool {
    let file = |place: &str| place.split(':').next().unwrap_or_default().to_owned();
    policy == "include-fragment" || file(inner) == file(outer)
}

/// The place of a key that an expression reads, when it reads one that a test can choose.
fn place_of(key: &StatedKey, by_subscription: bool) -> KeyPlace {
    let text = match key {
        StatedKey::All => return KeyPlace::None,
        StatedKey::Caller if by_subscription => return KeyPlace::Subscription,
        StatedKey::Caller => return KeyPlace::Address,
        StatedKey::Written(text) => text,
    };
    let argument = |function: &str| {
        let (_, rest) = text.split_once(&format!("{function}('"))?;
        rest.split_once('\'').map(|(name, _)| name.to_owned())
    };
    if let Some(name) = argument("headers").and_then(|name| name.parse().ok()) {
        return KeyPlace::Header(name);
    }
    if let Some(name) = argument("queryParameters") {
        return KeyPlace::Query(name);
    }
    let by_caller = text.contains("subscription(") || text.contains("consumer(");
    let by_address = text.contains("clientIp()");
    // Where calls come without a subscription, it is the address that stands in for it.
    match (by_caller, by_address) {
        (true, false) => KeyPlace::Subscription,
        (true, true) if by_subscription => KeyPlace::Subscription,
        (_, true) => KeyPlace::Address,
        (false, false) => KeyPlace::None,
    }
}

/// Whether a key that is not there is made up for by the caller's address.
fn falls_back(key: &StatedKey) -> bool {
    matches!(key, StatedKey::Written(text) if text.contains("coalesce(") && text.contains("clientIp()"))
}

/// What is expected of the limits of an operation when calls are made under `product`, with keys at `place`; at the place of the
/// key of the limit that is met soonest when none is given. `by_subscription` is whether calls come with a subscription's key, `usage` how
/// many tokens they use.
pub fn find(
    stated: &[(Arc<Origin>, Stated)],
    operation: &Operation,
    product: Option<&Product>,
    place: Option<&KeyPlace>,
    by_subscription: bool,
    usage: Usage,
) -> Found {
    let mut found = Found::default();
    let all = applying(stated, operation, product);
    let rates = || all.iter().filter(|one| one.certain && matches!(one.stated.terms, StatedTerms::Rate(_)));
    let soonest = rates().min_by_key(|one| promise(one.stated, usage).map_or(u64::MAX, |it| it.terms.refill()));
    let soonest = soonest.or_else(|| all.first());
    found.place = match place {
        Some(place) => place.clone(),
        None => soonest.map_or(KeyPlace::None, |one| place_of(&one.stated.key, by_subscription)),
    };
    found.by_network =
        soonest.is_some_and(|one| one.stated.key == StatedKey::Caller) && found.place == KeyPlace::Address;
    for one in &all {
        if let Err(why) = found.add(one, by_subscription, usage) {
            found.others = true;
            found.notes.push(format!("{} at {} is not judged: {why}", one.origin.policy, one.origin.place));
        }
    }
    for outer in operation.pipeline(product).outline.iter().flat_map(|steps| steps.iter()) {
        // What a token limit says of a minute is judged as the others are.
        let judged = |one: &Applying<'_>| {
            std::ptr::eq(&raw const **outer, one.origin) && !one.stated.tokens.is_some_and(|tokens| tokens.quota)
        };
        if OTHER_LIMITS.contains(&outer.policy) && !all.iter().any(judged) {
            found.others = true;
            found.notes.push(format!("{} at {} may refuse requests too", outer.policy, outer.place));
        }
    }
    found
}

/// What a policy promises in requests of the test, and how they are counted.
#[derive(Debug)]
struct Promise {
    terms: Terms,
    counted: Counted,
    /// What the limit is asked.
    cost: u32,
    count: Count,
    /// What is counted once the answer is known.
    later: u32,
    /// Why a refusal is never known to be wrong, if it is not.
    moot: Option<&'static str>,
}

/// What a policy promises, where its numbers are the same for all requests.
fn promise(stated: &Stated, usage: Usage) -> Result<Promise, &'static str> {
    if let Some(tokens) = stated.tokens {
        return promise_of_tokens(stated, tokens, usage);
    }
    let cost = match stated.cost {
        Some(0) => return Err("its requests cost nothing"),
        Some(cost) => cost,
        None => return Err("what a request costs differs between requests"),
    };
    let count = stated.count.ok_or("which requests count differs between them")?;
    let counted = match count {
        Count::Admitted => Counted::Admitted,
        Count::All => Counted::All,
        Count::Later => Counted::Perhaps,
        Count::Never => return Err("it counts no request"),
    };
    let moot = match counted {
        Counted::All => Some("counts refused requests too"),
        _ => None,
    };
    let later = if count == Count::Later { cost } else { 0 };
    Ok(Promise { terms: in_requests(&stated.terms, cost.into(), cost.into())?, counted, cost, count, later, moot })
}

/// What a limit of tokens promises when each request uses as many.
fn promise_of_tokens(stated: &Stated, tokens: Tokens, usage: Usage) -> Result<Promise, &'static str> {
    let Some(whole) = usage.answer else {
        return Err("how many tokens an answer uses is not known; `--tokens` says it");
    };
    let ahead = u64::from(tokens.reserve).saturating_add(if tokens.estimates { usage.prompt } else { 0 });
    let ahead = u32::try_from(ahead).ok().filter(|ahead| *ahead <= whole);
    let ahead = ahead.ok_or("it counts more ahead than a request uses; `--tokens` says how many that is")?;
    let (cost, count) = if ahead == 0 { (1, Count::Later) } else { (ahead, Count::Admitted) };
    let terms = in_requests(&stated.terms, cost.into(), whole.into())?;
    let counted = if ahead == whole { Counted::Admitted } else { Counted::Answered };
    let parts = counted == Counted::Answered && matches!(terms, Terms::TokenBucket { .. });
    let moot = parts.then_some("gives back less than a request uses at a time");
    Ok(Promise { terms, counted, cost, count, later: whole - ahead, moot })
}

/// The terms of a limit in requests that find room for `first` units, and take `whole` in the end.
fn in_requests(terms: &StatedTerms, first: u64, whole: u64) -> Result<Terms, &'static str> {
    let settings = match terms {
        StatedTerms::Concurrency(max) => return Ok(Terms::Concurrency { max: max.get().into(), hold: 0 }),
        StatedTerms::Rate(settings) if settings.varying => return Err("its numbers differ between callers"),
        StatedTerms::Rate(settings) => settings,
    };
    if u64::from(settings.calls.get()) < first {
        return Err("one request costs more than it allows");
    }
    // So many can come one after the other: the last of them finds just enough.
    let many = |units: u64| (units - first) / whole + 1;
    Ok(match Terms::of(settings) {
        Terms::SlidingWindow { calls, period, slots } => Terms::SlidingWindow { calls: many(calls), period, slots },
        Terms::FixedWindow { calls, period, start } => Terms::FixedWindow { calls: many(calls), period, start },
        // A bucket gives fractions of requests, which add up.
        Terms::TokenBucket { calls, period, burst } if burst >= first => {
            let burst = if first == whole { many(burst) } else { (burst - first).div_ceil(whole) + 1 };
            Terms::TokenBucket { calls, period: period.saturating_mul(whole), burst }
        }
        Terms::TokenBucket { .. } => return Err("one request costs more than a full bucket has"),
        Terms::Concurrency { max, hold } => Terms::Concurrency { max, hold },
    })
}

impl Found {
    fn add(&mut self, one: &Applying<'_>, by_subscription: bool, usage: Usage) -> Result<(), &'static str> {
        let stated = one.stated;
        if !one.certain {
            return Err("it stands in a branch that not every request takes");
        }
        let Promise { terms, counted, cost, count, later, moot } = promise(stated, usage)?;
        if let Some(moot) = moot {
            // What is admitted is bounded all the same.
            self.others = true;
            self.notes
                .push(format!("{} at {} {moot}, so that refusals are not judged", one.origin.policy, one.origin.place));
        }
        if counted == Counted::Perhaps {
            self.notes.push(format!(
                "which requests {} at {} counts is known when they are answered, so that an excess is not judged",
                one.origin.policy, one.origin.place
            ));
        }
        let reads = place_of(&stated.key, by_subscription);
        let scope = if reads != KeyPlace::None && reads == self.place { Scope::PerKey } else { Scope::Shared };
        if scope == Scope::Shared && stated.key != StatedKey::All && self.place != KeyPlace::None {
            self.notes.push(format!(
                "the key of {} at {} is the same for all requests of this test",
                one.origin.policy, one.origin.place
            ));
        }
        // All requests of a test come from one address, so that those without a key are one caller's.
        let missing_key = if falls_back(&stated.key) { MissingKey::OneKey } else { stated.missing_key };
        let max_keys = match &stated.terms {
            StatedTerms::Rate(settings) => Some(settings.max_keys.get() as u64),
            StatedTerms::Concurrency(_) => None,
        };
        let name = one.origin.id.clone().unwrap_or_else(|| format!("{} at {}", one.origin.policy, one.origin.place));
        // What is told of requests at once says nothing of how many are left.
        let told = stated.told && !stated.shadow && terms.is_rate();
        self.limits.push(Expected {
            name,
            terms,
            scope,
            status: 429,
            missing_key: Some(missing_key).filter(|_| reads_what_may_be_missing(&reads)),
            max_keys,
            shadow: stated.shadow,
            told,
            counted,
        });
        if stated.delays {
            self.notes.push(format!(
                "requests wait in {} at {}; in virtual time they are refused instead",
                one.origin.policy, one.origin.place
            ));
        }
        self.setups.push(Setup {
            terms: match &stated.terms {
                StatedTerms::Rate(settings) => SetupTerms::Rate(settings.clone()),
                StatedTerms::Concurrency(max) => SetupTerms::Concurrency(*max),
            },
            scope,
            cost,
            count,
            later,
            missing_key,
            shadow: stated.shadow,
        });
        Ok(())
    }
}

/// Whether a request can come without the key: not without a sender's address, and without a subscription it does not get so far.
fn reads_what_may_be_missing(place: &KeyPlace) -> bool {
    matches!(place, KeyPlace::Header(_) | KeyPlace::Query(_))
}

/// Limits to run for what is expected of somebody else's: for `--expect` in virtual time.
pub fn setups(limits: &[Expected]) -> Result<Vec<Setup>, String> {
    let one = |limit: &Expected| {
        let mut terms =
            SetupTerms::of(&limit.terms).ok_or_else(|| format!("`{}` is too large to be run", limit.terms))?;
        if let SetupTerms::Rate(settings) = &mut terms {
            // How many keys somebody else's holds is not known; then none is ever turned away for that.
            let held = limit.max_keys.and_then(|held| usize::try_from(held).ok()?.try_into().ok());
            settings.max_keys = held.unwrap_or(NonZeroUsize::MAX);
        }
        Ok(Setup {
            terms,
            scope: limit.scope,
            cost: 1,
            count: match limit.counted {
                Counted::Admitted => Count::Admitted,
                Counted::All => Count::All,
                Counted::Answered | Counted::Perhaps => Count::Later,
            },
            later: u32::from(limit.counted.is_late()),
            missing_key: limit.missing_key.unwrap_or(MissingKey::OneKey),
            shadow: limit.shadow,
        })
    };
    limits.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Algorithm, Overflow, Precision, Settings};

    fn stated(algorithm: Algorithm, calls: u32, cost: Option<u32>, count: Count, tokens: Option<Tokens>) -> Stated {
        let number = |number| std::num::NonZeroU32::new(number).unwrap();
        Stated {
            terms: StatedTerms::Rate(Settings {
                algorithm,
                calls: number(calls),
                period: std::time::Duration::from_secs(60),
                varying: false,
                max_keys: NonZeroUsize::MIN,
                on_overflow: Overflow::Reject,
            }),
            key: StatedKey::All,
            missing_key: MissingKey::OneKey,
            cost,
            count: Some(count),
            tokens,
            shadow: false,
            delays: false,
            told: false,
            api: None,
            operation: None,
        }
    }

    #[test]
    fn units_become_requests() {
        let sliding = Algorithm::SlidingWindow { precision: Precision::Exact };
        let bucket = Algorithm::TokenBucket { burst: std::num::NonZeroU32::new(1_000).unwrap() };
        let tokens = |estimates, reserve| Some(Tokens { estimates, reserve, quota: false });
        let costs = |cost| stated(sliding, 1_000, Some(cost), Count::Admitted, None);
        let uses = |algorithm, tokens| stated(algorithm, 1_000, None, Count::Later, tokens);
        let usage = Usage { answer: Some(300), prompt: 50 };
        for (name, stated, usage, want) in [
            ("one each", costs(1), usage, Ok(("1000/1m sliding", Counted::Admitted))),
            ("three each", costs(3), usage, Ok(("333/1m sliding", Counted::Admitted))),
            ("too dear", costs(1_001), usage, Err("one request costs more than it allows")),
            (
                "some, later",
                stated(sliding, 1_000, Some(1), Count::Later, None),
                usage,
                Ok(("1000/1m sliding", Counted::Perhaps)),
            ),
            // The fourth finds 100 left.
            ("tokens", uses(sliding, tokens(false, 0)), usage, Ok(("4/1m sliding", Counted::Answered))),
            // And does not when 150 have to be.
            ("a prompt and more", uses(sliding, tokens(true, 100)), usage, Ok(("3/1m sliding", Counted::Answered))),
            ("all ahead", uses(sliding, tokens(true, 250)), usage, Ok(("3/1m sliding", Counted::Admitted))),
            (
                "more than all",
                uses(sliding, tokens(true, 300)),
                usage,
                Err("it counts more ahead than a request uses; `--tokens` says how many that is"),
            ),
            (
                "a bucket",
                uses(bucket, tokens(false, 0)),
                usage,
                Ok(("1000/5h token-bucket burst=5", Counted::Answered)),
            ),
            (
                "nobody knows",
                uses(sliding, tokens(false, 0)),
                Usage::default(),
                Err("how many tokens an answer uses is not known; `--tokens` says it"),
            ),
        ] {
            let found = promise(&stated, usage).map(|promise| (promise.terms.to_string(), promise.counted));
            assert_eq!(found, want.map(|(terms, counted)| (terms.to_owned(), counted)), "{name}");
        }
    }
}
