//! One configuration file, read as far as it can be.

use model::BundlePath;
use model::gate::Severity;

use super::findings::Findings;
use crate::documents::{self, Flaw, Format, Node, Places};

/// A file of the bundle.
pub(super) struct File<'a> {
    pub(super) path: &'a BundlePath,
    pub(super) bytes: &'a [u8],
    /// The text up to the first byte that is no UTF-8.
    pub(super) places: Places<'a>,
    pub(super) format: Option<Format>,
    /// What the file holds: one tree, more in YAML of several documents, none
    /// when it is no document or broken.
    pub(super) roots: Vec<Node>,
}

impl<'a> File<'a> {
    /// The file, and what is wrong with it if it is a document.
    pub(super) fn read(path: &'a BundlePath, bytes: &'a [u8]) -> (File<'a>, Vec<Flaw>) {
        let format = documents::format_of(path.as_str());
        let (text, broken) = match documents::text_of(bytes) {
            Ok(text) => (text, None),
            Err((text, flaw)) => (text, Some(flaw)),
        };
        let (roots, flaws) = match (format, broken) {
            (None, _) => (Vec::new(), Vec::new()),
            (Some(_), Some(flaw)) => (Vec::new(), vec![flaw]),
            (Some(format), None) => documents::load(format, text),
        };
        let usable = flaws.is_empty();
        let file = File {
            path,
            bytes,
            places: Places::new(text),
            format,
            roots: if usable { roots } else { Vec::new() },
        };
        (file, flaws)
    }

    /// The document, when the file is one.
    pub(super) fn root(&self) -> Option<&Node> {
        self.roots.first()
    }

    pub(super) fn text(&self) -> &'a str {
        self.places.text()
    }

    /// A document that a rule is about must be right; of others it is only told.
    pub(super) fn tell_flaws(&self, flaws: Vec<Flaw>, named: bool, findings: &mut Findings) {
        let severity = if named {
            Severity::Deny
        } else {
            Severity::Warn
        };
        for flaw in flaws {
            let help = flaw.help.as_deref();
            findings.at(severity, self, flaw.span.start, flaw.message, help);
        }
        let Some(second) = self.roots.get(1).filter(|_| named) else {
            return;
        };
        let message = "a second YAML document begins before this; rules see only one";
        let help = "one document in each file that the service's rules name";
        findings.at(
            Severity::Deny,
            self,
            second.span.range().start,
            message,
            Some(help),
        );
    }
}

/// Nothing but white space.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().all(u8::is_ascii_whitespace)
}
