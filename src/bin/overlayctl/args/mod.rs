//! What can be typed. The doc comments of everything here are the help texts that users read.

mod cluster;
mod endpoint;
mod flow;
mod network;
mod node;
mod parse;
mod publish;
mod service;
mod status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use overlay::config::Config;

pub(crate) use cluster::{
    BackupArgs, CaCommand, ClusterCommand, InitArgs, JoinArgs, JoinTokenArgs, KeyCommand, LeaveArgs,
    RestoreArgs, RotateArgs,
};
pub(crate) use endpoint::{AttachArgs, DetachArgs, EndpointCommand, EndpointInspectArgs, EndpointLsArgs};
pub(crate) use flow::{FlowCommand, FlowFlushArgs, FlowLsArgs};
pub(crate) use network::{CreateArgs, NetworkCommand, NetworkInspectArgs, RmArgs};
pub(crate) use node::{NodeCommand, NodeRmArgs, NodeUpdateArgs, NodesArgs};
pub(crate) use parse::NetworkOption;
pub(crate) use service::{
    DrainArgs, PsArgs, ServiceCommand, ServiceCreateArgs, ServiceUpdateArgs, ServicesArgs, StatsArgs,
    WaitArgs,
};
pub(crate) use status::{StatusArgs, StatusFormat};

/// Overlay networks for containers on many Linux hosts
///
/// A network that is created once is on every node of the cluster. Attach containers to it, or any other
/// network namespaces, and they reach each other by address, whichever node they are on.
#[derive(Debug, Parser)]
#[command(name = "overlayctl", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub(crate) struct Cli {
    /// The Unix socket of this node's agent, overlayd
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "OVERLAY_SOCKET",
        hide_env_values = true,
        default_value_os_t = Config::default().socket,
        help_heading = "Global options"
    )]
    pub(crate) socket: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  overlayctl cluster init               on the first node; prints what to run on the others
  overlayctl network create mynet       once, on a manager
  overlayctl endpoint attach --netns NETNS --network mynet --name web
  overlayctl status                     when something does not work

\"overlayctl COMMAND --help\" shows examples of every command.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, join and leave a cluster; its tokens, keys and backups
    #[command(subcommand, disable_help_subcommand = true)]
    Cluster(ClusterCommand),
    /// Show, change and remove the cluster's nodes
    #[command(subcommand, disable_help_subcommand = true)]
    Node(NodeCommand),
    /// Create, show and remove networks
    #[command(subcommand, disable_help_subcommand = true)]
    Network(NetworkCommand),
    /// Attach containers and other network namespaces to networks
    #[command(subcommand, disable_help_subcommand = true)]
    Endpoint(EndpointCommand),
    /// Create, show, change and remove services, and drain their backends
    #[command(subcommand, disable_help_subcommand = true)]
    Service(ServiceCommand),
    /// Show and end the flows on this node
    #[command(subcommand, disable_help_subcommand = true)]
    Flow(FlowCommand),
    /// Show how this node is, and what is wrong
    Status(StatusArgs),
    /// Print a completion script for your shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion(CompletionArgs),
}

/// How a listing is shown.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ListArgs {
    /// How to print the list
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t, conflicts_with = "quiet")]
    pub(crate) format: ListFormat,
    /// Print only the ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns for people
    #[default]
    Table,
    /// One JSON array for programs
    Json,
}

/// How something new is shown.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct NewArgs {
    /// What to print
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub(crate) format: NewFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewFormat {
    /// Its id
    #[default]
    Id,
    /// Everything about it, as a JSON object
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

const COMPLETION_EXAMPLES: &str = "\
Examples:
  overlayctl completion bash > /etc/bash_completion.d/overlayctl
  overlayctl completion zsh > /usr/local/share/zsh/site-functions/_overlayctl
  overlayctl completion fish > ~/.config/fish/completions/overlayctl.fish";
