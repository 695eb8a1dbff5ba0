//! Tells when files may have changed. Only a hint: whether they did is for their digest to say.
//!
//! What is watched is folders, never files: an editor that saves puts a new file in place of the old one, and Kubernetes
//! puts a new `..data` link in place of the old one, after which the file that was watched is nobody's.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Folders being watched, by path and by what was there when watching began.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    folders: Vec<(PathBuf, (u64, u64))>,
    interest: Arc<Mutex<Interest>>,
}

/// What of the watched folders matters.
#[derive(Default)]
struct Interest {
    /// Folders in which everything matters.
    whole: Vec<PathBuf>,
    /// Names that matter in any other folder.
    names: Vec<OsString>,
}

impl Interest {
    fn concerns(&self, event: &Event) -> bool {
        // Reading the files is an event as well, and must not lead to reading them again.
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        // An access log in the folder is written to all the time.
        let written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        let ignored = |path: &Path| written && path.extension().is_some_and(|extension| extension == "log");
        event.paths.is_empty()
            || event.paths.iter().any(|path| {
                path.parent().is_some_and(|parent| self.whole.iter().any(|folder| folder == parent)) && !ignored(path)
                    || self.whole.iter().any(|folder| folder == path)
                    || path.file_name().is_some_and(|name| self.names.iter().any(|known| known == name))
            })
    }
}

impl Watch {
    /// Wakes `changed` after each event that matters.
    pub(super) fn new(changed: Arc<Notify>) -> notify::Result<Self> {
        let interest = Arc::new(Mutex::new(Interest::default()));
        let own = interest.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error says that events may have been lost.
            if event.map_or(true, |event| own.lock().concerns(&event)) {
                changed.notify_one();
            }
        })?;
        Ok(Self { watcher, folders: Vec::new(), interest })
    }

    /// Watches the folder and the files, wherever they are by now. Whatever is missing is looked for again next time.
    pub(super) fn follow(&mut self, folder: &Path, files: &[PathBuf]) {
        // Events name absolute paths.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = absolute(folder);
        let mut whole = vec![folder.clone()];
        // The folder may itself be a link that is put in place anew, or be removed and made again.
        let mut around = vec![folder];
        for file in files.iter().map(|file| absolute(file)) {
            // A mounted secret is a link to a link in its own folder, so everything there matters, unless it is a place
            // as busy as `/` or `/tmp`.
            match file.parent() {
                Some(parent) if parent.join("..data").exists() => whole.push(parent.to_owned()),
                _ => around.push(file),
            }
        }
        let parents = around.iter().map(|path| path.parent().unwrap_or(path).to_owned());
        let mut wanted: Vec<PathBuf> = whole.iter().cloned().chain(parents).collect();
        wanted.sort();
        wanted.dedup();
        let names = around.iter().filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect();
        *self.interest.lock() = Interest { whole, names };
        let there: Vec<(PathBuf, (u64, u64))> = wanted
            .into_iter()
            .filter_map(|path| {
                let found = std::fs::metadata(&path).ok()?;
                Some((path, (found.dev(), found.ino())))
            })
            .collect();
        if there == self.folders {
            return;
        }
        for (path, _) in self.folders.extract_if(.., |known| !there.contains(known)) {
            // Gone already, when the folder is.
            let _ = self.watcher.unwatch(&path);
        }
        for folder in there {
            if self.folders.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder.0, RecursiveMode::NonRecursive) {
                Ok(()) => self.folders.push(folder),
                Err(error) => {
                    tracing::warn!(folder = %folder.0.display(), %error, "cannot watch the folder; looking into it now and then instead");
                }
            }
        }
    }
}
