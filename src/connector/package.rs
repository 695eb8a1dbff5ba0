//! Finds connector packages and bare OpenAPI files, and reads them.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::IMPORTED;
use super::tree::Node;
use super::{json, text, yaml};
use crate::config::folder::GATEWAY_FILE;
use crate::config::source::{FileId, Sources};
use crate::config::{Diagnostic, Diagnostics};

/// The definition of a package, as Microsoft's `paconn` names it.
pub const DEFINITION_FILE: &str = "apiDefinition.swagger.json";
/// What a package says beside its definition.
pub const PROPERTIES_FILE: &str = "apiProperties.json";
/// The code of a package.
pub const SCRIPT_FILE: &str = "script.csx";
/// A file larger than this is no definition: the platform takes up to 1 MB.
const MAX_SIZE: u64 = 32 * 1024 * 1024;
/// How many levels of folders are looked through for packages.
const MAX_FOLDERS: usize = 6;

/// Where a package is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name that its API gets.
    pub name: String,
    /// The OpenAPI file.
    pub definition: PathBuf,
    /// The other file, where there is one.
    pub properties: Option<PathBuf>,
    /// The code, where there is some.
    pub script: Option<PathBuf>,
}

/// A file of a package as it was read.
pub struct File {
    /// Its number among the sources.
    pub id: FileId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it says.
    pub root: Node,
}

/// A package as it was read.
pub struct Package {
    /// The OpenAPI file.
    pub definition: File,
    /// The other one.
    pub properties: Option<File>,
    /// Whether it has code.
    pub has_script: bool,
}

/// The packages of a path: a package, a folder of packages, or an OpenAPI file.
///
/// # Errors
/// What cannot be read, or has no package.
pub fn find(path: &Path) -> Result<Vec<Place>, String> {
    let metadata = path.metadata().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if metadata.is_file() {
        return Ok(vec![at_file(path)]);
    }
    let mut found = Vec::new();
    search(path, 0, &mut found).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if found.is_empty() {
        let path = path.display();
        return Err(format!(
            "{path} holds no package and no OpenAPI file: neither {DEFINITION_FILE} nor .json, .yaml or .yml with `swagger` or `openapi`, in it or below"
        ));
    }
    found.sort();
    Ok(found)
}

/// A file that is named is taken, with the files of its package beside it.
fn at_file(path: &Path) -> Place {
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let packaged = path.file_name() == Some(OsStr::new(DEFINITION_FILE));
    let title = if packaged { folder_name(folder) } else { None };
    let stem = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cut = [".swagger.json", ".openapi.json", ".openapi.yaml", ".json", ".yaml", ".yml"];
        cut.iter().find_map(|end| name.strip_suffix(end).map(str::to_owned)).unwrap_or(name)
    };
    Place {
        name: slug(&title.unwrap_or_else(stem)),
        definition: path.to_owned(),
        properties: beside(PROPERTIES_FILE).filter(|_| packaged),
        script: beside(SCRIPT_FILE).filter(|_| packaged),
    }
}

fn folder_name(folder: &Path) -> Option<String> {
    let full = if folder.file_name().is_some() { folder.to_owned() } else { std::path::absolute(folder).ok()? };
    full.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn search(folder: &Path, depth: usize, found: &mut Vec<Place>) -> std::io::Result<()> {
    let definition = folder.join(DEFINITION_FILE);
    if definition.is_file() {
        found.push(at_file(&definition));
        return Ok(());
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        // What an import keeps in the folder that it writes is no package of a maker.
        let kept = path.ends_with(IMPORTED) && folder.join(GATEWAY_FILE).is_file();
        if hidden || kept {
            continue;
        }
        if path.is_dir() {
            folders.extend((depth < MAX_FOLDERS).then_some(path));
        } else if is_openapi(&path) {
            found.push(at_file(&path));
        }
    }
    folders.iter().try_for_each(|path| search(path, depth + 1, found))
}

/// Whether a file says which OpenAPI it is: `"swagger": "2.0"`, or `openapi: 3.0.1` at the beginning of a line. Tools that sort names
/// write it behind everything else.
fn is_openapi(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    if !matches!(extension.as_str(), "json" | "yaml" | "yml") {
        return false;
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SIZE).read_to_end(&mut bytes));
    let text = text::decode(&bytes).text;
    let version = |rest: &str| {
        let rest = rest.trim_start().strip_prefix(':').map(str::trim_start);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(|c: char| c.is_ascii_digit()))
    };
    let says = |word: &str| {
        let quoted = format!("\"{word}\"");
        let mut named = text.match_indices(&quoted).map(|(at, _)| &text[at + quoted.len()..]);
        named.any(version) || text.lines().filter_map(|line| line.strip_prefix(word)).any(version)
    };
    read.is_ok() && (says("openapi") || says("swagger"))
}

/// `Word-Press & Co.` as `word-press-co`: the name of an API, its file and its path.
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    // `gateway` and `keys` are files of the folder itself.
    match out {
        "" => "api".to_owned(),
        "gateway" | "keys" => format!("{out}-api"),
        out => out.to_owned(),
    }
}

/// Reads a package; what is wrong with its files is told. Nothing comes of a definition that cannot be read.
pub fn read(place: &Place, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Option<Package> {
    let definition = read_file(&place.definition, sources, diagnostics);
    let properties = place.properties.as_deref().map(|path| read_file(path, sources, diagnostics));
    let properties = match properties {
        Some(None) => return None,
        Some(some) => some,
        None => None,
    };
    Some(Package { definition: definition?, properties, has_script: place.script.is_some() })
}

/// Reads a JSON or YAML file.
pub fn read_file(path: &Path, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Option<File> {
    let name = path.display().to_string();
    let bytes = match path.metadata().map(|metadata| metadata.len()) {
        Ok(size) if size > MAX_SIZE => Err(format!("is larger than {MAX_SIZE} bytes")),
        _ => std::fs::read(path).map_err(|error| format!("cannot be read: {error}")),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            diagnostics.push(Diagnostic::global("unreadable", format!("{name} {error}")));
            return None;
        }
    };
    let decoded = text::decode(&bytes);
    let text: Arc<str> = decoded.text.into();
    let id = sources.add(name, text.clone());
    if let Some((span, fault)) = decoded.fault {
        diagnostics.push(Diagnostic::warning("encoding", id, span, fault));
    }
    let parsed = parse(path, &text);
    match parsed {
        Ok((root, faults)) => {
            for fault in faults {
                diagnostics.push(Diagnostic::warning("syntax", id, fault.span, fault.message));
            }
            Some(File { id, bytes, root })
        }
        Err(fault) => {
            diagnostics.push(Diagnostic::error("syntax", id, fault.span, fault.message));
            None
        }
    }
}

/// What a file says and what had to be overlooked, or why it cannot be read.
pub type Parsed = Result<(Node, Vec<json::Fault>), json::Fault>;

fn parse(path: &Path, text: &str) -> Parsed {
    if is_yaml(path, text.as_bytes()) { yaml::parse(text) } else { json::parse(text) }
}

/// The text of a file, and what it says. Errors of its encoding are among what had to be overlooked.
pub fn decode(path: &Path, bytes: &[u8]) -> (Arc<str>, Parsed) {
    let decoded = text::decode(bytes);
    let parsed = parse(path, &decoded.text).map(|(root, mut faults)| {
        faults.extend(decoded.fault.map(|(span, message)| json::Fault { span, message }));
        (root, faults)
    });
    (decoded.text.into(), parsed)
}

/// By the name, else by the first character: a definition in JSON is an object.
pub fn is_yaml(path: &Path, text: &[u8]) -> bool {
    match path.extension().and_then(OsStr::to_str) {
        Some(extension) if extension.eq_ignore_ascii_case("json") => false,
        Some(extension) if ["yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known)) => true,
        _ => {
            let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text).trim_ascii_start();
            !text.starts_with(b"{") && !text.starts_with(b"/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs() {
        for (name, want) in [
            ("1Me-Corporate", "1me-corporate"),
            ("SearchAPI---Google-Search", "searchapi-google-search"),
            ("Word Press & Co.", "word-press-co"),
            ("été", "t"),
            ("...", "api"),
            ("Gateway", "gateway-api"),
        ] {
            assert_eq!(slug(name), want, "{name}");
        }
    }
}
