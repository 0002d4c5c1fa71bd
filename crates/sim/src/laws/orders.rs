//! What a host may be told, and what its word is worth.

use model::{
    Digest, DrainCause, Generation, HostName, Millis, Order, OrderKind, Permille, ServiceName,
    StagePlan, Timestamp,
};

use super::{Lawful, Laws, Newest, law};

/// A host stages and checks before its deadline begins to run.
const STAGING: Millis = Millis::seconds(30);

/// Whether a host had its time: of many hosts a release may go on without it.
fn given_up(order: &Order, now: Timestamp) -> bool {
    let within = Millis(order.confirm_within_ms.0 + STAGING.0);
    now > within.after(order.issued_at)
}

impl Laws {
    pub(super) fn ordered(&mut self, order: &Order) -> Lawful {
        let key = (order.host.clone(), order.service.clone());
        let before = self
            .generations
            .insert(order.host.clone(), order.generation);
        law(before < Some(order.generation), "generations", || {
            format!(
                "{} is given {} after {before:?}",
                order.host, order.generation
            )
        })?;
        match order.kind {
            OrderKind::Forward => self.ordered_forward(order)?,
            OrderKind::Rollback => self.ordered_back(order)?,
            OrderKind::Restart => self.ordered_again(order)?,
        }
        let person = |cause: &mut DrainCause| matches!(cause, DrainCause::Person { .. });
        if !self.drained.get_mut(&key).is_some_and(person) {
            self.drained.remove(&key);
        }
        self.unhealthy.remove(&key);
        self.told
            .entry(key.clone())
            .or_default()
            .insert(order.digest);
        self.newest.insert(
            key,
            Newest {
                order: order.clone(),
                open: true,
                done: false,
                astray: false,
            },
        );
        Ok(())
    }

    /// Nothing but what runs there, for a restart that goes on.
    fn ordered_again(&mut self, order: &Order) -> Lawful {
        let place = (order.service.clone(), order.environment.clone());
        let wanted = self.restarts.values().any(|restart| *restart == place);
        law(wanted, "restarts", || {
            format!("{} is restarted, and nobody wants it", order.host)
        })?;
        let key = (order.host.clone(), order.service.clone());
        let told = self
            .told
            .get(&key)
            .is_some_and(|it| it.contains(&order.digest));
        let found = self.origins.get(&key) == Some(&order.digest);
        law(told || found, "restarts", || {
            format!("{} is restarted with what it never ran", order.host)
        })?;
        self.floor(&order.host, &order.service)
    }

    /// No step forward and no restart takes out a host that serves when that leaves too few.
    pub(super) fn floor(&self, host: &HostName, service: &ServiceName) -> Lawful {
        let Some(hosts) = self.serving.get(service) else {
            return Ok(());
        };
        let out = |host: &HostName| {
            let key = (host.clone(), service.clone());
            self.drained.contains_key(&key)
                || self.unhealthy.contains(&key)
                || self.newest.get(&key).is_some_and(|it| it.open || it.astray)
        };
        if !hosts.contains(host) || out(host) {
            return Ok(());
        }
        let others = hosts.iter().filter(|host| out(host)).count();
        let serve = Permille::of(3, 4).share_of(hosts.len() as u64) as usize;
        let max = hosts.len().saturating_sub(serve).max(1);
        law(others < max || hosts.len() == 1, "floor", || {
            format!(
                "{host} goes while {others} others of {} are out",
                hosts.len()
            )
        })
    }

    fn ordered_forward(&mut self, order: &Order) -> Lawful {
        let Order {
            host,
            service,
            release,
            digest,
            ..
        } = order;
        self.frozen(service, format_args!("{host} is ordered forward"))?;
        let serves = self.environments.last() == Some(&order.environment);
        let attested = self.attested.contains(&(service.clone(), *digest));
        law(attested || !serves, "attested", || {
            format!(
                "{host} is ordered forward to {}, which is not attested",
                digest.short()
            )
        })?;
        let quarantined = self.quarantined.contains(&(service.clone(), *digest));
        law(!quarantined, "quarantine", || {
            format!(
                "{host} is ordered forward to {}, which is quarantined",
                digest.short()
            )
        })?;
        let busy = self
            .newest
            .iter()
            .find(|((of, _), newest)| of == host && newest.open);
        law(busy.is_none(), "lease", || {
            format!("{host} is ordered forward for {service} while {busy:?} is open")
        })?;
        let changing = self.newest.values().filter(|newest| {
            newest.open
                && newest.order.release == *release
                && newest.order.kind == OrderKind::Forward
                && !given_up(&newest.order, order.issued_at)
        });
        let changing = changing.count();
        let course = self.course(*release)?;
        let tried = course.rehearses.as_ref() == Some(host) && course.mixed.contains(digest);
        let ours = course.digest == *digest || tried;
        let fits = course.rolling && course.service == *service && ours;
        law(fits && course.reached().contains(host), "waves", || {
            format!("{host} is ordered forward outside the waves of release {release}")
        })?;
        let plan = course
            .legs
            .last()
            .and_then(|leg| course.plan.get(&leg.environment));
        let parallel = plan.map_or(StagePlan::default().parallel, |plan| plan.parallel) as usize;
        law(changing < parallel.max(1), "parallel", || {
            format!("{host} is ordered forward while {changing} others change; at most {parallel}")
        })?;
        self.floor(&order.host, &order.service)
    }

    fn ordered_back(&mut self, order: &Order) -> Lawful {
        let Order {
            host,
            service,
            release,
            digest,
            ..
        } = order;
        let origin = self.origins.values().any(|origin| origin == digest);
        let good = self.goods.contains(&(service.clone(), *digest));
        law(good || origin, "way back", || {
            format!(
                "{host} is ordered back to {}, which was never good",
                digest.short()
            )
        })?;
        let serves = self.environments.last() == Some(&order.environment);
        let course = self.course(*release)?;
        // A rehearsal goes back on purpose, and a host that fell behind is brought to the base first.
        let meant =
            course.rehearses.as_ref() == Some(host) || (serves && course.base == Some(*digest));
        law(!course.rolling || meant, "way back", || {
            format!("{host} is ordered back for release {release}, which goes forward")
        })
    }

    pub(super) fn host_failed(
        &mut self,
        host: &HostName,
        service: &ServiceName,
        generation: Generation,
        running: Digest,
    ) {
        let slot = self.newest.get_mut(&(host.clone(), service.clone()));
        let Some(newest) = slot.filter(|newest| newest.order.generation == generation) else {
            return;
        };
        newest.done = false;
        let left = self.releases.get(&newest.order.release);
        let left = left.map(|course| course.digest);
        // A person took it elsewhere by hand, and there it rests; on what is
        // being left it is not back, though another release may have it.
        let there = running == newest.order.digest || left != Some(running);
        newest.astray = newest.order.kind == OrderKind::Rollback && !there;
        newest.open = false;
    }

    pub(super) fn host_confirmed(
        &mut self,
        host: &HostName,
        service: &ServiceName,
        generation: Generation,
        digest: Digest,
    ) -> Lawful {
        let newest = self.newest.get_mut(&(host.clone(), service.clone()));
        let fits = newest.is_some_and(|newest| {
            (newest.open, newest.done, newest.astray) = (false, true, false);
            newest.order.generation == generation && newest.order.digest == digest
        });
        self.confirmed
            .insert((host.clone(), service.clone(), generation, digest));
        law(fits, "sense", || {
            format!("{host} confirmed an order that it didn't have")
        })
    }
}
