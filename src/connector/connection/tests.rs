//! What is offered for what is asked.

use super::*;

fn parameter(name: &str, kind: Kind, required: bool) -> Parameter {
    Parameter { name: name.to_owned(), kind, required, ..Parameter::default() }
}

fn given(values: &[(&str, GivenValue)]) -> Given {
    Given { set: None, values: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
}

fn text_value(value: &str) -> GivenValue {
    GivenValue::Text(value.to_owned())
}

/// An offer as it would be without its comment marks.
#[track_caller]
fn tables(offer: &Offer) -> toml::Table {
    let live = |line: &str| match offer.missing.is_empty() {
        true => line.to_owned(),
        false => line.strip_prefix("# ").unwrap_or_default().to_owned(),
    };
    // The first line is for people, whatever is missing.
    let lines: Vec<String> = offer.tables.lines().skip(2).map(live).collect();
    lines.join("\n").parse().unwrap_or_else(|error| panic!("{error}\n{}", offer.tables))
}

#[test]
fn a_connection_waits_for_what_it_needs() {
    let asked = Asked {
        parameters: vec![
            parameter("api_key", Kind::Secret, true),
            parameter("token:customHost", Kind::Text, true),
            parameter("gateway", Kind::Gateway, true),
            Parameter { default: Some("eu".into()), ..parameter("Region", Kind::Text, true) },
        ],
        sets: Vec::new(),
    };
    let waiting = offer("erp", &asked, &Given::default()).unwrap();
    assert_eq!(waiting.missing, "`api_key`, `token:customHost`");
    assert!(waiting.tables.trim().lines().all(|line| line.starts_with('#')), "{}", waiting.tables);
    let table = tables(&waiting);
    assert_eq!(table["connections"]["erp"]["parameters"]["api_key"].as_str(), Some("{{erp-api-key}}"));
    assert_eq!(table["named-values"]["erp-api-key"]["env"].as_str(), Some("ERP_API_KEY"));
    let key = ("api_key", GivenValue::File("secrets/key".into()));
    let ready = offer("erp", &asked, &given(&[key.clone(), ("TOKEN:CustomHost", text_value("h.example"))])).unwrap();
    assert_eq!(ready.missing, "");
    let table = tables(&ready);
    assert_eq!(table["connections"]["erp"]["api"].as_str(), Some("erp"));
    assert_eq!(table["connections"]["erp"]["parameters"]["token:customHost"].as_str(), Some("h.example"));
    assert_eq!(table["named-values"]["erp-api-key"]["file"].as_str(), Some("secrets/key"));
    for (name, values, want) in [
        ("not all", vec![key], "the connection lacks `token:customHost`"),
        (
            "unknown",
            vec![("regin", text_value("x"))],
            "no connection parameter is called `regin`; there are `api_key`, `token:customHost`, `gateway`, `Region`",
        ),
        (
            "in plain sight",
            vec![("api_key", text_value("hush"))],
            "`api_key` is secret: `--parameter api_key=env:VARIABLE` or `--parameter api_key=file:PATH`",
        ),
        (
            "no token",
            vec![("Region", GivenValue::PassThrough)],
            "`Region` is no token, and only a token can be the caller's own",
        ),
    ] {
        assert_eq!(offer("erp", &asked, &given(&values)).unwrap_err(), want, "{name}");
    }
}

#[test]
fn a_connection_that_needs_nothing_is_in_force() {
    let asked = Asked { parameters: vec![parameter("region", Kind::Text, false)], sets: Vec::new() };
    let ready = offer("erp", &asked, &Given::default()).unwrap();
    assert_eq!(ready.missing, "");
    assert!(tables(&ready)["connections"]["erp"]["parameters"].as_table().unwrap().is_empty());
}

#[test]
fn each_set_is_offered() {
    let sets = vec![
        ("basic auth".to_owned(), vec![parameter("password", Kind::Secret, true)]),
        ("oauth".to_owned(), vec![parameter("token", Kind::Token, true)]),
    ];
    let asked = Asked { parameters: Vec::new(), sets };
    let waiting = offer("erp", &asked, &Given::default()).unwrap();
    assert_eq!(waiting.missing, "a parameter set");
    let table = tables(&Offer { tables: waiting.tables.replace("# or\n", "# \n"), ..waiting });
    assert_eq!(table["connections"]["erp-basic-auth"]["set"].as_str(), Some("basic auth"));
    assert_eq!(table["connections"]["erp-oauth"]["set"].as_str(), Some("oauth"));
    let own = Given { set: Some("oauth".into()), ..given(&[("token", GivenValue::PassThrough)]) };
    let table = tables(&offer("erp", &asked, &own).unwrap());
    assert_eq!(table["connections"]["erp"]["pass-through"].as_bool(), Some(true));
    let unknown = Given { set: Some("cert".into()), values: Vec::new() };
    let error = offer("erp", &asked, &unknown).unwrap_err();
    assert_eq!(error, "no parameter set is called `cert`; there are `basic auth`, `oauth`");
}
