//! The stores in use, so that a reload keeps connections and breakers.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redis::RedisError;

use super::Redis;
use super::redis::Settings;
use crate::clock::Clock;
use crate::telemetry::metrics::SharedStoreMetrics;

/// The stores in use.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Vec<Weak<Redis>>>);

impl Registry {
    /// The store that is reached in this way: the one in use, else a new one.
    ///
    /// # Errors
    /// When a URL is not one of a store.
    pub fn get(
        &self,
        settings: Settings,
        clock: &Clock,
        metrics: SharedStoreMetrics,
    ) -> Result<Arc<Redis>, RedisError> {
        let mut stores = self.0.lock();
        stores.retain(|store| store.strong_count() > 0);
        if let Some(store) = stores.iter().filter_map(Weak::upgrade).find(|store| *store.settings() == settings) {
            return Ok(store);
        }
        let store = Arc::new(Redis::new(settings, clock.clone(), metrics)?);
        stores.push(Arc::downgrade(&store));
        Ok(store)
    }

    /// Every store in use, for readiness and the admin listener.
    pub fn all(&self) -> Vec<Arc<Redis>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
