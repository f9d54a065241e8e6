//! `overlayctl service …`

use std::io::Write;

use overlay::api::{
    BackendUpdate, Changed, ServiceChanged, ServiceCreate, ServiceDetail, ServiceRow, ServiceUpdate,
};
use overlay::model::Service;

use super::{confirm, each};
use crate::args::{
    DrainArgs, ListArgs, NewFormat, PsArgs, ServiceCreateArgs, ServiceUpdateArgs, ServicesArgs,
};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn create(
    client: &Client,
    args: &ServiceCreateArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = ServiceCreate {
        name: args.name.clone(),
        networks: args.networks.clone(),
        publish: args.publish.clone(),
        endpoint_mode: args.endpoint_mode,
        source_ip: args.source_ip,
        affinity: args.affinity,
        stop_grace_period: args.stop_grace_period,
        unavailable: args.unavailable,
        labels: args.labels.iter().cloned().collect(),
    };
    let ServiceChanged { service, warnings } = client.post(&["services"], &request)?;
    warn(&warnings, progress)?;
    let text = match args.shown.format {
        NewFormat::Id => format!("{}\n", service.id),
        NewFormat::Json => render::json(&service)?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

pub(super) fn ls(client: &Client, list: ListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let services: Vec<ServiceRow> = client.get(&["services"])?;
    Ok(out.write_all(render::services(&services, list)?.as_bytes())?)
}

pub(super) fn ps(client: &Client, args: &PsArgs, out: &mut dyn Write) -> Result<(), Error> {
    let service: ServiceDetail = client.get(&["services", &args.service])?;
    Ok(out.write_all(render::backends(&service.backends, args.list)?.as_bytes())?)
}

pub(super) fn inspect(client: &Client, args: &ServicesArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (services, result) =
        each(&args.services, |service| client.get::<ServiceDetail>(&["services", service]));
    out.write_all(render::json(&services)?.as_bytes())?;
    result
}

pub(super) fn update(
    client: &Client,
    args: &ServiceUpdateArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = ServiceUpdate {
        networks_add: args.network_add.clone(),
        networks_rm: args.network_rm.clone(),
        publish_add: args.publish_add.clone(),
        publish_rm: args.publish_rm.clone(),
        endpoint_mode: args.endpoint_mode,
        source_ip: args.source_ip,
        affinity: args.affinity,
        stop_grace_period: args.stop_grace_period,
        unavailable: args.unavailable,
        labels_add: args.labels_add.iter().cloned().collect(),
        labels_rm: args.labels_rm.clone(),
    };
    let changed: ServiceChanged = client.post(&["services", &args.service], &request)?;
    warn(&changed.warnings, progress)?;
    Ok(writeln!(out, "{}", args.service)?)
}

pub(super) fn rm(client: &Client, args: &ServicesArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (_, result) = each(&args.services, |service| {
        client.delete::<Service>(&["services", service])?;
        Ok(writeln!(out, "{service}")?)
    });
    result
}

pub(super) fn drain(
    client: &Client,
    args: &DrainArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = BackendUpdate { drained: !args.undo };
    let changed: Changed = client.post(&["backends", &args.backend], &request)?;
    confirm::wait(client, changed, args.wait, progress)?;
    Ok(writeln!(out, "{}", args.backend)?)
}

fn warn(warnings: &[String], progress: &mut dyn Write) -> Result<(), Error> {
    for warning in warnings {
        writeln!(progress, "warning: {warning}")?;
    }
    Ok(())
}
