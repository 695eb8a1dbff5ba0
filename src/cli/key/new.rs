//! `key new`: a subscription with its first key.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::place::{End, Place, cannot_read, cannot_write, edit_failure, now};
use super::secret::Secret;
use super::{Failure, Format};
use crate::cli::output::{complain, print};
use crate::config::diagnostic::suggest;
use crate::config::folder::{self, Document};
use crate::config::key_file::edit::{self, EditError, KeyEntry, NewSubscription, Slot, shown};
use crate::config::named::Offline;
use crate::config::source::Sources;
use crate::config::{Diagnostics, key_file};

/// Make a subscription and its key.
///
/// The key is printed to standard output, this once: the key file keeps its SHA-256 digest and its last four characters. A running
/// gateway takes the subscription up by itself. Without --product and --api the subscription is for all APIs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate key new contoso --product partners --expires 365d
  sluicegate key new fabrikam --api orders --api invoices --consumer fabrikam --metadata team=erp --both
  printf %s \"$OLD_KEY\" | sluicegate key new tailspin --stdin      a key that its caller has already")]
pub struct New {
    /// The name of the subscription, as logs and `@subscription()` show it.
    #[arg(value_parser = name)]
    name: String,
    #[command(flatten)]
    place: Place,
    /// The product that it grants.
    #[arg(long, value_name = "PRODUCT", conflicts_with = "apis")]
    product: Option<String>,
    /// An API that it grants. Repeat it for several.
    #[arg(long = "api", value_name = "API")]
    apis: Vec<String>,
    /// Who calls with it; `@consumer()`.
    #[arg(long, value_name = "CONSUMER")]
    consumer: Option<String>,
    /// When its keys end: 365d, 2027-01-31, 2027-01-31T12:00:00Z [default: never].
    #[arg(long, value_name = "WHEN", value_parser = End::parse)]
    expires: Option<End>,
    /// What it is for, for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Anything else that policies want to know; `@subscription('NAME')`. Repeat it for several.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Make the secondary key as well.
    #[arg(long)]
    both: bool,
    /// Use the key that is read from standard input instead of a new one.
    #[arg(long, conflicts_with = "both")]
    stdin: bool,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name".to_owned());
    }
    Ok(text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl New {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.check()?;
        let now = now();
        let expires = self.expires.map(|end| end.from(now)).transpose()?;
        let primary = if self.stdin { Secret::read()? } else { Secret::generate()? };
        let secondary = self.both.then(Secret::generate).transpose()?;
        let entry = |secret: &Secret| key_entry(secret, now, expires);
        let new = NewSubscription {
            description: self.description,
            consumer: self.consumer,
            product: self.product,
            apis: self.apis,
            metadata: self.metadata,
            created: now,
            primary: entry(&primary),
            secondary: secondary.as_ref().map(entry),
        };
        let (path, locked) = self.place.locked()?;
        if edit::find_digest(locked.text(), &new.primary.digest).is_some() {
            return Err(Failure::new("a subscription of the key file has this key already"));
        }
        let text = edit::add(locked.text(), &self.name, &new).map_err(|error| {
            let failure = edit_failure(&path, &error);
            match error {
                EditError::Exists(name) => failure.hint(format!("sluicegate key rotate {name} makes a new key for it")),
                _ => failure,
            }
        })?;
        locked.replace(&text).map_err(|error| cannot_write(&path, &error))?;
        let keys = [(Slot::Primary, Some(&primary)), (Slot::Secondary, secondary.as_ref())];
        let keys: Vec<(Slot, &Secret)> = keys.into_iter().filter_map(|(slot, key)| Some((slot, key?))).collect();
        show(&self.name, &keys, expires, self.format, self.stdin);
        if self.format == Format::Text {
            complain(&format!("Subscription `{}` is in {}.\n", self.name, path.display()));
        }
        Ok(())
    }

    /// Names that mean nothing would make the gateway refuse the file.
    fn check(&self) -> Result<(), Failure> {
        let files = folder::read_folder(&self.place.folder).map_err(|error| cannot_read(&self.place.folder, &error))?;
        // For its hint, when it is not there.
        let gateway = self.place.gateway()?;
        let named = key_file::named(&gateway);
        let mut sources = Sources::default();
        for (name, text) in files.into_iter().filter(|(name, _)| Some(name) != named.as_ref()) {
            sources.add(name, text);
        }
        let document = folder::parse(&sources, Some(&self.place.folder), &Offline, &mut Diagnostics::default());
        let Document { products, consumers, subscriptions, apis, .. } = &document;
        let products: Vec<&str> = products.iter().map(|one| one.name.get_ref().as_str()).collect();
        let consumers: Vec<&str> = consumers.iter().map(|one| one.name.get_ref().as_str()).collect();
        let apis: Vec<&str> = apis.iter().map(|one| one.spec.name.as_str()).collect();
        if subscriptions.iter().any(|one| *one.name.get_ref() == self.name) {
            return Err(Failure::new(format!("subscription `{}` is in gateway.toml already", self.name)));
        }
        for name in self.product.iter() {
            known("product", name, &products, "`[products]` in gateway.toml")?;
        }
        for name in &self.apis {
            known("API", name, &apis, "the `name` in some file's `[api]` table")?;
        }
        for name in self.consumer.iter().filter(|_| !consumers.is_empty()) {
            known("consumer", name, &consumers, "`[consumers]` in gateway.toml")?;
        }
        Ok(())
    }
}

fn known(what: &str, name: &str, all: &[&str], place: &str) -> Result<(), Failure> {
    if all.contains(&name) {
        return Ok(());
    }
    let hint = suggest(name, all.iter().copied()).unwrap_or_else(|| match all {
        [] => format!("there is none; {place}"),
        all => format!("there is {}", all.join(", ")),
    });
    Err(Failure::configuration(format!("unknown {what} `{name}`")).hint(hint))
}

/// What the file keeps of a key.
pub(super) fn key_entry(secret: &Secret, created: Timestamp, expires: Option<Timestamp>) -> KeyEntry {
    KeyEntry { digest: secret.digest(), last_four: secret.last_four().map(str::to_owned), created, expires }
}

/// Prints keys, this once: keys alone to standard output, what is to be said about them to standard error.
pub(super) fn show(name: &str, keys: &[(Slot, &Secret)], expires: Option<Timestamp>, format: Format, known: bool) {
    match format {
        Format::Json => {
            let keys: Json = keys
                .iter()
                .map(|(slot, key)| {
                    json!({
                        "slot": slot.name(),
                        "key": (!known).then(|| key.reveal()),
                        "lastFour": key.last_four(),
                        "expires": expires.map(shown),
                    })
                })
                .collect();
            print(&format!("{:#}\n", json!({ "subscription": name, "keys": keys })));
        }
        Format::Text if known => {}
        Format::Text => {
            let slots: Vec<&str> = keys.iter().map(|(slot, _)| slot.name()).collect();
            let plural = if keys.len() == 1 { "key" } else { "keys" };
            let until = expires.map(|time| format!("good until {}, ", shown(time))).unwrap_or_default();
            complain(&format!("The {} {plural}, {until}shown this once:\n", slots.join(" and ")));
            keys.iter().for_each(|(_, key)| print(&format!("{}\n", key.reveal())));
        }
    }
}
