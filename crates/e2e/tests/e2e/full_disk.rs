//! A host whose disk has no room for a bundle.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wire::api::ReleaseState;

use crate::fleet::{self, live, starts};
use crate::wait::s;

/// Room for an agent's state, the eight mebibytes that it keeps free, and small trees.
const DISK: &str = "size=12m";
/// Needed twice over while a tree is made of it: more than that.
const BIG_BYTES: usize = 5 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_room_declines_and_serves_on() -> Result<()> {
    if let Err(error) = probe() {
        println!("skipped: no small file system can be mounted here ({error:#})");
        return Ok(());
    }
    let mut disk = None;
    let shape = fleet::shape(&[("zone-a", 1)])?;
    let before = |folder: &Path| {
        disk = Some(Disk::mount(&folder.join("hosts/web-a1/agent"))?);
        Ok(())
    };
    let outcome = fleet::with(shape, before, async |fleet| {
        let load = fleet.customers()?;
        let place = fleet.production().into_iter().next().context("no host")?;
        let started = starts(&place)?;
        let big = fleet.world.folder().join("project/config/big");
        std::fs::write(&big, vec![b'x'; BIG_BYTES])?;
        fleet.write_good("2")?;
        let release = fleet.push("too big").await?;
        let ended = fleet.over(release.id).await?;
        ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
        let reason = ended
            .rollback
            .as_ref()
            .map(|rollback| rollback.reason.as_str());
        let reason = reason.unwrap_or_default();
        ensure!(
            reason.contains("web-a1") && reason.contains("no space left"),
            "{reason}"
        );
        ensure!(
            live(&place)? == fleet.configs["1"] && starts(&place)? == started,
            "it was changed"
        );
        let report = load.snapshot();
        ensure!(
            report.total.failed == 0,
            "{} requests failed",
            report.total.failed
        );

        // The room was given back: what fits goes through.
        std::fs::remove_file(&big)?;
        fleet.push_good("3").await?;
        fleet.all_serve(&fleet.world.hosts, "3", s(20)).await?;
        load.stop().await;
        Ok(())
    })
    .await;
    if let Some(disk) = disk {
        // Its folder could not go as long as this was mounted on it.
        let folder = disk.path.ancestors().nth(3).map(Path::to_owned);
        drop(disk);
        if let (Ok(()), Some(folder)) = (&outcome, folder) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
    outcome
}

/// Whether this user may mount.
fn probe() -> Result<()> {
    let folder = tempfile::tempdir()?;
    Disk::mount(folder.path()).map(drop)
}

/// A mounted file system of its own; unmounted at the end.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: &Path) -> Result<Disk> {
        std::fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(path);
        let output = mount.output().context("mount")?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{words}");
        Ok(Disk {
            path: path.to_owned(),
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because an agent that was just told to end may still hold a file.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
    }
}
