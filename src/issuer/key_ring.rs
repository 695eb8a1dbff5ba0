//! The signing keys of the local issuer: one in use for each algorithm, and the ones before it for as long as they overlap.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::signing_key::{SigningKey, SigningKeyError};
use crate::clock::{Clock, Nanos};
use crate::identity::Algorithm;

/// The most keys that are published: a rotation beyond it drops the oldest, overlap or not.
const MAX_KEYS: usize = 32;

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The key file.
    #[error("the key file `{}` cannot be used: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What stands in it.
    #[error("the key file `{}` cannot be used: {source}", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: SigningKeyError,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
}

/// Signing keys that rotate.
#[derive(Debug)]
pub struct KeyRing {
    algorithms: Vec<Algorithm>,
    overlap: Duration,
    file: Option<PathBuf>,
    /// What else the file holds, which is not lost when it is written.
    foreign: String,
    clock: Clock,
    /// Of each algorithm the newest comes first.
    keys: Mutex<Vec<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    key: Arc<SigningKey>,
    /// When it is no longer published; nothing while it signs.
    until: Option<Nanos>,
}

impl KeyRing {
    /// Keys for these algorithms, of which the first is the default: from `file` when it is there, else made now and kept
    /// there. Without a file they end with the process.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn open(
        algorithms: Vec<Algorithm>,
        overlap: Duration,
        file: Option<PathBuf>,
        clock: Clock,
    ) -> Result<Self, KeyRingError> {
        let text = match &file {
            Some(path) => read(path)?,
            None => String::new(),
        };
        let content = |source| KeyRingError::Content { path: file.clone().unwrap_or_default(), source };
        let (mut keys, mut made) = (Vec::new(), false);
        let sections: Vec<String> = text.split("-----BEGIN ").skip(1).map(|it| format!("-----BEGIN {it}")).collect();
        if sections.is_empty() && !text.is_empty() {
            return Err(content(SigningKeyError::Pem));
        }
        let mut used = vec![false; sections.len()];
        for algorithm in &algorithms {
            let mut found = Vec::new();
            for (section, used) in sections.iter().zip(&mut used) {
                match SigningKey::all_from_pem(section, Some(*algorithm)) {
                    Ok(keys) => {
                        found.extend(keys);
                        *used = true;
                    }
                    // A key for another of the algorithms.
                    Err(SigningKeyError::Algorithm { .. }) => {}
                    Err(source) => return Err(content(source)),
                }
            }
            if found.is_empty() {
                found.push(SigningKey::generate(*algorithm)?);
                made = true;
            }
            // Of the older ones it is not known how long they were to be kept.
            let until = |index: usize| (index > 0).then(|| clock.now() + overlap);
            keys.extend(
                found.into_iter().enumerate().map(|(index, key)| Held { key: key.into(), until: until(index) }),
            );
        }
        let foreign = sections.into_iter().zip(used).filter(|(_, used)| !used).map(|(section, _)| section).collect();
        let ring = Self { algorithms, overlap, file, foreign, clock, keys: Mutex::new(keys) };
        if made {
            ring.save(&ring.keys.lock())?;
        }
        Ok(ring)
    }

    /// The algorithms; the first is the default.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The key that signs with `algorithm`; nothing when the ring has no such key.
    pub fn current(&self, algorithm: Option<Algorithm>) -> Option<Arc<SigningKey>> {
        let algorithm = algorithm.or(self.algorithms.first().copied())?;
        let keys = self.keys.lock();
        keys.iter().find(|held| held.key.algorithm() == algorithm).map(|held| held.key.clone())
    }

    /// The keys that verify: those in use, and those whose overlap is not over.
    pub fn published(&self) -> Vec<Arc<SigningKey>> {
        let now = self.clock.now();
        let keys = self.keys.lock();
        keys.iter().filter(|held| held.until.is_none_or(|until| now < until)).map(|held| held.key.clone()).collect()
    }

    /// The JSON Web Key Set (RFC 7517 §5). `x5t` repeats the id, as in Entra ID's sets; there is no certificate behind it.
    pub fn jwks(&self) -> Value {
        let keys = self.published().into_iter().filter_map(|key| {
            let mut jwk = key.jwk()?;
            jwk["x5t"] = json!(key.id());
            Some(jwk)
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    /// Makes new keys, which sign from now on; the ones before stay published for `overlap`, or for what was configured.
    /// Takes a moment for RSA: not for a thread that serves.
    ///
    /// # Errors
    /// When a key cannot be made, or the file not be written; then the old ones stay in use.
    pub fn rotate(&self, overlap: Option<Duration>) -> Result<Vec<Arc<SigningKey>>, KeyRingError> {
        let new: Vec<Arc<SigningKey>> = self
            .algorithms
            .iter()
            .map(|algorithm| SigningKey::generate(*algorithm).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let now = self.clock.now();
        let until = now + overlap.unwrap_or(self.overlap);
        let mut keys = self.keys.lock();
        let old = keys.iter().cloned().map(|mut held| {
            held.until = Some(held.until.map_or(until, |earlier| earlier.min(until)));
            held
        });
        let fresh = new.iter().map(|key| Held { key: key.clone(), until: None });
        let next: Vec<Held> =
            fresh.chain(old.filter(|held| held.until.is_some_and(|until| now < until))).take(MAX_KEYS).collect();
        self.save(&next)?;
        *keys = next;
        Ok(new)
    }

    fn save(&self, keys: &[Held]) -> Result<(), KeyRingError> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut text: String = keys.iter().filter_map(|held| held.key.to_pem()).collect();
        text.push_str(&self.foreign);
        write_private(path, &text).map_err(|source| KeyRingError::File { path: path.clone(), source })
    }
}

/// The text of the file; empty when there is none yet.
fn read(path: &Path) -> Result<String, KeyRingError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(KeyRingError::File { path: path.to_owned(), source }),
    }
}

/// A file that only its owner reads takes the place of the one before it.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ring: &KeyRing) -> Vec<String> {
        ring.published().iter().map(|key| key.id().to_owned()).collect()
    }

    #[test]
    fn a_key_stays_published_for_the_overlap() {
        let clock = Clock::manual();
        let hour = Duration::from_secs(3600);
        let ring = KeyRing::open(vec![Algorithm::Es256, Algorithm::EdDsa], hour, None, clock.clone()).unwrap();
        let first = ids(&ring);
        let second: Vec<String> = ring.rotate(None).unwrap().iter().map(|key| key.id().to_owned()).collect();
        assert_eq!(ring.current(None).unwrap().id(), second[0]);
        assert_eq!(ring.current(Some(Algorithm::EdDsa)).unwrap().id(), second[1]);
        assert!(ring.current(Some(Algorithm::Rs256)).is_none());
        assert_eq!(ids(&ring), [&second[..], &first[..]].concat());
        clock.advance(hour - Duration::from_nanos(1));
        assert_eq!(ids(&ring).len(), 4);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(ids(&ring), second);
        // At once, and a longer overlap later does not bring them back.
        ring.rotate(Some(Duration::ZERO)).unwrap();
        assert_eq!(ids(&ring).len(), 2);
        for _ in 0..MAX_KEYS {
            ring.rotate(Some(hour)).unwrap();
        }
        assert_eq!(ids(&ring).len(), MAX_KEYS);
    }

    #[test]
    fn keys_of_a_file_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.pem");
        let open = |algorithms| {
            KeyRing::open(algorithms, Duration::from_secs(60), Some(path.clone()), Clock::manual())
                .map_err(|it| it.to_string())
        };
        let ring = open(vec![Algorithm::Es256]).unwrap();
        ring.rotate(None).unwrap();
        let before = ids(&ring);
        assert_eq!(before.len(), 2);
        assert_eq!(ids(&open(vec![Algorithm::Es256]).unwrap()), before);
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        // Other algorithms beside those that are there, which are not lost.
        assert_eq!(ids(&open(vec![Algorithm::EdDsa]).unwrap()).len(), 1);
        assert_eq!(ids(&open(vec![Algorithm::Es256]).unwrap()), before);
        assert_eq!(ids(&open(vec![Algorithm::Es256, Algorithm::EdDsa]).unwrap()).len(), 3);
        std::fs::write(&path, "no key").unwrap();
        assert!(open(vec![Algorithm::Es256]).unwrap_err().contains("expected PEM of a private key"));
    }
}
