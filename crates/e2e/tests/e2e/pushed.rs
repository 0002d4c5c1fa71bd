//! A service without a gateway of ours: its balancer pushes what it counts.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drill::world::Shape;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use wire::api::ReleaseState;

use crate::balancer::{self, Balancer, Totals};
use crate::fleet::{self, Fleet, HEALTHY_SESSION, TINY_SESSION};
use crate::random::Random;
use crate::wait::s;

pub(crate) const RATE_PER_S: u32 = 300;
/// A post that takes longer is given up; the next one tells the same seconds.
const POST_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_a_program_pushes_are_judged() -> Result<()> {
    let shape = Shape {
        gateway: false,
        ..fleet::counted(3, &["1 host", "all"])?
    };
    let seed = Random::seeded("pushed").between(0, u64::MAX);
    let test = async |fleet: &mut Fleet| {
        let balancer = Balancer::start(fleet.production(), RATE_PER_S, seed)?;
        let pusher = Pusher {
            url: format!("{}/v1/sources/lb-1/ticks", fleet.world.control_url()),
            token: fleet.world.source_token("lb-1").await?,
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .timeout(POST_WITHIN)
                .build()?,
        };
        let totals = balancer.totals();
        tokio::select! {
            pushed = pusher.push_on(&totals) => pushed?,
            judged = judged(fleet) => judged?,
        }
        Ok(())
    };
    fleet::with(shape, |_| Ok(()), test).await
}

/// A healthy change passes on these counts, a bad one goes back by them.
pub(crate) async fn judged(fleet: &mut Fleet) -> Result<()> {
    fleet.write_limit("2", HEALTHY_SESSION)?;
    let release = fleet.push("nothing new").await?;
    let ended = fleet.over(release.id).await?;
    ensure!(ended.state == ReleaseState::Good, "{ended:#?}");
    let counted = verdict(fleet, &release.id.to_string(), 0).await?;
    ensure!(
        counted["canary"]["requests"].as_u64() >= Some(500),
        "passed on nothing: {counted:#}"
    );

    fleet.write_limit("3", TINY_SESSION)?;
    let release = fleet.push("tiny buffers").await?;
    let ended = fleet.over(release.id).await?;
    ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
    ensure!(ended.exposure.hosts == 1, "{ended:#?}");
    let counted = verdict(fleet, &release.id.to_string(), 4).await?;
    ensure!(
        counted["metric"] == "errors" && counted["ratio"]["low"].as_u64() > Some(1000),
        "{counted:#}"
    );
    fleet.all_serve(&fleet.world.hosts, "2", s(20)).await
}

async fn verdict(fleet: &Fleet, id: &str, code: i32) -> Result<Value> {
    let said = fleet.plimsoll(&["verdict", id]).await?;
    println!("{}", said.out);
    let said = fleet.plimsoll(&["verdict", id, "--json"]).await?;
    Ok(said.exits(code)?.json()?["explanation"].take())
}

/// Tells each second once it is over, and again until that is acknowledged.
struct Pusher {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Pusher {
    /// Ends only with what it can't do.
    async fn push_on(&self, totals: &Mutex<Totals>) -> Result<()> {
        let epoch_ms = Timestamp::now().as_millisecond();
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        let mut before = balancer::now(totals);
        let mut told: Vec<(Instant, Value)> = Vec::new();
        for seq in 1_u64.. {
            interval.tick().await;
            let now = balancer::now(totals);
            let tick = json!({"seq": seq, "cells": cells(&before, &now)});
            told.push((Instant::now(), tick));
            before = now;
            // Whether nobody answered or it was refused, it is told again.
            if let Ok(through) = self.post(epoch_ms, &told).await {
                told.retain(|(_, tick)| tick["seq"].as_u64() > Some(through));
            }
            ensure!(told.len() < 60, "nobody takes the counts: {}", self.url);
        }
        Ok(())
    }

    async fn post(&self, epoch_ms: i64, told: &[(Instant, Value)]) -> Result<u64> {
        let aged = told.iter().map(|(ended, tick)| {
            let mut tick = tick.clone();
            tick["age_ms"] = json!(u64::try_from(ended.elapsed().as_millis()).unwrap_or(u64::MAX));
            tick
        });
        let ticks: Vec<Value> = aged.collect();
        let body = json!({"environment": "production", "epoch_ms": epoch_ms, "ticks": ticks});
        let request = self.http.post(&self.url).bearer_auth(&self.token);
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        answer["through"].as_u64().context("through")
    }
}

fn cells(before: &Totals, now: &Totals) -> Vec<Value> {
    let since = now.iter().map(|(host, now)| {
        let before = before.get(host).copied().unwrap_or_default();
        json!({
            "service": "api", "host": host,
            "requests": now.requests - before.requests,
            "failed": now.failed - before.failed,
        })
    });
    since.collect()
}
