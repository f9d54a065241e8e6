//! A disk that loses power: what was synced stays; of each later write, all, nothing or the first sectors.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::StorageBackend;

const SECTOR: usize = 512;

/// A disk, which outlives the machine that it is in.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// As whoever writes sees it.
    seen: Vec<u8>,
    /// As it would be after a loss of power that took all that was not synced.
    synced: Vec<u8>,
    /// Since the last sync: where, and how many bytes.
    unsynced: Vec<(usize, usize)>,
    full: bool,
}

/// The disk of one boot of the machine.
#[derive(Debug)]
pub(super) struct Plugged {
    disk: Disk,
    powered: Arc<AtomicBool>,
}

/// Takes the power off.
#[derive(Debug, Clone)]
pub(super) struct Plug(Arc<AtomicBool>);

impl Disk {
    pub(super) fn plug_in(&self) -> (Plugged, Plug) {
        let powered = Arc::new(AtomicBool::new(true));
        (Plugged { disk: self.clone(), powered: Arc::clone(&powered) }, Plug(powered))
    }

    /// The machine stops here and now. Each write that was not synced is kept, lost or torn as `seed` and its place have it.
    pub(super) fn lose_power(&self, plug: &Plug, seed: u64) {
        plug.0.store(false, Ordering::Relaxed);
        let mut guard = self.0.lock().unwrap();
        let platter = &mut *guard;
        // The order in which a cache is written back says nothing about what reaches the disk.
        platter.unsynced.sort_unstable();
        for (offset, length) in std::mem::take(&mut platter.unsynced) {
            let mut rng = SmallRng::seed_from_u64(seed ^ offset as u64);
            let kept = match rng.random_range(0..3) {
                0 => 0,
                1 => length,
                _ => rng.random_range(0..=length / SECTOR) * SECTOR,
            };
            let kept = offset..offset + kept.min(length);
            platter.synced[kept.clone()].copy_from_slice(&platter.seen[kept]);
        }
        platter.seen = platter.synced.clone();
    }

    /// Whether it takes writes no more.
    pub(super) fn fill(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }
}

impl Plugged {
    fn with<T>(&self, work: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        if !self.powered.load(Ordering::Relaxed) {
            return Err(io::Error::other("the machine is off"));
        }
        work(&mut self.disk.0.lock().unwrap())
    }
}

impl StorageBackend for Plugged {
    fn len(&self) -> io::Result<u64> {
        self.with(|platter| Ok(platter.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.with(|platter| {
            let range = platter.seen.get(offset..offset + out.len());
            out.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|platter| {
            // The file system's own journal keeps the length.
            platter.seen.resize(length as usize, 0);
            platter.synced.resize(length as usize, 0);
            platter.unsynced.retain_mut(|(offset, written)| {
                *written = (*written).min((length as usize).saturating_sub(*offset));
                *written > 0
            });
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|platter| {
            for (offset, length) in std::mem::take(&mut platter.unsynced) {
                let range = offset..offset + length;
                platter.synced[range.clone()].copy_from_slice(&platter.seen[range]);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.with(|platter| {
            if platter.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let range = platter.seen.get_mut(offset..offset + data.len());
            range.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
            platter.unsynced.push((offset, data.len()));
            Ok(())
        })
    }
}
