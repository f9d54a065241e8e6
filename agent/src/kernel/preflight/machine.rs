//! What the kernel has, and what this process may do with it.

use std::fs;
use std::path::Path;

use super::Problem;

/// The first release with tcx, which the data path's programs are attached by: major, minor.
const OLDEST_KERNEL: (u32, u32) = (6, 6);

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What the agent needs, each with the capabilities that give it, as bits (capabilities(7)): network devices,
/// entering namespaces, BPF.
const CAPABILITIES: [(&str, u64); 3] =
    [("CAP_NET_ADMIN", 1 << 12), ("CAP_SYS_ADMIN", 1 << 21), ("CAP_BPF", 1 << 39 | 1 << 21)];

/// All but VXLAN, which takes netlink to find out.
pub(super) fn check() -> Vec<Problem> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    [
        privileges(&read("/proc/thread-self/status")),
        release(&read("/proc/sys/kernel/osrelease")),
        btf(Path::new(BTF)),
        bpffs(&read("/proc/filesystems")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn no_vxlan() -> Problem {
    Problem::new(
        "the kernel has no VXLAN",
        "load the module vxlan (`modprobe vxlan`), or use a kernel with CONFIG_VXLAN",
    )
}

fn privileges(status: &str) -> Option<Problem> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    let lacking: Vec<&str> = CAPABILITIES
        .into_iter()
        .filter(|(_, sufficient)| effective & sufficient == 0)
        .map(|(name, _)| name)
        .collect();
    if lacking.is_empty() {
        return None;
    }
    Some(Problem::new(
        format!("overlayd lacks {}", lacking.join(", ")),
        "run it as root, or in a container with --privileged --network host --pid host",
    ))
}

fn release(release: &str) -> Option<Problem> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return None;
    };
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    ((major, minor) < OLDEST_KERNEL).then(|| {
        Problem::new(
            format!("Linux {major}.{minor} is too old: tcx came with {oldest_major}.{oldest_minor}"),
            format!("use a kernel of {oldest_major}.{oldest_minor} or later"),
        )
    })
}

fn btf(path: &Path) -> Option<Problem> {
    (!path.exists()).then(|| {
        Problem::new(
            format!("the kernel does not describe its types: there is no {}", path.display()),
            "mount sysfs at /sys, or use a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    })
}

fn bpffs(filesystems: &str) -> Option<Problem> {
    let known = filesystems.lines().any(|line| line.split_whitespace().last() == Some("bpf"));
    (!known).then(|| {
        Problem::new(
            "the kernel has no BPF file system",
            "use a kernel with CONFIG_BPF_SYSCALL; /proc/filesystems lists `bpf` then",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(problem: Option<Problem>) -> String {
        problem.map(|problem| problem.what).unwrap_or_default()
    }

    #[test]
    fn missing_capabilities_are_named() {
        let of =
            |capabilities: &str| what(privileges(&format!("Name:\toverlayd\nCapEff:\t{capabilities}\n")));
        assert_eq!(of("000001ffffffffff"), "");
        assert_eq!(of("0000000000201000"), "");
        assert_eq!(of("0000000000000000"), "overlayd lacks CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF");
        assert_eq!(of("0000008000200000"), "overlayd lacks CAP_NET_ADMIN");
    }

    #[test]
    fn kernels_without_tcx_are_too_old() {
        assert_eq!(what(release("6.6.0-rc1")), "");
        assert_eq!(what(release("6.18.44-generic\n")), "");
        assert_eq!(what(release("10.0")), "");
        assert_eq!(what(release("6.5.13")), "Linux 6.5 is too old: tcx came with 6.6");
        assert_eq!(what(release("5.15.0-105-generic")), "Linux 5.15 is too old: tcx came with 6.6");
    }

    #[test]
    fn missing_kernel_features_are_told() {
        assert!(what(btf(Path::new("/no/such/file"))).contains("/no/such/file"));
        assert_eq!(what(bpffs("nodev\tsysfs\nnodev\tbpf\n\text4\n")), "");
        assert_eq!(what(bpffs("nodev\tsysfs\nnodev\tbpffs\n")), "the kernel has no BPF file system");
    }
}
