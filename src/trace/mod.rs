//! A trace of every step: what each policy did to a request, what the backend was really sent, and what came back.
//!
//! Off unless `[server] traces` or `--trace` says how many exchanges are kept. What is on is decided while a configuration is
//! compiled: only then are its steps [wrapped](wrap), so that a gateway without traces runs none of this.
//!
//! * A [`Recorder`] belongs to one exchange and notes what happens while it runs. Each step is looked at before and after, and what
//!   is kept is the difference.
//! * When the last byte of the answer is out, the notes become a [`Trace`]: secrets are taken out of all its texts, once and
//!   before anybody can see it.
//! * [`Traces`] keeps the last of them, bounded in number and in bytes.
//!
//! A body that the caller gets is never read for a trace's sake. What is in memory is shown; of what streams, the first bytes are copied
//! while they pass. Of an answer that goes no further, because the request is sent again or an error takes its place, the beginning
//! is [read](look_at).

mod asked;
mod body;
mod change;
mod exchange;
mod html;
mod json;
mod mask;
mod model;
mod places;
mod recorder;
mod ring;
mod step;
mod text;

pub(crate) use self::body::look_at;
pub use self::html::{list as html_list, page as html_page};
pub use self::json::{list as json_list, trace as json};
pub use self::mask::Secrets;
pub use self::model::{Note, Trace};
pub(crate) use self::recorder::Calling;
pub use self::recorder::Recorder;
pub use self::ring::{DEFAULT_KEPT, MOST_KEPT, Traces};
pub use self::step::wrap;
pub use self::text::{list as text_list, trace as text};

use std::sync::Arc;

use crate::telemetry::Redactor;

/// The policy that writes into traces.
pub const POLICY: &str = "trace";

/// How one configuration is traced.
#[derive(Debug)]
pub struct Tracing {
    /// Where traces are kept.
    pub(crate) traces: Arc<Traces>,
    /// How many are kept.
    pub(crate) keep: usize,
    /// What is a secret by its name.
    pub(crate) redactor: Redactor,
    /// The secrets of the configuration.
    pub(crate) secrets: Secrets,
}

impl Tracing {
    /// Keeps so many traces, without these secrets.
    pub fn new(traces: Arc<Traces>, keep: usize, redactor: Redactor, secrets: Secrets) -> Self {
        Self { traces, keep, redactor, secrets }
    }

    /// Where traces are kept.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// How many are kept.
    pub fn keep(&self) -> usize {
        self.keep
    }
}
