//! What is handed out once and taken back later: authorization codes and refresh tokens, bounded in number and time.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use crate::clock::Nanos;

/// Values by a secret name, each for a while. At the limit the oldest makes room.
#[derive(Debug)]
pub(super) struct Store<T> {
    entries: HashMap<String, (T, Nanos)>,
    /// Names by age. One that was taken back stays until its turn comes.
    order: VecDeque<String>,
    limit: usize,
}

impl<T> Store<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), limit }
    }

    pub(super) fn put(&mut self, name: String, value: T, now: Nanos, lifetime: Duration) {
        while self.order.len() >= self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.entries.insert(name, (value, now + lifetime));
    }

    /// Takes a value back; nothing when there is none, or no longer.
    pub(super) fn take(&mut self, name: &str, now: Nanos) -> Option<T> {
        self.entries.remove(name).filter(|(_, until)| now < *until).map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_once_in_time_and_in_bounds() {
        let second = Duration::from_secs(1);
        let mut store = Store::new(2);
        let at = |seconds: u32| Nanos::default() + second * seconds;
        store.put("a".to_owned(), 1, at(0), second);
        assert_eq!(store.take("a", at(0)), Some(1));
        assert_eq!(store.take("a", at(0)), None, "once");
        store.put("b".to_owned(), 2, at(0), second);
        assert_eq!(store.take("b", at(1)), None, "too late");
        for (name, value) in [("c", 3), ("d", 4), ("e", 5)] {
            store.put(name.to_owned(), value, at(2), second);
        }
        assert_eq!([store.take("c", at(2)), store.take("d", at(2)), store.take("e", at(2))], [None, Some(4), Some(5)]);
        assert!(store.order.len() <= 2 && store.entries.is_empty());
    }
}
