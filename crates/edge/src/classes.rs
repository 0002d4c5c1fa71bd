//! Which class of endpoints a request belongs to.
//!
//! Like is compared with like: a release that fails one kind of request is
//! found sooner among requests of that kind, and a shift of the mix between
//! reads and writes is not taken for harm.
//!
//! Invariant: every request has exactly one class, found without an allocation.

use model::topology::ENDPOINT_CLASSES_MAX;
use model::{EndpointClass, Priority, Retry};

/// What no declared class names, by its method.
const DEFAULTS: [&str; 2] = ["read", "write"];

/// The place of a class in its service's [`Classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u8);

/// One service's classes of endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct Classes {
    declared: Vec<EndpointClass>,
}

impl Classes {
    /// The classes as declared, the first that fits first; those beyond
    /// [`ENDPOINT_CLASSES_MAX`], which a topology can't have, are left out.
    pub fn new(declared: &[EndpointClass]) -> Classes {
        let declared = declared.iter().take(ENDPOINT_CLASSES_MAX);
        Classes {
            declared: declared.cloned().collect(),
        }
    }

    /// The class of a request: the first declared one whose methods and paths
    /// fit, else `read` (GET, HEAD, OPTIONS) or `write`. `path` is without its query.
    pub fn of(&self, method: &str, path: &str) -> Class {
        let declared = self.declared.iter().position(|it| fits(it, method, path));
        let place = declared.unwrap_or_else(|| {
            let writes = !matches!(method, "GET" | "HEAD" | "OPTIONS");
            self.declared.len() + usize::from(writes)
        });
        Class(u8::try_from(place).unwrap_or(u8::MAX))
    }

    /// Who goes first when hosts can't keep up.
    pub fn priority(&self, class: Class) -> Priority {
        let declared = self.declared.get(usize::from(class.0));
        declared.map_or(Priority::default(), |it| it.priority)
    }

    /// Which of the class' requests may go out a second time.
    pub fn retry(&self, class: Class) -> Retry {
        let declared = self.declared.get(usize::from(class.0));
        declared.map_or(Retry::default(), |it| it.retry)
    }

    /// The name under which the class is counted. A declared class may be called
    /// `read` or `write` too, and is then one with what no class names.
    pub fn name(&self, class: Class) -> &str {
        let place = usize::from(class.0);
        match self.declared.get(place) {
            Some(declared) => &declared.name,
            None => DEFAULTS
                .get(place - self.declared.len())
                .unwrap_or(&DEFAULTS[1]),
        }
    }
}

fn fits(class: &EndpointClass, method: &str, path: &str) -> bool {
    let method_fits = class.methods.is_empty() || class.methods.iter().any(|it| it == method);
    let path_fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path == pattern,
    };
    method_fits && (class.paths.is_empty() || class.paths.iter().any(path_fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, methods: &[&str], paths: &[&str]) -> EndpointClass {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        EndpointClass {
            name: name.to_owned(),
            methods: owned(methods),
            paths: owned(paths),
            ..EndpointClass::default()
        }
    }

    #[test]
    fn the_first_class_that_fits_counts() {
        let classes = Classes::new(&[
            class("pay", &["POST"], &["/pay", "/refunds/*"]),
            class("search", &[], &["/search*"]),
            class("drop", &["DELETE"], &[]),
            class("everything-else-under-pay", &[], &["/pay*"]),
        ]);
        let asked = [
            ("POST", "/pay", "pay"),
            ("POST", "/refunds/7", "pay"),
            ("POST", "/refunds", "write"),
            ("GET", "/pay", "everything-else-under-pay"),
            ("POST", "/pay/", "everything-else-under-pay"),
            ("GET", "/search", "search"),
            ("POST", "/searching/far", "search"),
            ("DELETE", "/pay", "drop"),
            ("delete", "/", "write"),
            ("GET", "/", "read"),
            ("HEAD", "/", "read"),
            ("OPTIONS", "*", "read"),
            ("PUT", "/", "write"),
            ("BREW", "/", "write"),
        ];
        for (method, path, name) in asked {
            let class = classes.of(method, path);
            assert_eq!(classes.name(class), name, "{method} {path}");
        }
    }

    #[test]
    fn more_classes_than_there_may_be_are_left_out() {
        let many: Vec<EndpointClass> = (0..300)
            .map(|n| class(&format!("c{n}"), &[], &[&format!("/{n}")]))
            .collect();
        let classes = Classes::new(&many);
        assert_eq!(classes.name(classes.of("GET", "/7")), "c7");
        assert_eq!(classes.name(classes.of("GET", "/8")), "read");
        assert_eq!(classes.name(classes.of("POST", "/299")), "write");
    }

    #[test]
    fn a_class_says_who_goes_first_and_what_may_go_twice() {
        let pay = EndpointClass {
            priority: Priority::Critical,
            retry: Retry::Never,
            ..class("pay", &["POST"], &["/pay"])
        };
        let classes = Classes::new(&[pay]);
        let said = |method, path| {
            let class = classes.of(method, path);
            (classes.priority(class), classes.retry(class))
        };
        assert_eq!(said("POST", "/pay"), (Priority::Critical, Retry::Never));
        let unsaid = (Priority::Normal, Retry::Idempotent);
        assert_eq!(said("GET", "/pay"), unsaid);
        assert_eq!(said("PUT", "/"), unsaid);
    }
}
