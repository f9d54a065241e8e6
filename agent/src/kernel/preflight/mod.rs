//! What would keep the agent from working, found before it touches anything, each with its cause and a hint.
//!
//! It changes nothing. What an earlier run of the agent left behind is not in the way.

mod machine;

use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use overlay::config::Config;
use overlay::model::Protocol;

pub use super::Problem;
use super::netlink::{Device, Netlink};
use super::ports::{self, Holder};

/// All that is in the way of an agent with this configuration. It must come before the agent binds anything.
pub async fn check(config: &Config) -> Vec<Problem> {
    let mut problems = machine::check();
    let devices = match Netlink::open() {
        Ok(netlink) => {
            if !netlink.supports_vxlan().await {
                problems.push(machine::no_vxlan());
            }
            netlink.devices().await
        }
        Err(error) => Err(error),
    };
    match devices {
        Ok(devices) => problems.extend(clashes(config, &devices)),
        Err(error) => problems.push(Problem::new(
            format!("{error:#}"),
            "the agent needs netlink: look for a seccomp profile or a sandbox around it",
        )),
    }
    problems
}

/// Another agent, or whoever has what this one needs. Where there is another agent, all else is its.
fn clashes(config: &Config, devices: &[Device]) -> Vec<Problem> {
    if let Some(problem) = other_agent(&config.socket) {
        return vec![problem];
    }
    let mut problems: Vec<Problem> = devices
        .iter()
        .filter(|device| device.name == config.vxlan_device)
        .filter_map(|device| device.our_vxlan_port().err())
        .collect();
    problems.extend(taken_data_port(config, devices));
    problems.extend(taken_port(Protocol::Udp, "gossip_port", config.gossip_port));
    problems.extend(taken_port(Protocol::Tcp, "gossip_port", config.gossip_port));
    problems.extend(taken_port(Protocol::Tcp, "api_port", config.api_port));
    problems
}

fn other_agent(socket: &Path) -> Option<Problem> {
    let stream = UnixStream::connect(socket).ok()?;
    let process = getsockopt(&stream, PeerCredentials).map_or(0, |peer| peer.pid());
    Some(Problem::new(
        format!("an overlayd runs already: {} answers on {}", ports::describe(process), socket.display()),
        "stop that one, or give this one a socket, a state_dir, ports and device names of its own",
    ))
}

/// The data port, which a device may hold as well as a process. While our device is up, it is the one.
fn taken_data_port(config: &Config, devices: &[Device]) -> Option<Problem> {
    let port = config.data_port;
    let mut on_port = devices.iter().filter(|device| device.vxlan.is_some_and(|vxlan| vxlan.port == port));
    let is_ours = |device: &Device| device.name == config.vxlan_device && device.our_vxlan_port().is_ok();
    if on_port.clone().any(|device| device.up && is_ours(device)) {
        return None;
    }
    if let Some(other) = on_port.find(|device| device.name != config.vxlan_device) {
        return Some(Problem::new(
            format!("UDP port {port} is that of another VXLAN device, {}", other.name),
            "remove it, or set data_port, the same on every node",
        ));
    }
    let (who, hint) = match ports::holder(Protocol::Udp, port)? {
        Holder::Process(process) => (ports::describe(process), "stop it"),
        Holder::Unseen => {
            ("a tunnel in another network namespace".to_owned(), "leave Docker's swarm if there is one")
        }
    };
    Some(Problem::new(
        format!("UDP port {port} is held by {who}"),
        format!("{hint}, or set data_port, the same on every node"),
    ))
}

/// A port that is a process's. `key` is what the configuration calls it.
fn taken_port(protocol: Protocol, key: &str, port: u16) -> Option<Problem> {
    let (who, hint) = match ports::holder(protocol, port)? {
        Holder::Process(process) => (ports::describe(process), "stop it"),
        Holder::Unseen => {
            ("a process outside this container".to_owned(), "`ss -lnp` outside names it: stop it")
        }
    };
    Some(Problem::new(
        format!("{} port {port} is held by {who}", protocol.upper()),
        format!("{hint}, or set {key}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use overlay::reconcile::links::{LinkAction, Vxlan};

    use super::*;
    use crate::kernel::testing::{in_own_netns, ip};

    /// What is in the way besides the machine itself.
    async fn found(config: &Config) -> Vec<String> {
        let devices = Netlink::open().unwrap().devices().await.unwrap();
        clashes(config, &devices).into_iter().map(|problem| problem.what).collect()
    }

    fn config() -> Config {
        Config { socket: "/no/such/overlayd.sock".into(), ..Config::default() }
    }

    #[test]
    fn a_free_machine_is_fine_and_so_is_what_an_earlier_run_left() {
        in_own_netns(async || {
            assert_eq!(check(&config()).await, []);
            let vxlan = Vxlan { name: "overlay0".into(), port: 4789, up: true };
            Netlink::open().unwrap().apply(&LinkAction::CreateVxlan(vxlan)).await.unwrap();
            assert_eq!(check(&config()).await, []);
        });
    }

    #[test]
    fn the_holder_of_a_taken_port_is_named() {
        in_own_netns(async || {
            let _data = UdpSocket::bind("127.0.0.1:4789").unwrap();
            let _gossip = UdpSocket::bind("[::]:7946").unwrap();
            let _gossip_tcp = TcpListener::bind("[::1]:7946").unwrap();
            let _api = TcpListener::bind("0.0.0.0:2377").unwrap();
            let me = ports::describe(std::process::id().try_into().unwrap());
            assert!(me.contains("overlayd"), "{me}");
            let expected: Vec<String> = ["UDP port 4789", "UDP port 7946", "TCP port 7946", "TCP port 2377"]
                .map(|port| format!("{port} is held by {me}"))
                .into();
            assert_eq!(found(&config()).await, expected);
        });
    }

    #[test]
    fn another_vxlan_device_on_the_port_is_named_whether_up_or_not() {
        in_own_netns(async || {
            ip("link add vx7 type vxlan id 7 dstport 4789");
            let expected = ["UDP port 4789 is that of another VXLAN device, vx7"];
            assert_eq!(found(&config()).await, expected);
            ip("link set vx7 up");
            assert_eq!(found(&config()).await, expected);
            ip("link set vx7 down");
            assert_eq!(found(&Config { data_port: 4790, ..config() }).await, Vec::<String>::new());
        });
    }

    #[test]
    fn a_tunnel_of_a_hidden_namespace_is_told_from_a_process() {
        in_own_netns(async || {
            let hidden = crate::kernel::testing::Netns::new();
            // Its socket stays here, as Docker Swarm's do.
            ip("link add vx7 type vxlan id 7 dstport 4789");
            let path = hidden.reference().path;
            let thread = path.to_str().unwrap().split('/').nth(4).unwrap().to_owned();
            ip(&format!("link set vx7 netns {thread}"));
            hidden.ip("link set vx7 up").await;
            let [problem] = found(&config()).await.try_into().unwrap();
            assert!(problem.starts_with("UDP port 4789 is held by a tunnel in another"), "{problem}");
        });
    }

    #[test]
    fn a_device_with_our_devices_name_is_told_from_ours() {
        in_own_netns(async || {
            ip("link add overlay0 type bridge");
            let [problem] = found(&config()).await.try_into().unwrap();
            assert!(problem.starts_with("overlay0 is there"), "{problem}");
        });
    }

    #[test]
    fn another_agent_is_all_there_is_to_say() {
        in_own_netns(async || {
            let folder = tempfile::tempdir().unwrap();
            let config = Config { socket: folder.path().join("overlayd.sock"), ..config() };
            let listener = UnixListener::bind(&config.socket).unwrap();
            let _api = TcpListener::bind("0.0.0.0:2377").unwrap();
            let [problem] = found(&config).await.try_into().unwrap();
            assert!(problem.contains(&format!("process {}", std::process::id())), "{problem}");
            // A socket that nobody listens on is left from an agent that was killed.
            drop(listener);
            let [problem] = found(&config).await.try_into().unwrap();
            assert!(problem.starts_with("TCP port 2377"), "{problem}");
        });
    }
}
