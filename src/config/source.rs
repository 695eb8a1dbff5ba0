//! The files of a configuration, kept in memory so that every message can show the line it speaks of.

use std::ops::Range;
use std::sync::Arc;

/// One file of the configuration folder.
#[derive(Debug)]
pub struct SourceFile {
    /// The name relative to the folder (`orders.toml`).
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

/// A file, by its place in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A stretch of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: FileId,
    /// The bytes.
    pub span: Range<usize>,
}

/// All files of one configuration.
#[derive(Debug, Default)]
pub struct Sources(Vec<SourceFile>);

impl Sources {
    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let text: Arc<str> = text.into();
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        self.0.push(SourceFile { name: name.into(), text, lines });
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file with this id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.0[id.0 as usize]
    }

    /// All files, in the order they were read.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        (0u32..).map(FileId).zip(&self.0)
    }

    /// `file:line` of a location, for logs and traces.
    pub fn place(&self, location: &Location) -> String {
        let file = self.file(location.file);
        format!("{}:{}", file.name, file.position(location.span.start).0)
    }
}

impl SourceFile {
    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines[line - 1];
        (line, self.text.get(start..byte).map_or(0, |text| text.chars().count()) + 1)
    }

    /// The text of a line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> &str {
        let start = self.lines.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }
}
