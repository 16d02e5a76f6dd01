//! Memory and disk of the machine, as far as the system tells.

use std::path::Path;

/// Forgets the peak of memory so far; [`peak_mb`] then measures from here.
pub fn reset_peak() {
    // Linux only, and only a measurement: where it does not work, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process held at once, in MB; `None` where the system does not tell.
pub fn peak_mb() -> Option<f64> {
    mb("/proc/self/status", "VmHWM:")
}

/// The memory that this process holds, in MB.
pub fn held_mb() -> Option<f64> {
    mb("/proc/self/status", "VmRSS:")
}

/// The memory that the machine has left, in MB.
pub fn free_mb() -> Option<f64> {
    mb("/proc/meminfo", "MemAvailable:")
}

fn mb(file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Bytes that the disk has left where `path` is, or will be.
pub fn free_disk(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists());
    free_at(existing.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn free_at(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_at(_path: &Path) -> Option<u64> {
    None
}
