//! How much memory this process holds, as far as the system tells.

/// Forgets the peak so far; [`peak_mb`] then speaks of what came after.
pub(crate) fn reset_peak() {
    // Linux only, and only a measurement: where it does not work, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory held at once, in MB; `None` where the system does not tell.
pub(crate) fn peak_mb() -> Option<f64> {
    mb("/proc/self/status", "VmHWM:")
}

/// The memory held now, in MB.
pub(crate) fn held_mb() -> Option<f64> {
    mb("/proc/self/status", "VmRSS:")
}

/// The memory that the machine has left, in MB.
pub(crate) fn free_mb() -> Option<f64> {
    mb("/proc/meminfo", "MemAvailable:")
}

fn mb(file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
