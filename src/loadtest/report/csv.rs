//! Admitted against configured over time, as comma-separated values (RFC 4180): one row for each stretch of each series.

use std::fmt::Write as _;

use crate::loadtest::analysis::{Point, Report};

/// The table. Series are `total` (the main traffic), `ladder` and `key` with the key's number.
pub fn render(report: &Report) -> String {
    let mut out = String::from("series,key,from_seconds,seconds,offered,admitted,refused,unknown,allowed\r\n");
    let timeline = &report.timeline;
    let mut series = |name: &str, key: Option<u32>, points: &[Point], allowed: Option<f64>| {
        for point in points {
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            let allowed = allowed.map(|allowed| format!("{allowed:.3}")).unwrap_or_default();
            let Point { at, offered, admitted, refused, unknown } = point;
            let _ = write!(
                out,
                "{name},{key},{at:.3},{:.3},{offered},{admitted},{refused},{unknown},{allowed}\r\n",
                timeline.step
            );
        }
    };
    series("total", None, &timeline.total, timeline.allowed);
    series("ladder", None, &timeline.ladder, timeline.allowed_of_key);
    for (key, points) in &timeline.busiest {
        series("key", Some(*key), points, timeline.allowed_of_key);
    }
    out
}
