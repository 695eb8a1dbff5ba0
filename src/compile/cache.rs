//! `[cache]`, and what is wrong with caches of answers as a whole: one end without the other, and checks that a cached answer skips.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::cache::{Bounds, Cache, External, Memory, Settings};
use crate::config::folder::Document;
use crate::config::source::Location;
use crate::config::{Diagnostic, Diagnostics};
use crate::limit::{OnStoreError, SharedCounters};
use crate::pipeline::{CacheRole, Origin, Placed};

/// The longest that requests may wait for each other.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The cache of a configuration. The memory is the one in use, unless its bounds have changed. Mistakes go to `diagnostics`.
pub(super) fn build(
    document: &Document<'_>,
    counters: Option<&SharedCounters>,
    shared: &Shared,
    diagnostics: &mut Diagnostics,
) -> Cache {
    let spec = &document.cache;
    let mut mistake = |span: std::ops::Range<usize>, message: String, hint: &str| {
        if let Some(file) = document.gateway {
            diagnostics.push(Diagnostic::error("bad-value", file, span, message).hint(hint));
        }
    };
    let number = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let entries = spec.entries.as_ref().map_or(10_000, |entries| number(entries.value));
    let bytes = spec.size.as_ref().map_or(64 << 20, |size| number(size.value.0));
    if let Some(entries) = spec.entries.as_ref().filter(|entries| entries.value == 0) {
        mistake(entries.span.clone(), "a cache of no entries keeps nothing".to_owned(), "at least 1");
    }
    let largest = match &spec.entry_size {
        None => (1 << 20).min(bytes),
        Some(size) => {
            if number(size.value.0) > bytes {
                let message = "an entry cannot be larger than the whole cache".to_owned();
                mistake(size.span.clone(), message, "at most `size`, which is `64MiB` by default");
            }
            number(size.value.0)
        }
    };
    let wait = spec.wait.as_ref().map_or(Duration::from_secs(5), |wait| wait.value.0);
    if let Some(spec) = spec.wait.as_ref().filter(|_| wait > LONGEST_WAIT) {
        mistake(spec.span.clone(), format!("`{wait:?}` is too long to wait for each other"), "at most `1m`");
    }
    let bounds = Bounds { entries: entries.max(1), bytes, largest };
    let metrics = shared.metrics.cache();
    let memory = shared.memories.get(format!("{bounds:?}"), || Memory::new(bounds, metrics.memory.clone()));
    let external = counters.map(|counters| External {
        store: counters.store.clone(),
        falls_back: counters.on_error == OnStoreError::Local,
    });
    Cache::new(memory, external, Settings { largest, wait }, shared.clock.clone(), metrics)
}

/// A policy that is one end of a cache of answers, and whether the other end was found in some pipeline.
#[derive(Debug)]
pub struct CacheEnd {
    role: CacheRole,
    origin: Arc<Origin>,
    place: Location,
    /// Whether any pipeline has it.
    used: bool,
    paired: bool,
    /// The first policy behind it that a cached answer must not skip.
    skips: Option<Arc<Origin>>,
}

impl CacheEnd {
    pub(super) fn new(role: CacheRole, origin: Arc<Origin>, place: Location) -> Self {
        Self { role, origin, place, used: false, paired: false, skips: None }
    }
}

/// Policies that decide who may have an answer.
const CHECKS: [&str; 10] = [
    "api-key",
    "authorize",
    "basic-auth",
    "check-header",
    "ip-filter",
    "require-role",
    "require-scope",
    "validate-azure-ad-token",
    "validate-client-certificate",
    "validate-jwt",
];

/// What one pipeline has of a cache of answers.
#[derive(Debug)]
pub struct CacheUse {
    ends: Vec<Arc<Origin>>,
    paired: bool,
    /// A look, and the first policy behind it that decides who may have the answer.
    skips: Option<(Arc<Origin>, Arc<Origin>)>,
}

impl CacheUse {
    /// Looks at the effective sections of a pipeline.
    pub(super) fn of(inbound: &[Placed], outbound: &[Placed]) -> Self {
        let all = |steps: &[Placed], wanted: CacheRole| -> Vec<Arc<Origin>> {
            let ends = steps.iter().flat_map(|placed| placed.caches.iter());
            ends.filter(|(role, _)| *role == wanted).map(|(_, origin)| origin.clone()).collect()
        };
        let mut ends = all(inbound, CacheRole::Looks);
        let stores = all(outbound, CacheRole::Stores);
        let paired = !ends.is_empty() && !stores.is_empty();
        ends.extend(stores);
        let looks = |placed: &Placed| placed.caches.first().map(|(_, origin)| origin.clone());
        let first = inbound.iter().enumerate().find_map(|(at, placed)| Some((at, looks(placed)?)));
        let decides = |placed: &&Placed| CHECKS.contains(&placed.origin.policy) || !placed.token_checks.is_empty();
        let skips = first.and_then(|(at, look)| {
            let check = inbound[at + 1..].iter().find(decides)?;
            Some((look, check.origin.clone()))
        });
        Self { ends, paired, skips }
    }

    /// Notes it at the ends.
    pub(super) fn note(self, all: &mut [CacheEnd]) {
        for end in all.iter_mut().filter(|end| self.ends.iter().any(|origin| Arc::ptr_eq(origin, &end.origin))) {
            end.used = true;
            end.paired |= self.paired;
            if let Some((_, check)) = self.skips.as_ref().filter(|(look, _)| Arc::ptr_eq(look, &end.origin)) {
                end.skips.get_or_insert_with(|| check.clone());
            }
        }
    }
}

/// Warns of ends that never meet the other one, and of checks that a cached answer skips.
pub(super) fn check(all: &[CacheEnd], diagnostics: &mut Diagnostics) {
    for end in all {
        let mut warn = |code: &'static str, message: String, hint: &str| {
            let Location { file, span } = end.place.clone();
            diagnostics.push(Diagnostic::warning(code, file, span, message).hint(hint));
        };
        if end.used && !end.paired {
            let (message, hint) = match end.role {
                CacheRole::Looks => (
                    "nothing is found here, because no policy keeps the answers",
                    "`policy = \"cache-store\"` in `outbound`, in this scope or another of the operation",
                ),
                CacheRole::Stores => (
                    "nothing is kept here, because no policy looks answers up",
                    "`policy = \"cache-lookup\"` in `inbound`, in this scope or another of the operation",
                ),
            };
            warn("unpaired-cache", message.to_owned(), hint);
        }
        if let Some(check) = &end.skips {
            let place = if check.place.is_empty() { String::new() } else { format!(" ({})", check.place) };
            let message = format!("a cached answer is given without `{}`{place}, which comes later", check.policy);
            warn("cache-before-check", message, "put `cache-lookup` behind the policies that decide who may call");
        }
    }
}
