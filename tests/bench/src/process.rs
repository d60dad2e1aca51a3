//! What a process has used, as `/proc` tells it.

/// The kernel counts CPU time for user space in hundredths of a second on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// CPU seconds, in user and kernel mode, of all its threads.
    pub cpu_seconds: f64,
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Most bytes of memory at a time.
    pub peak_memory_bytes: u64,
}

/// Reads a process.
///
/// # Errors
/// It is not there, or the kernel's words are not understood.
pub fn usage(pid: u32) -> Result<Usage, String> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let strange = || format!("/proc/{pid} is not understood");
    let stat = read("stat")?;
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(strange)?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).ok_or_else(strange);
    let status = read("status")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(strange)?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| strange())?;
        Ok::<u64, String>(kib * 1024)
    };
    Ok(Usage {
        cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        memory_bytes: bytes("VmRSS:")?,
        peak_memory_bytes: bytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::usage;

    #[test]
    fn this_process_uses_memory_and_time() {
        let mut sum = 0u64;
        let before = usage(std::process::id()).unwrap();
        while usage(std::process::id()).unwrap().cpu_seconds <= before.cpu_seconds {
            sum = (0..1_000_000u64).fold(sum, |sum, value| sum.wrapping_mul(31).wrapping_add(value));
        }
        let after = usage(std::process::id()).unwrap();
        assert!(after.peak_memory_bytes >= after.memory_bytes && after.memory_bytes > 1 << 20, "{after:?} {sum}");
        assert!(usage(u32::MAX).is_err());
    }
}
