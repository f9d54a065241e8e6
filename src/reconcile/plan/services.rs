//! The difference between the services' tables as they should be and as they are.

use std::collections::BTreeSet;

use super::{changed, gone};
use crate::lb::{Table, maglev};
use crate::reconcile::desired::DesiredServices;
use crate::reconcile::tables::{ServiceAction, ServiceTables};

/// The steps that lead from the observed tables to the desired ones.
///
/// First what is new or changed, each thing after those that it leads to: backends, Maglev tables, services, virtual
/// addresses, ports; then what the programs look for. Then what goes, the other way round. Only the host's addresses go
/// first, since there may be no room for another one before. So a flow meets the old backends of a service or the new
/// ones, all of which are there, at every step. Once a step has failed, those after it are not to be taken, since they
/// may lead to what is not there; the next plan has them again.
pub fn plan_services(desired: &DesiredServices, observed: &ServiceTables) -> Vec<ServiceAction> {
    let (tables, lookups) = (&desired.tables, desired.tables.lookups);
    let lost = observed.addresses.difference(&tables.addresses);
    let mut plan: Vec<ServiceAction> = lost.map(|address| ServiceAction::DeleteAddress(*address)).collect();
    plan.extend(puts(desired, observed));
    plan.extend((lookups != observed.lookups).then_some(ServiceAction::SetLookups(lookups)));
    plan.extend(deletes(tables, observed));
    plan
}

fn puts<'a>(
    desired: &'a DesiredServices,
    observed: &'a ServiceTables,
) -> impl Iterator<Item = ServiceAction> + 'a {
    let written: BTreeSet<Table> = observed.maglev().collect();
    let backends = changed(&desired.tables.backends, &observed.backends)
        .map(|(slot, entry)| ServiceAction::PutBackend(*slot, *entry));
    let locals = changed(&desired.tables.locals, &observed.locals)
        .map(|((vni, mac), slot)| ServiceAction::PutLocal(*vni, *mac, *slot));
    let maglev =
        desired.maglev.iter().filter(move |(table, _)| !written.contains(table)).map(|(table, made_of)| {
            let places = maglev::table(made_of.service, &made_of.members, table.region.size());
            ServiceAction::WriteTable(table.region, places)
        });
    let services = changed(&desired.tables.services, &observed.services)
        .map(|(slot, entry)| ServiceAction::PutService(*slot, *entry));
    let vips = changed(&desired.tables.vips, &observed.vips)
        .map(|((vni, address), entry)| ServiceAction::PutVip(*vni, *address, *entry));
    let ports = changed(&desired.tables.ports, &observed.ports)
        .map(|((protocol, port), entry)| ServiceAction::PutPort(*protocol, *port, *entry));
    let gained = desired.tables.addresses.difference(&observed.addresses);
    let addresses = gained.map(|address| ServiceAction::PutAddress(*address));
    backends.chain(locals).chain(maglev).chain(services).chain(vips).chain(ports).chain(addresses)
}

fn deletes<'a>(
    desired: &'a ServiceTables,
    observed: &'a ServiceTables,
) -> impl Iterator<Item = ServiceAction> + 'a {
    let ports = gone(&desired.ports, &observed.ports)
        .map(|(protocol, port)| ServiceAction::DeletePort(*protocol, *port));
    let vips =
        gone(&desired.vips, &observed.vips).map(|(vni, address)| ServiceAction::DeleteVip(*vni, *address));
    let services =
        gone(&desired.services, &observed.services).map(|slot| ServiceAction::DeleteService(*slot));
    let backends =
        gone(&desired.backends, &observed.backends).map(|slot| ServiceAction::DeleteBackend(*slot));
    let locals =
        gone(&desired.locals, &observed.locals).map(|(vni, mac)| ServiceAction::DeleteLocal(*vni, *mac));
    ports.chain(vips).chain(services).chain(locals).chain(backends)
}
