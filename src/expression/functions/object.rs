//! Objects: each function gives a changed copy.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::Function;
use crate::expression::evaluate::Call;
use crate::expression::{EvaluationError, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "addProperty(object, name, value)",
        "The object with one more property; an error where it has the property.",
        r#"addProperty(json('{"a":1}'), 'b', 2)"#,
        r#"{"a":1,"b":2}"#,
        |call| {
            let (mut object, name) = (object(call)?, call.text(1)?.into_owned());
            if object.contains_key(&name) {
                return Err(call.error("the object has this property already; `setProperty` changes it"));
            }
            object.insert(name, call.value(2)?.into_json());
            Ok(Value::Json(Cow::Owned(Json::Object(object))))
        },
    )
    .structured(),
    Function::new(
        "removeProperty(object, name)",
        "The object without a property.",
        r#"removeProperty(json('{"a":1,"b":2}'), 'a')"#,
        r#"{"b":2}"#,
        |call| {
            let mut object = object(call)?;
            object.shift_remove(&*call.text(1)?);
            Ok(Value::Json(Cow::Owned(Json::Object(object))))
        },
    )
    .structured(),
    Function::new(
        "setProperty(object, name, value)",
        "The object with a property added or changed.",
        r#"setProperty(json('{"a":1}'), 'a', 2)"#,
        r#"{"a":2}"#,
        |call| {
            let mut object = object(call)?;
            object.insert(call.text(1)?.into_owned(), call.value(2)?.into_json());
            Ok(Value::Json(Cow::Owned(Json::Object(object))))
        },
    )
    .structured(),
];

fn object(call: &Call<'_>) -> Result<Map<String, Json>, EvaluationError> {
    match call.value(0)? {
        Value::Json(Cow::Borrowed(Json::Object(object))) => Ok(object.clone()),
        Value::Json(Cow::Owned(Json::Object(object))) => Ok(object),
        other => Err(call.mismatch(0, "an object", &other)),
    }
}
