//! What happened to several parts of a definition, told once for all of them.

use std::collections::BTreeMap;

/// How many places are told for each thing.
const MAX_TOLD: usize = 5;

/// Things that happened, and where.
#[derive(Default)]
pub(super) struct Places(BTreeMap<&'static str, Vec<String>>);

impl Places {
    pub(super) fn add(&mut self, what: &'static str, place: &str) {
        let places = self.0.entry(what).or_default();
        if !places.iter().any(|known| known == place) {
            places.push(place.to_owned());
        }
    }

    /// Each thing with the first of its places, for people.
    pub(super) fn told(self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.into_iter().map(|(what, places)| {
            let names: Vec<String> = places.iter().take(MAX_TOLD).map(|place| format!("`{place}`")).collect();
            let more = places.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            (what, format!("{}{more}", names.join(", ")))
        })
    }
}
