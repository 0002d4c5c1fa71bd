//! Who is there, when, and who is asked after whom.
//!
//! Invariant: a time of the day is read without a zone; the schedule names it.

use jiff::civil::{Date, Time};
use model::incident::{
    Channel, ChannelKind, Contact, Layer, Policy, Restriction, Schedule, Step, Target,
};
use model::{ContactName, Millis, ScheduleName};

use super::{DAYS, Names, Reading, WAITS, plain};
use crate::project::fleet::list_of_tables;
use crate::project::grammar::{self, Flaw};
use crate::project::tree::Node;

/// A channel without a wait of its own: mail and push need some seconds, and nobody sleeps so long in an outage.
const CHANNEL_WAIT: Millis = Millis::seconds(60);
/// The longest rotation that is read: a leap year.
const EVERY_DAYS_MAX: u16 = 366;
const KINDS: [(&str, ChannelKind); 6] = [
    ("mail", ChannelKind::Mail),
    ("sms", ChannelKind::Sms),
    ("voice", ChannelKind::Voice),
    ("push", ChannelKind::Push),
    ("chat", ChannelKind::Chat),
    ("webhook", ChannelKind::Webhook),
];

impl Reading<'_> {
    pub(super) fn contact(&mut self, node: &Node, label: &str) -> Contact {
        let mut contact = Contact::default();
        let Some(table) = self
            .reader
            .table(node, label, &["name", "zone", "channels"])
        else {
            return contact;
        };
        contact.name = self.words(table, "name");
        contact.zone = self.zone(table);
        let example = "[{ kind = \"mail\", address = \"ada@example.com\" }]";
        let channels = self.reader.required(table, label, "channels", example);
        let channels = channels
            .and_then(|it| list_of_tables(it, "channels", "[[…channels]]", &mut self.reader));
        let channels = channels.unwrap_or_default().iter();
        contact.channels = channels.filter_map(|it| self.channel(it)).collect();
        contact
    }

    fn zone(&mut self, table: &Node) -> String {
        let node = table.get("zone");
        let zone = node.and_then(|node| self.reader.text(node, "zone", grammar::time_zone));
        zone.unwrap_or_default()
    }

    fn channel(&mut self, node: &Node) -> Option<Channel> {
        let label = "this channel";
        let keys = ["kind", "address", "wait", "urgent_only"];
        let table = self.reader.table(node, label, &keys)?;
        let kind = self
            .reader
            .required(table, label, "kind", "\"push\"")
            .and_then(|it| self.reader.word(it, "kind", &KINDS));
        let address = self
            .reader
            .required(table, label, "address", "\"ada@example.com\"")
            .and_then(|it| self.reader.text(it, "address", plain));
        let wait = table
            .get("wait")
            .map(|it| self.reader.duration(it, "wait", WAITS));
        let urgent_only = table
            .get("urgent_only")
            .and_then(|it| self.reader.boolean(it, "urgent_only"));
        Some(Channel {
            kind: kind?,
            address: address?,
            wait_ms: wait.unwrap_or(Some(CHANNEL_WAIT))?,
            urgent_only: urgent_only.unwrap_or_default(),
        })
    }

    pub(super) fn schedule(&mut self, node: &Node, label: &str, names: &Names<'_>) -> Schedule {
        let mut schedule = Schedule {
            zone: String::new(),
            layers: Vec::new(),
        };
        let Some(table) = self.reader.table(node, label, &["zone", "layers"]) else {
            return schedule;
        };
        self.reader
            .required(table, label, "zone", "\"Europe/Berlin\"");
        schedule.zone = self.zone(table);
        let example = "[{ contacts = [\"ada\"], starts_on = 2026-01-05, handoff = \"09:00\", every = \"7d\" }]";
        let layers = self.reader.required(table, label, "layers", example);
        let header = format!("[[schedules.{}.layers]]", label.replace("schedule ", ""));
        let layers = layers.and_then(|it| list_of_tables(it, "layers", &header, &mut self.reader));
        for (index, node) in layers.unwrap_or_default().iter().enumerate() {
            let label = format!("{label}, layer {}", index + 1);
            let layer = self.noted(&label, node.span.clone(), |it| {
                it.layer(node, &label, names)
            });
            schedule.layers.push(layer);
        }
        schedule
    }

    fn layer(&mut self, node: &Node, label: &str, names: &Names<'_>) -> Layer {
        let mut layer = Layer {
            contacts: Vec::new(),
            starts_on: Date::ZERO,
            handoff: Time::MIN,
            every_days: 1,
            only: Vec::new(),
        };
        let keys = ["contacts", "starts_on", "handoff", "every", "only"];
        let Some(table) = self.reader.table(node, label, &keys) else {
            return layer;
        };
        let contacts = self.reader.required(table, label, "contacts", "[\"ada\"]");
        if let Some(node) = contacts {
            layer.contacts = self.all_known(node, "contact", "contacts", &names.contacts);
        }
        let example = "2026-01-05";
        if let Some(node) = self.reader.required(table, label, "starts_on", example) {
            let help = "write it like 2026-01-05";
            let date = self.civil(node, "starts_on", "a day", help);
            layer.starts_on = date.unwrap_or_default();
        }
        if let Some(node) = self.reader.required(table, label, "handoff", "\"09:00\"") {
            layer.handoff = self.time(node, "handoff").unwrap_or_default();
        }
        if let Some(node) = self.reader.required(table, label, "every", "\"7d\"") {
            let days = self.days(node, "every", EVERY_DAYS_MAX);
            layer.every_days = days.unwrap_or(1);
        }
        let only = table.get("only");
        let only =
            only.and_then(|it| list_of_tables(it, "only", "only = [{ … }]", &mut self.reader));
        let only = only.unwrap_or_default().iter();
        layer.only = only.filter_map(|node| self.restriction(node)).collect();
        layer
    }

    fn restriction(&mut self, node: &Node) -> Option<Restriction> {
        let label = "these hours";
        let table = self.reader.table(node, label, &["days", "from", "until"])?;
        let days = table.get("days");
        let days = days.and_then(|node| self.reader.list(node, "days"));
        let days = days.unwrap_or_default().iter();
        let days = days.filter_map(|node| self.reader.word(node, "days", &DAYS));
        let days = days.collect();
        let from = self.reader.required(table, label, "from", "\"22:00\"");
        let from = from.and_then(|node| self.time(node, "from"));
        let until = self.reader.required(table, label, "until", "\"06:00\"");
        let until = until.and_then(|node| self.time(node, "until"));
        Some(Restriction {
            days,
            from: from?,
            until: until?,
        })
    }

    pub(super) fn policy(&mut self, node: &Node, label: &str, names: &Names<'_>) -> Policy {
        let mut policy = Policy::default();
        let keys = ["steps", "repeat", "acknowledged_for"];
        let Some(table) = self.reader.table(node, label, &keys) else {
            return policy;
        };
        if let Some(node) = table.get("repeat") {
            let repeat = self.reader.count(node, "repeat", 0..=u64::from(u32::MAX));
            policy.repeat = u32::try_from(repeat.unwrap_or_default()).unwrap_or(u32::MAX);
        }
        if let Some(node) = table.get("acknowledged_for") {
            policy.acknowledged_for_ms = self.reader.duration(node, "acknowledged_for", WAITS);
        }
        let example = "[{ schedules = [\"platform\"], wait = \"5m\" }]";
        let steps = self.reader.required(table, label, "steps", example);
        let header = format!("[[policies.{}.steps]]", label.replace("policy ", ""));
        let steps = steps.and_then(|it| list_of_tables(it, "steps", &header, &mut self.reader));
        for (index, node) in steps.unwrap_or_default().iter().enumerate() {
            let label = format!("{label}, step {}", index + 1);
            let step = self.noted(&label, node.span.clone(), |it| it.step(node, &label, names));
            policy.steps.push(step);
        }
        policy
    }

    fn step(&mut self, node: &Node, label: &str, names: &Names<'_>) -> Step {
        let mut step = Step {
            targets: Vec::new(),
            wait_ms: Millis(0),
        };
        let keys = ["schedules", "contacts", "wait"];
        let Some(table) = self.reader.table(node, label, &keys) else {
            return step;
        };
        if let Some(node) = table.get("schedules") {
            let found: Vec<ScheduleName> =
                self.all_known(node, "schedule", "schedules", &names.schedules);
            step.targets.extend(found.into_iter().map(Target::Schedule));
        }
        if let Some(node) = table.get("contacts") {
            let found: Vec<ContactName> =
                self.all_known(node, "contact", "contacts", &names.contacts);
            step.targets.extend(found.into_iter().map(Target::Contact));
        }
        if table.get("schedules").is_none() && table.get("contacts").is_none() {
            let flaw = Flaw::new(format!("{label} asks nobody"));
            let help = "add `schedules = [\"…\"]` or `contacts = [\"…\"]`";
            self.reader.report(node.span.clone(), flaw.help(help));
        }
        if let Some(node) = self.reader.required(table, label, "wait", "\"5m\"") {
            step.wait_ms = self
                .reader
                .duration(node, "wait", WAITS)
                .unwrap_or_default();
        }
        step
    }
}
