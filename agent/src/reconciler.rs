//! Puts the core's plans into effect. Nothing else in the agent writes the kernel.
//!
//! One pass goes devices, tables, services, hooks: the tables name devices by their index, and a program runs on a device
//! only once the tables are complete. A new endpoint's program precedes the services, which lead clients to it. A step that
//! fails is remembered and tried again with the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use overlay::api::Failure;
use overlay::config::{Config, MeshHook};
use overlay::facts::View;
use overlay::intent::Intent;
use overlay::model::{Attachment, EndpointId, NodeId};
use overlay::reconcile::links::{Links, Underlay};
use overlay::reconcile::mesh::Mesh;
use overlay::reconcile::tables::{Program, ServiceTables, Tables};
use overlay::reconcile::{desired, plan};
use tracing::{debug, info, warn};

use crate::kernel::bpf::DataPath;
use crate::kernel::netlink::{Netlink, Observed};

/// What a pass starts from.
pub struct Wanted<'a> {
    /// This node.
    pub me: NodeId,
    /// What users asked for.
    pub intent: &'a Intent,
    /// What the nodes alive state.
    pub view: &'a View,
    /// Whether `view` is complete; until then nothing of a peer's is removed.
    pub complete: bool,
    /// The endpoints here.
    pub attachments: &'a BTreeMap<EndpointId, Attachment>,
    /// Where the underlay is.
    pub underlay: Option<&'a Underlay>,
    /// The time since the Unix epoch, by this host's clock.
    pub now: Duration,
}

impl<'a> Wanted<'a> {
    const fn host(&self, config: &'a Config, mark: u32) -> desired::Host<'a> {
        desired::Host { me: self.me, config, underlay: self.underlay, mark }
    }
}

/// The kernel's state and what is wrong with it.
pub struct Reconciler {
    config: Config,
    netlink: Netlink,
    data_path: DataPath,
    mark: u32,
    desired: desired::DesiredTables,
    /// What the tables hold, as far as known; read anew by [`Reconciler::forget`].
    tables: Option<Tables>,
    /// Likewise.
    services: Option<ServiceTables>,
    failures: BTreeMap<String, Failure>,
    mesh: Mesh,
    /// The index of an underlay device that takes no native XDP, and why.
    xdp_refused: Option<(u32, String)>,
    /// The host ends of veth pairs that were there at the end of the last pass.
    veths: BTreeSet<String>,
}

impl Reconciler {
    /// Takes over what an earlier run left in the kernel. `mark` tells the data path's packets from others'.
    pub fn new(config: Config, netlink: Netlink, data_path: DataPath, mark: u32) -> Self {
        let (desired, tables, services, failures, veths) = Default::default();
        let (mesh, xdp_refused) = Default::default();
        Self {
            config,
            netlink,
            data_path,
            mark,
            desired,
            tables,
            services,
            failures,
            mesh,
            xdp_refused,
            veths,
        }
    }

    /// Makes the next pass read everything from the kernel, so that foreign changes are seen.
    pub fn forget(&mut self) {
        self.tables = None;
        self.services = None;
    }

    /// The steps that failed and are being retried.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.values().cloned().collect()
    }

    /// Where the mesh runs since the last pass.
    pub const fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The host ends of veth pairs that are there.
    pub const fn veths(&self) -> &BTreeSet<String> {
        &self.veths
    }

    /// The kernel's network configuration.
    pub const fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// The data path.
    pub const fn data_path(&self) -> &DataPath {
        &self.data_path
    }

    /// One pass. What fails is in [`Reconciler::failures`] afterwards. The answer is whether the tables are as wanted.
    pub async fn run(&mut self, wanted: &Wanted<'_>) -> bool {
        let mut pass = Pass { before: std::mem::take(&mut self.failures), after: BTreeMap::new() };
        let complete = self.steps(wanted, &mut pass).await.unwrap_or_else(|error| {
            pass.failed("read what the kernel holds", &error);
            self.forget();
            false
        });
        self.failures = pass.after;
        complete
    }

    async fn steps(&mut self, wanted: &Wanted<'_>, pass: &mut Pass) -> anyhow::Result<bool> {
        let observed = self.links(wanted, pass).await?;
        let mut complete = self.tables(wanted, &observed.ifindexes, pass)?;
        self.hook_up_new(wanted, &observed.links, pass);
        self.veths = observed.links.veths.keys().cloned().collect();
        complete &= self.services(wanted, &observed.ifindexes, pass).await.unwrap_or_else(|error| {
            pass.failed("read what the kernel holds of services", &error);
            false
        });
        self.hooks(wanted, &observed.links, pass)?;
        Ok(complete)
    }

    async fn links(&self, wanted: &Wanted<'_>, pass: &mut Pass) -> anyhow::Result<Observed> {
        let (vxlan, prefix) = (&self.config.vxlan_device, &self.config.veth_prefix);
        let observed = self.netlink.observe(vxlan, prefix).await.context("cannot list the devices")?;
        let host = wanted.host(&self.config, self.mark);
        let desired = desired::links(&host, wanted.intent, wanted.view, wanted.attachments);
        let actions = plan::plan_links(&desired, &observed.links, wanted.complete);
        if actions.is_empty() {
            return Ok(observed);
        }
        for action in &actions {
            info!(%action, "device");
            pass.record(action, self.netlink.apply(action).await);
        }
        self.netlink.observe(vxlan, prefix).await.context("cannot list the devices")
    }

    fn tables(
        &mut self,
        wanted: &Wanted<'_>,
        ifindexes: &BTreeMap<String, u32>,
        pass: &mut Pass,
    ) -> anyhow::Result<bool> {
        for pin in self.data_path.repair_pins()? {
            warn!(pin, "a pinned map was removed; pinned again");
        }
        let observed = match self.tables.take() {
            Some(tables) => tables,
            None => self.data_path.observe().context("cannot read the data path's maps")?,
        };
        let host = wanted.host(&self.config, self.mark);
        let desired = self.desired.update(&host, wanted.intent, wanted.view, wanted.attachments, ifindexes);
        let mut now = observed;
        let mut complete = wanted.complete;
        for action in plan::plan_tables(desired, &now, wanted.complete) {
            debug!(%action, "table");
            let result = self.data_path.apply(&action);
            if result.is_ok() {
                now.apply(&action);
            }
            complete &= result.is_ok();
            pass.record(&action, result);
        }
        self.tables = Some(now);
        Ok(complete)
    }

    /// An endpoint that has just come can answer before clients are led to it.
    fn hook_up_new(&mut self, wanted: &Wanted<'_>, links: &Links, pass: &mut Pass) {
        let desired = desired::hooks(&wanted.host(&self.config, self.mark), links, &self.mesh);
        for (program, ifname) in desired {
            if program != Program::TcEndpoint || self.veths.contains(&ifname) {
                continue;
            }
            // After the agent's start, all seem new; what an earlier one attached waits for the rest of the tables.
            if self.data_path.attached(program, &ifname).unwrap_or(true)
                || self.data_path.attached_earlier(program, &ifname).unwrap_or(true)
            {
                continue;
            }
            info!(%program, ifname, "attach");
            pass.record(&format!("attach {program} to {ifname}"), self.data_path.attach(program, &ifname));
        }
    }

    /// A step leads to what those before it wrote, so those after one that failed are left for another pass.
    async fn services(
        &mut self,
        wanted: &Wanted<'_>,
        ifindexes: &BTreeMap<String, u32>,
        pass: &mut Pass,
    ) -> anyhow::Result<bool> {
        let mut now = match self.services.take() {
            Some(services) => services,
            None => self.data_path.observe_services().context("cannot read the data path's maps")?,
        };
        let addresses = self.netlink.own_addresses().await.context("cannot list this host's addresses")?;
        let host = wanted.host(&self.config, self.mark);
        let found = desired::Found { ifindexes, addresses: &addresses, tables: &now, now: wanted.now };
        let Wanted { intent, view, attachments, complete, .. } = *wanted;
        let desired = desired::services(&host, intent, view, attachments, found, complete);
        for shortage in &desired.shortages {
            pass.failed(shortage.action(), &anyhow::Error::new(shortage.clone()));
        }
        let mut complete = true;
        for action in plan::plan_services(&desired, &now) {
            debug!(%action, "service");
            let result = self.data_path.apply_service(&action);
            complete = result.is_ok();
            pass.record(&action, result);
            if !complete {
                break;
            }
            now.apply(&action);
        }
        self.services = Some(now);
        Ok(complete)
    }

    /// A hook that an earlier agent's program serves keeps it until the facts are complete: that program may read
    /// maps of another layout, which hold the peers' entries when ours do not yet.
    fn hooks(&mut self, wanted: &Wanted<'_>, links: &Links, pass: &mut Pass) -> anyhow::Result<()> {
        let published = self.services.as_ref().is_some_and(|services| !services.ports.is_empty());
        let ifindex = wanted.underlay.map(|underlay| underlay.ifindex);
        let refused = self.xdp_refused.as_ref().filter(|(by, _)| Some(*by) == ifindex).map(|(_, why)| &**why);
        self.mesh = Mesh::decide(self.config.mesh_hook, published, wanted.underlay, refused);
        let desired = desired::hooks(&wanted.host(&self.config, self.mark), links, &self.mesh);
        let mut earlier = false;
        for (program, ifname) in &desired {
            if self.data_path.attached(*program, ifname).unwrap_or(false) {
                continue;
            }
            if !wanted.complete && self.data_path.attached_earlier(*program, ifname).unwrap_or(false) {
                earlier = true;
                continue;
            }
            info!(%program, ifname, "attach");
            let attached = self.data_path.attach(*program, ifname);
            if let (Program::XdpUnderlay, MeshHook::Auto, Some(ifindex), Err(error)) =
                (program, self.config.mesh_hook, ifindex, &attached)
            {
                // The mesh runs in tc until then, so nothing is missing; the next pass says so.
                info!(ifname, %error, "no native XDP");
                self.xdp_refused = Some((ifindex, format!("{error:#}")));
                continue;
            }
            earlier |= attached.is_err();
            pass.record(&format!("attach {program} to {ifname}"), attached);
        }
        for (program, ifname) in self.data_path.links().context("cannot list the pinned links")? {
            if !desired.contains(&(program, ifname.clone())) {
                info!(%program, ifname, "detach");
                pass.record(
                    &format!("detach {program} from {ifname}"),
                    self.data_path.detach(program, &ifname),
                );
            }
        }
        if !earlier {
            for version in self.data_path.remove_other_versions()? {
                info!(version, "no program reads the maps of this layout any more; unpinned");
            }
        }
        Ok(())
    }
}

/// The failures before a pass, and those in it.
struct Pass {
    before: BTreeMap<String, Failure>,
    after: BTreeMap<String, Failure>,
}

impl Pass {
    fn record(&mut self, action: &impl Display, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.failed(action, &error);
        }
    }

    fn failed(&mut self, action: impl Display, error: &anyhow::Error) {
        let action = action.to_string();
        let cause = format!("{error:#}");
        let attempts = self.before.get(&action).map_or(0, |failure| failure.attempts) + 1;
        if attempts == 1 {
            warn!(action, cause, "failed; it is tried again");
        }
        self.after.insert(action.clone(), Failure { action, cause, attempts });
    }
}
