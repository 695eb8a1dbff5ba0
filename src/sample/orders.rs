//! `/v1/orders`: a list with pages, and orders that can be made, changed and deleted.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::reply::{Reply, page, read_object};

/// Orders that exist at the start: three pages of the default size, the last one not full.
const SEEDED: u64 = 57;
/// The id of the first one.
const FIRST_ID: u64 = 1_001;
/// Orders at one time.
const MAX_ORDERS: usize = 10_000;
/// The longest order, as JSON, in bytes.
const MAX_ORDER: usize = 16 * 1024;

/// Names that recur in the sample data.
pub(super) const CUSTOMERS: [&str; 5] = ["Contoso", "Fabrikam", "Northwind", "Adventure Works", "Tailspin"];
const STATES: [&str; 4] = ["open", "packed", "shipped", "cancelled"];

/// All orders by id.
pub(super) struct Orders {
    orders: BTreeMap<u64, Map<String, Value>>,
    next_id: u64,
}

impl Default for Orders {
    fn default() -> Self {
        let orders = (0..SEEDED).map(|n| (FIRST_ID + n, seeded(n))).collect();
        Self { orders, next_id: FIRST_ID + SEEDED }
    }
}

fn seeded(n: u64) -> Map<String, Value> {
    let place = usize::try_from(n).unwrap_or_default();
    let order = json!({
        "id": FIRST_ID + n,
        "customer": CUSTOMERS[place % CUSTOMERS.len()],
        "status": STATES[place % STATES.len()],
        "currency": "EUR",
        "total": (n * 37 % 500) as f64 + 0.5,
        "createdAt": format!("2026-01-{:02}T{:02}:00:00Z", n % 28 + 1, n % 24),
    });
    match order {
        Value::Object(order) => order,
        _ => Map::new(),
    }
}

/// Answers a request; `rest` is the path after `/v1/orders`.
pub(super) async fn answer(
    orders: &Mutex<Orders>,
    method: &Method,
    rest: &[&str],
    head: &Parts,
    body: Incoming,
) -> Reply {
    let answered = match rest {
        [] => match *method {
            Method::GET => list(orders, head),
            Method::POST => match read_object(body).await {
                Ok(order) => orders.lock().create(order),
                Err(reply) => Err(reply),
            },
            _ => Err(Reply::not_allowed("GET, HEAD, POST")),
        },
        [id] => match (id.parse(), method) {
            (Err(_), _) => Err(Reply::not_found("there is no such order")),
            (Ok(id), &Method::GET) => orders.lock().read(id),
            (Ok(id), &Method::DELETE) => orders.lock().delete(id),
            (Ok(id), &Method::PATCH) => match read_object(body).await {
                Ok(changes) => orders.lock().change(id, changes),
                Err(reply) => Err(reply),
            },
            _ => Err(Reply::not_allowed("GET, HEAD, PATCH, DELETE")),
        },
        _ => Err(Reply::not_found("there is nothing at this path")),
    };
    answered.unwrap_or_else(|reply| reply)
}

fn list(orders: &Mutex<Orders>, head: &Parts) -> Result<Reply, Reply> {
    let orders = &orders.lock().orders;
    page(head, orders.len(), |range| {
        orders.values().skip(range.start).take(range.len()).cloned().map(Value::Object).collect()
    })
}

/// An order as an answer; an error when it is too long to be kept.
fn shown(status: StatusCode, order: &Map<String, Value>) -> Result<Reply, Reply> {
    let order = Value::Object(order.clone());
    if order.to_string().len() > MAX_ORDER {
        let message = "an order is at most 16 KiB of JSON";
        return Err(Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message));
    }
    Ok(Reply::json(status, &order))
}

impl Orders {
    fn read(&self, id: u64) -> Result<Reply, Reply> {
        let order = self.orders.get(&id).ok_or_else(|| Reply::not_found("there is no such order"))?;
        shown(StatusCode::OK, order)
    }

    fn create(&mut self, order: Map<String, Value>) -> Result<Reply, Reply> {
        if !order.get("customer").is_some_and(Value::is_string) {
            return Err(Reply::bad_request("`customer` is missing or not a text"));
        }
        if self.orders.len() >= MAX_ORDERS {
            let message = "the sample backend holds no more than 10,000 orders";
            return Err(Reply::error(StatusCode::INSUFFICIENT_STORAGE, "Full", message));
        }
        let id = self.next_id;
        let mut made = Map::new();
        made.insert("id".to_owned(), Value::from(id));
        made.insert("status".to_owned(), Value::from("open"));
        made.extend(order.into_iter().filter(|(key, _)| key != "id"));
        let reply = shown(StatusCode::CREATED, &made)?;
        let location = HeaderValue::try_from(format!("/v1/orders/{id}"))
            .map_err(|_| Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Location", "the location is not a header"))?;
        self.orders.insert(id, made);
        self.next_id += 1;
        Ok(reply.header(header::LOCATION, location))
    }

    /// Merges as RFC 7396 (JSON Merge Patch) says, on the top level: null removes. The id stays.
    fn change(&mut self, id: u64, changes: Map<String, Value>) -> Result<Reply, Reply> {
        let order = self.orders.get_mut(&id).ok_or_else(|| Reply::not_found("there is no such order"))?;
        let mut changed = order.clone();
        for (key, value) in changes {
            match (key.as_str(), value) {
                ("id", _) => {}
                (_, Value::Null) => drop(changed.shift_remove(&key)),
                (_, value) => drop(changed.insert(key, value)),
            }
        }
        let reply = shown(StatusCode::OK, &changed)?;
        *order = changed;
        Ok(reply)
    }

    fn delete(&mut self, id: u64) -> Result<Reply, Reply> {
        self.orders.remove(&id).map(|_| Reply::no_content()).ok_or_else(|| Reply::not_found("there is no such order"))
    }
}
