//! The text of a key as a table keeps it.

/// What fits beside a state without memory of its own: names, GUIDs, addresses.
const SHORT: usize = 38;

/// A key's bytes. Short ones lie in the table itself, so that among very many keys one is found with one look at memory less.
#[derive(Clone)]
pub(super) enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short { length, bytes }
            }
            _ => Self::Long(key.into()),
        }
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_was_made_of() {
        assert_eq!(size_of::<Key>(), 40);
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 257] {
            let text = "k".repeat(length);
            let key = Key::from(text.as_bytes());
            assert_eq!(*key, *text.as_bytes());
            assert_eq!(matches!(key, Key::Short { .. }), length <= SHORT);
        }
    }
}
