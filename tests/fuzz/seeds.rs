//! Writes the corpora's seeds anew, after an encoding was changed on purpose: `cargo run -p overlay-fuzz`.

fn main() -> anyhow::Result<()> {
    for (target, name, bytes) in overlay_fuzz::seeds() {
        let folder = overlay_fuzz::folder(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
