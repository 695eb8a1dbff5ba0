//! Admitted against configured over time, in total and for each key.

use serde::Serialize;

use super::{Conformance, Evidence};
use crate::loadtest::expect::Scope;
use crate::loadtest::plan::{self, Role};
use crate::loadtest::record::{Fate, KeyId};

/// A stretch of the main traffic; counts are requests.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Point {
    /// When it began, in seconds.
    pub at: f64,
    /// That were sent.
    pub offered: u64,
    /// That were admitted.
    pub admitted: u64,
    /// That were refused.
    pub refused: u64,
    /// Of which nobody knows.
    pub unknown: u64,
}

/// What one key had, over the whole test.
#[derive(Clone, Debug, Serialize)]
pub struct KeyRow {
    /// Its number; none for requests without a key.
    pub key: Option<u32>,
    /// What it was used for.
    pub role: Role,
    /// That were sent.
    pub offered: u64,
    /// That were admitted.
    pub admitted: u64,
    /// That were refused.
    pub refused: u64,
    /// Of which nobody knows.
    pub unknown: u64,
    /// How many the limits would have admitted at most from its first to its last request.
    pub allowed: Option<u64>,
}

/// Admitted against configured over time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// The length of a stretch, in seconds.
    pub step: f64,
    /// What the limits admit in a stretch for ever, of all keys of the main traffic together.
    pub allowed: Option<f64>,
    /// The main traffic.
    pub total: Vec<Point>,
    /// The ladder's one key.
    pub ladder: Vec<Point>,
    /// Some keys of the main traffic, each for itself: the busiest.
    pub busiest: Vec<(u32, Vec<Point>)>,
    /// All keys; the busiest first, and at most a thousand.
    pub keys: Vec<KeyRow>,
}

const STRETCHES: u64 = 120;
const MOST_KEYS: usize = 1_000;
const CHARTED_KEYS: usize = 6;

pub(super) fn draw(evidence: &Evidence<'_>, _: &[Conformance]) -> Timeline {
    let length = |role: Role| evidence.of(role).map(|(record, _)| record.attempt.intended).max().unwrap_or(0);
    // A stretch that divides seconds, minutes or hours evenly.
    const STEPS: [u64; 14] =
        [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000];
    let wanted = length(Role::Traffic).max(length(Role::Ladder)) / 1_000_000 / STRETCHES;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted.max(1)) * 1_000_000;
    let points = |role: Role, key: Option<u32>| {
        let mut points: Vec<Point> = Vec::new();
        for (record, fate) in evidence.of(role) {
            if key.is_some_and(|key| record.attempt.key.0 != key) {
                continue;
            }
            let place = (record.attempt.intended / step) as usize;
            if points.len() <= place {
                points.resize(place + 1, Point::default());
            }
            let point = &mut points[place];
            point.offered += 1;
            *match fate {
                Fate::Admitted => &mut point.admitted,
                Fate::Refused => &mut point.refused,
                Fate::Unknown => &mut point.unknown,
            } += 1;
        }
        for (place, point) in points.iter_mut().enumerate() {
            point.at = place as f64 * step as f64 / 1e9;
        }
        points
    };
    let mut keys = rows(evidence);
    keys.sort_by_key(|row| std::cmp::Reverse((row.offered, std::cmp::Reverse(row.key))));
    let busiest: Vec<u32> =
        keys.iter().filter(|row| row.role == Role::Traffic).filter_map(|row| row.key).take(CHARTED_KEYS).collect();
    keys.truncate(MOST_KEYS);
    let limits = &evidence.plan.limits;
    let traffic = evidence.plan.phases.iter().find(|phase| phase.role == Role::Traffic);
    let count = traffic.map_or(1, |phase| phase.keys.range().len());
    let rates = limits
        .iter()
        .filter(|limit| limit.terms.is_rate())
        .map(|limit| limit.terms.rate() * if limit.scope == Scope::Shared { 1.0 } else { count as f64 });
    Timeline {
        step: step as f64 / 1e9,
        allowed: rates.min_by(f64::total_cmp).map(|rate| rate * step as f64 / 1e9),
        total: points(Role::Traffic, None),
        ladder: points(Role::Ladder, None),
        busiest: busiest.into_iter().map(|key| (key, points(Role::Traffic, Some(key)))).collect(),
        keys,
    }
}

fn rows(evidence: &Evidence<'_>) -> Vec<KeyRow> {
    let mut rows = Vec::new();
    for (key, places) in (0_u32..).zip(&evidence.by_key) {
        let Some(first) = places.first().map(|place| &evidence.records[*place as usize]) else { continue };
        let role = evidence.plan.phases[usize::from(first.attempt.phase)].role;
        let key = (first.attempt.key != KeyId::MISSING).then_some(key);
        let mut row = KeyRow { key, role, offered: 0, admitted: 0, refused: 0, unknown: 0, allowed: None };
        let (mut from, mut to) = (u64::MAX, 0);
        for place in places {
            let record = &evidence.records[*place as usize];
            (from, to) = (from.min(record.sent), to.max(record.received));
            row.offered += 1;
            *match evidence.fates[*place as usize] {
                Fate::Admitted => &mut row.admitted,
                Fate::Refused => &mut row.refused,
                Fate::Unknown => &mut row.unknown,
            } += 1;
        }
        let limits = &evidence.plan.limits;
        let rate = plan::rate(limits).filter(|_| plan::keys_are_apart(limits));
        let burst = plan::capacity(limits).unwrap_or(0);
        row.allowed = rate.map(|rate| burst + (rate * to.saturating_sub(from) as f64 / 1e9) as u64);
        rows.push(row);
    }
    rows
}
