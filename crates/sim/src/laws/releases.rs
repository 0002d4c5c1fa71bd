//! What a release may do: environments and waves in their order, and back.

use model::gate::TestRecord;
use model::{Bundle, Digest, EnvironmentName, OrderKind, ReleaseId, ServiceName, Verdict, Wave};

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
        let course = self.course(release)?;
        let Some(leg) = course.legs.last_mut() else {
            return Ok(());
        };
        if !matches!(verdict, Verdict::Pass { .. }) {
            return Ok(());
        }
        let fits = leg.begun == wave + 1 && leg.passed == wave;
        leg.passed = wave + 1;
        let (service, hosts) = (
            course.service.clone(),
            leg.waves.get(wave).map(|it| it.hosts.clone()),
        );
        law(fits, "waves", || {
            format!("release {release}: wave {wave} passes out of turn")
        })?;
        for host in hosts.into_iter().flatten() {
            let newest = self.newest.get(&(host.clone(), service.clone()));
            let done = newest.is_some_and(|it| it.done && it.order.release == release);
            law(done, "waves", || {
                format!("release {release}: wave {wave} passes without a word from {host}")
            })?;
        }
        Ok(())
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
                && (newest.order.kind == OrderKind::Forward || newest.open || newest.astray)
        });
        law(left.is_none(), "way back", || {
            format!(
                "release {release} is called back; {:?} is not",
                left.map(|(key, _)| key)
            )
        })
    }
}
