//! State by name that outlives a reload.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// State by name. What no configuration holds any more is dropped when something new comes.
#[derive(Debug)]
pub struct Kept<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// The state with this name: the one of the last configuration, else a new one. What makes a difference to the state
    /// belongs into the name.
    pub fn get(&self, name: String, make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock();
        if let Some(state) = all.get(&name) {
            return state.clone();
        }
        all.retain(|_, state| Arc::strong_count(state) > 1);
        let state = Arc::new(make());
        all.insert(name, state.clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_while_somebody_holds_it() {
        let kept = Kept::default();
        let first = kept.get("a".into(), || 1);
        assert_eq!(*kept.get("a".into(), || 2), 1, "the same name");
        drop(first);
        kept.get("b".into(), || 3);
        assert_eq!(*kept.get("a".into(), || 4), 4, "nobody held it any more");
    }
}
