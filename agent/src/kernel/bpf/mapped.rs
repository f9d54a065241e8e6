//! Arrays as memory: a system call for each of 65,536 elements would take the agent a while with every look.
//!
//! Only arrays with `BPF_F_MMAPABLE` can be mapped. They are mapped for as long as it takes to copy.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Where a mapping may begin, in bytes: a multiple of each size that pages have on Linux.
const ALIGNMENT: usize = 1 << 16;

/// All elements of an array, each as a program may read it at this moment.
pub(super) fn read<V: Pod>(array: &MapData) -> Result<Vec<V>> {
    const { assert!(size_of::<V>().is_multiple_of(8), "the kernel keeps elements at multiples of 8 bytes") };
    let info = array.info()?;
    ensure!(info.value_size() as usize == size_of::<V>(), "its elements are of another size");
    let length = info.max_entries() as usize;
    let window = Window::open(array, 0, length * size_of::<V>(), ProtFlags::PROT_READ)?;
    let first = window.start.cast::<V>();
    // SAFETY: `length` elements of this size are mapped until the window is closed, a page's start is aligned for
    // any of them, and any bytes are a valid `Pod`. Nobody but the agent writes them.
    Ok((0..length).map(|index| unsafe { first.add(index).read_volatile() }).collect())
}

/// Writes bytes from `offset` on. What the agent writes to other maps after that is not seen before it.
pub(super) fn write(array: &MapData, offset: usize, bytes: &[u8]) -> Result<()> {
    let info = array.info()?;
    let size = info.max_entries() as usize * info.value_size() as usize;
    let end = offset + bytes.len();
    ensure!(end <= size, "it ends before byte {end}");
    let start = offset - offset % ALIGNMENT;
    let window = Window::open(array, start, end - start, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    // SAFETY: the bytes from `start` to `end` are mapped until the window is closed, and no one else's memory.
    unsafe {
        let to = window.start.cast::<u8>().add(offset - start);
        to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
    }
    fence(Ordering::SeqCst);
    Ok(())
}

/// A part of an array, mapped.
struct Window {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Window {
    /// From a multiple of [`ALIGNMENT`] on.
    fn open(array: &MapData, offset: usize, length: usize, protection: ProtFlags) -> Result<Self> {
        let length = NonZeroUsize::new(length).context("nothing is to be mapped")?;
        let offset = offset.try_into()?;
        // SAFETY: the kernel chooses a place where nothing is mapped.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, array.fd(), offset) };
        Ok(Self { start: start.context("mapping the array")?, length })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `open`, and nothing that points to it is left.
        if let Err(error) = unsafe { munmap(self.start, self.length.get()) } {
            tracing::warn!(%error, "cannot unmap an array");
        }
    }
}
