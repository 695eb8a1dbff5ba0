//! Content types as definitions have them: `application/json`, `image/*`, `*/*`.

/// A content type or a range of them, without parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange(Box<str>);

impl MediaRange {
    /// Reads one; parameters such as `charset` are left out.
    pub fn parse(text: &str) -> Option<Self> {
        let essence = essence(text);
        essence.contains('/').then(|| Self(essence.into()))
    }

    /// As it is written, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a content type is in it. It comes from [`essence`].
    pub fn takes(&self, media_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some("*/") => true,
            Some(prefix) => media_type.starts_with(prefix),
            None => *self.0 == *media_type,
        }
    }

    /// How much it says: more for one type than for a range.
    pub fn weight(&self) -> u8 {
        match self.0.strip_suffix('*') {
            Some("*/") => 0,
            Some(_) => 1,
            None => 2,
        }
    }

    /// Whether it is JSON, or a range that JSON is in.
    pub fn is_json(&self) -> bool {
        is_json(&self.0) || self.takes("application/json")
    }
}

/// A content type without its parameters, in small letters (RFC 9110 §8.3.1).
pub fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a content type is JSON (RFC 6839 §3.1).
pub fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json") || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_take_types() {
        for (range, media_type, want) in [
            ("application/json; charset=utf-8", "application/json", true),
            ("application/json", "application/hal+json", false),
            ("application/*", "application/xml", true),
            ("application/*", "text/xml", false),
            ("*/*", "text/xml", true),
        ] {
            assert_eq!(MediaRange::parse(range).unwrap().takes(media_type), want, "{range} {media_type}");
        }
        assert!(MediaRange::parse("json").is_none());
        assert!(is_json("application/problem+json") && !is_json("application/xml"));
    }
}
