//! Arithmetic. Whole numbers stay whole; one number with a fraction makes the result one. Overflow is an error.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{Evaluated, Function};
use crate::expression::evaluate::Call;
use crate::expression::{EvaluationError, MAX_ITEMS, Needs, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("add(number, number)", "The sum.", "add(1, 1.5)", "2.5", |call| {
        arithmetic(call, i64::checked_add, |a, b| a + b)
    }),
    Function::new("div(dividend, divisor)", "The quotient; whole for whole numbers.", "div(11, 5)", "2", |call| {
        not_zero(call)?;
        arithmetic(call, i64::checked_div, |a, b| a / b)
    }),
    Function::new("max(number…)", "The highest of numbers, or of an array of numbers.", "max(1, 2, 3)", "3", |call| {
        best(call, Ordering::Greater)
    }),
    Function::new(
        "min(number…)",
        "The lowest of numbers, or of an array of numbers.",
        "min(createArray(1, 2, 3))",
        "1",
        |call| best(call, Ordering::Less),
    ),
    Function::new(
        "mod(dividend, divisor)",
        "The remainder, with the sign of the dividend.",
        "mod(3, 2)",
        "1",
        |call| {
            not_zero(call)?;
            arithmetic(call, i64::checked_rem, |a, b| a % b)
        },
    ),
    Function::new("mul(number, number)", "The product.", "mul(1.5, 2)", "3.0", |call| {
        arithmetic(call, i64::checked_mul, |a, b| a * b)
    }),
    Function::new(
        "rand(from, below)",
        "A random whole number from one up to, not including, another.",
        "rand(5, 6)",
        "5",
        |call| {
            let (from, below) = (call.integer(0)?, call.integer(1)?);
            let width = u64::try_from(i128::from(below) - i128::from(from)).unwrap_or(0);
            if width == 0 {
                return Err(call.error("the first number must be lower than the second"));
            }
            // Lemire's multiply-shift: the bias is below width / 2^64.
            let offset = (u128::from(call.facts.random()) * u128::from(width)) >> 64;
            let number = i128::from(from) + i128::try_from(offset).unwrap_or(0);
            Ok(Value::Int(i64::try_from(number).unwrap_or(from)))
        },
    )
    .reads(Needs::NONE),
    Function::new(
        "range(start, count)",
        "An array of whole numbers that follow each other.",
        "range(1, 4)",
        "[1,2,3,4]",
        |call| {
            let (start, count) = (call.integer(0)?, call.count(1)?);
            if count > MAX_ITEMS {
                return Err(super::collection::too_many(call));
            }
            let numbers = (0..).zip(0..count).map(|(step, _): (i64, usize)| start.checked_add(step).map(Json::from));
            numbers.collect::<Option<_>>().map(super::collection::array).ok_or_else(|| overflow(call))
        },
    )
    .structured(),
    Function::new("sub(minuend, subtrahend)", "The difference.", "sub(10, 3)", "7", |call| {
        arithmetic(call, i64::checked_sub, |a, b| a - b)
    }),
];

fn overflow(call: &Call<'_>) -> EvaluationError {
    call.error("the result is too large")
}

fn number<'a>(call: &Call<'a>, index: usize) -> Result<(Value<'a>, f64), EvaluationError> {
    let value = call.value(index)?;
    match value.as_float() {
        Some(float) => Ok((value, float)),
        None => Err(call.mismatch(index, "a number", &value)),
    }
}

fn not_zero(call: &Call<'_>) -> Result<(), EvaluationError> {
    match number(call, 1)? {
        (_, 0.0) => Err(call.error("cannot divide by zero")),
        _ => Ok(()),
    }
}

fn arithmetic<'a>(call: &Call<'a>, whole: fn(i64, i64) -> Option<i64>, fraction: fn(f64, f64) -> f64) -> Evaluated<'a> {
    let result = match (number(call, 0)?, number(call, 1)?) {
        ((Value::Int(a), _), (Value::Int(b), _)) => whole(a, b).map(Value::Int),
        ((_, a), (_, b)) => Some(fraction(a, b)).filter(|result| result.is_finite()).map(Value::Float),
    };
    result.ok_or_else(|| overflow(call))
}

fn best<'a>(call: &Call<'a>, wanted: Ordering) -> Evaluated<'a> {
    let mut best: Option<Value<'a>> = None;
    let mut consider = |value: Value<'a>| match value.as_float() {
        Some(_) => {
            if best.as_ref().is_none_or(|best| value.order(best) == Some(wanted)) {
                best = Some(value);
            }
            Ok(())
        }
        None => Err(call.error(format_args!("expected numbers, found {}", value.kind()))),
    };
    for index in 0..call.arguments.len() {
        match call.value(index)? {
            Value::Json(json) if json.is_array() => {
                for item in json.as_array().into_iter().flatten() {
                    consider(Value::from_json(item).into_static())?;
                }
            }
            value => consider(value)?,
        }
    }
    best.ok_or_else(|| call.error("the array is empty"))
}
