//! Users and the hashes of their passwords, from an htpasswd file and from the configuration itself.

use std::sync::Arc;

use hashbrown::HashMap;

use super::hash::{HashError, PasswordHash};

/// One user.
#[derive(Debug)]
pub(super) struct User {
    pub(super) name: Arc<str>,
    pub(super) hash: PasswordHash,
}

/// The users of one policy.
#[derive(Debug, Default)]
pub struct Users {
    all: Vec<Arc<User>>,
    by_name: HashMap<Box<[u8]>, Arc<User>>,
}

/// Why a user cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// RFC 7617 §2.
    #[error("a user name is not empty and holds neither colons nor control characters")]
    Name,
    /// There is one of this name already.
    #[error("user `{0}` is there twice")]
    Twice(String),
    /// The hash is not accepted.
    #[error("user `{user}`: {source}")]
    Hash {
        /// The user.
        user: String,
        /// What is wrong.
        source: HashError,
    },
    /// A line of a file is no `name:hash`.
    #[error("this is not `name:hash`")]
    Line,
}

impl Users {
    /// Adds a user.
    ///
    /// # Errors
    /// When the name or the hash cannot be.
    pub fn add(&mut self, name: &str, hash: &str) -> Result<(), UserError> {
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_ascii_control()) {
            return Err(UserError::Name);
        }
        let hash = PasswordHash::parse(hash).map_err(|source| UserError::Hash { user: name.to_owned(), source })?;
        let user = Arc::new(User { name: name.into(), hash });
        if self.by_name.insert(name.as_bytes().into(), user.clone()).is_some() {
            return Err(UserError::Twice(name.to_owned()));
        }
        self.all.push(user);
        Ok(())
    }

    /// Adds the users of an htpasswd file: `name:hash` on each line; empty lines and those that begin with `#` are skipped.
    /// Answers the lines that are wrong, counted from one.
    pub fn add_file(&mut self, text: &str) -> Vec<(usize, UserError)> {
        let lines =
            (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut wrong = Vec::new();
        for (number, line) in lines {
            let added = match line.split_once(':') {
                Some((name, hash)) => self.add(name, hash),
                None => Err(UserError::Line),
            };
            wrong.extend(added.err().map(|error| (number, error)));
        }
        wrong
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The users whose hashes are cheaper than what is recommended today.
    pub fn cheap(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|user| user.hash.is_cheap()).map(|user| &*user.name)
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Somebody whose hash is worked through in place of that of a user who does not exist: always the same one for a
    /// name, so that neither one answer nor many tell who exists, whatever the costs of the hashes.
    pub(super) fn stand_in(&self, number: u64) -> Option<&Arc<User>> {
        let count = u64::try_from(self.all.len()).ok().filter(|count| *count > 0)?;
        self.all.get(usize::try_from(number % count).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$r5MDuBilPNfmNxDUuxL3BOvMF1JDoa7B4pyLR3AOTv8cuZk3x9Yja";

    #[test]
    fn files() {
        let mut users = Users::default();
        let text = format!("# staff\n\nada:{HASH}\r\n bob:{HASH} \neve:secret\nno colon\n:{HASH}\nada:{HASH}\n");
        let wrong = users.add_file(&text);
        assert_eq!(
            wrong,
            [
                (5, UserError::Hash { user: "eve".into(), source: HashError::Plain }),
                (6, UserError::Line),
                (7, UserError::Name),
                (8, UserError::Twice("ada".into())),
            ]
        );
        assert!(wrong.iter().all(|(_, error)| !error.to_string().contains("secret")));
        assert_eq!(users.len(), 2);
        assert!(users.get(b"ada").is_some() && users.get(b"Ada").is_none());
        assert!((0..9).all(|number| users.stand_in(number).is_some()));
        assert!(Users::default().stand_in(1).is_none());
        assert_eq!(users.cheap().collect::<Vec<_>>(), ["ada", "bob"]);
    }
}
