//! Words about who serves whom.

use clap::{Args, Subcommand};
use model::{Digest, EnvironmentName, HostName, Permille, ServiceName};

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Which service
    pub(crate) service: ServiceName,
    /// Where; without it where customers are
    #[arg(long)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Only this host; may be given more than once
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<HostName>,
    /// So many at a time; without it as many as the floor allows
    #[arg(long, value_name = "N")]
    pub(crate) parallel: Option<u32>,
    /// So many of the hosts serve meanwhile at least [default: 75%]
    #[arg(long, value_name = "SHARE", value_parser = percent)]
    pub(crate) floor: Option<Permille>,
    /// Why
    #[arg(long, required_unless_present = "stop", default_value = "")]
    pub(crate) reason: String,
    /// Stop the restart that goes on; hosts that were told already go on
    #[arg(long, conflicts_with_all = ["hosts", "parallel", "floor", "environment", "wait"])]
    pub(crate) stop: bool,
    /// Follow it to its end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    #[command(subcommand)]
    pub(crate) what: TrafficCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrafficCommand {
    /// Which bundles, hosts and gateways serve, and what is under way with them
    Show {
        /// Only this service
        service: Option<ServiceName>,
    },
    /// Take a host out of the routes, until it is undrained
    Drain {
        /// Which service
        service: ServiceName,
        /// Which host
        host: HostName,
        /// Why
        #[arg(long)]
        reason: String,
        /// Also when too few hosts are left to serve
        #[arg(long)]
        force: bool,
    },
    /// Let a drained host in again
    Undrain {
        /// Which service
        service: ServiceName,
        /// Which host
        host: HostName,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take all requests from a bundle that is on its way, without sending it back
    Shift {
        /// Which service
        service: ServiceName,
        /// The bundle that gets no more requests
        #[arg(long, value_name = "DIGEST")]
        away_from: Digest,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Let in a part of the tenants; it opens further by itself while answers are good
    Ramp {
        /// Which service
        service: ServiceName,
        /// So many percent: 25, 50, 75 or 100
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        to: Permille,
        /// Stay there until somebody says otherwise
        #[arg(long)]
        hold: bool,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// `75` or `75%`.
fn percent(text: &str) -> Result<Permille, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let number: u16 = number
        .parse()
        .map_err(|_| format!("{text:?} is no percentage"))?;
    let permille = number.checked_mul(10).and_then(Permille::new);
    permille.ok_or_else(|| format!("{text} is more than 100 %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_whole_and_at_most_a_hundred() {
        assert_eq!(percent("75%"), Ok(Permille::of(3, 4)));
        assert_eq!(percent("0"), Ok(Permille::NONE));
        assert_eq!(percent("100 %"), Ok(Permille::ALL));
        for odd in ["", "x", "101", "-1", "7.5%", "65535"] {
            assert!(percent(odd).is_err(), "{odd}");
        }
    }
}
