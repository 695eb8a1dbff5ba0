//! The process's own log: what the gateway does besides answering requests, on standard error.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How lines of a log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object for each line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProcessLogError {
    /// The level is not one of `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,hyper=debug`.
    #[error("`{level}` is not a log level")]
    Level {
        /// What was given.
        level: String,
        /// What the parser says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A log was set up before.
    #[error("the log is already set up")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends the process's log to standard error, in colour on a terminal. Once in a process.
pub fn init(format: Format, level: &str) -> Result<(), ProcessLogError> {
    let subscriber = subscriber(format, level, std::io::stderr().is_terminal(), std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| ProcessLogError::Twice(error.into()))
}

/// The log as a value, for tests and for embedding.
pub fn subscriber<W>(
    format: Format,
    level: &str,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ProcessLogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(level).map_err(|source| ProcessLogError::Level { level: level.to_owned(), source })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour).with_target(true);
    Ok(match format {
        Format::Human => Box::new(builder.finish()),
        Format::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

fn filter(level: &str) -> Result<EnvFilter, Box<dyn std::error::Error + Send + Sync>> {
    // To the filter a lone word that is no level is a target, all of whose events are shown: `wran` would silence the log.
    for directive in level.split(',').filter(|directive| !directive.contains(['=', '['])) {
        if directive.trim().is_empty() {
            return Err("a level is missing".into());
        }
        directive.trim().parse::<LevelFilter>()?;
    }
    Ok(EnvFilter::builder().parse(level)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: &str) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(format, level, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(folder = "policies", "configuration loaded");
            tracing::debug!("detail");
        });
        String::from_utf8(captured.0.lock().clone()).unwrap()
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        struct Case {
            level: &'static str,
            want: usize,
        }
        for Case { level, want } in [
            Case { level: "warn", want: 0 },
            Case { level: "info", want: 1 },
            Case { level: "debug", want: 2 },
            Case { level: "warn,sluicegate=info", want: 1 },
        ] {
            assert_eq!(logged(Format::Human, level).lines().count(), want, "{level}");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let line: serde_json::Value = serde_json::from_str(logged(Format::Json, "info").trim()).unwrap();
        assert_eq!(line["message"], "configuration loaded");
        assert_eq!(line["folder"], "policies");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_bad_level_is_an_error() {
        for level in ["wran", "", "info,hyper", "sluicegate=loud"] {
            let error = subscriber(Format::Human, level, false, std::io::stderr).err();
            assert_eq!(error.map(|error| error.to_string()), Some(format!("`{level}` is not a log level")));
        }
    }
}
