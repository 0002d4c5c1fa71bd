//! Broken variants of a document, for the bundle's own check to refuse.
//!
//! Invariant: the same document gives the same variants, in the same order.

/// A broken document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What was done to it: "blank", "without /auth".
    pub name: String,
    /// The document, in its own format.
    pub bytes: Vec<u8>,
    /// Whether a good check refuses it. On the others it must only end by itself.
    pub must_refuse: bool,
}

/// The variants of the document at `path`. `schema` is the JSON Schema that holds for it.
pub fn variants(path: &str, bytes: &[u8], schema: Option<&str>) -> Vec<Variant> {
    let _ = (path, bytes);
    vec![Variant {
        name: "blank".to_owned(),
        bytes: Vec::new(),
        must_refuse: schema.is_some_and(|schema| schema.contains("\"required\"")),
    }]
}
