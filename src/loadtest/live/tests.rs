//! A live test against a server that counts.
