//! The files of a fleet's project: what its service is configured with, and how it is released.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::{Package, World, text};

/// The schema of service.toml, as its makers would write it.
const SCHEMA: &str = include_str!("service.schema.json");

/// What operators demand of the service's changes.
const GATES: &str = r#"
[service.api.checks]
schemas = { "service.toml" = "schemas/service.schema.json" }
rehearsal = { load = { url = "http://${address}/v1/orders", rate = 50 }, revert_within = "30s" }
hostile = true
"#;

/// Waves and judge alone: nothing is tried before a wave does it.
const NO_GATES: &str = r#"
[service.api.checks]
rehearsal = false
hostile = false
"#;

impl World {
    /// The configuration that is released: which authentication service
    /// production uses. The client library has no deadline: that is the flaw
    /// of the report.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_config(&self, version: &str, production_auth: SocketAddr) -> Result<()> {
        self.write_limited(version, production_auth, self.shape.session_bytes_max)
    }

    /// The same with another limit of sessions than hosts were born with.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_limited(
        &self,
        version: &str,
        production_auth: SocketAddr,
        session_bytes_max: Option<u32>,
    ) -> Result<()> {
        let limit = session_bytes_max.map_or_else(String::new, |bytes| {
            format!("session_bytes_max = {bytes}\n")
        });
        let config = format!(
            "version = \"{version}\"\nwork_ms = 5\n{limit}\n[auth.test]\naddress = \"{}\"\n\n[auth.production]\naddress = \"{production_auth}\"\n",
            self.auth_test
        );
        let path = self.folder.join("project/config/service.toml");
        std::fs::write(&path, config).with_context(|| path.display().to_string())
    }

    /// plimsoll.toml, for a release with these packages.
    pub(super) fn write_project(&self, packages: &[Package]) -> Result<()> {
        let program = text(&self.program);
        let hosts = text(&self.folder.join("hosts"));
        let waves: Vec<String> = self
            .shape
            .waves
            .iter()
            .map(|wave| format!("{wave:?}"))
            .collect();
        let mut project = format!(
            r#"# The fleet of this folder, and how its one service is released.

[service.api]
files = "config"
tenant_header = "x-api-key"

[service.api.commands]
check = ["{program}", "drill-service", "--check", "--config", "service.toml", "--environment", "${{environment}}"]
restart = {{ run = ["{program}", "supervise", "restart", "--dir", "{hosts}/${{host}}/init"], deadline = "15s" }}
exits = ["{program}", "supervise", "exits", "--dir", "{hosts}/${{host}}/init"]

[service.api.health]
http = "http://${{address}}/healthz"
interval = "500ms"
deadline = "500ms"
grace = "10s"
threshold = 2

[service.api.plan.test]
waves = ["all"]
bake = "2s"
confirm_within = "20s"

[service.api.plan.production]
waves = [{}]
bake = "{}s"
bake_max = "5m"
requests_min = {}
failure_budget = "{}"
confirm_within = "20s"
"#,
            waves.join(", "),
            self.shape.bake_s,
            self.shape.requests_min,
            self.shape.failure_budget,
        );
        for package in packages {
            let _ = write!(
                project,
                "\n[service.api.packages.{name}]\nversion = \"{}\"\narchive = \"dist/{name}.tar\"\n",
                package.version,
                name = package.name
            );
        }
        if self.shape.gates {
            self.write_gates(&mut project)?;
        } else {
            project.push_str(NO_GATES);
        }
        self.write_fleet(&mut project);
        std::fs::write(self.folder.join("project/plimsoll.toml"), project)?;
        Ok(())
    }

    /// What a change must pass before production, and what is known of the hosts.
    fn write_gates(&self, project: &mut String) -> Result<()> {
        let schemas = self.folder.join("project/schemas");
        std::fs::create_dir_all(&schemas)?;
        std::fs::write(schemas.join("service.schema.json"), SCHEMA)?;
        project.push_str(GATES);
        for (class, packages) in [("lab", &self.shape.lab), ("web", &self.shape.web)] {
            let _ = write!(project, "\n[class.{class}.packages]\n");
            for package in packages {
                project.push_str(&package.declared());
            }
        }
        for package in &self.shape.catalog {
            project.push_str(&package.listed());
        }
        Ok(())
    }

    fn write_fleet(&self, project: &mut String) {
        for (environment, class) in [("test", "lab"), ("production", "web")] {
            let _ = write!(project, "\n[[environment]]\nname = \"{environment}\"\n");
            for place in self
                .hosts
                .iter()
                .filter(|place| place.environment == environment)
            {
                let _ = write!(
                    project,
                    "\n[[environment.host]]\nname = \"{}\"\nzone = \"{}\"\naddress = \"{}\"\n",
                    place.name, place.zone, place.address
                );
                if self.shape.gates {
                    let _ = writeln!(project, "class = \"{class}\"");
                }
            }
        }
    }
}
