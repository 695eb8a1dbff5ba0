//! A limit that holds as many keys as it may: what the caller, the metrics and both logs are told.

use crate::support::{Client, Folder, Gateway};

const CONFIGURATION: &str = r#"
[[inbound]]
policy   = "rate-limit"
id       = "rate"
calls    = 10
period   = "1h"
key      = "@headers('x-rate')"
max-keys = 1
on-missing-key = "skip"

[[inbound]]
policy      = "rate-limit"
id          = "open"
calls       = 1
period      = "1h"
key         = "@headers('x-open')"
max-keys    = 1
on-overflow = "admit"
on-missing-key = "skip"

[[inbound]]
policy   = "quota-by-key"
id       = "quota"
calls    = 10
period   = "1d"
window   = "first-call"
key      = "@headers('x-quota')"
max-keys = 1
on-missing-key = "skip"
"#;

#[test]
fn a_limit_that_is_full_says_so() {
    let folder = Folder::sample(CONFIGURATION);
    let gateway = Gateway::run(folder.path());
    let mut client = Client::new(gateway.address);
    let mut get = |key: &str, value: &str| {
        let fields = format!("{key}: secret-{value}\r\n");
        client.request("GET", "/sample/invoices", &fields).unwrap()
    };
    for (key, status) in [("x-rate", 429), ("x-open", 200), ("x-quota", 403)] {
        assert_eq!(get(key, "a").status, 200, "{key}");
        for _ in 0..2 {
            let answer = get(key, "b");
            assert_eq!(answer.status, status, "{key}");
            let wait = answer.field("retry-after").map(|wait| wait.parse::<u64>().unwrap());
            assert_eq!(wait.is_some_and(|wait| wait > 3_000), status != 200, "{key}: until the first can be let go");
        }
    }
    for policy in ["rate", "open", "quota"] {
        let counted = |decision: &str| {
            gateway.metric(&format!(
                "sluicegate_limit_decisions_total{{decision=\"{decision}\",policy=\"global#{policy}\"}}"
            ))
        };
        assert_eq!((counted("admitted"), counted("overflow")), (Some(1.0), Some(2.0)), "{policy}");
        assert_eq!(counted("refused"), Some(0.0), "{policy}");
        let log = gateway.stderr();
        let lines =
            log.lines().filter(|line| line.contains("as many keys as `max-keys` allows") && line.contains(policy));
        assert_eq!(lines.count(), 1, "{policy}, once a minute: {log}");
    }
    let refused: Vec<String> =
        gateway.access_log(9).iter().filter(|line| line["status"] != 200).map(ToString::to_string).collect();
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert!(refused.iter().all(|line| line.contains("holds as many keys as it may")), "{refused:?}");
    assert!(!gateway.stderr().contains("secret-") && !gateway.stdout().contains("secret-"), "keys are told to nobody");
}
