//! `overlayctl cluster …`

use std::net::{IpAddr, SocketAddr};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Create a cluster with this node as its manager
    ///
    /// Prints the command that adds another node. The token in it is a secret: whoever has it can join.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Make this node a member of a cluster
    ///
    /// Needs the token that "overlayctl cluster init" printed on the first node.
    #[command(after_help = JOIN_EXAMPLES)]
    Join(JoinArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The address of this node that the other nodes reach [default: the one towards the default route]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_addr: Option<IpAddr>,
    /// Print only the join token
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

const INIT_EXAMPLES: &str = "\
Examples:
  overlayctl cluster init
  overlayctl cluster init --advertise-addr 10.0.0.1
  TOKEN=$(overlayctl cluster init -q)";

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The token that "overlayctl cluster init" printed
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) token: String,
    /// The manager's address and port; an IPv6 address goes in brackets, the port is 2377 if left out
    #[arg(value_name = "ADDR[:PORT]", value_parser = parse::manager)]
    pub(crate) manager: SocketAddr,
    /// The address of this node that the other nodes reach [default: the one towards the manager]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_addr: Option<IpAddr>,
}

const JOIN_EXAMPLES: &str = "\
Examples:
  overlayctl cluster join --token TOKEN 10.0.0.1
  overlayctl cluster join --token TOKEN '[fd00::1]:2377'";
