//! `overlayd cleanup`: removes everything that the agent made on this node.

use anyhow::Context as _;
use overlay::config::Config;
use overlay::reconcile::links::LinkAction;

use crate::kernel::bpf;
use crate::kernel::netlink::Netlink;
use crate::member::Member;
use crate::report::advice;
use crate::store::Store;

/// Tells the other nodes, removes pins (which stops the data path), devices, and the state directory; goes on after an error, and
/// reports all of them.
///
/// # Errors
/// The agent runs, or something could not be removed.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    if std::os::unix::net::UnixStream::connect(&config.socket).is_ok() {
        return Err(advice(
            format!("overlayd runs here and answers on {}", config.socket.display()),
            "stop it first: `systemctl stop overlayd`",
        ));
    }
    if let Err(error) = withdraw(config).await {
        println!(
            "could not tell the other nodes, which may keep this one's endpoints for a while: {error:#}"
        );
    }
    let mut failed = Vec::new();
    let mut step = |what: String, result: anyhow::Result<()>| match result {
        Ok(()) => println!("removed {what}"),
        Err(error) => failed.push(format!("{what}: {error:#}")),
    };
    step(format!("the data path pinned in {}", config.bpf_dir.display()), bpf::remove(&config.bpf_dir));
    let netlink = Netlink::open()?;
    for device in devices(config, &netlink).await? {
        step(format!("device {device}"), netlink.apply(&LinkAction::Delete(device.clone())).await);
    }
    step(format!("the state in {}", config.state_dir.display()), remove_folder(&config.state_dir));
    step(format!("the socket {}", config.socket.display()), remove_file(&config.socket));
    if failed.is_empty() {
        return Ok(());
    }
    Err(advice(format!("could not remove {}", failed.join("; ")), "mend what it names, then run it again"))
}

/// Has the other nodes forget this one's endpoints, rather than wait for its return.
async fn withdraw(config: &Config) -> anyhow::Result<()> {
    if !config.state_dir.exists() {
        return Ok(());
    }
    Member::withdraw(config, &Store::open(&config.state_dir)?).await
}

async fn devices(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<String>> {
    let observed = netlink.observe(&config.vxlan_device, &config.veth_prefix).await?;
    Ok(observed.ifindexes.into_keys().collect())
}

fn remove_folder(folder: &std::path::Path) -> anyhow::Result<()> {
    absent_is_fine(std::fs::remove_dir_all(folder)).context("cannot remove it")
}

fn remove_file(file: &std::path::Path) -> anyhow::Result<()> {
    absent_is_fine(std::fs::remove_file(file)).context("cannot remove it")
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
