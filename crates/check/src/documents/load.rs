//! From bytes to a tree, or to what is wrong with them.

use std::ops::Range;

use super::{DEPTH_MAX, DOCUMENT_BYTES_MAX, Format, NODES_MAX, Node, json, toml, yaml};

/// Something wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Flaw {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Flaw {
        Flaw {
            span,
            message: one_line(&message.into()),
            help: None,
        }
    }

    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Flaw {
        Flaw {
            help: Some(one_line(&help.into())),
            ..self
        }
    }
}

/// Messages of parsers have several lines, and quote what they were given.
fn one_line(text: &str) -> String {
    let text = text.trim().replace('\n', ", ");
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// How the file at `path` is written, by its ending; `None`: not a document.
pub(crate) fn format_of(path: &str) -> Option<Format> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, ending) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    match ending.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => Some(Format::Yaml),
        "toml" => Some(Format::Toml),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// The text of a file, when it is text.
///
/// # Errors
/// The first bytes that are no UTF-8; their place is in the text up to them.
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, (&str, Flaw)> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let text = std::str::from_utf8(&bytes[..good]).unwrap_or_default();
        let byte = bytes.get(good).copied().unwrap_or_default();
        let flaw = Flaw::new(good..good, format!("not UTF-8: byte 0x{byte:02x}"))
            .help("save the file as UTF-8");
        (text, flaw)
    })
}

/// The tree of a text, and everything that is wrong with it. With flaws the
/// tree is what could be read anyway, if anything could. Further YAML documents
/// in the same file follow the first.
pub(crate) fn load(format: Format, text: &str) -> (Vec<Node>, Vec<Flaw>) {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!(
            "the document has {} bytes; at most {DOCUMENT_BYTES_MAX} are read",
            text.len()
        );
        let help = "data of this size belongs into a package, or into a file of another kind";
        return (Vec::new(), vec![Flaw::new(0..0, message).help(help)]);
    }
    match format {
        Format::Json => json::read(text),
        Format::Toml => toml::read(text),
        Format::Yaml => yaml::read(text),
    }
}

/// Counts what a document holds while it is read.
#[derive(Debug, Default)]
pub(super) struct Budget {
    nodes: usize,
}

impl Budget {
    /// One more value at `span`, `depth` levels down.
    pub(super) fn take(&mut self, span: &Range<usize>, depth: usize) -> Result<(), Flaw> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} levels of lists and maps");
            return Err(Flaw::new(span.clone(), message));
        }
        if self.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values");
            return Err(Flaw::new(span.clone(), message));
        }
        Ok(())
    }
}

/// What a second value under one key is told.
pub(super) fn duplicate(span: Range<usize>, key: &str) -> Flaw {
    let shown: String = key.chars().take(60).collect();
    Flaw::new(
        span,
        format!("the key {shown:?} is here for the second time"),
    )
    .help("most readers take the last one in silence: keep one")
}
