//! Values and names as messages show them.
//!
//! Invariant: what stands under a key that looks like a secret's is never shown.

use crate::documents::{Entry, Node, Value};

use super::secrets;

/// Longest shown value in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;
const HIDDEN: &str = "(hidden)";

/// A value as JSON, cut, with secrets hidden. `path` is where it stands.
pub(super) fn shown<S: AsRef<str>>(node: &Node, path: &[S], chars_max: usize) -> String {
    if path.iter().any(|step| secrets::names_secret(step.as_ref())) && may_tell(node) {
        return HIDDEN.to_owned();
    }
    let mut out = String::new();
    write(node, chars_max, &mut out);
    let mut chars = out.chars();
    let mut cut: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}

/// As in a message.
pub(super) fn short<S: AsRef<str>>(node: &Node, path: &[S]) -> String {
    match &node.value {
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(map) => format!("a map of {}", map.len()),
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Large(_)
        | Value::Float(_)
        | Value::Text(_) => shown(node, path, SHOWN_CHARS_MAX),
    }
}

/// Whether a value could give a secret away. What stands below a secret's name
/// is as secret as what stands beside it: `passwords: [..]`, `secrets: {db: ..}`.
fn may_tell(node: &Node) -> bool {
    match &node.value {
        Value::Text(_) | Value::Integer(_) | Value::Large(_) | Value::Float(_) => true,
        Value::List(items) => items.iter().any(may_tell),
        Value::Map(map) => map.entries().iter().any(|entry| may_tell(&entry.node)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// Writes compact JSON until there is more than enough.
fn write(node: &Node, enough: usize, out: &mut String) {
    // Characters have at most four bytes.
    if out.len() > enough * 4 {
        return;
    }
    match &node.value {
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, enough, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (at, Entry { key, node, .. }) in map.entries().iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&format!("{key:?}:"));
                if secrets::names_secret(key) && may_tell(node) {
                    out.push_str(HIDDEN);
                } else {
                    write(node, enough, out);
                }
            }
            out.push('}');
        }
        Value::Text(text) if secrets::is_strong(text) => out.push_str(HIDDEN),
        Value::Text(text) => {
            let cut: String = text.chars().take(enough + 1).collect();
            out.push_str(&serde_json::to_string(&cut).unwrap_or_default());
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Large(_) | Value::Float(_) => {
            out.push_str(&serde_json::to_string(node).unwrap_or_default());
        }
    }
}

/// What people call the value at a path: its key, `ports[2]`, or the document.
pub(super) fn name<S: AsRef<str>>(path: &[S]) -> String {
    let Some((last, above)) = path.split_last() else {
        return "the document".to_owned();
    };
    let last = last.as_ref();
    if last.bytes().all(|byte| byte.is_ascii_digit())
        && let Some(list) = above.last()
    {
        return format!("{}[{last}]", list.as_ref());
    }
    if last.is_empty() {
        return "\"\"".to_owned();
    }
    last.to_owned()
}

/// Every place that a pointer pattern fits, with the steps to it and its value.
pub(super) fn matches<'n>(root: &'n Node, steps: &[String]) -> Vec<(Vec<String>, &'n Node)> {
    let mut found = vec![(Vec::new(), root)];
    for step in steps {
        let mut next = Vec::new();
        for (path, node) in found {
            let mut push = |name: String, child| {
                let mut path: Vec<String> = path.clone();
                path.push(name);
                next.push((path, child));
            };
            if step == "*" {
                for (name, child) in node.children() {
                    push(name, child);
                }
            } else if let Some(child) = node.child(step) {
                push(step.clone(), child);
            }
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{self, Format};

    #[test]
    fn what_stands_below_a_secrets_name_is_hidden_too() {
        let text = r#"{"auth": {
            "passwords": ["hunter2", "swordfish"],
            "secrets": {"db": "hunter2"},
            "token": null,
            "address": "db:5432"
        }}"#;
        let (roots, flaws) = documents::load(Format::Json, text);
        assert!(flaws.is_empty());
        let root = &roots[0];
        let said = shown::<&str>(root, &[], 500);
        assert!(
            !said.contains("hunter2") && !said.contains("swordfish"),
            "{said}"
        );
        assert!(said.contains("db:5432") && said.contains("null"), "{said}");
        let path = ["auth", "secrets"].map(str::to_owned);
        assert_eq!(shown(root.at(&path).unwrap(), &path, 500), HIDDEN);
    }
}
