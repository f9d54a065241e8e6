//! What survives which failure.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::*;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn values_survive_and_only_the_owner_reads_them() {
    let dir = scratch();
    let state = dir.path().join("state");
    let store = Store::open(&state).unwrap();
    assert_eq!(store.get::<String>(Key::Identity).unwrap(), None);
    store.put(Key::Identity, &"me").unwrap();
    store.put(Key::GuardMark, &7_u32).unwrap();
    store.remove(Key::GuardMark).unwrap();
    drop(store);

    let store = Store::open(&state).unwrap();
    assert_eq!(store.get::<String>(Key::Identity).unwrap().as_deref(), Some("me"));
    assert_eq!(store.get::<u32>(Key::GuardMark).unwrap(), None);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join(FILE)), 0o600);
}

/// Memory that takes nothing while it is full.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        out.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = offset as usize;
        self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_disk_that_was_full_is_used_again() {
    let disk = Disk::default();
    let opened = disk.clone();
    let open = move || {
        checked_database(Path::new("disk"), || Database::builder().create_with_backend(opened.clone()))
    };
    let store = Store::opened_by(open, Path::new("disk")).unwrap();
    store.put(Key::GuardMark, &1_u32).unwrap();
    disk.full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store.put(Key::GuardMark, &2_u32).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
    }
    disk.full.store(false, Ordering::Relaxed);
    assert_eq!(store.get(Key::GuardMark).unwrap(), Some(1_u32));
    store.put(Key::GuardMark, &3_u32).unwrap();
    assert_eq!(store.get(Key::GuardMark).unwrap(), Some(3_u32));
}

#[test]
fn a_second_agent_is_told_that_the_store_is_in_use() {
    let dir = scratch();
    let first = Store::open(dir.path()).unwrap();
    let Err(error) = Store::open(dir.path()) else { panic!("opened twice") };
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn changes_of_a_failed_batch_leave_no_trace() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    store.put(Key::GuardMark, &1_u32).unwrap();
    let outcome = store.write(|batch| {
        batch.put(Key::GuardMark, &2_u32)?;
        batch.put(Key::Identity, &"half")?;
        batch.get::<String>(Key::GuardMark)
    });
    assert!(matches!(outcome, Err(StoreError::Damaged { .. })));
    assert_eq!(store.get::<u32>(Key::GuardMark).unwrap(), Some(1));
    assert_eq!(store.get::<String>(Key::Identity).unwrap(), None);
}

#[test]
fn generations_rise_even_when_the_clock_goes_back() {
    let dir = scratch();
    let next = |now| Store::open(dir.path()).unwrap().next_generation(now).unwrap();
    assert_eq!(next(1000), 1000);
    assert_eq!(next(2000), 2000);
    assert_eq!(next(500), 2001);
    assert_eq!(next(500), 2002);
    assert_eq!(next(3000), 3000);
}

#[test]
fn a_file_that_is_no_store_is_called_damaged() {
    let dir = scratch();
    for content in [vec![0; 8192], b"not a store".to_vec(), vec![0xa5; 1 << 20]] {
        std::fs::write(dir.path().join(FILE), &content).unwrap();
        let Err(error) = Store::open(dir.path()) else { panic!("opened {} bytes", content.len()) };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let dir = scratch();
    let path = dir.path().join(FILE);
    let store = Store::open(dir.path()).unwrap();
    store.put(Key::IntentCopy, &"x".repeat(20_000)).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let used = whole.len().min(200 * 1024);
    let mut damaged: Vec<Vec<u8>> = (0..used)
        .step_by(2039)
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at..(at + 64).min(used)].iter_mut().for_each(|byte| *byte ^= 0xff);
            bytes
        })
        .collect();
    damaged.extend((0..whole.len()).step_by(whole.len() / 16).map(|length| whole[..length].to_vec()));
    for bytes in damaged {
        std::fs::write(&path, bytes).unwrap();
        // Damage to a page that is not in use does no harm.
        match Store::open(dir.path()) {
            Ok(store) => {
                let kept = store.get::<String>(Key::IntentCopy).unwrap();
                assert!(kept.is_none_or(|kept| kept == "x".repeat(20_000)));
            }
            Err(error) => assert!(!matches!(error, StoreError::Busy { .. }), "{error}"),
        }
    }
}
