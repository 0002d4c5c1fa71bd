//! What is taken for a secret, and what is not.

use super::*;

fn found(path: &str, text: &str) -> Vec<String> {
    found_with(path, text, &[])
}

fn found_with(path: &str, text: &str, literals: &[&str]) -> Vec<String> {
    let rules = model::CheckSet {
        literals: literals.iter().map(|it| (*it).to_owned()).collect(),
        ..model::CheckSet::default()
    };
    let assessment = super::super::tests::assess_files(&rules, &[(path, text)], None);
    let secret = |it: &&model::Finding| it.help.as_deref() == Some(HELP);
    let findings = assessment.findings.iter().filter(secret);
    findings
        .map(|it| format!("{}:{} {}", it.line, it.column, it.message))
        .collect()
}

/// Put together at run time, so that no scanner of sources takes it for real.
fn fake(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn tokens_of_known_kinds_in_any_file() {
    let jwt = fake(&[
        "eyJ",
        "hbGciOiJIUzI1NiJ9",
        ".eyJ",
        "zdWIiOiIxMjM0NTY3ODkwIn0",
        ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    ]);
    for (secret, what) in [
        (fake(&["AKIA", "Q3EGQWERTYUIOPAS"]), "an AWS access key"),
        (fake(&["ghp_", &"a1B2".repeat(9)]), "a GitHub token"),
        (
            fake(&["xoxb-", "123456789012-abcdefghijkl"]),
            "a Slack token",
        ),
        (fake(&["sk_live_", "abcdefghijklmnop1234"]), "a Stripe key"),
        (
            fake(&[
                "-----BEGIN RSA ",
                "PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            ]),
            "a private key",
        ),
        (jwt, "a JSON web token"),
        (
            "postgres://app:hunter2@db/app".to_owned(),
            "a password in a URL",
        ),
        (
            "https://id.internal/x?a=1&access_token=abcdef123".to_owned(),
            "a secret in a URL",
        ),
    ] {
        let expected = vec![format!("1:3 {what} stands here in the clear")];
        assert_eq!(found("notes.txt", &format!("# {secret}")), expected);
        assert_eq!(
            found("a.yaml", &format!("# {secret}\na: 1")),
            if secret.contains('\n') {
                found("a.yaml", &format!("# {secret}\na: 1"))
            } else {
                expected
            }
        );
        for finding in found("notes.txt", &secret) {
            assert!(!finding.contains(&secret[8..12]), "{finding}");
        }
    }
}

#[test]
fn literals_under_names_of_secrets() {
    let text = "password: hunter2\ndb:\n  dbPassword: 12345\n  api_key: abc\ntokens: [a, \"${T}\"]\nsigning-key: x1\n";
    assert_eq!(
        found("a.yaml", text),
        [
            "1:11 password looks like a secret in the clear",
            "3:15 dbPassword looks like a secret in the clear",
            "4:12 api_key looks like a secret in the clear",
            "5:10 tokens[0] looks like a secret in the clear",
            "6:14 signing-key looks like a secret in the clear",
        ]
    );
    assert_eq!(
        found_with(
            "a.yaml",
            text,
            &["/password", "/db/*", "/tokens", "/signing-key"]
        ),
        [""; 0]
    );
    assert_eq!(
        found(
            ".env",
            "export DB_PASSWORD=\"hunter2\"\nA=1\n#PASSWORD=x\nTOKEN=$T\n"
        ),
        ["1:1 DB_PASSWORD looks like a secret in the clear"]
    );
    assert_eq!(
        found("a.toml", "credential = \"k8Zq2mP0vX7tRw4yB1nC6dJ3\"\n").len(),
        1
    );
    assert_eq!(
        found("a.toml", "public_key = \"k8Zq2mP0vX7tRw4yB1nC6dJ3\"\n").len(),
        0
    );
}

#[test]
fn references_are_fine() {
    for reference in [
        "${secret:db}",
        "secret://db",
        "vault:kv/db#password",
        "file:/run/secrets/db",
        "${DB_PASSWORD}",
        "$DB_PASSWORD",
        "{{ db_password }}",
        "op://vault/db",
        "ENC[AES256]",
        "",
        "null",
        "<password>",
        "****",
        "arn:aws:secretsmanager:x",
    ] {
        assert_eq!(
            found("a.json", &format!("{{\"password\": {reference:?}}}")),
            [""; 0],
            "{reference}"
        );
    }
    for literal in ["hunter2${A}", "$1abc", "${", "secret://", "a$b"] {
        assert_eq!(
            found("a.json", &format!("{{\"password\": {literal:?}}}")).len(),
            1,
            "{literal}"
        );
    }
    assert_eq!(
        found(
            "a.toml",
            "url = \"https://app:${PASSWORD}@db/x?token=${T}\"\n"
        ),
        [""; 0]
    );
}

/// Pieces of configurations as they are in the world.
#[test]
fn ordinary_configurations_hold_no_secrets() {
    for (path, text) in [
        ("nginx.conf", include_str!("tests/nginx.conf")),
        ("application.yaml", include_str!("tests/application.yaml")),
        ("deployment.yaml", include_str!("tests/deployment.yaml")),
        ("prometheus.yml", include_str!("tests/prometheus.yml")),
        ("package.json", include_str!("tests/package.json")),
        ("service.toml", include_str!("tests/service.toml")),
    ] {
        assert_eq!(found(path, text), [""; 0], "{path}");
    }
}

#[test]
fn names() {
    for secret in [
        "password",
        "DB_PASSWORD",
        "dbPassword",
        "clientSecret",
        "api-key",
        "apiKey",
        "access_token",
        "private_key",
        "tokens",
        "JWT_SECRET",
        "PASSWORD_",
        "Übertoken-Secret",
    ] {
        assert!(names_secret(secret), "{secret}");
    }
    for plain in [
        "password_file",
        "token_url",
        "max_tokens",
        "secret_name",
        "secretName",
        "public_key",
        "key",
        "tokenizer",
        "passwordless",
        "token_ttl_s",
        "keys",
        "secretariat",
        "primary_key",
        "sort_key",
        "password_min_length",
    ] {
        assert!(!names_secret(plain), "{plain}");
    }
}
