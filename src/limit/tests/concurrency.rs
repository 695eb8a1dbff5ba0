//! The bound of a limit on requests at once, against its definition: a list of those that run.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    /// A request of a key comes.
    Comes(u8),
    /// The one that came so many before ends.
    Ends(usize),
    /// A reload gives another maximum.
    Changes(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..3_u8).prop_map(Event::Comes),
        4 => (0..8_usize).prop_map(Event::Ends),
        1 => (1..5_u32).prop_map(Event::Changes),
    ];
    prop::collection::vec(event, 1..200)
}

proptest! {
    /// Never more than `max` run, and nobody is refused while fewer do; whatever came before the last reload counts.
    #[test]
    fn concurrency_equals_its_definition(max in 1..5_u32, events in events()) {
        let mut limit = ConcurrencyLimit::new(NonZeroU32::new(max).unwrap());
        let mut running: Vec<(u8, Permit)> = Vec::new();
        for event in events {
            match event {
                Event::Comes(key) => {
                    let others = u32::try_from(running.iter().filter(|(other, _)| *other == key).count()).unwrap();
                    let admission = limit.enter(&key.to_string());
                    prop_assert_eq!(admission.permit.is_some(), others < limit.max());
                    prop_assert_eq!((admission.max, admission.left), (limit.max(), limit.max().saturating_sub(others)));
                    running.extend(admission.permit.map(|permit| (key, permit)));
                }
                Event::Ends(before) => {
                    if let Some(at) = running.len().checked_sub(before + 1) {
                        running.remove(at);
                    }
                }
                Event::Changes(max) => limit = limit.with_max(NonZeroU32::new(max).unwrap()),
            }
            let keys: std::collections::HashSet<u8> = running.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(limit.keys(), keys.len(), "a key is held only while one of its requests runs");
        }
    }
}
