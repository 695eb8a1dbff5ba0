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
pub struct Sources(Vec<SourceFile>, Option<FileId>);

impl Sources {
    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let text: Arc<str> = text.into();
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        self.0.push(SourceFile { name: name.into(), text, lines });
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// Adds the key file, which is read in a way of its own.
    pub fn add_keys(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let file = self.add(name, text);
        self.1 = Some(file);
        file
    }

    /// The key file, where there is one.
    pub fn keys(&self) -> Option<FileId> {
        self.1
    }

    /// The file with this id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.0[id.0 as usize]
    }

    /// All files, in the order they were read.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        (0u32..).map(FileId).zip(&self.0)
    }

    /// The place in the file of a stretch of a text value. `span` is the whole value, quotes included; `value` is what it
    /// became. Exact where the text around the stretch stands as written; the whole value where escapes or named values
    /// hide it.
    pub fn inside(&self, file: FileId, span: &Range<usize>, value: &str, stretch: &Range<usize>) -> Range<usize> {
        let raw = self.file(file).text.get(span.clone()).unwrap_or_default();
        let quotes =
            ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes)).unwrap_or_default();
        let inner = raw.get(quotes.len()..raw.len().saturating_sub(quotes.len())).unwrap_or_default();
        // A line break right behind the opening quotes is no part of the text (TOML 1.0, strings).
        let first = if quotes.len() == 3 {
            inner.len() - inner.trim_start_matches('\r').trim_start_matches('\n').len()
        } else {
            0
        };
        let first = if inner.starts_with("\r\n") { 2 } else { first.min(1) };
        let inner = inner.get(first..).unwrap_or_default();
        let text = value.get(stretch.clone()).unwrap_or_default();
        let before = value.get(..stretch.end).filter(|head| inner.starts_with(head)).map(|_| stretch.start);
        let after =
            || value.get(stretch.start..).filter(|tail| inner.ends_with(tail)).map(|tail| inner.len() - tail.len());
        let only = || inner.find(text).filter(|at| !text.is_empty() && inner.rfind(text) == Some(*at));
        match before.or_else(after).or_else(only) {
            Some(at) => {
                let start = span.start + quotes.len() + first + at;
                start..start + text.len().max(1)
            }
            None => span.clone(),
        }
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

    /// Where a line begins, counted from 1.
    pub fn start(&self, line: usize) -> usize {
        self.lines.get(line - 1).copied().unwrap_or(self.text.len())
    }

    /// The text of a line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> &str {
        let start = self.start(line);
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }
}
