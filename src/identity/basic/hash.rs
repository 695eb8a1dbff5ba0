//! One hash of a password: bcrypt as `htpasswd -B` writes it, or argon2id as a PHC string.

use std::fmt;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc;
use argon2::{Argon2, Params};

/// A password takes about a second with it.
const COSTLIEST_BCRYPT: u32 = 14;
/// OWASP's least, and the default of most libraries.
const CHEAPEST_BCRYPT: u32 = 10;
/// In KiB, for each password that is being checked.
const LARGEST_ARGON2: u32 = 256 * 1024;
/// Memory in KiB times passes: about a second.
const COSTLIEST_ARGON2: u64 = 1024 * 1024;

/// A hash that a password can be checked against.
#[derive(Clone)]
pub struct PasswordHash(Kind);

#[derive(Clone)]
enum Kind {
    Bcrypt { text: Box<str>, cost: u32 },
    Argon2(Box<phc::PasswordHash>),
}

/// Why a text is no hash that is accepted. It never quotes the text, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// One of the kinds whose passwords are found out in no time.
    #[error("the hash is {kind}, which is too weak")]
    Weak {
        /// The kind.
        kind: &'static str,
    },
    /// argon2d and argon2i.
    #[error("the hash is {kind}; of argon2 only argon2id is accepted")]
    Variant {
        /// The kind.
        kind: &'static str,
    },
    /// It is none of the known forms.
    #[error("the password is not hashed, or in a way that is not known")]
    Plain,
    /// It has the mark of a known form and is broken.
    #[error("the {kind} hash is broken")]
    Broken {
        /// The kind.
        kind: &'static str,
    },
    /// Checking one password would take too long.
    #[error("the {kind} hash is too costly: checking one password would take seconds, or hundreds of megabytes")]
    Costly {
        /// The kind.
        kind: &'static str,
    },
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// When it is of a kind that protects no password, or broken.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let weak = |kind| Err(HashError::Weak { kind });
        if text.starts_with("$2a$") || text.starts_with("$2b$") || text.starts_with("$2y$") {
            let broken = HashError::Broken { kind: "bcrypt" };
            let parts: bcrypt::HashParts = text.parse().map_err(|_| broken.clone())?;
            let cost = parts.get_cost();
            // What `verify` would refuse for each password.
            if text.len() != 60 || !(4..=31).contains(&cost) {
                return Err(broken);
            }
            if cost > COSTLIEST_BCRYPT {
                return Err(HashError::Costly { kind: "bcrypt" });
            }
            return Ok(Self(Kind::Bcrypt { text: text.into(), cost }));
        }
        if text.starts_with("$argon2id$") {
            let broken = |_| HashError::Broken { kind: "argon2id" };
            let hash = phc::PasswordHash::new(text).map_err(broken)?;
            let params = Params::try_from(&hash).map_err(|_| HashError::Broken { kind: "argon2id" })?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err(HashError::Broken { kind: "argon2id" });
            }
            let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
            if params.m_cost() > LARGEST_ARGON2 || work > COSTLIEST_ARGON2 {
                return Err(HashError::Costly { kind: "argon2id" });
            }
            return Ok(Self(Kind::Argon2(Box::new(hash))));
        }
        match text {
            _ if text.starts_with("$argon2i$") => Err(HashError::Variant { kind: "argon2i" }),
            _ if text.starts_with("$argon2d$") => Err(HashError::Variant { kind: "argon2d" }),
            _ if text.starts_with("$apr1$") => weak("apr1 (MD5)"),
            _ if text.starts_with("$1$") => weak("MD5"),
            _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => weak("SHA-1"),
            _ if text.starts_with("$5$") || text.starts_with("$6$") => weak("SHA-2 crypt"),
            _ => Err(HashError::Plain),
        }
    }

    /// Whether it is cheaper than what is recommended today.
    pub fn is_cheap(&self) -> bool {
        matches!(self.0, Kind::Bcrypt { cost, .. } if cost < CHEAPEST_BCRYPT)
    }

    /// Checks a password: milliseconds on purpose, so never on a worker's thread. bcrypt looks at the first 72 bytes only.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            Kind::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            Kind::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Bcrypt { .. } => "PasswordHash(bcrypt)",
            Kind::Argon2(_) => "PasswordHash(argon2id)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let costly = "$2y$15$r5MDuBilPNfmNxDUuxL3BOvMF1JDoa7B4pyLR3AOTv8cuZk3x9Yja";
        let weak = |kind| Some(HashError::Weak { kind });
        for (text, want) in [
            ("open sesame", Some(HashError::Plain)),
            ("", Some(HashError::Plain)),
            ("rqXexS6ZhobKA", Some(HashError::Plain)),
            ("$2x$05$r5MDuBilPNfmNxDUuxL3BOvMF1JDoa7B4pyLR3AOTv8cuZk3x9Yja", Some(HashError::Plain)),
            ("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", weak("apr1 (MD5)")),
            ("$1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", weak("MD5")),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", weak("SHA-1")),
            ("$6$salt$hash", weak("SHA-2 crypt")),
            ("$2y$05$tooshort", Some(HashError::Broken { kind: "bcrypt" })),
            (
                "$2y$99$r5MDuBilPNfmNxDUuxL3BOvMF1JDoa7B4pyLR3AOTv8cuZk3x9Yja",
                Some(HashError::Broken { kind: "bcrypt" }),
            ),
            (costly, Some(HashError::Costly { kind: "bcrypt" })),
            ("$argon2i$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$", Some(HashError::Variant { kind: "argon2i" })),
            ("$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ", Some(HashError::Broken { kind: "argon2id" })),
            (
                "$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf",
                Some(HashError::Costly { kind: "argon2id" }),
            ),
            ("$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf", None),
        ] {
            assert_eq!(PasswordHash::parse(text).err(), want, "{text}");
        }
    }

    #[test]
    fn passwords() {
        let bcrypt = bcrypt::hash("open sesame", 4).unwrap();
        for version in ["$2a$", "$2b$", "$2y$"] {
            let hash = PasswordHash::parse(&bcrypt.replace("$2b$", version)).unwrap();
            assert!(hash.verify(b"open sesame") && !hash.verify(b"open sesam") && !hash.verify(b""), "{version}");
            assert!(hash.is_cheap());
        }
        use argon2::password_hash::PasswordHasher as _;
        let cheap =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let text = cheap.hash_password_with_salt(b"open sesame", b"some salt").unwrap().to_string();
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.verify(b"open sesame") && !hash.verify(b"open sesam"), "{text}");
    }
}
