//! The process's own figures, read from `/proc` when Prometheus asks. Elsewhere than on Linux only the start time exists.
//!
//! Names are those every Prometheus client library uses, so that ready-made dashboards and alerts work:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// The unit of CPU times in `/proc`: `USER_HZ`, which Linux fixes at 100 for programs on every platform Rust runs on
/// but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

/// The collector.
pub(super) struct Process {
    start: Gauge,
    cpu: Counter,
    resident: Gauge,
    open: Gauge,
    max: Gauge,
}

impl Process {
    pub(super) fn new(start: f64) -> Self {
        let gauge = |name, help| Gauge::new(name, help).expect("the name is a literal, and a test builds it");
        let process = Self {
            start: gauge("process_start_time_seconds", "Start of the process, in seconds since 1970."),
            cpu: Counter::new("process_cpu_seconds_total", "CPU time spent, user and system.")
                .expect("the name is a literal, and a test builds it"),
            resident: gauge("process_resident_memory_bytes", "Resident memory."),
            open: gauge("process_open_fds", "Open file descriptors."),
            max: gauge("process_max_fds", "The limit on open file descriptors."),
        };
        process.start.set(start);
        process
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let mut desc = self.start.desc();
        desc.extend(self.cpu.desc());
        for gauge in [&self.resident, &self.open, &self.max] {
            desc.extend(gauge.desc());
        }
        desc
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.start.collect();
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            // A counter cannot be set; the process's time only grows, so the difference is never negative.
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            families.extend(self.cpu.collect());
        }
        let readings = [
            (&self.resident, fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)),
            // The listing holds the descriptor that reads it.
            (&self.open, fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64)),
            (&self.max, fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_descriptors)),
        ];
        for (gauge, value) in readings {
            if let Some(value) = value {
                gauge.set(value);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// Fields 14 and 15 of `/proc/self/stat`. The second field, the command, is in parentheses and may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// `VmRSS` of `/proc/self/status`: in kilobytes whatever the page size, unlike `/proc/self/statm`.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// The soft limit of `/proc/self/limits`.
fn max_descriptors(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_and_nonsense_is_left_out() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 1000 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0), "the command may hold parentheses and spaces");
        assert_eq!(cpu_seconds("42 sluicegate"), None);
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        assert_eq!(
            max_descriptors("Limit  Soft\nMax open files            1024                 4096   files\n"),
            Some(1024.0)
        );
        assert_eq!(max_descriptors("Max open files            unlimited            unlimited   files\n"), None);
    }
}
