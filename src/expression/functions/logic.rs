//! Conditions and comparison.

use std::cmp::Ordering;

use super::{Evaluated, Function};
use crate::expression::Value;
use crate::expression::evaluate::Call;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "and(condition…)",
        "Whether all conditions are true; stops at the first that is not.",
        "and(greater(2, 1), equals('a', 'b'))",
        "false",
        |call| all(call, true),
    ),
    Function::new(
        "coalesce(value…)",
        "The first value that is not null.",
        "coalesce(null, 'b', 'c')",
        "'b'",
        |call| {
            for index in 0..call.arguments.len() {
                let value = call.value(index)?;
                if value != Value::Null {
                    return Ok(value);
                }
            }
            Ok(Value::Null)
        },
    )
    .choosing(),
    Function::new(
        "equals(value, other)",
        "Whether two values are the same; text compares with case.",
        "equals('abc', 'abcd')",
        "false",
        |call| Ok(Value::Bool(call.value(0)?.equals(&call.value(1)?))),
    ),
    Function::new(
        "greater(value, other)",
        "Whether the first number or text is greater.",
        "greater(10, 5)",
        "true",
        |call| compare(call, Ordering::is_gt),
    ),
    Function::new(
        "greaterOrEquals(value, other)",
        "Whether the first number or text is greater or the same.",
        "greaterOrEquals(5, 5)",
        "true",
        |call| compare(call, Ordering::is_ge),
    ),
    Function::new(
        "if(condition, then, otherwise)",
        "One of two values; the other is not evaluated.",
        "if(equals(1, 1), 'yes', 'no')",
        "'yes'",
        |call| call.value(if call.boolean(0)? { 1 } else { 2 }),
    )
    .choosing(),
    Function::new(
        "less(value, other)",
        "Whether the first number or text is less.",
        "less('banana', 'apple')",
        "false",
        |call| compare(call, Ordering::is_lt),
    ),
    Function::new(
        "lessOrEquals(value, other)",
        "Whether the first number or text is less or the same.",
        "lessOrEquals(10, 10)",
        "true",
        |call| compare(call, Ordering::is_le),
    ),
    Function::new("not(condition)", "Whether the condition is false.", "not(false)", "true", |call| {
        Ok(Value::Bool(!call.boolean(0)?))
    }),
    Function::new(
        "or(condition…)",
        "Whether at least one condition is true; stops at the first that is.",
        "or(equals(1, 2), equals(1, 1))",
        "true",
        |call| all(call, false),
    ),
];

/// Whether every condition equals `wanted`, as a result of `and`; the opposite is the result of `or`.
fn all<'a>(call: &Call<'a>, wanted: bool) -> Evaluated<'a> {
    for index in 0..call.arguments.len() {
        if call.boolean(index)? != wanted {
            return Ok(Value::Bool(!wanted));
        }
    }
    Ok(Value::Bool(wanted))
}

fn compare<'a>(call: &Call<'a>, accept: fn(Ordering) -> bool) -> Evaluated<'a> {
    let (value, other) = (call.value(0)?, call.value(1)?);
    match value.order(&other) {
        Some(order) => Ok(Value::Bool(accept(order))),
        None => Err(call.error(format_args!(
            "expected two numbers or two texts, found {} and {}",
            value.kind(),
            other.kind()
        ))),
    }
}
