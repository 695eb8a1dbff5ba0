//! Changes the key file as a whole: one writer at a time, and whoever reads it sees the old file or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// A key file that nobody else changes as long as this lives.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    text: String,
    /// The folder of the file. The file itself is replaced, so that a lock on it would be a lock on the old one.
    folder: File,
}

impl Locked {
    /// Waits for its turn and reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// When the folder cannot be locked or the file not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A link stays a link: its target is replaced.
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            found => found?,
        };
        let folder = File::open(folder(&path))?;
        folder.lock()?;
        Ok(Self { text: read(&path)?, path, folder })
    }

    /// What the file holds.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts a file with this text in its place. A new file is for its owner only; one that was there keeps its owner and its
    /// permissions.
    ///
    /// # Errors
    /// When it cannot be written; the old file is then still there.
    pub fn replace(self, text: &str) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // Hidden: the gateway does not read it as configuration. Only one process writes at a time, so that one name will do.
        let draft = folder(&self.path).join(format!(".{name}.new"));
        let written = self.write(&draft, text);
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn write(&self, draft: &Path, text: &str) -> io::Result<()> {
        // What a writer left that was cut off.
        match fs::remove_file(draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
        file.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(&self.path) {
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                chown(draft, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        }
        file.sync_all()?;
        fs::rename(draft, &self.path)?;
        // The name is in the folder, which has to reach the disk as well.
        self.folder.sync_all()
    }
}

/// The text of a key file; one that is not there is empty.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        fs::write(folder.path().join(".keys.toml.new"), "half of a f").unwrap();
        let locked = Locked::open(&path).unwrap();
        assert_eq!(locked.text(), "");
        locked.replace("# one\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let locked = Locked::open(&link).unwrap();
        assert_eq!(locked.text(), "# one\n");
        locked.replace("# two\n").unwrap();
        assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o640, "# two\n"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn writers_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for turn in 0..10 {
                        let locked = Locked::open(path).unwrap();
                        let text = format!("{}{writer} {turn}\n", locked.text());
                        locked.replace(&text).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 40, "no line is lost");
    }

    #[test]
    fn a_folder_that_cannot_be_written_leaves_the_file() {
        let missing = Path::new("/nowhere/keys.toml");
        assert_eq!(Locked::open(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
