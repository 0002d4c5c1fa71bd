//! The supervisor with programs that crash, hang, leave children behind and ignore SIGTERM.

use std::path::Path;
use std::time::Duration;

use drill::auth::blackhole;
use drill::supervise::{SuperviseState, read_state};
use rustix::process::Signal;

use crate::world::{PROGRAMS, Program, ask, command, configure, get, group_is_gone, until, unused};

fn supervise(dir: &Path, options: &[&str], program: &[&str]) -> Program {
    let head = ["supervise", "--name", "api", "--dir", dir.to_str().unwrap()];
    let arguments = head.iter().chain(options).chain(&["--"]).chain(program);
    let mut supervisor = Program::start(arguments.copied());
    assert_eq!(supervisor.line(), "supervising api");
    supervisor
}

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// The state as soon as it is as wanted.
fn state(dir: &Path, wanted: impl Fn(&SuperviseState) -> bool) -> SuperviseState {
    until("the supervisor's state", || {
        read_state(dir).ok().filter(|state| wanted(state))
    })
}

fn running(dir: &Path) -> (u32, SuperviseState) {
    let state = state(dir, |state| state.child_pid.is_some());
    (state.child_pid.unwrap(), state)
}

/// Exit code and output of a question.
fn asked(what: &str, dir: &Path) -> (bool, String) {
    let done = command(["supervise", what, "--dir", dir.to_str().unwrap()])
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_crash_is_restarted_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Each run leaves a child behind, which must not outlive it.
    let script = format!(
        "sleep 1000 & echo $$ >> {}/pids; exit 3",
        dir.path().display()
    );
    let supervisor = supervise(dir.path(), &[], &shell(&script));
    let state = state(dir.path(), |state| state.exits_unplanned >= 3);
    assert_eq!(
        state.starts,
        state.exits_unplanned + u64::from(state.child_pid.is_some())
    );
    let (good, count) = asked("exits", dir.path());
    assert!(good && count.trim().parse::<u64>().unwrap() >= 3, "{count}");
    assert!(supervisor.end());
    let pids = std::fs::read_to_string(dir.path().join("pids")).unwrap();
    for pid in pids.lines() {
        until("the group's end", || {
            group_is_gone(pid.parse().unwrap()).then_some(())
        });
    }
    // The count is the service's, not the supervisor's.
    let before = read_state(dir.path()).unwrap().exits_unplanned;
    let _next = supervise(dir.path(), &[], &shell("sleep 1000"));
    assert_eq!(running(dir.path()).1.exits_unplanned, before);
}

#[test]
fn a_planned_restart_is_no_exit_and_leaves_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // Program and child ignore SIGTERM, so only SIGKILL to the group ends them.
    let stubborn = shell("trap '' TERM; sleep 1000 & while :; do sleep 0.1; done");
    let supervisor = supervise(dir.path(), &[], &stubborn);
    let (first, _) = running(dir.path());
    let (good, words) = asked("restart", dir.path());
    assert!(good, "{words}");
    let (second, state) = running(dir.path());
    assert_eq!(words.trim(), format!("restarted, pid {second}"));
    assert_ne!(first, second);
    assert_eq!((state.starts, state.exits_unplanned), (2, 0));
    until("the first group's end", || {
        group_is_gone(first).then_some(())
    });
    assert!(supervisor.end());
    until("the second group's end", || {
        group_is_gone(second).then_some(())
    });
    assert_eq!(read_state(dir.path()).unwrap().child_pid, None);
    assert_eq!(asked("exits", dir.path()), (true, "0\n".to_owned()));
    let (good, words) = asked("restart", dir.path());
    assert!(!good && words.contains("no supervisor runs in"), "{words}");
}

#[test]
fn a_service_that_hangs_is_killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let hole = blackhole("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = configure(dir.path(), hole.address(), "");
    let address = unused();
    let listen = address.to_string();
    let url = format!("http://{address}/healthz");
    let service = [
        PROGRAMS,
        "drill-service",
        "--config",
        &config,
        "--listen",
        &listen,
        "--environment",
        "production",
        "--host",
        "prod-a-1",
        "--threads",
        "2",
    ];
    let supervisor = supervise(dir.path(), &["--watchdog-url", &url], &service);
    let healthy = || {
        until("health", || {
            get(address, "/healthz", Duration::from_millis(300)).ok()
        });
    };
    healthy();
    let (first, state_before) = running(dir.path());
    assert_eq!(state_before.exits_unplanned, 0);
    let _waiting: Vec<_> = (0..2)
        .map(|_| ask(address, "/v1/orders").unwrap())
        .collect();
    let restarted = state(dir.path(), |state| {
        state.exits_unplanned == 1 && state.child_pid.is_some_and(|pid| pid != first)
    });
    assert_eq!(restarted.starts, 2);
    assert!(group_is_gone(first));
    healthy();
    // The loop of the report: the next requests hang the new one as well.
    let _again: Vec<_> = (0..2)
        .map(|_| ask(address, "/v1/orders").unwrap())
        .collect();
    state(dir.path(), |state| state.exits_unplanned == 2);
    assert!(supervisor.end());
}

#[test]
fn a_restart_takes_what_the_link_names_now() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("current");
    for tree in ["one", "two"] {
        std::fs::create_dir(dir.path().join(tree)).unwrap();
        std::fs::write(dir.path().join(tree).join("version"), tree).unwrap();
    }
    std::os::unix::fs::symlink("one", &link).unwrap();
    let seen = dir.path().join("seen");
    let script = format!(
        "cat version > {0}.new; mv {0}.new {0}; sleep 1000",
        seen.display()
    );
    let cwd = link.to_str().unwrap();
    let _supervisor = supervise(dir.path(), &["--cwd", cwd], &shell(&script));
    let sees = |tree: &str| {
        let text = || std::fs::read_to_string(&seen).ok();
        until("the tree", || text().filter(|text| text == tree));
    };
    sees("one");
    std::os::unix::fs::symlink("two", dir.path().join("next")).unwrap();
    std::fs::rename(dir.path().join("next"), &link).unwrap();
    assert!(asked("restart", dir.path()).0);
    sees("two");
}

#[test]
fn a_program_that_cannot_start_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let _supervisor = supervise(dir.path(), &[], &[program.to_str().unwrap()]);
    let (good, words) = asked("restart", dir.path());
    assert!(!good && words.contains("did not start"), "{words}");
    std::os::unix::fs::symlink("/bin/cat", dir.path().join("cat")).unwrap();
    std::fs::rename(dir.path().join("cat"), &program).unwrap();
    state(dir.path(), |state| state.starts > 0);
}

#[test]
fn one_supervisor_for_each_folder_and_none_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = supervise(dir.path(), &[], &shell("sleep 1000 & wait"));
    let (first, _) = running(dir.path());
    let other = command([
        "supervise",
        "--name",
        "b",
        "--dir",
        dir.path().to_str().unwrap(),
        "--",
        "sleep",
        "1",
    ]);
    let refused = { other }.output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("another supervisor runs in"), "{words}");
    // Killed, it can't end its program; its successor does.
    killed.signal(Signal::KILL);
    killed.wait();
    assert!(!group_is_gone(first));
    let _next = supervise(dir.path(), &[], &shell("sleep 1000"));
    until("the leftover's end", || group_is_gone(first).then_some(()));
}
