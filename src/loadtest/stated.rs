//! What is expected of an operation's limits, from what its policies say.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::expect::{Expected, Scope, Terms};
use super::live::KeyPlace;
use super::virtual_time::{Setup, SetupTerms};
use crate::gateway::{Operation, Product};
use crate::limit::{Count, MissingKey, Stated, StatedKey, StatedTerms};
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
    if text.contains("subscription(") || text.contains("consumer(") {
        return KeyPlace::Subscription;
    }
    if text.contains("clientIp()") { KeyPlace::Address } else { KeyPlace::None }
}

/// Whether a key that is not there is made up for by the caller's address.
fn falls_back(key: &StatedKey) -> bool {
    matches!(key, StatedKey::Written(text) if text.contains("coalesce(") && text.contains("clientIp()"))
}

/// What is expected of the limits of an operation when calls are made under `product`, with keys at `place`; at the place of the
/// key of the limit that is met soonest when none is given. `by_subscription` is whether calls come with a subscription's key.
pub fn find(
    stated: &[(Arc<Origin>, Stated)],
    operation: &Operation,
    product: Option<&Product>,
    place: Option<&KeyPlace>,
    by_subscription: bool,
) -> Found {
    let mut found = Found::default();
    let all = applying(stated, operation, product);
    let rates = || all.iter().filter(|one| one.certain && matches!(one.stated.terms, StatedTerms::Rate(_)));
    let soonest = rates().min_by_key(|one| terms(one.stated).map_or(u64::MAX, |terms| terms.refill()));
    let soonest = soonest.or_else(|| all.first());
    found.place = match place {
        Some(place) => place.clone(),
        None => soonest.map_or(KeyPlace::None, |one| place_of(&one.stated.key, by_subscription)),
    };
    found.by_network =
        soonest.is_some_and(|one| one.stated.key == StatedKey::Caller) && found.place == KeyPlace::Address;
    for one in &all {
        if let Err(why) = found.add(one, by_subscription) {
            found.others = true;
            found.notes.push(format!("{} at {} is not judged: {why}", one.origin.policy, one.origin.place));
        }
    }
    for outer in operation.pipeline(product).outline.iter().flat_map(|steps| steps.iter()) {
        if OTHER_LIMITS.contains(&outer.policy) {
            found.others = true;
            found.notes.push(format!("{} at {} may refuse requests too", outer.policy, outer.place));
        }
    }
    found
}

/// What a policy promises, where its numbers are the same for all requests.
fn terms(stated: &Stated) -> Result<Terms, &'static str> {
    let cost = match stated.cost {
        Some(0) => return Err("its requests cost nothing"),
        Some(cost) => u64::from(cost),
        None => return Err("what a request costs differs between requests"),
    };
    Ok(match &stated.terms {
        StatedTerms::Rate(settings) if settings.varying => return Err("its numbers differ between callers"),
        StatedTerms::Rate(settings) => {
            let whole = |units: u64| units / cost;
            match Terms::of(settings) {
                _ if u64::from(settings.calls.get()) < cost => return Err("one request costs more than it allows"),
                Terms::SlidingWindow { calls, period, slots } => {
                    Terms::SlidingWindow { calls: whole(calls), period, slots }
                }
                Terms::FixedWindow { calls, period, start } => {
                    Terms::FixedWindow { calls: whole(calls), period, start }
                }
                // A bucket gives fractions of requests, which add up.
                Terms::TokenBucket { calls, period, burst } if burst >= cost => {
                    Terms::TokenBucket { calls, period: period.saturating_mul(cost), burst: whole(burst) }
                }
                Terms::TokenBucket { .. } => return Err("one request costs more than a full bucket has"),
                Terms::Concurrency { max, hold } => Terms::Concurrency { max, hold },
            }
        }
        StatedTerms::Concurrency(max) => Terms::Concurrency { max: max.get().into(), hold: 0 },
    })
}

impl Found {
    fn add(&mut self, one: &Applying<'_>, by_subscription: bool) -> Result<(), &'static str> {
        let stated = one.stated;
        if !one.certain {
            return Err("it stands in a branch that not every request takes");
        }
        let terms = terms(stated)?;
        let count = stated.count.ok_or("which requests count differs between them")?;
        if count == Count::Later {
            return Err("requests count when their answer is known");
        }
        if count == Count::All {
            // What is admitted is bounded all the same.
            self.others = true;
            self.notes.push(format!(
                "{} at {} counts refused requests too, so that refusals are not judged",
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
            counts_refusals: count == Count::All,
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
            cost: stated.cost.unwrap_or(1),
            count,
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
            count: if limit.counts_refusals { Count::All } else { Count::Admitted },
            missing_key: limit.missing_key.unwrap_or(MissingKey::OneKey),
            shadow: limit.shadow,
        })
    };
    limits.iter().map(one).collect()
}
