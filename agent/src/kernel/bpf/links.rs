//! Where the programs are attached. Each attachment is a pinned link, named `program:device`: an agent that
//! starts replaces the program in it, in one step and without losing a packet.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use overlay::reconcile::tables::Program;

use super::{ALL, DataPath, name};

impl DataPath {
    /// Whether our loaded program is what runs at that hook now. A device that is not there has none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn attached(&self, program: Program, ifname: &str) -> Result<bool> {
        let loaded = self.ebpf.program(name(program)).context("a program of the object")?;
        let id = <&SchedClassifier>::try_from(loaded)?.info()?.id();
        Ok(running(program, ifname)?.iter().any(|info| info.id() == id))
    }

    /// Whether the program of an earlier agent runs at that hook, whatever its version.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn attached_earlier(&self, program: Program, ifname: &str) -> Result<bool> {
        let others = running(program, ifname)?;
        Ok(others.iter().any(|info| info.name_as_str() == Some(name(program)))
            && !self.attached(program, ifname)?)
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
        let classifier = self.program(program)?;
        let id = classifier
            .attach_with_options(ifname, hook(program), TcAttachOptions::TcxOrder(LinkOrder::first()))
            .with_context(what)?;
        let link = take(classifier, id)?;
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

    /// Puts the program into the pinned link; `false` when there is none, or none that has a device.
    fn replace(&mut self, program: Program, ifname: &str) -> Result<bool> {
        let pin = self.pin(program, ifname);
        if !pin.exists() {
            return Ok(false);
        }
        let pinned = PinnedLink::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))?;
        let classifier = self.program(program)?;
        match classifier.attach_to_link(SchedClassifierLink::try_from(FdLink::from(pinned))?) {
            Ok(id) => {
                take(classifier, id)?;
                Ok(true)
            }
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(Errno::ENOLINK as i32) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn pin(&self, program: Program, ifname: &str) -> PathBuf {
        self.links.join(pin_name(program, ifname))
    }
}

/// The programs at that hook of a device; none where there is no device.
fn running(program: Program, ifname: &str) -> Result<Vec<ProgramInfo>> {
    if if_nametoindex(ifname).is_err() {
        return Ok(Vec::new());
    }
    let (_, running) = SchedClassifier::query_tcx(ifname, hook(program))
        .with_context(|| format!("asking which programs run on {ifname}"))?;
    Ok(running)
}

/// Takes a link out of aya's hands, which would detach it when they open.
fn take(classifier: &mut SchedClassifier, id: SchedClassifierLinkId) -> Result<FdLink> {
    Ok(classifier.take_link(id)?.try_into()?)
}

const fn hook(program: Program) -> TcAttachType {
    match program {
        Program::TcEndpoint | Program::TcUnderlay | Program::TcOverlay => TcAttachType::Ingress,
        Program::TcGuard => TcAttachType::Egress,
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
