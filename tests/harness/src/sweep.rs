//! What labs leave on the machine while they run, all of it named after the process that made it, and how to find
//! what a killed run could not remove itself.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::ip;

const NETNS: &str = "ovlab-";
const FOLDER: &str = "overlay-lab-";

/// What the namespaces of the `number`th lab of this process start with.
pub(crate) fn netns_prefix(number: u32) -> String {
    format!("{NETNS}{}-{number}", std::process::id())
}

/// The folder of the `number`th lab of this process.
pub(crate) fn folder(number: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{FOLDER}{}-{number}", std::process::id()))
}

/// Removes the labs of processes that are no more. What cannot be removed stays for the next sweep.
pub fn sweep() {
    for folder in names_in(&std::env::temp_dir()).filter(|name| abandoned(name, FOLDER)) {
        remove_folder(&std::env::temp_dir().join(folder));
    }
    for netns in names_in(Path::new("/run/netns")).filter(|name| abandoned(name, NETNS)) {
        let _ = ip(&format!("netns delete {netns}"));
    }
}

/// Ends what still runs out of a lab's folder, unmounts what is mounted there, and removes it.
pub(crate) fn remove_folder(folder: &Path) {
    for pid in running_from(folder) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    for mount in mounts_under(folder) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    if mounts_under(folder).is_empty() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn names_in(folder: &Path) -> impl Iterator<Item = String> + use<> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}

fn abandoned(name: &str, prefix: &str) -> bool {
    let maker = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
    maker
        .and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// The processes that name something in the folder on their command line, other than this one.
fn running_from(folder: &Path) -> Vec<Pid> {
    let inside = format!("{}/", folder.display());
    names_in(Path::new("/proc"))
        .filter_map(|name| name.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id().cast_signed())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&inside))
        })
        .map(Pid::from_raw)
        .collect()
}

/// The mount points under a folder, innermost first (proc_pid_mounts(5)).
fn mounts_under(folder: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.sort_by(|a, b| b.cmp(a));
    points
}
