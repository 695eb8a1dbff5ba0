//! Names as the platform takes them.

/// What a title may have.
const MAX_TITLE: usize = 30;
/// What a summary may have.
const MAX_SUMMARY: usize = 80;
/// Words that the name of a connector cannot hold, in lower case; see
/// [certification](https://learn.microsoft.com/connectors/custom-connectors/certification-submission#give-your-connector-a-title).
const RESERVED: [&str; 8] =
    ["power apps", "power automate", "power platform", "power bi", "copilot studio", "powerapps", "connector", "api"];
/// The end of a name that only packages of a programme of Microsoft's have.
const PROGRAMME: &str = "(Independent Publisher)";

/// An `operationId` of letters, digits, `-`, `_` and `.`.
pub(super) fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// A title that the platform takes: without reserved words, ended by a letter or a digit, and short. Empty when nothing is left.
pub(super) fn title(text: &str) -> String {
    let text = text.trim().trim_end_matches(PROGRAMME);
    // Brackets go wherever something else is changed, for what stands between them may be left over.
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    for reserved in RESERVED {
        let parts: Vec<&str> = reserved.split(' ').collect();
        while let Some(at) = words
            .windows(parts.len())
            .position(|found| found.iter().zip(&parts).all(|(word, part)| bare(word) == *part))
        {
            words.drain(at..at + parts.len());
        }
    }
    let whole = words.join(" ");
    let fits = |text: &str| text.chars().count() <= MAX_TITLE && text.ends_with(char::is_alphanumeric);
    if fits(&whole) {
        return whole;
    }
    let plain: String = whole.chars().filter(|c| !"()[]{}".contains(*c)).collect();
    let mut end = plain.char_indices().nth(MAX_TITLE).map_or(plain.len(), |(at, _)| at);
    // Between two words, where that leaves enough.
    if end < plain.len() && !plain[end..].starts_with(' ') {
        end = plain[..end].rfind(' ').filter(|at| *at >= MAX_TITLE / 2).unwrap_or(end);
    }
    plain[..end].trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

/// A summary that the platform takes: short, and without punctuation at its end.
pub(super) fn summary(text: &str) -> String {
    let mut end = text.char_indices().nth(MAX_SUMMARY).map_or(text.len(), |(at, _)| at);
    if end < text.len() {
        end = text[..end].rfind(' ').filter(|at| *at > 0).unwrap_or(end);
    }
    text[..end].trim_end_matches(|c: char| c.is_whitespace() || ".!?,;:".contains(c)).to_owned()
}

/// `getOrderLines` and `get-order-lines` as `Get order lines`.
pub(super) fn spaced(name: &str) -> String {
    let mut out = String::new();
    let mut before_upper = true;
    for character in name.chars() {
        if matches!(character, '-' | '_' | '.' | ' ' | '$') {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            before_upper = true;
            continue;
        }
        if character.is_uppercase() && !before_upper {
            out.push(' ');
        }
        before_upper = character.is_uppercase();
        match out.is_empty() {
            true => out.extend(character.to_uppercase()),
            false => out.extend(character.to_lowercase()),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{spaced, summary, title};

    #[test]
    fn names_for_people() {
        for (name, want) in
            [("getOrderLines", "Get order lines"), ("order-id", "Order id"), ("$top", "Top"), ("ID", "Id")]
        {
            assert_eq!(spaced(name), want, "{name}");
        }
    }

    #[test]
    fn titles() {
        for (text, want) in [
            ("Orders", "Orders"),
            ("Orders (EU)-1", "Orders (EU)-1"),
            ("Orders API", "Orders"),
            ("The API of Contoso", "The of Contoso"),
            ("Rapid Connectors", "Rapid Connectors"),
            ("Power Apps Orders", "Orders"),
            ("SAP ODATA [Sample] Connector", "SAP ODATA Sample"),
            ("XC-Gate (Preview)", "XC-Gate Preview"),
            ("Orders (Independent Publisher)", "Orders"),
            ("Orders and invoices of Contoso in Europe", "Orders and invoices of Contoso"),
            ("Orders and the invoices of Contoso", "Orders and the invoices of"),
            ("Übersichtsübersichtsübersichtsübersicht", "Übersichtsübersichtsübersichts"),
            ("API", ""),
        ] {
            assert_eq!(title(text), want, "{text}");
        }
    }

    #[test]
    fn summaries() {
        let long = "word ".repeat(20);
        for (text, want) in [
            ("Get an order", "Get an order"),
            ("Get an order.", "Get an order"),
            ("Which one?!", "Which one"),
            (long.as_str(), &long[..79]),
            (&"é".repeat(90), &"é".repeat(80)),
        ] {
            assert_eq!(summary(text), want, "{text}");
        }
    }
}
