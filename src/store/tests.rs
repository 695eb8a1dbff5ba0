//! Tests of the store: restarts, failing disks, damaged files.
