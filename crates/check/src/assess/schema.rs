//! JSON Schemas over documents, with each error at its place and in plain words.
//!
//! Invariant: nothing is fetched. A reference that leads out of the schema's own
//! text makes the schema unusable.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::LocationSegment;
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use model::gate::Severity;
use serde_json::Value as Json;

use super::file::File;
use super::findings::Findings;
use super::{Ground, values};
use crate::documents::Node;
use crate::pattern::glob;

/// Errors of one file that are worked out; a file with more is wrong as a whole.
const ERRORS_MAX: usize = 2000;
/// A pattern that needs more steps back than this for one text counts as not
/// fitting; honest ones need a handful, and texts may come from anybody.
const BACKTRACK_MAX: usize = 20_000;
/// Bytes of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A schema that is ready to use.
pub(crate) struct Schema {
    pub(super) json: Json,
    validator: Validator,
}

impl Schema {
    /// Reads and compiles a schema.
    ///
    /// # Errors
    /// Why it can't be used, in one line.
    pub(crate) fn new(text: &str) -> Result<Schema, String> {
        let json: Json =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        if !json.is_object() && !json.is_boolean() {
            return Err("a schema is a map (or true or false)".to_owned());
        }
        if let Some(reference) = outward(&json) {
            return Err(format!(
                "{reference:?} leads out of the schema, and nothing is fetched: copy it into `$defs`"
            ));
        }
        circle(&json)?;
        let linear = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        // Patterns with look-around need the engine that can run for long; it is kept short.
        let backtracking = PatternOptions::fancy_regex()
            .size_limit(PATTERN_BYTES_MAX)
            .backtrack_limit(BACKTRACK_MAX);
        let options = jsonschema::options();
        let built = options.clone().with_pattern_options(linear).build(&json);
        let built = built.or_else(|_| options.with_pattern_options(backtracking).build(&json));
        match built {
            Ok(validator) => Ok(Schema { json, validator }),
            Err(error) => Err(format!("{} at {}", error, error.schema_path())),
        }
    }

    pub(crate) fn fits(&self, document: &Node) -> bool {
        serde_json::to_value(document).is_ok_and(|json| self.validator.is_valid(&json))
    }

    pub(crate) fn fits_json(&self, document: &Json) -> bool {
        self.validator.is_valid(document)
    }

    /// The schema's text as a tree.
    pub(crate) fn json(&self) -> &Json {
        &self.json
    }
}

/// The first `$ref` that is not within this schema. `$id`s would rename what is within.
fn outward(schema: &Json) -> Option<&str> {
    match schema {
        Json::Object(map) => {
            let own = map.iter().find_map(|(key, value)| {
                let reference = value.as_str()?;
                let refers = matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef");
                (refers && !reference.starts_with('#')).then_some(reference)
            });
            own.or_else(|| map.values().find_map(outward))
        }
        Json::Array(items) => items.iter().find_map(outward),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

/// References that lead back to themselves without a step down the document:
/// checking anything against them never ends.
fn circle(schema: &Json) -> Result<(), String> {
    let mut references = Vec::new();
    collect(schema, &mut references);
    references.sort_unstable();
    references.dedup();
    for start in references {
        let mut open = vec![start];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(reference) = open.pop() {
            let Some(target) = reference
                .strip_prefix('#')
                .and_then(|pointer| schema.pointer(pointer))
            else {
                continue;
            };
            let mut next = Vec::new();
            beside(target, &mut next);
            for reference in next {
                if reference == start {
                    return Err(format!("{start:?} leads back to itself without an end"));
                }
                if seen.insert(reference) {
                    open.push(reference);
                }
            }
        }
    }
    Ok(())
}

fn collect<'s>(schema: &'s Json, found: &mut Vec<&'s str>) {
    match schema {
        Json::Object(map) => {
            found.extend(map.get("$ref").and_then(Json::as_str));
            map.values().for_each(|value| collect(value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// References that hold for the same value as `schema` does.
fn beside<'s>(schema: &'s Json, found: &mut Vec<&'s str>) {
    let Json::Object(map) = schema else {
        return;
    };
    found.extend(map.get("$ref").and_then(Json::as_str));
    for key in ["allOf", "anyOf", "oneOf"] {
        let items = map.get(key).and_then(Json::as_array);
        for item in items.into_iter().flatten() {
            beside(item, found);
        }
    }
    for key in ["not", "if", "then", "else"] {
        map.get(key)
            .into_iter()
            .for_each(|item| beside(item, found));
    }
    for item in map
        .get("dependentSchemas")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        beside(item.1, found);
    }
}

pub(super) fn check(ground: &Ground<'_>, findings: &mut Findings) {
    for file in ground.files.values() {
        let Some(root) = file.root() else {
            continue;
        };
        let fitting = ground.schemas.iter();
        let mut fitting = fitting
            .filter(|(pattern, _)| glob(pattern, file.path.as_str()))
            .peekable();
        if fitting.peek().is_none() {
            continue;
        }
        let Ok(json) = serde_json::to_value(root) else {
            continue;
        };
        for (_, schema) in fitting {
            for error in schema.validator.iter_errors(&json).take(ERRORS_MAX) {
                tell(file, root, &error, findings);
            }
        }
    }
    for (pattern, _) in &ground.schemas {
        for (file, _) in ground
            .fitting(pattern)
            .filter(|(file, _)| file.format.is_none())
        {
            let message = "a schema holds for this file, but it is no YAML, TOML or JSON";
            findings.deny(
                Some(file.path),
                message,
                "mend the rule's pattern, or the file's ending",
            );
        }
    }
}

fn tell(file: &File<'_>, root: &Node, error: &ValidationError<'_>, findings: &mut Findings) {
    let path = steps(error);
    for (key, message) in words(root, &path, error.kind()) {
        let mut place = path.clone();
        place.extend(key);
        // The value itself is where to look; of what should not be there, the key.
        let span = if place.len() > path.len() {
            root.place_of(&place)
        } else {
            root.at(&place).map(|node| node.span)
        };
        let offset = span.unwrap_or(root.span).range().start;
        findings.at(Severity::Deny, file, offset, message, None);
    }
}

fn steps(error: &ValidationError<'_>) -> Vec<String> {
    let segments = error.instance_path().into_iter();
    segments
        .map(|segment| match segment {
            LocationSegment::Property(name) => name.into_owned(),
            LocationSegment::Index(index) => index.to_string(),
        })
        .collect()
}

/// What is wrong, and the key below `path` that it is about, if it is a key.
fn words(root: &Node, path: &[String], kind: &Kind) -> Vec<(Option<String>, String)> {
    match kind {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let within = values::name(path);
            let unknown = unexpected.iter().map(|key| {
                (
                    Some(key.clone()),
                    format!("{key:?} is not known in {within}"),
                )
            });
            unknown.collect()
        }
        Kind::PropertyNames { error } => {
            let key = error.instance().as_str().map(str::to_owned);
            let name = key.clone().unwrap_or_default();
            let message = format!(
                "{name:?} can't be a key of {}: {}",
                values::name(path),
                error.masked()
            );
            vec![(key, message)]
        }
        other => {
            let name = values::name(path);
            let node = root.at(path);
            let is = node.map_or_else(|| "missing".to_owned(), |node| values::short(node, path));
            vec![(None, sentence(&name, &is, other))]
        }
    }
}

/// One error about the value called `name`, which is `is`.
fn sentence(name: &str, is: &str, kind: &Kind) -> String {
    if let Some(wanted) = wanted(kind) {
        return format!("{name} must {wanted}, is {is}");
    }
    match kind {
        Kind::Required { property } => {
            let missing = property
                .as_str()
                .map_or_else(|| property.to_string(), str::to_owned);
            format!("{missing:?} is missing in {name}")
        }
        Kind::UniqueItems => format!("{name} must not hold the same item twice"),
        Kind::Contains => format!("{name} must hold an item of the kind that its schema asks for"),
        Kind::FalseSchema => format!("{name} must not be there"),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let forms = context.len();
            let near = nearest(context);
            let near = near.map_or_else(String::new, |near| format!("; nearest: {near}"));
            format!("{name} fits none of its {forms} allowed forms{near}")
        }
        Kind::OneOfMultipleValid { .. } => {
            format!("{name} fits more than one of the forms of which it must fit one")
        }
        Kind::UnevaluatedItems { unexpected } => {
            format!(
                "{name} has {} too many",
                count(unexpected.len() as u64, "item")
            )
        }
        Kind::FromUtf8 { .. } => format!("{name} does not decode to UTF-8"),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            format!("{name}: its schema's pattern takes too long on this text")
        }
        Kind::Custom { message, .. } => format!("{name}: {message}"),
        Kind::Referencing(error) => format!("the schema for {name} can't be used: {error}"),
        // Keys are told one by one, and the rest is what `wanted` says.
        _ => format!("{name} is not what its schema asks for"),
    }
}

/// What a value must be or have, for errors that are about the value alone.
fn wanted(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Minimum { limit } => format!("be at least {limit}"),
        Kind::Maximum { limit } => format!("be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("have at least {}", count(*limit, "character")),
        Kind::MaxLength { limit } => format!("have at most {}", count(*limit, "character")),
        Kind::MinItems { limit } => format!("have at least {}", count(*limit, "item")),
        Kind::MaxItems { limit } => format!("have at most {}", count(*limit, "item")),
        Kind::AdditionalItems { limit } => {
            format!("have at most {}", count(*limit as u64, "item"))
        }
        Kind::MinProperties { limit } => format!("have at least {}", count(*limit, "key")),
        Kind::MaxProperties { limit } => format!("have at most {}", count(*limit, "key")),
        Kind::Type { kind } => format!("be {}", types(kind)),
        Kind::Enum { options } => format!("be one of {}", listed(options)),
        Kind::Constant { expected_value } => format!("be {}", cut(&expected_value.to_string())),
        Kind::Pattern { pattern } => format!("fit the pattern {pattern}"),
        Kind::Format { format } => format!("be a valid {format}"),
        Kind::Not { schema } => format!("not be {}", cut(&schema.to_string())),
        Kind::ContentEncoding { content_encoding } => format!("be encoded as {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => format!("hold {content_media_type}"),
        _ => return None,
    })
}

fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// Of several allowed forms the one with the fewest mistakes, by its first.
fn nearest(forms: &[Vec<ValidationError<'static>>]) -> Option<String> {
    let deepest = |errors: &&Vec<ValidationError<'static>>| {
        let depth = errors.iter().map(|error| steps(error).len()).max();
        (std::cmp::Reverse(depth), errors.len())
    };
    let errors = forms
        .iter()
        .filter(|errors| !errors.is_empty())
        .min_by_key(deepest)?;
    let error = errors.first()?;
    let path = steps(error);
    let is = match error.instance().as_ref() {
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(map) => format!("a map of {}", map.len()),
        _ if path.iter().any(|step| super::secrets::names_secret(step)) => "(hidden)".to_owned(),
        plain => cut(&plain.to_string()),
    };
    Some(match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!(
                "{} not known in {}",
                unexpected.join(", "),
                values::name(&path)
            )
        }
        // One level is told: what lies below is told when this is mended.
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("{} fits none of its forms", values::name(&path))
        }
        kind => sentence(&values::name(&path), &is, kind),
    })
}

fn listed(options: &Json) -> String {
    let Json::Array(options) = options else {
        return cut(&options.to_string());
    };
    let shown: Vec<String> = options
        .iter()
        .take(12)
        .map(|it| cut(&it.to_string()))
        .collect();
    let more = if options.len() > 12 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => type_name(*kind).to_owned(),
        TypeKind::Multiple(kinds) => {
            let names: Vec<&str> = kinds.iter().map(type_name).collect();
            names.join(" or ")
        }
    }
}

fn type_name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "a map",
        JsonType::String => "a string",
    }
}
