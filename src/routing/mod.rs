//! Routing: from host, path, method, query and headers to an API and its operation, in time that does not grow with their number.
//!
//! A request is matched on the host (exact, then `*.suffix`, then any), the longest API base path, the version, and the
//! operation, in this order. See [`Router::route`]. [`normalise`] comes first: everything here works on that one form of
//! the path.

mod builder;
mod host;
mod path;
pub mod query;
mod rewrite;
mod router;
mod template;
mod trie;
mod way_back;

pub use builder::{ApiHandle, BasePath, Build, Builder, Conflict, Overlap, Version, VersionScheme};
pub use host::HostPattern;
pub use path::{PathError, normalise};
pub use rewrite::{ExpandError, Rewrite, Value};
pub use router::{Capture, Match, Miss, Router};
pub use template::{Template, TemplateError};
pub use way_back::{Sent, Way, WayBack};
