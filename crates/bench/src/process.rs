//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks per second in `/proc/<pid>/stat`: a constant of the kernel's interface on every relevant Linux
/// platform.
const TICKS: u64 = 100;

/// The CPU time so far and the present memory, summed over processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// The part of `cpu` that was spent in the kernel.
    pub(crate) system: Duration,
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// The maximum resident memory so far.
    pub(crate) peak_bytes: u64,
}

/// Reads the processes `pids`; `None` if there are none.
pub(crate) fn usage(pids: &[u32]) -> anyhow::Result<Option<Usage>> {
    let mut sum = Usage::default();
    for pid in pids {
        let one = read(&pid.to_string()).with_context(|| format!("cannot read process {pid}"))?;
        sum.cpu += one.cpu;
        sum.system += one.system;
        sum.rss_bytes += one.rss_bytes;
        sum.peak_bytes += one.peak_bytes;
    }
    Ok((!pids.is_empty()).then_some(sum))
}

/// Reads this process.
pub(crate) fn own() -> anyhow::Result<Usage> {
    read("self").context("cannot read /proc/self")
}

fn read(pid: &str) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let (user, system) = ticks(&stat).context("unexpected form of /proc/<pid>/stat")?;
    Ok(Usage {
        cpu: Duration::from_millis((user + system) * 1_000 / TICKS),
        system: Duration::from_millis(system * 1_000 / TICKS),
        rss_bytes: kilobytes(&status, "VmRSS:").unwrap_or(0) * 1_024,
        peak_bytes: kilobytes(&status, "VmHWM:").unwrap_or(0) * 1_024,
    })
}

/// User and system ticks. The command's name, in brackets, may itself contain blanks and brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_a_name_do_not_shift_the_fields() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 75 0 0 20 0";
        assert_eq!(ticks(stat), Some((250, 75)));
    }

    #[test]
    fn the_own_process_can_be_read() {
        let usage = own().expect("own process");
        assert!(usage.rss_bytes > 0 && usage.peak_bytes >= usage.rss_bytes);
    }
}
