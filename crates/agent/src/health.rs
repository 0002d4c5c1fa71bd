//! One look at a service. Each look is new: no connection, name or answer of an earlier one is used.

use std::path::Path;
use std::time::Duration;

use model::{HealthCheck, HealthProbe};

use crate::command::{self, Surroundings};
use crate::error::chain;

/// Looks once.
pub(crate) async fn look(
    check: &HealthCheck,
    surroundings: &Surroundings,
    tree: &Path,
) -> Result<(), String> {
    let within = check.deadline_ms.duration();
    match &check.probe {
        HealthProbe::Http { url, status } => http(&surroundings.fill(url), *status, within).await,
        HealthProbe::Tcp { address } => tcp(&surroundings.fill(address), within).await,
        HealthProbe::Command { run } => command::run(run, surroundings, tree, within)
            .await
            .map(drop),
    }
}

async fn http(url: &str, status: u16, within: Duration) -> Result<(), String> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(within);
    if url.starts_with("http:") {
        // Loading the system's certificates takes longer than most looks.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|error| chain(&error))?;
    let answer = client.get(url).send().await;
    let answer = answer.map_err(|error| chain(&error.without_url()))?;
    let found = answer.status().as_u16();
    if found == status {
        Ok(())
    } else {
        Err(format!("{url} answered {found}, not {status}"))
    }
}

async fn tcp(address: &str, within: Duration) -> Result<(), String> {
    match tokio::time::timeout(within, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => {
            let within = model::Millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
            Err(format!("{address} accepted no connection within {within}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Millis;

    fn check(probe: HealthProbe) -> HealthCheck {
        HealthCheck {
            probe,
            interval_ms: Millis(10),
            deadline_ms: Millis(300),
            grace_ms: Millis(0),
            threshold: 1,
        }
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_bad_in_time() {
        wire::install_crypto();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let surroundings = Surroundings {
            words: [("address", address)].into(),
        };
        let began = std::time::Instant::now();
        let http = check(HealthProbe::Http {
            url: "http://${address}/health".into(),
            status: 200,
        });
        let error = look(&http, &surroundings, Path::new("/"))
            .await
            .unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5), "{error}");
        let tcp = check(HealthProbe::Tcp {
            address: "${address}".into(),
        });
        look(&tcp, &surroundings, Path::new("/")).await.unwrap();
        drop(silent);
        look(&tcp, &surroundings, Path::new("/")).await.unwrap_err();
        let command = check(HealthProbe::Command {
            run: vec!["false".into()],
        });
        look(&command, &surroundings, Path::new("/"))
            .await
            .unwrap_err();
    }
}
