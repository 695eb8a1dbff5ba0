//! What the commands make of a key file.

use super::*;

const FILE: &str = r#"# The keys of the partners.

# Contoso pays in advance.
[subscriptions.contoso]   # since 2024
product   = "gold"
metadata  = { team = "erp" }
primary   = { digest = "sha256:aa", last-four = "aaaa", created = "2025-06-01T00:00:00Z", expires = "2025-07-01T00:00:00Z" } # leaks
secondary = { digest = "sha256:bb", last-four = "bbbb", created = "2025-01-01T00:00:00Z" }

[subscriptions."a \"b\""]
keys = ["sha256:CC", "sha256:dd"]

[subscriptions.long]
[subscriptions.long.primary]
digest = "sha256:ee" # written out
created = "2025-01-01T00:00:00Z"

[[subscriptions.long.retiring]]
digest = "sha256:ff"
expires = "2025-12-31T00:00:00Z"

[[subscriptions.long.retiring]]
digest = "sha256:00"
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn entry(digest: &str) -> KeyEntry {
    KeyEntry { digest: format!("sha256:{digest}"), last_four: Some("1234".to_owned()), created: now(), expires: None }
}

/// The lines that are in one text and not in the other: `-` before, `+` after.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}\n"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}\n"));
    gone.chain(new).collect()
}

/// What a change of one subscription changes in the file.
fn change<T>(name: &str, edit: impl FnOnce(&str) -> Result<(String, T), EditError>) -> (String, T) {
    let piece = find(FILE, name).unwrap();
    let (changed, what) = edit(&FILE[piece.clone()]).unwrap();
    let text = format!("{}{changed}{}", &FILE[..piece.start], &FILE[piece.end..]);
    (difference(FILE, &text), what)
}

#[test]
fn a_table_is_found_by_its_name_and_by_a_digest() {
    for (name, want) in [("contoso", true), ("a \"b\"", true), ("long", true), ("b", false), ("primary", false)] {
        assert_eq!(find(FILE, name).is_some(), want, "{name}");
    }
    for (digest, want) in [
        ("sha256:bb", Some("contoso")),
        ("sha256:cc", Some("a \"b\"")),
        ("sha256:ff", Some("long")),
        ("sha256:b", None),
        ("sha256:11", None),
    ] {
        assert_eq!(find_digest(FILE, digest).map(|(name, _)| name).as_deref(), want, "{digest}");
    }
}

#[test]
fn a_subscription_is_added_at_the_end() {
    let new = NewSubscription {
        description: None,
        consumer: Some("fabrikam".to_owned()),
        product: None,
        apis: vec!["orders".to_owned(), "invoices".to_owned()],
        metadata: vec![("team".to_owned(), "a \"b\"".to_owned())],
        created: now(),
        primary: KeyEntry { expires: Some(at("2027-01-01T00:00:00Z")), ..entry("11") },
        secondary: Some(KeyEntry { last_four: None, ..entry("22") }),
    };
    let table = "\n[subscriptions.\"fabrikam & sons\"]\n\
        consumer = \"fabrikam\"\n\
        apis = [\"orders\", \"invoices\"]\n\
        metadata = { team = 'a \"b\"' }\n\
        created = \"2026-01-01T00:00:00Z\"\n\
        primary = { digest = \"sha256:11\", last-four = \"1234\", created = \"2026-01-01T00:00:00Z\", expires = \"2027-01-01T00:00:00Z\" }\n\
        secondary = { digest = \"sha256:22\", created = \"2026-01-01T00:00:00Z\" }\n";
    for (before, head) in [(FILE, FILE), ("", HEAD), ("[subscriptions.x]", "[subscriptions.x]\n")] {
        assert_eq!(add(before, "fabrikam & sons", &new).unwrap(), format!("{head}{table}"));
    }
    assert_eq!(add(FILE, "contoso", &new), Err(EditError::Exists("contoso".to_owned())));
}

#[test]
fn the_key_that_has_ended_or_the_older_one_is_replaced() {
    let day = |days: i64| Some(jiff::SignedDuration::from_hours(24 * days));
    for (name, asked, when, want) in [
        // The primary key has expired; while it had not, the secondary key was the older.
        ("contoso", None, "2026-01-01T00:00:00Z", (Slot::Primary, day(30))),
        ("contoso", None, "2025-06-15T00:00:00Z", (Slot::Secondary, None)),
        ("contoso", Some(Slot::Secondary), "2026-01-01T00:00:00Z", (Slot::Secondary, None)),
        ("long", None, "2026-01-01T00:00:00Z", (Slot::Primary, None)),
        ("long", Some(Slot::Secondary), "2026-01-01T00:00:00Z", (Slot::Secondary, None)),
        ("a \"b\"", None, "2026-01-01T00:00:00Z", (Slot::Primary, None)),
    ] {
        let piece = find(FILE, name).unwrap();
        assert_eq!(rotates(&FILE[piece], name, asked, at(when)), Ok(want), "{name} {asked:?} {when}");
    }
}

#[test]
fn a_replaced_key_ends_now_or_when_its_grace_is_over() {
    let (grace, june) = (at("2026-01-08T00:00:00Z"), at("2025-06-15T00:00:00Z"));
    let rotated =
        |name: &str, slot, now, grace| change(name, |piece| rotate(piece, name, slot, &entry("11"), now, grace));
    let new = r#"{ digest = "sha256:11", last-four = "1234", created = "2026-01-01T00:00:00Z" }"#;
    let old = r#"digest = "sha256:bb", last-four = "bbbb", created = "2025-01-01T00:00:00Z""#;
    let secondary = FILE.lines().find(|line| line.starts_with("secondary")).unwrap();
    let primary = FILE.lines().find(|line| line.starts_with("primary")).unwrap();

    let (text, what) = rotated("contoso", Slot::Secondary, now(), Some(grace));
    assert_eq!(
        text,
        format!(
            "-{secondary}\n+secondary = {new}\n+retiring = [\n+  {{ {old}, expires = \"2026-01-08T00:00:00Z\" }},\n+]\n"
        )
    );
    assert_eq!(what.old, Some(Changed { place: "secondary", last_four: Some("bbbb".to_owned()), until: Some(grace) }));

    let (text, what) = rotated("contoso", Slot::Secondary, now(), None);
    assert!(text.contains(&format!("  {{ {old}, revoked = \"2026-01-01T00:00:00Z\" }},")), "{text}");
    assert_eq!(what.old.unwrap().until, None);

    // The grace does not make a key live longer, and one that has ended is not kept.
    let (text, what) = rotated("contoso", Slot::Primary, june, Some(grace));
    assert!(text.contains(r#"expires = "2025-07-01T00:00:00Z" },"#), "{text}");
    assert_eq!(what.old.unwrap().until, Some(at("2025-07-01T00:00:00Z")));
    let (text, what) = rotated("contoso", Slot::Primary, now(), Some(grace));
    assert_eq!((text, what.old), (format!("-{primary}\n+primary   = {new} # leaks\n"), None));

    // Tables written out, and a list of them, keep their form; what has ended there is dropped.
    let (text, _) = rotated("long", Slot::Secondary, now(), None);
    assert_eq!(text, format!("-digest = \"sha256:ff\"\n-expires = \"2025-12-31T00:00:00Z\"\n+secondary = {new}\n"));
}

#[test]
fn every_key_can_be_revoked() {
    let revoked = |name: &str, which| {
        let (text, changed) = change(name, |piece| revoke(piece, name, which, now()));
        let places: Vec<&str> = changed.iter().map(|one| one.place).collect();
        (text, places)
    };
    let (text, places) = revoked("contoso", Which::All);
    assert_eq!(places, ["primary", "secondary"]);
    assert!(text.contains(r#"expires = "2025-07-01T00:00:00Z", revoked = "2026-01-01T00:00:00Z" } # leaks"#), "{text}");
    assert!(text.contains(
        r#"+secondary = { digest = "sha256:bb", last-four = "bbbb", created = "2025-01-01T00:00:00Z", revoked"#
    ));
    assert_eq!(revoked("contoso", Which::Slot(Slot::Secondary)).1, ["secondary"]);
    assert_eq!(revoked("contoso", Which::Digest("sha256:AA")).1, ["primary"]);
    let (text, places) = revoked("a \"b\"", Which::Digest("sha256:cc"));
    assert_eq!(
        (text.as_str(), &places[..]),
        ("-keys = [\"sha256:CC\", \"sha256:dd\"]\n+keys = [\"sha256:dd\"]\n", &["keys"][..])
    );
    assert_eq!(revoked("a \"b\"", Which::All).1, ["keys", "keys"]);
    let (text, places) = revoked("long", Which::All);
    let line = "+revoked = \"2026-01-01T00:00:00Z\"\n";
    assert_eq!((text, &places[..]), (line.repeat(3), &["primary", "retiring", "retiring"][..]));
    let piece = &FILE[find(FILE, "long").unwrap()];
    let slot = Slot::Secondary;
    assert_eq!(
        revoke(piece, "long", Which::Slot(slot), now()).unwrap_err(),
        EditError::NoKey { name: "long".to_owned(), slot }
    );
    // The second time there is nothing to do.
    let (again, _) = revoke(piece, "long", Which::All, now()).unwrap();
    assert_eq!(revoke(&again, "long", Which::All, now()), Ok((again, Vec::new())));
}

#[test]
fn a_table_with_a_mistake_is_left_alone() {
    let mistaken = Err(EditError::Mistaken("x".to_owned()));
    for piece in ["[subscriptions.x]\nprimary = 1\n", "[subscriptions.x]\nprimary = {\n", "subscriptions.x = 1\n"] {
        assert_eq!(revoke(piece, "x", Which::All, now()), mistaken, "{piece}");
    }
}
