//! The files of a configuration and a digest of them, which tells whether anything changed.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::compile::{self, Loaded, Origin, Shared};

/// A digest of every file that a configuration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 32]);

impl Stamp {
    /// As it is shown.
    pub fn text(&self) -> String {
        self.0.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
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
        let mut context = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            // With its length, so that no two lists of files look the same.
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(bytes);
        };
        match self.origin.read() {
            Ok(files) => {
                for (name, text) in &files {
                    add(name.as_bytes());
                    add(text.as_bytes());
                }
            }
            Err(error) => add(error.to_string().as_bytes()),
        }
        for path in &self.files {
            add(path.as_os_str().as_encoded_bytes());
            match std::fs::read(path) {
                Ok(bytes) => add(&bytes),
                Err(error) => add(error.kind().to_string().as_bytes()),
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Stamp(digest)
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
