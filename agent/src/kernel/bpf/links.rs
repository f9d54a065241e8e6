//! Where the programs are attached. Each attachment is a pinned link, named `program:device`: an agent that
//! starts replaces the program in it, in one step and without losing a packet.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType, XdpMode};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use overlay::reconcile::tables::Program;

use super::{ALL, DataPath, name};

impl DataPath {
    /// Whether our loaded program is what runs at that hook now. A device that is not there has none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn attached(&mut self, program: Program, ifname: &str) -> Result<bool> {
        let id = self.info(program)?.id();
        if !self.running(program, ifname)?.contains(&id) {
            return Ok(false);
        }
        // An XDP link names its program even when its device is gone, but only then it takes none any more. To put the same
        // one into it again changes nothing.
        if direction(program).is_some() { Ok(true) } else { self.replace(program, ifname) }
    }

    /// Whether the program of an earlier agent runs at that hook, whatever its version.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn attached_earlier(&self, program: Program, ifname: &str) -> Result<bool> {
        let id = self.info(program)?.id();
        let running = self.running(program, ifname)?;
        Ok(!running.is_empty() && !running.contains(&id))
    }

    /// Attaches the program, or replaces, in one step, the program in the link that an earlier run pinned. A
    /// pinned link whose device is gone, or was made anew under the same name, is removed first.
    ///
    /// # Errors
    /// When there is no such device, or the kernel refuses.
    pub fn attach(&mut self, program: Program, ifname: &str) -> Result<()> {
        let what = || format!("attaching {} to {ifname}", name(program));
        if self.replace(program, ifname).with_context(what)? && self.attached(program, ifname)? {
            return Ok(());
        }
        self.detach(program, ifname)?;
        let link = self.attach_anew(program, ifname).with_context(what)?;
        let pin = self.pin(program, ifname);
        link.pin(&pin).with_context(|| format!("pinning {}", pin.display()))?;
        Ok(())
    }

    /// Detaches the program, by removing its pin; one that is not attached is no error. The kernel lets go of it
    /// a moment later.
    ///
    /// # Errors
    /// When the pin can't be removed.
    pub fn detach(&mut self, program: Program, ifname: &str) -> Result<()> {
        let pin = self.pin(program, ifname);
        match fs::remove_file(&pin) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", pin.display()))
            }
            _ => Ok(()),
        }
    }

    /// The pinned links, whether their device is still there or not.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn links(&self) -> Result<Vec<(Program, String)>> {
        let entries =
            fs::read_dir(&self.links).with_context(|| format!("reading {}", self.links.display()))?;
        let mut links = Vec::new();
        for entry in entries {
            let file = entry.with_context(|| format!("reading {}", self.links.display()))?.file_name();
            links.extend(file.to_str().and_then(parse_pin));
        }
        links.sort();
        Ok(links)
    }

    /// The links are taken out of aya's hands, which would detach them when they open.
    fn attach_anew(&mut self, program: Program, ifname: &str) -> Result<FdLink> {
        let Some(direction) = direction(program) else {
            let xdp = self.xdp(program)?;
            let id = xdp.attach_to_if_index(if_nametoindex(ifname)?, XdpMode::Driver)?;
            return Ok(xdp.take_link(id)?.try_into()?);
        };
        if program == Program::TcLocal {
            accept_local()?;
        }
        let classifier = self.classifier(program)?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = classifier.attach_with_options(ifname, direction, first)?;
        Ok(classifier.take_link(id)?.try_into()?)
    }

    /// Puts the program into the pinned link; `false` when there is none, or none that has a device.
    fn replace(&mut self, program: Program, ifname: &str) -> Result<bool> {
        let Some(pinned) = self.pinned(program, ifname)? else { return Ok(false) };
        match self.put_into(program, pinned) {
            Ok(()) => Ok(true),
            Err(error) if is_without_device(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put_into(&mut self, program: Program, pinned: FdLink) -> Result<()> {
        if direction(program).is_none() {
            let xdp = self.xdp(program)?;
            let id = xdp.attach_to_link(XdpLink::try_from(pinned)?)?;
            drop(xdp.take_link(id)?);
        } else {
            let classifier = self.classifier(program)?;
            let id = classifier.attach_to_link(SchedClassifierLink::try_from(pinned)?)?;
            drop(classifier.take_link(id)?);
        }
        Ok(())
    }

    fn pinned(&self, program: Program, ifname: &str) -> Result<Option<FdLink>> {
        let pin = self.pin(program, ifname);
        if !pin.exists() {
            return Ok(None);
        }
        let pinned = PinnedLink::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))?;
        Ok(Some(pinned.into()))
    }

    /// The ids of this or an earlier agent's program of that name at a device; none where there is no device.
    fn running(&self, program: Program, ifname: &str) -> Result<Vec<u32>> {
        if if_nametoindex(ifname).is_err() {
            return Ok(Vec::new());
        }
        let Some(direction) = direction(program) else {
            let pinned = self.pinned(program, ifname)?;
            return pinned.iter().map(|link| Ok(link.info()?.program_id())).collect();
        };
        let (_, running) = SchedClassifier::query_tcx(ifname, direction)
            .with_context(|| format!("asking which programs run on {ifname}"))?;
        let ours = running.iter().filter(|info| info.name_as_str() == Some(name(program)));
        Ok(ours.map(ProgramInfo::id).collect())
    }

    fn pin(&self, program: Program, ifname: &str) -> PathBuf {
        self.links.join(pin_name(program, ifname))
    }
}

/// Whether a link is refused because its device is gone.
fn is_without_device(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(ProgramError::SyscallError(error)) => {
            error.io_error.raw_os_error() == Some(Errno::ENOLINK as i32)
        }
        _ => false,
    }
}

/// Has loopback take packets from the host's own addresses that did not come by it, as the mesh's answers to the host's
/// processes do not: the kernel's routing refuses them otherwise (`accept_local`, Documentation/networking/ip-sysctl.rst).
/// IPv6 has no such check.
fn accept_local() -> Result<()> {
    const SETTING: &str = "/proc/sys/net/ipv4/conf/lo/accept_local";
    fs::write(SETTING, "1").with_context(|| format!("writing {SETTING}"))
}

/// tc's direction; `None` for XDP.
const fn direction(program: Program) -> Option<TcAttachType> {
    match program {
        Program::TcEndpoint | Program::TcUnderlay | Program::TcOverlay | Program::TcLocal => {
            Some(TcAttachType::Ingress)
        }
        Program::TcGuard => Some(TcAttachType::Egress),
        Program::XdpUnderlay => None,
    }
}

/// A device's name has no colon, but may have dots, which bpffs refuses; they are written as `%2e`.
fn pin_name(program: Program, ifname: &str) -> String {
    format!("{}:{}", name(program), ifname.replace('%', "%25").replace('.', "%2e"))
}

/// The reverse; `None` for a file that is not ours.
fn parse_pin(file: &str) -> Option<(Program, String)> {
    let (program, ifname) = file.split_once(':')?;
    let program = ALL.into_iter().find(|known| name(*known) == program)?;
    Some((program, ifname.replace("%2e", ".").replace("%25", "%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_name_their_program_and_device() {
        for ifname in ["eth0", "bond0.100", "a%2eb", "x%y.z"] {
            let file = pin_name(Program::TcGuard, ifname);
            assert!(!file.contains('.'), "{file}");
            assert_eq!(parse_pin(&file), Some((Program::TcGuard, ifname.to_owned())));
        }
        assert_eq!(parse_pin("eth0"), None);
        assert_eq!(parse_pin("tc_other:eth0"), None);
    }
}
