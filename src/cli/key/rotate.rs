//! `key rotate`: a new key in the place of the older one.

use clap::Args;

use super::new::{key_entry, show};
use super::place::{End, Place, cannot_write, edit_failure, now};
use super::revoke::not_filed;
use super::secret::Secret;
use super::{Failure, Format};
use crate::cli::issuer::period;
use crate::cli::output::complain;
use crate::config::Period;
use crate::config::key_file::edit::{self, Slot, shown};

/// Replace the older key of a subscription.
///
/// The new key is printed to standard output, this once. The one that it replaces works no more, or until --grace is over. Without
/// --expires the new key lasts as long as the old one was made to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate key rotate contoso --grace 7d              both keys work for a week
  sluicegate key rotate contoso --key secondary         the secondary key, also when there is none yet")]
pub struct Rotate {
    /// The name of the subscription.
    name: String,
    #[command(flatten)]
    place: Place,
    /// Which key to replace [default: the one that has ended, or the older one].
    #[arg(long, value_enum, value_name = "KEY")]
    key: Option<Slot>,
    /// How long the replaced key works still [default: not at all].
    #[arg(long, value_name = "TIME", value_parser = period)]
    grace: Option<Period>,
    /// When the new key ends: 365d, 2027-01-31, 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = End::parse)]
    expires: Option<End>,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Rotate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let now = now();
        let (path, locked) = self.place.locked()?;
        let text = locked.text();
        let piece = edit::find(text, &self.name).ok_or_else(|| not_filed(&self.place, &self.name, &path))?;
        let failure = |error| edit_failure(&path, &error);
        let (slot, lifetime) = edit::rotates(&text[piece.clone()], &self.name, self.key, now).map_err(failure)?;
        let too_far = |_| Failure::new("the end is too far away");
        let expires = match (self.expires, lifetime) {
            (Some(end), _) => Some(end.from(now)?),
            (None, Some(lifetime)) => Some(now.checked_add(lifetime).map_err(too_far)?),
            (None, None) => None,
        };
        let grace = self.grace.filter(|grace| !grace.0.is_zero());
        let grace = grace.map(|grace| now.checked_add(grace.0).map_err(too_far)).transpose()?;
        let secret = Secret::generate()?;
        let entry = key_entry(&secret, now, expires);
        let (changed, rotated) =
            edit::rotate(&text[piece.clone()], &self.name, slot, &entry, now, grace).map_err(failure)?;
        let text = format!("{}{changed}{}", &text[..piece.start], &text[piece.end..]);
        locked.replace(&text).map_err(|error| cannot_write(&path, &error))?;
        show(&self.name, &[(slot, &secret)], expires, self.format, false);
        if self.format == Format::Text
            && let Some(old) = rotated.old
        {
            let which = old.last_four.map(|four| format!(" that ends in {four}")).unwrap_or_default();
            let until = old.until.map_or_else(|| "no more".to_owned(), |until| format!("until {}", shown(until)));
            complain(&format!("The old {slot} key{which} works {until}.\n"));
        }
        Ok(())
    }
}
