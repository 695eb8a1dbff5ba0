//! Values that are the same: constants of a schema, and items that stand twice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::number::Number;
use super::schema::Constant;
use crate::json::{Index, Kind, Value};

/// Whether a value, with its number or its text, is a constant.
pub(super) fn is(value: Value<'_>, number: Option<Number>, text: Option<&str>, constant: &Constant) -> bool {
    match constant {
        Constant::Number(constant) => number.is_some_and(|number| number == *constant),
        Constant::Text(constant) => text == Some(&**constant),
        Constant::Other(json) => Index::parse(json.as_bytes()).is_ok_and(|constant| equal(value, constant.root())),
    }
}

/// Whether two values are the same: numbers by what they are worth, members in any order.
fn equal(a: Value<'_>, b: Value<'_>) -> bool {
    if a.size() != b.size() {
        return false;
    }
    match (a.kind(), b.kind()) {
        (Kind::Number, Kind::Number) => match (Number::parse(a.raw()), Number::parse(b.raw())) {
            (Some(a), Some(b)) => a == b,
            _ => a.raw() == b.raw(),
        },
        (Kind::Text, Kind::Text) => a.text() == b.text(),
        (Kind::Array, Kind::Array) => {
            let (mut a, mut b) = (a.items(), b.items());
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if equal(a, b) => {}
                    _ => return false,
                }
            }
        }
        (Kind::Object, Kind::Object) => {
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(one, two)| one.0 == two.0 && equal(one.1, two.1))
        }
        (a_kind, b_kind) => a_kind == b_kind && a.raw() == b.raw(),
    }
}

/// The members of an object by name.
fn sorted(object: Value<'_>) -> Vec<(Cow<'_, str>, Value<'_>)> {
    let mut members: Vec<_> = object.members().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members
}

/// The first item that is the same as one before it.
pub(super) fn first_double<'i>(value: Value<'i>) -> Option<(usize, Value<'i>)> {
    // Keyed anew each time: callers choose what is hashed.
    let hasher = RandomState::new();
    let mut seen: HashMap<u64, SmallVec<[Value<'i>; 1]>> = HashMap::new();
    for (place, item) in value.items().enumerate() {
        let alike = seen.entry(digest(item, &hasher)).or_default();
        if alike.iter().any(|other| equal(*other, item)) {
            return Some((place, item));
        }
        alike.push(item);
    }
    None
}

/// A number that is the same for values that are the same.
fn digest(value: Value<'_>, hasher: &RandomState) -> u64 {
    match value.kind() {
        Kind::Number => match Number::parse(value.raw()) {
            Some(Number::Exact { negative, digits, exponent }) => hasher.hash_one((negative, digits, exponent)),
            Some(Number::Rough(value)) => hasher.hash_one(value.to_bits()),
            None => 1,
        },
        Kind::Text => hasher.hash_one(value.text()),
        Kind::Array => {
            let items = value.items();
            hasher.hash_one((2, items.fold(0, |sum: u64, item| sum.rotate_left(5).wrapping_add(digest(item, hasher)))))
        }
        Kind::Object => {
            let members = value.members();
            let one = |(name, member)| hasher.hash_one((name, digest(member, hasher)));
            hasher.hash_one((3, members.fold(0, |sum: u64, member| sum.wrapping_add(one(member)))))
        }
        Kind::Null | Kind::Bool => hasher.hash_one(value.raw()),
    }
}
