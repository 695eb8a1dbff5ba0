//! An exported connector at work: a second gateway imports it, as the platform does, and calls the API through the first one.

use std::path::Path;

use sluicegate::config::folder::read_folder;
use sluicegate::connector::connection::{Given, GivenValue};
use sluicegate::connector::export::{Address, export};
use sluicegate::connector::folder::Folder;
use sluicegate::connector::package;

use super::support::backend::Backend;
use super::support::gateway::Gateway;
use super::support::wire::Message;

/// The key is `subscription-key`.
const GATEWAY: &str = r#"
[products.gold]
apis = ["orders"]

[subscriptions.flows]
product = "gold"
keys    = ["sha256:45d4526772e48d88cb22e7ff3a647b3971d22e8bb390198bb2845849882a29a8"]

[[fragments.functions.policies]]
policy = "check-header"
name   = "x-functions-key"
values = ["function-key"]
"#;

const ORDERS: &str = r#"
[api]
name       = "orders"
path       = "/shop/orders"
backend    = "erp"
key-header = "x-sub"

[[inbound]]
policy   = "include-fragment"
fragment = "functions"

[[operation]]
name  = "GetOrder"
match = "GET /{id}?kind=open"
"#;

fn serve(folder: &Path) -> Gateway {
    let started = Gateway::start(read_folder(folder).unwrap(), Some(folder));
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

fn get(gateway: &Gateway, target: &str) -> String {
    let request = Message { first_line: format!("GET {target}"), ..Message::default() };
    gateway.send(&request).unwrap().first_line
}

#[test]
fn connections_show_what_the_gateway_asks_for() {
    let backend = Backend::start();
    let first = tempfile::tempdir().unwrap();
    let erp = format!("[backends.erp]\nurl = \"http://{}\"\n", backend.address);
    std::fs::write(first.path().join("gateway.toml"), erp + GATEWAY).unwrap();
    std::fs::write(first.path().join("orders.toml"), ORDERS).unwrap();
    let gateway = serve(first.path());
    assert_eq!(get(&gateway, "/shop/orders/7?kind=open"), "HTTP/1.1 401 Access Denied", "it asks for keys");

    let address = Address::parse(&format!("http://{}", gateway.address)).unwrap();
    let package = tempfile::tempdir().unwrap();
    let place = package.path().join("orders");
    export(first.path(), "orders", &address).unwrap().write("orders", &place, false).unwrap();

    let second = tempfile::tempdir().unwrap();
    let secrets = [("api_key", "subscription-key"), ("api_key_2", "function-key")];
    let values = secrets.map(|(name, secret)| {
        let path = package.path().join(format!("{name}.txt"));
        std::fs::write(&path, secret).unwrap();
        (name.to_owned(), GivenValue::File(super::text(&path)))
    });
    let given = Given { values: values.to_vec(), ..Given::default() };
    let mut folder = Folder::open(second.path()).unwrap();
    folder.import(&package::find(&place).unwrap()[0], &given).unwrap();
    folder.finish().unwrap();
    let platform = serve(second.path());

    // What tells the operation in the query is no parameter of the maker's, and is sent all the same.
    assert_eq!(get(&platform, "/orders/7"), "HTTP/1.1 200 OK");
    let received = backend.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].first_line, "GET /7?kind=open HTTP/1.1");
}
