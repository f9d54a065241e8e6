//! At which hook the routing mesh runs: XDP, before the kernel's own receive path, or tc, which any device has.

use super::links::Underlay;
use crate::config::MeshHook;

/// Where the mesh runs, and why there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mesh {
    /// Nowhere: no port is published, or there is no underlay yet.
    #[default]
    Idle,
    /// In XDP; what XDP leaves, in tc.
    Xdp {
        /// For people.
        why: String,
    },
    /// In tc alone.
    Tc {
        /// For people.
        why: String,
    },
}

impl Mesh {
    /// Decides for a node. `refused` is why the underlay device does not take native XDP, if that was tried.
    pub fn decide(
        asked: MeshHook,
        published: bool,
        underlay: Option<&Underlay>,
        refused: Option<&str>,
    ) -> Self {
        let Some(underlay) = underlay.filter(|_| published) else { return Self::Idle };
        let device = &underlay.device;
        match (asked, &underlay.kind, refused) {
            (MeshHook::Tc, ..) => Self::Tc { why: "mesh_hook asks for it".to_owned() },
            (MeshHook::Xdp, ..) => Self::Xdp { why: "mesh_hook asks for it".to_owned() },
            (MeshHook::Auto, Some(kind), _) => Self::Tc {
                why: format!(
                    "{device} is a {kind} device, whose other traffic native XDP would cost more than it saves"
                ),
            },
            (MeshHook::Auto, None, Some(refused)) => {
                Self::Tc { why: format!("{device} takes no native XDP: {refused}") }
            }
            (MeshHook::Auto, None, None) => Self::Xdp { why: format!("{device} is a physical device") },
        }
    }

    /// Whether XDP is to be attached.
    pub const fn is_xdp(&self) -> bool {
        matches!(self, Self::Xdp { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(asked: MeshHook, kind: Option<&str>, refused: Option<&str>) -> Mesh {
        let underlay = Underlay {
            device: "eth0".to_owned(),
            ifindex: 2,
            kind: kind.map(str::to_owned),
            vtep: [192, 0, 2, 1].into(),
            mtu: 1500,
            egress4: None,
            egress6: None,
        };
        Mesh::decide(asked, true, Some(&underlay), refused)
    }

    #[test]
    fn what_is_asked_for_wins() {
        assert!(decide(MeshHook::Xdp, Some("veth"), Some("no")).is_xdp());
        assert!(!decide(MeshHook::Tc, None, None).is_xdp());
    }

    #[test]
    fn else_it_is_xdp_where_a_physical_device_takes_it() {
        assert!(decide(MeshHook::Auto, None, None).is_xdp());
        for (kind, refused, why) in
            [(Some("veth"), None, "eth0 is a veth device"), (None, Some("not supported"), "not supported")]
        {
            let Mesh::Tc { why: told } = decide(MeshHook::Auto, kind, refused) else { panic!("{kind:?}") };
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn nothing_runs_without_a_published_port_or_an_underlay() {
        assert_eq!(Mesh::decide(MeshHook::Xdp, true, None, None), Mesh::Idle);
        let Mesh::Idle = Mesh::decide(MeshHook::Xdp, false, None, None) else { panic!("runs") };
    }
}
