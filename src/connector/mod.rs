//! Power Platform connectors: packages and OpenAPI files are read, checked, turned into TOML, and written from it.

pub mod caller;
mod clash;
pub mod connection;
mod decision;
pub mod definition;
pub mod export;
pub mod folder;
pub mod generate;
pub mod json;
pub mod lint;
mod merge;
pub mod package;
pub mod properties;
pub mod report;
mod security;
pub mod service;
pub mod template;
mod text;
pub mod tree;
pub mod trial;
mod written;
pub mod yaml;
