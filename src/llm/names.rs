//! Where in a JSON document a reader is, as far as it matters for tokens.

/// The names that mean something in requests or answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Name {
    /// One that means nothing here.
    #[default]
    None,
    /// No name, but the items of an array.
    Item,
    // What holds the usage, and its numbers.
    Usage,
    Response,
    Message,
    Input,
    Output,
    Total,
    Cache,
    Thoughts,
    ToolUse,
    // What holds texts.
    Root,
    Tools,
    Text,
    Image,
    Data,
}

/// The deepest place that is told apart. Nothing that matters stands deeper.
const DEEPEST: usize = 12;

/// The names on the way to the value that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    names: [Name; DEEPEST],
    depth: usize,
}

impl Way {
    /// Begins again.
    pub(super) fn reset(&mut self) {
        self.depth = 0;
    }

    pub(super) fn enter(&mut self, array: bool) {
        if let Some(place) = self.names.get_mut(self.depth) {
            *place = if array { Name::Item } else { Name::None };
        }
        self.depth += 1;
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn name(&mut self, name: Name) {
        if let Some(place) = self.depth.checked_sub(1).and_then(|depth| self.names.get_mut(depth)) {
            *place = name;
        }
    }

    /// The names from the outermost object on; the innermost are left out where it is too deep.
    pub(super) fn names(&self) -> &[Name] {
        let names = &self.names[..self.depth.min(DEEPEST)];
        // A stream may come as an array of answers.
        names.strip_prefix(&[Name::Item]).unwrap_or(names)
    }

}
