//! The ways out of an endpoint's namespace: its default routes by the gateways of its network.
//!
//! A namespace may have several, of other endpoints or of a container runtime's own network. Which one a packet takes
//! is told by its source address: an endpoint's answers leave by the network that the question came from. Only what
//! has no source address yet takes the namespace's own choice.

use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use overlay::reconcile::links::VethSpec;
use rtnetlink::RouteMessageBuilder;

use super::{Netlink, is_errno, said};

/// Behind any default route that the namespace may have: the least that routes get, which is what IPv6's get by default.
const METRIC: u32 = 1024;

/// An endpoint's own routing table is this plus its interface's index: far from those that people number by hand.
const TABLES: u32 = 0x6f76_0000;

/// The rules' priority: before the main table's 32766 (ip-rule(8)). What the main table has a more precise route for than
/// the default one is left to it.
const PRECISE: u32 = 28_534;
const DEFAULT: u32 = PRECISE + 1;

impl Netlink {
    /// Adds the default routes of an endpoint whose interface has this index. Those that are there already stay.
    pub(super) async fn add_ways_out(&self, spec: &VethSpec, index: u32) -> Result<()> {
        for gateway in &spec.gateways {
            let of_family = |address: &&IpNet| address.addr().is_ipv4() == gateway.is_ipv4();
            let step = || format!("adding a default route by {gateway} to {}", spec.ifname);
            self.add_default_route(index, *gateway, None).await.with_context(step)?;
            if let Some(source) = spec.addresses.iter().find(of_family) {
                self.route_by_source(source.addr(), index, *gateway).await.with_context(step)?;
            }
        }
        Ok(())
    }

    /// Has what comes from `source` leave by the gateway, on kernels that know routing by source (`CONFIG_IP_MULTIPLE_TABLES`).
    async fn route_by_source(&self, source: IpAddr, index: u32, gateway: IpAddr) -> Result<()> {
        let own = TABLES + index;
        let precise = rule(source, PRECISE, RouteHeader::RT_TABLE_MAIN.into());
        let default = rule(source, DEFAULT, own);
        self.remove_rules(&[&precise, &default]).await;
        match self.add_rule(precise, Some(RuleAttribute::SuppressPrefixLen(0))).await {
            Err(error) if is_errno(&error, libc::EOPNOTSUPP) || is_errno(&error, libc::EAFNOSUPPORT) => {
                return Ok(());
            }
            result => result?,
        }
        self.add_default_route(index, gateway, Some(own)).await?;
        Ok(self.add_rule(default, None).await?)
    }

    /// Of several in one table, the first keeps it.
    async fn add_default_route(&self, index: u32, gateway: IpAddr, table: Option<u32>) -> Result<()> {
        let anywhere = IpNet::new(gateway, 0)?.trunc();
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(anywhere.addr(), 0)?
            .gateway(gateway)?
            .output_interface(index)
            .priority(METRIC);
        if let Some(table) = table {
            route = route.table_id(table);
        }
        match self.handle.route().add(route.build()).execute().await.map_err(said) {
            Err(error) if !is_errno(&error, libc::EEXIST) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn add_rule(&self, rule: RuleMessage, also: Option<RuleAttribute>) -> io::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        request.message_mut().attributes.extend(also);
        request.execute().await.map_err(said)
    }

    /// Removes what an endpoint left that had the address before: rules outlive their interface.
    async fn remove_rules(&self, rules: &[&RuleMessage]) {
        for rule in rules {
            let mut rule = (*rule).clone();
            rule.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Table(_)));
            rule.header.table = RouteHeader::RT_TABLE_UNSPEC;
            while self.handle.rule().del(rule.clone()).execute().await.is_ok() {}
        }
    }
}

/// What comes from `source` is looked up in `table`.
fn rule(source: IpAddr, priority: u32, table: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    (rule.header.family, rule.header.src_len) = match source {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    rule.header.action = RuleAction::ToTable;
    rule.attributes =
        vec![RuleAttribute::Source(source), RuleAttribute::Priority(priority), RuleAttribute::Table(table)];
    rule
}
