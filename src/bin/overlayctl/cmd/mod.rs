//! One file a noun or verb: from what was typed to requests, and from answers to output.

mod cluster;
mod completion;
mod confirm;
mod endpoint;
mod flow;
mod network;
mod node;
mod service;
mod stats;
mod status;

use std::io::Write;

use overlay::model::Role;

use crate::args::{
    CaCommand, Cli, ClusterCommand, Command, EndpointCommand, FlowCommand, KeyCommand, NetworkCommand,
    NodeCommand, ServiceCommand,
};
use crate::client::Client;
use crate::error::Error;

/// Carries out what was typed. Results go to `out`, progress to `progress`.
///
/// # Errors
/// Whatever keeps the command from being carried out in full.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, progress: &mut dyn Write) -> Result<(), Error> {
    let client = Client::new(&cli.socket);
    match &cli.command {
        Command::Cluster(ClusterCommand::Init(args)) => cluster::init(&client, args, out),
        Command::Cluster(ClusterCommand::Join(args)) => cluster::join(&client, args, out),
        Command::Cluster(ClusterCommand::JoinToken(args)) => cluster::join_token(&client, args, out),
        Command::Cluster(ClusterCommand::Leave(args)) => cluster::leave(&client, args, out),
        Command::Cluster(ClusterCommand::Ca(CaCommand::Rotate(args))) => {
            cluster::rotate(&client, "ca", *args, out, progress)
        }
        Command::Cluster(ClusterCommand::Key(KeyCommand::Rotate(args))) => {
            cluster::rotate(&client, "key", *args, out, progress)
        }
        Command::Cluster(ClusterCommand::Backup(args)) => cluster::backup(&client, args, out),
        Command::Cluster(ClusterCommand::Restore(args)) => cluster::restore(&client, args, out),
        Command::Node(NodeCommand::Ls(args)) => node::ls(&client, *args, out),
        Command::Node(NodeCommand::Inspect(args)) => node::inspect(&client, args, out),
        Command::Node(NodeCommand::Update(args)) => node::update(&client, args, out, progress),
        Command::Node(NodeCommand::Promote(args)) => node::set_role(&client, args, Role::Manager, out),
        Command::Node(NodeCommand::Demote(args)) => node::set_role(&client, args, Role::Worker, out),
        Command::Node(NodeCommand::Rm(args)) => node::rm(&client, args, out),
        Command::Service(ServiceCommand::Create(args)) => service::create(&client, args, out, progress),
        Command::Service(ServiceCommand::Ls(args)) => service::ls(&client, *args, out),
        Command::Service(ServiceCommand::Ps(args)) => service::ps(&client, args, out),
        Command::Service(ServiceCommand::Stats(args)) => stats::stats(&client, args, out, progress),
        Command::Service(ServiceCommand::Inspect(args)) => service::inspect(&client, args, out),
        Command::Service(ServiceCommand::Update(args)) => service::update(&client, args, out, progress),
        Command::Service(ServiceCommand::Rm(args)) => service::rm(&client, args, out),
        Command::Service(ServiceCommand::Drain(args)) => service::drain(&client, args, out, progress),
        Command::Network(NetworkCommand::Create(args)) => network::create(&client, args, out),
        Command::Network(NetworkCommand::Ls(args)) => network::ls(&client, *args, out),
        Command::Network(NetworkCommand::Inspect(args)) => network::inspect(&client, args, out),
        Command::Network(NetworkCommand::Rm(args)) => network::rm(&client, args, out),
        Command::Endpoint(EndpointCommand::Attach(args)) => endpoint::attach(&client, args, out),
        Command::Endpoint(EndpointCommand::Detach(args)) => endpoint::detach(&client, args, out),
        Command::Endpoint(EndpointCommand::Ls(args)) => endpoint::ls(&client, args, out),
        Command::Endpoint(EndpointCommand::Inspect(args)) => endpoint::inspect(&client, args, out),
        Command::Flow(FlowCommand::Ls(args)) => flow::ls(&client, args, out, progress),
        Command::Flow(FlowCommand::Flush(args)) => flow::flush(&client, args, out),
        Command::Status(args) => status::status(&client, args, out, progress),
        Command::Completion(args) => completion::completion(args, out),
    }
}

/// Does something with each of `references`, and collects the results. What the agent refuses for one does not
/// keep the others; anything else, like an agent that is gone, would fail for them too and ends it.
fn each<T>(
    references: &[String],
    mut act: impl FnMut(&str) -> Result<T, Error>,
) -> (Vec<T>, Result<(), Error>) {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for reference in references {
        match act(reference) {
            Ok(result) => done.push(result),
            Err(error) => {
                let refused = matches!(error, Error::Api(_));
                failed.push(error);
                if !refused {
                    break;
                }
            }
        }
    }
    (done, if failed.is_empty() { Ok(()) } else { Err(Error::Some(failed)) })
}
