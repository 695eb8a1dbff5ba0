//! Collections: arrays, and where it makes sense texts and objects.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::HashSet;
use serde_json::{Map, Value as Json};

use super::text::{cut, integer, offset};
use super::{Evaluated, Function};
use crate::expression::evaluate::{Call, append};
use crate::expression::{EvaluationError, MAX_ITEMS, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "chunk(collection, length)",
        "Splits an array or text into pieces of a length.",
        "chunk(createArray(1, 2, 3), 2)",
        "[[1,2],[3]]",
        chunk,
    )
    .structured(),
    Function::new(
        "contains(collection, value)",
        "Whether text has a part, an array an item or an object a property; with case.",
        "contains('hello world', 'world')",
        "true",
        |call| {
            let (collection, value) = (call.value(0)?, call.value(1)?);
            Ok(Value::Bool(match &collection {
                Value::Str(text) => text.contains(&*value.to_text()?),
                Value::Json(json) => match &**json {
                    Json::Array(items) => items.iter().any(|item| Value::from_json(item).equals(&value)),
                    object => object.get(&*value.to_text()?).is_some(),
                },
                other => return Err(call.mismatch(0, "text, an array or an object", other)),
            }))
        },
    ),
    Function::new(
        "empty(collection)",
        "Whether text, an array or an object is empty; null is.",
        "empty('')",
        "true",
        |call| {
            Ok(Value::Bool(match &call.value(0)? {
                Value::Null => true,
                Value::Str(text) => text.is_empty(),
                Value::Json(json) => match &**json {
                    Json::Array(items) => items.is_empty(),
                    json => json.as_object().is_none_or(Map::is_empty),
                },
                other => return Err(call.mismatch(0, "text, an array or an object", other)),
            }))
        },
    ),
    Function::new(
        "first(collection)",
        "The first item of an array, or character of text.",
        "first('hello')",
        "'h'",
        |call| end(call, false),
    )
    .structured(),
    Function::new(
        "intersection(collection…)",
        "What all arrays, or all objects, have in common.",
        "intersection(createArray(1, 2, 3), createArray(2, 3, 9))",
        "[2,3]",
        intersection,
    )
    .structured(),
    Function::new(
        "join(array, separator)",
        "The texts of the items with a separator between them.",
        "join(createArray('a', 'b', 'c'), '.')",
        "'a.b.c'",
        |call| {
            let (items, separator) = (call.array(0)?, call.text(1)?);
            let mut text = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    append(&mut text, &separator)?;
                }
                append(&mut text, &Value::from_json(item).to_text()?)?;
            }
            Ok(Value::Str(text.into()))
        },
    ),
    Function::new(
        "last(collection)",
        "The last item of an array, or character of text.",
        "last(createArray(0, 1, 2))",
        "2",
        |call| end(call, true),
    )
    .structured(),
    Function::new(
        "length(collection)",
        "The number of characters of text, or of items of an array or object.",
        "length('abcd')",
        "4",
        |call| {
            Ok(Value::Int(integer(match &call.value(0)? {
                Value::Str(text) => text.chars().count(),
                Value::Json(json) => match &**json {
                    Json::Array(items) => items.len(),
                    json => json.as_object().map_or(0, Map::len),
                },
                other => return Err(call.mismatch(0, "text, an array or an object", other)),
            })))
        },
    ),
    Function::new(
        "reverse(array)",
        "The items in reverse order.",
        "reverse(createArray(0, 1, 2))",
        "[2,1,0]",
        |call| {
            let mut items = call.array(0)?.into_owned();
            items.reverse();
            Ok(array(items))
        },
    )
    .structured(),
    Function::new(
        "skip(collection, count)",
        "All but the first items of an array, or characters of text.",
        "skip(createArray(0, 1, 2, 3), 1)",
        "[1,2,3]",
        |call| part(call, true),
    )
    .structured(),
    Function::new(
        "sort(array, [property])",
        "The items in order, by their own value or by a property.",
        "sort(createArray(2, 1, 3))",
        "[1,2,3]",
        sort,
    )
    .structured(),
    Function::new(
        "take(collection, count)",
        "The first items of an array, or characters of text.",
        "take('abcde', 3)",
        "'abc'",
        |call| part(call, false),
    )
    .structured(),
    Function::new(
        "union(collection…)",
        "All that is in any of the arrays, or objects, without repetition; later objects win.",
        "union(createArray(1, 2, 3), createArray(1, 4))",
        "[1,2,3,4]",
        union,
    )
    .structured(),
];

pub(super) fn array<'a>(items: Vec<Json>) -> Value<'a> {
    Value::Json(Cow::Owned(Json::Array(items)))
}

/// An array that a function made, within [`MAX_ITEMS`].
pub(super) fn bounded<'a>(call: &Call<'_>, items: Vec<Json>) -> Evaluated<'a> {
    if items.len() > MAX_ITEMS {
        return Err(too_many(call));
    }
    Ok(array(items))
}

pub(super) fn too_many(call: &Call<'_>) -> EvaluationError {
    call.error(format_args!("the array has more than {MAX_ITEMS} items"))
}

/// The first or the last item.
fn end<'a>(call: &Call<'a>, last: bool) -> Evaluated<'a> {
    match call.value(0)? {
        Value::Str(text) => {
            let (from, to) = if last {
                (text.char_indices().next_back().map_or(0, |(at, _)| at), text.len())
            } else {
                (0, text.chars().next().map_or(0, char::len_utf8))
            };
            Ok(Value::Str(cut(text, from, to)))
        }
        Value::Json(Cow::Borrowed(Json::Array(items))) => {
            Ok(if last { items.last() } else { items.first() }.map_or(Value::Null, Value::from_json))
        }
        Value::Json(Cow::Owned(Json::Array(mut items))) => {
            let item = if last { items.pop() } else { (!items.is_empty()).then(|| items.swap_remove(0)) };
            Ok(item.map_or(Value::Null, Value::from_owned_json))
        }
        other => Err(call.mismatch(0, "text or an array", &other)),
    }
}

/// What is behind the first items, or the first items.
fn part<'a>(call: &Call<'a>, behind: bool) -> Evaluated<'a> {
    let (collection, count) = (call.value(0)?, call.count(1)?);
    match collection {
        Value::Str(text) => {
            let at = offset(&text, count).unwrap_or(text.len());
            let (from, to) = if behind { (at, text.len()) } else { (0, at) };
            Ok(Value::Str(cut(text, from, to)))
        }
        Value::Json(json) if json.is_array() => {
            let items = json.as_array().map_or(&[][..], Vec::as_slice);
            let (front, back) = items.split_at(count.min(items.len()));
            Ok(array(if behind { back } else { front }.to_vec()))
        }
        other => Err(call.mismatch(0, "text or an array", &other)),
    }
}

fn chunk<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let (collection, length) = (call.value(0)?, call.count(1)?);
    if length == 0 {
        return Err(call.error("the pieces must have at least one item"));
    }
    let pieces = match &collection {
        Value::Str(text) => {
            let mut pieces = Vec::new();
            let mut rest = &**text;
            while !rest.is_empty() && pieces.len() <= MAX_ITEMS {
                let (piece, more) = rest.split_at(offset(rest, length).unwrap_or(rest.len()));
                pieces.push(Json::from(piece));
                rest = more;
            }
            pieces
        }
        Value::Json(json) if json.is_array() => {
            json.as_array().map_or(&[][..], Vec::as_slice).chunks(length).map(Json::from).collect()
        }
        other => return Err(call.mismatch(0, "text or an array", other)),
    };
    bounded(call, pieces)
}

fn sort<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let property = call.optional_text(1)?;
    let mut items = call.array(0)?.into_owned();
    let key = |item: &'_ Json| -> Option<Json> { property.as_ref().and_then(|name| item.get(name.as_ref())).cloned() };
    let mut comparable = true;
    // What has no such property comes first. Mixed kinds are refused below, but the order must be total all the same.
    let mut compare = |a: &Json, b: &Json| {
        let (a, b) = (Value::from_json(a), Value::from_json(b));
        match rank(&a).cmp(&rank(&b)) {
            Ordering::Equal => match (&a, &b) {
                (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
                (Value::Json(_), _) => {
                    comparable = false;
                    Ordering::Equal
                }
                (a, b) => a.order(b).unwrap_or(Ordering::Equal),
            },
            unequal => {
                comparable &= a == Value::Null || b == Value::Null;
                unequal
            }
        }
    };
    if property.is_some() {
        let mut keyed: Vec<(Json, Json)> =
            items.into_iter().map(|item| (key(&item).unwrap_or(Json::Null), item)).collect();
        keyed.sort_by(|(a, _), (b, _)| compare(a, b));
        items = keyed.into_iter().map(|(_, item)| item).collect();
    } else {
        items.sort_by(|a, b| compare(a, b));
    }
    if comparable { Ok(array(items)) } else { Err(call.error("the items cannot be compared with each other")) }
}

fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Str(_) => 3,
        Value::Json(_) => 4,
    }
}

/// The arguments as arrays, or as objects.
enum Collections {
    Arrays(Vec<Vec<Json>>),
    Objects(Vec<Map<String, Json>>),
}

fn collections(call: &Call<'_>) -> Result<Collections, EvaluationError> {
    let (mut arrays, mut objects) = (Vec::new(), Vec::new());
    for index in 0..call.arguments.len() {
        match call.value(index)?.into_json() {
            Json::Array(items) if objects.is_empty() => arrays.push(items),
            Json::Object(object) if arrays.is_empty() => objects.push(object),
            _ => return Err(call.error("expected only arrays or only objects")),
        }
    }
    Ok(if objects.is_empty() { Collections::Arrays(arrays) } else { Collections::Objects(objects) })
}

/// What makes two items the same item: their JSON text, with whole floating-point numbers written as integers.
fn identity(item: &Json) -> String {
    match Value::from_json(item) {
        Value::Float(number) => match super::super::value::float_as_integer(number) {
            Some(integer) => integer.to_string(),
            None => item.to_string(),
        },
        _ => item.to_string(),
    }
}

fn intersection<'a>(call: &Call<'a>) -> Evaluated<'a> {
    Ok(match collections(call)? {
        Collections::Arrays(mut arrays) => {
            let mut common = std::mem::take(&mut arrays[0]);
            for other in &arrays[1..] {
                let other: HashSet<String> = other.iter().map(identity).collect();
                common.retain(|item| other.contains(&identity(item)));
            }
            array(distinct(common))
        }
        Collections::Objects(mut objects) => {
            let mut common = std::mem::take(&mut objects[0]);
            for other in objects.drain(1..) {
                common.retain(|name, value| {
                    other.get(name).is_some_and(|other| super::super::value::json_equals(value, other))
                });
            }
            Value::Json(Cow::Owned(Json::Object(common)))
        }
    })
}

fn union<'a>(call: &Call<'a>) -> Evaluated<'a> {
    match collections(call)? {
        Collections::Arrays(arrays) => bounded(call, distinct(arrays.into_iter().flatten().collect())),
        Collections::Objects(objects) => {
            Ok(Value::Json(Cow::Owned(Json::Object(objects.into_iter().flatten().collect()))))
        }
    }
}

fn distinct(mut items: Vec<Json>) -> Vec<Json> {
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(identity(item)));
    items
}
