//! Hash maps, many entries with a system call: those that programs write all the time are too large for two calls an
//! entry, and a walk from key to key begins anew wherever its key was removed meanwhile.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::MapData;

/// How many entries a call asks for: far more than any of the kernel's buckets has, which it hands over whole.
const AT_ONCE: u32 = 4096;

/// `BPF_MAP_LOOKUP_BATCH`.
const LOOKUP_BATCH: libc::c_long = 24;

/// What `union bpf_attr` has for it (bpf(2), linux/bpf.h).
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Shows every entry of a hash map. What is changed meanwhile is seen or not; the rest is, once.
pub(super) fn each<K: Pod + Default, V: Pod + Default>(
    map: &MapData,
    mut visit: impl FnMut(&K, &V) -> Result<()>,
) -> Result<()> {
    let info = map.info()?;
    anyhow::ensure!(
        (info.key_size() as usize, info.value_size() as usize) == (size_of::<K>(), size_of::<V>()),
        "its entries are of another size"
    );
    let mut keys = vec![K::default(); AT_ONCE as usize];
    let mut values = vec![V::default(); AT_ONCE as usize];
    let mut place = None;
    loop {
        let (count, next) = read(map, place, &mut keys, &mut values).context("reading a part of a map")?;
        keys.iter().zip(&values).take(count).try_for_each(|(key, value)| visit(key, value))?;
        if next.is_none() {
            return Ok(());
        }
        place = next;
    }
}

/// Reads entries from a place on: how many, and the place of the next ones, if there are any.
fn read<K: Pod, V: Pod>(
    map: &MapData,
    place: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<u32>)> {
    let mut next = 0u32;
    let mut attributes = Attributes {
        in_batch: place.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64),
        out_batch: std::ptr::from_mut(&mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX),
        map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the attributes and what they point to live until the call returns; the kernel writes at most `count` keys and
    // values of the map's sizes, which are theirs, and any bytes are valid for them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_BATCH,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    if done == 0 {
        return Ok((attributes.count as usize, Some(next)));
    }
    match io::Error::last_os_error() {
        // The last ones.
        error if error.kind() == io::ErrorKind::NotFound => Ok((attributes.count as usize, None)),
        error => Err(error),
    }
}
