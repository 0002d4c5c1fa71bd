//! What a release may do: environments and waves in their order, and back.

use model::gate::TestRecord;
use model::{
    Bundle, Digest, DrainCause, EnvironmentName, HostName, OrderKind, ReleaseId, RollbackCause,
    ServiceName, Verdict, Wave,
};

use super::{Course, Lawful, Laws, Leg, law};

impl Laws {
    pub(super) fn proposed(
        &mut self,
        release: ReleaseId,
        service: &ServiceName,
        digest: Digest,
        bundle: &Bundle,
        base: Option<Digest>,
    ) -> Lawful {
        self.frozen(service, "a release was proposed")?;
        law(bundle.digest() == digest, "sense", || {
            "a bundle under another's digest".into()
        })?;
        let rolling = self
            .releases
            .values()
            .any(|other| other.rolling && other.service == *service);
        law(!rolling, "one release", || {
            format!("release {release} beside another")
        })?;
        let told = self
            .told
            .iter()
            .filter(|((_, of), told)| of == service && told.contains(&digest));
        let course = Course {
            service: service.clone(),
            digest,
            plan: bundle.plan.stages.clone(),
            irreversible: bundle.plan.irreversible,
            rolling: true,
            legs: Vec::new(),
            before: told.map(|((host, _), _)| host.clone()).collect(),
            base,
            rehearses: None,
            mixed: Default::default(),
        };
        self.releases.insert(release, course);
        Ok(())
    }

    pub(super) fn stage_started(
        &mut self,
        release: ReleaseId,
        environment: &EnvironmentName,
        waves: &[Wave],
        attested: bool,
    ) -> Lawful {
        let last = self.environments.last() == Some(environment);
        law(attested || !last, "attested", || {
            format!("release {release} enters {environment} without an attestation")
        })?;
        let legs = self.course(release)?.legs.len();
        let expected = self.environments.get(legs).cloned();
        let course = self.course(release)?;
        let through = course.legs.iter().all(|leg| leg.passed == leg.waves.len());
        let fits = course.rolling && through && expected.as_ref() == Some(environment);
        course.legs.push(Leg {
            environment: environment.clone(),
            waves: waves.to_vec(),
            begun: 0,
            passed: 0,
        });
        let service = course.service.clone();
        law(fits, "waves", || {
            format!("release {release} enters {environment} out of turn")
        })?;
        self.frozen(
            &service,
            format_args!("release {release} enters {environment}"),
        )
    }

    pub(super) fn wave_started(
        &mut self,
        release: ReleaseId,
        environment: &EnvironmentName,
        wave: usize,
    ) -> Lawful {
        let course = self.course(release)?;
        let (rolling, service) = (course.rolling, course.service.clone());
        let leg = course
            .legs
            .last_mut()
            .filter(|leg| leg.environment == *environment);
        let fits = leg.is_some_and(|leg| {
            let next = leg.begun == wave && leg.passed == wave && wave < leg.waves.len();
            leg.begun = wave + 1;
            next
        });
        law(rolling && fits, "waves", || {
            format!("release {release}: wave {wave} of {environment} begins out of turn")
        })?;
        self.frozen(
            &service,
            format_args!("wave {wave} of release {release} begins"),
        )
    }

    pub(super) fn judged(&mut self, release: ReleaseId, wave: usize, verdict: &Verdict) -> Lawful {
        if !matches!(verdict, Verdict::Pass { .. }) {
            return Ok(());
        }
        self.wave_passed(release, wave)?;
        let last = self.environments.last().cloned();
        let course = self.course(release)?;
        let service = course.service.clone();
        let Some(leg) = course.legs.last() else {
            return Ok(());
        };
        let begun = leg.waves.iter().take(leg.begun);
        let all: Vec<HostName> = begun.flat_map(|it| it.hosts.clone()).collect();
        let own = leg
            .waves
            .get(wave)
            .map_or(Vec::new(), |it| it.hosts.clone());
        let serves = last.as_ref() == Some(&leg.environment);
        let newest = |host: &HostName| self.newest.get(&(host.clone(), service.clone()));
        let ours = |host: &HostName| newest(host).filter(|it| it.order.release == release);
        let done = |host: &HostName| ours(host).is_some_and(|it| it.done);
        let back = |host: &HostName| ours(host).is_some_and(|it| !it.done && !it.open);
        // Less than a fifth of the customers' hosts may have gone back by themselves.
        let without = all.iter().filter(|host| back(host)).count();
        let few = serves && (without == 0 || 5 * without < all.len());
        let fits = |host: &HostName| done(host) || few && back(host);
        let bad = own.iter().find(|host| !fits(host));
        law(bad.is_none() && own.iter().any(done), "waves", || {
            format!(
                "release {release}: wave {wave} passes without a word from {bad:?}; {without} of {} went back",
                all.len()
            )
        })
    }

    /// By a verdict, or by a person's word, which needs no host's.
    pub(super) fn wave_passed(&mut self, release: ReleaseId, wave: usize) -> Lawful {
        let course = self.course(release)?;
        let Some(leg) = course.legs.last_mut() else {
            return Ok(());
        };
        let fits = leg.begun == wave + 1 && leg.passed == wave;
        leg.passed = wave + 1;
        law(fits, "waves", || {
            format!("release {release}: wave {wave} passes out of turn")
        })
    }

    pub(super) fn turned_back(&mut self, release: ReleaseId, cause: &RollbackCause) -> Lawful {
        let over = DrainCause::Release { release };
        self.let_in(|cause| *cause == over);
        let course = self.course(release)?;
        course.rolling = false;
        let machine = match cause {
            RollbackCause::Verdict { .. } => true,
            RollbackCause::Person { .. } => false,
        };
        let met = course.legs.iter().any(|leg| leg.begun > 0);
        law(
            !(machine && course.irreversible && met),
            "irreversible",
            || format!("release {release} is irreversible, and a machine turned it back"),
        )
    }

    /// A test passed: every wave before production, and the way back was tried there.
    pub(super) fn tested(&mut self, release: ReleaseId, record: &TestRecord) -> Lawful {
        let environments = self.environments.len();
        let course = self.course(release)?;
        let through = course.legs.iter().all(|leg| leg.passed == leg.waves.len());
        let before_last = course.legs.len() + 1 == environments;
        let fits = course.rolling && through && before_last && record.digest == course.digest;
        law(fits, "attested", || {
            format!("release {release} passed its test before its test was over")
        })?;
        let rehearsed = record.revert_ms().is_some();
        law(rehearsed, "attested", || {
            format!("release {release} passed its test without a rehearsal")
        })
    }

    pub(super) fn good(&mut self, release: ReleaseId) -> Lawful {
        let environments = self.environments.len();
        let course = self.course(release)?;
        let through = course.legs.iter().all(|leg| leg.passed == leg.waves.len());
        let fits = course.rolling && through && course.legs.len() == environments;
        course.rolling = false;
        let good = (course.service.clone(), course.digest);
        self.goods.insert(good);
        law(fits, "waves", || {
            format!("release {release} is good before its last wave passed")
        })
    }

    pub(super) fn back(&mut self, release: ReleaseId) -> Lawful {
        let left = self.newest.iter().find(|(_, newest)| {
            newest.order.release == release
                && (newest.order.kind != OrderKind::Rollback || newest.open || newest.astray)
        });
        law(left.is_none(), "way back", || {
            format!(
                "release {release} is called back; {:?} is not",
                left.map(|(key, _)| key)
            )
        })
    }
}
