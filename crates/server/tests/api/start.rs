//! What a start leaves behind, and starts that come to nothing.

use std::os::unix::fs::PermissionsExt;

use wire::Identity;
use wire::api::StatusView;

use crate::support::{Server, code, config, refused_start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_is_the_owners_alone_and_lasts() {
    let server = Server::start().await;
    let file = server.started.token_file.clone();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(server.token.starts_with("pls_"), "{}", server.token.len());
    let control_key = server.started.control_key.clone();
    let data = server.data.clone();
    let folder = server.stop().await;

    let again = Server::with(config(&data)).await;
    assert_eq!(again.started.control_key, control_key);
    let _: StatusView = again.operator.get("/v1/status").await.unwrap();
    assert_eq!(again.journaled("token_issued").await.len(), 1);
    // The token's file may be taken away; the journal knows the token's hash and makes no other.
    std::fs::remove_file(&file).unwrap();
    again.stop().await;
    std::fs::write(&file, "").unwrap();
    let third = Server::with(config(&data)).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    assert_eq!(third.token, "");
    third.stop().await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_file_that_lay_there_open_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.token");
    std::fs::write(
        &file,
        "somebody else's, and longer than a token is, so that it must be cut: ".repeat(2),
    )
    .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::with(config(folder.path())).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let _: StatusView = server.operator.get("/v1/status").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_holds_no_secret() {
    let server = Server::start().await;
    let join = server.join_token("web-1", 60).await;
    server.with_role(model::Role::Viewer).await;
    let (data, token) = (server.data.clone(), server.token.clone());
    let _folder = server.stop().await;
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(data.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&token) && !text.contains(&join), "{name}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.listen = address;
    let words = refused_start(config.clone()).await;
    assert!(words.contains(&address.to_string()), "{words}");
    assert!(words.contains("another process"), "{words}");
    // Nothing of the failed start is in the way of the next.
    drop(taken);
    Server::with(config).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_do_not_share_a_data_folder() {
    let server = Server::start().await;
    let words = refused_start(config(&server.data)).await;
    assert!(words.contains("in use"), "{words}");
    assert!(words.contains(&std::process::id().to_string()), "{words}");
    // The first goes on undisturbed.
    let _: StatusView = server.operator.get("/v1/status").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_can_not_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let words = refused_start(config(&file.join("data"))).await;
    assert!(words.contains("a-file/data"), "{words}");
}

#[tokio::test]
async fn a_broken_control_key_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("control.key"), "nonsense").unwrap();
    let words = refused_start(config(folder.path())).await;
    assert!(words.contains("key"), "{words}");
}

#[tokio::test]
async fn a_topology_that_contradicts_itself_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let topology = config.topology.as_mut().unwrap();
    topology.environments.push(topology.environments[0].clone());
    let words = refused_start(config).await;
    assert!(words.contains("declared twice"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_topology_again_is_no_news() {
    let server = Server::start().await;
    let done = server.operator.set_topology(&crate::support::fleet()).await;
    assert_eq!(done.unwrap().detail, "nothing changed");
    assert_eq!(server.journaled("topology_set").await.len(), 1);
    let nobody = server.operator.as_identity(Identity::Nobody);
    let refused = nobody.set_topology(&crate::support::fleet()).await;
    let refused = code(&refused.unwrap_err());
    assert_eq!(refused, model::refusal::Code::Unauthenticated);
    server.stop().await;
}
