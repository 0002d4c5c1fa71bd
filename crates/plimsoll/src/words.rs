//! Releases, waves and exposure in words, with few colours.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use model::Permille;
use wire::api::{ReleaseState, ReleaseView, WaveState, WaveView};

use crate::output::{Paint, paint};

/// A bar for bytes on their way up.
pub(crate) fn upload_bar(total: u64) -> ProgressBar {
    if total == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("uploading {bar:24} {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A state in its colour.
pub(crate) fn state_word(state: ReleaseState) -> String {
    let colour = match state {
        ReleaseState::Good => Paint::Green,
        ReleaseState::Rolling => Paint::Cyan,
        ReleaseState::Held => Paint::Yellow,
        ReleaseState::RollingBack | ReleaseState::RolledBack => Paint::Red,
    };
    paint(colour, state.to_string())
}

/// A release in a few lines.
pub(crate) fn release_lines(release: &ReleaseView) -> Vec<String> {
    let mut lines = vec![format!(
        "release {} {}  {}  by {}  {}",
        release.id,
        state_word(release.state),
        release.digest.short(),
        release.author,
        paint(Paint::Dim, &release.message),
    )];
    for stage in &release.stages {
        for (index, wave) in stage.waves.iter().enumerate() {
            let place = format!("{} {}/{}", stage.environment, index + 1, stage.waves.len());
            lines.push(format!("{place:<16} {}", wave_line(wave)));
        }
    }
    lines.push(format!("{:<16} {}", "exposure", exposure_line(release)));
    if let Some(rollback) = &release.rollback {
        let rule = rollback
            .rule
            .as_deref()
            .map_or(String::new(), |rule| format!("{rule}: "));
        lines.push(format!(
            "{:<16} by {}: {rule}{}",
            "rolled back", rollback.by, rollback.reason
        ));
        for (host, why) in &rollback.outstanding {
            lines.push(format!("{:<16} {host}: {why}", "not back yet"));
        }
    }
    if let Some(waiting) = &release.waiting {
        lines.push(format!("{:<16} {waiting}", "waiting"));
    }
    lines
}

pub(crate) fn wave_line(wave: &WaveView) -> String {
    let hosts: Vec<&str> = wave.hosts.iter().map(|host| host.host.as_str()).collect();
    let hosts = match hosts.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first} to {last} ({})", hosts.len()),
    };
    match wave.state {
        WaveState::Pending => paint(Paint::Dim, format!("pending   {hosts}")),
        WaveState::Applying => format!("applying  {hosts}"),
        WaveState::Baking => {
            let word = paint(Paint::Cyan, "baking   ");
            // All of the traffic needs no words.
            match Permille::new(wave.traffic_permille) {
                Some(share) if share < Permille::ALL => {
                    format!("{word} {hosts}, {share} of traffic")
                }
                _ => format!("{word} {hosts}"),
            }
        }
        WaveState::Passed => format!("{} {hosts}", paint(Paint::Green, "passed   ")),
        WaveState::Failed => format!("{} {hosts}", paint(Paint::Red, "failed   ")),
    }
}

pub(crate) fn exposure_line(release: &ReleaseView) -> String {
    let exposure = &release.exposure;
    format!(
        "{} of {} hosts, {} requests ({} failed), {} tenants ({} hit)",
        exposure.hosts,
        exposure.hosts_total,
        exposure.requests,
        exposure.failed,
        exposure.tenants,
        exposure.tenants_hit
    )
}

pub(crate) fn status_line(release: &ReleaseView) -> String {
    let waiting = release.waiting.as_deref().unwrap_or("going on");
    format!("{waiting} · {}", exposure_line(release))
}

/// Waves passed of all known waves; twice as fine while one bakes.
pub(crate) fn progress(release: &ReleaseView) -> (u64, u64) {
    let waves = release.stages.iter().flat_map(|stage| &stage.waves);
    let (mut done, mut all) = (0, 0);
    for wave in waves {
        all += 2;
        done += match wave.state {
            WaveState::Passed => 2,
            WaveState::Baking => 1,
            WaveState::Pending | WaveState::Applying | WaveState::Failed => 0,
        };
    }
    (done, all.max(1))
}
