//! What must happen on a host, and what must never.

use std::io::Write;
use std::time::Duration;

use model::OrderKind::{Forward, Rollback};
use model::{Bundle, Digest, Millis, Phase, ReportKind};

use crate::fake::{Fake, Ship, api, bundle, dispatch, eventually, package, peer};

pub(crate) const GOOD: &[u8] = b"generation = 1\n";

pub(crate) fn good() -> Bundle {
    bundle(&[("api.toml", GOOD), ("ok", b"")])
}

fn sick() -> Bundle {
    bundle(&[("api.toml", b"sick = true\n")])
}

pub(crate) async fn ready(fake: &Fake) -> Ship {
    let mut ship = Ship::new(fake);
    ship.start();
    eventually("joined", || !fake.inner().beats.is_empty()).await;
    ship
}

/// Generation 0 as the control plane knows it.
pub(crate) fn origin(fake: &Fake) -> Digest {
    fake.inner().enrolled[0].adopted[&api()]
}

pub(crate) async fn confirmed(fake: &Fake, generation: u64) {
    eventually("confirmed", || {
        let inner = fake.inner();
        inner.confirmed.iter().any(|c| c.generation.0 == generation)
    })
    .await;
}

#[tokio::test]
async fn a_good_order_is_confirmed_and_a_rollback_restores_every_byte() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    assert!(ship.live().is_dir() && !ship.live().is_symlink());
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 1).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
    assert_eq!(fake.inner().confirmed[0].digest, good().digest());
    eventually("exits counted", || {
        let inner = fake.inner();
        let last = inner.beats.last().unwrap();
        last.services[0].exits == Some(7) && last.services[0].healthy == Some(true)
    })
    .await;
    // The first beat knows no share of time yet; an idle machine may show 0.
    eventually("gauges told", || {
        let inner = fake.inner();
        let beat = inner.beats.last().unwrap();
        assert_eq!(beat.machine.is_some(), cfg!(target_os = "linux"));
        let gauges = &beat.gauges;
        let names: Vec<&str> = gauges.keys().map(String::as_str).collect();
        names == ["cpu", "disk", "memory"] && gauges.values().all(|full| *full <= 1000)
    })
    .await;

    let mut back = dispatch(2, Rollback, &good());
    back.order.digest = origin(&fake);
    back.bundle = None;
    fake.order(&back, &[]);
    confirmed(&fake, 2).await;
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    assert!(fake.reported().is_empty(), "{:?}", fake.reported());
    let aside = std::fs::read_dir(ship.state().join("aside"))
        .unwrap()
        .count();
    assert_eq!(aside, 1, "the folder that was live is kept");
}

#[tokio::test]
async fn a_failing_check_is_declined() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let broken = bundle(&[("api.toml", b"broken\n"), ("ok", b"")]);
    fake.order(&dispatch(1, Forward, &broken), &[b"broken\n", b""]);
    eventually("declined", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Declined { phase, running, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert_eq!((*phase, *running), (Phase::Check, origin(&fake)));
    assert!(!ship.live().is_symlink(), "nothing was touched");

    // The release goes back on every host that it reached, also where nothing was changed.
    let mut back = dispatch(2, Rollback, &good());
    back.order.digest = origin(&fake);
    back.bundle = None;
    fake.order(&back, &[]);
    confirmed(&fake, 2).await;
    assert!(!ship.live().is_symlink(), "nothing was touched");
}

#[tokio::test]
async fn failing_health_goes_back() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 1).await;
    fake.order(&dispatch(2, Forward, &sick()), &[b"sick = true\n"]);
    eventually("reverted", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [
        ReportKind::Reverted {
            from, to, phase, ..
        },
    ] = &reported[..]
    else {
        panic!("{reported:?}");
    };
    assert_eq!((*from, *to), (sick().digest(), good().digest()));
    assert_eq!(*phase, Phase::Health);
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
    assert_eq!(std::fs::read_dir(ship.live()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_silent_control_plane_means_back_at_the_deadline() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    fake.inner().confirm_hangs = true;
    let mut order = dispatch(1, Forward, &good());
    order.order.confirm_within_ms = Millis(1500);
    order.peers = [("web-02".parse().unwrap(), peer(true).await)].into();
    fake.order(&order, &[GOOD, b""]);
    eventually("reverted", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Reverted { phase, reason, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert_eq!(*phase, Phase::Confirm);
    assert!(reason.contains("a peer reaches"), "{reason}");
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
}

#[tokio::test]
async fn when_peers_are_cut_off_too_the_host_holds() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    fake.inner().confirm_hangs = true;
    let mut order = dispatch(1, Forward, &good());
    order.order.confirm_within_ms = Millis(1500);
    order.peers = [("web-02".parse().unwrap(), peer(false).await)].into();
    fake.order(&order, &[GOOD, b""]);
    eventually("swapped", || ship.read("api.toml") == "generation = 1\n").await;
    fake.inner().dead = true;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
    let status = agent::status(ship.state()).await.unwrap();
    assert!(status.services[0].detail.starts_with("holds"), "{status:?}");
    {
        let mut inner = fake.inner();
        (inner.dead, inner.confirm_hangs) = (false, false);
    }
    confirmed(&fake, 1).await;
    eventually("told", || {
        matches!(fake.reported()[..], [ReportKind::Holding { .. }])
    })
    .await;
}

#[tokio::test]
async fn a_forged_order_is_not_believed() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let forger = Fake::start().await;
    forger.order(&dispatch(1, Forward, &sick()), &[]);
    {
        let mut inner = fake.inner();
        inner.orders = forger.inner().orders.clone();
        inner.version += 1;
    }
    eventually("reported", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    assert!(
        matches!(
            reported[..],
            [ReportKind::Declined {
                phase: Phase::Accept,
                ..
            }]
        ),
        "{reported:?}"
    );
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 1).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
}

#[tokio::test]
async fn broken_downloads_go_on_where_they_broke_off() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let large: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
    let bundle = bundle(&[("api.toml", &large), ("ok", b"")]);
    fake.inner().break_after = vec![100_000, 100_000];
    fake.order(&dispatch(1, Forward, &bundle), &[&large, b""]);
    confirmed(&fake, 1).await;
    assert_eq!(std::fs::read(ship.live().join("api.toml")).unwrap(), large);
    let ranges = fake.inner().ranges.clone();
    assert!(!ranges.is_empty(), "it resumed");
    let parts = std::fs::read_dir(ship.state().join("blobs"))
        .unwrap()
        .count();
    assert_eq!(parts, 0, "nothing is left of the download");
}

#[tokio::test]
async fn wrong_bytes_are_declined() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    fake.order(&dispatch(1, Forward, &good()), &[b""]);
    fake.inner()
        .blobs
        .insert(Digest::of(GOOD), b"generation = 6\n".to_vec());
    eventually("declined", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Declined { phase, reason, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert_eq!(*phase, Phase::Stage);
    assert!(reason.contains("not what it is called"), "{reason}");
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
}

fn tar_of(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o755);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, &b"run"[..]).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&builder.into_inner().unwrap()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn packages_unpack_beside_the_tree_and_never_out_of_it() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let evil = tar_of("../../../escaped");
    let mut bundle = good();
    bundle
        .packages
        .insert("server".parse().unwrap(), package(&evil));
    fake.order(&dispatch(1, Forward, &bundle), &[GOOD, b"", &evil]);
    eventually("declined", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Declined { phase, reason, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert_eq!(*phase, Phase::Stage);
    assert!(reason.contains("leaves the archive"), "{reason}");
    assert!(!ship.folder.path().join("escaped").exists());
    let staging = std::fs::read_dir(ship.state().join("staging"))
        .unwrap()
        .count();
    assert_eq!(staging, 0);

    let fine = tar_of("bin/server");
    bundle
        .packages
        .insert("server".parse().unwrap(), package(&fine));
    fake.order(&dispatch(2, Forward, &bundle), &[&fine]);
    confirmed(&fake, 2).await;
    assert_eq!(ship.read("packages/server/bin/server"), "run");
}

#[tokio::test]
async fn a_kill_between_arming_and_confirmation_goes_back_at_the_next_start() {
    let fake = Fake::start().await;
    let mut ship = ready(&fake).await;
    fake.inner().confirm_hangs = true;
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    eventually("swapped", || ship.read("api.toml") == "generation = 1\n").await;
    ship.kill().await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
    // The control plane is gone as well: the host finds home alone.
    fake.inner().dead = true;
    ship.start();
    eventually("home", || ship.read("api.toml") == "generation = 0\n").await;
    fake.inner().dead = false;
    eventually("told", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Reverted { reason, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert!(reason.contains("began anew"), "{reason}");
}

#[tokio::test]
async fn a_person_reverts_with_the_control_plane_dead_and_with_the_agent_dead() {
    let fake = Fake::start().await;
    let mut ship = ready(&fake).await;
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 1).await;
    fake.inner().dead = true;
    let back = agent::revert_local(&ship.config, &api(), None, None)
        .await
        .unwrap();
    assert!(back.status.held_local && back.status.at_rest, "{back:?}");
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    let never = agent::revert_local(&ship.config, &api(), Some(Digest::of(b"x")), None).await;
    assert!(
        matches!(never, Err(agent::AgentError::Refused(_))),
        "{never:?}"
    );

    fake.inner().dead = false;
    fake.order(&dispatch(2, Forward, &good()), &[]);
    confirmed(&fake, 2).await;
    ship.kill().await;
    let status = agent::status(ship.state()).await.unwrap();
    assert!(!status.alive);
    let back = agent::revert_local(&ship.config, &api(), None, None)
        .await
        .unwrap();
    assert!(back.status.held_local, "{back:?}");
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    ship.start();
    eventually("told", || fake.reported().len() == 2).await;
    assert_eq!(ship.read("api.toml"), "generation = 0\n", "it stays");
}

#[tokio::test]
async fn a_damaged_home_is_mended_on_the_way_back() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 1).await;
    let next = bundle(&[("api.toml", b"next\n"), ("ok", b"")]);
    fake.order(&dispatch(2, Forward, &next), &[b"next\n"]);
    confirmed(&fake, 2).await;
    let tree = ship.state().join("trees").join(good().digest().to_string());
    std::fs::write(tree.join("api.toml"), "tampered\n").unwrap();
    std::fs::write(tree.join("extra.toml"), "added\n").unwrap();
    fake.order(&dispatch(3, Rollback, &good()), &[]);
    confirmed(&fake, 3).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
    assert!(!ship.live().join("extra.toml").exists());
}

#[tokio::test]
async fn a_full_disk_is_declined_in_clear_words() {
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    let state = ship.state().to_owned();
    std::fs::create_dir_all(&state).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(&state)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: mounting a small file system is not permitted here");
        return;
    }
    let unmount = Unmount(state.clone());
    ship.start();
    eventually("joined", || !fake.inner().beats.is_empty()).await;
    let large = vec![7; 20 << 20];
    let bundle = bundle(&[("api.toml", &large), ("ok", b"")]);
    fake.order(&dispatch(1, Forward, &bundle), &[&large, b""]);
    eventually("declined", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let [ReportKind::Declined { phase, reason, .. }] = &reported[..] else {
        panic!("{reported:?}");
    };
    assert_eq!(*phase, Phase::Stage);
    assert!(
        reason.contains("no space left on device: trees/"),
        "{reason}"
    );
    for folder in ["blobs", "staging"] {
        assert_eq!(std::fs::read_dir(state.join(folder)).unwrap().count(), 0);
    }

    // Not a byte left: a fitting order is declined too, rather than armed without a record.
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    fake.order(&dispatch(2, Forward, &good()), &[GOOD, b""]);
    eventually("declined", || fake.reported().len() == 2).await;
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    drop(filler);
    std::fs::remove_file(state.join("filler")).unwrap();
    fake.order(&dispatch(3, Forward, &good()), &[GOOD, b""]);
    confirmed(&fake, 3).await;
    ship.kill().await;
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[tokio::test]
async fn two_agents_do_not_share_a_state_folder() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let twin = agent::run(ship.config.clone(), Default::default()).await;
    let error = twin.unwrap_err().to_string();
    assert!(error.contains("is in use by pid"), "{error}");
}

#[tokio::test]
async fn the_peer_endpoint_says_whether_the_control_plane_is_there() {
    let fake = Fake::start().await;
    let ship = ready(&fake).await;
    let address = fake.inner().enrolled[0].peer_address.clone();
    let ask = || async {
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap();
        let answer = client
            .get(format!("http://{address}/v1/peer"))
            .send()
            .await
            .unwrap();
        answer.json::<serde_json::Value>().await.unwrap()["control_reachable"] == true
    };
    assert!(ask().await);
    fake.inner().dead = true;
    // A question that was under way when it died may still be answered.
    let mut asked = 0;
    while ask().await {
        asked += 1;
        assert!(asked < 100, "it never noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(ship);
}

#[tokio::test]
async fn links_in_the_live_folder_are_refused_with_clear_words() {
    let fake = Fake::start().await;
    let ship = Ship::new(&fake);
    std::os::unix::fs::symlink("/etc/hosts", ship.live().join("hosts")).unwrap();
    let error = agent::run(ship.config.clone(), Default::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
}
