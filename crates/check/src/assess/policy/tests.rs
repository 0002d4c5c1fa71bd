//! What policies may cost, and that they cost the same each time.

use super::*;
use crate::documents::{Format, load};

fn ask(when: &str, json: &str) -> Result<bool, String> {
    ask_within(when, json, meter::STEPS_MAX)
}

fn ask_within(when: &str, json: &str, steps_max: u64) -> Result<bool, String> {
    let (roots, flaws) = load(Format::Json, json);
    assert_eq!(flaws, []);
    let rule = Rule::new(when, true).unwrap();
    let mut bench = Bench::new(steps_max);
    bench.set("new", value(&roots[0]));
    bench.set("old", value(&roots[0]));
    let first = bench.ask(&rule);
    assert_eq!(bench.ask(&rule), first, "the second answer differs: {when}");
    first
}

fn numbers(count: usize) -> String {
    let items: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    format!(
        r#"{{"list": [{}], "text": "{}"}}"#,
        items.join(","),
        "x".repeat(1000)
    )
}

#[test]
fn policies_that_never_end_are_ended() {
    let document = numbers(2000);
    for when in [
        "new.list.all(a, new.list.all(b, new.list.all(c, a + b + c >= 0)))",
        // An error on one side must not hide that it was ended.
        "true || new.list.all(a, new.list.all(b, new.list.all(c, a + b + c >= 0)))",
        "new.list.all(a, new.list.all(b, new == old))",
        "new.list.all(a, new.list.all(b, !new.text.matches('(x+)+y' + string(a))))",
        "new.text.matches('((a{100}){100}){100}')",
        "new.list.map(a, new.list.map(b, new)).size() > 1",
        "new.list.filter(a, new.list.map(b, [new.text, new.text]) != []).size() > 1",
        // Doubles a text at each of its levels.
        "[new.text + new.text].map(a, [a+a+a+a+a+a+a+a].map(b, [b+b+b+b+b+b+b+b].map(c, [c+c+c+c+c+c+c+c].map(d, d+d+d+d+d+d+d+d+d+d)))) != []",
        "[[new.list, new.list]].map(a, [a+a+a+a+a+a+a+a].map(b, [b+b+b+b+b+b+b+b].map(c, [c+c+c+c+c+c+c+c].map(d, d+d+d+d+d+d+d+d+d+d)))) != []",
    ] {
        let ended = ask_within(when, &document, 200_000);
        if when.starts_with("true ||") {
            assert_eq!(ended, Ok(true), "what is not evaluated costs nothing");
        } else {
            assert!(
                ended.as_ref().is_err_and(|flaw| flaw.contains("steps")),
                "{when}: {ended:?}"
            );
        }
    }
}

#[test]
fn honest_policies_over_large_documents_are_not() {
    let document = numbers(20_000);
    for when in [
        "new.list.all(a, a >= 0 && a < 20000)",
        "new == old && new.list.size() == old.list.size()",
        "new.list.filter(a, a % 2 == 0).map(a, a * 2).size() == 10000",
        "5 in new.list && new.text.contains('xxx')",
    ] {
        assert_eq!(ask(when, &document), Ok(true), "{when}");
    }
    let nested: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"name": "g{n}", "hosts": [{{"a": 1}}, {{"a": 2}}]}}"#))
        .collect();
    let nested = format!(r#"{{"groups": [{}]}}"#, nested.join(","));
    assert_eq!(
        ask(
            "new.groups.all(g, new.groups.exists_one(h, g.name == h.name) && g.hosts.all(h, h.a > 0))",
            &nested
        ),
        Ok(true)
    );
}

#[test]
fn maps_are_gone_over_in_the_order_of_their_keys() {
    let keys: Vec<String> = (0..50)
        .map(|n| format!(r#""k{:02}": {n}"#, 49 - n))
        .collect();
    let document = format!("{{{}}}", keys.join(","));
    for _ in 0..20 {
        assert_eq!(
            ask(
                "new.map(k, k)[0] == 'k00' && new.map(k, k)[49] == 'k49'",
                &document
            ),
            Ok(true)
        );
    }
}

#[test]
fn values_mean_what_they_say() {
    let document = r#"{"n": null, "big": 18446744073709551615, "half": 0.5, "yes": true, "list": [80, "a"], "m": {"a": {"b": 1}}}"#;
    for when in [
        "new.n == null && type(new.n) == null_type",
        "new.big > 9223372036854775807",
        "new.half < 1 && new.yes && new.list == [80, 'a'] && [80, 'a'] == new.list",
        "new.m == {'a': {'b': 1}} && {'a': {'b': 1}} == new.m",
        "has(new.m.a) && !has(new.m.b) && new.m['a'].b == 1",
        "'a' in new.m && 80 in new.list && !('b' in new.m)",
        "(new.list + [1]).size() == 3 && ([1] + new.list)[1] == 80 && (new.list + new.list)[3] == 'a'",
        "[new.m].map(m, m.a)[0].b == 1 && [new.m][0] == new.m && {'k': new.m}.k.a.b == 1",
        "[new.m, new.m].filter(m, m == new.m).size() == 2 && new.m in [new.m] && [[new.list]] == [[new.list]]",
        "type(new.m) == map && type(new.list) == list && dyn(new.m).a == {'b': 1}",
        "new.list.exists(x, x == 80) && new.m.exists(k, k == 'a') && size(new.m) == 1",
    ] {
        assert_eq!(ask(when, document), Ok(true), "{when}");
    }
    assert_eq!(
        ask("new.m.b.c == 1", document),
        Err("\"b\" is missing".to_owned())
    );
    assert_eq!(
        ask("new.list[7] == 1", document),
        Err("a list has no item at that index".to_owned())
    );
    assert_eq!(
        ask("new.m", document),
        Err("`when` gives map, not true or false".to_owned())
    );
}
