//! The list of tasks: who may put something on it, and how results get home.

use model::gate::ReferenceKind::Tcp;
use model::{Task, TaskKind};
use wire::SecretKey;
use wire::sign::{ORDER_TYPE, TASK_TYPE};

use super::servers::{Manner, Server};
use super::{outcome, reference, task};
use crate::fake::{Fake, Ship, eventually};

fn probe(id: &str, server: &Server) -> Task {
    let references = [(0, reference(Tcp, server.address()))].into();
    task(
        id,
        TaskKind::Probe {
            references,
            egress: None,
        },
    )
}

#[tokio::test]
async fn only_what_the_pinned_key_signed_for_this_host_is_done() {
    let (server, fake) = (Server::start(Manner::Silent).await, Fake::start().await);
    let mut ship = Ship::new(&fake);
    let other = SecretKey::generate().unwrap();
    let mut foreign = probe("foreign", &server);
    foreign.host = "web-02".parse().unwrap();
    {
        let mut inner = fake.inner();
        let forged = probe("forged", &server);
        inner.tasks = vec![
            other.seal(TASK_TYPE, &forged),
            fake.key.seal(ORDER_TYPE, &probe("other type", &server)),
            fake.key.seal(TASK_TYPE, &foreign),
            fake.key.seal(TASK_TYPE, &probe("good", &server)),
        ];
        inner.version += 1;
    }
    ship.start();
    outcome(&fake, "good").await;
    assert_eq!(server.connections(), 1);
    let ids: Vec<String> = fake.inner().results.iter().map(|r| r.id.clone()).collect();
    assert_eq!(ids, ["good"]);
    ship.kill().await;
}

#[tokio::test]
async fn results_wait_for_the_control_plane_and_outlive_nobody_s_interest() {
    let (server, fake) = (Server::start(Manner::Silent).await, Fake::start().await);
    let mut ship = Ship::new(&fake);
    ship.start();
    eventually("joined", || !fake.inner().beats.is_empty()).await;
    // It can fetch its list, and then nothing gets home.
    fake.inner().results_lost = true;
    fake.list(&[probe("first", &server)]);
    eventually("tried twice", || fake.inner().results_refused.len() >= 2).await;
    fake.inner().dead = true;
    fake.inner().results_lost = false;
    eventually("probed once", || server.connections() == 1).await;
    assert!(fake.inner().results.is_empty());
    fake.inner().dead = false;
    outcome(&fake, "first").await;
    assert_eq!(server.connections(), 1, "told again, not done again");

    // What left the list before it was told is not told any more.
    fake.inner().results_lost = true;
    for id in ["second", "third"] {
        fake.list(&[probe(id, &server)]);
        eventually("tried", || {
            let inner = fake.inner();
            inner.results_refused.iter().any(|result| result.id == id)
        })
        .await;
    }
    fake.inner().results_lost = false;
    outcome(&fake, "third").await;
    let told = fake.inner().results.clone();
    let told: Vec<&str> = told.iter().map(|result| result.id.as_str()).collect();
    assert_eq!(told, ["first", "third"]);
    ship.kill().await;
}

#[tokio::test]
async fn an_agent_that_starts_anew_does_what_is_still_listed() {
    let (server, fake) = (Server::start(Manner::Silent).await, Fake::start().await);
    let mut ship = Ship::new(&fake);
    fake.inner().results_lost = true;
    fake.list(&[probe("task", &server)]);
    ship.start();
    eventually("done, not told", || {
        !fake.inner().results_refused.is_empty()
    })
    .await;
    ship.kill().await;
    let left = ship.state().join("staging/1-0/trees/trial");
    std::fs::create_dir_all(&left).unwrap();
    fake.inner().results_lost = false;
    ship.start();
    outcome(&fake, "task").await;
    assert!(!left.exists(), "what a killed agent left is removed");
    ship.kill().await;
}
