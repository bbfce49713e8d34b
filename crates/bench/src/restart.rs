//! Restarts the server by a command of the user.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::net::Target;

/// How long the server may take to listen again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the command, waits until the server accepts connections, and returns its new process id, which is the
/// last line of the command's output. The started server may keep that output open.
pub(crate) fn restart(command: &str, target: &Target) -> anyhow::Result<u32> {
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a shell")?;
    let output = shell.stdout.take().context("the shell has no output")?;
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        let all = BufReader::new(output).lines().map_while(Result::ok);
        all.take_while(|text| line.send(text.clone()).is_ok()).count();
    });
    let status = shell.wait()?;
    ensure!(status.success(), "the restart command failed: {status}");
    let mut last = String::new();
    while let Ok(text) = lines.recv_timeout(Duration::from_millis(200)) {
        last = text;
    }
    let pid = last.trim().parse().with_context(|| {
        format!(
            "the last line of the restart command's output must be the server's process id, not \"{last}\""
        )
    })?;
    let since = Instant::now();
    while target.connect().is_err() {
        ensure!(
            since.elapsed() < PATIENCE,
            "the server does not listen after its restart"
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_process_id_even_if_the_output_stays_open() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let target = Target::parse(&url, "/").expect("valid");
        let pid = restart("sleep 5 & echo one; echo 17", &target).expect("restarted");
        assert_eq!(pid, 17);
        assert!(restart("echo no number", &target).is_err());
        assert!(restart("echo 17; exit 1", &target).is_err());
    }
}
