//! Where the commands about keys find the key file, and what else they read of the folder.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::Failure;
use crate::clock::Clock;
use crate::config::folder::GATEWAY_FILE;
use crate::config::key_file::edit::EditError;
use crate::config::key_file::write::Locked;
use crate::config::{Period, key_file};

/// The folder whose keys are meant.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The folder that holds gateway.toml.
    #[arg(long, value_name = "FOLDER", default_value = "policies")]
    pub(super) folder: PathBuf,
}

impl Place {
    /// The text of gateway.toml.
    pub(super) fn gateway(&self) -> Result<String, Failure> {
        let path = self.folder.join(GATEWAY_FILE);
        fs::read_to_string(&path).map_err(|error| {
            Failure::configuration(format!("{}: {error}", path.display()))
                .hint("--folder names the folder that holds gateway.toml")
        })
    }

    /// The key file. A mistake anywhere else in the folder is no reason not to find it: a key that leaked has to be ended.
    pub(super) fn key_file(&self) -> Result<PathBuf, Failure> {
        Ok(key_file::path(key_file::named(&self.gateway()?).as_deref(), &self.folder))
    }

    /// The key file, for a change.
    pub(super) fn locked(&self) -> Result<(PathBuf, Locked), Failure> {
        let path = self.key_file()?;
        let locked = Locked::open(&path).map_err(|error| cannot_read(&path, &error))?;
        Ok((path, locked))
    }
}

pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {error}", path.display()))
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", path.display()))
}

/// A mistake in the file is one of the configuration.
pub(super) fn edit_failure(path: &Path, error: &EditError) -> Failure {
    match error {
        EditError::Mistaken(_) => Failure::configuration(format!("{}: {error}", path.display())),
        EditError::Exists(_) | EditError::NoKey { .. } => Failure::new(format!("{}: {error}", path.display())),
    }
}

pub(super) fn now() -> Timestamp {
    let now = Timestamp::try_from(Clock::system().wall()).unwrap_or_default();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// When something ends: a while from now, or at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    After(Period),
    At(Timestamp),
}

impl End {
    /// Reads `90d`, `2027-01-31` (the beginning of the day, UTC) and `2027-01-31T12:00:00Z`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wanted = "expected a while (`365d`), a date (`2027-01-31`) or a date and time (`2027-01-31T12:00:00Z`)";
        if let Ok(period) = Period::parse(text) {
            return if period.0.is_zero() {
                Err("expected a time to come".to_owned())
            } else {
                Ok(Self::After(period))
            };
        }
        let midnight = || text.parse::<jiff::civil::Date>().ok().map(|date| format!("{date}T00:00:00Z"));
        let time = text.parse().or_else(|error| midnight().map_or(Err(error), |text| text.parse()));
        time.map(Self::At).map_err(|_| wanted.to_owned())
    }

    pub(super) fn from(self, now: Timestamp) -> Result<Timestamp, Failure> {
        let end = match self {
            Self::After(period) => now.checked_add(period.0).map_err(|_| Failure::new("the end is too far away"))?,
            Self::At(time) => time,
        };
        if end <= now { Err(Failure::new(format!("{end:.0} has passed already"))) } else { Ok(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (text, want) in [
            ("365d", Some("2027-01-01T00:00:00Z")),
            ("90s", Some("2026-01-01T00:01:30Z")),
            ("2027-01-31", Some("2027-01-31T00:00:00Z")),
            ("2027-01-31T12:00:00+01:00", Some("2027-01-31T11:00:00Z")),
            ("2025-12-31", None),
            ("0s", None),
            ("365", None),
            ("tomorrow", None),
        ] {
            let end = End::parse(text).ok().and_then(|end| end.from(now).ok()).map(|end| end.to_string());
            assert_eq!(end.as_deref(), want, "{text}");
        }
    }
}
