//! `overlayctl cluster …`

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use overlay::model::{Role, Seconds};

use super::parse;
use super::service::words;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Create a cluster with this node as its manager
    ///
    /// Prints the command that adds another node. The token in it is a secret: whoever has it can join.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Make this node a member of a cluster
    ///
    /// Needs a token that "overlayctl cluster join-token" prints on a manager; what the node becomes depends on the
    /// token.
    #[command(after_help = JOIN_EXAMPLES)]
    Join(JoinArgs),
    /// Print the command that adds a worker, or a manager
    ///
    /// To be run on a manager. The token in it is a secret: whoever has it can join.
    #[command(after_help = JOIN_TOKEN_EXAMPLES)]
    JoinToken(JoinTokenArgs),
    /// Take this node out of its cluster
    ///
    /// Removes everything that the agent made here, but for its own programs. A manager has to be demoted first.
    #[command(after_help = LEAVE_EXAMPLES)]
    Leave(LeaveArgs),
    /// Renew the cluster's certificate authority
    #[command(subcommand, disable_help_subcommand = true)]
    Ca(CaCommand),
    /// Renew the key that gossip is sealed with
    #[command(subcommand, disable_help_subcommand = true)]
    Key(KeyCommand),
    /// Write everything that the managers hold to a file
    ///
    /// To be run on a manager. The file holds the cluster's secrets, so nobody but its owner can read it.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Make this node the only manager of a cluster, as a backup has it
    ///
    /// For a cluster that lost all of its managers. Its workers find this node if it has the address of a manager that
    /// they knew; others have to join again.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The address of this node that the other nodes reach [default: the one towards the default route]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_addr: Option<IpAddr>,
    /// How long a node's certificate is valid, from one minute; nodes renew theirs in time [default: 2160h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) cert_lifetime: Option<Seconds>,
    /// Make this manager the only one of the cluster that it is in: when most of its managers are lost for good. Those that
    /// come back have to join again
    #[arg(long, conflicts_with_all = ["advertise_addr", "cert_lifetime"])]
    pub(crate) force_new_cluster: bool,
    /// Print only the join token
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

const INIT_EXAMPLES: &str = "\
Examples:
  overlayctl cluster init
  overlayctl cluster init --advertise-addr 10.0.0.1
  TOKEN=$(overlayctl cluster init -q)

  After the majority of the managers was lost, on one that is left:
  overlayctl cluster init --force-new-cluster";

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The token that "overlayctl cluster join-token" printed
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

#[derive(Debug, Args)]
pub(crate) struct JoinTokenArgs {
    /// What nodes become that join with it
    #[arg(value_name = "ROLE", value_parser = words::<Role>(Role::WORDS))]
    pub(crate) role: Role,
    /// Make a new token first: the old one serves no more
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Print only the token
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

const JOIN_TOKEN_EXAMPLES: &str = "\
Examples:
  overlayctl cluster join-token worker
  overlayctl cluster join-token --rotate manager
  ssh web-2 overlayctl cluster join --token $(overlayctl cluster join-token -q worker) 10.0.0.1";

#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Even if this node has endpoints, is a manager, or reaches no manager
    #[arg(short, long)]
    pub(crate) force: bool,
}

const LEAVE_EXAMPLES: &str = "\
Examples:
  overlayctl cluster leave
  overlayctl cluster leave --force";

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a new certificate authority, and have every node get a certificate of it
    ///
    /// To be run on a manager. Both authorities are trusted until every node has its new certificate; a node that is down
    /// holds up the end, so remove it or bring it back. Join tokens that were printed before serve no more.
    #[command(after_help = CA_EXAMPLES)]
    Rotate(RotateArgs),
}

const CA_EXAMPLES: &str = "\
Examples:
  overlayctl cluster ca rotate
  overlayctl cluster ca rotate --detach";

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new key, and have every node use it
    ///
    /// To be run on a manager. Keys are also renewed every 12 hours, and when a node is removed.
    #[command(after_help = KEY_EXAMPLES)]
    Rotate(RotateArgs),
}

const KEY_EXAMPLES: &str = "\
Examples:
  overlayctl cluster key rotate
  overlayctl cluster key rotate --detach";

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RotateArgs {
    /// Do not wait until the old one is trusted no more
    #[arg(short, long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file, which must not be there yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

const BACKUP_EXAMPLES: &str = "\
Examples:
  overlayctl cluster backup /root/overlay-$(date +%F).json";

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The file that "overlayctl cluster backup" wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The address of this node that the other nodes reach [default: the one towards the default route]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_addr: Option<IpAddr>,
}

const RESTORE_EXAMPLES: &str = "\
What came after the backup is not in it: nodes that joined since then join again,
and those that were removed since then are to be removed again.

Examples:
  overlayctl cluster restore /root/overlay-2026-01-31.json
  overlayctl cluster restore /root/overlay-2026-01-31.json --advertise-addr 10.0.0.1";
