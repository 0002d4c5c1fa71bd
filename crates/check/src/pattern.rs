//! Patterns of paths and of JSON pointers, as check sets write them.
//!
//! Invariant: matching takes time proportional to pattern times text at most;
//! no pattern makes it explode.

/// Whether `path` fits `pattern`: `*` stands for any text within one folder,
/// `**` for any number of whole folders, `?` for one character.
pub fn glob(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    wildcards(&pattern, &path, |part| *part == "**", |p, s| part(p, s))
}

/// One folder or file name.
fn part(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    wildcards(&pattern, &text, |c| *c == '*', |p, c| *p == '?' || p == c)
}

/// The usual walk with one step back: `any` marks what stands for any number of items.
fn wildcards<P, T>(
    pattern: &[P],
    text: &[T],
    any: impl Fn(&P) -> bool,
    same: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(item) if any(item) => {
                back = Some((p, t));
                p += 1;
            }
            Some(item) if same(item, &text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((from, taken)) = back else {
                    return false;
                };
                back = Some((from, taken + 1));
                (p, t) = (from + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(any)
}

/// What is wrong with a path pattern; `None`: nothing.
pub(crate) fn path_flaw(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        Some("it is empty")
    } else if pattern.starts_with('/') {
        Some("it begins with `/`; paths in a bundle are relative")
    } else if pattern
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        Some("it has an empty part, `.` or `..`")
    } else if pattern
        .split('/')
        .any(|part| part != "**" && part.contains("**"))
    {
        Some("`**` stands for whole folders and must be alone between slashes")
    } else {
        None
    }
}

/// A JSON pointer (RFC 6901) in which `*` is any one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

/// Something that is no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pointer is empty or begins with `/`")]
pub(crate) struct NoPointer;

impl Pointer {
    pub(crate) fn parse(text: &str) -> Result<Pointer, NoPointer> {
        match text.strip_prefix('/') {
            Some(rest) => Ok(Pointer(rest.split('/').map(unescape).collect())),
            None if text.is_empty() => Ok(Pointer(Vec::new())),
            None => Err(NoPointer),
        }
    }

    pub(crate) fn steps(&self) -> &[String] {
        &self.0
    }

    /// Whether it fits `path` or something above it.
    pub(crate) fn covers(&self, path: &[&str]) -> bool {
        self.0.len() <= path.len()
            && std::iter::zip(&self.0, path).all(|(step, name)| step == "*" || step == name)
    }
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// A pointer's text for steps.
pub(crate) fn pointer_text<S: AsRef<str>>(steps: &[S]) -> String {
    steps.iter().fold(String::new(), |mut text, step| {
        text.push('/');
        text.push_str(&step.as_ref().replace('~', "~0").replace('/', "~1"));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, path, expected) in [
            ("service.toml", "service.toml", true),
            ("service.toml", "a/service.toml", false),
            ("*.toml", "service.toml", true),
            ("*.toml", "a/service.toml", false),
            ("**/*.toml", "a/b/service.toml", true),
            ("**/*.toml", "service.toml", true),
            ("conf/**", "conf/a/b", true),
            ("conf/**", "conf", true),
            ("conf/**/x", "conf/x", true),
            ("conf/**/x", "conf/a/y/x", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?.yaml", "ä.yaml", true),
            ("**", "anything/at/all", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn no_pattern_explodes() {
        let path = "a".repeat(500);
        assert!(!glob(
            &"*a".repeat(250).replace("**", "*"),
            &format!("{path}b")
        ));
        let folders = ["a"; 250].join("/");
        assert!(!glob(&format!("{}/b", ["**"; 100].join("/")), &folders));
    }

    #[test]
    fn pointers() {
        let pointer = Pointer::parse("/auth/*/a~1b").unwrap();
        assert!(pointer.covers(&["auth", "test", "a/b"]));
        assert!(!pointer.covers(&["auth", "test"]));
        assert!(pointer.covers(&["auth", "test", "a/b", "c"]));
        assert_eq!(pointer_text(pointer.steps()), "/auth/*/a~1b");
        assert!(Pointer::parse("auth").is_err());
        assert!(Pointer::parse("").unwrap().covers(&["x"]));
    }
}
