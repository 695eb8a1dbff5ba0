//! Changes the text of the key file: one table at a time, with everything else, comments too, left as it stands.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{pieces, subscriptions_of};
use crate::config::Diagnostics;
use crate::config::source::Sources;

/// What stands at the head of a file that is made.
const HEAD: &str =
    "# Subscriptions and the digests of their keys, kept by `sluicegate key`. It may be edited by hand, too.\n";

/// Which of a subscription's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Slot {
    /// The first one.
    Primary,
    /// The other one.
    Secondary,
}

impl Slot {
    const ALL: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key as the file keeps it.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// The digest: `sha256:…`.
    pub digest: String,
    /// The last four characters.
    pub last_four: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl KeyEntry {
    fn table(&self) -> InlineTable {
        let mut table = InlineTable::new();
        table.insert("digest", self.digest.as_str().into());
        if let Some(four) = &self.last_four {
            table.insert("last-four", four.as_str().into());
        }
        table.insert("created", shown(self.created).into());
        if let Some(expires) = self.expires {
            table.insert("expires", shown(expires).into());
        }
        table
    }
}

/// A subscription to add.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// What it is for.
    pub description: Option<String>,
    /// Who calls with it.
    pub consumer: Option<String>,
    /// The product that it grants.
    pub product: Option<String>,
    /// The APIs that it grants.
    pub apis: Vec<String>,
    /// What else is known of it.
    pub metadata: Vec<(String, String)>,
    /// When it was made.
    pub created: Timestamp,
    /// Its first key.
    pub primary: KeyEntry,
    /// Its other key.
    pub secondary: Option<KeyEntry>,
}

/// Why the file cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is one already.
    #[error("there is a subscription `{0}` already")]
    Exists(String),
    /// The table is not as it should be.
    #[error("the table of subscription `{0}` has a mistake, which `sluicegate check` shows")]
    Mistaken(String),
    /// The subscription has no such key.
    #[error("subscription `{name}` has no {slot} key")]
    NoKey {
        /// The subscription.
        name: String,
        /// The key.
        slot: Slot,
    },
}

/// Where the table of a subscription stands: its piece of the file.
pub fn find(text: &str, name: &str) -> Option<Range<usize>> {
    // Most of a million pieces need no parsing: the name stands in its piece, unless a backslash hides it.
    let may_be = |piece: &str| piece.contains(name) || piece.contains('\\');
    pieces(text)
        .filter(|piece| may_be(&text[piece.clone()]))
        .find(|piece| names(&text[piece.clone()]).any(|found| found == name))
}

/// The name of the subscription that has a key with this digest, and where its table stands.
pub fn find_digest(text: &str, digest: &str) -> Option<(String, Range<usize>)> {
    let has = |piece: &str| {
        let mut words = piece.split(['"', '\'']);
        words.any(|word| word.eq_ignore_ascii_case(digest))
    };
    let piece = pieces(text).find(|piece| has(&text[piece.clone()]))?;
    let name = names(&text[piece.clone()]).next()?;
    Some((name, piece))
}

fn names(piece: &str) -> impl Iterator<Item = String> {
    let mut sources = Sources::default();
    let file = sources.add("", "");
    subscriptions_of(piece, file, &mut Diagnostics::default()).into_iter().map(|(name, ..)| name.into_inner())
}

/// The file with another subscription at its end.
///
/// # Errors
/// When there is one of that name.
pub fn add(text: &str, name: &str, new: &NewSubscription) -> Result<String, EditError> {
    if find(text, name).is_some() {
        return Err(EditError::Exists(name.to_owned()));
    }
    let mut table = Table::new();
    let texts = [("description", &new.description), ("consumer", &new.consumer), ("product", &new.product)];
    for (key, value) in texts.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        table.insert(key, value.as_str().into());
    }
    if !new.apis.is_empty() {
        table.insert("apis", Item::Value(new.apis.iter().map(String::as_str).collect::<Array>().into()));
    }
    if !new.metadata.is_empty() {
        let metadata: InlineTable = new.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        table.insert("metadata", Item::Value(metadata.into()));
    }
    table.insert("created", shown(new.created).into());
    table.insert("primary", Item::Value(new.primary.table().into()));
    if let Some(secondary) = &new.secondary {
        table.insert("secondary", Item::Value(secondary.table().into()));
    }
    let mut subscriptions = Table::new();
    subscriptions.set_implicit(true);
    subscriptions.insert(name, Item::Table(table));
    let mut document = DocumentMut::new();
    document.insert("subscriptions", Item::Table(subscriptions));
    let before = if text.trim().is_empty() { HEAD } else { text };
    let end = if before.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{before}{end}\n{document}"))
}

/// What a change did to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which key: `primary`, `secondary`, `retiring`, or `keys` of a list of digests.
    pub place: &'static str,
    /// Its last four characters, where they are known.
    pub last_four: Option<String>,
    /// When it stops working; none when it has stopped.
    pub until: Option<Timestamp>,
}

/// The table of one subscription.
struct Piece {
    document: DocumentMut,
    name: String,
}

impl Piece {
    fn read(text: &str, name: &str) -> Result<Self, EditError> {
        let mistaken = || EditError::Mistaken(name.to_owned());
        let document = text.parse().map_err(|_| mistaken())?;
        let mut piece = Self { document, name: name.to_owned() };
        if piece.table().is_none() { Err(mistaken()) } else { Ok(piece) }
    }

    fn table(&mut self) -> Option<&mut dyn TableLike> {
        let subscriptions = self.document.get_mut("subscriptions")?.as_table_like_mut()?;
        subscriptions.get_mut(&self.name)?.as_table_like_mut()
    }

    fn mistaken(&self) -> EditError {
        EditError::Mistaken(self.name.clone())
    }
}

/// A key that was replaced, and the slot where the new one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Where the new key is.
    pub slot: Slot,
    /// What became of the old one, where there was one.
    pub old: Option<Changed>,
}

/// The slot that a rotation changes: the one asked for, else the one whose key has ended or is the older. And how long its key was made
/// to last.
///
/// # Errors
/// When the table cannot be read.
pub fn rotates(
    piece: &str,
    name: &str,
    asked: Option<Slot>,
    now: Timestamp,
) -> Result<(Slot, Option<jiff::SignedDuration>), EditError> {
    let mut piece = Piece::read(piece, name)?;
    let mistaken = piece.mistaken();
    let table = piece.table().ok_or(mistaken)?;
    let key = |slot: Slot| table.get(slot.name()).and_then(Item::as_table_like);
    let age = |slot: &Slot| key(*slot).map(|key| (!ended(key, now), time(key, "created")));
    let older = Slot::ALL.into_iter().filter(|slot| key(*slot).is_some()).min_by_key(age);
    let slot = asked.or(older).unwrap_or(Slot::Primary);
    let lifetime = key(slot).and_then(|key| Some(time(key, "expires")?.duration_since(time(key, "created")?)));
    Ok((slot, lifetime))
}

/// The table with a new key in a slot. The old key works until `grace` is over, or no more.
///
/// # Errors
/// When the table cannot be read.
pub fn rotate(
    piece: &str,
    name: &str,
    slot: Slot,
    new: &KeyEntry,
    now: Timestamp,
    grace: Option<Timestamp>,
) -> Result<(String, Rotated), EditError> {
    let mut piece = Piece::read(piece, name)?;
    let mistaken = piece.mistaken();
    let table = piece.table().ok_or_else(|| mistaken.clone())?;
    let old = table.get(slot.name()).map(|item| item.as_table_like().ok_or_else(|| mistaken.clone())).transpose()?;
    let mut replaced = None;
    let mut retired = None;
    if let Some(old) = old.filter(|old| !ended(*old, now)) {
        let mut entry: InlineTable =
            old.iter().filter_map(|(key, item)| Some((key, plain(item.as_value()?)))).collect();
        let until = grace.map(|grace| time(old, "expires").map_or(grace, |expires| expires.min(grace)));
        match until {
            Some(until) => entry.insert("expires", shown(until).into()),
            None => entry.insert("revoked", shown(now).into()),
        };
        replaced = Some(Changed { place: slot.name(), last_four: last_four(old), until });
        retired = Some(entry);
    }
    match table.get_mut(slot.name()).and_then(Item::as_value_mut) {
        Some(value) => {
            let decor = value.decor().clone();
            let mut new = new.table();
            *new.decor_mut() = decor;
            *value = new.into();
        }
        None => drop(table.insert(slot.name(), Item::Value(new.table().into()))),
    }
    retire(table, retired, now, &mistaken)?;
    Ok((piece.document.to_string(), Rotated { slot, old: replaced }))
}

/// Adds a key to those that were replaced, and forgets those among them that have ended.
fn retire(
    table: &mut dyn TableLike,
    retired: Option<InlineTable>,
    now: Timestamp,
    mistaken: &EditError,
) -> Result<(), EditError> {
    match table.get_mut("retiring") {
        None => {
            if let Some(entry) = retired {
                let mut list = Array::new();
                list.push(entry);
                table.insert("retiring", Item::Value(lines(list).into()));
            }
        }
        Some(Item::ArrayOfTables(list)) => {
            let kept = list.iter().filter(|one| !ended(*one, now)).cloned();
            let kept: ArrayOfTables = kept.chain(retired.map(InlineTable::into_table)).collect();
            *list = kept;
        }
        Some(Item::Value(Value::Array(list))) => {
            list.retain(|one| one.as_inline_table().is_none_or(|one| !ended(one, now)));
            list.extend(retired);
            *list = lines(std::mem::take(list));
        }
        Some(_) => return Err(mistaken.clone()),
    }
    if table.get("retiring").is_some_and(|list| list.as_array().is_some_and(Array::is_empty)) {
        table.remove("retiring");
    }
    Ok(())
}

/// A list with a line for each value.
fn lines(mut list: Array) -> Array {
    for value in list.iter_mut() {
        // A comment in front of the value is in front of it still.
        if value.decor().prefix().and_then(|prefix| prefix.as_str()).is_none_or(|prefix| !prefix.contains('#')) {
            value.decor_mut().set_prefix("\n  ");
        }
        value.decor_mut().set_suffix("");
    }
    list.set_trailing_comma(true);
    list.set_trailing("\n");
    list
}

/// Which keys of a subscription to revoke.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// One of the two.
    Slot(Slot),
    /// The one with this digest, wherever it stands.
    Digest(&'a str),
}

/// The table with keys that work no more, and what they were: nothing when all had been revoked before.
///
/// # Errors
/// When the table cannot be read, or has no such key.
pub fn revoke(piece: &str, name: &str, which: Which<'_>, now: Timestamp) -> Result<(String, Vec<Changed>), EditError> {
    let mut piece = Piece::read(piece, name)?;
    let mistaken = piece.mistaken();
    let table = piece.table().ok_or_else(|| mistaken.clone())?;
    if let Which::Slot(slot) = which
        && table.get(slot.name()).is_none()
    {
        return Err(EditError::NoKey { name: name.to_owned(), slot });
    }
    let mut changed = Vec::new();
    let mut end = |place: &'static str, key: &mut dyn TableLike| {
        let meant = match which {
            Which::All => true,
            Which::Slot(slot) => slot.name() == place,
            Which::Digest(digest) => word(key, "digest").is_some_and(|found| found.eq_ignore_ascii_case(digest)),
        };
        if meant && key.get("revoked").is_none() {
            append(key, "revoked", shown(now));
            changed.push(Changed { place, last_four: last_four(key), until: None });
        }
    };
    for slot in Slot::ALL {
        match table.get_mut(slot.name()) {
            None => {}
            Some(item) => end(slot.name(), item.as_table_like_mut().ok_or_else(|| mistaken.clone())?),
        }
    }
    match table.get_mut("retiring") {
        None => {}
        Some(Item::ArrayOfTables(list)) => list.iter_mut().for_each(|key| end("retiring", key)),
        Some(Item::Value(Value::Array(list))) => {
            for value in list.iter_mut() {
                end("retiring", value.as_inline_table_mut().ok_or_else(|| mistaken.clone())?);
            }
        }
        Some(_) => return Err(mistaken),
    }
    // Of a bare digest there is nothing to keep.
    if let Some(list) = table.get_mut("keys").and_then(Item::as_array_mut) {
        let meant = |value: &Value| match which {
            Which::All => true,
            Which::Slot(_) => false,
            Which::Digest(digest) => value.as_str().is_some_and(|found| found.eq_ignore_ascii_case(digest)),
        };
        let before = list.len();
        let start = list.get(0).and_then(|first| first.decor().prefix().cloned());
        list.retain(|value| !meant(value));
        if let (Some(first), Some(start)) = (list.get_mut(0), start) {
            first.decor_mut().set_prefix(start);
        }
        let gone = (list.len()..before).map(|_| Changed { place: "keys", last_four: None, until: None });
        changed.extend(gone);
    }
    Ok((piece.document.to_string(), changed))
}

/// Adds a value at the end of a table, as the others stand in it.
fn append(table: &mut dyn TableLike, name: &str, text: String) {
    // The space in front of the closing brace belongs to the last value.
    let last = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut());
    let last = last.filter(|value| value.decor().suffix().and_then(|suffix| suffix.as_str()) == Some(" "));
    let suffix = if last.is_some() { " " } else { "" };
    if let Some(value) = last {
        value.decor_mut().set_suffix("");
    }
    table.insert(name, Item::Value(Value::from(text).decorated(" ", suffix)));
}

/// A value without what stood around it.
fn plain(value: &Value) -> Value {
    value.clone().decorated(" ", "")
}

fn word<'t>(key: &'t dyn TableLike, name: &str) -> Option<&'t str> {
    key.get(name)?.as_str()
}

fn last_four(key: &dyn TableLike) -> Option<String> {
    word(key, "last-four").map(str::to_owned)
}

fn time(key: &dyn TableLike, name: &str) -> Option<Timestamp> {
    word(key, name)?.parse().ok()
}

/// Whether a key works no more.
fn ended(key: &dyn TableLike, now: Timestamp) -> bool {
    key.get("revoked").is_some() || time(key, "expires").is_some_and(|expires| expires <= now)
}

/// A time as the file keeps it: in whole seconds.
pub fn shown(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests;
