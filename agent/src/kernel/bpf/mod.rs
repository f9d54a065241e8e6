//! The data path: loads the BPF programs, attaches and pins them, and reads and writes their tables. Everything
//! is pinned on a bpffs, so that traffic goes on while no agent runs, and an agent that starts continues with
//! what it finds.
//!
//! It decides nothing: what should be in the tables and where programs should be attached is the core's to say.
//! It works in the network namespace of the thread that calls it.

mod batch;
mod bpffs;
mod encode;
mod links;
mod mapped;
mod observer;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::maps::{MapInfo, PerCpuArray};
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use overlay::reconcile::tables::{Program, ServiceAction, ServiceTables, TableAction, Tables};
use overlay_abi::{ABI_VERSION, DropReason, map, program};

pub use bpffs::{ensure_bpffs, remove};
pub use observer::Observer;

/// The object with all programs, built by `build.rs`.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/overlay-programs"));

/// All programs.
const ALL: [Program; 6] = [
    Program::TcEndpoint,
    Program::TcUnderlay,
    Program::TcOverlay,
    Program::TcGuard,
    Program::TcLocal,
    Program::XdpUnderlay,
];

/// How often the kernel is asked to verify a program; libbpf does as much.
const LOAD_TRIES: usize = 5;

/// The name of a program in the object, in `bpftool` and in pins.
pub const fn name(program: Program) -> &'static str {
    match program {
        Program::TcEndpoint => program::TC_ENDPOINT,
        Program::TcUnderlay => program::TC_UNDERLAY,
        Program::TcOverlay => program::TC_OVERLAY,
        Program::TcGuard => program::TC_GUARD,
        Program::TcLocal => program::TC_LOCAL,
        Program::XdpUnderlay => program::XDP_UNDERLAY,
    }
}

/// The programs and their maps. Dropping it changes nothing in the kernel but the programs that are
/// attached nowhere, which go.
pub struct DataPath {
    ebpf: Ebpf,
    observer: Arc<Observer>,
    dir: PathBuf,
    maps: PathBuf,
    links: PathBuf,
}

impl DataPath {
    /// With its maps, but before its programs are loaded. The maps are pinned below `dir`/v`ABI_VERSION`/maps, and taken
    /// over with what they hold where they are there already.
    ///
    /// # Errors
    /// When `dir` is not on a bpffs, see [`ensure_bpffs`]; when the kernel refuses a map.
    pub fn open(dir: &Path) -> Result<Self> {
        let maps = dir.join(bpffs::version(ABI_VERSION)).join("maps");
        let links = dir.join(bpffs::LINKS);
        for path in [&maps, &links] {
            fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        }
        let ebpf = EbpfLoader::new()
            .default_map_pin_directory(&maps)
            .load(PROGRAMS)
            .context("creating the data path's maps; hint: the agent needs CAP_BPF and CAP_NET_ADMIN")?;
        let observer = Arc::new(Observer::of(&ebpf)?);
        Ok(Self { ebpf, observer, dir: dir.to_owned(), maps, links })
    }

    /// Loads the programs, which the kernel verifies: a second of a CPU's time.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn load(mut self) -> Result<Self> {
        for program in ALL {
            load(&mut self.ebpf, program).with_context(|| {
                format!("loading the BPF program {}; hint: Linux 6.6 is needed", name(program))
            })?;
        }
        Ok(self)
    }

    /// Everything that the tables hold.
    ///
    /// # Errors
    /// When a map can't be read, or holds what no agent of this version writes.
    pub fn observe(&self) -> Result<Tables> {
        tables::observe(&self.ebpf)
    }

    /// Writes or removes one entry. Removing what is not there succeeds.
    ///
    /// # Errors
    /// When the kernel refuses, as for a map that is full.
    pub fn apply(&mut self, action: &TableAction) -> Result<()> {
        tables::apply(&mut self.ebpf, action).with_context(|| format!("applying {action:?}"))
    }

    /// Everything that the tables about services hold, but for what is in the Maglev tables.
    ///
    /// # Errors
    /// As for [`DataPath::observe`].
    pub fn observe_services(&self) -> Result<ServiceTables> {
        tables::observe_services(&self.ebpf)
    }

    /// Writes or removes one entry about services, or writes a Maglev table. Removing what is not there succeeds.
    ///
    /// # Errors
    /// As for [`DataPath::apply`].
    pub fn apply_service(&mut self, action: &ServiceAction) -> Result<()> {
        tables::apply_service(&mut self.ebpf, action)
    }

    /// What reads flows and counters while others go on with the rest.
    pub fn observer(&self) -> Arc<Observer> {
        Arc::clone(&self.observer)
    }

    /// How many packets were dropped for which reason since the maps were made, all CPUs together.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn drops(&self) -> Result<BTreeMap<DropReason, u64>> {
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(tables::map(&self.ebpf, map::DROPS)?)?;
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let count = counters.get(&(*reason as u32), 0)?.iter().sum();
            if count > 0 {
                drops.insert(*reason, count);
            }
        }
        Ok(drops)
    }

    /// Pins the maps again whose pin is gone or leads to another map, and names them.
    ///
    /// # Errors
    /// When the kernel refuses a pin.
    pub fn repair_pins(&mut self) -> Result<Vec<String>> {
        fs::create_dir_all(&self.maps).with_context(|| format!("creating {}", self.maps.display()))?;
        fs::create_dir_all(&self.links).with_context(|| format!("creating {}", self.links.display()))?;
        let mut missing = Vec::new();
        for name in map::ALL {
            let path = self.maps.join(name);
            let map = tables::map(&self.ebpf, name)?;
            let pinned = MapInfo::from_pin(&path).map(|info| info.id()).ok();
            if pinned == Some(tables::id(map)?) {
                continue;
            }
            if pinned.is_some() {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
            map.pin(&path).with_context(|| format!("pinning {}", path.display()))?;
            missing.push(name.to_owned());
        }
        Ok(missing)
    }

    /// Removes the pins of maps in other layouts, and names their folders: to be called once no hook runs a
    /// program that reads them.
    ///
    /// # Errors
    /// When they can't be listed or removed.
    pub fn remove_other_versions(&self) -> Result<Vec<String>> {
        bpffs::remove_other_versions(&self.dir, ABI_VERSION)
    }

    /// What the kernel says of a loaded program.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn info(&self, program: Program) -> Result<ProgramInfo> {
        let name = name(program);
        let program =
            self.ebpf.program(name).with_context(|| format!("the BPF object has no program {name}"))?;
        Ok(program.info()?)
    }

    /// A loaded tc program, to run it with a packet of one's own.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn classifier(&mut self, program: Program) -> Result<&mut SchedClassifier> {
        Ok(program_mut(&mut self.ebpf, program)?.try_into()?)
    }

    /// A loaded XDP program, to run it with a packet of one's own.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn xdp(&mut self, program: Program) -> Result<&mut Xdp> {
        Ok(program_mut(&mut self.ebpf, program)?.try_into()?)
    }
}

fn program_mut(ebpf: &mut Ebpf, program: Program) -> Result<&mut aya::programs::Program> {
    let name = name(program);
    ebpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))
}

/// The kernel gives up verifying when the thread gets a signal (`EAGAIN`, kernel/bpf/verifier.c), which says nothing of
/// the program.
fn load(ebpf: &mut Ebpf, program: Program) -> Result<()> {
    for _ in 1..LOAD_TRIES {
        match try_load(ebpf, program)? {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {}
            result => return Ok(result?),
        }
    }
    Ok(try_load(ebpf, program)??)
}

fn try_load(ebpf: &mut Ebpf, program: Program) -> Result<Result<(), ProgramError>> {
    let loaded = program_mut(ebpf, program)?;
    Ok(match program {
        Program::XdpUnderlay => <&mut Xdp>::try_from(loaded)?.load(),
        _ => <&mut SchedClassifier>::try_from(loaded)?.load(),
    })
}
