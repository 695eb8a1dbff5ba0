//! `key list`: the subscriptions and what is known of their keys.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::place::{Place, cannot_read, now};
use super::{Failure, Format};
use crate::cli::output::{complain, print};
use crate::config::folder::{self, GATEWAY_FILE};
use crate::config::key_file::{self, write};
use crate::config::named::Offline;
use crate::config::source::Sources;
use crate::config::spec::{KeySpec, SubscriptionSpec, SubscriptionState};
use crate::config::{At, Diagnostics};

/// List subscriptions and their keys, of the key file and of gateway.toml.
///
/// Of a key no more than its last four characters is known, and shown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate key list --product partners
  sluicegate key list --format json | jq -r '.[] | select(.keys | any(.status == \"expired\")) | .subscription'")]
pub struct List {
    /// Only the subscription of this name.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Only subscriptions of this consumer.
    #[arg(long, value_name = "CONSUMER")]
    consumer: Option<String>,
    /// Only subscriptions that grant this product.
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,
    /// The form of the list.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl List {
    pub(super) fn run(self) -> Result<(), Failure> {
        let gateway = self.place.gateway()?;
        let path = self.place.key_file()?;
        let text = write::read(&path).map_err(|error| cannot_read(&path, &error))?;
        let now = now();
        let mut diagnostics = Diagnostics::default();
        let mut sources = Sources::default();
        sources.add(GATEWAY_FILE, gateway);
        let file = sources.add_keys(path.display().to_string(), "");
        let document = folder::parse(&sources, Some(&self.place.folder), &Offline, &mut diagnostics);
        let mut entries = Vec::new();
        for entry in &document.subscriptions {
            entries.extend(self.entry(entry.name.get_ref(), &entry.spec, GATEWAY_FILE, now));
        }
        let source = path.display().to_string();
        for piece in key_file::pieces(&text) {
            for (name, spec, _) in key_file::subscriptions_of(&text[piece], file, &mut diagnostics) {
                entries.extend(self.entry(name.get_ref(), &spec, &source, now));
            }
        }
        if diagnostics.errors() > 0 {
            complain(
                "warning: there are mistakes, which `sluicegate check` shows; what cannot be read is not listed\n",
            );
        }
        print(&match self.format {
            Format::Json => format!("{:#}\n", entries.iter().map(Entry::json).collect::<Json>()),
            Format::Text => table(&entries),
        });
        if entries.is_empty() {
            complain("There are no such subscriptions; `sluicegate key new NAME` makes one.\n");
        }
        Ok(())
    }

    /// What is shown of a subscription, unless it is not asked for.
    fn entry(&self, name: &str, spec: &SubscriptionSpec, source: &str, now: Timestamp) -> Option<Entry> {
        let text = |value: &Option<At<String>>| value.as_ref().map(|value| value.value.clone());
        let is = |asked: &Option<String>, found: Option<&str>| asked.is_none() || asked.as_deref() == found;
        let (consumer, product) = (text(&spec.consumer), text(&spec.product));
        if !is(&self.name, Some(name))
            || !is(&self.consumer, consumer.as_deref())
            || !is(&self.product, product.as_deref())
        {
            return None;
        }
        let one = |slot, key: &At<KeySpec>| Key {
            slot,
            last_four: key.last_four.as_ref().map(|four| last_four(four)),
            created: text(&key.created),
            expires: text(&key.expires),
            status: match (&key.revoked, passed(key.expires.as_ref(), now)) {
                (Some(_), _) => "revoked",
                (None, true) => "expired",
                (None, false) => "active",
            },
        };
        let bare = Key { slot: "keys", last_four: None, created: None, expires: None, status: "active" };
        let keys = (spec.primary.iter().map(|key| one("primary", key)))
            .chain(spec.secondary.iter().map(|key| one("secondary", key)))
            .chain(spec.retiring.iter().map(|key| one("retiring", key)))
            .chain(spec.keys.iter().map(|_| bare.clone()));
        Some(Entry {
            name: name.to_owned(),
            source: source.to_owned(),
            consumer,
            product,
            apis: spec.apis.iter().map(|name| name.value.clone()).collect(),
            state: match spec.state {
                SubscriptionState::Active if passed(spec.expires.as_ref(), now) => "expired",
                SubscriptionState::Active => "active",
                SubscriptionState::Suspended => "suspended",
                SubscriptionState::Submitted => "submitted",
                SubscriptionState::Rejected => "rejected",
                SubscriptionState::Cancelled => "cancelled",
                SubscriptionState::Expired => "expired",
            },
            expires: text(&spec.expires),
            created: text(&spec.created),
            keys: keys.collect(),
        })
    }
}

fn passed(time: Option<&At<String>>, now: Timestamp) -> bool {
    time.and_then(|text| text.parse::<Timestamp>().ok()).is_some_and(|time| time <= now)
}

/// What a file calls the last four characters, cut to four: it may be the whole key, by mistake.
fn last_four(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(4);
    text.chars().skip(skipped).collect()
}

/// One subscription.
struct Entry {
    name: String,
    source: String,
    consumer: Option<String>,
    product: Option<String>,
    apis: Vec<String>,
    state: &'static str,
    created: Option<String>,
    expires: Option<String>,
    keys: Vec<Key>,
}

/// One of its keys.
#[derive(Clone)]
struct Key {
    slot: &'static str,
    last_four: Option<String>,
    created: Option<String>,
    expires: Option<String>,
    status: &'static str,
}

impl Entry {
    fn json(&self) -> Json {
        let key = |key: &Key| {
            let Key { slot, last_four, created, expires, status } = key;
            json!({ "slot": slot, "lastFour": last_four, "created": created, "expires": expires, "status": status })
        };
        json!({
            "subscription": self.name,
            "consumer": self.consumer,
            "product": self.product,
            "apis": self.apis,
            "state": self.state,
            "created": self.created,
            "expires": self.expires,
            "source": self.source,
            "keys": self.keys.iter().map(key).collect::<Json>(),
        })
    }

    /// The lines of the table: one for each key.
    fn rows(&self) -> Vec<[String; 8]> {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let grants = match (&self.product, &self.apis[..]) {
            (Some(product), _) => format!("product {product}"),
            (None, []) => "all APIs".to_owned(),
            (None, apis) => apis.join(", "),
        };
        let head = [self.name.clone(), or(&self.consumer), grants];
        let rows = self.keys.iter().enumerate().map(|(index, key)| {
            let [name, consumer, grants] = if index == 0 { head.clone() } else { Default::default() };
            let four = key.last_four.as_ref().map_or_else(|| "-".to_owned(), |four| format!("…{four}"));
            let status = if self.state == "active" { key.status } else { self.state };
            let expires = key.expires.as_ref().or(self.expires.as_ref()).cloned();
            [name, consumer, grants, key.slot.to_owned(), four, or(&key.created), or(&expires), status.to_owned()]
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            let [name, consumer, grants] = head;
            let none = || "-".to_owned();
            return vec![[
                name,
                consumer,
                grants,
                "no key".to_owned(),
                none(),
                none(),
                or(&self.expires),
                self.state.to_owned(),
            ]];
        }
        rows
    }
}

fn table(entries: &[Entry]) -> String {
    let head = ["SUBSCRIPTION", "CONSUMER", "GRANTS", "KEY", "ENDS IN", "CREATED", "EXPIRES", "STATUS"];
    let rows: Vec<[String; 8]> = entries.iter().flat_map(Entry::rows).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut widths = head.map(|title| title.chars().count());
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut out = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
