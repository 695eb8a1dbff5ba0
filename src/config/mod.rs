//! TOML as written: files, tables, values and their mistakes. Holds no runtime types.

pub mod codes;
pub mod connections;
pub mod credentials;
pub mod diagnostic;
pub mod folder;
pub mod key_file;
pub mod named;
pub mod read;
pub mod recurrence;
pub mod render;
pub mod source;
pub mod spec;
pub mod statuses;
pub mod value;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use folder::{Document, RawPolicy, ScopeDocument};
pub use recurrence::{Kilobytes, Recurrence};
pub use statuses::StatusRange;
pub use value::{At, Nested, OrExpression, Period, Scalar, Size, Template, Text};
