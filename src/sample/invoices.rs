//! `/v1/invoices`: a read-only list with pages, its invoices and their lines.

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use super::orders::CUSTOMERS;
use super::reply::{Reply, page};

const INVOICES: u64 = 24;
const PRODUCTS: [&str; 4] = ["bicycle", "helmet", "pump", "lamp"];

/// Answers a request; `rest` is the path after `/v1/invoices`.
pub(super) fn answer(method: &Method, rest: &[&str], head: &Parts) -> Reply {
    if method != Method::GET {
        return Reply::not_allowed("GET, HEAD");
    }
    match rest {
        [] => page(head, INVOICES as usize, |range| range.map(|place| invoice(place as u64 + 1)).collect())
            .unwrap_or_else(|reply| reply),
        [id] => number(id).map_or_else(missing, |n| Reply::ok(&invoice(n))),
        [id, "lines"] => number(id).map_or_else(missing, |n| Reply::ok(&json!({ "value": lines(n) }))),
        _ => Reply::not_found("there is nothing at this path"),
    }
}

fn missing() -> Reply {
    Reply::not_found("there is no such invoice")
}

/// `INV-0007` → 7, when there is such an invoice.
fn number(id: &str) -> Option<u64> {
    let n = id.strip_prefix("INV-").filter(|digits| digits.len() == 4)?.parse().ok()?;
    (1..=INVOICES).contains(&n).then_some(n)
}

fn invoice(n: u64) -> Value {
    let place = usize::try_from(n).unwrap_or_default();
    json!({
        "id": format!("INV-{n:04}"),
        "orderId": 1_000 + n,
        "customer": CUSTOMERS[(place - 1) % CUSTOMERS.len()],
        "issuedOn": format!("2026-02-{:02}", n),
        "paid": n.is_multiple_of(3),
        "currency": "EUR",
        "total": (1..=line_count(n)).map(|line| amount(n, line)).sum::<u64>(),
    })
}

fn line_count(n: u64) -> u64 {
    n % 4 + 1
}

fn amount(n: u64, line: u64) -> u64 {
    (n + line) % 5 * 10 + 10
}

fn lines(n: u64) -> Vec<Value> {
    (1..=line_count(n))
        .zip(PRODUCTS)
        .map(|(line, product)| json!({ "line": line, "product": product, "amount": amount(n, line) }))
        .collect()
}
