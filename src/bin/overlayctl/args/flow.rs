//! `overlayctl flow …`

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use overlay::api::FlowQuery;
use overlay::flows::FlowProtocol;

use super::ListFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum FlowCommand {
    /// List the flows that this node keeps, the latest first
    ///
    /// A connection has a flow for each direction that this node looks at. SCOPE says what for: "mesh" and "return" are a
    /// client's questions to a published port and the answers, on the node that it came to and on the backend's;
    /// "snat-return" are answers that go back by the node that the client came to; "vip" and "vip-return" are between an
    /// endpoint and a virtual address, "egress" and "egress-return" between an endpoint and the world outside. IDLE is for
    /// how long no packet was seen.
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(FlowLsArgs),
    /// End flows on this node, and print how many
    ///
    /// Their next packets begin new flows, which may go to other backends: connections that this node sent to a backend
    /// that new ones do not go to, break.
    #[command(after_help = FLUSH_EXAMPLES)]
    Flush(FlowFlushArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FlowLsArgs {
    /// Only those of this service: a name, an id, or the beginning of an id
    #[arg(long, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: Option<String>,
    /// Only those of this backend: the service's name, a dot, and the endpoint's name or id
    #[arg(long, value_name = "SERVICE.ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) backend: Option<String>,
    /// Only those of this protocol
    #[arg(long, value_parser = PossibleValuesParser::new(["tcp", "udp", "icmp"]).map(|word| protocol(&word)))]
    pub(crate) protocol: Option<FlowProtocol>,
    /// How many to list at most, up to 100000
    #[arg(long, value_name = "NUMBER", default_value_t = FlowQuery::default().limit)]
    pub(crate) limit: usize,
    /// How to print the list
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

fn protocol(word: &str) -> FlowProtocol {
    match word {
        "tcp" => FlowProtocol::Tcp,
        "udp" => FlowProtocol::Udp,
        _ => FlowProtocol::Icmp,
    }
}

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl flow ls --service web
  overlayctl flow ls --backend web.web1 --protocol tcp
  overlayctl flow ls -o json | jq 'map(select(.backend_gone))'";

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct FlowFlushArgs {
    /// Those of this service: a name, an id, or the beginning of an id
    #[arg(long, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: Option<String>,
    /// Those of this backend: the service's name, a dot, and the endpoint's name or id
    #[arg(long, value_name = "SERVICE.ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) backend: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["service", "backend"])]
    pub(crate) all: bool,
}

const FLUSH_EXAMPLES: &str = "\
Examples:
  overlayctl flow flush --backend web.web1
  overlayctl flow flush --all";
