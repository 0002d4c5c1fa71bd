//! Conditions on labels, as Alertmanager's.
//!
//! Invariant: an expression covers the whole value, and one that can't be used
//! matches nothing, also when it is negated: a broken silence silences nobody.

use model::incident::{Labels, Matcher, Operator};
use regex::{Regex, RegexBuilder};

/// Most matchers of a silence.
pub const MATCHERS_MAX: usize = 32;
/// Longest value of a matcher, in bytes.
pub const MATCHER_BYTES_MAX: usize = 1024;
/// Memory that one compiled expression may take, in bytes. A list of a few hundred host names fits.
const REGEX_BYTES_MAX: usize = 1 << 18;

/// Matchers, ready to be used. All of them must hold.
#[derive(Debug)]
pub struct Matchers(Vec<Ready>);

#[derive(Debug)]
struct Ready {
    name: String,
    negated: bool,
    test: Test,
}

#[derive(Debug)]
enum Test {
    /// One of these texts. Most expressions are lists of them, and need no automaton.
    OneOf(Vec<String>),
    Regex(Box<Regex>),
    Broken,
}

impl Matchers {
    /// Makes them ready.
    pub fn of(matchers: &[Matcher]) -> Matchers {
        let ready = matchers.iter().map(|matcher| Ready {
            name: matcher.name.clone(),
            negated: matches!(matcher.operator, Operator::NotEqual | Operator::NotRegex),
            test: test(matcher),
        });
        Matchers(ready.collect())
    }

    /// Whether labels fulfil all of them.
    pub fn hold(&self, labels: &Labels) -> bool {
        let holds = |ready: &Ready| ready.holds(labels.get(&ready.name).unwrap_or_default());
        !self.0.is_empty() && self.0.iter().all(holds)
    }

    /// Whether they hold for labels that are not there, and so for every alert.
    pub fn hold_for_nothing(&self) -> bool {
        self.0.iter().all(|ready| ready.holds(""))
    }
}

impl Ready {
    fn holds(&self, value: &str) -> bool {
        match &self.test {
            Test::OneOf(texts) => texts.iter().any(|text| text == value) != self.negated,
            Test::Regex(regex) => regex.is_match(value) != self.negated,
            Test::Broken => false,
        }
    }
}

fn test(matcher: &Matcher) -> Test {
    match matcher.operator {
        Operator::Equal | Operator::NotEqual => Test::OneOf(vec![matcher.value.clone()]),
        Operator::Regex | Operator::NotRegex => {
            let plain = |c: char| c.is_alphanumeric() || "-_:/ |".contains(c);
            if matcher.value.chars().all(plain) {
                let texts = matcher.value.split('|').map(ToOwned::to_owned);
                return Test::OneOf(texts.collect());
            }
            compiled(&matcher.value).map_or(Test::Broken, |regex| Test::Regex(Box::new(regex)))
        }
    }
}

fn compiled(expression: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?s:{expression})$"))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

/// Everything that is wrong with matchers.
pub fn problems(matchers: &[Matcher]) -> Vec<String> {
    let mut found = Vec::new();
    if matchers.is_empty() {
        found.push("at least one matcher is required".to_owned());
    }
    if matchers.len() > MATCHERS_MAX {
        found.push(format!(
            "{} matchers, at most {MATCHERS_MAX}",
            matchers.len()
        ));
    }
    for matcher in matchers {
        let Matcher {
            name,
            operator,
            value,
        } = matcher;
        if name.is_empty() || name.len() > MATCHER_BYTES_MAX || value.len() > MATCHER_BYTES_MAX {
            found.push("a matcher without a name, or too long".to_owned());
        } else if matches!(operator, Operator::Regex | Operator::NotRegex)
            && let Err(error) = compiled(value)
        {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            found.push(format!("{name}{}{value:?}: {reason}", operator.as_str()));
        }
    }
    if found.is_empty() && Matchers::of(matchers).hold_for_nothing() {
        found.push("at least one matcher must not match the empty string".to_owned());
    }
    found
}

/// Reads `name="value"`, with or without quotes.
///
/// # Errors
/// When there is no operator or no name.
pub fn parse(text: &str) -> Result<Matcher, String> {
    let at = text.find(['=', '!']).filter(|at| *at > 0);
    let at = at.ok_or_else(|| format!("{text:?} is no matcher: write name=\"value\""))?;
    let (name, rest) = text.split_at(at);
    let operators = [
        Operator::Regex,
        Operator::NotRegex,
        Operator::NotEqual,
        Operator::Equal,
    ];
    let mut found = operators
        .into_iter()
        .filter_map(|operator| Some((operator, rest.strip_prefix(operator.as_str())?)));
    let (operator, value) = found
        .next()
        .ok_or_else(|| format!("{text:?} has no operator: =, !=, =~ or !~"))?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let value = match quoted {
        Some(inner) => unescaped(inner),
        None => value.to_owned(),
    };
    Ok(Matcher {
        name: name.trim().to_owned(),
        operator,
        value,
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other @ ('"' | '\\')) => out.push(other),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, labels: &[(&str, &str)]) -> bool {
        let pairs = labels.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        let labels = Labels::new(pairs).unwrap();
        Matchers::of(&[parse(text).unwrap()]).hold(&labels)
    }

    #[test]
    fn each_operator_compares_the_whole_value() {
        let api = [("service", "api"), ("zone", "eu-1")];
        for (text, expected) in [
            ("service=api", true),
            ("service=ap", false),
            ("service!=api", false),
            ("service!=web", true),
            ("service=~\"ap.\"", true),
            ("service=~\"p\"", false),
            ("service=~\"web|api\"", true),
            ("service=~\"w.b|api\"", true),
            ("service!~\"a.*\"", false),
            ("service!~web", true),
            ("zone=~\"eu-\\\\d\"", true),
            ("nothing=\"\"", true),
            ("nothing=~\".*\"", true),
            ("nothing!=x", true),
            ("nothing=x", false),
        ] {
            assert_eq!(holds(text, &api), expected, "{text}");
        }
    }

    #[test]
    fn an_alternation_is_anchored_as_a_whole() {
        assert!(!holds("s=~\"a.|b\"", &[("s", "xb")]));
        assert!(!holds("s=~\"a.|b\"", &[("s", "abx")]));
    }

    #[test]
    fn broken_and_huge_expressions_are_told_and_match_nothing() {
        for value in ["(", "(?:(?:a{1000}){1000}){1000}", "a{4294967295}"] {
            let matcher = Matcher {
                name: "s".into(),
                operator: Operator::NotRegex,
                value: value.into(),
            };
            assert_eq!(problems(std::slice::from_ref(&matcher)).len(), 1, "{value}");
            let labels = Labels::new([("s".to_owned(), "x".to_owned())]).unwrap();
            assert!(!Matchers::of(&[matcher]).hold(&labels), "{value}");
        }
    }

    #[test]
    fn a_silence_of_everything_is_a_mistake() {
        for text in ["a=\"\"", "a=~\".*\"", "a!=b"] {
            assert_eq!(problems(&[parse(text).unwrap()]).len(), 1, "{text}");
        }
        assert_eq!(problems(&[]).len(), 1);
        let both = [parse("a=~\".*\"").unwrap(), parse("b=c").unwrap()];
        assert!(problems(&both).is_empty());
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for bad in ["", "=a", "name", "a!b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("a = \"x\\\"y\"").unwrap().value, "x\"y");
    }
}
