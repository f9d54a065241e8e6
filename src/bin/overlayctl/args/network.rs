//! `overlayctl network …`

use std::net::IpAddr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use overlay::model::Name;

use super::parse::{self, NetworkOption};
use super::{ListArgs, NewArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Create a network on every node
    ///
    /// Prints the network's id. Without an IPv4 subnet, a free one is taken from the cluster's default pool; IPv6
    /// is there if you give an IPv6 subnet.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List the networks
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(ListArgs),
    /// Show everything about networks, as a JSON array
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(NetworkInspectArgs),
    /// Remove networks
    ///
    /// A network with endpoints is not removed: detach them first. Prints each network that was removed; one
    /// that cannot be removed does not keep the others.
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The network's name: letters, digits, "_", "." and "-"
    pub(crate) name: Name,
    /// A subnet of the network; give it twice for one of IPv4 and one of IPv6
    #[arg(long = "subnet", value_name = "CIDR", value_parser = parse::subnet)]
    pub(crate) subnets: Vec<IpNet>,
    /// The gateway's address, at most one a subnet [default: the subnet's first address]
    #[arg(long = "gateway", value_name = "IP")]
    pub(crate) gateways: Vec<IpAddr>,
    /// An option of the network: mtu=BYTES, the endpoints' MTU [default: what the underlay leaves]
    #[arg(long = "opt", value_name = "KEY=VALUE", value_parser = parse::network_option)]
    pub(crate) options: Vec<NetworkOption>,
    /// A label for your own use, kept with the network; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Keep the network's endpoints from everything outside of it
    #[arg(long)]
    pub(crate) internal: bool,
    /// Let the subnets overlap those of other networks
    #[arg(long)]
    pub(crate) allow_overlap: bool,
    #[command(flatten)]
    pub(crate) shown: NewArgs,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  overlayctl network create mynet
  overlayctl network create mynet --subnet 10.1.0.0/16 --gateway 10.1.0.254
  overlayctl network create mynet --subnet 10.1.0.0/16 --subnet fd00:1::/64
  overlayctl network create mynet --opt mtu=1400 --label team=web";

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl network ls
  overlayctl network ls --format json";

#[derive(Debug, Args)]
pub(crate) struct NetworkInspectArgs {
    /// Networks: a name, an id, or the beginning of an id
    #[arg(required = true, value_name = "NETWORK", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) networks: Vec<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  overlayctl network inspect mynet
  overlayctl network inspect mynet | jq '.[].subnets'";

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Networks: a name, an id, or the beginning of an id
    #[arg(required = true, value_name = "NETWORK", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) networks: Vec<String>,
}

const RM_EXAMPLES: &str = "\
Examples:
  overlayctl network rm mynet
  overlayctl network rm mynet othernet";
