//! The API server with packages: what they hold, and how they speak to the authentication service.

use std::path::Path;

use drill::auth::AuthStats;
use drill::service::Stats;

use crate::world::{PATIENCE, Program, ask, command, configure, get, unused};

const ANY: &str = "127.0.0.1:0";

/// A host's folders with a configuration; packages are put in afterwards.
struct Host {
    dir: tempfile::TempDir,
    config: String,
}

impl Host {
    fn new(auth: std::net::SocketAddr) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("live");
        std::fs::create_dir(&live).unwrap();
        let config = configure(&live, auth, "work_ms = 1");
        Host { dir, config }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn package(&self, folder: &str, name: &str, version: &str, uses: &str) {
        let folder = self.dir.path().join(folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = format!("name = \"{name}\"\nversion = \"{version}\"\n{uses}\n");
        std::fs::write(folder.join("extension.toml"), manifest).unwrap();
    }

    fn released(&self, name: &str, version: &str, uses: &str) {
        self.package("live/packages", name, version, uses);
    }

    fn deployed(&self, name: &str, version: &str, uses: &str) {
        self.package("deployed", name, version, uses);
    }

    fn arguments(&self, listen: &str) -> Vec<String> {
        let (deployed, run) = (self.path("deployed"), self.path("run"));
        let arguments = [
            "drill-service",
            "--config",
            &self.config,
            "--listen",
            listen,
            "--environment",
            "production",
            "--host",
            "web-1",
            "--deployed",
            &deployed,
            "--run",
            &run,
        ];
        arguments.map(str::to_owned).into()
    }

    fn start(&self) -> (Program, std::net::SocketAddr) {
        let mut program = Program::start(self.arguments(ANY).iter().map(String::as_str));
        let address = program.address();
        (program, address)
    }
}

const SESSIONS: &str = "[session_store]\nfolder = \"sessions\"";
const TOKENS: &str = "[authentication]\nprotocol = \"token-exchange\"";

#[test]
fn two_packages_that_want_one_store_end_the_server() {
    let host = Host::new(unused());
    host.deployed("legacy-session", "2.3.0", SESSIONS);
    host.released("session-store", "3.0.0", SESSIONS);
    let listen = unused();
    let mut server = command(
        host.arguments(&listen.to_string())
            .iter()
            .map(String::as_str),
    );
    let server = server.spawn().unwrap();
    // The kernel takes connections while the package waits for its store, and nobody answers them.
    let queued = crate::world::until("a connection", || ask(listen, "/healthz").ok());
    let ended = server.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let words = String::from_utf8(ended.stderr).unwrap();
    for part in ["session-store 3.0.0", "sessions", "legacy-session 2.3.0"] {
        assert!(words.contains(part), "{words}");
    }
    let mut answer = String::new();
    let read = std::io::Read::read_to_string(&mut &queued, &mut answer);
    assert!(read.is_err() || answer.is_empty(), "{answer}");
}

#[test]
fn a_store_outlives_no_server_that_held_it() {
    let host = Host::new(unused());
    host.deployed("legacy-session", "2.3.0", SESSIONS);
    host.released("carts", "1.0.0", "[session_store]\nfolder = \"carts/open\"");
    for _ in 0..2 {
        let (server, address) = host.start();
        let (_, stats) = get(address, "/stats", PATIENCE).unwrap();
        let stats: Stats = serde_json::from_value(stats).unwrap();
        assert_eq!(stats.packages, ["legacy-session 2.3.0", "carts 1.0.0"]);
        let owner = Path::new(&host.path("run")).join("sessions/owner");
        assert_eq!(
            std::fs::read_to_string(&owner).unwrap(),
            "legacy-session 2.3.0\n"
        );
        let held = std::fs::File::open(&owner).unwrap();
        assert!(held.try_lock().is_err());
        server.signal(rustix::process::Signal::KILL);
    }
}

#[test]
fn a_package_can_speak_what_the_authentication_service_does_not() {
    for (api, status) in [("1", 500), ("2", 200)] {
        let mut auth = Program::start(["drill-auth", "--listen", ANY, "--api", api]);
        let auth_address = auth.address();
        let host = Host::new(auth_address);
        host.released("web", "2.0.0", TOKENS);
        let (server, address) = host.start();
        // Nothing shows before customers come.
        assert_eq!(get(address, "/healthz", PATIENCE).unwrap().0, 200);
        for _ in 0..3 {
            let (seen, body) = get(address, "/v1/orders", PATIENCE).unwrap();
            assert_eq!(seen, status, "{body}");
            if status == 500 {
                let reason = body["reason"].as_str().unwrap();
                assert!(
                    reason.contains("POST /v2/token with status 404"),
                    "{reason}"
                );
            }
        }
        let (_, asked) = get(auth_address, "/stats", PATIENCE).unwrap();
        let asked: AuthStats = serde_json::from_value(asked).unwrap();
        let expected = if status == 500 { (0, 3) } else { (3, 0) };
        assert_eq!((asked.tokens, asked.unknown), expected);
        assert!(server.end() && auth.end());
    }
}

#[test]
fn check_reads_packages_and_takes_nothing() {
    let host = Host::new(unused());
    let check = || {
        let mut arguments = host.arguments(ANY);
        arguments.push("--check".to_owned());
        let done = command(arguments.iter().map(String::as_str)).output();
        let done = done.unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    host.deployed("legacy-session", "2.3.0", SESSIONS);
    host.released("session-store", "3.0.0", SESSIONS);
    assert_eq!(check().0, Some(0));
    assert!(!Path::new(&host.path("run")).exists());
    host.released("web", "2.0.0", TOKENS);
    host.deployed("sso-client", "1.0.0", TOKENS);
    let (code, words) = check();
    assert_eq!(code, Some(1));
    assert!(
        words.contains("sso-client 1.0.0 and web 2.0.0 both"),
        "{words}"
    );
    host.released("web", "2.0.0", "[sessionstore]\nfolder = \"x\"");
    let (code, words) = check();
    assert_eq!(code, Some(1));
    assert!(
        words.contains("web/extension.toml") && words.contains("sessionstore"),
        "{words}"
    );
}
