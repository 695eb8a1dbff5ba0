//! The key sources in use: one for each location, shared by policies and kept across reloads.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::remote_keys::{KeyLocation, RemoteKeys, RemoteKeysError, RemoteKeysOptions};
use crate::clock::Clock;

/// The sources in use, so that policies share one source for one location, and a reload keeps the keys it has.
#[derive(Debug, Default)]
pub struct RemoteKeyRegistry(Mutex<HashMap<(KeyLocation, RemoteKeysOptions), Weak<RemoteKeys>>>);

impl RemoteKeyRegistry {
    /// The source for a location, started; the one in use when there is one with the same options.
    pub fn get(
        &self,
        location: KeyLocation,
        options: RemoteKeysOptions,
        clock: &Clock,
        control: &Handle,
    ) -> Result<Arc<RemoteKeys>, RemoteKeysError> {
        let mut sources = self.0.lock();
        sources.retain(|_, source| source.strong_count() > 0);
        if let Some(source) = sources.get(&(location.clone(), options.clone())).and_then(Weak::upgrade) {
            return Ok(source);
        }
        let source = RemoteKeys::new(location.clone(), options.clone(), clock.clone(), control.clone())?;
        source.start();
        sources.insert((location, options), Arc::downgrade(&source));
        Ok(source)
    }

    /// Every source in use, for readiness and the admin listener.
    pub fn all(&self) -> Vec<Arc<RemoteKeys>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}
