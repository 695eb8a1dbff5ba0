//! The files in `deploy/`: each parses, names only metrics that exist, and agrees with the gateway on ports and paths.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sluicegate::clock::Clock;
use sluicegate::telemetry::Metrics;

/// Every file under `deploy/`, by its path from there.
fn files() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found);
    found
}

#[track_caller]
fn file(name: &str) -> String {
    files().remove(name).unwrap_or_else(|| panic!("no file deploy/{name}"))
}

#[test]
fn every_file_parses() {
    for (name, text) in files() {
        assert!(text.ends_with('\n'), "{name} ends without a line feed");
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "json" => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{name}: {e}"))),
            "toml" => drop(text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{name}: {e}"))),
            "yaml" | "yml" => check_yaml(&name, &text),
            "service" => check_unit(&name, &text),
            "md" => assert!(text.starts_with("# "), "{name}"),
            _ => assert_eq!(name, "Containerfile", "a kind of file that nothing here checks"),
        }
    }
}

#[test]
fn cargo_deny_is_configured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny: toml::Table = fs::read_to_string(root.join(".deny.toml")).unwrap().parse().unwrap();
    for part in ["advisories", "licenses", "bans", "sources"] {
        assert!(deny.contains_key(part), "{part}");
    }
    assert_eq!(deny["bans"]["wildcards"].as_str(), Some("deny"));
    let lock: toml::Table = fs::read_to_string(root.join("Cargo.lock")).unwrap().parse().unwrap();
    let allowed = deny["sources"]["allow-registry"][0].as_str().unwrap();
    for package in lock["package"].as_array().unwrap() {
        if let Some(source) = package.get("source") {
            assert_eq!(source.as_str().unwrap().strip_prefix("registry+"), Some(allowed), "{}", package["name"]);
        }
    }
}

/// What can be said of YAML without a parser: no tabs, indentation by two, closed quotes, and lines that are a key, an
/// item, a comment or part of a block text.
#[track_caller]
fn check_yaml(name: &str, text: &str) {
    assert!(text.starts_with("# "), "{name} does not say what it is");
    let mut block = None;
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{name}:{number}: {line}");
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if content.is_empty() || block.is_some_and(|outer| indent > outer) {
            continue;
        }
        block = None;
        assert!(!line.contains('\t') && indent % 2 == 0 && line.trim_end() == line, "{place}");
        if content.starts_with('#') || content == "---" {
            continue;
        }
        let entry = content.strip_prefix("- ").unwrap_or(content);
        let is_key = entry.split_once(':').is_some_and(|(_, value)| value.is_empty() || value.starts_with(' '));
        assert!(is_key || entry.len() < content.len(), "{place}");
        assert_eq!(line.matches('"').count() % 2, 0, "{place}");
        if content.ends_with('|') {
            block = Some(indent);
        }
    }
}

#[track_caller]
fn check_unit(name: &str, text: &str) {
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.starts_with('[') && line.ends_with(']') || line.contains('='), "{name}: {line}");
    }
    for part in ["[Unit]", "[Service]", "[Install]"] {
        assert_eq!(text.matches(part).count(), 1, "{name}: {part}");
    }
}

/// Words of `text` that start as a metric's name does.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with("sluicegate_") || word.starts_with("process_"))
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn every_metric_named_exists_and_every_metric_is_shown() {
    let metrics = Metrics::new(&Clock::manual());
    let known: BTreeSet<&str> = metrics.names().iter().map(String::as_str).collect();
    let base = |word: &str| {
        let stripped = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        stripped.filter(|name| known.contains(name)).unwrap_or(word).to_owned()
    };
    for (name, text) in files() {
        for word in metrics_in(&text) {
            assert!(known.contains(base(word).as_str()), "{name} names `{word}`, which is no metric");
        }
    }
    let dashboard = file("grafana/sluicegate.json");
    let shown: BTreeSet<String> = metrics_in(&dashboard).into_iter().map(base).collect();
    for name in known {
        assert!(shown.contains(name) || name == "process_start_time_seconds", "`{name}` is not on the dashboard");
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_for_something() {
    let dashboard: serde_json::Value = serde_json::from_str(&file("grafana/sluicegate.json")).unwrap();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: the id is taken");
        if panel["type"] == "row" {
            continue;
        }
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{title} is off the grid");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let count = |character| query.matches(character).count();
            assert_eq!((count('('), count('{'), count('[')), (count(')'), count('}'), count(']')), "{title}: {query}");
            assert!(!metrics_in(query).is_empty(), "{title}: {query}");
        }
    }
}

#[test]
fn ports_paths_and_the_command_agree() {
    for (name, wanted) in [
        ("Containerfile", &["EXPOSE 8080 9090", "/healthz", r#"CMD ["run", "/etc/sluicegate"]"#, "USER 65532"][..]),
        (
            "sluicegate.service",
            &["/usr/local/bin/sluicegate run /etc/sluicegate", "Type=exec", "kill -HUP", "LimitNOFILE="],
        ),
        (
            "kubernetes/deployment.yaml",
            &[
                "containerPort: 8080",
                "containerPort: 9090",
                "path: /healthz",
                "path: /readyz",
                "path: /metrics",
                r#"args: ["run", "/etc/sluicegate"]"#,
                "mountPath: /etc/sluicegate",
            ],
        ),
        ("compose.yaml", &[r#""8080:8080""#, r#""127.0.0.1:9090:9090""#, ":/etc/sluicegate:ro"]),
        ("prometheus.yml", &["metrics_path: /metrics", "gateway:9090", "prometheus-rules.yml"]),
        ("README.md", &["`/metrics`", "`/healthz`", "`/readyz`", "sluicegate run /etc/sluicegate"]),
    ] {
        let text = file(name);
        for want in wanted {
            assert!(text.contains(want), "deploy/{name} lacks `{want}`");
        }
    }
    let gateway: toml::Table = file("kubernetes/policies/gateway.toml").parse().unwrap();
    assert_eq!(gateway["server"]["listen"].as_str(), Some("0.0.0.0:8080"));
    assert_eq!(gateway["server"]["admin"].as_str(), Some("0.0.0.0:9090"));
}

#[test]
fn kubernetes_resources_and_policies_are_all_listed() {
    let kustomization = file("kubernetes/kustomization.yaml");
    for name in files().keys().filter_map(|name| name.strip_prefix("kubernetes/")) {
        assert!(name == "kustomization.yaml" || kustomization.contains(&format!("- {name}\n")), "{name} is not listed");
    }
    for (name, text) in files().iter().filter(|(name, _)| name.starts_with("kubernetes/") && name.ends_with(".yaml")) {
        for document in text.split("\n---\n") {
            assert!(document.contains("apiVersion: ") && document.contains("\nkind: "), "{name}");
            let selects = document.contains("selector:\n") || name.ends_with("kustomization.yaml");
            assert!(
                selects && (document.contains("app.kubernetes.io/name: sluicegate") || !document.contains("selector")),
                "{name}"
            );
            assert!(!document.contains("namespace: "), "{name}: the namespace is the user's to choose");
        }
    }
}

#[test]
fn the_readme_explains_each_file() {
    let readme = file("README.md");
    for name in files().keys() {
        let top = name.split_once('/').map_or(name.as_str(), |(folder, _)| folder);
        assert!(name == "README.md" || readme.contains(&format!("`{top}")), "{name} is not in deploy/README.md");
    }
}
