//! State by name that outlives a reload.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// State by name, for as long as some configuration holds it.
#[derive(Debug)]
pub struct Kept<T>(Mutex<HashMap<String, Weak<T>>>);

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
        if let Some(state) = all.get(&name).and_then(Weak::upgrade) {
            return state;
        }
        all.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(make());
        all.insert(name, Arc::downgrade(&state));
        state
    }

    /// The state with this name, when some configuration holds it.
    pub fn known(&self, name: &str) -> Option<Arc<T>> {
        self.0.lock().get(name).and_then(Weak::upgrade)
    }

    /// All the state that some configuration holds.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
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
        assert_eq!(*kept.get("a".into(), || 3), 3, "nobody held it any more");
        assert_eq!(kept.0.lock().len(), 1);
    }
}
