//! How much memory this process holds, as far as the system tells.

/// Forgets the peak so far; [`peak_mb`] then speaks of what came after.
pub(crate) fn reset_peak() {
    // Linux only, and only a measurement: where it does not work, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory held at once, in MB; `None` where the system does not tell.
pub(crate) fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
