//! From arguments to a plan.

use super::subject::Subject;
use super::{Loadtest, usage};
use crate::loadtest::expect::{Scope, Terms, nanos};
use crate::loadtest::live::KeyPlace;
use crate::loadtest::plan::{Bounds, Plan, Used};
use crate::loadtest::probes::{self, Order, Probe, default_probes};

/// How long an answer of the backend takes when a limit on requests at once is tested: without time nothing is at once.
const HOLD: std::time::Duration = std::time::Duration::from_millis(100);

/// A plan, and what it is driven with.
pub(super) struct Planned {
    pub plan: Plan,
    /// The texts of the keys.
    pub keys: Vec<String>,
    /// How long each answer of the test's own backend takes.
    pub latency: std::time::Duration,
}

/// Makes the plan.
pub(super) fn plan(arguments: &Loadtest, subject: &Subject) -> Result<Planned, u8> {
    let Loadtest { target, traffic, probes: probing, bounds, .. } = arguments;
    let found = &subject.found;
    let is_virtual = target.virtual_time;
    let served = !is_virtual && target.urls.is_empty();
    let at_once = found.limits.iter().any(|limit| !limit.terms.is_rate());
    let latency = target.latency.unwrap_or(if at_once { HOLD } else { std::time::Duration::ZERO });
    let mut limits = found.limits.clone();
    if (served && !target.real_backends) || target.backend_at.is_some() || is_virtual {
        for limit in &mut limits {
            if let Terms::Concurrency { hold, .. } = &mut limit.terms {
                // The backend takes at least so long; it may be asked a little later than the limit.
                *hold = nanos(latency);
            }
        }
    }
    let supplied = match &target.keys_from {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| usage(&format!("the keys in `{}` cannot be read: {error}", path.display())))?;
            let keys: Vec<String> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
            if keys.is_empty() {
                return Err(usage(&format!("there are no keys in `{}`", path.display())));
            }
            Some(keys)
        }
    };
    let chosen = match &probing.probes {
        Some(list) => list.0.clone(),
        None => {
            let preflights = subject.operation.as_ref().is_some_and(|known| known.answers_preflights) && !is_virtual;
            let reloads = served || is_virtual || probing.on_reload.is_some();
            let mut chosen = default_probes(reloads, preflights, probing.on_store_down.is_some());
            // The limiter alone sees no addresses.
            chosen.retain(|probe| !(is_virtual && matches!(probe, Probe::Forged | Probe::ColdStart)));
            chosen
        }
    };
    let speaks_for_others = subject.operation.as_ref().is_some_and(|known| known.proxy.is_some());
    let can = |probe: &Probe| match probe {
        Probe::Reload => served || is_virtual || probing.on_reload.is_some(),
        Probe::StoreOutage => probing.on_store_down.is_some() && !is_virtual,
        Probe::Ipv6 => speaks_for_others && found.by_network && !is_virtual,
        _ => true,
    };
    if let Some(cannot) = chosen.iter().find(|probe| !can(probe)).filter(|_| is_listed(probing)) {
        let how = match cannot {
            Probe::Reload => "--on-reload",
            Probe::Ipv6 => "a limit by the caller's address, in a folder whose `trusted-proxies` hold this machine",
            _ => "--on-store-down and --on-store-up",
        };
        return Err(usage(&format!("the probe {cannot} needs {how}")));
    }
    let seed = traffic.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    // Keys that are made up by chance are nobody's; with a seed that was given they may be those of the test before.
    let running = !target.urls.is_empty();
    let made_up = matches!(found.place, KeyPlace::Header(_) | KeyPlace::Query(_))
        && supplied.is_none()
        && traffic.seed.is_none()
        && target.key_template.contains("{seed}")
        && limits.iter().all(|limit| limit.scope == Scope::PerKey);
    let used = Used { keys: running && !made_up, missing: running };
    let mut order = Order {
        seed,
        limits,
        others: found.others,
        rate: traffic.rate,
        load: traffic.load,
        shape: traffic.shape,
        duration: traffic.duration.map(nanos),
        keys: traffic.keys,
        distribution: traffic.distribution,
        strategy: traffic.strategy,
        probes: chosen.into_iter().filter(can).collect(),
        strategies: probing.strategies.clone(),
        cohort: probing.cohort,
        keyed: is_virtual || found.place != KeyPlace::None,
        // A call without the key of a subscription, or without an address, does not get as far.
        omits_key: matches!(found.place, KeyPlace::Header(_) | KeyPlace::Query(_)),
        used,
        is_virtual,
        bounds: Bounds {
            requests: bounds.max_requests.min(u64::from(u32::MAX)),
            rate: bounds.max_rate,
            connections: bounds.connections.into(),
            duration: nanos(bounds.max_duration.unwrap_or(std::time::Duration::from_secs(if is_virtual {
                24 * 60 * 60
            } else {
                5 * 60
            }))),
        },
    };
    let mut plan = probes::plan(&order);
    if let Some(given) = &supplied
        && plan.keys as usize > given.len()
    {
        // Too few to keep probes apart: one caller after the other.
        order.keyed = false;
        plan = probes::plan(&order);
        plan.notes.push(format!("{} keys are too few for each probe to have its own: all use the first", given.len()));
    }
    let keys = match supplied {
        Some(given) if order.keyed => given,
        Some(given) => vec![given[0].clone(); plan.keys as usize],
        None => (0..plan.keys)
            .map(|key| crate::loadtest::keys::text(&target.key_template, crate::loadtest::record::KeyId(key), seed))
            .collect(),
    };
    if plan.used.keys && !plan.limits.is_empty() {
        plan.notes.push(
            "others, or the test before, may have used these keys: a refusal that this can explain is not held against the limit"
                .to_owned(),
        );
    }
    plan.notes.splice(0..0, found.notes.iter().cloned());
    if plan.phases.is_empty() {
        return Err(usage("nothing is left to be sent; --duration is 0s and there are no probes"));
    }
    Ok(Planned { plan, keys, latency })
}

/// Whether the probes were named one by one.
fn is_listed(probing: &super::ProbeArguments) -> bool {
    probing.probes.as_ref().is_some_and(|list| list.0.len() < probes::PROBES.len())
}
