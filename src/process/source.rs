//! The files of a configuration and a digest of them, which tells whether anything changed.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;

use crate::compile::{self, Loaded, Origin, Shared};
use crate::config::key_file;

/// Digests of everything that a configuration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    folder: [u8; 32],
    /// Apart, and never shown: a short secret could be guessed from a digest of it.
    secrets: [u8; 32],
    /// How often secrets of the key vault have changed.
    vault: u64,
}

impl Stamp {
    /// The digest of the folder, as it is shown.
    pub fn text(&self) -> String {
        self.folder.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }
}

struct Digest(Context);

impl Digest {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds a text with its length, so that no two lists of texts look the same.
    fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// Where the configuration comes from, and what is known of it.
pub struct Source {
    origin: Origin,
    shared: Arc<Shared>,
    /// Files outside the folder's TOML, as the last load named them.
    files: Vec<PathBuf>,
    /// Their digests: a key file may be large, and is looked at every few seconds.
    digests: Mutex<HashMap<PathBuf, (Seen, [u8; 32])>>,
}

/// What a file looked like when it was read. A file is not read again while it looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of its content, and of the last change of anything.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that has just been written may be written again within the same tick of the file system's clock.
const TICK: i64 = 2;

impl Seen {
    fn look(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether it was written long enough before `now` that writing it again would show.
    fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let latest = self.modified.0.max(self.changed.0);
        i64::try_from(now).is_ok_and(|now| latest.saturating_add(TICK) < now)
    }
}

impl Source {
    /// Nothing is read yet.
    pub fn new(origin: Origin, shared: Arc<Shared>) -> Self {
        // Every folder may have one; with it the first load is usually the last.
        let files = origin.folder().map(|folder| key_file::path(None, folder)).into_iter().collect();
        Self { origin, shared, files, digests: Mutex::default() }
    }

    /// Where the configuration comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What outlives a reload.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Secrets, keys and certificates, as the last load named them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A digest of the files as they are now.
    pub fn stamp(&self) -> Stamp {
        let mut folder = Digest::new();
        match self.origin.read() {
            Ok(files) => {
                for (name, text) in &files {
                    folder.add(name.as_bytes());
                    folder.add(text.as_bytes());
                }
            }
            Err(error) => folder.add(error.to_string().as_bytes()),
        }
        let mut secrets = Digest::new();
        for path in &self.files {
            secrets.add(path.as_os_str().as_encoded_bytes());
            match self.digest(path) {
                Ok(digest) => secrets.add(&digest),
                Err(error) => secrets.add(error.kind().to_string().as_bytes()),
            }
        }
        self.digests.lock().retain(|path, _| self.files.contains(path));
        Stamp { folder: folder.finish(), secrets: secrets.finish(), vault: self.shared.vault.changes() }
    }

    fn digest(&self, path: &Path) -> std::io::Result<[u8; 32]> {
        let seen = Seen::look(path)?;
        if let Some((_, digest)) = self.digests.lock().get(path).filter(|(before, _)| *before == seen) {
            return Ok(*digest);
        }
        let mut digest = Digest::new();
        digest.add(&std::fs::read(path)?);
        let digest = digest.finish();
        if seen.settled(self.shared.clock.wall()) {
            self.digests.lock().insert(path.to_owned(), (seen, digest));
        }
        Ok(digest)
    }

    /// Loads the files. None while they keep changing: half of an old and half of a new configuration is neither.
    pub fn load(&mut self) -> Option<(Loaded, Stamp)> {
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            let before = self.stamp();
            let loaded = compile::load(&self.origin, &self.shared);
            // A stamp that did not cover a file which the load has read would never see that file change.
            let covered = loaded.files == self.files;
            if !covered {
                self.files.clone_from(&loaded.files);
            } else if self.stamp() == before {
                return Some((loaded, before));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_stamp_covers_names_contents_and_secrets() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shared = Arc::new(Shared::new(Clock::manual(), runtime.handle().clone()));
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("gateway.toml", "[named-values]\ntoken = { file = \"secret\" }\n");
        write("secret", "one");
        let mut source = Source::new(Origin::Folder(folder.path().to_owned()), shared);
        let (loaded, mut last) = source.load().unwrap();
        assert_eq!(loaded.diagnostics.errors(), 0);
        assert_eq!(source.files(), ["keys.toml", "secret"].map(|name| folder.path().join(name)));
        for (name, text, changes) in [
            ("secret", "one", false),
            ("secret", "two", true),
            ("notes.txt", "not part of it", false),
            (".hidden.toml", "an editor's", false),
            ("keys.toml", "# none yet", true),
            ("keys.toml", "# none yet", false),
            ("a.toml", "", true),
            ("gateway.toml", "", true),
        ] {
            write(name, text);
            let stamp = source.stamp();
            assert_eq!(stamp != last, changes, "{name} {text}");
            last = stamp;
        }
    }
}
