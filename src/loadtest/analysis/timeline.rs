//! Admitted against configured over time, in total and for each key.

use serde::Serialize;

use super::Evidence;
use crate::loadtest::expect::{Expected, Scope};
use crate::loadtest::plan::{self, Role};
use crate::loadtest::record::{Fate, KeyId, Record};

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
    /// The same of one key.
    pub allowed_of_key: Option<f64>,
    /// The main traffic.
    pub total: Vec<Point>,
    /// The ladder's one key.
    pub ladder: Vec<Point>,
    /// The busiest keys of the main traffic, each for itself: at most a hundred.
    pub busiest: Vec<(u32, Vec<Point>)>,
    /// All keys; the busiest first, and at most a thousand.
    pub keys: Vec<KeyRow>,
}

const STRETCHES: u64 = 120;
const MOST_KEYS: usize = 1_000;
const DRAWN_KEYS: usize = 100;

/// Stretches that divide seconds, minutes or hours evenly, in milliseconds.
const STEPS: [u64; 14] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000];

/// Counts requests into stretches of `step`.
fn points<'a>(records: impl Iterator<Item = (&'a Record, Fate)>, step: u64) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (record, fate) in records {
        let place = usize::try_from(record.attempt.intended / step).unwrap_or(0);
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
}

pub(super) fn draw(evidence: &Evidence<'_>) -> Timeline {
    let length = |role: Role| evidence.of(role).map(|(record, _)| record.attempt.intended).max().unwrap_or(0);
    let wanted = length(Role::Traffic).max(length(Role::Ladder)) / 1_000_000 / STRETCHES;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted.max(1)) * 1_000_000;
    let mut keys = rows(evidence);
    keys.sort_by_key(|row| std::cmp::Reverse((row.offered, std::cmp::Reverse(row.key))));
    let busiest = keys.iter().filter(|row| row.role == Role::Traffic).filter_map(|row| row.key).take(DRAWN_KEYS);
    let of_key = |key: u32| {
        let places = evidence.by_key[key as usize].iter().map(|place| *place as usize);
        points(places.map(|place| (&evidence.records[place], evidence.fates[place])), step)
    };
    let busiest: Vec<(u32, Vec<Point>)> = busiest.map(|key| (key, of_key(key))).collect();
    keys.truncate(MOST_KEYS);
    let limits = &evidence.plan.limits;
    let traffic = evidence.plan.phases.iter().find(|phase| phase.role == Role::Traffic);
    let count = traffic.map_or(1, |phase| phase.keys.range().len());
    let least = |keys: usize| {
        let of = |limit: &Expected| limit.terms.rate() * if limit.scope == Scope::Shared { 1.0 } else { keys as f64 };
        let rates = limits.iter().filter(|limit| limit.terms.is_rate() && !limit.shadow).map(of);
        rates.min_by(f64::total_cmp).map(|rate| rate * step as f64 / 1e9)
    };
    Timeline {
        step: step as f64 / 1e9,
        allowed: least(count),
        allowed_of_key: least(1),
        total: points(evidence.of(Role::Traffic), step),
        ladder: points(evidence.of(Role::Ladder), step),
        busiest,
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
