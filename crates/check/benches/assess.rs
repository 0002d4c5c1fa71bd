//! How long the static checks of a large configuration take: 1 MB of YAML, TOML
//! and JSON, each against one schema and 50 policies.
//!
//! Everything that `assess` does is in the time: reading the document twice (new
//! and old), compiling schema and policies, all checks. `--write FOLDER` leaves
//! the documents, the schema and the policies there, for other programs.
//!
//! `cargo bench -p check --bench assess [-- --json] [-- --write FOLDER]`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use check::Tree;
use model::bundle::{Bundle, Commands, FileEntry, Plan};
use model::gate::{CheckSet, Policy, Severity};
use model::{BundlePath, Digest};
use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Odd, so that the median is a run that happened.
const RUNS: usize = 11;
const DOCUMENT_BYTES_MIN: usize = 1 << 20;
const POLICIES: usize = 50;
/// What people wait for without noticing.
const GOAL_MS: f64 = 200.0;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let folder = arguments.iter().position(|argument| argument == "--write");
    let document = document();
    let written = [
        ("service.yaml", yaml(&document)),
        ("service.toml", toml_edit::ser::to_string(&document)?),
        ("service.json", serde_json::to_string_pretty(&document)?),
    ];
    if let Some(folder) = folder.and_then(|at| arguments.get(at + 1)) {
        write(Path::new(folder), &written)?;
    }
    let rows = written.iter().map(|(path, text)| measure(path, text));
    let rows = rows.collect::<Outcome<Vec<Value>>>()?;
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(
            out,
            "{}",
            json!({"runs": RUNS, "goal_ms": GOAL_MS, "assess": rows})
        )?;
        return Ok(());
    }
    writeln!(out, "{RUNS} runs: median (min to max); goal: {GOAL_MS} ms")?;
    for row in &rows {
        let ms = |name: &str| row["ms"][name].as_f64().unwrap_or_default();
        writeln!(
            out,
            "{}: {} bytes, 1 schema, {POLICIES} policies: {:.1} ms ({:.1} to {:.1})",
            row["file"].as_str().unwrap_or_default(),
            row["bytes"],
            ms("median"),
            ms("min"),
            ms("max")
        )?;
    }
    Ok(())
}

fn measure(path: &str, text: &str) -> Outcome<Value> {
    let rules = rules(path);
    let problems = check::problems(&rules);
    if !problems.is_empty() {
        return Err(format!("the bench's own rules have problems: {problems:?}").into());
    }
    let (files, old_files) = (
        contents(path, text)?,
        contents(path, &text.replacen("a00001", "b00001", 1))?,
    );
    let (bundle, old_bundle) = (bundle(&files)?, bundle(&old_files)?);
    let new = Tree {
        bundle: &bundle,
        files: &files,
    };
    let old = Tree {
        bundle: &old_bundle,
        files: &old_files,
    };
    let mut times = Vec::new();
    for run in 0..=RUNS {
        let begin = Instant::now();
        let assessment = check::assess(&rules, &[], &new, Some(&old));
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        if !assessment.findings.is_empty() {
            return Err(format!(
                "the bench's own document is refused: {}",
                assessment.findings[0]
            )
            .into());
        }
        // The first run warms up caches.
        if run > 0 {
            times.push(took);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({
        "file": path,
        "bytes": text.len(),
        "policies": POLICIES,
        "ms": {"median": times[RUNS / 2], "min": times[0], "max": times[RUNS - 1]},
    }))
}

/// Routes of a gateway, until there are enough.
fn document() -> Value {
    let route = |n: usize| {
        json!({
            "name": format!("route-a{n:05}"),
            "path": format!("/v1/tenants/{n}/orders"),
            "upstream": format!("http://orders-{}.internal:8080", n % 40),
            "deadline_ms": 100 + n % 900,
            "retries": n % 4,
            "weight": 0.5,
            "public": n.is_multiple_of(3),
            "tags": ["orders", format!("zone-{}", n % 3)],
            "limits": {"requests_per_s": 100 + n, "burst": 50},
        })
    };
    let mut bytes = 0;
    let mut routes = Vec::new();
    while bytes < DOCUMENT_BYTES_MIN {
        let route = route(routes.len());
        // The shortest of the three formats is long enough.
        bytes += route.to_string().len();
        routes.push(route);
    }
    json!({"listen": "0.0.0.0:8080", "mode": "safe", "limits": {"threads": 8}, "routes": routes})
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["listen", "routes"],
        "additionalProperties": false,
        "properties": {
            "listen": {"type": "string", "pattern": "^[0-9.]+:[0-9]+$"},
            "mode": {"enum": ["fast", "safe"]},
            "limits": {"type": "object", "properties": {"threads": {"type": "integer", "minimum": 2}}},
            "routes": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/route"}},
        },
        "$defs": {"route": {
            "type": "object",
            "required": ["name", "path", "upstream"],
            "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "pattern": "^route-[a-z0-9]+$"},
                "path": {"type": "string", "pattern": "^/"},
                "upstream": {"type": "string", "maxLength": 200},
                "deadline_ms": {"type": "integer", "minimum": 1, "maximum": 60000},
                "retries": {"type": "integer", "minimum": 0, "maximum": 5},
                "weight": {"type": "number", "exclusiveMinimum": 0},
                "public": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
                "limits": {"type": "object", "properties": {"requests_per_s": {"type": "integer"}, "burst": {"type": "integer"}}},
            },
        }},
    })
}

/// One in five goes over all routes, the others look at one place.
fn expression(n: usize) -> String {
    match n % 5 {
        0 => format!("new.routes.exists(r, r.deadline_ms > {})", 60_000 + n),
        1 => format!("new.limits.threads < 2 || new.limits.threads > {}", 100 + n),
        2 => format!("has(new.debug) && new.debug == {n}"),
        3 => format!(
            "old != null && new.routes.size() * {} < old.routes.size()",
            2 + n
        ),
        _ => format!("new.routes[{n}].name == '' || !new.listen.startsWith('0.')"),
    }
}

fn rules(path: &str) -> CheckSet {
    let policy = |n| Policy {
        name: format!("policy-{n}"),
        file: Some(path.to_owned()),
        when: expression(n),
        severity: Severity::Deny,
        message: "not like this".to_owned(),
    };
    CheckSet {
        schemas: [(path.to_owned(), schema().to_string())].into(),
        policies: (0..POLICIES).map(policy).collect(),
        ..CheckSet::default()
    }
}

/// Block style, as people write it.
fn yaml(document: &Value) -> String {
    let mut out = String::new();
    let Value::Object(fields) = document else {
        return out;
    };
    for (key, value) in fields {
        match value {
            Value::Array(items) => {
                out.push_str(&format!("{key}:\n"));
                for item in items.iter().filter_map(Value::as_object) {
                    for (at, (key, value)) in item.iter().enumerate() {
                        let lead = if at == 0 { "  - " } else { "    " };
                        out.push_str(&format!("{lead}{key}: {value}\n"));
                    }
                }
            }
            other => out.push_str(&format!("{key}: {other}\n")),
        }
    }
    out
}

fn contents(path: &str, text: &str) -> Outcome<BTreeMap<BundlePath, Vec<u8>>> {
    Ok([(path.parse()?, text.as_bytes().to_vec())].into())
}

fn bundle(files: &BTreeMap<BundlePath, Vec<u8>>) -> Outcome<Bundle> {
    let entry = |bytes: &Vec<u8>| FileEntry {
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        executable: false,
    };
    Ok(Bundle {
        service: "api".parse()?,
        files: files
            .iter()
            .map(|(path, bytes)| (path.clone(), entry(bytes)))
            .collect(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    })
}

fn write(folder: &Path, documents: &[(&str, String)]) -> Outcome {
    std::fs::create_dir_all(folder)?;
    for (path, text) in documents {
        std::fs::write(folder.join(path), text)?;
    }
    std::fs::write(folder.join("schema.json"), schema().to_string())?;
    let policies: Vec<String> = (0..POLICIES).map(expression).collect();
    std::fs::write(folder.join("policies.json"), json!(policies).to_string())?;
    Ok(())
}
