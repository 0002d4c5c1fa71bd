//! What is known of services, what users are shown, and what is promised.
//!
//! Invariant: of two components or objectives with one name both are kept, for
//! the rules to say so.

use model::ServiceName;
use model::incident::{Component, Objective, ServiceCare};

use super::{Names, Reading, plain};
use crate::project::fleet::list_of_tables;
use crate::project::grammar::Flaw;
use crate::project::tree::Node;

/// A promise in steps of one request of a million.
const TARGET_DIGITS: u32 = 4;
/// 100 %.
const MILLION: u64 = 1_000_000;
/// The longest window that is read; which make sense, the rules say.
const WINDOW_DAYS_MAX: u16 = 366;

impl Reading<'_> {
    pub(super) fn service(&mut self, node: &Node, label: &str, names: &Names<'_>) -> ServiceCare {
        let mut care = ServiceCare::default();
        let Some(table) = self.reader.table(node, label, &["policy", "depends_on"]) else {
            return care;
        };
        if let Some(node) = table.get("policy") {
            care.policy = self.known(node, "policy", "policy", &names.policies);
        }
        if let Some(node) = table.get("depends_on") {
            care.depends_on = self.service_names(node, "depends_on");
        }
        care
    }

    fn service_names(&mut self, node: &Node, label: &str) -> Vec<ServiceName> {
        let items = self.reader.list(node, label).unwrap_or_default().iter();
        let names = items.filter_map(|item| self.service_name(item, label));
        names.collect()
    }

    fn service_name(&mut self, node: &Node, label: &str) -> Option<ServiceName> {
        let text = self.reader.text(node, label, plain)?;
        self.reader.name(&text, node.span.clone())
    }

    fn entries<T>(
        &mut self,
        root: &Node,
        key: &str,
        kind: &str,
        name: &str,
        mut read: impl FnMut(&mut Self, &Node, &str) -> Option<T>,
    ) -> Vec<T> {
        let header = format!("[[{key}]]");
        let nodes = root
            .get(key)
            .and_then(|node| list_of_tables(node, key, &header, &mut self.reader));
        let mut all = Vec::new();
        for node in nodes.unwrap_or_default() {
            let named = node.get(name).map(|node| &node.value);
            let label = match named {
                Some(crate::project::tree::Value::Text(name)) => format!("{kind} {name}"),
                _ => format!("this {kind}"),
            };
            all.extend(self.noted(&label, node.span.clone(), |it| read(it, node, &label)));
        }
        all
    }

    pub(super) fn components(&mut self, root: &Node) -> Vec<Component> {
        self.entries(root, "components", "component", "id", |it, node, label| {
            let keys = ["id", "name", "description", "services"];
            let table = it.reader.table(node, label, &keys)?;
            let id = it.reader.required(table, label, "id", "\"checkout\"");
            let id = id.and_then(|node| {
                let text = it.reader.text(node, "id", plain)?;
                it.reader.name(&text, node.span.clone())
            });
            it.reader.required(table, label, "name", "\"Checkout\"");
            let services = it.reader.required(table, label, "services", "[\"api\"]");
            let services = services.map(|node| it.service_names(node, "services"));
            Some(Component {
                name: it.words(table, "name"),
                description: it.words(table, "description"),
                services: services.unwrap_or_default(),
                id: id?,
            })
        })
    }

    pub(super) fn objectives(&mut self, root: &Node) -> Vec<Objective> {
        self.entries(
            root,
            "objectives",
            "objective",
            "name",
            |it, node, label| {
                let keys = ["name", "service", "target", "window", "good", "total"];
                let table = it.reader.table(node, label, &keys)?;
                it.reader.required(table, label, "name", "\"api_answers\"");
                let service = it.reader.required(table, label, "service", "\"api\"");
                let service = service.and_then(|node| it.service_name(node, "service"));
                let target = it.reader.required(table, label, "target", "\"99.9%\"");
                let target = target.and_then(|node| {
                    let allowed = MILLION / 2..=MILLION - 1;
                    it.reader.percentage(node, "target", TARGET_DIGITS, allowed)
                });
                let window = it.reader.required(table, label, "window", "\"30d\"");
                let window = window.and_then(|node| it.days(node, "window", WINDOW_DAYS_MAX));
                let (good, total) = (it.words(table, "good"), it.words(table, "total"));
                if good.is_empty() != total.is_empty() {
                    let flaw = Flaw::new(format!("{label} has one of `good` and `total` alone"));
                    let help = "name both counters, or none when Plimsoll counts";
                    it.reader.report(node.span.clone(), flaw.help(help));
                }
                Some(Objective {
                    name: it.words(table, "name"),
                    service: service?,
                    target_ppm: u32::try_from(target?).ok()?,
                    window_days: window?,
                    good,
                    total,
                })
            },
        )
    }
}
