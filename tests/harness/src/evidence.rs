//! What tells why a test failed: agents' logs and status, the namespaces' devices and routes, the BPF maps, the
//! packets. It is collected while everything still stands, and nothing here may fail the test in another way.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::lab::Lab;
use crate::netns::Netns;
use crate::node::Node;
use crate::{binaries, command};

/// What is asked of each namespace.
const NETNS_COMMANDS: [&str; 6] = [
    "ip -d -s link show",
    "ip address show",
    "ip route show table all",
    "ip -6 route show table all",
    "ip neigh show",
    "ss -H -tunap",
];

/// Saves all of it and says where.
pub(crate) fn save(lab: &Lab) {
    match collect(lab) {
        Ok(folder) => eprintln!("evidence saved: {}", folder.display()),
        Err(error) => eprintln!("no evidence could be saved: {error}"),
    }
}

fn collect(lab: &Lab) -> anyhow::Result<PathBuf> {
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", "-");
    let folder = binaries::target()?.join("lab-evidence").join(test);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    for node in lab.all_nodes() {
        std::fs::write(folder.join(format!("{}.log", node.name())), node.log())?;
        std::fs::write(folder.join(format!("{}.agent", node.name())), agent(node))?;
        std::fs::write(folder.join(format!("{}.bpf", node.name())), bpf(node))?;
    }
    for netns in lab.all_netns() {
        std::fs::write(folder.join(format!("{}.netns", lab.short_name(&netns))), namespace(&netns))?;
    }
    for number in 0..2 {
        let name = format!("underlay.pcap{number}");
        // The second of them is there only after much traffic.
        let _ = std::fs::copy(lab.folder().join(&name), folder.join(&name));
    }
    Ok(folder)
}

fn agent(node: &Node) -> String {
    let questions: [&[&str]; 4] =
        [&["status", "-o", "json"], &["node", "ls"], &["network", "ls"], &["endpoint", "ls"]];
    let mut text = String::new();
    for question in questions {
        match node.overlayctl() {
            Ok(overlayctl) => {
                let mut command = Command::new("timeout");
                run(
                    &mut text,
                    command.arg("5").arg(overlayctl.get_program()).args(overlayctl.get_args()).args(question),
                );
            }
            Err(error) => {
                let _ = writeln!(text, "{error:#}");
            }
        }
    }
    text
}

fn namespace(netns: &Netns) -> String {
    let mut text = String::new();
    for line in NETNS_COMMANDS {
        let mut command = Command::new("ip");
        run(&mut text, command.args(["netns", "exec", netns.name()]).args(line.split(' ')));
    }
    text
}

/// Every pinned map decoded, every pinned link and program described.
fn bpf(node: &Node) -> String {
    let mut text = String::new();
    for pin in node.pins() {
        for what in [["map", "dump"], ["link", "show"], ["prog", "show"]] {
            // A pin is one of the three; bpftool refuses the other two.
            if let Ok(decoded) = command::output(Command::new("bpftool").args(what).arg("pinned").arg(&pin)) {
                let _ = writeln!(text, "# {} ({})", pin.display(), what[0]);
                decoded.lines().filter(|line| !is_empty(line)).for_each(|line| {
                    let _ = writeln!(text, "{line}");
                });
            }
        }
    }
    text
}

/// An array's entry that nobody has written: there may be a million.
fn is_empty(line: &str) -> bool {
    let value = line.split_once("value: ").map(|(_, value)| value);
    value.is_some_and(|value| value.bytes().all(|byte| matches!(byte, b'0' | b' ')))
}

fn run(text: &mut String, command: &mut Command) {
    let _ = writeln!(text, "$ {}", command::text(command));
    match command.output() {
        Ok(output) => {
            text.push_str(&String::from_utf8_lossy(&output.stdout));
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            text.push('\n');
        }
        Err(error) => {
            let _ = writeln!(text, "{error}");
        }
    }
}
