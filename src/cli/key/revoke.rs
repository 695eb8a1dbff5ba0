//! `key revoke`: ends keys.

use std::path::Path;

use clap::Args;

use super::Failure;
use super::place::{Place, cannot_write, edit_failure, now};
use super::secret::Secret;
use crate::cli::output::complain;
use crate::config::key_file::edit::{self, Slot, Which};

/// End keys at once and for good.
///
/// Of a subscription by its name: all keys, or the one of --key. Or the key that is read from standard input, whosever it is. The
/// subscription stays, and `rotate` gives it a new key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate key revoke contoso
  printf %s \"$LEAKED\" | sluicegate key revoke --stdin")]
pub struct Revoke {
    /// The name of the subscription.
    #[arg(required_unless_present = "stdin")]
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Which key to end [default: all of them].
    #[arg(long, value_enum, value_name = "KEY")]
    key: Option<Slot>,
    /// End the key that is read from standard input. Its digest (sha256:…) will do.
    #[arg(long, conflicts_with_all = ["name", "key"])]
    stdin: bool,
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), Failure> {
        let digest = if self.stdin { Some(digest(&Secret::read()?)) } else { None };
        let (path, locked) = self.place.locked()?;
        let text = locked.text();
        let (name, piece, which) = match (&digest, self.name) {
            (Some(digest), _) => {
                let (name, piece) =
                    edit::find_digest(text, digest).ok_or_else(|| unknown(&self.place, digest, &path))?;
                (name, piece, Which::Digest(digest))
            }
            (None, name) => {
                let name = name.unwrap_or_default();
                let piece = edit::find(text, &name).ok_or_else(|| not_filed(&self.place, &name, &path))?;
                (name, piece, self.key.map_or(Which::All, Which::Slot))
            }
        };
        let (changed, keys) =
            edit::revoke(&text[piece.clone()], &name, which, now()).map_err(|error| edit_failure(&path, &error))?;
        if keys.is_empty() {
            complain(&format!("Nothing of subscription `{name}` was left to revoke.\n"));
            return Ok(());
        }
        let text = format!("{}{changed}{}", &text[..piece.start], &text[piece.end..]);
        locked.replace(&text).map_err(|error| cannot_write(&path, &error))?;
        for key in keys {
            let which = key.last_four.map(|four| format!(" that ends in {four}")).unwrap_or_default();
            let place = match key.place {
                "primary" | "secondary" => format!("the {} key", key.place),
                "retiring" => "a replaced key".to_owned(),
                _ => "a key".to_owned(),
            };
            complain(&format!("Revoked {place}{which} of subscription `{name}`.\n"));
        }
        Ok(())
    }
}

/// The digest of what was read, unless that is a digest itself.
fn digest(read: &Secret) -> String {
    let digits = read.reveal().strip_prefix("sha256:");
    match digits.filter(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(digits) => format!("sha256:{digits}"),
        None => read.digest(),
    }
}

/// The failure for a subscription that the key file does not have.
pub(super) fn not_filed(place: &Place, name: &str, path: &Path) -> Failure {
    let failure = Failure::new(format!("there is no subscription `{name}` in {}", path.display()));
    match place.gateway() {
        Ok(gateway) if in_gateway(&gateway, name) => {
            failure.hint("it is in gateway.toml, which is changed by hand; `sluicegate key digest` makes a digest")
        }
        _ => failure.hint("`sluicegate key list` shows what there is"),
    }
}

fn in_gateway(gateway: &str, name: &str) -> bool {
    let (table, _) = toml::de::DeTable::parse_recoverable(gateway);
    let subscriptions = table.get_ref().get("subscriptions");
    subscriptions.and_then(|table| table.get_ref().get(name)).is_some()
}

fn unknown(place: &Place, digest: &str, path: &Path) -> Failure {
    let gateway = place.gateway().unwrap_or_default().to_ascii_lowercase();
    let failure = Failure::new(format!("no subscription in {} has this key", path.display()));
    if gateway.contains(&digest.to_ascii_lowercase()) {
        return failure.hint("its digest is in gateway.toml: take it out there");
    }
    failure
}
