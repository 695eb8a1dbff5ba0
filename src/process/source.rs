//! The files of a configuration and a digest of them, which tells whether anything changed.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::compile::{self, Loaded, Origin, Shared};

/// Digests of everything that a configuration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    folder: [u8; 32],
    /// Apart, and never shown: a short secret could be guessed from a digest of it.
    secrets: [u8; 32],
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
}

impl Source {
    /// Nothing is read yet.
    pub fn new(origin: Origin, shared: Arc<Shared>) -> Self {
        Self { origin, shared, files: Vec::new() }
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
            match std::fs::read(path) {
                Ok(bytes) => secrets.add(&bytes),
                Err(error) => secrets.add(error.kind().to_string().as_bytes()),
            }
        }
        Stamp { folder: folder.finish(), secrets: secrets.finish() }
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
        assert_eq!(source.files(), [folder.path().join("secret")]);
        for (name, text, changes) in [
            ("secret", "one", false),
            ("secret", "two", true),
            ("notes.txt", "not part of it", false),
            (".hidden.toml", "an editor's", false),
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
