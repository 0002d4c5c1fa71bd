//! What users see and are mailed, from a real listener, a real relay and a real folder.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};
use server::StatusPage;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, Server, config, raw};

/// Whom the relay was told to mail to, and what.
type Mails = Arc<Mutex<Vec<(String, String)>>>;

/// A relay that takes everything.
async fn relay() -> (u16, Mails) {
    let mails = Mails::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = mails.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(dialogue(stream, taken.clone()));
        }
    });
    (port, mails)
}

async fn dialogue(stream: TcpStream, mails: Mails) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut to = String::new();
    write.write_all(b"220 relay\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match line.get(..4).unwrap_or_default() {
            "RCPT" => {
                to.clone_from(&line);
                "250 ok"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|it| it != ".") {
                    // RFC 5322, 2.2.3, and RFC 2045, 6.7: long lines are folded or cut.
                    match line.strip_suffix('=') {
                        Some(part) => text.push_str(part),
                        None => text = text + &line + "\n",
                    }
                }
                let to = to.trim_start_matches("RCPT TO:<").trim_end_matches('>');
                mails.lock().unwrap().push((to.to_owned(), text));
                "250 queued"
            }
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// A control plane with a status page, for `api` and `web`.
async fn start(relay: Option<u16>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, relay).await;
    declare(&server).await;
    shows(&server, "/", "API &lt;b&gt;").await;
    keep(server, folder)
}

fn keep(mut server: Server, folder: TempDir) -> Server {
    server.keep(folder);
    server
}

async fn started(folder: &TempDir, relay: Option<u16>) -> Server {
    let mut config = config(&folder.path().join("data"));
    config.status = Some(StatusPage {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        export: Some(folder.path().join("export")),
        url: Some("https://status.example.com".into()),
        name: "Acme <&> Sons".into(),
    });
    config.notify = relay.map(|port| {
        let text = format!(
            "[smtp]\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nfrom = \"status@example.com\"\n"
        );
        (text, folder.path().to_owned())
    });
    Server::with(config).await
}

async fn declare(server: &Server) {
    let setup = json!({ "setup": { "components": [
        {"id": "api", "name": "API <b>", "services": ["api"]},
        {"id": "web", "name": "Web", "services": ["web"]},
    ] } });
    let request = raw(Method::PUT, server.url("/v1/oncall"));
    let request = request.header("authorization", format!("Bearer {}", server.token));
    let request = request.header(CONTENT_TYPE, "application/json");
    let answer = request.body(setup.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// An alert that users see, about `service`.
async fn fail(server: &Server, service: &str) {
    let alerts = json!([{"labels": {"alertname": "Errors", "service": service, "severity": "critical"},
        "endsAt": "2126-11-21T07:24:33.632Z"}]);
    let request = raw(Method::POST, server.url("/am/api/v2/alerts"));
    let request = request.header("authorization", format!("Bearer {}", server.token));
    let request = request.header(CONTENT_TYPE, "application/json");
    let answer = request.body(alerts.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn say(server: &Server, words: &str) {
    let say = json!({"say": "update", "status": "identified", "words": words});
    let path = "/v1/incidents/1/words";
    let _: Value = server.operator.post(path, &say).await.unwrap();
}

fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.started.status.unwrap())
}

async fn get(server: &Server, path: &str) -> reqwest::Response {
    let request = raw(Method::GET, url(server, path));
    request.send().await.unwrap()
}

async fn post(server: &Server, path: &str, body: &str) -> (u16, String) {
    let request = raw(Method::POST, url(server, path)).body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn text(server: &Server, path: &str) -> String {
    get(server, path).await.text().await.unwrap()
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn shows(server: &Server, path: &str, words: &str) -> String {
    until(words, async || {
        Some(text(server, path).await).filter(|it| it.contains(words))
    })
    .await
}

/// The path of the first link that begins with `beginning`, in the mail number `number` to `to`.
async fn link(mails: &Mails, to: &str, number: usize, beginning: &str) -> (String, String) {
    until("the mail", async || {
        let mails = mails.lock().unwrap();
        let (_, text) = mails.iter().filter(|it| it.0 == to).nth(number)?;
        let rest = &text[text.find(beginning)? + "https://status.example.com".len()..];
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == '>');
        Some((rest[..end?].to_owned(), text.clone()))
    })
    .await
}

const CONFIRM: &str = "https://status.example.com/confirm/";
const LEAVE: &str = "https://status.example.com/u/";

async fn subscribe(server: &Server, mails: &Mails, address: &str, more: &str) {
    let form = format!("address={}{more}", address.replace('@', "%40"));
    assert_eq!(post(server, "/subscribe", &form).await.0, 200);
    let (path, _) = link(mails, address, 0, CONFIRM).await;
    assert_eq!(post(server, &path, "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_documents_and_files_say_the_same_and_need_nothing_else() {
    let server = start(None).await;
    let front = shows(&server, "/", "All Systems Operational").await;
    assert!(front.contains("Acme &lt;&amp;&gt; Sons status") && front.contains("API &lt;b&gt;"));
    for no in [
        "<script",
        "http-equiv=\"refresh\"",
        "<form",
        "@import",
        "style=\"",
    ] {
        assert!(!front.contains(no), "{no}");
    }
    fail(&server, "api").await;
    say(&server, "A disk <i>is full</i>.").await;
    assert!(front.contains("<use href=\"#days\"></use>"));
    let front = shows(&server, "/", "A disk &lt;i&gt;is full&lt;/i&gt;.").await;
    assert!(front.contains("Major System Outage") && front.len() < 50_000);
    let order = front.find("Investigating</b>") < front.find("Identified</b>");
    assert!(order, "updates stand in their order");
    assert!(
        text(&server, "/incidents/1")
            .await
            .contains("A disk &lt;i&gt;")
    );

    let answer = get(&server, "/api/v2/summary.json").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let etag = answer.headers()[ETAG].clone();
    let summary: Value = answer.json().await.unwrap();
    assert_eq!(summary["status"]["indicator"], "critical");
    assert_eq!(summary["incidents"][0]["status"], "identified");
    let again = raw(Method::GET, url(&server, "/api/v2/summary.json"));
    let again = again.header(IF_NONE_MATCH, etag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    for name in [
        "status",
        "components",
        "incidents",
        "incidents/unresolved",
        "scheduled-maintenances",
        "scheduled-maintenances/upcoming",
        "scheduled-maintenances/active",
    ] {
        let answer = get(&server, &format!("/api/v2/{name}.json")).await;
        let value: Value = answer.json().await.unwrap();
        assert_eq!(value["page"]["name"], "Acme <&> Sons", "{name}");
    }
    assert!(text(&server, "/history.atom").await.contains("<entry>"));
    assert!(text(&server, "/history.rss").await.contains("<item>"));
    assert!(text(&server, "/badge.svg").await.contains("Major outage"));
    for name in ["badge.svg", "history.atom", "history.rss"] {
        let text = text(&server, &format!("/{name}")).await;
        assert_eq!(text.matches('<').count(), text.matches('>').count());
        let opened =
            text.matches('<').count() - 2 * text.matches("</").count() - text.matches("/>").count();
        let prolog = text.matches("<?").count();
        assert_eq!(opened, prolog, "each element of {name} is closed");
    }
    let policy = get(&server, "/").await.headers()["content-security-policy"].clone();
    assert!(policy.to_str().unwrap().starts_with("default-src 'none'"));

    let export = server.data.parent().unwrap().join("export");
    let same = |path: &str, file: &str| (path.to_owned(), export.join(file));
    for (path, file) in [
        same("/history.atom", "history.atom"),
        same("/incidents/1", "incidents/1/index.html"),
        same(
            "/api/v2/incidents/unresolved.json",
            "api/v2/incidents/unresolved.json",
        ),
        same("/", "index.html"),
    ] {
        let written = async || (read(&file) == text(&server, &path).await).then_some(());
        until(&path, written).await;
    }
    assert_eq!(get(&server, "/../etc/passwd").await.status(), 404);
    assert_eq!(
        post(&server, "/subscribe", "address=a%40b.example").await.0,
        404,
        "no relay"
    );
    let folder = server.stop().await.unwrap();
    assert!(read(&folder.path().join("export/index.html")).contains("is full"));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_while_the_control_loop_hangs() {
    let server = start(None).await;
    shows(&server, "/", "All Systems Operational").await;
    let journal = rusqlite::Connection::open(server.data.join("journal.db")).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The loop waits for the journal now; the API's answer would, too.
    let hanging = tokio::spawn({
        let operator = server.operator.clone();
        async move {
            operator
                .post::<Value, Value>("/v1/tokens", &json!({"name": "x", "role": "viewer"}))
                .await
        }
    });
    for _ in 0..20 {
        assert_eq!(get(&server, "/").await.status(), 200);
        assert_eq!(get(&server, "/api/v2/status.json").await.status(), 200);
    }
    journal.execute_batch("ROLLBACK").unwrap();
    drop(hanging.await.unwrap());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_said_yes_is_told_of_what_they_asked_for_until_they_leave() {
    let (port, mails) = relay().await;
    let server = start(Some(port)).await;
    shows(&server, "/", "<form").await;
    subscribe(&server, &mails, "ada@example.com", "&component=api").await;
    subscribe(&server, &mails, "bob@example.com", "&component=web").await;
    // Asked for by somebody, but nobody said yes: opening the link is not saying yes.
    assert_eq!(
        post(&server, "/subscribe", "address=eve%40example.com")
            .await
            .0,
        200
    );
    let (path, _) = link(&mails, "eve@example.com", 0, CONFIRM).await;
    assert!(
        text(&server, &path)
            .await
            .contains("<form method=\"post\">")
    );

    fail(&server, "api").await;
    let (path, mail) = link(&mails, "ada@example.com", 1, LEAVE).await;
    assert!(mail.contains("Subject: [Investigating] API"), "{mail}");
    assert!(mail.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"));
    assert!(
        text(&server, &path)
            .await
            .contains("<form method=\"post\">")
    );
    say(&server, "A disk is full.").await;
    let (_, mail) = link(&mails, "ada@example.com", 2, LEAVE).await;
    assert!(
        mail.contains("A disk is full.") && mail.contains("[Identified]"),
        "{mail}"
    );

    let one_click = "List-Unsubscribe=One-Click";
    assert_eq!(post(&server, &path, one_click).await.0, 200);
    assert_eq!(
        post(&server, &path, "").await.0,
        200,
        "twice is as good as once"
    );
    subscribe(&server, &mails, "end@example.com", "").await;
    say(&server, "It is mended.").await;
    link(&mails, "end@example.com", 1, LEAVE).await;
    let counted = |to: &str| mails.lock().unwrap().iter().filter(|it| it.0 == to).count();
    assert_eq!(counted("ada@example.com"), 3, "a question and two updates");
    assert_eq!(counted("bob@example.com"), 1);
    assert_eq!(counted("eve@example.com"), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_learnt_forged_or_smuggled_by_the_form_and_its_links() {
    let (port, mails) = relay().await;
    let server = start(Some(port)).await;
    shows(&server, "/", "<form").await;
    subscribe(&server, &mails, "ada@example.com", "").await;
    let known = post(&server, "/subscribe", "address=ada%40example.com").await;
    let unknown = post(&server, "/subscribe", "address=bob%40example.com").await;
    assert_eq!(known, unknown, "whether an address is known is not told");

    for smuggled in [
        "ada%40example.com%0d%0aBcc%3A%20eve%40example.com",
        "ada%40example.com%2Ceve%40example.com",
        "a%20%3Cada%40example.com%3E",
        "ada",
        "",
    ] {
        let (status, _) = post(&server, "/subscribe", &format!("address={smuggled}")).await;
        assert_eq!(status, 400, "{smuggled}");
    }
    assert_eq!(
        post(&server, "/subscribe", "address=a%40b.example&component=db")
            .await
            .0,
        400
    );

    let (path, _) = link(&mails, "bob@example.com", 0, CONFIRM).await;
    let ticket = path.strip_prefix("/confirm/").unwrap().to_owned();
    let last = if ticket.ends_with('A') { "Q" } else { "A" };
    let forged = format!("{}{last}", &ticket[..ticket.len() - 1]);
    for path in [
        format!("/confirm/{forged}"),
        format!("/u/{ticket}"),
        "/u/x".into(),
        "/confirm/%00".into(),
    ] {
        assert_eq!(post(&server, &path, "").await.0, 404, "{path}");
    }
    fail(&server, "api").await;
    link(&mails, "ada@example.com", 2, LEAVE).await;
    let strangers = mails
        .lock()
        .unwrap()
        .iter()
        .filter(|it| it.0.contains("eve"))
        .count();
    assert_eq!(strangers, 0);

    let mut statuses = Vec::new();
    for n in 0..20 {
        let (status, _) = post(
            &server,
            "/subscribe",
            &format!("address=n{n}%40example.com"),
        )
        .await;
        statuses.push(status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_are_told_within_a_minute_and_nobody_twice() {
    let (port, mails) = relay().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    let mut store =
        subscribers::Subscribers::open(&folder.path().join("data/subscribers.db")).unwrap();
    for n in 0..1000 {
        let address = format!("n{n}@example.com");
        let asked = store.ask(
            subscribers::Kind::Mail,
            &address,
            &[],
            model::Timestamp::now(),
        );
        assert!(store.confirm(&asked.unwrap().unwrap().unwrap()).unwrap());
    }
    drop(store);
    let server = started(&folder, Some(port)).await;
    declare(&server).await;
    fail(&server, "api").await;
    // PATIENCE is that minute.
    until("a thousand mails", async || {
        (mails.lock().unwrap().len() >= 1000).then_some(())
    })
    .await;
    let folder = keep(server, folder).stop().await.unwrap();
    // After a restart the same update is no news.
    let server = started(&folder, Some(port)).await;
    shows(&server, "/", "Major System Outage").await;
    say(&server, "A disk is full.").await;
    until("the next", async || {
        (mails.lock().unwrap().len() >= 2000).then_some(())
    })
    .await;
    let mut told: Vec<String> = mails
        .lock()
        .unwrap()
        .iter()
        .filter(|it| it.1.contains("[Investigating]"))
        .map(|it| it.0.clone())
        .collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!((told.len(), all), (1000, 1000));
    server.stop().await;
}
